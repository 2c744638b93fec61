//! Pulling: codes 11 and 361.

use crate::header::declare::headers;
use crate::types::{QueueId, QueueOffset, TimestampMs};

headers! {
    /// PULL_MESSAGE (11), LITE_PULL_MESSAGE (361).
    pub struct PullMessage<'a>: "PullMessageRequestHeader" strict {
        /// Consumer group.
        consumer_group: &'a str = "consumerGroup" required,
        /// Topic to read.
        topic: &'a str = "topic" required,
        /// Lite topic under it.
        lite_topic: Option<&'a str> = "liteTopic" or (None),
        /// Queue to read.
        queue_id: QueueId = "queueId" required,
        /// Where to read.
        queue_offset: QueueOffset = "queueOffset" required,
        /// Messages wanted at most.
        max_msg_nums: i32 = "maxMsgNums" required,
        /// Bits of [`crate::sys_flag::pull`].
        sys_flag: i32 = "sysFlag" required,
        /// Offset to commit, if the flag says so.
        commit_offset: QueueOffset = "commitOffset" or (QueueOffset(0)),
        /// How long the request may be held.
        suspend_timeout_ms: i64 = "suspendTimeoutMillis" or (0),
        /// Filter expression.
        subscription: Option<&'a str> = "subscription" or (None),
        /// Version of the subscription.
        sub_version: TimestampMs = "subVersion" or (TimestampMs(0)),
        /// `TAG` or `SQL92`.
        expression_type: Option<&'a str> = "expressionType" or (None),
        /// Bytes wanted at most.
        max_msg_bytes: Option<i32> = "maxMsgBytes" or (None),
        /// -1 a client, 0..=2 kinds of proxy.
        request_source: Option<i32> = "requestSource" or (None),
        /// Client behind a proxy; misspelt on the wire.
        proxy_forward_client_id: Option<&'a str> = "proxyFrowardClientId" or (None),
        /// Name of the broker the client means.
        broker_name: Option<&'a str> = "bname" or (None),
    }
}
