//! Sending: codes 10, 310, 320, 324, 325, 326, 36 and 370.
//!
//! What only matters when a topic is created on the way has a default, since Java misses it no sooner either.

use crate::header::declare::headers;
use crate::types::{PhysicalOffset, QueueId, TimestampMs};

/// Queues a Java client asks for when a topic is created by sending.
pub const DEFAULT_TOPIC_QUEUE_NUMS: i32 = 4;

headers! {
    /// SEND_MESSAGE_V2 (310), SEND_BATCH_MESSAGE (320), SEND_REPLY_MESSAGE_V2 (325): one-letter names.
    pub struct SendMessageV2<'a>: "SendMessageRequestHeaderV2" strict {
        /// Group of the producer.
        producer_group: &'a str = "a" or (""),
        /// Topic to send to.
        topic: &'a str = "b" required,
        /// Topic whose settings a topic created on the way takes.
        default_topic: &'a str = "c" or (""),
        /// Queues wanted for it.
        default_topic_queue_nums: i32 = "d" or (DEFAULT_TOPIC_QUEUE_NUMS),
        /// Negative: the broker chooses.
        queue_id: QueueId = "e" required,
        /// Bits of [`crate::sys_flag`].
        sys_flag: i32 = "f" required,
        /// Clock of the producer.
        born_timestamp: TimestampMs = "g" required,
        /// The user's flag.
        flag: i32 = "h" required,
        /// Property string.
        properties: Option<&'a str> = "i" or (None),
        /// Times the message was consumed before.
        reconsume_times: Option<i32> = "j" or (None),
        /// Unit mode.
        unit_mode: Option<bool> = "k" or (None),
        /// Most times the message may be consumed.
        max_reconsume_times: Option<i32> = "l" or (None),
        /// The body is a batch.
        batch: Option<bool> = "m" or (None),
        /// Name of the broker the client means.
        broker_name: Option<&'a str> = "n" or (None),
    }

    /// SEND_MESSAGE (10), SEND_REPLY_MESSAGE (324): the same with long names.
    pub struct SendMessage<'a>: "SendMessageRequestHeader" {
        /// Group of the producer.
        producer_group: &'a str = "producerGroup" or (""),
        /// Topic to send to.
        topic: &'a str = "topic" required,
        /// Topic whose settings a topic created on the way takes.
        default_topic: &'a str = "defaultTopic" or (""),
        /// Queues wanted for it.
        default_topic_queue_nums: i32 = "defaultTopicQueueNums" or (DEFAULT_TOPIC_QUEUE_NUMS),
        /// Negative: the broker chooses.
        queue_id: QueueId = "queueId" required,
        /// Bits of [`crate::sys_flag`].
        sys_flag: i32 = "sysFlag" required,
        /// Clock of the producer.
        born_timestamp: TimestampMs = "bornTimestamp" required,
        /// The user's flag.
        flag: i32 = "flag" required,
        /// Property string.
        properties: Option<&'a str> = "properties" or (None),
        /// Times the message was consumed before.
        reconsume_times: Option<i32> = "reconsumeTimes" or (None),
        /// Unit mode.
        unit_mode: Option<bool> = "unitMode" or (None),
        /// Most times the message may be consumed.
        max_reconsume_times: Option<i32> = "maxReconsumeTimes" or (None),
        /// The body is a batch.
        batch: Option<bool> = "batch" or (None),
        /// Name of the broker the client means.
        broker_name: Option<&'a str> = "bname" or (None),
    }

    /// CONSUMER_SEND_MSG_BACK (36).
    pub struct ConsumerSendMsgBack<'a>: "ConsumerSendMsgBackRequestHeader" {
        /// Where the message lies on this broker.
        offset: PhysicalOffset = "offset" required,
        /// Consumer group.
        group: &'a str = "group" required,
        /// Negative: dead letter at once; 0: the broker decides; else a delay level.
        delay_level: i32 = "delayLevel" required,
        /// Message id of the first version.
        origin_msg_id: Option<&'a str> = "originMsgId" or (None),
        /// Topic of the first version.
        origin_topic: Option<&'a str> = "originTopic" or (None),
        /// Unit mode.
        unit_mode: bool = "unitMode" or (false),
        /// Overrides the group's maximum.
        max_reconsume_times: Option<i32> = "maxReconsumeTimes" or (None),
        /// Name of the broker the client means.
        broker_name: Option<&'a str> = "bname" or (None),
    }

    /// PUSH_REPLY_MESSAGE_TO_CLIENT (326), from broker to requester.
    pub struct ReplyMessage<'a>: "ReplyMessageRequestHeader" {
        /// Group of the producer that replied.
        producer_group: &'a str = "producerGroup" required,
        /// Reply topic.
        topic: &'a str = "topic" required,
        /// As in the send.
        default_topic: &'a str = "defaultTopic" or (""),
        /// As in the send.
        default_topic_queue_nums: i32 = "defaultTopicQueueNums" or (DEFAULT_TOPIC_QUEUE_NUMS),
        /// As in the send.
        queue_id: QueueId = "queueId" required,
        /// Bits of [`crate::sys_flag`].
        sys_flag: i32 = "sysFlag" required,
        /// Clock of the replier.
        born_timestamp: TimestampMs = "bornTimestamp" required,
        /// The user's flag.
        flag: i32 = "flag" required,
        /// Property string.
        properties: Option<&'a str> = "properties" or (None),
        /// As in the send.
        reconsume_times: Option<i32> = "reconsumeTimes" or (None),
        /// Unit mode.
        unit_mode: bool = "unitMode" or (false),
        /// Address of the replier, `ip:port`.
        born_host: &'a str = "bornHost" required,
        /// Address of the broker, `ip:port`.
        store_host: &'a str = "storeHost" required,
        /// Clock of the broker.
        store_timestamp: TimestampMs = "storeTimestamp" required,
    }

    /// RECALL_MESSAGE (370).
    pub struct RecallMessage<'a>: "RecallMessageRequestHeader" {
        /// Group of the producer.
        producer_group: Option<&'a str> = "producerGroup" or (None),
        /// Topic the delayed message was sent to.
        topic: &'a str = "topic" required,
        /// What the send returned.
        recall_handle: &'a str = "recallHandle" required,
        /// Name of the broker the client means.
        broker_name: Option<&'a str> = "bname" or (None),
    }
}

/// The two send headers are one thing in two spellings.
impl<'a> From<SendMessage<'a>> for SendMessageV2<'a> {
    fn from(header: SendMessage<'a>) -> Self {
        let SendMessage {
            producer_group,
            topic,
            default_topic,
            default_topic_queue_nums,
            queue_id,
            sys_flag,
            born_timestamp,
            flag,
            properties,
            reconsume_times,
            unit_mode,
            max_reconsume_times,
            batch,
            broker_name,
        } = header;
        Self {
            producer_group,
            topic,
            default_topic,
            default_topic_queue_nums,
            queue_id,
            sys_flag,
            born_timestamp,
            flag,
            properties,
            reconsume_times,
            unit_mode,
            max_reconsume_times,
            batch,
            broker_name,
        }
    }
}
