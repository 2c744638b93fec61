//! The other end of one connection, as seen by everyone but the connection's own task.
//!
//! A [`Peer`] is shared and outlives its connection. Whatever is sent through it goes into an outbox that the
//! connection's task writes; the outbox is bounded in bytes, and a client that does not read is disconnected rather
//! than buffered. Calls to the peer are matched with their replies by the opaque number, which is counted per peer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Waker};
use std::time::Duration;

use ferromq_protocol::frame::Encoding;
use ferromq_protocol::header::OwnedFrame;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::limits::{Limiter, count};
use crate::proxy_protocol::Proxied;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The other side closed it.
    ByPeer,
    /// The socket failed.
    Broken,
    /// Nothing went over it for the idle time.
    Idle,
    /// The client did not read its answers.
    SlowReader,
    /// The unwritten answers of all connections together reached their limit.
    Overload,
    /// A large frame or the handshake took too long.
    TooSlow,
    /// A frame, a header or a preamble made no sense.
    Malformed,
    /// TLS was refused, or missing where it is enforced.
    TlsRefused,
    /// Our side asked for it.
    Asked,
    /// The server is stopping.
    Stopping,
}

/// Why nothing can be sent to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The connection is gone, or going.
    #[error("the connection is closed")]
    Closed,
    /// The peer does not read; its connection is being closed.
    #[error("the peer does not read what it is sent")]
    SlowReader,
    /// The process holds too many unwritten bytes; this connection is being closed.
    #[error("too many unwritten bytes in all connections together")]
    Overload,
}

/// Why a call to a peer has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The request may have arrived.
    #[error("no reply within {0:?}")]
    Timeout(Duration),
    /// The connection ended before the reply; the request may have arrived.
    #[error("the connection closed before the reply")]
    Closed,
    /// The request was not sent.
    #[error("{0} calls to this peer wait for their replies already")]
    TooMany(usize),
    /// The request was not sent.
    #[error(transparent)]
    NotSent(#[from] SendError),
}

/// The other end of a connection.
#[derive(Debug)]
pub struct Peer {
    id: u64,
    remote: SocketAddr,
    local: SocketAddr,
    proxied: OnceLock<Proxied>,
    /// Encoding of the last request, in which we address the peer ourselves.
    encoding: AtomicU8,
    limiter: Arc<Limiter>,
    /// Set when the mailbox holds something for the connection's task, so that it need not lock to find nothing.
    attention: AtomicBool,
    mailbox: Mutex<Mailbox>,
    /// Bytes in the outbox and in the connection's own write buffer.
    unsent: AtomicUsize,
    /// Written by the connection's task only.
    received: AtomicU64,
    next_opaque: AtomicI32,
    calls: Mutex<HashMap<i32, oneshot::Sender<OwnedFrame>>>,
}

#[derive(Debug, Default)]
struct Mailbox {
    outbox: Vec<u8>,
    closing: Option<Closed>,
    /// The connection's task has ended; nothing will be written any more.
    ended: bool,
    waker: Option<Waker>,
}

impl Peer {
    pub(crate) fn new(
        id: u64,
        remote: SocketAddr,
        local: SocketAddr,
        encoding: Encoding,
        limiter: Arc<Limiter>,
    ) -> Self {
        Self {
            id,
            remote: unmapped(remote),
            local: unmapped(local),
            proxied: OnceLock::new(),
            encoding: AtomicU8::new(encoding as u8),
            limiter,
            attention: AtomicBool::new(false),
            mailbox: Mutex::default(),
            unsent: AtomicUsize::new(0),
            received: AtomicU64::new(0),
            next_opaque: AtomicI32::new(0),
            calls: Mutex::default(),
        }
    }

    /// Unique among the connections of this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The address the connection comes from; IPv4 even when it was accepted by an IPv6 socket.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// The address through which this client reached us.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// What a proxy in front of us said about the client.
    pub fn proxied(&self) -> Option<&Proxied> {
        self.proxied.get()
    }

    /// The client's own address: what the proxy said, or else where the connection comes from.
    pub fn client(&self) -> SocketAddr {
        self.proxied().map_or(self.remote, |proxied| proxied.source)
    }

    /// How this peer wrote its last request.
    pub fn encoding(&self) -> Encoding {
        if self.encoding.load(Ordering::Relaxed) == Encoding::Binary as u8 {
            Encoding::Binary
        } else {
            Encoding::Json
        }
    }

    /// Bytes of frames read from it so far.
    pub fn received_bytes(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Bytes that wait to be written.
    pub fn unsent_bytes(&self) -> usize {
        self.unsent.load(Ordering::Relaxed)
    }

    /// Calls that wait for their reply.
    pub fn calls_waiting(&self) -> usize {
        self.calls.lock().len()
    }

    pub fn is_closed(&self) -> bool {
        let mailbox = self.mailbox.lock();
        mailbox.ended || mailbox.closing.is_some()
    }

    /// Why the connection is about to be closed.
    pub(crate) fn closing(&self) -> Option<Closed> {
        self.mailbox.lock().closing
    }

    /// Sends complete frames.
    ///
    /// # Errors
    /// When the connection is gone, or the client does not read; then its connection is closed.
    pub fn send(&self, frames: Vec<u8>) -> Result<(), SendError> {
        let mut mailbox = self.mailbox.lock();
        if mailbox.ended || mailbox.closing.is_some() {
            return Err(SendError::Closed);
        }
        let held = self.hold(frames.len());
        match held {
            Ok(()) if mailbox.outbox.is_empty() => mailbox.outbox = frames,
            Ok(()) => mailbox.outbox.extend_from_slice(&frames),
            Err(SendError::Overload) => mailbox.closing = Some(Closed::Overload),
            Err(_) => mailbox.closing = Some(Closed::SlowReader),
        }
        self.alert(mailbox);
        held
    }

    /// Sends a request and waits for its reply. `write` appends the frame, with the encoding and the opaque number
    /// it is given.
    ///
    /// # Errors
    /// See [`CallError`]. Dropping the future forgets the call; a late reply is dropped.
    pub async fn call(
        &self,
        timeout: Duration,
        write: impl FnOnce(&mut Vec<u8>, Encoding, i32),
    ) -> Result<OwnedFrame, CallError> {
        let (sender, receiver) = oneshot::channel();
        let opaque = self.next_opaque();
        {
            let mut calls = self.calls.lock();
            if calls.len() >= self.limiter.limits.calls {
                return Err(CallError::TooMany(calls.len()));
            }
            calls.insert(opaque, sender);
        }
        let _forget = Forget { peer: self, opaque };
        let mut frame = Vec::new();
        write(&mut frame, self.encoding(), opaque);
        self.send(frame)?;
        match tokio::time::timeout(timeout, receiver).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(CallError::Closed),
            Err(_) => Err(CallError::Timeout(timeout)),
        }
    }

    /// Sends a request that has no reply. `write` appends the frame as in [`Peer::call`] and marks it oneway.
    ///
    /// # Errors
    /// See [`Peer::send`].
    pub fn oneway(&self, write: impl FnOnce(&mut Vec<u8>, Encoding, i32)) -> Result<(), SendError> {
        let mut frame = Vec::new();
        write(&mut frame, self.encoding(), self.next_opaque());
        self.send(frame)
    }

    /// Closes the connection. What was sent before is written if the socket takes it at once.
    pub fn close(&self) {
        self.close_because(Closed::Asked);
    }

    pub(crate) fn close_because(&self, reason: Closed) {
        let mut mailbox = self.mailbox.lock();
        mailbox.closing.get_or_insert(reason);
        self.alert(mailbox);
    }

    /// Makes the connection's task look at itself.
    pub fn wake(&self) {
        let mailbox = self.mailbox.lock();
        self.alert(mailbox);
    }

    fn alert(&self, mailbox: parking_lot::MutexGuard<'_, Mailbox>) {
        let waker = mailbox.waker.clone();
        self.attention.store(true, Ordering::Release);
        drop(mailbox);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn next_opaque(&self) -> i32 {
        self.next_opaque.fetch_add(1, Ordering::Relaxed)
    }
}

/// What only the connection's task does.
impl Peer {
    /// The task will be woken through the waker of `cx` from now on.
    pub(crate) fn watch(&self, cx: &Context<'_>) {
        self.mailbox.lock().waker = Some(cx.waker().clone());
    }

    /// Moves the mail to the end of `out`. Returns its length and whether the connection shall end.
    pub(crate) fn collect(&self, out: &mut Vec<u8>) -> (usize, Option<Closed>) {
        if !self.attention.swap(false, Ordering::Acquire) {
            return (0, None);
        }
        let mut mailbox = self.mailbox.lock();
        let mail = std::mem::take(&mut mailbox.outbox);
        let closing = mailbox.closing;
        drop(mailbox);
        out.extend_from_slice(&mail);
        (mail.len(), closing)
    }

    /// Accounts for bytes that wait to be written.
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), SendError> {
        let sum = self.unsent.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let error = if sum > self.limiter.limits.unsent_bytes {
            SendError::SlowReader
        } else if self.limiter.unsent.take(bytes as u64) {
            return Ok(());
        } else {
            SendError::Overload
        };
        self.unsent.fetch_sub(bytes, Ordering::Relaxed);
        Err(error)
    }

    pub(crate) fn release(&self, bytes: usize) {
        self.unsent.fetch_sub(bytes, Ordering::Relaxed);
        self.limiter.unsent.give_back(bytes as u64);
    }

    pub(crate) fn has_received(&self, bytes: usize) {
        let sum = self.received_bytes() + bytes as u64;
        self.received.store(sum, Ordering::Relaxed);
    }

    pub(crate) fn speaks(&self, encoding: Encoding) {
        self.encoding.store(encoding as u8, Ordering::Relaxed);
    }

    pub(crate) fn came_through(&self, proxied: Proxied) {
        // A connection has one preamble, so the cell is empty.
        let _ = self.proxied.set(proxied);
    }

    /// Hands a reply to the call that waits for it. One that nobody waits for is dropped.
    pub(crate) fn reply(&self, opaque: i32, frame: impl FnOnce() -> OwnedFrame) {
        let waiting = self.calls.lock().remove(&opaque);
        match waiting {
            // The caller may have given up in this moment; then nobody wants the reply.
            Some(sender) => drop(sender.send(frame())),
            None => count(&self.limiter.counters.unknown_replies),
        }
    }

    /// The connection is gone: what was not written never will be, and no reply will come.
    pub(crate) fn ended(&self) {
        let mut mailbox = self.mailbox.lock();
        mailbox.ended = true;
        mailbox.waker = None;
        mailbox.outbox = Vec::new();
        drop(mailbox);
        self.calls.lock().clear();
        let unsent = self.unsent.swap(0, Ordering::Relaxed);
        self.limiter.unsent.give_back(unsent as u64);
    }
}

struct Forget<'a> {
    peer: &'a Peer,
    opaque: i32,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.peer.calls.lock().remove(&self.opaque);
    }
}

/// `::ffff:192.0.2.7` is how a dual-stack socket shows an IPv4 client.
fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
