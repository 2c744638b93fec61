//! Numbers about topics, groups and queues: answers 202, 208, 303, 315, 317 and 321.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{MessageQueue, SubscriptionData};

/// Answer to GET_TOPIC_STATS_INFO (`TopicStatsTable`).
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicStatsTable {
    /// By queue.
    pub offset_table: BTreeMap<MessageQueue, TopicOffset>,
    /// Messages per second stored.
    pub topic_put_tps: f64,
}

/// Ends of a queue (`TopicOffset`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicOffset {
    /// Store time of the last message, milliseconds since the epoch.
    pub last_update_timestamp: i64,
    /// End of the queue.
    pub max_offset: i64,
    /// First offset of the queue.
    pub min_offset: i64,
}

/// Answer to GET_CONSUME_STATS (`ConsumeStats`).
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeStats {
    /// Messages per second read.
    pub consume_tps: f64,
    /// By queue.
    pub offset_table: BTreeMap<MessageQueue, OffsetWrapper>,
}

/// Progress of a group in a queue (`OffsetWrapper`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OffsetWrapper {
    /// End of the queue.
    pub broker_offset: i64,
    /// Next offset the group will read.
    pub consumer_offset: i64,
    /// Store time of the last message consumed, milliseconds since the epoch.
    pub last_timestamp: i64,
    /// Offset last pulled from.
    pub pull_offset: i64,
}

/// Answer to GET_BROKER_CONSUME_STATS (`ConsumeStatsList`).
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeStatsList {
    /// Address of the broker.
    pub broker_addr: String,
    /// One table per group, with one entry per topic.
    pub consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
    /// Messages not consumed, over all.
    pub total_diff: i64,
    /// Messages pulled and not consumed, over all.
    pub total_inflight_diff: i64,
}

/// Answer to VIEW_BROKER_STATS_DATA (`BrokerStatsData`).
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerStatsData {
    /// The last day.
    pub stats_day: BrokerStatsItem,
    /// The last hour.
    pub stats_hour: BrokerStatsItem,
    /// The last minute.
    pub stats_minute: BrokerStatsItem,
}

/// One statistic over one span (`BrokerStatsItem`).
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokerStatsItem {
    /// Average per event.
    pub avgpt: f64,
    /// Sum.
    pub sum: i64,
    /// Per second.
    pub tps: f64,
}

/// Answer to QUERY_CONSUME_QUEUE (`QueryConsumeQueueResponseBody`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeQueueAnswer {
    /// Filter of the group, as text.
    pub filter_data: Option<String>,
    /// End of the queue.
    pub max_queue_index: i64,
    /// First offset of the queue.
    pub min_queue_index: i64,
    /// The entries.
    pub queue_data: Option<Vec<ConsumeQueueData>>,
    /// Subscription of the group.
    pub subscription_data: Option<SubscriptionData>,
}

/// One entry of a consume queue (`ConsumeQueueData`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeQueueData {
    /// Filter bits.
    pub bit_map: Option<String>,
    /// Whether the group's filter takes it.
    pub eval: bool,
    /// Extension.
    pub extend_data_json: Option<String>,
    /// Remark.
    pub msg: Option<String>,
    /// Position of the record.
    pub physic_offset: i64,
    /// Size of the record.
    pub physic_size: i32,
    /// Hash of the tag.
    pub tags_code: i64,
}

/// Answer to QUERY_CONSUME_TIME_SPAN (`QueryConsumeTimeSpanBody`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeTimeSpans {
    /// One per queue.
    pub consume_time_span_set: Vec<QueueTimeSpan>,
}

/// Times of a queue and of a group in it (`QueueTimeSpan`), milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueTimeSpan {
    /// Store time of the last message consumed.
    pub consume_time_stamp: i64,
    /// How far the group is behind.
    pub delay_time: i64,
    /// Store time of the last message.
    pub max_time_stamp: i64,
    /// The queue.
    pub message_queue: MessageQueue,
    /// Store time of the first message.
    pub min_time_stamp: i64,
}
