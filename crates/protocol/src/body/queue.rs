//! Message queues, their locks (41, 42) and who reads them (400 to 402).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{MessageModel, names};

/// One queue as clients name it (`MessageQueue`); also a map key on the wire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MessageQueue {
    /// Name of the replica group.
    pub broker_name: String,
    /// Queue within the topic.
    pub queue_id: i32,
    /// The topic.
    pub topic: String,
}

/// Body of LOCK_BATCH_MQ and UNLOCK_BATCH_MQ (`LockBatchRequestBody`, `UnlockBatchRequestBody`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LockBatchRequest {
    /// Id of the client.
    pub client_id: String,
    /// Its group.
    pub consumer_group: String,
    /// The queues.
    pub mq_set: Vec<MessageQueue>,
    /// Not to be passed on to other members of the replica group.
    pub only_this_broker: bool,
}

/// Answer to LOCK_BATCH_MQ (`LockBatchResponseBody`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LockBatchAnswer {
    /// Queues that the client holds now.
    #[serde(rename = "lockOKMQSet")]
    pub lock_ok_mq_set: Vec<MessageQueue>,
}

names! {
    /// How a group reads a topic.
    pub enum MessageRequestMode or Pull {
        /// By pulls.
        Pull = "PULL",
        /// By pops.
        Pop = "POP",
    }
}

/// Body of QUERY_ASSIGNMENT (`QueryAssignmentRequestBody`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryAssignmentRequest {
    /// Id of the client.
    pub client_id: String,
    /// Its group.
    pub consumer_group: String,
    /// The group's message model.
    pub message_model: MessageModel,
    /// `AVG`, `AVG_BY_CIRCLE` and so on.
    pub strategy_name: String,
    /// The topic.
    pub topic: String,
}

/// Answer to QUERY_ASSIGNMENT (`QueryAssignmentResponseBody`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryAssignmentAnswer {
    /// Absent: keep what you have. Empty: release everything.
    pub message_queue_assignments: Option<Vec<MessageQueueAssignment>>,
}

/// A queue given to a client (`MessageQueueAssignment`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MessageQueueAssignment {
    /// Unused.
    pub attachments: Option<BTreeMap<String, String>>,
    /// The queue; id -1 for all of them.
    pub message_queue: MessageQueue,
    /// How to read it.
    pub mode: MessageRequestMode,
}

/// Body of SET_MESSAGE_REQUEST_MODE (`SetMessageRequestModeRequestBody`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SetMessageRequestMode {
    /// The group.
    pub consumer_group: String,
    /// How it reads.
    pub mode: MessageRequestMode,
    /// Queues that each member of a popping group reads.
    pub pop_share_queue_num: i32,
    /// The topic.
    pub topic: String,
}

/// `messageRequestMode.json` and answer 402 (`MessageRequestModeSerializeWrapper`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MessageRequestModeTable {
    /// By topic, then by group.
    pub message_request_mode_map: BTreeMap<String, BTreeMap<String, SetMessageRequestMode>>,
}
