//! Connected clients, as tools see them: answers 203, 204 and 328; what clients answer when asked through the broker.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};

/// One connection of a client (`Connection`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Connection {
    /// `ip:port` of the client.
    pub client_addr: String,
    /// Id of the client.
    pub client_id: String,
    /// Name of its [`crate::header::Language`].
    pub language: String,
    /// Its version.
    pub version: i32,
}

/// Answer to GET_CONSUMER_CONNECTION_LIST (`ConsumerConnection`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerConnection {
    /// The connections.
    pub connection_set: Vec<Connection>,
    /// Where the group starts.
    pub consume_from_where: ConsumeFromWhere,
    /// How it gets messages.
    pub consume_type: ConsumeType,
    /// Who of it gets a message.
    pub message_model: MessageModel,
    /// By topic.
    pub subscription_table: BTreeMap<String, SubscriptionData>,
}

/// Answer to GET_PRODUCER_CONNECTION_LIST (`ProducerConnection`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerConnection {
    /// The connections.
    pub connection_set: Vec<Connection>,
}

/// Answer to GET_ALL_PRODUCER_INFO (`ProducerTableInfo`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProducerTableInfo {
    /// By producer group.
    pub data: BTreeMap<String, Vec<ProducerInfo>>,
}

/// One producer (`ProducerInfo`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerInfo {
    /// Id of the client.
    pub client_id: String,
    /// Name of its language.
    pub language: String,
    /// Time of its last heartbeat, milliseconds since the epoch.
    pub last_update_timestamp: i64,
    /// `/ip:port`.
    #[serde(rename = "remoteIP")]
    pub remote_ip: String,
    /// Its version.
    pub version: i32,
}

/// Answer to CONSUME_MESSAGE_DIRECTLY (`ConsumeMessageDirectlyResult`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeMessageDirectlyResult {
    /// The consumer commits by itself.
    pub auto_commit: bool,
    /// `CR_SUCCESS`, `CR_LATER`, `CR_ROLLBACK`, `CR_COMMIT`, `CR_THROW_EXCEPTION` or `CR_RETURN_NULL`.
    pub consume_result: Option<String>,
    /// The consumer is an ordered one.
    pub order: bool,
    /// Text of an exception.
    pub remark: Option<String>,
    /// Milliseconds taken.
    pub spent_time_mills: i64,
}
