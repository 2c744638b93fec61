//! Bodies that are little more than a list or a table of texts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Answer to 206, 224, 304, 305, 343 (`TopicList`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicList {
    /// Only where the answer is about one broker.
    pub broker_addr: Option<String>,
    /// The topics.
    pub topic_list: Vec<String>,
}

/// Answer to QUERY_TOPIC_CONSUME_BY_WHO (`GroupList`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupList {
    /// The groups.
    pub group_list: Vec<String>,
}

/// Answer to GET_CONSUMER_LIST_BY_GROUP (`GetConsumerListByGroupResponseBody`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerList {
    /// Ids of the clients.
    pub consumer_id_list: Vec<String>,
}

/// Answer to 28, 103 and 219 (`KVTable`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KvTable {
    /// The table.
    pub table: BTreeMap<String, String>,
}
