//! Keys of Java's `AuthConfig`, which lie in the broker's file.

use crate::key::{Feature, Key};

pub(crate) const KEYS: &[Key] = &[
    Key::bool("authenticationEnabled", false).unsupported("every request must carry a valid signature"),
    Key::bool("authorizationEnabled", false).unsupported("every request is checked against permissions"),
    Key::bool("migrateAuthFromV1Enabled", false)
        .unsupported("accounts and permissions are taken over from plain_acl.yml"),
    Key::unset("authenticationProvider").tunes(Feature::AccessControl),
    Key::unset("authenticationMetadataProvider").tunes(Feature::AccessControl),
    Key::unset("authenticationStrategy").tunes(Feature::AccessControl),
    Key::unset("authenticationWhitelist").tunes(Feature::AccessControl),
    Key::unset("initAuthenticationUser").secret().tunes(Feature::AccessControl),
    Key::unset("innerClientAuthenticationCredentials").secret().tunes(Feature::AccessControl),
    Key::unset("authorizationProvider").tunes(Feature::AccessControl),
    Key::unset("authorizationMetadataProvider").tunes(Feature::AccessControl),
    Key::unset("authorizationStrategy").tunes(Feature::AccessControl),
    Key::unset("authorizationWhitelist").tunes(Feature::AccessControl),
    Key::unset("configName").tunes(Feature::AccessControl),
    Key::unset("clusterName").tunes(Feature::AccessControl),
    Key::unset("authConfigPath").tunes(Feature::AccessControl),
    Key::int("userCacheMaxNum", 1000).tunes(Feature::AccessControl),
    Key::int("userCacheExpiredSecond", 600).tunes(Feature::AccessControl),
    Key::int("userCacheRefreshSecond", 60).tunes(Feature::AccessControl),
    Key::int("aclCacheMaxNum", 1000).tunes(Feature::AccessControl),
    Key::int("aclCacheExpiredSecond", 600).tunes(Feature::AccessControl),
    Key::int("aclCacheRefreshSecond", 60).tunes(Feature::AccessControl),
    Key::int("statefulAuthenticationCacheMaxNum", 10_000).tunes(Feature::AccessControl),
    Key::int("statefulAuthenticationCacheExpiredSecond", 60).tunes(Feature::AccessControl),
    Key::int("statefulAuthorizationCacheMaxNum", 10_000).tunes(Feature::AccessControl),
    Key::int("statefulAuthorizationCacheExpiredSecond", 60).tunes(Feature::AccessControl),
];
