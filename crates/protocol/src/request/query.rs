//! Looking messages up.

use crate::header::declare::headers;
use crate::types::{PhysicalOffset, QueueId, QueueOffset, TimestampMs};

headers! {
    /// QUERY_MESSAGE (12).
    pub struct QueryMessage<'a>: "QueryMessageRequestHeader" {
        /// Topic.
        topic: &'a str = "topic" required,
        /// Key without its topic.
        key: &'a str = "key" required,
        /// Messages wanted at most.
        max_num: i32 = "maxNum" required,
        /// Earliest store time.
        begin_timestamp: TimestampMs = "beginTimestamp" required,
        /// Latest store time.
        end_timestamp: TimestampMs = "endTimestamp" required,
        /// `K` key, `U` unique key, `T` tag.
        index_type: Option<&'a str> = "indexType" or (None),
        /// Where the last page ended.
        last_key: Option<&'a str> = "lastKey" or (None),
        /// Not of the Java class, but beside it: the key is a unique key.
        unique_key_query: bool = "_UNIQUE_KEY_QUERY" or (false),
    }

    /// VIEW_MESSAGE_BY_ID (33).
    pub struct ViewMessage<'a>: "ViewMessageRequestHeader" {
        /// Topic the message must have.
        topic: Option<&'a str> = "topic" or (None),
        /// Position of the record.
        offset: PhysicalOffset = "offset" required,
    }

    /// QUERY_CONSUME_QUEUE (321).
    pub struct QueryConsumeQueue<'a>: "QueryConsumeQueueRequestHeader" {
        /// Topic.
        topic: Option<&'a str> = "topic" or (None),
        /// Queue within the topic.
        queue_id: QueueId = "queueId" or (QueueId(0)),
        /// First entry.
        index: QueueOffset = "index" or (QueueOffset(0)),
        /// Entries wanted.
        count: i32 = "count" or (0),
        /// Group whose filter is shown too.
        consumer_group: Option<&'a str> = "consumerGroup" or (None),
    }

    /// QUERY_CONSUME_TIME_SPAN (303).
    pub struct QueryConsumeTimeSpan<'a>: "QueryConsumeTimeSpanRequestHeader" {
        /// Topic.
        topic: &'a str = "topic" required,
        /// Consumer group.
        group: &'a str = "group" required,
    }
}
