//! Offsets of queues and of consumer groups.

use crate::header::declare::headers;
use crate::types::{PhysicalOffset, QueueId, QueueOffset, TimestampMs};

headers! {
    /// QUERY_CONSUMER_OFFSET (14).
    pub struct QueryConsumerOffset<'a>: "QueryConsumerOffsetRequestHeader" {
        /// Consumer group.
        consumer_group: &'a str = "consumerGroup" required,
        /// Topic.
        topic: &'a str = "topic" required,
        /// Queue within the topic.
        queue_id: QueueId = "queueId" required,
        /// False: answer "not found" rather than 0.
        set_zero_if_not_found: Option<bool> = "setZeroIfNotFound" or (None),
        /// Name of the broker the client means.
        broker_name: Option<&'a str> = "bname" or (None),
    }

    /// UPDATE_CONSUMER_OFFSET (15). Java answers a missing queue id or offset with a remark of its own.
    pub struct UpdateConsumerOffset<'a>: "UpdateConsumerOffsetRequestHeader" {
        /// Consumer group.
        consumer_group: &'a str = "consumerGroup" required,
        /// Topic.
        topic: &'a str = "topic" required,
        /// Queue within the topic.
        queue_id: Option<QueueId> = "queueId" or (None),
        /// Next offset the group will read.
        commit_offset: Option<QueueOffset> = "commitOffset" or (None),
        /// Name of the broker the client means.
        broker_name: Option<&'a str> = "bname" or (None),
    }

    /// SEARCH_OFFSET_BY_TIMESTAMP (29).
    pub struct SearchOffset<'a>: "SearchOffsetRequestHeader" {
        /// Topic.
        topic: &'a str = "topic" required,
        /// Lite topic under it.
        lite_topic: Option<&'a str> = "liteTopic" or (None),
        /// Queue within the topic.
        queue_id: QueueId = "queueId" required,
        /// Store time to look for.
        timestamp: TimestampMs = "timestamp" required,
        /// `UPPER` in any case of letters; anything else means `LOWER`.
        boundary_type: Option<&'a str> = "boundaryType" or (None),
        /// Name of the broker the client means.
        broker_name: Option<&'a str> = "bname" or (None),
    }

    /// GET_MAX_OFFSET (30).
    pub struct GetMaxOffset<'a>: "GetMaxOffsetRequestHeader" {
        /// Topic.
        topic: &'a str = "topic" required,
        /// Queue within the topic.
        queue_id: QueueId = "queueId" required,
        /// Only what consumers may see.
        committed: bool = "committed" or (true),
        /// Name of the broker the client means.
        broker_name: Option<&'a str> = "bname" or (None),
    }

    /// GET_MIN_OFFSET (31).
    pub struct GetMinOffset<'a>: "GetMinOffsetRequestHeader" {
        /// Topic.
        topic: &'a str = "topic" required,
        /// Queue within the topic.
        queue_id: QueueId = "queueId" required,
        /// Name of the broker the client means.
        broker_name: Option<&'a str> = "bname" or (None),
    }

    /// GET_EARLIEST_MSG_STORETIME (32).
    pub struct GetEarliestMsgStoretime<'a>: "GetEarliestMsgStoretimeRequestHeader" {
        /// Topic.
        topic: &'a str = "topic" required,
        /// Queue within the topic.
        queue_id: QueueId = "queueId" required,
        /// Name of the broker the client means.
        broker_name: Option<&'a str> = "bname" or (None),
    }

    /// INVOKE_BROKER_TO_RESET_OFFSET (222), RESET_CONSUMER_CLIENT_OFFSET (220).
    pub struct ResetOffset<'a>: "ResetOffsetRequestHeader" {
        /// Consumer group.
        group: &'a str = "group" required,
        /// Topic.
        topic: &'a str = "topic" required,
        /// -1: all queues.
        queue_id: QueueId = "queueId" or (QueueId(-1)),
        /// Where to, if not by time.
        offset: Option<QueueOffset> = "offset" or (None),
        /// Where to, by store time; negative: the end.
        timestamp: TimestampMs = "timestamp" or (TimestampMs(0)),
        /// Move forward too.
        is_force: bool = "isForce" or (false),
    }

    /// CLONE_GROUP_OFFSET (314).
    pub struct CloneGroupOffset<'a>: "CloneGroupOffsetRequestHeader" {
        /// Group to copy from.
        src_group: &'a str = "srcGroup" required,
        /// Group to copy to.
        dest_group: &'a str = "destGroup" required,
        /// Blank: all topics.
        topic: Option<&'a str> = "topic" or (None),
        /// Whether the groups are offline.
        offline: bool = "offline" or (false),
    }

    /// QUERY_CORRECTION_OFFSET (308).
    pub struct QueryCorrectionOffset<'a>: "QueryCorrectionOffsetHeader" {
        /// Groups to leave out, separated by commas.
        filter_groups: Option<&'a str> = "filterGroups" or (None),
        /// Group to compare with.
        compare_group: &'a str = "compareGroup" required,
        /// Topic.
        topic: &'a str = "topic" required,
    }

    /// RESET_MASTER_FLUSH_OFFSET (908).
    pub struct ResetMasterFlushOffset: "ResetMasterFlushOffsetHeader" {
        /// The leader's durable position.
        master_flush_offset: PhysicalOffset = "masterFlushOffset" required,
    }
}
