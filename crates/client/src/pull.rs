//! Reading queues on one's own: pulls, offsets, look-ups by time. Nothing is registered and nothing
//! shared out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ferromq_protocol::header::OwnedFrame;
use ferromq_protocol::request::{
    GetMaxOffset, GetMinOffset, PullMessage, QueryConsumerOffset, SearchOffset, UpdateConsumerOffset,
};
use ferromq_protocol::sys_flag::pull;
use ferromq_protocol::types::{BrokerId, QueueOffset, TimestampMs};
use ferromq_protocol::{code, record, response};
use thiserror::Error;

use crate::client::{Client, Shared, malformed, refused, succeeded};
use crate::compress::BadBody;
use crate::error::{CallError, ClientError, RouteError};
use crate::message::{GROUP_LEN_MAX, InvalidMessage, MessageQueue, ReceivedMessage, check_name};
use crate::routes::LEADER;
use crate::subscription::Subscription;

/// The answer to a held pull may come this much later than the broker was told to hold it.
const GRACE: Duration = Duration::from_secs(15);

/// What to read.
#[derive(Clone, Debug)]
pub struct PullRequest {
    pub offset: QueueOffset,
    pub max_messages: i32,
    pub max_bytes: i32,
    /// How long the broker waits for messages if there are none. Zero: it answers at once.
    pub wait: Duration,
}

impl PullRequest {
    pub fn new(offset: QueueOffset) -> Self {
        Self { offset, max_messages: 32, max_bytes: 256 * 1024, wait: Duration::ZERO }
    }

    #[must_use]
    pub fn wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }
}

/// How a pull ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullStatus {
    Found,
    /// There is nothing beyond the offset.
    NoNewMessage,
    /// There is something, but nothing that is subscribed; go on at `next_offset`.
    NoMatchedMessage,
    /// The offset is outside of the queue; go on at `next_offset`.
    OffsetIllegal,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullAnswer {
    pub status: PullStatus,
    pub next_offset: QueueOffset,
    pub min_offset: QueueOffset,
    pub max_offset: QueueOffset,
    /// Which member of the replica group to ask next.
    pub suggested_broker: BrokerId,
    /// What the subscription wants of what came.
    pub messages: Vec<ReceivedMessage>,
}

#[derive(Debug, Error)]
pub enum PullError {
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A message that came cannot be understood. Going on behind it means to skip it.
    #[error("message at offset {offset:?} of {queue}: {source}")]
    Body { queue: MessageQueue, offset: QueueOffset, source: BadBody },
}

impl PullError {
    /// The response code, if there was a response.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Client(error) => error.code(),
            Self::Body { .. } => None,
        }
    }
}

impl From<RouteError> for PullError {
    fn from(error: RouteError) -> Self {
        Self::Client(error.into())
    }
}

impl From<CallError> for PullError {
    fn from(error: CallError) -> Self {
        Self::Client(error.into())
    }
}

/// Reads queues for a group.
#[derive(Clone, Debug)]
pub struct PullConsumer {
    client: Client,
    group: String,
}

impl Client {
    /// A reader for a group.
    ///
    /// # Errors
    /// When the group name is bad.
    pub fn pull_consumer(&self, group: &str) -> Result<PullConsumer, InvalidMessage> {
        check_name("group", group, GROUP_LEN_MAX)?;
        Ok(PullConsumer { client: self.clone(), group: group.to_owned() })
    }
}

impl PullConsumer {
    /// The queues of a topic.
    ///
    /// # Errors
    /// When nobody serves it.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, RouteError> {
        Ok(self.client.route(topic).await?.subscribe.clone())
    }

    /// Reads what a subscription wants of a queue.
    ///
    /// # Errors
    /// See [`PullError`].
    pub async fn pull(
        &self,
        queue: &MessageQueue,
        subscription: &Subscription,
        request: PullRequest,
    ) -> Result<PullAnswer, PullError> {
        self.client.shared.route(&queue.topic).await?;
        let pull = Pull {
            group: &self.group,
            subscription,
            subscription_version: TimestampMs(0),
            from: LEADER,
            commit: None,
        };
        self.client.shared.pull(queue, &pull, request).await
    }

    /// The offset up to which the group has read, if it has any.
    ///
    /// # Errors
    /// When it is not known whether there is one.
    pub async fn committed(&self, queue: &MessageQueue) -> Result<Option<QueueOffset>, ClientError> {
        self.client.shared.route(&queue.topic).await?;
        self.client.shared.committed(&self.group, queue).await
    }

    /// Sets the offset up to which the group has read, and waits for the answer.
    ///
    /// # Errors
    /// When the broker refuses it or does not answer.
    pub async fn commit(&self, queue: &MessageQueue, offset: QueueOffset) -> Result<(), ClientError> {
        let shared = &self.client.shared;
        shared.route(&queue.topic).await?;
        let address = shared.leader(&queue.broker_name)?;
        let header = commit_header(&self.group, queue, offset);
        let code = code::request::UPDATE_CONSUMER_OFFSET;
        shared.call_ok(&address, code, b"", |out| out.header(&header)).await?;
        Ok(())
    }

    /// The smallest offset that is there.
    ///
    /// # Errors
    /// When the broker refuses it or does not answer.
    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<QueueOffset, ClientError> {
        self.client.shared.route(&queue.topic).await?;
        self.client.shared.min_offset(queue).await
    }

    /// The offset that the next message will get.
    ///
    /// # Errors
    /// When the broker refuses it or does not answer.
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<QueueOffset, ClientError> {
        self.client.shared.route(&queue.topic).await?;
        self.client.shared.max_offset(queue).await
    }

    /// The offset of the first message stored at that time or later.
    ///
    /// # Errors
    /// When the broker refuses it or does not answer.
    pub async fn offset_by_time(
        &self,
        queue: &MessageQueue,
        time: TimestampMs,
    ) -> Result<QueueOffset, ClientError> {
        self.client.shared.route(&queue.topic).await?;
        self.client.shared.offset_by_time(queue, time).await
    }
}

/// What the pulls of one queue have in common.
pub(crate) struct Pull<'a> {
    pub(crate) group: &'a str,
    pub(crate) subscription: &'a Subscription,
    pub(crate) subscription_version: TimestampMs,
    /// Member of the replica group to read from.
    pub(crate) from: BrokerId,
    /// Offset to commit on the way.
    pub(crate) commit: Option<QueueOffset>,
}

impl Shared {
    pub(crate) async fn pull(
        &self,
        queue: &MessageQueue,
        pull: &Pull<'_>,
        request: PullRequest,
    ) -> Result<PullAnswer, PullError> {
        let address = self.routes.reader(&queue.broker_name, pull.from);
        let address = address.ok_or_else(|| RouteError::NoBroker(queue.broker_name.to_string()))?;
        let suspend = if request.wait.is_zero() { 0 } else { pull::SUSPEND };
        let commit = if pull.commit.is_some() { pull::COMMIT_OFFSET } else { 0 };
        let header = PullMessage {
            consumer_group: pull.group,
            topic: &queue.topic,
            lite_topic: None,
            queue_id: queue.queue_id,
            queue_offset: request.offset,
            max_msg_nums: request.max_messages,
            sys_flag: pull::SUBSCRIPTION | suspend | commit,
            commit_offset: pull.commit.unwrap_or(QueueOffset(0)),
            suspend_timeout_ms: i64::try_from(request.wait.as_millis()).unwrap_or(i64::MAX),
            subscription: Some(&pull.subscription.expression),
            sub_version: pull.subscription_version,
            expression_type: Some("TAG"),
            max_msg_bytes: Some(request.max_bytes),
            request_source: None,
            proxy_forward_client_id: None,
            broker_name: Some(&queue.broker_name),
        };
        let code = code::request::PULL_MESSAGE;
        let answer = self.call(&address, request.wait + GRACE, code, b"", |out| out.header(&header)).await?;
        read_answer(&address, queue, pull.subscription, &answer)
    }

    pub(crate) async fn committed(
        &self,
        group: &str,
        queue: &MessageQueue,
    ) -> Result<Option<QueueOffset>, ClientError> {
        let address = self.leader(&queue.broker_name)?;
        let header = QueryConsumerOffset {
            consumer_group: group,
            topic: &queue.topic,
            queue_id: queue.queue_id,
            set_zero_if_not_found: None,
            broker_name: Some(&queue.broker_name),
        };
        let code = code::request::QUERY_CONSUMER_OFFSET;
        let timeout = self.config.call_timeout;
        let answer = self.call(&address, timeout, code, b"", |out| out.header(&header)).await?;
        if answer.code == code::response::QUERY_NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(read_offset(&address, code, answer)?))
    }

    /// Sends the offset up to which a group has read and does not wait.
    pub(crate) async fn commit_oneway(
        &self,
        group: &str,
        queue: &MessageQueue,
        offset: QueueOffset,
    ) -> Result<(), ClientError> {
        let address = self.leader(&queue.broker_name)?;
        let header = commit_header(group, queue, offset);
        let code = code::request::UPDATE_CONSUMER_OFFSET;
        self.oneway(&address, code, b"", |out| out.header(&header)).await?;
        Ok(())
    }

    pub(crate) async fn min_offset(&self, queue: &MessageQueue) -> Result<QueueOffset, ClientError> {
        let address = self.leader(&queue.broker_name)?;
        let header = GetMinOffset {
            topic: &queue.topic,
            queue_id: queue.queue_id,
            broker_name: Some(&queue.broker_name),
        };
        let code = code::request::GET_MIN_OFFSET;
        let answer = self.call_ok(&address, code, b"", |out| out.header(&header)).await?;
        Ok(read_offset(&address, code, answer)?)
    }

    pub(crate) async fn max_offset(&self, queue: &MessageQueue) -> Result<QueueOffset, ClientError> {
        let address = self.leader(&queue.broker_name)?;
        let header = GetMaxOffset {
            topic: &queue.topic,
            queue_id: queue.queue_id,
            committed: true,
            broker_name: Some(&queue.broker_name),
        };
        let code = code::request::GET_MAX_OFFSET;
        let answer = self.call_ok(&address, code, b"", |out| out.header(&header)).await?;
        Ok(read_offset(&address, code, answer)?)
    }

    pub(crate) async fn offset_by_time(
        &self,
        queue: &MessageQueue,
        timestamp: TimestampMs,
    ) -> Result<QueueOffset, ClientError> {
        let address = self.leader(&queue.broker_name)?;
        let header = SearchOffset {
            topic: &queue.topic,
            lite_topic: None,
            queue_id: queue.queue_id,
            timestamp,
            boundary_type: Some("LOWER"),
            broker_name: Some(&queue.broker_name),
        };
        let code = code::request::SEARCH_OFFSET_BY_TIMESTAMP;
        let answer = self.call_ok(&address, code, b"", |out| out.header(&header)).await?;
        Ok(read_offset(&address, code, answer)?)
    }
}

fn commit_header<'a>(
    consumer_group: &'a str,
    queue: &'a MessageQueue,
    offset: QueueOffset,
) -> UpdateConsumerOffset<'a> {
    UpdateConsumerOffset {
        consumer_group,
        topic: &queue.topic,
        queue_id: Some(queue.queue_id),
        commit_offset: Some(offset),
        broker_name: Some(&queue.broker_name),
    }
}

fn read_offset(address: &str, code: i32, answer: OwnedFrame) -> Result<QueueOffset, CallError> {
    let answer = succeeded(address, answer)?;
    let header: response::Offset = answer.read().map_err(|error| malformed(address, code, error))?;
    Ok(header.offset)
}

fn read_answer(
    address: &str,
    queue: &MessageQueue,
    subscription: &Subscription,
    answer: &OwnedFrame,
) -> Result<PullAnswer, PullError> {
    let status = match answer.code {
        code::response::SUCCESS => PullStatus::Found,
        code::response::PULL_NOT_FOUND => PullStatus::NoNewMessage,
        code::response::PULL_RETRY_IMMEDIATELY => PullStatus::NoMatchedMessage,
        code::response::PULL_OFFSET_MOVED => PullStatus::OffsetIllegal,
        code => return Err(CallError::from(refused(address, code, answer)).into()),
    };
    let unreadable = |reason: String| malformed(address, code::request::PULL_MESSAGE, reason);
    let header: response::PullMessage = answer.read().map_err(|error| unreadable(error.to_string()))?;
    let mut messages = Vec::new();
    if status == PullStatus::Found {
        for message in messages_in(&answer.body, &queue.broker_name) {
            let message = message.map_err(|error| match error {
                BadMessage::Record(reason) => unreadable(reason).into(),
                BadMessage::Body { offset, source } => {
                    PullError::Body { queue: queue.clone(), offset, source }
                }
            })?;
            if subscription.wants(&message) {
                messages.push(message);
            }
        }
    }
    Ok(PullAnswer {
        status,
        next_offset: header.next_begin_offset,
        min_offset: header.min_offset,
        max_offset: header.max_offset,
        suggested_broker: header.suggest_which_broker_id,
        messages,
    })
}

pub(crate) enum BadMessage {
    Record(String),
    Body { offset: QueueOffset, source: BadBody },
}

/// The messages of a body made of stored records.
pub(crate) fn messages_in(
    body: &Bytes,
    broker_name: &Arc<str>,
) -> impl Iterator<Item = Result<ReceivedMessage, BadMessage>> {
    record::decode_all(body).map(move |record| {
        let record = record.map_err(|error| BadMessage::Record(error.to_string()))?;
        let message = ReceivedMessage::from_record(&record, body, broker_name);
        message.map_err(|source| BadMessage::Body { offset: record.queue_offset, source })
    })
}
