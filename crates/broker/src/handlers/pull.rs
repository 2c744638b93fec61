//! Pulling: codes 11 and 361.
//!
//! One [`Pulls`] belongs to one connection. A pull is checked, planned from queue entries, and copied straight into
//! the connection's output; what is not in memory is read on the pool for slow work and sent from there. A pull at the
//! end of its queue is parked and looked at once more, without being parked again, when a wanted message came or its
//! time is up.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Context;
use std::time::Duration;

use ferromq_config::broker::BrokerConfig;
use ferromq_filter::{ExpressionType, TagExpression};
use ferromq_net::peer::Peer;
use ferromq_protocol::body::ConsumeType;
use ferromq_protocol::code::{request as request_code, response as code};
use ferromq_protocol::encode;
use ferromq_protocol::frame::Encoding;
use ferromq_protocol::header::{FieldError, Head};
use ferromq_protocol::request::PullMessage;
use ferromq_protocol::response::PullMessage as PullMessageResponse;
use ferromq_protocol::sys_flag::pull as flag;
use ferromq_protocol::types::{BrokerId, QueueId, QueueOffset, TimestampMs};
use ferromq_store::queue::{Queue, TagFilter, Wait};
use ferromq_store::{Plan, ReadError, ReadRequest, ReadStatus};

use crate::background::InFlight;
use crate::broker::Broker;
use crate::clients::Reader;
use crate::creation::Missing;
use crate::groups::Group;
use crate::holds::{Holds, NotParked};
use crate::requests::Envelope;
use crate::response::{Answer, PullError, ToAnswer};
use crate::topics::{self, Topic};

/// No client waits longer for an answer than this, whatever it asks for.
const HOLD_TIME_MAX: Duration = Duration::from_secs(600);

/// A pull and how to answer it.
#[derive(Clone, Copy)]
struct Pull<'a> {
    code: i32,
    opaque: i32,
    encoding: Encoding,
    received: std::time::Instant,
    header: PullMessage<'a>,
}

/// A pull that outlives the read buffer.
struct OwnedPull {
    code: i32,
    opaque: i32,
    encoding: Encoding,
    received: std::time::Instant,
    group: Box<str>,
    topic: Box<str>,
    queue_id: QueueId,
    offset: QueueOffset,
    max_messages: i32,
    max_bytes: Option<i32>,
    sys_flag: i32,
    commit_offset: QueueOffset,
    subscription: Option<Box<str>>,
    sub_version: TimestampMs,
    expression_type: Option<Box<str>>,
}

impl Pull<'_> {
    fn keep(self) -> OwnedPull {
        let header = &self.header;
        let says_what = header.sys_flag & flag::SUBSCRIPTION != 0;
        OwnedPull {
            code: self.code,
            opaque: self.opaque,
            encoding: self.encoding,
            received: self.received,
            group: header.consumer_group.into(),
            topic: header.topic.into(),
            queue_id: header.queue_id,
            offset: header.queue_offset,
            max_messages: header.max_msg_nums,
            max_bytes: header.max_msg_bytes,
            sys_flag: header.sys_flag,
            commit_offset: header.commit_offset,
            subscription: header.subscription.filter(|_| says_what).map(Box::from),
            sub_version: header.sub_version,
            expression_type: header.expression_type.filter(|_| says_what).map(Box::from),
        }
    }
}

impl OwnedPull {
    /// Its texts, that of the subscription twice: the filter made of it is not longer.
    fn bytes(&self) -> usize {
        let len = |text: &Option<Box<str>>| text.as_deref().map_or(0, str::len);
        self.group.len() + self.topic.len() + 2 * len(&self.subscription) + len(&self.expression_type)
    }

    fn borrow(&self) -> Pull<'_> {
        Pull {
            code: self.code,
            opaque: self.opaque,
            encoding: self.encoding,
            received: self.received,
            header: PullMessage {
                consumer_group: &self.group,
                topic: &self.topic,
                lite_topic: None,
                queue_id: self.queue_id,
                queue_offset: self.offset,
                max_msg_nums: self.max_messages,
                sys_flag: self.sys_flag,
                commit_offset: self.commit_offset,
                suspend_timeout_ms: 0,
                subscription: self.subscription.as_deref(),
                sub_version: self.sub_version,
                expression_type: self.expression_type.as_deref(),
                max_msg_bytes: self.max_bytes,
                request_source: None,
                proxy_forward_client_id: None,
                broker_name: None,
            },
        }
    }
}

/// What the checks found.
struct Allowed {
    topic: Arc<Topic>,
    group: Arc<Group>,
    filter: TagFilter,
}

/// Whether a pull is looked at for the first time; only then may it be parked and does it commit an offset.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    First,
    Again,
}

/// The pulls of one connection.
pub(crate) struct Pulls {
    holds: Holds<OwnedPull>,
    due: Vec<OwnedPull>,
    plan: Plan,
    in_flight: Arc<InFlight>,
}

impl Pulls {
    pub(crate) fn new(broker: &Broker, in_flight: Arc<InFlight>) -> Self {
        Self {
            holds: Holds::new(Arc::clone(&broker.holds)),
            due: Vec::new(),
            plan: Plan::default(),
            in_flight,
        }
    }

    /// Looks at a pull; if its group has to be created by being used first, says so.
    pub(crate) fn request(
        &mut self,
        broker: &Arc<Broker>,
        peer: &Arc<Peer>,
        frame: &Envelope<'_>,
        header: Result<PullMessage<'_>, FieldError>,
        may_create: bool,
        out: &mut Vec<u8>,
    ) -> Option<Missing> {
        let header = match header {
            Ok(header) => header,
            Err(error) => {
                write(out, frame.encoding, frame.head.opaque, &PullError::from(error).answer());
                return None;
            }
        };
        let pull = Pull {
            code: frame.head.code,
            opaque: frame.head.opaque,
            encoding: frame.encoding,
            received: frame.received,
            header,
        };
        let config = broker.config();
        let allowed = match check(broker, &config, peer, &pull) {
            Err(PullError::NoGroup(group)) if may_create && broker.creates_group(&config, &group) => {
                return Some(Missing::Group(group.into()));
            }
            Err(error) => {
                write(out, pull.encoding, pull.opaque, &error.answer());
                return None;
            }
            Ok(allowed) => allowed,
        };
        let suspend = if header.sys_flag & flag::SUSPEND == 0 {
            None
        } else if config.live.long_polling {
            u64::try_from(header.suspend_timeout_ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis)
        } else {
            Some(config.live.short_polling)
        };
        self.read(broker, peer, &pull, &allowed, suspend, Run::First, out);
        None
    }

    /// Answers the parked pulls that are due.
    pub(crate) fn poll(
        &mut self,
        broker: &Arc<Broker>,
        peer: &Arc<Peer>,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) {
        self.holds.poll(cx, &mut self.due);
        if self.due.is_empty() {
            return;
        }
        let config = broker.config();
        let mut due = std::mem::take(&mut self.due);
        let received = std::time::Instant::now();
        for held in due.drain(..) {
            // That it was parked is no waiting that anybody has to be blamed for.
            let pull = Pull { received, ..held.borrow() };
            match check(broker, &config, peer, &pull) {
                Ok(allowed) => self.read(broker, peer, &pull, &allowed, None, Run::Again, out),
                Err(error) => write(out, pull.encoding, pull.opaque, &error.answer()),
            }
        }
        self.due = due;
    }

    #[expect(clippy::too_many_arguments, reason = "one step of one flow; a struct for it would be used once")]
    fn read(
        &mut self,
        broker: &Arc<Broker>,
        peer: &Arc<Peer>,
        pull: &Pull<'_>,
        allowed: &Allowed,
        suspend: Option<Duration>,
        run: Run,
        out: &mut Vec<u8>,
    ) {
        let queue = broker.store.queue(pull.header.topic, pull.header.queue_id);
        let request = read_request(broker, pull, allowed, Wait::Never);
        if let Err(error) = broker.store.plan(&queue, &request, &mut self.plan) {
            return self.read_failed(broker, peer, pull, allowed, queue, run, error, out);
        }
        note_progress(broker, pull, &self.plan, run);
        let code = code_of(self.plan.status, pull.header.queue_offset);
        if code == code::PULL_NOT_FOUND
            && let Some(suspend) = suspend
        {
            let deadline = pull.received + suspend.min(HOLD_TIME_MAX);
            let (kept, filter) = (pull.keep(), allowed.filter.clone());
            let bytes = kept.bytes();
            let parked =
                self.holds.park(&queue, pull.header.queue_offset, filter, deadline.into(), bytes, kept);
            return match parked {
                Ok(()) => {}
                Err(NotParked::Full(_)) => {
                    write(out, pull.encoding, pull.opaque, &PullError::Overload.answer());
                }
                // A message came between the two looks; this time there is something, or the topic is gone.
                Err(NotParked::ReadAgain(_)) => {
                    self.read(broker, peer, pull, allowed, None, Run::Again, out);
                }
            };
        }
        if let Err(error) = answer(broker, pull, allowed, &self.plan, Wait::Never, out) {
            self.read_failed(broker, peer, pull, allowed, queue, run, error, out);
        }
    }

    /// What is not in memory is read where waiting hurts nobody; other errors are told.
    #[expect(clippy::too_many_arguments, reason = "one step of one flow; a struct for it would be used once")]
    fn read_failed(
        &mut self,
        broker: &Arc<Broker>,
        peer: &Arc<Peer>,
        pull: &Pull<'_>,
        allowed: &Allowed,
        queue: Arc<Queue>,
        run: Run,
        error: ReadError,
        out: &mut Vec<u8>,
    ) {
        if !matches!(error, ReadError::WouldBlock) {
            write(out, pull.encoding, pull.opaque, &PullError::Read(error).answer());
            return;
        }
        let cold = Cold {
            pull: pull.keep(),
            topic: Arc::clone(&allowed.topic),
            group: Arc::clone(&allowed.group),
            filter: allowed.filter.clone(),
            queue,
            run,
        };
        let (broker_there, peer_there) = (Arc::clone(broker), Arc::clone(peer));
        let bytes = size_of::<Cold>() + cold.pull.bytes();
        let started = self.in_flight.ticket(peer, bytes).and_then(|ticket| {
            broker.background.run(move || {
                let mut frame = Vec::new();
                cold.read(&broker_there, &mut frame);
                drop(ticket);
                // A client that is gone does not miss its answer.
                let _ = peer_there.send(frame);
            })
        });
        if started.is_err() {
            write(out, pull.encoding, pull.opaque, &PullError::Overload.answer());
        }
    }
}

/// A pull on its way through the pool for slow work.
struct Cold {
    pull: OwnedPull,
    topic: Arc<Topic>,
    group: Arc<Group>,
    filter: TagFilter,
    queue: Arc<Queue>,
    run: Run,
}

impl Cold {
    fn read(self, broker: &Broker, out: &mut Vec<u8>) {
        let pull = self.pull.borrow();
        if let Err(error) = broker.check_wait(pull.received) {
            return write(out, pull.encoding, pull.opaque, &error.answer());
        }
        let allowed = Allowed { topic: self.topic, group: self.group, filter: self.filter };
        let mut plan = Plan::default();
        let request = read_request(broker, &pull, &allowed, Wait::Allowed);
        let read = broker.store.plan(&self.queue, &request, &mut plan).and_then(|()| {
            note_progress(broker, &pull, &plan, self.run);
            answer(broker, &pull, &allowed, &plan, Wait::Allowed, out)
        });
        if let Err(error) = read {
            write(out, pull.encoding, pull.opaque, &PullError::Read(error).answer());
        }
    }
}

fn write(out: &mut Vec<u8>, encoding: Encoding, opaque: i32, answer: &Answer) {
    answer.write(out, encoding, opaque);
}

fn read_request<'a>(broker: &Broker, pull: &Pull<'_>, allowed: &'a Allowed, wait: Wait) -> ReadRequest<'a> {
    let positive = |number: i32| usize::try_from(number).unwrap_or(0);
    ReadRequest {
        offset: pull.header.queue_offset,
        max_messages: positive(pull.header.max_msg_nums).max(1),
        max_bytes: pull.header.max_msg_bytes.map_or(usize::MAX, positive),
        filter: &allowed.filter,
        limits: broker.read_limits(),
        wait,
    }
}

/// The checks, in Java's order.
fn check(broker: &Broker, config: &BrokerConfig, peer: &Peer, pull: &Pull<'_>) -> Result<Allowed, PullError> {
    let (header, live) = (&pull.header, &config.live);
    let ip = || broker.identity.ip.clone();
    if !topics::is_readable(live.permission) {
        return Err(PullError::BrokerForbidden(ip()));
    }
    if pull.code == request_code::LITE_PULL_MESSAGE && !live.lite_pull {
        return Err(PullError::LitePullForbidden(ip()));
    }
    let group_name = header.consumer_group;
    let group =
        broker.metadata.groups.find(group_name).ok_or_else(|| PullError::NoGroup(group_name.into()))?;
    if !group.consume_enable {
        return Err(PullError::GroupForbidden(group_name.into()));
    }
    let topic =
        broker.metadata.topics.find(header.topic).ok_or_else(|| PullError::NoTopic(header.topic.into()))?;
    if !topics::is_readable(topic.perm) {
        return Err(PullError::TopicForbidden(header.topic.into()));
    }
    if header.queue_id.0 < 0 || header.queue_id.0 >= topic.read_queues {
        return Err(PullError::Queue {
            queue_id: header.queue_id.0,
            topic: header.topic.into(),
            read_queues: topic.read_queues,
            consumer: peer.remote(),
        });
    }
    if header.lite_topic.is_some() {
        return Err(PullError::LiteTopic);
    }
    if let Some(unsupported) = topic.unsupported() {
        return Err(unsupported.into());
    }
    let filter = find_filter(broker, &group, header)?;
    if live.reject_unregistered_pull {
        let membership = broker.clients.membership(group_name, peer.id());
        let is_pull_consumer =
            membership.is_none_or(|(consume_type, _)| consume_type == ConsumeType::Actively);
        let is_registered = membership.is_some_and(|(_, is_member)| is_member);
        if is_pull_consumer && !is_registered {
            return Err(PullError::PullConsumerRejected);
        }
    }
    Ok(Allowed { topic, group, filter })
}

/// What the group wants of the topic: as the request says, or else as its heartbeat said.
fn find_filter(broker: &Broker, group: &Group, header: &PullMessage<'_>) -> Result<TagFilter, PullError> {
    if header.sys_flag & flag::SUBSCRIPTION != 0 {
        return match ExpressionType::of(header.expression_type) {
            ExpressionType::Other(_) if header.subscription.is_none_or(str::is_empty) => {
                Err(PullError::SubscriptionUnreadable)
            }
            ExpressionType::Other(kind) => Err(PullError::ExpressionUnsupported(kind.into())),
            ExpressionType::Tag => TagExpression::parse(header.subscription)
                .map(|expression| filter_of(&expression))
                .map_err(|_| PullError::SubscriptionUnreadable),
        };
    }
    let reader = broker.clients.reader(&group.group_name, header.topic);
    let broadcasting = match reader {
        Reader::GroupAbsent => return Err(PullError::GroupAbsent),
        Reader::NotSubscribed { broadcasting } | Reader::Subscribed { broadcasting, .. } => broadcasting,
    };
    if broadcasting && !group.consume_broadcast_enable {
        return Err(PullError::BroadcastForbidden(group.group_name.clone()));
    }
    if broker.metadata.groups.is_read_forbidden(&group.group_name, header.topic) {
        return Err(PullError::ForbiddenForTopic(group.group_name.clone(), header.topic.into()));
    }
    let Reader::Subscribed { subscription, .. } = reader else { return Err(PullError::NotSubscribed) };
    if subscription.data.sub_version < header.sub_version.0 {
        return Err(PullError::SubscriptionNotLatest);
    }
    match ExpressionType::of(subscription.data.expression_type.as_deref()) {
        ExpressionType::Tag => Ok(subscription.filter.clone()),
        ExpressionType::Other(kind) => Err(PullError::ExpressionUnsupported(kind.into())),
    }
}

/// The filter of an expression.
pub(crate) fn filter_of(expression: &TagExpression) -> TagFilter {
    expression.hashes().map_or(TagFilter::All, |hashes| TagFilter::Hashes(hashes.into()))
}

/// Remembers where the group was told to go on and, the first time, where it says it is.
fn note_progress(broker: &Broker, pull: &Pull<'_>, plan: &Plan, run: Run) {
    let header = &pull.header;
    let (group, topic, queue_id) = (header.consumer_group, header.topic, header.queue_id.0);
    broker.metadata.offsets.pulled(group, topic, queue_id, plan.next.0);
    if run == Run::First && header.sys_flag & flag::COMMIT_OFFSET != 0 {
        // More queues than a topic can have were checked above; nothing else can be wrong.
        let _ = broker.metadata.commit_offset(group, topic, queue_id, header.commit_offset.0);
    }
}

fn code_of(status: ReadStatus, asked: QueueOffset) -> i32 {
    match status {
        ReadStatus::Found => code::SUCCESS,
        ReadStatus::NoMatchedMessage | ReadStatus::MessageWasRemoving => code::PULL_RETRY_IMMEDIATELY,
        ReadStatus::NoMessageInQueue if asked.0 != 0 => code::PULL_OFFSET_MOVED,
        ReadStatus::NoMessageInQueue | ReadStatus::OffsetFoundNull | ReadStatus::OffsetOverflowOne => {
            code::PULL_NOT_FOUND
        }
        ReadStatus::OffsetOverflowBadly | ReadStatus::OffsetTooSmall => code::PULL_OFFSET_MOVED,
    }
}

/// Java's word, which is the remark.
fn name_of(status: ReadStatus) -> &'static str {
    match status {
        ReadStatus::Found => "FOUND",
        ReadStatus::NoMatchedMessage => "NO_MATCHED_MESSAGE",
        ReadStatus::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
        ReadStatus::OffsetFoundNull => "OFFSET_FOUND_NULL",
        ReadStatus::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
        ReadStatus::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
        ReadStatus::OffsetTooSmall => "OFFSET_TOO_SMALL",
        ReadStatus::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
    }
}

/// Writes the answer of a planned read. On an error nothing of it stays.
fn answer(
    broker: &Broker,
    pull: &Pull<'_>,
    allowed: &Allowed,
    plan: &Plan,
    wait: Wait,
    out: &mut Vec<u8>,
) -> Result<(), ReadError> {
    let head = Head::response(code_of(plan.status, pull.header.queue_offset), pull.opaque);
    let mut header = encode::begin(out, pull.encoding, head, Some(name_of(plan.status)));
    header.header(&PullMessageResponse {
        // Without replicas to read from (`slaveReadEnable`) it is always the leader.
        suggest_which_broker_id: BrokerId(0),
        next_begin_offset: plan.next,
        min_offset: plan.min,
        max_offset: plan.max,
        offset_delta: None,
        topic_sys_flag: Some(allowed.topic.sys_flag),
        group_sys_flag: Some(allowed.group.group_sys_flag),
        forbidden_type: None,
    });
    let mut body = header.body();
    if plan.status == ReadStatus::Found
        && let Err(error) = broker.store.copy(plan, wait, body.buffer())
    {
        body.cancel();
        return Err(error);
    }
    if let Err(error) = body.finish() {
        let answer = PullError::TooLong(error).answer();
        write(out, pull.encoding, pull.opaque, &answer);
        return Ok(());
    }
    count(broker, pull, plan);
    Ok(())
}

fn count(broker: &Broker, pull: &Pull<'_>, plan: &Plan) {
    let totals = &broker.stats.totals;
    if plan.status != ReadStatus::Found {
        totals.missed.add(1);
        return;
    }
    let messages = plan.records.len() as u64;
    let (topic, group) = (pull.header.topic, pull.header.consumer_group);
    totals.found.add(1);
    totals.transferred.add(messages);
    if !broker.system_topics.contains(topic) {
        totals.user_gets.fetch_add(messages, Relaxed);
    }
    broker.stats.delivered(topic, group, messages, plan.bytes as u64, broker.elapsed());
}
