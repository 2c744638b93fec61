//! What becomes of a key that this version honours, has no use for, lacks the feature of, or must not ignore.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{broker, namesrv, notices, problems};
use ferromq_config::host::Host;
use ferromq_config::key::{Key, Kind, ValueType};
use ferromq_config::settings::Level;
use ferromq_config::table::Table;

/// A value that parses and is not the default.
fn another_value(key: &Key) -> String {
    let default = key.default_text(&Host::fictitious()).unwrap_or_default();
    let candidates: Vec<String> = match key.value_type {
        ValueType::Bool => vec!["true".into(), "false".into()],
        ValueType::Int { .. } | ValueType::Long { .. } => vec!["20".into(), "5000".into(), "5001".into()],
        ValueType::Double => vec!["3.5".into()],
        ValueType::Text => vec!["x".into()],
        ValueType::Choice(names) => names.iter().map(|name| (*name).to_owned()).collect(),
    };
    candidates.into_iter().find(|value| *value != default && key.parse(value).is_ok()).unwrap()
}

#[test]
fn every_unsupported_key_stops_the_start_and_says_what_it_would_have_meant() {
    let mut seen = 0;
    for key in Table::broker().keys().filter(|key| key.kind == Kind::Unsupported) {
        let text = problems(&format!("\n{}={}", key.name, another_value(key)));
        assert!(text.contains("is not supported yet. It would have meant: "), "{text}");
        assert!(
            text.contains(key.name) && text.contains(key.about) && text.contains("broker.conf:2)"),
            "{text}"
        );
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
    let text = namesrv("enableControllerInNamesrv=true").unwrap_err().to_string();
    assert!(text.contains("a controller runs in this process"), "{text}");
}

#[test]
fn the_default_of_an_unsupported_key_is_welcome() {
    for key in Table::broker().keys().filter(|key| key.kind == Kind::Unsupported) {
        let default = key.default_text(&Host::fictitious()).unwrap_or_default();
        let config = broker(&format!("{}={default}", key.name)).unwrap();
        assert_eq!(config.settings.notices(), [], "{}", key.name);
    }
}

#[test]
fn keys_that_would_open_or_unreplicate_a_broker_are_unsupported() {
    for (key, value) in [
        ("aclEnable", "true"),
        ("authenticationEnabled", "true"),
        ("authorizationEnabled", "true"),
        ("brokerRole", "SYNC_MASTER"),
        ("brokerRole", "SLAVE\nbrokerId=1"),
        ("inSyncReplicas", "2"),
        ("totalReplicas", "3"),
        ("enableDLegerCommitLog", "true"),
        ("enableControllerMode", "true"),
        ("storeType", "defaultRocksDB"),
        ("configManagerVersion", "v2"),
        ("enableConsumeQueueExt", "true"),
        ("enableLmq", "true"),
    ] {
        let text = problems(&format!("{key}={value}"));
        assert!(text.starts_with(&format!("{key}={}", value.lines().next().unwrap())), "{text}");
        assert!(text.contains("not supported yet"), "{text}");
    }
}

#[test]
fn irrelevant_keys_give_one_info_line_with_the_reason() {
    let config = broker("sendMessageThreadPoolNums=64\nflushCommitLogLeastPages=4").unwrap();
    let infos = notices(&config, Level::Info);
    assert_eq!(infos.len(), 1, "a value equal to the default changes nothing: {infos:?}");
    assert!(infos[0].starts_with("sendMessageThreadPoolNums=64 ("), "{infos:?}");
    assert!(infos[0].contains("has no effect: requests are not handed to pools of threads"), "{infos:?}");
    for key in Table::broker().keys().filter(|key| key.kind == Kind::Irrelevant) {
        let config = broker(&format!("{}={}", key.name, another_value(key))).unwrap();
        assert_eq!(notices(&config, Level::Info).len(), 1, "{}", key.name);
    }
}

#[test]
fn keys_of_absent_features_give_one_info_line_that_names_the_feature() {
    let config = broker("enablePropertyFilter=true\nrecallMessageEnable=true").unwrap();
    let infos = notices(&config, Level::Info);
    assert_eq!(infos.len(), 2, "{infos:?}");
    assert!(infos[0].contains("this version does not have SQL92 filtering"), "{infos:?}");
    assert!(infos[1].contains("this version does not have message recall"), "{infos:?}");
    for key in Table::broker().keys().filter(|key| matches!(key.kind, Kind::Tunes(_))) {
        let config = broker(&format!("{}={}", key.name, another_value(key))).unwrap();
        assert_eq!(notices(&config, Level::Info).len(), 1, "{}", key.name);
    }
}

#[test]
fn passwords_are_not_shown() {
    let user = r#"initAuthenticationUser={"username":"u","password":"p4ss"}"#;
    let config = broker(user).unwrap();
    assert!(!config.settings.report().contains("p4ss"));
    assert!(!config.settings.report_with_sources().contains("p4ss"));
    assert!(!notices(&config, Level::Info).iter().any(|text| text.contains("p4ss")));
    assert!(config.settings.file_text().contains("p4ss"), "an update must not lose what the file says");
    let config = broker("tls.server.keyPassword=p4ss").unwrap();
    assert!(!config.settings.report_with_sources().contains("p4ss"));
}
