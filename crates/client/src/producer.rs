//! Sending: choosing a queue, trying again elsewhere, batches, oneway.

use std::sync::Arc;
use std::time::Duration;

use ferromq_protocol::header::OwnedFrame;
use ferromq_protocol::properties::name;
use ferromq_protocol::request::SendMessageV2;
use ferromq_protocol::types::QueueOffset;
use ferromq_protocol::{batch, code, java, response};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use thiserror::Error;
use tokio::time::Instant;

use crate::client::{Client, malformed, now, refused};
use crate::error::{CallError, RouteError};
use crate::message::{BODY_LEN_MAX, GROUP_LEN_MAX, InvalidMessage, Message, MessageQueue, check_name};
use crate::push::StartError;
use crate::routes::Route;

/// Response codes after which another attempt may succeed.
const RETRIED: [i32; 8] = [
    code::response::TOPIC_NOT_EXIST,
    code::response::SERVICE_NOT_AVAILABLE,
    code::response::SYSTEM_ERROR,
    code::response::SYSTEM_BUSY,
    code::response::NO_PERMISSION,
    code::response::NO_BUYER_ID,
    code::response::NOT_IN_CURRENT_UNIT,
    code::response::GO_AWAY,
];

/// What is waited for before an attempt that follows a busy broker.
const BACK_OFF: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(100)];

/// Settings of a producer.
#[derive(Clone, Debug)]
pub struct ProducerOptions {
    /// Time for a send with all its attempts.
    pub timeout: Duration,
    /// Attempts after the first.
    pub retries: u32,
    /// A message that is stored but not flushed or replicated in time is sent again elsewhere.
    pub retry_not_ok: bool,
    pub body_len_max: usize,
    /// Topic whose settings a topic gets that is created by the first send.
    pub template_topic: String,
    /// Queues that such a topic gets.
    pub template_queue_nums: i32,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(3),
            retries: 2,
            retry_not_ok: false,
            body_len_max: BODY_LEN_MAX,
            template_topic: "TBW102".to_owned(),
            template_queue_nums: 4,
        }
    }
}

/// What a broker said of a message that it has stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendStatus {
    /// Stored, flushed and replicated as the broker is set to.
    Ok,
    FlushDiskTimeout,
    FlushSlaveTimeout,
    SlaveNotAvailable,
}

/// A message is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendReceipt {
    pub status: SendStatus,
    /// The unique key; for a batch those of its messages, separated by commas.
    pub msg_id: String,
    /// Where it lies; for a batch likewise.
    pub offset_msg_id: String,
    pub queue: MessageQueue,
    /// Of the first message of a batch.
    pub queue_offset: QueueOffset,
    pub transaction_id: Option<String>,
}

/// Why a message was not stored, or it is not known whether it was.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// Nothing was sent; the message has to be changed.
    #[error(transparent)]
    Invalid(#[from] InvalidMessage),
    /// Nothing was sent.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The last attempt failed so. It may be stored nevertheless if there was no answer.
    #[error("Send [{attempts}] times, still failed, Topic: {topic}, BrokersSent: {brokers:?}: {last}")]
    Failed { attempts: usize, topic: String, brokers: Vec<String>, last: CallError },
    /// The time was over before another attempt.
    #[error("no time for another attempt after {attempts}, Topic: {topic}")]
    Timeout { attempts: usize, topic: String },
}

impl SendError {
    /// The response code of the last attempt, if it had one.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Failed { last, .. } => last.code(),
            Self::Invalid(_) | Self::Route(_) | Self::Timeout { .. } => None,
        }
    }
}

/// Sends messages for a group.
#[derive(Debug)]
pub struct Producer {
    client: Client,
    group: String,
    options: ProducerOptions,
    /// Whose turn it is, per topic.
    turns: Mutex<FxHashMap<String, u32>>,
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.client.shared.members.remove_producer(&self.group);
    }
}

/// A request body with its header's changing parts, ready for any queue.
struct Prepared {
    code: i32,
    topic: String,
    properties: String,
    body: bytes::Bytes,
    flag: i32,
    is_batch: bool,
    msg_id: String,
}

impl Client {
    /// A producer of a group.
    ///
    /// # Errors
    /// When the group name is bad or has a producer in this client already.
    pub fn producer(&self, group: &str, options: ProducerOptions) -> Result<Producer, StartError> {
        check_name("group", group, GROUP_LEN_MAX)?;
        if group == "DEFAULT_PRODUCER" {
            return Err(InvalidMessage::ReservedGroup(group.to_owned()).into());
        }
        if !self.shared.members.add_producer(group) {
            return Err(StartError::GroupTaken(group.to_owned()));
        }
        Ok(Producer { client: self.clone(), group: group.to_owned(), options, turns: Mutex::default() })
    }
}

impl Producer {
    /// Tells the brokers that the producer is gone.
    pub async fn stop(self) {
        self.client.shared.members.remove_producer(&self.group);
        self.client.shared.unregister_all(Some(&self.group), None).await;
    }

    /// The queues that messages of a topic go to.
    ///
    /// # Errors
    /// When nobody serves the topic and it cannot be created.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, RouteError> {
        Ok(self.route(topic).await?.publish.clone())
    }

    /// Sends a message to the next queue, and to others if that fails.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(&self, message: &Message) -> Result<SendReceipt, SendError> {
        let prepared = self.prepare(message)?;
        self.send_anywhere(&prepared).await
    }

    /// Sends messages of one topic in one request; they are stored next to each other in one queue, all
    /// or none.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send_batch(&self, messages: &[Message]) -> Result<SendReceipt, SendError> {
        let prepared = self.prepare_batch(messages)?;
        self.send_anywhere(&prepared).await
    }

    /// Sends a message to one queue, once.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send_to(&self, message: &Message, queue: &MessageQueue) -> Result<SendReceipt, SendError> {
        let prepared = self.prepare(message)?;
        self.route(&prepared.topic).await?;
        let sent = self.attempt(&prepared, queue, Instant::now() + self.options.timeout).await;
        sent.map_err(|last| failed(&prepared, std::slice::from_ref(queue), last))
    }

    /// Sends a message to the queue that `select` picks by its index among the queues of the topic,
    /// once: messages for one queue keep their order.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send_by(
        &self,
        message: &Message,
        select: impl FnOnce(&[MessageQueue]) -> usize,
    ) -> Result<SendReceipt, SendError> {
        let route = self.route(&message.topic).await?;
        let picked = select(&route.publish) % route.publish.len();
        self.send_to(message, &route.publish[picked]).await
    }

    /// Sends a message to the queue that its key has by Java's hash, so that producers of all languages
    /// agree.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send_by_key(&self, message: &Message, key: &str) -> Result<SendReceipt, SendError> {
        self.send_by(message, |queues| queue_by_hash(key, queues.len())).await
    }

    /// Sends a message once and waits for no answer.
    ///
    /// # Errors
    /// When it could not be written; that it could does not mean that it is stored.
    pub async fn send_oneway(&self, message: &Message) -> Result<(), SendError> {
        let prepared = self.prepare(message)?;
        let route = self.route(&prepared.topic).await?;
        let queue = self.next_queue(&route, &prepared.topic, None);
        let address = self.client.shared.leader(&queue.broker_name)?;
        let header = self.header(&prepared, &queue);
        let fields = |out: &mut ferromq_protocol::encode::HeaderWriter<'_>| out.header(&header);
        let sent = self.client.shared.oneway(&address, prepared.code, &prepared.body, fields).await;
        sent.map_err(|last| failed(&prepared, std::slice::from_ref(&queue), last))
    }

    async fn route(&self, topic: &str) -> Result<Arc<Route>, RouteError> {
        let ProducerOptions { template_topic, template_queue_nums, .. } = &self.options;
        self.client.shared.publish_route(topic, template_topic, *template_queue_nums).await
    }

    async fn send_anywhere(&self, prepared: &Prepared) -> Result<SendReceipt, SendError> {
        let deadline = Instant::now() + self.options.timeout;
        let route = self.route(&prepared.topic).await?;
        let mut tried: Vec<MessageQueue> = Vec::new();
        let mut busy = 0;
        loop {
            let last_broker = tried.last().map(|queue| queue.broker_name.clone());
            let queue = self.next_queue(&route, &prepared.topic, last_broker.as_deref());
            tried.push(queue.clone());
            let outcome = self.attempt(prepared, &queue, deadline).await;
            let may_retry = tried.len() <= self.options.retries as usize;
            let wants_retry = match &outcome {
                Ok(receipt) => receipt.status != SendStatus::Ok && self.options.retry_not_ok,
                Err(error) => is_retried(error),
            };
            if !wants_retry || !may_retry {
                return outcome.map_err(|last| failed(prepared, &tried, last));
            }
            if let Err(error) = &outcome {
                tracing::debug!(topic = prepared.topic, broker = %queue.broker_name, %error, "send again");
                if error.code() == Some(code::response::SYSTEM_BUSY) {
                    let pause = BACK_OFF[busy.min(BACK_OFF.len() - 1)];
                    tokio::time::sleep_until((Instant::now() + pause).min(deadline)).await;
                    busy += 1;
                }
            }
            if Instant::now() >= deadline {
                let timeout = SendError::Timeout { attempts: tried.len(), topic: prepared.topic.clone() };
                return outcome.map_err(|_| timeout);
            }
        }
    }

    async fn attempt(
        &self,
        prepared: &Prepared,
        queue: &MessageQueue,
        deadline: Instant,
    ) -> Result<SendReceipt, CallError> {
        let shared = &self.client.shared;
        let Ok(address) = shared.leader(&queue.broker_name) else {
            return Err(malformed(&queue.broker_name, prepared.code, "the broker has no address"));
        };
        let header = self.header(prepared, queue);
        let timeout = deadline - Instant::now();
        let answer =
            shared.call(&address, timeout, prepared.code, &prepared.body, |out| out.header(&header)).await?;
        receipt(&address, prepared, queue, &answer)
    }

    fn header<'a>(&'a self, prepared: &'a Prepared, queue: &'a MessageQueue) -> SendMessageV2<'a> {
        SendMessageV2 {
            producer_group: &self.group,
            topic: &prepared.topic,
            default_topic: &self.options.template_topic,
            default_topic_queue_nums: self.options.template_queue_nums,
            queue_id: queue.queue_id,
            sys_flag: 0,
            born_timestamp: now(),
            flag: prepared.flag,
            properties: Some(&prepared.properties),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch: Some(prepared.is_batch),
            broker_name: Some(&queue.broker_name),
        }
    }

    /// The next queue in turn, if possible not at the broker that was tried last.
    fn next_queue(&self, route: &Route, topic: &str, last_broker: Option<&str>) -> MessageQueue {
        let mut turns = self.turns.lock();
        let turn = match turns.get_mut(topic) {
            Some(turn) => turn,
            None => turns.entry(topic.to_owned()).or_insert_with(random),
        };
        let mut step = || {
            *turn = turn.wrapping_add(1);
            &route.publish[*turn as usize % route.publish.len()]
        };
        let first = step();
        let elsewhere = |queue: &MessageQueue| Some(&*queue.broker_name) != last_broker;
        if elsewhere(first) {
            return first.clone();
        }
        let others = (1..route.publish.len()).map(|_| step()).find(|queue| elsewhere(queue));
        others.unwrap_or(first).clone()
    }

    fn prepare(&self, message: &Message) -> Result<Prepared, InvalidMessage> {
        message.check(self.options.body_len_max)?;
        let unique_key = self.client.shared.unique_keys.next(now());
        let properties = message.encode_properties(unique_key.as_str())?;
        Ok(Prepared {
            code: code::request::SEND_MESSAGE_V2,
            topic: message.topic.clone(),
            properties,
            body: message.body.clone(),
            flag: message.flag,
            is_batch: false,
            msg_id: message.get(name::UNIQUE_KEY).unwrap_or(unique_key.as_str()).to_owned(),
        })
    }

    fn prepare_batch(&self, messages: &[Message]) -> Result<Prepared, InvalidMessage> {
        let Some(first) = messages.first() else { return Err(InvalidMessage::Empty { what: "batch" }) };
        let mut body = Vec::new();
        let mut ids = Vec::with_capacity(messages.len());
        for message in messages {
            message.check(self.options.body_len_max)?;
            check_batchable(first, message)?;
            let unique_key = self.client.shared.unique_keys.next(now());
            let properties = message.encode_properties(unique_key.as_str())?;
            ids.push(message.get(name::UNIQUE_KEY).unwrap_or(unique_key.as_str()).to_owned());
            let entry =
                batch::Entry { flag: message.flag, body: &message.body, properties: properties.as_bytes() };
            batch::push(&mut body, &entry)
                .map_err(|_| InvalidMessage::PropertiesTooLong(properties.len()))?;
        }
        if body.len() > self.options.body_len_max {
            return Err(InvalidMessage::BodyTooLong { len: body.len(), limit: self.options.body_len_max });
        }
        let wait = first.get(name::WAIT).unwrap_or("true");
        let outer = Message::new(first.topic.clone(), "batch").property(name::WAIT, wait);
        let unique_key = self.client.shared.unique_keys.next(now());
        Ok(Prepared {
            code: code::request::SEND_BATCH_MESSAGE,
            topic: first.topic.clone(),
            properties: outer.encode_properties(unique_key.as_str())?,
            body: body.into(),
            flag: 0,
            is_batch: true,
            msg_id: ids.join(","),
        })
    }
}

fn check_batchable(first: &Message, message: &Message) -> Result<(), InvalidMessage> {
    if message.topic != first.topic {
        return Err(InvalidMessage::MixedBatch("topic"));
    }
    if message.get(name::WAIT) != first.get(name::WAIT) {
        return Err(InvalidMessage::MixedBatch("WAIT property"));
    }
    if message.get(name::DELAY).is_some() {
        return Err(InvalidMessage::NotForBatches("with a delay level"));
    }
    if message.topic.starts_with("%RETRY%") {
        return Err(InvalidMessage::NotForBatches("of a retry topic"));
    }
    Ok(())
}

/// A start for a turn, so that producers do not all begin with the same queue.
fn random() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    let [a, b, c, d, ..] = RandomState::new().hash_one(0_u8).to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

/// Java's `Math.abs(hash % size)`.
fn queue_by_hash(key: &str, queues: usize) -> usize {
    let queues = i64::try_from(queues).unwrap_or(i64::MAX).max(1);
    usize::try_from((i64::from(java::hash_code(key)) % queues).abs()).unwrap_or(0)
}

fn is_retried(error: &CallError) -> bool {
    match error {
        CallError::Request(_) | CallError::Malformed { .. } => true,
        CallError::Refused(refused) => RETRIED.contains(&refused.code),
        CallError::TooLong(_) => false,
    }
}

fn failed(prepared: &Prepared, tried: &[MessageQueue], last: CallError) -> SendError {
    SendError::Failed {
        attempts: tried.len(),
        topic: prepared.topic.clone(),
        brokers: tried.iter().map(|queue| queue.broker_name.to_string()).collect(),
        last,
    }
}

fn receipt(
    address: &str,
    prepared: &Prepared,
    queue: &MessageQueue,
    answer: &OwnedFrame,
) -> Result<SendReceipt, CallError> {
    let status = match answer.code {
        code::response::SUCCESS => SendStatus::Ok,
        code::response::FLUSH_DISK_TIMEOUT => SendStatus::FlushDiskTimeout,
        code::response::FLUSH_SLAVE_TIMEOUT => SendStatus::FlushSlaveTimeout,
        code::response::SLAVE_NOT_AVAILABLE => SendStatus::SlaveNotAvailable,
        code => return Err(refused(address, code, answer).into()),
    };
    let header: response::SendMessage<'_> =
        answer.read().map_err(|error| malformed(address, prepared.code, error))?;
    Ok(SendReceipt {
        status,
        msg_id: header.batch_uniq_id.map_or_else(|| prepared.msg_id.clone(), str::to_owned),
        offset_msg_id: header.msg_id.to_owned(),
        queue: MessageQueue { queue_id: header.queue_id, ..queue.clone() },
        queue_offset: header.queue_offset,
        transaction_id: header.transaction_id.map(str::to_owned),
    })
}
