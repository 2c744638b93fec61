//! From request code to handler: one table, and the session that runs it.
//!
//! Sends and pulls have their own state in the session. Other requests are of three kinds: answered at once from
//! memory, answered by a task that may wait for a change to be saved or for another client, or answered by the pool
//! for work that waits for the disk. What is in flight is counted; a connection that has too much of it is not read.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use bytes::Bytes;
use ferromq_net::connection::{Request, Service, Session as NetSession};
use ferromq_net::peer::Peer;
use ferromq_protocol::code::request as code;
use ferromq_protocol::frame::Encoding;
use ferromq_protocol::header::{FieldError, Head, Header, OwnedFrame};
use ferromq_protocol::request::{PullMessage, SendMessage, SendMessageV2};
use parking_lot::Mutex;

use crate::background::{InFlight, Ticket};
use crate::broker::Broker;
use crate::creation::{self, Missing};
use crate::handlers::pull::Pulls;
use crate::handlers::send::{Sends, Taken};
use crate::handlers::{admin, heartbeat, locks, offsets, query, relay};
use crate::response::{Answer, Feature, RequestError, UnsupportedRequest};

/// Everything of a request but its typed header.
#[derive(Clone, Copy)]
pub(crate) struct Envelope<'a> {
    pub(crate) head: Head,
    pub(crate) encoding: Encoding,
    pub(crate) body: &'a [u8],
    pub(crate) received: Instant,
    /// Where the client connects from.
    pub(crate) client: SocketAddr,
}

/// Who asks: the broker, and the connection a request came over.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) broker: Arc<Broker>,
    pub(crate) peer: Arc<Peer>,
    pub(crate) received: Instant,
}

/// Makes the sessions of a broker's connections.
pub struct BrokerService(pub Arc<Broker>);

impl Service for BrokerService {
    type Session = Session;

    fn open(&self, peer: &Arc<Peer>) -> Session {
        let broker = Arc::clone(&self.0);
        let in_flight = Arc::new(InFlight::new(broker.background.held()));
        Session {
            sends: Sends::new(broker.store.port(), peer.id()),
            pulls: Pulls::new(&broker, Arc::clone(&in_flight)),
            set_aside: Arc::default(),
            in_flight,
            peer: Arc::clone(peer),
            broker,
        }
    }
}

/// Requests that lacked something, on their way back to their session.
#[derive(Default)]
struct SetAside(Mutex<Ready>);

#[derive(Default)]
struct Ready {
    frames: Vec<(OwnedFrame, Ticket)>,
    waker: Option<Waker>,
}

/// One connection's requests.
pub struct Session {
    broker: Arc<Broker>,
    peer: Arc<Peer>,
    sends: Sends,
    pulls: Pulls,
    set_aside: Arc<SetAside>,
    in_flight: Arc<InFlight>,
}

impl NetSession for Session {
    fn request(&mut self, request: Request<'_>, out: &mut Vec<u8>) {
        let envelope = Envelope {
            head: request.header.head,
            encoding: request.header.encoding,
            body: request.body,
            received: request.received,
            client: self.peer.remote(),
        };
        let header = &request.header;
        let owned = || header.to_owned(Bytes::copy_from_slice(request.body));
        match header.code {
            code::SEND_MESSAGE_V2 | code::SEND_BATCH_MESSAGE => {
                self.send(&envelope, header.read(), Some(&owned), out);
            }
            code::SEND_MESSAGE => {
                let header = header.read::<SendMessage<'_>>().map(SendMessageV2::from);
                self.send(&envelope, header, Some(&owned), out);
            }
            code::PULL_MESSAGE | code::LITE_PULL_MESSAGE => {
                self.pull(&envelope, header.read(), Some(&owned), out);
            }
            code::HEART_BEAT => self.heartbeat(&envelope, Some(&owned), out),
            _ => self.other(&envelope, owned(), out),
        }
    }

    fn end_of_read(&mut self, out: &mut Vec<u8>) {
        self.sends.end_of_read(&self.broker, out);
    }

    fn poll(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) {
        self.look_again(cx, out);
        self.sends.poll(&self.broker, cx, out);
        self.pulls.poll(&self.broker, &self.peer, cx, out);
    }

    fn saturated(&self) -> bool {
        self.sends.is_saturated() || self.in_flight.is_saturated()
    }

    fn unanswered(&self) -> bool {
        self.sends.unanswered() > 0 || self.in_flight.now() > 0
    }

    fn closed(&mut self) {
        self.broker.connection_closed(self.peer.id());
    }
}

/// Makes the copy of a request that is set aside.
type Owned<'a> = &'a dyn Fn() -> OwnedFrame;

impl Session {
    fn send(
        &mut self,
        envelope: &Envelope<'_>,
        header: Result<SendMessageV2<'_>, FieldError>,
        owned: Option<Owned<'_>>,
        out: &mut Vec<u8>,
    ) {
        let taken = self.sends.request(&self.broker, envelope, header, owned.is_some(), out);
        if let (Taken::Wait(missing), Some(owned)) = (taken, owned) {
            self.create(missing, owned(), envelope, out);
        }
    }

    fn pull(
        &mut self,
        envelope: &Envelope<'_>,
        header: Result<PullMessage<'_>, FieldError>,
        owned: Option<Owned<'_>>,
        out: &mut Vec<u8>,
    ) {
        let missing = self.pulls.request(&self.broker, &self.peer, envelope, header, owned.is_some(), out);
        if let (Some(missing), Some(owned)) = (missing, owned) {
            self.create(vec![missing], owned(), envelope, out);
        }
    }

    fn heartbeat(&mut self, envelope: &Envelope<'_>, owned: Option<Owned<'_>>, out: &mut Vec<u8>) {
        match heartbeat::heartbeat(&self.broker, &self.peer, envelope, owned.is_some()) {
            Ok(answer) => write(out, envelope, &answer),
            Err(missing) => {
                if let Some(owned) = owned {
                    self.create(missing, owned(), envelope, out);
                }
            }
        }
    }

    /// Sets a request aside, creates what it lacks and comes back to it.
    fn create(&self, missing: Vec<Missing>, frame: OwnedFrame, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
        let Ok(ticket) = self.in_flight.ticket(&self.peer, held_bytes(&frame)) else {
            return write(out, envelope, &RequestError::Overload.into());
        };
        let (broker, peer) = (Arc::clone(&self.broker), Arc::clone(&self.peer));
        let set_aside = Arc::clone(&self.set_aside);
        tokio::spawn(async move {
            match creation::create(&broker, missing).await {
                Ok(()) => {
                    let mut ready = set_aside.0.lock();
                    ready.frames.push((frame, ticket));
                    if let Some(waker) = ready.waker.take() {
                        waker.wake();
                    }
                }
                Err(error) => reply(&peer, &frame, &RequestError::from(error).into()),
            }
        });
    }

    /// Requests whose topic or group has been created meanwhile are looked at again.
    fn look_again(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) {
        if self.in_flight.now() == 0 {
            return;
        }
        let frames = {
            let mut ready = self.set_aside.0.lock();
            ready.waker = Some(cx.waker().clone());
            std::mem::take(&mut ready.frames)
        };
        if frames.is_empty() {
            return;
        }
        for (frame, _) in &frames {
            let envelope = Envelope {
                head: frame.head,
                encoding: frame.encoding,
                body: &frame.body,
                // Creating is part of the work, not of the waiting.
                received: Instant::now(),
                client: self.peer.remote(),
            };
            match frame.code {
                code::SEND_MESSAGE_V2 | code::SEND_BATCH_MESSAGE => {
                    self.send(&envelope, frame.read(), None, out);
                }
                code::SEND_MESSAGE => {
                    let header = frame.read::<SendMessage<'_>>().map(SendMessageV2::from);
                    self.send(&envelope, header, None, out);
                }
                code::PULL_MESSAGE | code::LITE_PULL_MESSAGE => {
                    self.pull(&envelope, frame.read(), None, out);
                }
                code::HEART_BEAT => self.heartbeat(&envelope, None, out),
                other => {
                    let answer = UnsupportedRequest { code: other, feature: None }.into();
                    write(out, &envelope, &answer);
                }
            }
        }
        self.sends.end_of_read(&self.broker, out);
    }

    /// The table of everything but sends, pulls and heartbeats.
    fn other(&mut self, envelope: &Envelope<'_>, frame: OwnedFrame, out: &mut Vec<u8>) {
        let at = At { session: self, envelope, out };
        match frame.code {
            // Consumers.
            code::QUERY_CONSUMER_OFFSET => at.once(&frame, offsets::query),
            code::UPDATE_CONSUMER_OFFSET => at.once(&frame, offsets::update),
            code::GET_MAX_OFFSET => at.once(&frame, offsets::max),
            code::GET_MIN_OFFSET => at.once(&frame, offsets::min),
            code::SEARCH_OFFSET_BY_TIMESTAMP => at.slowly(frame, offsets::search),
            code::GET_EARLIEST_MSG_STORETIME => at.slowly(frame, offsets::earliest_store_time),
            code::UNREGISTER_CLIENT => at.once_whole(&frame, heartbeat::unregister),
            code::CHECK_CLIENT_CONFIG => at.once_whole(&frame, heartbeat::check_client_config),
            code::GET_CONSUMER_LIST_BY_GROUP => at.once(&frame, heartbeat::consumer_ids),
            code::LOCK_BATCH_MQ => at.once_whole(&frame, locks::lock),
            code::UNLOCK_BATCH_MQ => at.once_whole(&frame, locks::unlock),
            // Looking messages up.
            code::QUERY_MESSAGE => at.slowly(frame, query::by_key),
            code::VIEW_MESSAGE_BY_ID => at.slowly(frame, query::by_offset),
            code::QUERY_CONSUME_QUEUE => at.slowly(frame, query::queue_entries),
            // Topics.
            code::UPDATE_AND_CREATE_TOPIC => at.later(frame, admin::topics::update),
            code::UPDATE_AND_CREATE_TOPIC_LIST => at.later(frame, admin::topics::update_list),
            code::DELETE_TOPIC_IN_BROKER => at.later(frame, admin::topics::delete),
            code::GET_ALL_TOPIC_CONFIG => at.slowly(frame, admin::topics::get_all),
            code::GET_TOPIC_CONFIG => at.once(&frame, admin::topics::get),
            code::GET_TOPIC_STATS_INFO => at.slowly(frame, admin::topics::stats),
            code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => at.once_whole(&frame, admin::topics::system),
            // Groups.
            code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => at.later(frame, admin::groups::update),
            code::DELETE_SUBSCRIPTIONGROUP => at.later(frame, admin::groups::delete),
            code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => at.slowly(frame, admin::groups::get_all),
            code::GET_SUBSCRIPTIONGROUP_CONFIG => at.once(&frame, admin::groups::get),
            code::GET_CONSUME_STATS => at.slowly(frame, admin::consume_stats::of_group),
            code::GET_BROKER_CONSUME_STATS => at.slowly(frame, admin::consume_stats::of_broker),
            code::QUERY_TOPIC_CONSUME_BY_WHO => at.once(&frame, admin::groups::readers_of_topic),
            code::QUERY_TOPICS_BY_CONSUMER => at.once(&frame, admin::groups::topics_of_group),
            code::QUERY_SUBSCRIPTION_BY_CONSUMER => at.once(&frame, admin::groups::subscription),
            // Connections.
            code::GET_CONSUMER_CONNECTION_LIST => at.once(&frame, admin::connections::consumers),
            code::GET_PRODUCER_CONNECTION_LIST => at.once(&frame, admin::connections::producers),
            code::GET_ALL_PRODUCER_INFO => at.once_whole(&frame, admin::connections::all_producers),
            code::GET_CONSUMER_RUNNING_INFO => at.later(frame, relay::running_info),
            // The broker.
            code::UPDATE_BROKER_CONFIG => at.later(frame, admin::config::update),
            code::GET_BROKER_CONFIG => at.once_whole(&frame, admin::config::get),
            code::GET_BROKER_RUNTIME_INFO => at.slowly(frame, admin::runtime::info),
            code::VIEW_BROKER_STATS_DATA => at.once(&frame, admin::runtime::view_stats),
            other => {
                let answer = UnsupportedRequest { code: other, feature: feature_of(other) }.into();
                write(at.out, envelope, &answer);
            }
        }
    }
}

/// The feature that an unsupported code belongs to, where it is one that this broker will have.
fn feature_of(request: i32) -> Option<Feature> {
    match request {
        code::CONSUMER_SEND_MSG_BACK => Some(Feature::SendBack),
        code::END_TRANSACTION | code::RESUME_CHECK_HALF_MESSAGE => Some(Feature::Transactions),
        code::SEND_REPLY_MESSAGE | code::SEND_REPLY_MESSAGE_V2 => Some(Feature::Reply),
        code::RECALL_MESSAGE => Some(Feature::Recall),
        code::POP_MESSAGE
        | code::ACK_MESSAGE
        | code::BATCH_ACK_MESSAGE
        | code::CHANGE_MESSAGE_INVISIBLETIME
        | code::NOTIFICATION
        | code::POLLING_INFO
        | code::PEEK_MESSAGE => Some(Feature::Pop),
        _ => None,
    }
}

/// A request at its place in the table.
struct At<'s, 'e, 'o> {
    session: &'s Session,
    envelope: &'s Envelope<'e>,
    out: &'o mut Vec<u8>,
}

impl At<'_, '_, '_> {
    /// Answered now, from memory.
    fn once<'a, H: Header<'a>>(
        self,
        frame: &'a OwnedFrame,
        handle: fn(&Broker, &Peer, &H) -> Result<Answer, RequestError>,
    ) {
        let handled = frame
            .read::<H>()
            .map_err(RequestError::from)
            .and_then(|header| handle(&self.session.broker, &self.session.peer, &header));
        write(self.out, self.envelope, &handled.unwrap_or_else(Answer::from));
    }

    /// Answered now, from memory; what is asked is not in a header, or in one that may be incomplete.
    fn once_whole(
        self,
        frame: &OwnedFrame,
        handle: fn(&Broker, &Peer, &OwnedFrame) -> Result<Answer, RequestError>,
    ) {
        let handled = handle(&self.session.broker, &self.session.peer, frame);
        write(self.out, self.envelope, &handled.unwrap_or_else(Answer::from));
    }

    /// Answered by a task that waits for something else than the disk.
    fn later<F>(self, frame: OwnedFrame, handle: fn(Caller, OwnedFrame) -> F)
    where
        F: Future<Output = Result<Answer, RequestError>> + Send + 'static,
    {
        let caller = self.caller();
        let peer = Arc::clone(&caller.peer);
        let Ok(ticket) = self.session.in_flight.ticket(&peer, held_bytes(&frame)) else {
            return write(self.out, self.envelope, &RequestError::Overload.into());
        };
        let envelope = OwnedFrame { body: Bytes::new(), fields: Vec::new(), ..frame.clone() };
        tokio::spawn(async move {
            let answer = handle(caller, frame).await.unwrap_or_else(Answer::from);
            reply(&peer, &envelope, &answer);
            drop(ticket);
        });
    }

    /// Answered by the pool for work that may wait for the disk.
    fn slowly(self, frame: OwnedFrame, handle: fn(&Caller, &OwnedFrame) -> Result<Answer, RequestError>) {
        let caller = self.caller();
        let started = self.session.in_flight.ticket(&caller.peer, held_bytes(&frame)).and_then(|ticket| {
            self.session.broker.background.run(move || {
                let handled =
                    caller.broker.check_wait(caller.received).and_then(|()| handle(&caller, &frame));
                reply(&caller.peer, &frame, &handled.unwrap_or_else(Answer::from));
                drop(ticket);
            })
        });
        if started.is_err() {
            write(self.out, self.envelope, &RequestError::Overload.into());
        }
    }

    fn caller(&self) -> Caller {
        Caller {
            broker: Arc::clone(&self.session.broker),
            peer: Arc::clone(&self.session.peer),
            received: self.envelope.received,
        }
    }
}

/// Bytes of a request that is kept until its answer.
fn held_bytes(frame: &OwnedFrame) -> usize {
    let fields = frame.fields.iter().map(|(name, value)| name.len() + value.len());
    size_of::<OwnedFrame>() + frame.body.len() + fields.sum::<usize>()
}

/// Reads a request's typed header.
pub(crate) fn header<'a, H: Header<'a>>(frame: &'a OwnedFrame) -> Result<H, RequestError> {
    frame.read::<H>().map_err(RequestError::from)
}

fn write(out: &mut Vec<u8>, envelope: &Envelope<'_>, answer: &Answer) {
    if !envelope.head.is_oneway() {
        answer.write(out, envelope.encoding, envelope.head.opaque);
    }
}

/// Answers from outside the connection's task.
fn reply(peer: &Peer, frame: &OwnedFrame, answer: &Answer) {
    if frame.is_oneway() {
        return;
    }
    let mut out = Vec::new();
    answer.write(&mut out, frame.encoding, frame.opaque);
    // A client that is gone does not miss its answer.
    let _ = peer.send(out);
}
