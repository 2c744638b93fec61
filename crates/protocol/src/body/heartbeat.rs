//! What clients tell the broker about themselves: HEART_BEAT (34) and CHECK_CLIENT_CONFIG (46).

use serde::{Deserialize, Serialize};

use super::names;

names! {
    /// How a group gets its messages.
    pub enum ConsumeType or Passively {
        /// Pull consumers.
        Actively = "CONSUME_ACTIVELY",
        /// Push consumers.
        Passively = "CONSUME_PASSIVELY",
        /// Pop consumers.
        Pop = "CONSUME_POP",
    }

    /// Who of a group gets a message.
    pub enum MessageModel or Clustering {
        /// Every member.
        Broadcasting = "BROADCASTING",
        /// One member.
        Clustering = "CLUSTERING",
        /// Members that subscribed to the lite topic.
        LiteSelective = "LITE_SELECTIVE",
    }

    /// Where a new group starts.
    pub enum ConsumeFromWhere or LastOffset {
        /// At the end.
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        /// Deprecated; as the end.
        LastOffsetAndFromMinWhenBootFirst = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        /// Deprecated; as the end.
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        /// Deprecated; as the end.
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        /// At the beginning.
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        /// At a time the client knows.
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

/// Body of a heartbeat (`HeartbeatData`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HeartbeatData {
    /// Id of the client.
    #[serde(rename = "clientID")]
    pub client_id: String,
    /// Its consumer groups.
    pub consumer_data_set: Vec<ConsumerData>,
    /// Hash over the subscriptions; 0: not a version 2 heartbeat.
    pub heartbeat_fingerprint: i32,
    /// Its producer groups.
    pub producer_data_set: Vec<ProducerData>,
    /// The subscriptions were left out, since they did not change.
    pub without_sub: bool,
}

/// One consumer group of a client (`ConsumerData`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerData {
    /// Where the group starts.
    pub consume_from_where: ConsumeFromWhere,
    /// How it gets messages.
    pub consume_type: ConsumeType,
    /// The group.
    pub group_name: String,
    /// Who of it gets a message.
    pub message_model: MessageModel,
    /// What it reads.
    pub subscription_data_set: Vec<SubscriptionData>,
    /// Unit mode.
    pub unit_mode: bool,
}

/// One producer group of a client (`ProducerData`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerData {
    /// The group.
    pub group_name: String,
}

/// A topic and a filter (`SubscriptionData`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionData {
    /// Obsolete.
    pub class_filter_mode: bool,
    /// Hashes of the tags; empty for all. Go writes them as strings.
    pub code_set: Vec<i32>,
    /// `TAG` or `SQL92`; absent from very old clients.
    pub expression_type: Option<String>,
    /// The expression, `*` for all.
    pub sub_string: String,
    /// Version, in practice a time in milliseconds.
    pub sub_version: i64,
    /// The tags; empty for all.
    pub tags_set: Vec<String>,
    /// The topic.
    pub topic: String,
}

impl Default for SubscriptionData {
    fn default() -> Self {
        Self {
            class_filter_mode: false,
            code_set: Vec::new(),
            expression_type: Some("TAG".to_owned()),
            sub_string: String::new(),
            sub_version: 0,
            tags_set: Vec::new(),
            topic: String::new(),
        }
    }
}

/// Body of CHECK_CLIENT_CONFIG (`CheckClientRequestBody`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CheckClientRequest {
    /// Id of the client.
    pub client_id: String,
    /// Its group.
    pub group: String,
    /// Subscription to check.
    pub subscription_data: SubscriptionData,
}
