//! Headers of responses.

use crate::header::declare::headers;
use crate::types::{BrokerId, QueueId, QueueOffset};

headers! {
    /// Answer to a send. With it belong the fields `MSG_REGION` and `TRACE_ON`, without which the Java client fails.
    pub struct SendMessage<'a>: "SendMessageResponseHeader" strict {
        /// offsetMsgId; for a batch one per message, separated by commas.
        msg_id: &'a str = "msgId" required,
        /// Chosen queue.
        queue_id: QueueId = "queueId" required,
        /// Place in the queue, for a batch of its first message.
        queue_offset: QueueOffset = "queueOffset" required,
        /// Unique key of the message.
        transaction_id: Option<&'a str> = "transactionId" or (None),
        /// Only for inner batches.
        batch_uniq_id: Option<&'a str> = "batchUniqId" or (None),
        /// Only for delayed messages.
        recall_handle: Option<&'a str> = "recallHandle" or (None),
    }

    /// Answer to a pull, complete for codes 0, 19, 20 and 21.
    pub struct PullMessage: "PullMessageResponseHeader" strict {
        /// Broker to read from next: 0 the leader.
        suggest_which_broker_id: BrokerId = "suggestWhichBrokerId" required,
        /// Where to go on.
        next_begin_offset: QueueOffset = "nextBeginOffset" required,
        /// First offset of the queue.
        min_offset: QueueOffset = "minOffset" required,
        /// End of the queue.
        max_offset: QueueOffset = "maxOffset" required,
        /// Static topics only.
        offset_delta: Option<i64> = "offsetDelta" or (None),
        /// The topic's system flag.
        topic_sys_flag: Option<i32> = "topicSysFlag" or (None),
        /// The group's system flag.
        group_sys_flag: Option<i32> = "groupSysFlag" or (None),
        /// With code 16: what forbade it.
        forbidden_type: Option<i32> = "forbiddenType" or (None),
    }
}
