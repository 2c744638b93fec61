//! The property string of a message: `name` U+0001 `value` U+0002, repeated.
//!
//! The final U+0002 may be missing. An entry counts only with a non-empty name and a non-empty value; the first
//! U+0001 ends the name; of equal names the last counts. The bytes are what a producer sent and need not be UTF-8.
//! Order has no meaning, and stored strings are never sorted (`MessageDecoder.string2messageProperties`).

/// Separates name and value.
pub const NAME_SEPARATOR: u8 = 1;
/// Ends an entry.
pub const ENTRY_SEPARATOR: u8 = 2;
/// Largest property string of a stored message, in bytes: its length is a signed 16-bit number.
pub const LEN_MAX: usize = i16::MAX as usize;

/// Names of properties with a meaning to broker or clients (`MessageConst`), spelled as on the wire.
pub mod name {
    macro_rules! names {
        ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
            $($(#[$doc])* pub const $name: &str = $text;)+
            /// All names of this table.
            pub const ALL: &[&str] = &[$($text,)+];
        };
    }

    names! {
        /// Keys for the index, separated by spaces.
        KEYS = "KEYS",
        /// The tag; its hash is the tags code of the queue entry.
        TAGS = "TAGS",
        /// `false`: the producer does not wait for flush and replication.
        WAIT = "WAIT",
        /// Delay level, from 1.
        DELAY = "DELAY",
        /// Original topic of a message in a retry topic.
        RETRY_TOPIC = "RETRY_TOPIC",
        /// Topic the message belongs to while it lies in a system topic.
        REAL_TOPIC = "REAL_TOPIC",
        /// Queue the message belongs to while it lies in a system topic.
        REAL_QUEUE_ID = "REAL_QID",
        /// `true` on a half message.
        TRANSACTION_PREPARED = "TRAN_MSG",
        /// Producer group.
        PRODUCER_GROUP = "PGROUP",
        /// Set by the client after a pull.
        MIN_OFFSET = "MIN_OFFSET",
        /// Set by the client after a pull.
        MAX_OFFSET = "MAX_OFFSET",
        /// Legacy.
        BUYER_ID = "BUYER_ID",
        /// offsetMsgId of the first version of a retried message.
        ORIGIN_MESSAGE_ID = "ORIGIN_MESSAGE_ID",
        /// Legacy.
        TRANSFER_FLAG = "TRANSFER_FLAG",
        /// Legacy.
        CORRECTION_FLAG = "CORRECTION_FLAG",
        /// Legacy.
        MQ2_FLAG = "MQ2_FLAG",
        /// Times a message was consumed again, carried by a client's own retry.
        RECONSUME_TIME = "RECONSUME_TIME",
        /// Maximum for the same.
        MAX_RECONSUME_TIMES = "MAX_RECONSUME_TIMES",
        /// Region of the broker.
        MSG_REGION = "MSG_REGION",
        /// Whether the broker allows tracing.
        TRACE_SWITCH = "TRACE_ON",
        /// Message id made by the producer.
        UNIQUE_KEY = "UNIQ_KEY",
        /// Unused extension of the unique key.
        EXTEND_UNIQ_INFO = "EXTEND_UNIQ_INFO",
        /// Set by the client when consumption starts.
        CONSUME_START_TIMESTAMP = "CONSUME_START_TIME",
        /// Priority, from 0.
        PRIORITY = "_SYS_MSG_PRIORITY_",
        /// Number of messages in an inner batch.
        INNER_NUM = "INNER_NUM",
        /// Queue offset of the first message of an inner batch.
        INNER_BASE = "INNER_BASE",
        /// Replication bookkeeping.
        DUP_INFO = "DUP_INFO",
        /// Seconds before the first transaction check.
        CHECK_IMMUNITY_TIME_IN_SECONDS = "CHECK_IMMUNITY_TIME_IN_SECONDS",
        /// Queue offset of a half message that was put back.
        TRANSACTION_PREPARED_QUEUE_OFFSET = "TRAN_PREPARED_QUEUE_OFFSET",
        /// Transaction id.
        TRANSACTION_ID = "__transactionId__",
        /// Transaction checks so far.
        TRANSACTION_CHECK_TIMES = "TRANSACTION_CHECK_TIMES",
        /// Instance of a namespace.
        INSTANCE_ID = "INSTANCE_ID",
        /// Request-reply: matches reply and request.
        CORRELATION_ID = "CORRELATION_ID",
        /// Request-reply: client that waits.
        MESSAGE_REPLY_TO_CLIENT = "REPLY_TO_CLIENT",
        /// Request-reply: milliseconds the requester waits.
        MESSAGE_TTL = "TTL",
        /// Request-reply: arrival of the reply at the broker.
        REPLY_MESSAGE_ARRIVE_TIME = "ARRIVE_TIME",
        /// Request-reply: time of the push.
        PUSH_REPLY_TIME = "PUSH_REPLY_TIME",
        /// Cluster of the broker that stored the message.
        CLUSTER = "CLUSTER",
        /// `reply` on a reply.
        MESSAGE_TYPE = "MSG_TYPE",
        /// Pop receipt.
        POP_CK = "POP_CK",
        /// Pop bookkeeping.
        POP_CK_OFFSET = "POP_CK_OFFSET",
        /// Time of the first pop.
        FIRST_POP_TIME = "1ST_POP_TIME",
        /// Message group of FIFO messages.
        SHARDING_KEY = "__SHARDINGKEY",
        /// Lite topic.
        LITE_TOPIC = "__LITE_TOPIC",
        /// Forwarding.
        FORWARD_QUEUE_ID = "PROPERTY_FORWARD_QUEUE_ID",
        /// Forwarding.
        REDIRECT = "REDIRECT",
        /// Queues that get an entry too, separated by commas.
        INNER_MULTI_DISPATCH = "INNER_MULTI_DISPATCH",
        /// Offsets in those queues, separated by commas.
        INNER_MULTI_QUEUE_OFFSET = "INNER_MULTI_QUEUE_OFFSET",
        /// Trace context of gRPC clients.
        TRACE_CONTEXT = "TRACE_CONTEXT",
        /// Delay in seconds.
        TIMER_DELAY_SEC = "TIMER_DELAY_SEC",
        /// Delivery time, milliseconds since the epoch.
        TIMER_DELIVER_MS = "TIMER_DELIVER_MS",
        /// Timer bookkeeping.
        TIMER_ENQUEUE_MS = "TIMER_ENQUEUE_MS",
        /// Timer bookkeeping.
        TIMER_DEQUEUE_MS = "TIMER_DEQUEUE_MS",
        /// Timer bookkeeping.
        TIMER_ROLL_TIMES = "TIMER_ROLL_TIMES",
        /// Timer bookkeeping.
        TIMER_OUT_MS = "TIMER_OUT_MS",
        /// Unique key of the timer message that this one cancels.
        TIMER_DEL_UNIQUE_KEY = "TIMER_DEL_UNIQKEY",
        /// Timer bookkeeping.
        TIMER_DELAY_LEVEL = "TIMER_DELAY_LEVEL",
        /// Delay in milliseconds.
        TIMER_DELAY_MS = "TIMER_DELAY_MS",
        /// Born host of gRPC clients.
        BORN_HOST = "__BORNHOST",
        /// Born time of gRPC clients.
        BORN_TIMESTAMP = "BORN_TIMESTAMP",
        /// Checksum over the record; always the last entry.
        CRC32 = "__CRC32#",
        /// Topic a dead letter came from.
        DLQ_ORIGIN_TOPIC = "DLQ_ORIGIN_TOPIC",
        /// Message id of what became a dead letter.
        DLQ_ORIGIN_MESSAGE_ID = "DLQ_ORIGIN_MESSAGE_ID",
    }

    /// Properties with this prefix live between broker and client and are never stored.
    pub const TRANSIENT_PREFIX: &str = "__RMQ.TRANSIENT.";
}

/// The entries of a property string, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Properties<'a>(pub &'a [u8]);

impl<'a> Properties<'a> {
    /// Valid entries as (name, value); equal names may repeat.
    #[must_use]
    pub fn iter(self) -> Entries<'a> {
        Entries { rest: self.0 }
    }

    /// The bytes of the last entry called `name`.
    #[must_use]
    pub fn bytes(self, name: &str) -> Option<&'a [u8]> {
        let name = name.as_bytes();
        self.iter().filter(|(entry, _)| *entry == name).last().map(|(_, value)| value)
    }

    /// The value of the last entry called `name`; absent as well if it is not UTF-8.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.bytes(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Whether an entry is called `name`.
    #[must_use]
    pub fn contains(self, name: &str) -> bool {
        let name = name.as_bytes();
        self.iter().any(|(entry, _)| entry == name)
    }

    /// Appends the valid entries whose name `keep` accepts to `out`, each with its separators.
    pub fn copy_filtered(self, out: &mut Vec<u8>, mut keep: impl FnMut(&'a [u8]) -> bool) {
        for (name, value) in self.iter() {
            if keep(name) {
                push_bytes(out, name, value);
            }
        }
    }
}

impl<'a> IntoIterator for Properties<'a> {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = Entries<'a>;

    fn into_iter(self) -> Entries<'a> {
        self.iter()
    }
}

/// Iterator of [`Properties::iter`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let end = find(ENTRY_SEPARATOR, self.rest).unwrap_or(self.rest.len());
            let (entry, rest) = self.rest.split_at(end);
            self.rest = rest.get(1..).unwrap_or_default();
            let Some(at) = find(NAME_SEPARATOR, entry) else { continue };
            let (name, value) = (&entry[..at], &entry[at + 1..]);
            if !name.is_empty() && !value.is_empty() {
                return Some((name, value));
            }
        }
        None
    }
}

impl Entries<'_> {
    /// Bytes that were not looked at yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }
}

/// Position of the first `byte`. Names and values are short, so this has no setup.
#[inline]
fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let (chunks, rest) = bytes.as_chunks::<8>();
    for (at, chunk) in chunks.iter().enumerate() {
        let word = u64::from_le_bytes(*chunk) ^ (ONES * u64::from(byte));
        // The high bit of every zero byte; bits above the lowest zero byte may be wrong, which does not matter.
        let found = word.wrapping_sub(ONES) & !word & HIGHS;
        if found != 0 {
            return Some(at * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    let at = bytes.len() - rest.len();
    rest.iter().position(|&other| other == byte).map(|offset| at + offset)
}

/// Appends one entry. `out` must be empty or end with a separator ([`end_entry`]).
pub fn push(out: &mut Vec<u8>, name: &str, value: &str) {
    push_bytes(out, name.as_bytes(), value.as_bytes());
}

/// [`push`] for bytes.
pub fn push_bytes(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.push(NAME_SEPARATOR);
    out.extend_from_slice(value);
    out.push(ENTRY_SEPARATOR);
}

/// Adds the separator that a property string from elsewhere may lack at its end.
pub fn end_entry(out: &mut Vec<u8>) {
    if out.last().is_some_and(|&last| last != ENTRY_SEPARATOR) {
        out.push(ENTRY_SEPARATOR);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(text: &str) -> Vec<(String, String)> {
        let owned = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Properties(text.as_bytes()).iter().map(|(name, value)| (owned(name), owned(value))).collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn entries_that_do_not_count() {
        assert_eq!(list("A\u{2}B\u{1}1\u{2}C\u{1}2"), [pair("B", "1"), pair("C", "2")]);
        assert_eq!(list("A\u{1}x\u{1}y\u{2}"), [pair("A", "x\u{1}y")]);
        assert_eq!(list("A\u{1}\u{2}\u{1}v\u{2}\u{2}B\u{1}b"), [pair("B", "b")]);
        assert_eq!(list(""), []);
    }

    #[test]
    fn the_last_of_equal_names_counts() {
        let text = Properties(b"A\x011\x02B\x01b\x02A\x012\x02");
        assert_eq!(text.get("A"), Some("2"));
        assert_eq!(text.get("C"), None);
        assert!(text.contains("B") && !text.contains("b"));
    }

    #[test]
    fn a_value_that_is_not_utf8_is_kept_as_bytes() {
        let text = Properties(b"A\x01\xff\x02");
        assert_eq!(text.get("A"), None);
        assert_eq!(text.bytes("A"), Some(&b"\xff"[..]));
    }

    #[test]
    fn copy_drops_what_is_unwanted_and_ends_every_entry() {
        let mut out = Vec::new();
        Properties(b"A\x011\x02WAIT\x01true\x02B\x01\x02C\x013")
            .copy_filtered(&mut out, |name| name != b"WAIT");
        assert_eq!(out, b"A\x011\x02C\x013\x02");
    }

    #[test]
    fn missing_end_is_added_once() {
        let mut out = b"A\x011".to_vec();
        end_entry(&mut out);
        end_entry(&mut out);
        assert_eq!(out, b"A\x011\x02");
        let mut out = Vec::new();
        end_entry(&mut out);
        assert_eq!(out, b"");
    }

    proptest! {
        #[test]
        fn roundtrip_entries(entries in prop::collection::vec(("[^\u{1}\u{2}]{1,8}", "[^\u{1}\u{2}]{1,8}"), 0..8)) {
            let mut out = Vec::new();
            for (name, value) in &entries {
                push(&mut out, name, value);
            }
            let read = list(std::str::from_utf8(&out).unwrap());
            prop_assert_eq!(read, entries);
        }

        #[test]
        fn the_first_separator_is_found(bytes in prop::collection::vec(0u8..=255, 0..40), byte in 0u8..4) {
            prop_assert_eq!(find(byte, &bytes), bytes.iter().position(|&other| other == byte));
        }

        #[test]
        fn any_bytes_can_be_read_and_copied(bytes in prop::collection::vec(0u8..4, 0..64)) {
            let mut copy = Vec::new();
            Properties(&bytes).copy_filtered(&mut copy, |_| true);
            prop_assert!(copy.len() <= bytes.len() + 1);
            prop_assert!(Properties(&copy).iter().eq(Properties(&bytes).iter()));
        }
    }
}
