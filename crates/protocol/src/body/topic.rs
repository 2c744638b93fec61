//! Topic settings: answers 21 and 351, part of a registration, `topics.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DataVersion, names};
use crate::json::Value;

/// Bits of `perm` (`PermName`).
pub mod perm {
    /// Topics created by sending may take this one's settings.
    pub const INHERIT: i32 = 1;
    /// May be sent to.
    pub const WRITE: i32 = 2;
    /// May be read.
    pub const READ: i32 = 4;
    /// This broker's copy goes first; obsolete.
    pub const PRIORITY: i32 = 8;
}

/// Bits of `topicSysFlag` (`TopicSysFlag`).
pub mod topic_sys_flag {
    /// Unit topic.
    pub const UNIT: i32 = 1;
    /// Has unit subscriptions.
    pub const UNIT_SUB: i32 = 2;
}

names! {
    /// Whether messages of a topic may carry several tags.
    pub enum TopicFilterType or SingleTag {
        /// One tag.
        SingleTag = "SINGLE_TAG",
        /// Several.
        MultiTag = "MULTI_TAG",
    }
}

/// Settings of a topic (`TopicConfig`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfig {
    /// Without the sign that requests put before a key.
    pub attributes: BTreeMap<String, String>,
    /// Only in answer 351, only for static topics.
    pub mapping_detail: Option<Value>,
    /// Ordered topic.
    pub order: bool,
    /// Bits of [`perm`].
    pub perm: i32,
    /// Queues to read from.
    pub read_queue_nums: i32,
    /// Single or several tags.
    pub topic_filter_type: TopicFilterType,
    /// The topic.
    pub topic_name: String,
    /// Bits of [`topic_sys_flag`].
    pub topic_sys_flag: i32,
    /// Queues to send to.
    pub write_queue_nums: i32,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            mapping_detail: None,
            order: false,
            perm: perm::READ | perm::WRITE,
            read_queue_nums: 16,
            topic_filter_type: TopicFilterType::SingleTag,
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

/// `topics.json` (`TopicConfigSerializeWrapper`). Who writes it often keeps the topics as text
/// ([`Rendered`](crate::json::Rendered)).
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigTable<T = TopicConfig> {
    /// Version of the table.
    pub data_version: DataVersion,
    /// By topic.
    pub topic_config_table: BTreeMap<String, T>,
}

/// The same with the mappings of static topics: answer 21, part of a registration
/// (`TopicConfigAndMappingSerializeWrapper`).
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigAndMappingTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Version of the mappings.
    pub mapping_data_version: DataVersion,
    /// By topic.
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    /// Static topics in full.
    pub topic_queue_mapping_detail_map: BTreeMap<String, Value>,
    /// Static topics in short.
    pub topic_queue_mapping_info_map: BTreeMap<String, Value>,
}
