//! Popping.

use crate::header::declare::headers;
use crate::types::{QueueId, QueueOffset, TimestampMs};

headers! {
    /// POP_MESSAGE (200050).
    pub struct PopMessage<'a>: "PopMessageRequestHeader" {
        /// Consumer group.
        consumer_group: &'a str = "consumerGroup" required,
        /// Topic.
        topic: &'a str = "topic" required,
        /// -1: any queue.
        queue_id: QueueId = "queueId" or (QueueId(0)),
        /// Messages wanted at most.
        max_msg_nums: i32 = "maxMsgNums" or (0),
        /// Length of the lease.
        invisible_ms: i64 = "invisibleTime" or (0),
        /// How long the request may be held.
        poll_ms: i64 = "pollTime" or (0),
        /// The client's clock; 0: unknown.
        born_time: TimestampMs = "bornTime" or (TimestampMs(0)),
        /// Where a new group starts: 0 first message, 1 end.
        init_mode: i32 = "initMode" or (0),
        /// `TAG` or `SQL92`.
        exp_type: Option<&'a str> = "expType" or (None),
        /// Filter expression.
        exp: Option<&'a str> = "exp" or (None),
        /// In order.
        order: bool = "order" or (false),
        /// Same on a retry of an ordered pop.
        attempt_id: Option<&'a str> = "attemptId" or (None),
        /// Name of the broker the client means.
        broker_name: Option<&'a str> = "bname" or (None),
    }

    /// ACK_MESSAGE (200051).
    pub struct AckMessage<'a>: "AckMessageRequestHeader" {
        /// Consumer group.
        consumer_group: &'a str = "consumerGroup" required,
        /// Topic.
        topic: &'a str = "topic" required,
        /// Queue within the topic.
        queue_id: QueueId = "queueId" required,
        /// Receipt.
        extra_info: &'a str = "extraInfo" required,
        /// Offset of the message in its queue.
        offset: QueueOffset = "offset" required,
        /// Lite topic.
        lite_topic: Option<&'a str> = "liteTopic" or (None),
        /// Name of the broker the client means.
        broker_name: Option<&'a str> = "bname" or (None),
    }

    /// CHANGE_MESSAGE_INVISIBLETIME (200053).
    pub struct ChangeInvisibleTime<'a>: "ChangeInvisibleTimeRequestHeader" {
        /// Consumer group.
        consumer_group: &'a str = "consumerGroup" required,
        /// Topic.
        topic: &'a str = "topic" required,
        /// Queue within the topic.
        queue_id: QueueId = "queueId" required,
        /// Receipt.
        extra_info: &'a str = "extraInfo" required,
        /// Offset of the message in its queue.
        offset: QueueOffset = "offset" required,
        /// New length of the lease, from now.
        invisible_ms: i64 = "invisibleTime" required,
        /// Lite topic.
        lite_topic: Option<&'a str> = "liteTopic" or (None),
        /// Does not count as an attempt.
        suspend: bool = "suspend" or (false),
        /// Name of the broker the client means.
        broker_name: Option<&'a str> = "bname" or (None),
    }

    /// PEEK_MESSAGE (200052).
    pub struct PeekMessage<'a>: "PeekMessageRequestHeader" {
        /// Topic.
        topic: &'a str = "topic" required,
        /// -1: any queue.
        queue_id: QueueId = "queueId" or (QueueId(0)),
        /// Messages wanted at most.
        max_msg_nums: i32 = "maxMsgNums" or (0),
        /// Consumer group.
        consumer_group: &'a str = "consumerGroup" required,
    }

    /// NOTIFICATION (200054).
    pub struct Notification<'a>: "NotificationRequestHeader" {
        /// Consumer group.
        consumer_group: &'a str = "consumerGroup" required,
        /// Topic.
        topic: &'a str = "topic" required,
        /// -1: any queue.
        queue_id: QueueId = "queueId" or (QueueId(0)),
        /// How long the request may be held.
        poll_ms: i64 = "pollTime" or (0),
        /// The client's clock.
        born_time: TimestampMs = "bornTime" or (TimestampMs(0)),
        /// In order.
        order: bool = "order" or (false),
        /// Same on a retry of an ordered pop.
        attempt_id: Option<&'a str> = "attemptId" or (None),
        /// `TAG` or `SQL92`.
        exp_type: Option<&'a str> = "expType" or (None),
        /// Filter expression.
        exp: Option<&'a str> = "exp" or (None),
    }

    /// POLLING_INFO (200055).
    pub struct PollingInfo<'a>: "PollingInfoRequestHeader" {
        /// Consumer group.
        consumer_group: &'a str = "consumerGroup" required,
        /// Topic.
        topic: &'a str = "topic" required,
        /// Queue within the topic.
        queue_id: QueueId = "queueId" or (QueueId(0)),
    }
}
