//! Answers, and which code and remark every error becomes. This page is the only place that knows the codes of errors.
//!
//! Texts are Java's where Java has the case, byte for byte: clients print them, people search for them, and tools
//! match some of them.

use std::borrow::Cow;
use std::net::SocketAddr;

use ferromq_protocol::code::response as code;
use ferromq_protocol::encode::{self, FrameTooLong};
use ferromq_protocol::frame::Encoding;
use ferromq_protocol::header::{FieldError, Head};
use ferromq_store::query::QueryError;
use ferromq_store::queue::EntriesError;
use ferromq_store::{Outcome, ReadError, RecordError, Stored};

use crate::attributes::AttributeError;
use crate::metadata::PersistError;
use crate::names::NameError;
use crate::topics::UnsupportedTopic;

/// Ends many of Java's remarks.
pub const FAQ: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// Too many requests wait.
pub const OVERLOAD: &str = "[OVERLOAD]system busy, start flow control for a while";
/// The disk does not take what is written; Java says so before it looks at a send.
pub const BUSY_DISK: &str = "[REJECTREQUEST]system busy, start flow control for a while";

/// A complete answer to a request that is not on the hot path.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// See [`ferromq_protocol::code::response`].
    pub code: i32,
    /// For people; success has none.
    pub remark: Option<Cow<'static, str>>,
    /// Ext fields.
    pub fields: Vec<(&'static str, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Success without more.
    #[must_use]
    pub fn success() -> Self {
        Self::default()
    }

    /// Success with the remark that Java's answer begins with and that some of its handlers forget to clear.
    #[must_use]
    pub fn success_with_forgotten_remark() -> Self {
        Self { remark: Some(Cow::Borrowed("not set any response code")), ..Self::default() }
    }

    /// Success with a body.
    #[must_use]
    pub fn with_body(body: Vec<u8>) -> Self {
        Self { body, ..Self::default() }
    }

    /// Success with one ext field.
    #[must_use]
    pub fn with_field(name: &'static str, value: impl ToString) -> Self {
        Self { fields: vec![(name, value.to_string())], ..Self::default() }
    }

    /// Adds an ext field.
    #[must_use]
    pub fn and_field(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.push((name, value.to_string()));
        self
    }

    /// A code and its reason.
    #[must_use]
    pub fn error(code: i32, remark: impl Into<Cow<'static, str>>) -> Self {
        Self { code, remark: Some(remark.into()), ..Self::default() }
    }

    /// Appends the answer to the request with this `opaque`.
    pub fn write(&self, out: &mut Vec<u8>, encoding: Encoding, opaque: i32) {
        let head = Head::response(self.code, opaque);
        let mut header = encode::begin(out, encoding, head, self.remark.as_deref());
        for (name, value) in &self.fields {
            header.text(name, value);
        }
        if let Err(FrameTooLong { len }) = header.finish_with(&self.body) {
            let remark = format!("the answer of {len} bytes exceeds the largest frame; ask for less at once");
            // An error answer always fits.
            let _ = encode::begin(out, encoding, Head::response(code::SYSTEM_ERROR, opaque), Some(&remark))
                .finish();
        }
    }
}

/// Anything that has a code and a remark.
pub trait ToAnswer {
    /// The answer that tells of this error.
    fn answer(&self) -> Answer;
}

impl<E: ToAnswer> From<E> for Answer {
    fn from(error: E) -> Self {
        error.answer()
    }
}

/// Parts of RocketMQ that this broker does not have yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Delay levels.
    DelayLevels,
    /// Delivery at any time.
    Timer,
    /// Transactions.
    Transactions,
    /// Light message queues.
    LightQueues,
    /// Lite topics.
    LiteTopics,
    /// Consumers sending failed messages back.
    SendBack,
    /// Dead letter topics.
    DeadLetters,
    /// Pop consumption.
    Pop,
    /// Request-reply.
    Reply,
    /// Cancelling timer messages.
    Recall,
    /// Batches stored as one record.
    InnerBatch,
}

impl Feature {
    /// For remarks.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DelayLevels => "delayed messages (DELAY)",
            Self::Timer => "timer messages (TIMER_*)",
            Self::Transactions => "transactional messages (TRAN_MSG)",
            Self::LightQueues => "light message queues (INNER_MULTI_DISPATCH)",
            Self::LiteTopics => "lite topics (__LITE_TOPIC)",
            Self::SendBack => "sending back failed messages",
            Self::DeadLetters => "retry limits and dead letter topics",
            Self::Pop => "pop consumption",
            Self::Reply => "request-reply",
            Self::Recall => "recalling timer messages",
            Self::InnerBatch => "inner batches",
        }
    }
}

/// No handler for a request code.
#[derive(Clone, Copy, Debug)]
pub struct UnsupportedRequest {
    /// The code.
    pub code: i32,
    /// What it belongs to, if that is known.
    pub feature: Option<Feature>,
}

impl ToAnswer for UnsupportedRequest {
    fn answer(&self) -> Answer {
        let mut remark = format!(" request type {} not supported", self.code);
        if let Some(feature) = self.feature {
            remark.push_str(": this broker does not have ");
            remark.push_str(feature.name());
            remark.push_str(" yet");
        }
        Answer::error(code::REQUEST_CODE_NOT_SUPPORTED, remark)
    }
}

/// Why a message was not stored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SendError {
    /// The header lacks a field.
    #[error(transparent)]
    Header(#[from] FieldError),
    /// Sends are accepted only later (`startAcceptSendRequestTimeStamp`).
    #[error("broker unable to service, until {0}")]
    TooEarly(String),
    /// `brokerPermission` forbids writing to ordered topics.
    #[error("the broker[{0}] sending message is forbidden")]
    BrokerForbidden(String),
    /// The topic's name is wrong.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Only the broker writes this topic.
    #[error("Sending message to topic[{0}] is forbidden.")]
    SystemTopic(String),
    /// The topic does not exist and may not be created.
    #[error("topic[{0}] not exist, apply first please!{FAQ}")]
    NoTopic(String),
    /// The topic could not be created.
    #[error(transparent)]
    Persist(#[from] PersistError),
    /// No such queue.
    #[error("request queueId[{queue_id}] is illegal, {topic} Producer: {producer}")]
    Queue {
        /// The queue asked for.
        queue_id: i32,
        /// The topic's settings, as Java prints them.
        topic: String,
        /// Who asked.
        producer: SocketAddr,
    },
    /// The topic has no queue to write.
    #[error("topic[{0}] has no write queue")]
    NoWriteQueue(String),
    /// The group of a retry topic does not exist.
    #[error("subscription group not exist, {0} {FAQ}")]
    NoGroup(String),
    /// The message asks for something that does not exist here.
    #[error("the message is illegal, {} are not supported yet", .0.name())]
    Unsupported(Feature),
    /// The topic asks for something that does not exist here.
    #[error("the message is illegal, {0}")]
    UnsupportedTopic(#[from] UnsupportedTopic),
    /// A batch may not be sent to a retry topic.
    #[error("batch request does not support retry group {0}")]
    BatchToRetryTopic(String),
    /// There is no body.
    #[error("the message has no body")]
    NoBody,
    /// Too long or malformed.
    #[error("{}", illegal(*max_message_size, detail.as_deref()))]
    Illegal {
        /// Largest body allowed, in bytes.
        max_message_size: usize,
        /// What exactly was wrong.
        detail: Option<String>,
    },
    /// Too many messages wait to be stored.
    #[error("{OVERLOAD}")]
    Overload,
    /// A write to the log has not returned for longer than a sender should wait.
    #[error("{BUSY_DISK}")]
    BusyDisk,
    /// The request waited too long before it was looked at.
    #[error(
        "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: {waited_ms}ms, size of queue: {waiting}"
    )]
    WaitedTooLong {
        /// Milliseconds since the frame was complete.
        waited_ms: u128,
        /// Requests that wait too.
        waiting: usize,
    },
    /// The disk is full, or the store is being stopped.
    #[error(
        "service not available now. It may be caused by one of the following reasons: the broker's disk is full \
         [{disk}], messages are put to the slave, message store has been shut down, etc."
    )]
    ServiceUnavailable {
        /// How full the disks are, in Java's form.
        disk: String,
    },
    /// The disk refused the write.
    #[error("the disk refused to store the message; it is not stored")]
    DiskFailed,
    /// The store failed to sync and stores nothing until it is restarted.
    #[error(
        "the store could not write to its disk and accepts nothing until it is restarted and has recovered"
    )]
    Poisoned,
    /// The log was cut before the message.
    #[error("the message was taken back because the log was cut before it")]
    Truncated,
}

fn illegal(max_message_size: usize, detail: Option<&str>) -> String {
    let mut text = format!(
        "the message is illegal, maybe msg body or properties length not matched. msg body length limit \
         {max_message_size}B, msg properties length limit 32KB."
    );
    if let Some(detail) = detail {
        text.push(' ');
        text.push_str(detail);
    }
    text
}

impl SendError {
    /// What a record that cannot be encoded means to its sender.
    #[must_use]
    pub fn of_record(error: &RecordError, max_message_size: usize) -> Self {
        let detail = match error {
            // Java's text says all there is.
            RecordError::BodyTooLong { .. } | RecordError::PropertiesTooLong { .. } => None,
            other => Some(other.to_string()),
        };
        Self::Illegal { max_message_size, detail }
    }

    /// Whether Java fails here with an exception, whose answer lacks the fields that others have.
    #[must_use]
    pub fn is_exception(&self) -> bool {
        matches!(self, Self::Header(_) | Self::NoBody)
    }

    /// The code clients decide by: the Java producer tries another broker on 1, 2, 14, 16 and 17 only.
    #[must_use]
    pub fn code(&self) -> i32 {
        match self {
            Self::Header(_)
            | Self::NoBody
            | Self::TooEarly(_)
            | Self::Persist(_)
            | Self::NoWriteQueue(_)
            | Self::DiskFailed
            | Self::Truncated => code::SYSTEM_ERROR,
            Self::Overload | Self::BusyDisk | Self::WaitedTooLong { .. } => code::SYSTEM_BUSY,
            Self::BrokerForbidden(_) | Self::SystemTopic(_) => code::NO_PERMISSION,
            Self::Name(_) | Self::Queue { .. } => code::INVALID_PARAMETER,
            Self::NoTopic(_) => code::TOPIC_NOT_EXIST,
            Self::NoGroup(_) => code::SUBSCRIPTION_GROUP_NOT_EXIST,
            Self::Unsupported(_)
            | Self::UnsupportedTopic(_)
            | Self::BatchToRetryTopic(_)
            | Self::Illegal { .. } => code::MESSAGE_ILLEGAL,
            Self::ServiceUnavailable { .. } | Self::Poisoned => code::SERVICE_NOT_AVAILABLE,
        }
    }
}

impl ToAnswer for SendError {
    fn answer(&self) -> Answer {
        Answer::error(self.code(), self.to_string())
    }
}

/// How the outcome of a record is told: stored (with a code that says how well), or not (with the reason).
pub fn send_outcome(outcome: Outcome, disk: impl FnOnce() -> String) -> Result<(i32, Stored), SendError> {
    match outcome {
        Outcome::Confirmed(stored) => Ok((code::SUCCESS, stored)),
        Outcome::TimedOut(stored) => Ok((code::FLUSH_DISK_TIMEOUT, stored)),
        Outcome::Truncated => Err(SendError::Truncated),
        Outcome::ReadOnly | Outcome::NoSpace => Err(SendError::ServiceUnavailable { disk: disk() }),
        Outcome::Poisoned => Err(SendError::Poisoned),
        Outcome::Failed => Err(SendError::DiskFailed),
        Outcome::TopicDeleted => Err(SendError::Truncated),
    }
}

/// Why a pull is not answered with a read.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The header lacks a field.
    #[error(transparent)]
    Header(#[from] FieldError),
    /// `brokerPermission` forbids reading.
    #[error("the broker[{0}] pulling message is forbidden")]
    BrokerForbidden(String),
    /// `litePullMessageEnable` is off.
    #[error("the broker[{0}] for lite pull consumer is forbidden")]
    LitePullForbidden(String),
    /// The group does not exist and is not created by being used.
    #[error("subscription group [{0}] does not exist, {FAQ}")]
    NoGroup(String),
    /// The group may not read.
    #[error("subscription group no permission, {0}")]
    GroupForbidden(String),
    /// The topic does not exist.
    #[error("topic[{0}] not exist, apply first please! {FAQ}")]
    NoTopic(String),
    /// The topic may not be read.
    #[error("the topic[{0}] pulling message is forbidden")]
    TopicForbidden(String),
    /// No such queue.
    #[error(
        "queueId[{queue_id}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{read_queues}] consumer:[/{consumer}]"
    )]
    Queue {
        /// The queue asked for.
        queue_id: i32,
        /// Its topic.
        topic: String,
        /// Queues there are.
        read_queues: i32,
        /// Who asked.
        consumer: SocketAddr,
    },
    /// The topic asks for something that does not exist here.
    #[error("{0}")]
    UnsupportedTopic(#[from] UnsupportedTopic),
    /// Lite topics do not exist here.
    #[error("{} are not supported yet", Feature::LiteTopics.name())]
    LiteTopic,
    /// The expression in the request makes no sense.
    #[error("parse the consumer's subscription failed")]
    SubscriptionUnreadable,
    /// No member of the group is connected.
    #[error("the consumer's group info not exist{FAQ}")]
    GroupAbsent,
    /// The group may not broadcast.
    #[error("the consumer group[{0}] can not consume by broadcast way")]
    BroadcastForbidden(String),
    /// An administrator forbade the group this topic.
    #[error("the consumer group[{0}] is forbidden for topic[{1}]")]
    ForbiddenForTopic(String, String),
    /// The group's heartbeats do not name the topic.
    #[error("the consumer's subscription not exist{FAQ}")]
    NotSubscribed,
    /// The heartbeat with the client's newest subscription has not come yet.
    #[error("the consumer's subscription not latest")]
    SubscriptionNotLatest,
    /// Only tags are understood.
    #[error("The broker does not support consumer to filter message by {0}")]
    ExpressionUnsupported(String),
    /// `rejectPullConsumerEnable`.
    #[error("the consumer's group info not exist, or the pull consumer is rejected by server.{FAQ}")]
    PullConsumerRejected,
    /// Too many pulls are parked or wait for the disk.
    #[error("{OVERLOAD}")]
    Overload,
    /// The pull waited too long for the disk.
    #[error(
        "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: {waited_ms}ms, size of queue: {waiting}"
    )]
    WaitedTooLong {
        /// Milliseconds since the frame was complete.
        waited_ms: u128,
        /// Requests that wait too.
        waiting: usize,
    },
    /// The messages cannot be read.
    #[error("the messages cannot be read: {0}")]
    Read(#[from] ReadError),
    /// The messages do not fit into one frame.
    #[error(transparent)]
    TooLong(#[from] FrameTooLong),
}

impl PullError {
    /// The code of the answer and, for refusals, who refused.
    fn code(&self) -> (i32, Option<i32>) {
        let forbidden = |by| (code::NO_PERMISSION, Some(by));
        match self {
            Self::Header(_) | Self::ExpressionUnsupported(_) | Self::Read(_) | Self::TooLong(_) => {
                (code::SYSTEM_ERROR, None)
            }
            Self::BrokerForbidden(_) | Self::LitePullForbidden(_) => forbidden(1),
            Self::GroupForbidden(_) => forbidden(2),
            Self::TopicForbidden(_) => forbidden(3),
            Self::BroadcastForbidden(_) => forbidden(4),
            Self::ForbiddenForTopic(..) => forbidden(5),
            Self::NoGroup(_) => (code::SUBSCRIPTION_GROUP_NOT_EXIST, None),
            Self::NoTopic(_) => (code::TOPIC_NOT_EXIST, None),
            Self::Queue { .. } => (code::INVALID_PARAMETER, None),
            Self::UnsupportedTopic(_) | Self::LiteTopic => (code::REQUEST_CODE_NOT_SUPPORTED, None),
            Self::SubscriptionUnreadable => (code::SUBSCRIPTION_PARSE_FAILED, None),
            Self::GroupAbsent | Self::NotSubscribed | Self::PullConsumerRejected => {
                (code::SUBSCRIPTION_NOT_EXIST, None)
            }
            Self::SubscriptionNotLatest => (code::SUBSCRIPTION_NOT_LATEST, None),
            Self::Overload | Self::WaitedTooLong { .. } => (code::SYSTEM_BUSY, None),
        }
    }
}

impl ToAnswer for PullError {
    fn answer(&self) -> Answer {
        let (code, forbidden_type) = self.code();
        let answer = Answer::error(code, self.to_string());
        match forbidden_type {
            Some(by) => answer.and_field("forbiddenType", by),
            None => answer,
        }
    }
}

/// Why a request about topics, groups, offsets or messages fails.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The header lacks a field.
    #[error(transparent)]
    Header(#[from] FieldError),
    /// The body cannot be read.
    #[error("the body cannot be read: {0}")]
    Body(String),
    /// A name is wrong.
    #[error(transparent)]
    Name(#[from] NameError),
    /// System topics stay as they are.
    #[error("The topic[{0}] is conflict with system topic.")]
    SystemTopic(String),
    /// `MIXED` needs a configuration that does not exist here.
    #[error("MIXED message type is not supported.")]
    MixedMessageType,
    /// `topicFilterType` is neither of the two words.
    #[error("topicFilterType = [{0}] value invalid")]
    FilterType(String),
    /// A number is out of range.
    #[error("{name} = [{value}] is out of range, allowing 0 to {max}")]
    OutOfRange {
        /// Name on the wire.
        name: &'static str,
        /// What was asked for.
        value: i32,
        /// Largest allowed.
        max: i32,
    },
    /// Attributes are wrong.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    /// A kind of topic that does not exist here.
    #[error(transparent)]
    UnsupportedTopic(#[from] UnsupportedTopic),
    /// The change is not on disk and not in force.
    #[error(transparent)]
    Persist(#[from] PersistError),
    /// The topic does not exist; the text depends on who asks.
    #[error("{0}")]
    NoTopic(String),
    /// The group does not exist; the text depends on who asks.
    #[error("{0}")]
    NoGroup(String),
    /// A parameter is missing or wrong.
    #[error("{0}")]
    Parameter(String),
    /// Nothing was found, and clients act on that.
    #[error("{0}")]
    NotFound(&'static str),
    /// No member of the group is connected.
    #[error("{0}")]
    NotOnline(String),
    /// A client did not answer in time.
    #[error("{0}")]
    ClientTimeout(String),
    /// May not be done.
    #[error("{0}")]
    Forbidden(String),
    /// Too many requests wait.
    #[error("{OVERLOAD}")]
    Overload,
    /// The request waited too long for its turn.
    #[error(
        "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: {waited_ms}ms, size of queue: {waiting}"
    )]
    WaitedTooLong {
        /// Milliseconds since the frame was complete.
        waited_ms: u128,
        /// Requests that wait too.
        waiting: usize,
    },
    /// The store cannot read.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The index cannot be read.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl RequestError {
    fn code(&self) -> i32 {
        match self {
            Self::Header(_)
            | Self::Body(_)
            | Self::FilterType(_)
            | Self::Attribute(_)
            | Self::UnsupportedTopic(_)
            | Self::Persist(_)
            | Self::Read(_)
            | Self::Query(_)
            | Self::Failed(_) => code::SYSTEM_ERROR,
            Self::Name(_)
            | Self::SystemTopic(_)
            | Self::MixedMessageType
            | Self::OutOfRange { .. }
            | Self::Parameter(_) => code::INVALID_PARAMETER,
            Self::NoTopic(_) => code::TOPIC_NOT_EXIST,
            Self::NoGroup(_) => code::SUBSCRIPTION_GROUP_NOT_EXIST,
            Self::NotFound(_) => code::QUERY_NOT_FOUND,
            Self::NotOnline(_) => code::CONSUMER_NOT_ONLINE,
            Self::ClientTimeout(_) => code::CONSUME_MSG_TIMEOUT,
            Self::Forbidden(_) => code::NO_PERMISSION,
            Self::Overload | Self::WaitedTooLong { .. } => code::SYSTEM_BUSY,
        }
    }
}

impl From<EntriesError> for RequestError {
    fn from(error: EntriesError) -> Self {
        Self::Read(error.into())
    }
}

impl ToAnswer for RequestError {
    fn answer(&self) -> Answer {
        Answer::error(self.code(), self.to_string())
    }
}
