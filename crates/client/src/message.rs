//! Messages as a user makes and gets them, and the rules for names.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use ferromq_protocol::properties::{self, ENTRY_SEPARATOR, NAME_SEPARATOR, name};
use ferromq_protocol::record::Record;
use ferromq_protocol::types::{Host, PhysicalOffset, QueueId, QueueOffset, TimestampMs};
use thiserror::Error;

use crate::compress;

/// Longest topic that a client sends to (`TopicValidator`).
pub(crate) const TOPIC_LEN_MAX: usize = 127;
/// Longest group name.
pub(crate) const GROUP_LEN_MAX: usize = 120;
/// Longest body unless configured otherwise.
pub(crate) const BODY_LEN_MAX: usize = 4 * 1024 * 1024;

/// Topics of the system to which nothing may be sent.
const FORBIDDEN_TOPICS: [&str; 6] = [
    "SCHEDULE_TOPIC_XXXX",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
];

/// Why a name or a message is refused before anything is sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidMessage {
    #[error("the {what} is empty")]
    Empty { what: &'static str },
    #[error("the {what} {value:?} holds a character other than %, |, letters, digits, _ and -")]
    Characters { what: &'static str, value: String },
    #[error("the {what} {value:?} is longer than {limit} characters")]
    TooLong { what: &'static str, value: String, limit: usize },
    #[error("nothing may be sent to topic {0}")]
    ForbiddenTopic(String),
    #[error("group {0} is reserved")]
    ReservedGroup(String),
    #[error("a body of {len} bytes exceeds the limit of {limit}")]
    BodyTooLong { len: usize, limit: usize },
    #[error("property {name:?} is empty or holds a separator character")]
    Property { name: String },
    #[error("properties of {0} bytes exceed 32767")]
    PropertiesTooLong(usize),
    #[error("the messages of a batch differ in their {0}")]
    MixedBatch(&'static str),
    #[error("a batch must not hold messages {0}")]
    NotForBatches(&'static str),
}

/// Checks a name as the official clients do.
pub(crate) fn check_name(what: &'static str, value: &str, limit: usize) -> Result<(), InvalidMessage> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-');
    if value.is_empty() {
        return Err(InvalidMessage::Empty { what });
    }
    if !value.bytes().all(allowed) {
        return Err(InvalidMessage::Characters { what, value: value.to_owned() });
    }
    if value.len() > limit {
        return Err(InvalidMessage::TooLong { what, value: value.to_owned(), limit });
    }
    Ok(())
}

/// One queue of a topic at one broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MessageQueue {
    pub topic: Arc<str>,
    pub broker_name: Arc<str>,
    pub queue_id: QueueId,
}

impl MessageQueue {
    pub fn new(topic: &str, broker_name: &str, queue_id: i32) -> Self {
        Self { topic: topic.into(), broker_name: broker_name.into(), queue_id: QueueId(queue_id) }
    }
}

impl Ord for MessageQueue {
    /// Java's order, which compares UTF-16 units; all members of a group must see the same one.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let units = |text: &Arc<str>| text.encode_utf16().collect::<Vec<u16>>();
        (units(&self.topic).cmp(&units(&other.topic)))
            .then_with(|| units(&self.broker_name).cmp(&units(&other.broker_name)))
            .then_with(|| self.queue_id.0.cmp(&other.queue_id.0))
    }
}

impl PartialOrd for MessageQueue {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for MessageQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.topic, self.broker_name, self.queue_id.0)
    }
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub body: Bytes,
    /// A number of the user's, stored as it is.
    pub flag: i32,
    properties: Vec<(String, String)>,
}

impl Message {
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Self {
        let wait = (name::WAIT.to_owned(), "true".to_owned());
        Self { topic: topic.into(), body: body.into(), flag: 0, properties: vec![wait] }
    }

    /// The tag that consumers filter by.
    #[must_use]
    pub fn tag(self, tag: impl Into<String>) -> Self {
        self.property(name::TAGS, tag)
    }

    /// Keys by which the message can be found.
    #[must_use]
    pub fn keys<'a>(self, keys: impl IntoIterator<Item = &'a str>) -> Self {
        let joined = keys.into_iter().collect::<Vec<_>>().join(" ");
        self.property(name::KEYS, joined)
    }

    /// Whether the answer may come before the message is flushed and replicated as the broker is set to.
    #[must_use]
    pub fn wait(self, wait: bool) -> Self {
        self.property(name::WAIT, if wait { "true" } else { "false" })
    }

    /// Sets a property; a second value for the same name replaces the first.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        match self.properties.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.properties.push((name, value)),
        }
        self
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn check(&self, body_len_max: usize) -> Result<(), InvalidMessage> {
        check_name("topic", &self.topic, TOPIC_LEN_MAX)?;
        if FORBIDDEN_TOPICS.contains(&self.topic.as_str()) {
            return Err(InvalidMessage::ForbiddenTopic(self.topic.clone()));
        }
        if self.body.is_empty() {
            return Err(InvalidMessage::Empty { what: "body" });
        }
        if self.body.len() > body_len_max {
            return Err(InvalidMessage::BodyTooLong { len: self.body.len(), limit: body_len_max });
        }
        for (name, value) in &self.properties {
            let separates = |byte: u8| byte == NAME_SEPARATOR || byte == ENTRY_SEPARATOR;
            if name.is_empty() || name.bytes().any(separates) || value.bytes().any(separates) {
                return Err(InvalidMessage::Property { name: name.clone() });
            }
        }
        Ok(())
    }

    /// The property string with the given unique key; a value that is there already stays.
    pub(crate) fn encode_properties(&self, unique_key: &str) -> Result<String, InvalidMessage> {
        let mut out = Vec::new();
        for (name, value) in &self.properties {
            properties::push(&mut out, name, value);
        }
        if self.get(name::UNIQUE_KEY).is_none() {
            properties::push(&mut out, name::UNIQUE_KEY, unique_key);
        }
        if out.len() > properties::LEN_MAX {
            return Err(InvalidMessage::PropertiesTooLong(out.len()));
        }
        String::from_utf8(out).map_err(|_| InvalidMessage::Property { name: String::new() })
    }
}

/// A message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// Where it came from. The broker name is the one it was asked from, the rest is in the message.
    pub queue: MessageQueue,
    pub queue_offset: QueueOffset,
    pub physical: PhysicalOffset,
    /// The producer's unique key, or the offset id when there is none.
    pub msg_id: String,
    pub offset_msg_id: String,
    /// Decompressed.
    pub body: Bytes,
    pub flag: i32,
    pub sys_flag: i32,
    pub born_timestamp: TimestampMs,
    pub born_host: Host,
    pub store_timestamp: TimestampMs,
    pub store_host: Host,
    pub reconsume_times: i32,
    pub properties: Vec<(String, String)>,
}

impl ReceivedMessage {
    /// `bytes` holds the record, so that a body that is not compressed need not be copied.
    pub(crate) fn from_record(
        record: &Record<'_>,
        bytes: &Bytes,
        broker_name: &Arc<str>,
    ) -> Result<Self, compress::BadBody> {
        let offset_msg_id = ferromq_protocol::msg_id::OffsetMsgId {
            store_host: record.store_host,
            physical: record.physical,
        };
        let offset_msg_id = offset_msg_id.text().as_str().to_owned();
        let properties: Vec<(String, String)> =
            record.properties.iter().map(|(name, value)| (text(name), text(value))).collect();
        let unique_key = properties.iter().rev().find(|(known, _)| known == name::UNIQUE_KEY);
        Ok(Self {
            queue: MessageQueue {
                topic: record.topic.into(),
                broker_name: broker_name.clone(),
                queue_id: record.queue_id,
            },
            queue_offset: record.queue_offset,
            physical: record.physical,
            msg_id: unique_key.map_or_else(|| offset_msg_id.clone(), |(_, value)| value.clone()),
            offset_msg_id,
            body: compress::decompress(record.sys_flag, bytes.slice_ref(record.body))?,
            flag: record.flag,
            sys_flag: record.sys_flag,
            born_timestamp: record.born_timestamp,
            born_host: record.born_host,
            store_timestamp: record.store_timestamp,
            store_host: record.store_host,
            reconsume_times: record.reconsume_times,
            properties,
        })
    }

    /// The topic it was sent to. A message that comes again came through the retry topic of its group.
    pub fn topic(&self) -> &str {
        match self.property(name::RETRY_TOPIC) {
            Some(topic) if self.queue.topic.starts_with("%RETRY%") => topic,
            _ => &self.queue.topic,
        }
    }

    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn tag(&self) -> Option<&str> {
        self.property(name::TAGS)
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.property(name::KEYS).unwrap_or_default().split(' ').filter(|key| !key.is_empty())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
