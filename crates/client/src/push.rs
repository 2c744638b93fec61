//! A consumer that is given messages: the members of its group share out the queues, every queue is
//! pulled by a task of its own.
//!
//! A queue's messages are handed to the listener in order, some at a time. The committed offset moves
//! only past messages that the listener has accepted, or that the broker has taken back for another
//! delivery. While neither works, a message stays with us and is given to the listener again: nothing
//! is lost, at the price that the queue waits.
//!
//! Only clustering consumption is here; broadcasting needs offsets on our own disk.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ferromq_protocol::body::{ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData};
use ferromq_protocol::code;
use ferromq_protocol::request::{ConsumerSendMsgBack, GetConsumerListByGroup};
use ferromq_protocol::types::{QueueOffset, TimestampMs};
use thiserror::Error;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::client::{Client, Shared, now, read_body};
use crate::error::{ClientError, RouteError};
use crate::message::{GROUP_LEN_MAX, InvalidMessage, MessageQueue, ReceivedMessage, check_name};
use crate::pull::{Pull, PullError, PullRequest, PullStatus};
use crate::rebalance::average;
use crate::routes::LEADER;
use crate::subscription::{ALL, Subscription};

const REBALANCE_PERIOD: Duration = Duration::from_secs(20);
/// After a run that could not do everything, and at least between two runs.
const REBALANCE_AGAIN: Duration = Duration::from_secs(1);
/// Offsets are sent this often when they have changed.
const COMMIT_PERIOD: Duration = Duration::from_secs(5);
/// An offset that has not changed is sent again after this, in case the broker has lost it.
const COMMIT_REPEAT: Duration = Duration::from_secs(60);
const AFTER_ERROR: Duration = Duration::from_secs(1);
const AFTER_FLOW_CONTROL: Duration = Duration::from_millis(20);
/// A failed message that the broker does not take back is given to the listener again after this.
const AGAIN_HERE: Duration = Duration::from_secs(5);

/// Where a group starts that has no offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumeFrom {
    /// Behind the last message. A young queue is read from its start nevertheless, because the broker
    /// says so.
    Last,
    First,
    Time(TimestampMs),
}

/// Settings of a push consumer.
#[derive(Clone, Debug)]
pub struct PushOptions {
    pub from: ConsumeFrom,
    /// Messages that the listener gets at once.
    pub batch: usize,
    /// Calls of the listener at the same time, over all queues.
    pub concurrency: usize,
    pub pull_batch: i32,
    /// How long a broker holds a pull when there is nothing.
    pub wait: Duration,
    /// Deliveries before a message goes to the dead letters; -1 leaves it to the broker.
    pub reconsume_max: i32,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self {
            from: ConsumeFrom::Last,
            batch: 1,
            concurrency: 20,
            pull_batch: 32,
            wait: Duration::from_secs(15),
            reconsume_max: -1,
        }
    }
}

/// What the listener says of the messages it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumeResult {
    Success,
    /// Deliver them again later.
    Later,
}

/// Why a producer or consumer does not start.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StartError {
    #[error(transparent)]
    Invalid(#[from] InvalidMessage),
    #[error("the group[{0}] has been created before, specify another name please")]
    GroupTaken(String),
    #[error("a consumer needs at least one subscription")]
    NoSubscription,
    #[error(transparent)]
    Route(#[from] RouteError),
}

type Listener =
    Arc<dyn Fn(Vec<ReceivedMessage>) -> Pin<Box<dyn Future<Output = ConsumeResult> + Send>> + Send + Sync>;

/// A running consumer.
#[derive(Debug)]
pub struct PushConsumer {
    client: Client,
    group: String,
    assigned: watch::Receiver<Vec<MessageQueue>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Client {
    /// Starts a consumer: the listener gets the messages of the subscriptions until it is stopped.
    ///
    /// # Errors
    /// When the group is bad or taken, or a topic has no route.
    pub async fn push_consumer<F>(
        &self,
        group: &str,
        subscriptions: Vec<Subscription>,
        options: PushOptions,
        listener: impl Fn(Vec<ReceivedMessage>) -> F + Send + Sync + 'static,
    ) -> Result<PushConsumer, StartError>
    where
        F: Future<Output = ConsumeResult> + Send + 'static,
    {
        check_name("group", group, GROUP_LEN_MAX)?;
        if group == "DEFAULT_CONSUMER" {
            return Err(InvalidMessage::ReservedGroup(group.to_owned()).into());
        }
        if subscriptions.is_empty() {
            return Err(StartError::NoSubscription);
        }
        for subscription in &subscriptions {
            self.route(&subscription.topic).await?;
        }
        let mut subscriptions = subscriptions;
        // Failed messages come back through the group's own topic, which may not exist yet.
        subscriptions.push(Subscription::new(format!("%RETRY%{group}"), ALL));

        let version = now();
        let rebalance = Arc::new(Notify::new());
        let data = consumer_data(group, &subscriptions, &options, version);
        if !self.shared.members.add_consumer(data, rebalance.clone()) {
            return Err(StartError::GroupTaken(group.to_owned()));
        }
        // A broker lists us only after a heartbeat, and who is not listed gets no queue.
        self.shared.heartbeat_all().await;
        rebalance.notify_one();

        let (stop, stopped) = watch::channel(false);
        let (assigning, assigned) = watch::channel(Vec::new());
        let concurrency = Arc::new(Semaphore::new(options.concurrency.max(1)));
        let listener: Listener = Arc::new(move |messages| Box::pin(listener(messages)));
        let consumer = Arc::new(Consumer {
            shared: self.shared.clone(),
            group: group.to_owned(),
            version,
            options,
            listener,
            concurrency,
        });
        let task = tokio::spawn(share_out(consumer, subscriptions, rebalance, assigning, stopped));
        Ok(PushConsumer { client: self.clone(), group: group.to_owned(), assigned, stop, task })
    }
}

impl PushConsumer {
    /// The queues that this member reads, sorted; the receiver tells when they change.
    pub fn assigned(&self) -> watch::Receiver<Vec<MessageQueue>> {
        self.assigned.clone()
    }

    /// Waits for the messages that the listener has at the moment, commits, and tells the brokers that
    /// we leave.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Err(error) = (&mut self.task).await {
            tracing::error!(group = self.group, %error, "a consumer ended badly");
        }
        self.client.shared.members.remove_consumer(&self.group);
        self.client.shared.unregister_all(None, Some(&self.group)).await;
    }
}

impl Drop for PushConsumer {
    /// Without [`PushConsumer::stop`] messages being consumed are cut off, and come again elsewhere.
    fn drop(&mut self) {
        self.client.shared.members.remove_consumer(&self.group);
        self.task.abort();
    }
}

fn consumer_data(
    group: &str,
    subscriptions: &[Subscription],
    options: &PushOptions,
    version: TimestampMs,
) -> ConsumerData {
    let subscriptions = subscriptions.iter().map(|subscription| SubscriptionData {
        code_set: subscription.codes(),
        sub_string: subscription.expression.clone(),
        sub_version: version.0,
        tags_set: subscription.tags.clone(),
        topic: subscription.topic.clone(),
        ..SubscriptionData::default()
    });
    ConsumerData {
        consume_from_where: match options.from {
            ConsumeFrom::Last => ConsumeFromWhere::LastOffset,
            ConsumeFrom::First => ConsumeFromWhere::FirstOffset,
            ConsumeFrom::Time(_) => ConsumeFromWhere::Timestamp,
        },
        consume_type: ConsumeType::Passively,
        group_name: group.to_owned(),
        message_model: MessageModel::Clustering,
        subscription_data_set: subscriptions.collect(),
        unit_mode: false,
    }
}

/// What the tasks of a consumer share.
struct Consumer {
    shared: Arc<Shared>,
    group: String,
    version: TimestampMs,
    options: PushOptions,
    listener: Listener,
    concurrency: Arc<Semaphore>,
}

/// A queue that is ours. Dropping it stops its task at once.
struct Held {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Held {
    /// The task ends after the messages it has handed out and commits.
    async fn finish(mut self) {
        self.stop.send_replace(true);
        let _ = (&mut self.task).await;
    }

    fn is_running(&self) -> bool {
        !self.task.is_finished()
    }
}

/// The task of a consumer: takes and gives up queues as the group changes.
async fn share_out(
    consumer: Arc<Consumer>,
    subscriptions: Vec<Subscription>,
    rebalance: Arc<Notify>,
    assigning: watch::Sender<Vec<MessageQueue>>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut held: HashMap<MessageQueue, Held> = HashMap::new();
    let mut pause = REBALANCE_PERIOD;
    loop {
        tokio::select! {
            () = rebalance.notified() => {}
            () = tokio::time::sleep(pause) => {}
            _ = stopped.wait_for(|stopped| *stopped) => break,
        }
        let began = Instant::now();
        let mut complete = true;
        let mut changed = false;
        for subscription in &subscriptions {
            match consumer.own_queues(&subscription.topic).await {
                Ok(own) => changed |= consumer.take(subscription, &own, &mut held).await,
                // A retry topic exists only after the first failure.
                Err(ClientError::Route(RouteError::NoRoute { .. })) => {}
                Err(error) => {
                    tracing::debug!(topic = subscription.topic, %error, "queues stay as they are");
                    complete = false;
                }
            }
        }
        if changed {
            let mut assigned: Vec<MessageQueue> = held.keys().cloned().collect();
            assigned.sort();
            assigning.send_replace(assigned);
            consumer.shared.members.renew_subscriptions(&consumer.group, now().0);
            consumer.shared.members.changed.notify_one();
        }
        pause = if complete { REBALANCE_PERIOD } else { REBALANCE_AGAIN };
        // However often we are told that something has changed, brokers are asked once a second at most.
        tokio::select! {
            () = tokio::time::sleep_until(began + REBALANCE_AGAIN) => {}
            _ = stopped.wait_for(|stopped| *stopped) => break,
        }
    }
    let mut finishing = JoinSet::new();
    for (_, held) in held {
        finishing.spawn(held.finish());
    }
    while finishing.join_next().await.is_some() {}
}

impl Consumer {
    /// The queues of a topic that this member should have now.
    async fn own_queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        let route = self.shared.route(topic).await?;
        let mut last = ClientError::Route(RouteError::NoRoute { topic: topic.to_owned() });
        for address in route.one_address_each() {
            let header = GetConsumerListByGroup { consumer_group: &self.group };
            let code = code::request::GET_CONSUMER_LIST_BY_GROUP;
            match self.shared.call_ok(address, code, b"", |out| out.header(&header)).await {
                Ok(answer) => {
                    let list: ferromq_protocol::body::ConsumerList = read_body(address, code, &answer.body)?;
                    let mut members = list.consumer_id_list;
                    members.sort_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
                    members.dedup();
                    return Ok(average(&route.subscribe, &members, &self.shared.id).to_vec());
                }
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// Gives up what is no longer ours and takes what is newly ours. True if anything changed.
    async fn take(
        self: &Arc<Self>,
        subscription: &Subscription,
        own: &[MessageQueue],
        held: &mut HashMap<MessageQueue, Held>,
    ) -> bool {
        let of_topic = |queue: &MessageQueue| *queue.topic == *subscription.topic;
        let lost: Vec<MessageQueue> =
            held.keys().filter(|queue| of_topic(queue) && !own.contains(queue)).cloned().collect();
        let mut changed = !lost.is_empty();
        for queue in lost {
            if let Some(held) = held.remove(&queue) {
                tracing::debug!(%queue, group = self.group, "queue given up");
                held.finish().await;
            }
        }
        for queue in own {
            // A task ends by itself when the broker says that our offset is impossible.
            if held.get(queue).is_some_and(Held::is_running) {
                continue;
            }
            match self.start(queue).await {
                Ok(progress) => {
                    tracing::debug!(%queue, group = self.group, offset = ?progress.done, "queue taken");
                    let (stop, stopped) = watch::channel(false);
                    let reading =
                        read_queue(self.clone(), queue.clone(), subscription.clone(), progress, stopped);
                    held.insert(queue.clone(), Held { stop, task: tokio::spawn(reading) });
                    changed = true;
                }
                Err(error) => tracing::debug!(%queue, %error, "queue not taken, its offset is not known"),
            }
        }
        changed
    }

    async fn start(&self, queue: &MessageQueue) -> Result<Progress, ClientError> {
        let committed = self.shared.committed(&self.group, queue).await?;
        let done = match committed {
            Some(offset) => offset,
            None => self.first_offset(queue).await?,
        };
        Ok(Progress { done, told: committed, told_at: Instant::now() })
    }

    /// Where a group begins that has no offset.
    async fn first_offset(&self, queue: &MessageQueue) -> Result<QueueOffset, ClientError> {
        let is_retry = queue.topic.starts_with("%RETRY%");
        match self.options.from {
            ConsumeFrom::Last if is_retry => Ok(QueueOffset(0)),
            ConsumeFrom::Last => self.shared.max_offset(queue).await,
            ConsumeFrom::First => Ok(QueueOffset(0)),
            ConsumeFrom::Time(_) if is_retry => self.shared.max_offset(queue).await,
            ConsumeFrom::Time(time) => self.shared.offset_by_time(queue, time).await,
        }
    }

    /// Hands messages to the listener and returns when every one is accepted or taken back by the
    /// broker. False if we were stopped before.
    async fn consume(
        self: &Arc<Self>,
        queue: &MessageQueue,
        messages: Vec<ReceivedMessage>,
        stopped: &watch::Receiver<bool>,
    ) -> bool {
        let mut tasks = JoinSet::new();
        let mut messages = messages.into_iter().peekable();
        while messages.peek().is_some() {
            let batch: Vec<ReceivedMessage> = messages.by_ref().take(self.options.batch.max(1)).collect();
            tasks.spawn(self.clone().consume_batch(queue.clone(), batch, stopped.clone()));
        }
        let mut all_done = true;
        while let Some(done) = tasks.join_next().await {
            all_done &= done.unwrap_or(false);
        }
        all_done
    }

    async fn consume_batch(
        self: Arc<Self>,
        queue: MessageQueue,
        mut batch: Vec<ReceivedMessage>,
        mut stopped: watch::Receiver<bool>,
    ) -> bool {
        loop {
            let result = {
                let Ok(_permit) = self.concurrency.acquire().await else { return false };
                // A panic of the listener is a failure of its messages, not of the consumer.
                tokio::spawn((self.listener)(batch.clone())).await.unwrap_or(ConsumeResult::Later)
            };
            if result == ConsumeResult::Success {
                return true;
            }
            let mut kept = Vec::new();
            for mut message in batch {
                if let Err(error) = self.send_back(&queue, &message).await {
                    tracing::debug!(%queue, offset = ?message.queue_offset, %error, "failed message stays here");
                    message.reconsume_times += 1;
                    kept.push(message);
                }
            }
            if kept.is_empty() {
                return true;
            }
            batch = kept;
            tokio::select! {
                () = tokio::time::sleep(AGAIN_HERE) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return false,
            }
        }
    }

    /// Asks the broker to deliver a message again later.
    async fn send_back(&self, queue: &MessageQueue, message: &ReceivedMessage) -> Result<(), ClientError> {
        let address = self.shared.leader(&queue.broker_name)?;
        let header = ConsumerSendMsgBack {
            offset: message.physical,
            group: &self.group,
            delay_level: 0,
            origin_msg_id: Some(&message.msg_id),
            origin_topic: Some(message.topic()),
            unit_mode: false,
            max_reconsume_times: (self.options.reconsume_max >= 0).then_some(self.options.reconsume_max),
            broker_name: Some(&queue.broker_name),
        };
        let code = code::request::CONSUMER_SEND_MSG_BACK;
        self.shared.call_ok(&address, code, b"", |out| out.header(&header)).await?;
        Ok(())
    }
}

/// Offsets of one queue: what is done, and what the broker knows of it.
#[derive(Clone, Copy)]
struct Progress {
    done: QueueOffset,
    told: Option<QueueOffset>,
    told_at: Instant,
}

impl Progress {
    /// Sends the offset if that is worth it.
    async fn commit(&mut self, consumer: &Consumer, queue: &MessageQueue, at_least: Duration) {
        let quiet = self.told_at.elapsed();
        if quiet < at_least || (self.told == Some(self.done) && quiet < COMMIT_REPEAT) {
            return;
        }
        match consumer.shared.commit_oneway(&consumer.group, queue, self.done).await {
            Ok(()) => self.told = Some(self.done),
            Err(error) => tracing::debug!(%queue, %error, "offset not committed"),
        }
        self.told_at = Instant::now();
    }
}

/// The task of one queue.
async fn read_queue(
    consumer: Arc<Consumer>,
    queue: MessageQueue,
    subscription: Subscription,
    mut progress: Progress,
    mut stopped: watch::Receiver<bool>,
) {
    // A start that only we know must not be lost: who takes the queue next would start behind what came
    // meanwhile.
    progress.commit(&consumer, &queue, Duration::ZERO).await;
    let mut from = LEADER;
    loop {
        let request = PullRequest {
            offset: progress.done,
            max_messages: consumer.options.pull_batch,
            ..PullRequest::new(progress.done).wait(consumer.options.wait)
        };
        let pull = Pull {
            group: &consumer.group,
            subscription: &subscription,
            subscription_version: consumer.version,
            from,
            commit: None,
        };
        let answer = tokio::select! {
            answer = consumer.shared.pull(&queue, &pull, request) => answer,
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        let pause = match answer {
            Ok(answer) if answer.status == PullStatus::OffsetIllegal => {
                tracing::warn!(%queue, asked = ?progress.done, next = ?answer.next_offset, "offset out of range");
                progress.done = answer.next_offset;
                Duration::ZERO
            }
            Ok(answer) => {
                from = answer.suggested_broker;
                if !consumer.consume(&queue, answer.messages, &stopped).await {
                    break;
                }
                progress.done = answer.next_offset;
                Duration::ZERO
            }
            Err(error) => {
                tracing::debug!(%queue, %error, "pull failed");
                from = LEADER;
                after_error(&error)
            }
        };
        progress.commit(&consumer, &queue, COMMIT_PERIOD).await;
        tokio::select! {
            () = tokio::time::sleep(pause), if !pause.is_zero() => {}
            _ = stopped.wait_for(|stopped| *stopped) => break,
            () = std::future::ready(()), if pause.is_zero() => {}
        }
    }
    progress.commit(&consumer, &queue, Duration::ZERO).await;
}

fn after_error(error: &PullError) -> Duration {
    match error.code() {
        Some(code::response::FLOW_CONTROL) => AFTER_FLOW_CONTROL,
        _ => AFTER_ERROR,
    }
}
