//! What may be held at once, and how much of it is held now.
//!
//! One [`Limiter`] is shared by all listeners of a process, so its limits are those of the process. Every limit has a
//! gauge beside it, and every refusal a counter; both are plain atomics that tests and metrics read.
//!
//! | what | limit | what happens there |
//! |---|---|---|
//! | connections | [`Limits::connections`] | a new one is closed at once |
//! | open files | `RLIMIT_NOFILE` | a new connection is closed with the help of a reserve descriptor, others go on |
//! | bytes of requests that are not complete yet, all connections | [`Limits::unread_bytes`] | the frame waits in the kernel until there is room |
//! | bytes of answers that were not written yet, one connection | [`Limits::unsent_bytes`] | the connection is closed |
//! | the same, all connections | [`Limits::unsent_bytes_total`] | the connection that asks for more is closed |
//! | bytes read and handed over in one turn of a connection | [`TURN_BYTES`] | it yields to the others |
//! | our calls to a peer that wait for their reply | [`Limits::calls`] | the call fails |
//! | time without a byte in either direction | [`Limits::idle`] | the connection is closed |
//! | time for the TLS handshake and the proxy preamble | [`Limits::handshake`] | the connection is closed |
//! | time for one large frame | [`Limits::frame`] | the connection is closed |
//! | time for which a silent connection keeps its buffers | [`Limits::spare`] | they are given back |
//!
//! How many unanswered requests one connection may have is the session's business (`Session::saturated`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Size of the read buffer that all connections of a worker thread share, hence the most that one read brings. Less
/// than what a busy client has in flight, so that it works on the first answers while we work on its next requests.
pub(crate) const READ_BYTES: usize = 48 * 1024;

/// What one turn of a connection reads at most before it lets the others run.
pub const TURN_BYTES: usize = 256 * 1024;

/// While more than this waits to be written, nothing more is handed over or read. It bounds what a client that does
/// not read costs: so much, one answer, and what it was promised before.
pub const UNSENT_PAUSE_BYTES: usize = 1024 * 1024;

/// Frames up to this size are received without asking the process-wide budget.
pub const FREE_UNREAD_BYTES: usize = 16 * 1024;

/// The limits of one process; the page above says what happens at each. The defaults suit a broker with some
/// thousands of clients.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections, all listeners together.
    pub connections: u64,
    /// Bytes of large frames that are being received, all connections together.
    pub unread_bytes: u64,
    /// Bytes that one connection may have unwritten.
    pub unsent_bytes: usize,
    /// The same, all connections together.
    pub unsent_bytes_total: u64,
    /// Our calls to one peer that wait for their reply.
    pub calls: usize,
    /// Without a byte in either direction.
    pub idle: Duration,
    /// From the first byte of a connection to its first frame.
    pub handshake: Duration,
    /// From the first to the last byte of a large frame.
    pub frame: Duration,
    /// For which a silent connection keeps its buffers.
    pub spare: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 65_536,
            unread_bytes: 256 * 1024 * 1024,
            unsent_bytes: 32 * 1024 * 1024,
            unsent_bytes_total: 512 * 1024 * 1024,
            calls: 1024,
            idle: Duration::from_secs(120),
            handshake: Duration::from_secs(10),
            frame: Duration::from_secs(60),
            spare: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// Leaves a quarter of the process's descriptors to files.
    #[must_use]
    pub fn within_open_files(mut self, open_files: u64) -> Self {
        self.connections = self.connections.min((open_files / 4 * 3).max(1));
        self
    }
}

/// Raises the soft limit of open files to the hard one and returns what holds now. Never fails: a process that may
/// not raise it lives with what it has.
pub fn raise_open_files() -> u64 {
    let before = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, maximum: before.maximum });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// A process-wide allowance of bytes or items.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
    refused: AtomicU64,
    /// Connections that wait for room, by their number; one entry each.
    waiting: Mutex<HashMap<u64, Waker>>,
    is_awaited: AtomicBool,
}

impl Budget {
    fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            waiting: Mutex::default(),
            is_awaited: AtomicBool::new(false),
        }
    }

    /// What is taken now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::SeqCst)
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// How often there was not enough left.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Takes `amount`, all of it or nothing.
    pub(crate) fn take(&self, amount: u64) -> bool {
        let taken = self.try_take(amount);
        if !taken {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Like [`Budget::take`]; when there is not enough left, `waker` is woken as soon as something is given back.
    pub(crate) fn take_or_wait(&self, amount: u64, connection: u64, waker: &Waker) -> bool {
        if self.try_take(amount) {
            return true;
        }
        self.waiting.lock().insert(connection, waker.clone());
        self.is_awaited.store(true, Ordering::SeqCst);
        // IMPORTANT: once more, because what was given back before the entry was visible woke nobody.
        self.take(amount)
    }

    pub(crate) fn stop_waiting(&self, connection: u64) {
        if self.is_awaited.load(Ordering::SeqCst) {
            self.waiting.lock().remove(&connection);
        }
    }

    pub(crate) fn give_back(&self, amount: u64) {
        let before = self.used.fetch_sub(amount, Ordering::SeqCst);
        debug_assert!(before >= amount, "more given back than taken");
        if amount > 0 && self.is_awaited.swap(false, Ordering::SeqCst) {
            let waiting = std::mem::take(&mut *self.waiting.lock());
            waiting.into_values().for_each(Waker::wake);
        }
    }

    /// Somebody waits, or three quarters are taken: time to be modest.
    pub(crate) fn is_short(&self) -> bool {
        self.used() > self.limit / 4 * 3 || self.is_awaited.load(Ordering::SeqCst)
    }

    fn try_take(&self, amount: u64) -> bool {
        let more = |used: u64| used.checked_add(amount).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counts of events since the start, all connections together.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub(crate) $name: AtomicU64,)*
        }

        impl Counters {
            $($(#[$doc])* pub fn $name(&self) -> u64 { self.$name.load(Ordering::Relaxed) })*
        }
    };
}

counters! {
    /// Connections accepted.
    accepted,
    /// Connections that could not be accepted because the process had no descriptor left.
    out_of_descriptors,
    /// Connections closed after [`Limits::idle`].
    idle_closed,
    /// Connections closed because the client did not read its answers.
    slow_reader_closed,
    /// Connections closed because a frame or its header made no sense.
    malformed_closed,
    /// Connections closed because a large frame or a handshake took too long.
    too_slow_closed,
    /// TLS handshakes that failed, and plain connections where TLS is enforced.
    tls_refused,
    /// Requests answered with `GO_AWAY`.
    sent_away,
    /// Replies that nobody waited for.
    unknown_replies,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The limits of the process and what is used of them.
#[derive(Debug)]
pub struct Limiter {
    pub limits: Limits,
    pub connections: Budget,
    /// Bytes of frames larger than [`FREE_UNREAD_BYTES`] that are being received.
    pub unread: Budget,
    /// Bytes of answers that the sockets have not taken yet.
    pub unsent: Budget,
    pub counters: Counters,
}

impl Limiter {
    #[must_use]
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            connections: Budget::new(limits.connections),
            unread: Budget::new(limits.unread_bytes),
            unsent: Budget::new(limits.unsent_bytes_total),
            counters: Counters::default(),
            limits,
        })
    }
}

/// One of the connections that the process may have; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Limiter>);

impl Place {
    pub(crate) fn take(limiter: &Arc<Limiter>) -> Option<Self> {
        limiter.connections.take(1).then(|| Self(limiter.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.give_back(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_gives_all_or_nothing() {
        let budget = Budget::new(10);
        assert!(budget.take(7));
        assert!(!budget.take(4));
        assert_eq!((budget.used(), budget.refused()), (7, 1));
        assert!(budget.take(3));
        budget.give_back(10);
        assert_eq!(budget.used(), 0);
        assert!(!budget.take(u64::MAX));
    }

    #[test]
    fn the_soft_limit_of_open_files_becomes_the_hard_one() {
        let now = raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(limit.current.unwrap_or(u64::MAX), now);
    }

    #[test]
    fn connections_leave_descriptors_to_files() {
        assert_eq!(Limits::default().within_open_files(1024).connections, 768);
        assert_eq!(Limits::default().within_open_files(u64::MAX).connections, 65_536);
    }
}
