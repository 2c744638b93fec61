//! Headers of responses.

use crate::header::declare::headers;
use crate::types::{BrokerId, PhysicalOffset, QueueId, QueueOffset, TimestampMs};

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

    /// Answer to 12.
    pub struct QueryMessage: "QueryMessageResponseHeader" {
        /// Time of the last index entry.
        index_last_update_timestamp: TimestampMs = "indexLastUpdateTimestamp" required,
        /// Position of the last index entry.
        index_last_update_physical: PhysicalOffset = "indexLastUpdatePhyoffset" required,
    }

    /// Answer to 14, 29, 30 and 31.
    pub struct Offset: "GetMaxOffsetResponseHeader" {
        /// The offset.
        offset: QueueOffset = "offset" required,
    }

    /// Answer to 32.
    pub struct GetEarliestMsgStoretime: "GetEarliestMsgStoretimeResponseHeader" {
        /// Store time of the first message.
        timestamp: TimestampMs = "timestamp" required,
    }

    /// Answer to 26; the body is properties text.
    pub struct GetBrokerConfig<'a>: "GetBrokerConfigResponseHeader" {
        /// Data version of the configuration, JSON.
        version: &'a str = "version" required,
    }

    /// Answer to 21.
    pub struct GetAllTopicConfig: "GetAllTopicConfigResponseHeader" {
        /// Topics there are, over all pages.
        total_topic_num: Option<i32> = "totalTopicNum" or (None),
    }

    /// Answer to 201.
    pub struct GetAllSubscriptionGroup: "GetAllSubscriptionGroupResponseHeader" {
        /// Groups there are, over all pages.
        total_group_num: Option<i32> = "totalGroupNum" or (None),
    }

    /// Answer to 101.
    pub struct GetKvConfig<'a>: "GetKVConfigResponseHeader" {
        /// The value.
        value: Option<&'a str> = "value" or (None),
    }

    /// Answer to 103.
    pub struct RegisterBroker<'a>: "RegisterBrokerResponseHeader" {
        /// Where the leader takes followers.
        ha_server_addr: Option<&'a str> = "haServerAddr" or (None),
        /// The leader's address.
        master_addr: Option<&'a str> = "masterAddr" or (None),
    }

    /// Answer to 322.
    pub struct QueryDataVersion: "QueryDataVersionResponseHeader" {
        /// The broker must register in full.
        changed: bool = "changed" required,
    }

    /// Answer to 205.
    pub struct WipeWritePermOfBroker: "WipeWritePermOfBrokerResponseHeader" {
        /// Topics changed.
        wipe_topic_count: i32 = "wipeTopicCount" required,
    }

    /// Answer to 327.
    pub struct AddWritePermOfBroker: "AddWritePermOfBrokerResponseHeader" {
        /// Topics changed.
        add_topic_count: i32 = "addTopicCount" required,
    }

    /// Answer to 370.
    pub struct RecallMessage<'a>: "RecallMessageResponseHeader" {
        /// Unique key of the recalled message.
        msg_id: &'a str = "msgId" required,
    }

    /// Answer to 906.
    pub struct ExchangeHaInfo<'a>: "ExchangeHAInfoResponseHeader" {
        /// Where followers connect.
        master_ha_address: Option<&'a str> = "masterHaAddress" or (None),
        /// The leader's durable position.
        master_flush_offset: Option<PhysicalOffset> = "masterFlushOffset" or (None),
        /// The leader's address.
        master_address: Option<&'a str> = "masterAddress" or (None),
    }

    /// Answer to 200050 and 200052; complete for codes 209 and 210 too.
    pub struct PopMessage<'a>: "PopMessageResponseHeader" {
        /// The broker's clock.
        pop_time: TimestampMs = "popTime" required,
        /// Length of the lease.
        invisible_ms: i64 = "invisibleTime" required,
        /// 999 for ordered pops.
        revive_qid: i32 = "reviveQid" required,
        /// Messages left.
        rest_num: i64 = "restNum" required,
        /// Where each queue was read from.
        start_offset_info: Option<&'a str> = "startOffsetInfo" or (None),
        /// Offsets per queue.
        msg_offset_info: Option<&'a str> = "msgOffsetInfo" or (None),
        /// Times consumed, ordered pops only.
        order_count_info: Option<&'a str> = "orderCountInfo" or (None),
    }

    /// Answer to 200053.
    pub struct ChangeInvisibleTime: "ChangeInvisibleTimeResponseHeader" {
        /// For the new receipt.
        pop_time: TimestampMs = "popTime" required,
        /// For the new receipt.
        invisible_ms: i64 = "invisibleTime" required,
        /// For the new receipt.
        revive_qid: i32 = "reviveQid" required,
    }

    /// Answer to 200054.
    pub struct Notification: "NotificationResponseHeader" {
        /// There is something to pop.
        has_msg: bool = "hasMsg" required,
        /// Too many requests are held.
        polling_full: bool = "pollingFull" or (false),
    }

    /// Answer to 200055.
    pub struct PollingInfo: "PollingInfoResponseHeader" {
        /// Held pops.
        polling_num: i32 = "pollingNum" required,
    }
}
