//! One connection: a future that reads, hands over, polls and writes, in turns.
//!
//! A turn reads once, hands every complete frame of that read to the session, lets the session finish what it can,
//! and writes all answers with one call. The buffers of a turn belong to the worker thread, so an idle connection
//! holds none and a busy one allocates nothing per message. After [`TURN_BYTES`] the future yields, so that no
//! connection keeps a worker for itself.
//!
//! Nothing is read while the session is saturated, while more than [`UNSENT_PAUSE_BYTES`] wait to be written, or
//! while the budget for large frames is used up: the kernel's buffers then push back on the client.
//!
//! The same future serves both directions: for an outgoing connection the session handles what the other side asks.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use ferromq_protocol::frame::{Encoding, RawFrame, Split, split};
use ferromq_protocol::header::{Head, HeaderDecoder, HeaderRef};
use ferromq_protocol::{code, encode, version};
use tokio::time::{Instant, Sleep};

use crate::inbox::{Filled, Inbox};
use crate::limits::{FREE_UNREAD_BYTES, Limiter, READ_BYTES, TURN_BYTES, UNSENT_PAUSE_BYTES, count};
use crate::peer::{Closed, Peer, SendError};
use crate::stream::Stream;

/// Makes the sessions of a listener's connections.
pub trait Service: Send + Sync + 'static {
    type Session: Session;

    /// A connection is open: its first bytes have come, or it is one of ours. The session may keep the peer.
    fn open(&self, peer: &Arc<Peer>) -> Self::Session;
}

/// What happens to the requests of one connection. All methods run on the connection's task, one at a time.
pub trait Session: Send + 'static {
    /// One request. Answer into `out` now, or later from [`Session::poll`], or from anywhere through [`Peer::send`].
    fn request(&mut self, request: Request<'_>, out: &mut Vec<u8>);

    /// All complete requests of this read were handed over.
    fn end_of_read(&mut self, out: &mut Vec<u8>);

    /// Runs once in every turn in which requests came, and whenever the connection's waker fired. Registers
    /// `cx.waker()` wherever work for this connection may complete. A call should append about a MiB at most and wake
    /// itself if there is more, because `out` is only judged against the limits when it returns.
    fn poll(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>);

    /// While true, nothing more is handed over or read: this connection holds as much unanswered work as it may.
    fn saturated(&self) -> bool;

    /// True while there is work whose answer a stopping server should wait for. Parked pulls are none.
    fn unanswered(&self) -> bool {
        false
    }

    /// The connection is gone. Called once.
    fn closed(&mut self);
}

/// One request, borrowed from the read buffer.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub header: HeaderRef<'a>,
    pub body: &'a [u8],
    /// When the read that completed it returned.
    pub received: std::time::Instant,
}

/// How far the stopping of a server has come.
#[derive(Debug, Default)]
pub(crate) struct Phase(AtomicU8);

impl Phase {
    const SENDING_AWAY: u8 = 1;
    const DRAINING: u8 = 2;

    pub(crate) fn send_away(&self) {
        self.0.fetch_max(Self::SENDING_AWAY, Ordering::Release);
    }

    pub(crate) fn drain(&self) {
        self.0.fetch_max(Self::DRAINING, Ordering::Release);
    }

    fn is_sending_away(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::SENDING_AWAY
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::DRAINING
    }
}

/// Buffers of a worker thread, lent to the connection whose turn it is.
struct Shared {
    read: Vec<u8>,
    out: Vec<u8>,
    decoder: HeaderDecoder,
}

/// Answers of one turn beyond this are rare; their buffer is not kept.
const OUT_KEPT_BYTES: usize = 4 * 1024 * 1024;

thread_local! {
    static SHARED: Cell<Option<Box<Shared>>> = const { Cell::new(None) };
}

impl Shared {
    fn borrow() -> Box<Self> {
        let fresh = || Self { read: vec![0; READ_BYTES], out: Vec::new(), decoder: HeaderDecoder::new() };
        SHARED.take().unwrap_or_else(|| Box::new(fresh()))
    }

    fn give_back(mut self: Box<Self>) {
        self.out.clear();
        self.out.shrink_to(OUT_KEPT_BYTES);
        SHARED.set(Some(self));
    }
}

/// Answers that the socket did not take.
#[derive(Default)]
struct Unsent {
    bytes: Vec<u8>,
    written: usize,
    /// What the peer accounts for: these bytes, and mail that was collected but not settled yet.
    held: usize,
}

impl Unsent {
    fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    fn append(&mut self, more: &[u8]) {
        if self.written >= self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        self.bytes.extend_from_slice(more);
    }

    fn advance(&mut self, written: usize) {
        self.written += written;
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(UNSENT_PAUSE_BYTES);
            self.written = 0;
        }
    }
}

/// Outcome of a read.
enum Read {
    /// There is nothing to read; whoever has more wakes the task.
    Nothing,
    /// It was not tried.
    Paused,
    Some {
        bytes: usize,
        requests: usize,
    },
}

/// Outcome of handing over a piece of the stream.
struct Handed {
    bytes: usize,
    requests: usize,
    /// Length that the rest must reach to be a frame; 0 if it may hold one that could not be taken now.
    wanted: usize,
}

pub(crate) struct Connection<S: Session> {
    stream: Stream,
    session: S,
    peer: Arc<Peer>,
    limiter: Arc<Limiter>,
    phase: Arc<Phase>,
    inbox: Inbox,
    unsent: Unsent,
    encoding: Encoding,
    needs_flush: bool,
    last_active: Instant,
    large_frame_since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    /// The waker that the peer and the timer know.
    known_waker: Option<Waker>,
}

/// Nothing in it is pinned by address but the timer, which has its own box.
impl<S: Session> Unpin for Connection<S> {}

impl<S: Session> Connection<S> {
    pub(crate) fn new(
        stream: Stream,
        early: Vec<u8>,
        session: S,
        peer: Arc<Peer>,
        limiter: Arc<Limiter>,
        phase: Arc<Phase>,
    ) -> Self {
        let now = Instant::now();
        peer.has_received(early.len());
        Self {
            stream,
            session,
            encoding: peer.encoding(),
            peer,
            phase,
            inbox: Inbox::with_early(early),
            unsent: Unsent::default(),
            needs_flush: false,
            last_active: now,
            large_frame_since: None,
            timer: Box::pin(tokio::time::sleep_until(now + limiter.limits.idle)),
            known_waker: None,
            limiter,
        }
    }

    /// Takes turns until there is nothing to do or it is time to let others run. An error is the end.
    fn run(&mut self, cx: &mut Context<'_>, shared: &mut Shared) -> Result<(), Closed> {
        self.introduce(cx);
        let now = Instant::now();
        if self.timer.deadline() <= now {
            self.check_deadlines(now)?;
        }
        let (mail, closing) = self.peer.collect(&mut shared.out);
        self.unsent.held += mail;
        if let Some(reason) = closing {
            self.write(cx, &mut shared.out, now)?;
            return Err(reason);
        }

        let mut budget = TURN_BYTES;
        let mut is_first = true;
        loop {
            let read = self.read(cx, shared, now)?;
            let requests = if let Read::Some { requests, .. } = read { requests } else { 0 };
            if requests > 0 {
                self.session.end_of_read(&mut shared.out);
            }
            if requests > 0 || is_first {
                self.session.poll(cx, &mut shared.out);
            }
            self.write(cx, &mut shared.out, now)?;
            is_first = false;
            match read {
                Read::Nothing => break,
                // Nobody watches the socket, so it is on us to see that the session or the client made room.
                Read::Paused if self.is_paused() => break,
                Read::Paused => {}
                Read::Some { bytes, .. } => {
                    // Small reads count for more than their bytes: they take a turn each.
                    budget = budget.saturating_sub(bytes.max(FREE_UNREAD_BYTES));
                    if budget == 0 {
                        cx.waker().wake_by_ref();
                        break;
                    }
                }
            }
        }
        if self.phase.is_draining()
            && self.unsent.len() == 0
            && !self.needs_flush
            && !self.session.unanswered()
        {
            return Err(Closed::Stopping);
        }
        self.set_timer(cx);
        Ok(())
    }

    /// Tells everyone who may have to wake this task how to.
    fn introduce(&mut self, cx: &mut Context<'_>) {
        if self.known_waker.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            self.known_waker = Some(cx.waker().clone());
            self.peer.watch(cx);
            self.arm_timer(cx);
        }
    }

    fn arm_timer(&mut self, cx: &mut Context<'_>) {
        // Not subject to the budget of the task: a timer that was not polled would never wake it.
        let mut timer = tokio::task::coop::unconstrained(self.timer.as_mut());
        if Pin::new(&mut timer).poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    /// Nothing more may be read for now.
    fn is_paused(&self) -> bool {
        self.phase.is_draining() || self.session.saturated() || self.unsent.len() > UNSENT_PAUSE_BYTES
    }

    /// Reads once, or turns to what an earlier read left behind.
    fn read(&mut self, cx: &mut Context<'_>, shared: &mut Shared, now: Instant) -> Result<Read, Closed> {
        if self.is_paused() {
            return Ok(Read::Paused);
        }
        let Shared { read: shared_read, out, decoder } = shared;
        if self.inbox.has_backlog() {
            let handed = self.hand_over_own(out, decoder, now)?;
            if handed.bytes > 0 || self.inbox.has_backlog() {
                return Ok(Read::Some { bytes: handed.bytes, requests: handed.requests });
            }
            // It was no whole frame after all: read the rest of it.
        }
        if !self.inbox.settle(&self.limiter.unread, self.peer.id(), cx.waker()) {
            // That the frame makes no progress is not the client's fault.
            self.large_frame_since = None;
            return Ok(Read::Nothing);
        }
        if self.inbox.is_receiving_large_frame() {
            self.large_frame_since.get_or_insert(now);
        }
        let (read, filled) = match self.inbox.fill(cx, &mut self.stream, shared_read, &self.limiter.unread) {
            Poll::Pending => return Ok(Read::Nothing),
            Poll::Ready(Err(error)) => return Err(broken(&error)),
            Poll::Ready(Ok((0, _))) => return Err(Closed::ByPeer),
            Poll::Ready(Ok(filled)) => filled,
        };
        self.peer.has_received(read);
        // The socket was asked in between, so `now` is a little old; frames get the time at which they were there.
        let now = Instant::now();
        self.last_active = now;
        let handed = match filled {
            Filled::Shared(len) => {
                let bytes = &shared_read[..len];
                let handed = self.hand_over(bytes, out, decoder, now)?;
                self.inbox.keep(&bytes[handed.bytes..], handed.wanted);
                handed
            }
            Filled::Own => self.hand_over_own(out, decoder, now)?,
        };
        Ok(Read::Some { bytes: read, requests: handed.requests })
    }

    fn hand_over_own(
        &mut self,
        out: &mut Vec<u8>,
        decoder: &mut HeaderDecoder,
        now: Instant,
    ) -> Result<Handed, Closed> {
        let (own, len) = self.inbox.lend();
        let handed = self.hand_over(&own[..len], out, decoder, now)?;
        self.inbox.put_back(own, handed.bytes, handed.wanted);
        Ok(handed)
    }

    fn hand_over(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        decoder: &mut HeaderDecoder,
        now: Instant,
    ) -> Result<Handed, Closed> {
        let mut handed = Handed { bytes: 0, requests: 0, wanted: 0 };
        // A client that asks for much in few bytes gets it in portions, so that one turn does not answer it all.
        while handed.bytes < bytes.len() && !self.session.saturated() && out.len() <= UNSENT_PAUSE_BYTES {
            match split(&bytes[handed.bytes..]) {
                Ok(Split::Frame { frame, consumed }) => {
                    handed.requests += usize::from(self.frame(frame, out, decoder, now)?);
                    handed.bytes += consumed;
                    self.large_frame_since = None;
                }
                Ok(Split::Incomplete { at_least }) => {
                    handed.wanted = at_least;
                    break;
                }
                Err(error) => {
                    tracing::info!(peer = %self.peer.remote(), %error, "malformed frame, connection closed");
                    return Err(Closed::Malformed);
                }
            }
        }
        Ok(handed)
    }

    /// Handles one frame. True if the session got a request.
    fn frame(
        &mut self,
        frame: RawFrame<'_>,
        out: &mut Vec<u8>,
        decoder: &mut HeaderDecoder,
        now: Instant,
    ) -> Result<bool, Closed> {
        let header = decoder.decode(frame).map_err(|error| {
            tracing::info!(peer = %self.peer.remote(), %error, "malformed header, connection closed");
            Closed::Malformed
        })?;
        if header.is_response() {
            self.peer.reply(header.opaque, || header.to_owned(Bytes::copy_from_slice(frame.body)));
            return Ok(false);
        }
        if self.encoding != frame.encoding {
            self.encoding = frame.encoding;
            self.peer.speaks(frame.encoding);
        }
        // Clients that do not know the code are served until the end, and oneway requests could only be lost.
        if self.phase.is_sending_away() && header.version > version::V5_3_1 && !header.is_oneway() {
            answer_go_away(&header, out);
            count(&self.limiter.counters.sent_away);
            return Ok(false);
        }
        self.session.request(Request { header, body: frame.body, received: now.into_std() }, out);
        Ok(true)
    }

    /// Writes `out` and what was left of earlier turns, as far as the socket takes it.
    fn write(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>, now: Instant) -> Result<(), Closed> {
        if out.is_empty() && self.unsent.len() == 0 && !self.needs_flush {
            return Ok(());
        }
        let mut has_written = false;
        let mut at = 0;
        if self.unsent.len() > 0 {
            self.unsent.append(out);
            at = out.len();
        }
        loop {
            let (bytes, is_rest) = match self.unsent.len() {
                0 => (&out[at..], false),
                _ => (&self.unsent.bytes[self.unsent.written..], true),
            };
            if bytes.is_empty() {
                break;
            }
            match self.stream.poll_write(cx, bytes) {
                Poll::Ready(Ok(0)) => return Err(Closed::Broken),
                Poll::Ready(Ok(written)) => {
                    has_written = true;
                    if is_rest { self.unsent.advance(written) } else { at += written }
                }
                Poll::Ready(Err(error)) => return Err(broken(&error)),
                Poll::Pending => {
                    self.unsent.append(&out[at..]);
                    break;
                }
            }
        }
        out.clear();
        if has_written {
            self.last_active = now;
            self.needs_flush = true;
        }
        if self.needs_flush {
            match self.stream.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.needs_flush = false,
                Poll::Ready(Err(error)) => return Err(broken(&error)),
                Poll::Pending => {}
            }
        }
        self.account_unsent()
    }

    /// Settles the account of unwritten bytes; whoever lets too many pile up is disconnected.
    fn account_unsent(&mut self) -> Result<(), Closed> {
        let len = self.unsent.len();
        if len < self.unsent.held {
            self.peer.release(self.unsent.held - len);
        } else if len > self.unsent.held {
            self.peer.hold(len - self.unsent.held).map_err(|error| match error {
                SendError::Overload => Closed::Overload,
                SendError::SlowReader | SendError::Closed => Closed::SlowReader,
            })?;
        }
        self.unsent.held = len;
        Ok(())
    }

    fn check_deadlines(&mut self, now: Instant) -> Result<(), Closed> {
        let limits = &self.limiter.limits;
        if self.last_active + limits.idle <= now {
            return Err(Closed::Idle);
        }
        if self.large_frame_since.is_some_and(|since| since + limits.frame <= now) {
            return Err(Closed::TooSlow);
        }
        if self.last_active + limits.spare <= now {
            self.inbox.relax(&self.limiter.unread);
            if self.unsent.len() == 0 {
                self.unsent.bytes = Vec::new();
            }
        }
        Ok(())
    }

    /// The timer is not moved for each message: it runs to an old deadline and finds out then what is due.
    fn set_timer(&mut self, cx: &mut Context<'_>) {
        let limits = &self.limiter.limits;
        let mut due = self.last_active + limits.idle;
        if let Some(since) = self.large_frame_since {
            due = due.min(since + limits.frame);
        }
        let has_spare_memory =
            self.inbox.holds_spare_memory() || (self.unsent.len() == 0 && self.unsent.bytes.capacity() > 0);
        if has_spare_memory {
            due = due.min(self.last_active + limits.spare);
        }
        if due < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(due);
            self.arm_timer(cx);
        }
    }
}

impl<S: Session> Future for Connection<S> {
    type Output = Closed;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Closed> {
        let this = self.get_mut();
        let mut shared = Shared::borrow();
        let ran = this.run(cx, &mut shared);
        shared.give_back();
        match ran {
            Ok(()) => Poll::Pending,
            Err(closed) => {
                this.stream.say_goodbye(cx);
                Poll::Ready(closed)
            }
        }
    }
}

impl<S: Session> Drop for Connection<S> {
    fn drop(&mut self) {
        self.inbox.abandon(&self.limiter.unread, self.peer.id());
        self.peer.ended();
        self.session.closed();
    }
}

/// Tells a client to go on over a new connection, elsewhere if it can.
fn answer_go_away(header: &HeaderRef<'_>, out: &mut Vec<u8>) {
    let head = Head::response(code::response::GO_AWAY, header.opaque);
    let written = encode::begin(out, header.encoding, head, Some("please go away")).finish();
    debug_assert!(written.is_ok(), "this frame is short");
}

fn broken(error: &io::Error) -> Closed {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            Closed::ByPeer
        }
        _ => Closed::Broken,
    }
}
