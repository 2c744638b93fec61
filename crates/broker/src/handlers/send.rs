//! Sending: codes 10, 310 and 320.
//!
//! One [`Sends`] belongs to one connection. A request is checked and encoded into the batch of the current read; the
//! batch goes to the store when the read's last request was looked at, and its answers come back through the port.
//! Nothing is allocated per message in the steady state and no lock is taken for it: topics and queues that this
//! connection sends to are kept with the generation of the topic table they were found in.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ferromq_config::broker::BrokerConfig;
use ferromq_protocol::batch;
use ferromq_protocol::encode;
use ferromq_protocol::frame::Encoding;
use ferromq_protocol::header::{FieldError, Head};
use ferromq_protocol::properties::{self, Properties, name};
use ferromq_protocol::request::SendMessageV2;
use ferromq_protocol::sys_flag;
use ferromq_protocol::types::{Host, PhysicalOffset, QueueId, QueueOffset};
use ferromq_store::queue::Queue;
use ferromq_store::{Batch, Outcome, Port, RecordError, RecordParts, Stored};
use rustc_hash::FxHashMap;
use slab::Slab;
use smallvec::SmallVec;

use crate::broker::Broker;
use crate::creation::Missing;
use crate::names;
use crate::requests::Envelope;
use crate::response::{self, Feature, SendError, ToAnswer};
use crate::stats::{PutTimeSums, TopicStats, put_time_class};
use crate::topics::{self, Topic};

/// Messages of one connection that may wait for their answers; beyond, nothing more is read from it.
pub(crate) const UNANSWERED_MAX: usize = 8_192;
/// Bytes of the same.
pub(crate) const UNANSWERED_BYTES_MAX: usize = 16 << 20;
/// Topics one connection keeps at hand; a connection that sends to more starts over.
const TOPICS_KEPT_MAX: usize = 1_024;

/// From here on clients mean the limit of retries that they send.
const V3_4_9: i32 = 121;

/// A topic as this connection sends to it.
struct Target {
    topic: Arc<Topic>,
    stats: Arc<TopicStats>,
    /// By queue number; found when first used.
    queues: Box<[Option<Arc<Queue>>]>,
    /// Bits that the topic adds to every message.
    sys_flag: i32,
    /// The group, if this is a retry topic.
    retry_group: Option<Box<str>>,
    is_system: bool,
}

/// What is needed to answer once the store has the message.
struct Pending {
    opaque: i32,
    encoding: Encoding,
    is_oneway: bool,
    is_system: bool,
    queue_id: i32,
    /// Bytes this message holds of [`UNANSWERED_BYTES_MAX`].
    bytes: usize,
    received: Instant,
    stats: Arc<TopicStats>,
    /// `UNIQ_KEY`, which the answer repeats.
    unique_key: SmallVec<[u8; 32]>,
    /// Of a client's batch.
    group: Option<Box<PendingGroup>>,
}

struct PendingGroup {
    messages: usize,
    stored: Vec<PhysicalOffset>,
    first: Option<QueueOffset>,
}

/// What the properties of a message say to the broker.
#[derive(Debug)]
struct Said<'a> {
    unique_key: Option<&'a [u8]>,
    wait: bool,
    /// Chooses the queue, if the message has one that counts.
    priority: Option<i32>,
}

/// The sends of one connection.
pub(crate) struct Sends {
    port: Port,
    batch: Option<Box<Batch>>,
    pending: Slab<Pending>,
    pending_bytes: usize,
    /// Keys in `pending` of what is in `batch`.
    unsubmitted: Vec<usize>,
    targets: FxHashMap<Box<str>, Target>,
    targets_generation: u64,
    /// Property string of the message being encoded.
    properties: Vec<u8>,
    /// Source of queue choices; quality does not matter.
    random: u64,
    turn: Turn,
    /// Tells this connection from others.
    id: u64,
}

/// Whose move it is with what was submitted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Nothing was submitted that somebody has yet to commit, as far as we know.
    Idle,
    /// It may be written at once.
    Commit,
    /// Others send, too; those that are ready shall join the group first.
    GiveWay,
}

/// What became of a request.
pub(crate) enum Taken {
    /// It is answered, or will be.
    Done,
    /// It has to wait for this.
    Wait(Vec<Missing>),
}

enum Refusal {
    Error(SendError),
    Missing(Vec<Missing>),
}

impl<E: Into<SendError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl Sends {
    pub(crate) fn new(port: Port, id: u64) -> Self {
        Self {
            port,
            batch: None,
            pending: Slab::new(),
            pending_bytes: 0,
            unsubmitted: Vec::new(),
            targets: FxHashMap::default(),
            targets_generation: 0,
            properties: Vec::new(),
            random: id | 1,
            turn: Turn::Idle,
            id,
        }
    }

    /// True while this connection has as many unanswered messages as it may.
    pub(crate) fn is_saturated(&self) -> bool {
        self.pending.len() >= UNANSWERED_MAX || self.pending_bytes >= UNANSWERED_BYTES_MAX
    }

    /// Messages that wait for their answer.
    pub(crate) fn unanswered(&self) -> usize {
        self.pending.len()
    }

    /// Looks at a send. `may_create` is false when it was looked at before and what it lacked has been created or
    /// refused, so that it cannot go round in circles.
    pub(crate) fn request(
        &mut self,
        broker: &Broker,
        frame: &Envelope<'_>,
        header: Result<SendMessageV2<'_>, FieldError>,
        may_create: bool,
        out: &mut Vec<u8>,
    ) -> Taken {
        let taken = header
            .map_err(|error| SendError::from(error).into())
            .and_then(|header| self.take(broker, frame, &header, may_create));
        match taken {
            Ok(()) => Taken::Done,
            Err(Refusal::Missing(missing)) => Taken::Wait(missing),
            Err(Refusal::Error(error)) => {
                refuse(broker, out, frame.encoding, &frame.head, &error);
                Taken::Done
            }
        }
    }

    fn take(
        &mut self,
        broker: &Broker,
        frame: &Envelope<'_>,
        header: &SendMessageV2<'_>,
        may_create: bool,
    ) -> Result<(), Refusal> {
        let config = broker.config();
        let max_message_size = config.live.max_body_bytes;
        if frame.body.is_empty() {
            return Err(SendError::NoBody.into());
        }
        broker.check_send_gates(&config, frame.received)?;
        // Once for a read: a clock is not looked at for every message.
        if self.batch.is_none() && broker.store.commit_stalled_for() > config.live.stalled_write_max {
            return Err(SendError::BusyDisk.into());
        }

        let generation = broker.metadata.topics.generation();
        if generation != self.targets_generation || self.targets.len() >= TOPICS_KEPT_MAX {
            self.targets.clear();
            self.targets_generation = generation;
        }
        if !self.targets.contains_key(header.topic) {
            let target = find_target(broker, &config, header, may_create)?;
            self.targets.insert(header.topic.into(), target);
        }
        let random = next_random(&mut self.random);
        let Some(target) = self.targets.get_mut(header.topic) else {
            return Err(SendError::NoTopic(header.topic.into()).into());
        };

        let is_batch = header.batch == Some(true);
        let asked_queue = choose_queue(&target.topic, header.queue_id.0, random, frame.client)?;
        if let Some(group) = &target.retry_group {
            check_retry(broker, &config, group, frame.head.version, header, may_create)?;
        }
        // What Java refuses itself gets its text; what it would store in its way gets one that names the feature.
        let refusal = |feature| match feature {
            Feature::InnerBatch => SendError::Illegal { max_message_size, detail: None },
            _ if is_batch => SendError::Illegal { max_message_size, detail: None },
            feature => SendError::Unsupported(feature),
        };
        let flags = check_sys_flag(header.sys_flag).map_err(refusal)? | target.sys_flag;
        if is_batch && target.retry_group.is_some() {
            return Err(SendError::BatchToRetryTopic(header.topic.into()).into());
        }
        if is_batch && frame.body.len() > max_message_size {
            return Err(SendError::Illegal { max_message_size, detail: None }.into());
        }

        self.properties.clear();
        let text = header.properties.unwrap_or_default().as_bytes();
        let said = copy_properties(text, &mut self.properties).map_err(refusal)?;
        let mut unique_key = SmallVec::new();
        if let Some(key) = said.unique_key {
            unique_key.extend_from_slice(key);
        } else if !is_batch {
            let key = broker.unique_keys.next(broker.now());
            properties::push(&mut self.properties, name::UNIQUE_KEY, key.as_str());
            unique_key.extend_from_slice(key.as_bytes());
        }
        self.properties.extend_from_slice(broker.added_properties(config.live.trace));
        let queue_id = said.priority.map_or(asked_queue, |priority| target.topic.queue_of_priority(priority));

        let queue = target.queue(broker, queue_id);
        let batch = self.batch.get_or_insert_with(|| self.port.batch());
        let bytes_before = batch.byte_len();
        let key = self.pending.vacant_key();
        let parts = RecordParts {
            queue: &queue,
            flag: header.flag,
            sys_flag: flags,
            born_timestamp: header.born_timestamp,
            born_host: Host::from(frame.client),
            store_host: broker.identity.store_host,
            reconsume_times: header.reconsume_times.unwrap_or(0),
            prepared_transaction_offset: PhysicalOffset(0),
            body: frame.body,
            properties: &self.properties,
            wait: said.wait,
            tag: key as u64,
        };
        let group = if is_batch {
            let messages =
                push_client_batch(batch, &parts).map_err(|error| error.into_send(max_message_size))?;
            Some(Box::new(PendingGroup { messages, stored: Vec::with_capacity(messages), first: None }))
        } else {
            batch.push(&parts).map_err(|error| SendError::of_record(&error, max_message_size))?;
            None
        };
        let bytes = batch.byte_len() - bytes_before;
        self.pending_bytes += bytes;
        self.unsubmitted.push(key);
        self.pending.insert(Pending {
            opaque: frame.head.opaque,
            encoding: frame.encoding,
            is_oneway: frame.head.is_oneway(),
            is_system: target.is_system,
            queue_id,
            bytes,
            received: frame.received,
            stats: Arc::clone(&target.stats),
            unique_key,
            group,
        });
        Ok(())
    }

    /// The requests of this read have all been looked at: what they want stored goes to the store.
    pub(crate) fn end_of_read(&mut self, broker: &Broker, out: &mut Vec<u8>) {
        let Some(batch) = self.batch.take().filter(|batch| !batch.is_empty()) else { return };
        match self.port.submit(batch) {
            Ok(()) => {
                self.unsubmitted.clear();
                let was_last = broker.last_sender.was(self.id);
                if self.turn == Turn::Idle {
                    self.turn = if was_last { Turn::Commit } else { Turn::GiveWay };
                }
            }
            Err(batch) => {
                self.port.recycle(batch);
                for key in std::mem::take(&mut self.unsubmitted) {
                    self.answer_error(broker, out, key, &SendError::Overload);
                }
            }
        }
    }

    /// Commits what was submitted, if nobody else does, and writes the answers that are due.
    pub(crate) fn poll(&mut self, broker: &Broker, cx: &mut Context<'_>, out: &mut Vec<u8>) {
        match std::mem::replace(&mut self.turn, Turn::Idle) {
            Turn::Idle => {}
            Turn::Commit => {
                broker.store.commit_inline();
            }
            Turn::GiveWay => {
                self.turn = Turn::Commit;
                // The store need not wake us either.
                return give_way(cx);
            }
        }
        if self.pending.is_empty() {
            return;
        }
        let now = Instant::now();
        // A waker is left with the store only if there is something to be woken for.
        while !self.pending.is_empty()
            && let Poll::Ready(batch) = self.port.poll_done(cx)
        {
            let mut sums = Sums::default();
            for &(tag, outcome) in batch.answers() {
                self.settle(broker, out, tag, outcome, now, &mut sums);
            }
            sums.flush(broker);
            self.port.recycle(batch);
        }
    }

    fn settle(
        &mut self,
        broker: &Broker,
        out: &mut Vec<u8>,
        tag: u64,
        outcome: Outcome,
        now: Instant,
        sums: &mut Sums,
    ) {
        let Ok(key) = usize::try_from(tag) else { return };
        let (code, stored) = match response::send_outcome(outcome, || broker.disk_use()) {
            Ok(told) => told,
            Err(error) => return self.answer_error(broker, out, key, &error),
        };
        // Of a client's batch that failed the first word took the entry away.
        let Some(pending) = self.pending.get_mut(key) else { return };
        if let Some(group) = pending.group.as_deref_mut() {
            group.first.get_or_insert(stored.queue_offset);
            group.stored.push(stored.physical);
            if group.stored.len() < group.messages {
                return;
            }
        }
        let pending = self.pending.remove(key);
        self.pending_bytes -= pending.bytes;
        sums.add(&pending, now);
        if !pending.is_oneway {
            write_stored(broker, out, &pending, code, stored);
        }
    }

    /// Answers a message that is not stored; of a client's batch the first word counts for all.
    fn answer_error(&mut self, broker: &Broker, out: &mut Vec<u8>, key: usize, error: &SendError) {
        let Some(pending) = self.pending.try_remove(key) else { return };
        self.pending_bytes -= pending.bytes;
        broker.stats.totals.put_failures.fetch_add(1, Relaxed);
        if !pending.is_oneway {
            let head = Head::request(0, pending.opaque);
            refuse(broker, out, pending.encoding, &head, error);
        }
    }
}

/// Has the task polled again once its worker has nothing else to do and has asked the driver who is ready. (To wake
/// it here would make it a task to steal: another worker is woken up for it and takes the connection away.)
fn give_way(cx: &mut Context<'_>) {
    let turn = std::pin::pin!(tokio::task::yield_now());
    // The first poll leaves the waker with the worker; there is no second.
    let _pending = turn.poll(cx);
}

impl Target {
    fn queue(&mut self, broker: &Broker, queue_id: i32) -> Arc<Queue> {
        let at = usize::try_from(queue_id).unwrap_or(0);
        let find = || broker.store.queue(&self.topic.name, QueueId(queue_id));
        match self.queues.get_mut(at) {
            Some(known) => Arc::clone(known.get_or_insert_with(find)),
            None => find(),
        }
    }
}

/// The checks that do not depend on the message, and what they find.
fn find_target(
    broker: &Broker,
    config: &BrokerConfig,
    header: &SendMessageV2<'_>,
    may_create: bool,
) -> Result<Target, Refusal> {
    let name = header.topic;
    let table = &broker.metadata.topics;
    if !topics::is_writable(config.live.permission) && table.is_ordered(name) {
        return Err(SendError::BrokerForbidden(broker.identity.ip.clone()).into());
    }
    names::check_topic(name).map_err(SendError::from)?;
    if names::is_send_forbidden(name) {
        return Err(SendError::SystemTopic(name.into()).into());
    }
    let Some(topic) = table.find(name) else {
        if may_create {
            let mut missing = vec![Missing::TopicOfSend {
                topic: name.into(),
                template: header.default_topic.into(),
                queues: header.default_topic_queue_nums,
                unit_mode: header.unit_mode == Some(true),
            }];
            let group = name.strip_prefix(names::RETRY_PREFIX);
            missing.extend(group.and_then(|group| missing_group(broker, config, group)));
            return Err(Refusal::Missing(missing));
        }
        return Err(SendError::NoTopic(name.into()).into());
    };
    if let Some(unsupported) = topic.unsupported() {
        return Err(SendError::from(unsupported).into());
    }
    let queues = usize::try_from(topic.queues()).unwrap_or(0).min(4_096);
    Ok(Target {
        stats: broker.stats.topic(name, broker.elapsed()),
        queues: vec![None; queues].into_boxed_slice(),
        sys_flag: if topic.multi_tag { sys_flag::MULTI_TAGS } else { 0 },
        retry_group: name.strip_prefix(names::RETRY_PREFIX).map(Box::from),
        is_system: broker.system_topics.contains(name),
        topic,
    })
}

fn choose_queue(
    topic: &Topic,
    asked: i32,
    random: u64,
    producer: std::net::SocketAddr,
) -> Result<i32, SendError> {
    if asked >= topic.queues() {
        return Err(SendError::Queue { queue_id: asked, topic: topic.to_string(), producer });
    }
    if asked >= 0 {
        return Ok(asked);
    }
    let queues = u64::try_from(topic.write_queues).unwrap_or(0);
    let chosen = random.checked_rem(queues).ok_or_else(|| SendError::NoWriteQueue(topic.name.to_string()))?;
    Ok(i32::try_from(chosen).unwrap_or(0))
}

/// The group of a retry topic, if it is missing and comes into being by being used.
fn missing_group(broker: &Broker, config: &BrokerConfig, group: &str) -> Option<Missing> {
    let is_missing = broker.metadata.groups.find(group).is_none();
    (is_missing && broker.creates_group(config, group)).then(|| Missing::Group(group.into()))
}

/// A send to a retry topic is an ordinary send unless it asks for what retry topics do beyond that: one that Java
/// would move to the dead letter topic is refused, since storing it here would retry it for ever.
fn check_retry(
    broker: &Broker,
    config: &BrokerConfig,
    group: &str,
    version: i32,
    header: &SendMessageV2<'_>,
    may_create: bool,
) -> Result<(), Refusal> {
    let Some(settings) = broker.metadata.groups.find(group) else {
        let missing = missing_group(broker, config, group).filter(|_| may_create);
        return Err(match missing {
            Some(missing) => Refusal::Missing(vec![missing]),
            None => SendError::NoGroup(group.into()).into(),
        });
    };
    let max = header.max_reconsume_times.filter(|_| version >= V3_4_9).unwrap_or(settings.retry_max_times);
    if header.reconsume_times.unwrap_or(0) > max || broker.queue_locks.lock().is_held(group, broker.elapsed())
    {
        return Err(SendError::Unsupported(Feature::DeadLetters).into());
    }
    Ok(())
}

/// Refuses what the flags ask for and we lack. The bits of host lengths are the store's business: a wrong one would
/// make the record unreadable.
fn check_sys_flag(flags: i32) -> Result<i32, Feature> {
    if sys_flag::transaction(flags) != 0 {
        return Err(Feature::Transactions);
    }
    if flags & (sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP) != 0 {
        return Err(Feature::InnerBatch);
    }
    Ok(flags & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6))
}

/// Copies what is to be stored of a client's properties; refuses what we lack. What the broker says itself is left out.
fn copy_properties<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Result<Said<'a>, Feature> {
    let mut said = Said { unique_key: None, wait: true, priority: None };
    let mut is_ordered = false;
    // What is kept is copied in runs, not entry by entry.
    let mut run = 0..0;
    let mut entries = Properties(text).iter();
    loop {
        let start = text.len() - entries.remaining();
        let Some((name, value)) = entries.next() else { break };
        match name {
            b"POP_CK" | b"MSG_REGION" | b"TRACE_ON" | b"CLUSTER" => continue,
            b"UNIQ_KEY" => said.unique_key = Some(value),
            b"WAIT" => said.wait = !value.eq_ignore_ascii_case(b"false"),
            b"__SHARDINGKEY" => is_ordered = true,
            b"_SYS_MSG_PRIORITY_" => said.priority = number(value).filter(|priority| *priority >= 0),
            _ => {}
        }
        if let Some(feature) = feature_asked_for(name, value) {
            return Err(feature);
        }
        let end = text.len() - entries.remaining();
        if end - start != name.len() + value.len() + 2 {
            // Something that is no entry lies before it, or its separator is missing.
            out.extend_from_slice(&text[std::mem::take(&mut run)]);
            properties::push_bytes(out, name, value);
        } else if run.end == start {
            run.end = end;
        } else {
            out.extend_from_slice(&text[std::mem::replace(&mut run, start..end)]);
        }
    }
    out.extend_from_slice(&text[run]);
    if said.priority.is_some() && is_ordered {
        // Order wins, and then Java drops the priority.
        said.priority = None;
        out.clear();
        let keep = |name: &[u8]| {
            !matches!(name, b"POP_CK" | b"MSG_REGION" | b"TRACE_ON" | b"CLUSTER" | b"_SYS_MSG_PRIORITY_")
        };
        Properties(text).copy_filtered(out, keep);
    }
    Ok(said)
}

/// The feature that a property asks for, if it is one that we lack.
fn feature_asked_for(name: &[u8], value: &[u8]) -> Option<Feature> {
    match name {
        b"DELAY" if asks_for_delay(value) => Some(Feature::DelayLevels),
        b"TIMER_DELAY_SEC" | b"TIMER_DELAY_MS" | b"TIMER_DELIVER_MS" | b"TIMER_DEL_UNIQKEY" => {
            Some(Feature::Timer)
        }
        b"TRAN_MSG" if value.eq_ignore_ascii_case(b"true") => Some(Feature::Transactions),
        b"INNER_MULTI_DISPATCH" => Some(Feature::LightQueues),
        b"__LITE_TOPIC" => Some(Feature::LiteTopics),
        b"INNER_NUM" => Some(Feature::InnerBatch),
        _ => None,
    }
}

/// Level 0 and below mean "at once". What is no number is refused too: nobody knows what it was to mean.
fn asks_for_delay(value: &[u8]) -> bool {
    number(value).is_none_or(|level| level > 0)
}

fn number(value: &[u8]) -> Option<i32> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Why a client's batch is not stored.
enum ClientBatchError {
    Malformed(batch::BatchError),
    Unsupported(Feature),
    Record(RecordError),
}

impl From<RecordError> for ClientBatchError {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

impl ClientBatchError {
    fn into_send(self, max_message_size: usize) -> SendError {
        match self {
            Self::Malformed(error) => SendError::Illegal {
                max_message_size,
                detail: Some(format!("The batch is malformed: {error}.")),
            },
            Self::Unsupported(feature) => SendError::Unsupported(feature),
            Self::Record(error) => SendError::of_record(&error, max_message_size),
        }
    }
}

/// Encodes the messages of a client's batch one behind the other. They carry their own properties and nothing of the
/// broker's. Returns their number.
fn push_client_batch(batch: &mut Batch, parts: &RecordParts<'_>) -> Result<usize, ClientBatchError> {
    let before = batch.len();
    batch.push_group(batch::entries(parts.body).map(|entry| {
        let entry = entry.map_err(ClientBatchError::Malformed)?;
        let unsupported =
            Properties(entry.properties).iter().find_map(|(name, value)| feature_asked_for(name, value));
        match unsupported {
            Some(feature) => Err(ClientBatchError::Unsupported(feature)),
            None => {
                Ok(RecordParts { flag: entry.flag, body: entry.body, properties: entry.properties, ..*parts })
            }
        }
    }))?;
    Ok(batch.len() - before)
}

/// Sums over one batch, so that counters are touched once per run of equal topics.
#[derive(Default)]
struct Sums {
    run: Option<(Arc<TopicStats>, u64, u64)>,
    messages: u64,
    user_messages: u64,
    bytes: u64,
    times: PutTimeSums,
    slowest: Duration,
}

impl Sums {
    fn add(&mut self, pending: &Pending, now: Instant) {
        let messages = pending.group.as_ref().map_or(1, |group| group.messages as u64);
        let bytes = pending.bytes as u64;
        self.messages += messages;
        self.bytes += bytes;
        if !pending.is_system {
            self.user_messages += messages;
        }
        let took = now.saturating_duration_since(pending.received);
        self.times[put_time_class(took)] += messages;
        self.slowest = self.slowest.max(took);
        match &mut self.run {
            Some((stats, run_messages, run_bytes)) if Arc::ptr_eq(stats, &pending.stats) => {
                *run_messages += messages;
                *run_bytes += bytes;
            }
            run => {
                flush_run(run.take());
                *run = Some((Arc::clone(&pending.stats), messages, bytes));
            }
        }
    }

    fn flush(self, broker: &Broker) {
        flush_run(self.run);
        let totals = &broker.stats.totals;
        totals.puts.add(self.messages);
        totals.put_bytes.fetch_add(self.bytes, Relaxed);
        totals.put_times.add(&self.times);
        totals.user_puts.fetch_add(self.user_messages, Relaxed);
        let slowest = u64::try_from(self.slowest.as_millis()).unwrap_or(u64::MAX);
        if slowest > totals.put_slowest_ms.load(Relaxed) {
            totals.put_slowest_ms.fetch_max(slowest, Relaxed);
        }
    }
}

fn flush_run(run: Option<(Arc<TopicStats>, u64, u64)>) {
    if let Some((stats, messages, bytes)) = run {
        stats.put_count.add(messages, messages);
        stats.put_bytes.add(bytes, messages);
    }
}

fn next_random(state: &mut u64) -> u64 {
    // xorshift64; spreads messages, nothing more.
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Every answer to a send has these two fields; the Java client fails without them.
fn write_common(broker: &Broker, header: &mut encode::HeaderWriter<'_>) {
    header.text(name::MSG_REGION, &broker.identity.region);
    header.boolean(name::TRACE_SWITCH, broker.config().live.trace);
}

fn write_stored(broker: &Broker, out: &mut Vec<u8>, pending: &Pending, code: i32, stored: Stored) {
    let (physical, queue_offset) = match &pending.group {
        None => (std::slice::from_ref(&stored.physical), stored.queue_offset),
        Some(group) => (group.stored.as_slice(), group.first.unwrap_or(stored.queue_offset)),
    };
    let sent = encode::Sent {
        code,
        opaque: pending.opaque,
        region: &broker.identity.region,
        trace_on: broker.config().live.trace,
        store_host: broker.identity.store_host,
        physical,
        queue_id: QueueId(pending.queue_id),
        queue_offset,
        unique_key: std::str::from_utf8(&pending.unique_key).ok().filter(|key| !key.is_empty()),
    };
    // Ids of a client's batch fit: each takes less room than its message did.
    let _ = encode::sent(out, pending.encoding, &sent);
}

fn refuse(broker: &Broker, out: &mut Vec<u8>, encoding: Encoding, head: &Head, error: &SendError) {
    if head.is_oneway() {
        return;
    }
    let answer = error.answer();
    let response = Head::response(answer.code, head.opaque);
    let mut header = encode::begin(out, encoding, response, answer.remark.as_deref());
    if !error.is_exception() {
        write_common(broker, &mut header);
    }
    let _ = header.finish();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A property string from pairs.
    fn text(pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut text = Vec::new();
        for (name, value) in pairs {
            properties::push(&mut text, name, value);
        }
        text
    }

    #[test]
    fn a_producer_that_does_not_wait_for_the_disk_says_so() {
        for (value, wait) in [("true", true), ("false", false), ("FALSE", false), ("no", true)] {
            let sent = text(&[("KEYS", "k"), ("WAIT", value)]);
            let mut stored = Vec::new();
            let said = copy_properties(&sent, &mut stored).unwrap();
            assert_eq!(said.wait, wait, "{value:?}");
            assert_eq!(stored, sent, "and it stays, as with Java");
        }
        assert!(copy_properties(b"", &mut Vec::new()).unwrap().wait);
    }

    #[test]
    fn order_comes_before_priority() {
        let priority = ("_SYS_MSG_PRIORITY_", "3");
        let mut stored = Vec::new();
        let sent = text(&[priority]);
        assert_eq!(copy_properties(&sent, &mut stored).unwrap().priority, Some(3));
        assert_eq!(stored, sent);
        let sent = text(&[priority, ("__SHARDINGKEY", "s"), ("CLUSTER", "c")]);
        stored.clear();
        assert_eq!(copy_properties(&sent, &mut stored).unwrap().priority, None);
        assert_eq!(stored, text(&[("__SHARDINGKEY", "s")]));
    }
}
