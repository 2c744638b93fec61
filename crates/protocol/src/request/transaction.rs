//! Transactions.

use crate::header::declare::headers;
use crate::types::{PhysicalOffset, QueueOffset};

headers! {
    /// END_TRANSACTION (37).
    pub struct EndTransaction<'a>: "EndTransactionRequestHeader" {
        /// Topic.
        topic: Option<&'a str> = "topic" or (None),
        /// Group of the producer.
        producer_group: &'a str = "producerGroup" required,
        /// Queue offset of the half message.
        tran_state_table_offset: QueueOffset = "tranStateTableOffset" required,
        /// Position of the half message.
        commit_log_offset: PhysicalOffset = "commitLogOffset" required,
        /// 8 commit, 12 roll back, 0 unknown.
        commit_or_rollback: i32 = "commitOrRollback" required,
        /// Answer to a check.
        from_transaction_check: bool = "fromTransactionCheck" or (false),
        /// Unique key of the message.
        msg_id: &'a str = "msgId" required,
        /// Transaction id.
        transaction_id: Option<&'a str> = "transactionId" or (None),
        /// Name of the broker the client means.
        broker_name: Option<&'a str> = "bname" or (None),
    }

    /// CHECK_TRANSACTION_STATE (39), from broker to producer.
    pub struct CheckTransactionState<'a>: "CheckTransactionStateRequestHeader" {
        /// Topic of half messages.
        topic: Option<&'a str> = "topic" or (None),
        /// Queue offset of the half message.
        tran_state_table_offset: QueueOffset = "tranStateTableOffset" required,
        /// Position of the half message.
        commit_log_offset: PhysicalOffset = "commitLogOffset" required,
        /// Unique key of the message.
        msg_id: Option<&'a str> = "msgId" or (None),
        /// Transaction id.
        transaction_id: Option<&'a str> = "transactionId" or (None),
        /// Id by position.
        offset_msg_id: Option<&'a str> = "offsetMsgId" or (None),
        /// Name of the broker the client means.
        broker_name: Option<&'a str> = "bname" or (None),
    }

    /// RESUME_CHECK_HALF_MESSAGE (323).
    pub struct ResumeCheckHalfMessage<'a>: "ResumeCheckHalfMessageRequestHeader" {
        /// Topic.
        topic: Option<&'a str> = "topic" or (None),
        /// offsetMsgId of the half message.
        msg_id: Option<&'a str> = "msgId" or (None),
    }
}
