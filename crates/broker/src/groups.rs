//! Consumer groups: their settings, the built-in ones, and which are created by being used.
//!
//! As with topics, the table holds what is on disk; [`crate::metadata`] alone changes it.

use std::sync::Arc;

use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use crate::names;

/// Groups that exist without being created, in Java's order.
pub const BUILT_IN: [&str; 8] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];

/// Settings of a consumer group. On wire and disk they are the same thing.
pub use ferromq_protocol::body::SubscriptionGroupConfig as Group;

/// A group with Java's defaults.
#[must_use]
pub fn with_defaults(name: &str) -> Group {
    Group { group_name: name.into(), ..Group::default() }
}

/// Whether a group that nobody created comes into being by being used.
#[must_use]
pub fn is_created_by_use(group: &str, auto_create: bool, create_system: bool) -> bool {
    (auto_create || (create_system && names::is_system_group(group))) && names::check_group(group).is_ok()
}

/// All consumer groups of this broker.
#[derive(Debug, Default)]
pub struct Groups {
    table: RwLock<FxHashMap<Box<str>, Arc<Group>>>,
    /// Bits an administrator set per group and topic, as Java stores them.
    forbidden: RwLock<Forbidden>,
}

/// Bit of [`Groups::is_read_forbidden`].
const READ_FORBIDDEN: i32 = 1 << 2;

/// Group, topic, bits.
pub type Forbidden = FxHashMap<Box<str>, FxHashMap<Box<str>, i32>>;

impl Groups {
    /// The group, if it exists.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Arc<Group>> {
        self.table.read().get(name).cloned()
    }

    /// All groups, sorted by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Group>> {
        let mut groups: Vec<Arc<Group>> = self.table.read().values().cloned().collect();
        groups.sort_unstable_by(|a, b| a.group_name.cmp(&b.group_name));
        groups
    }

    /// Number of groups.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.read().len()
    }

    /// True before the built-in groups are there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if an administrator forbade the group to read the topic.
    #[must_use]
    pub fn is_read_forbidden(&self, group: &str, topic: &str) -> bool {
        let forbidden = self.forbidden.read();
        forbidden
            .get(group)
            .and_then(|topics| topics.get(topic))
            .is_some_and(|bits| bits & READ_FORBIDDEN != 0)
    }

    /// What administrators forbade.
    #[must_use]
    pub fn forbidden(&self) -> Forbidden {
        self.forbidden.read().clone()
    }

    /// Takes over what a file holds.
    pub(crate) fn set_forbidden(&self, forbidden: Forbidden) {
        *self.forbidden.write() = forbidden;
    }

    /// Puts a group in place; only [`crate::metadata`] calls this, after the file was written.
    pub(crate) fn put(&self, group: Arc<Group>) {
        self.table.write().insert(group.group_name.as_str().into(), group);
    }

    /// Takes a group away; only [`crate::metadata`] calls this, after the file was written.
    pub(crate) fn remove(&self, name: &str) {
        self.table.write().remove(name);
        self.forbidden.write().remove(name);
    }
}
