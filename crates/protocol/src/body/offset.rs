//! Offsets of groups: bodies of 43, 220 to 223 and 308, `consumerOffset.json`, `delayOffset.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DataVersion, MessageQueue};

/// Queue id to next offset to read.
pub type QueueOffsets = BTreeMap<i32, i64>;

/// `consumerOffset.json` and answer 43 (`ConsumerOffsetManager`). Only version and offset table are read back; the
/// rest is there because Java's serializer puts it there.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerOffsetTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Group to the topics it reads.
    pub group_topic_map: Option<BTreeMap<String, Vec<String>>>,
    /// `topic@group` to offsets.
    pub offset_table: BTreeMap<String, QueueOffsets>,
    /// `topic@group` to the offsets last pulled from.
    pub pull_offset_table: Option<BTreeMap<String, QueueOffsets>>,
}

/// `lmqConsumerOffset.json` (`LmqConsumerOffsetManager`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LmqConsumerOffsetTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// `%LMQ%x@group` to the offset of its only queue.
    pub lmq_offset_table: BTreeMap<String, i64>,
    /// `topic@group` to offsets.
    pub offset_table: BTreeMap<String, QueueOffsets>,
}

/// `delayOffset.json` and answer 45 (`DelayOffsetSerializeWrapper`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DelayOffsetTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Delay level, from 1, to next offset in its queue.
    pub offset_table: BTreeMap<i32, i64>,
}

/// Answer to 222 and body of 220 (`ResetOffsetBody`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResetOffsetBody {
    /// New offsets. The Go client splits this map textually.
    pub offset_table: BTreeMap<MessageQueue, i64>,
}

/// Body of 220 for C++ clients (`ResetOffsetBodyForC`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResetOffsetBodyForC {
    /// New offsets.
    pub offset_table: Vec<MessageQueueForC>,
}

/// A queue and its offset (`MessageQueueForC`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MessageQueueForC {
    /// Name of the replica group.
    pub broker_name: String,
    /// New offset.
    pub offset: i64,
    /// Queue within the topic.
    pub queue_id: i32,
    /// The topic.
    pub topic: String,
}

/// Answer to 221 and 223 (`GetConsumerStatusBody`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerStatusBody {
    /// Client id to its offsets; from the broker.
    pub consumer_table: BTreeMap<String, BTreeMap<MessageQueue, i64>>,
    /// Offsets of one client; from that client.
    pub message_queue_table: BTreeMap<MessageQueue, i64>,
}

/// Answer to QUERY_CORRECTION_OFFSET (`QueryCorrectionOffsetBody`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CorrectionOffsets {
    /// Offsets by queue.
    pub correction_offsets: QueueOffsets,
}
