//! Work that may wait for the disk, kept away from the tasks of connections.
//!
//! A bounded number runs at once and a bounded number waits; what is beyond is refused. Each connection counts its own
//! share, so that one client cannot fill the pool alone. Requests that are kept until their answer are counted in bytes
//! too, for each connection and for all together, because one may be as long as a frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ferromq_net::peer::Peer;
use tokio::sync::Semaphore;

/// Jobs that wait for a thread, of all connections together.
pub const WAITING_MAX: usize = 10_000;
/// Jobs of one connection that wait or run; beyond, nothing more is read from it.
pub const IN_FLIGHT_MAX: usize = 256;

/// Bytes of the same: of one connection. Beyond, nothing more is read from it.
pub const IN_FLIGHT_BYTES_MAX: usize = 16 << 20;
/// Bytes of the same: of all connections together. Beyond, requests are refused.
pub const HELD_BYTES_MAX: usize = 256 << 20;

/// Too much waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overload;

/// The pool.
#[derive(Debug)]
pub struct Background {
    threads: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    held: Arc<HeldBytes>,
}

/// Bytes of requests that are kept until their answer, of all connections together.
#[derive(Debug, Default)]
pub struct HeldBytes(AtomicUsize);

impl HeldBytes {
    /// Bytes now.
    #[must_use]
    pub fn now(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Counts bytes that are not there, so that a test reaches the limit.
    #[doc(hidden)]
    pub fn pretend(&self, bytes: usize) {
        self.0.fetch_add(bytes, Relaxed);
    }

    fn take(&self, bytes: usize) -> Result<(), Overload> {
        let more = |now: usize| now.checked_add(bytes).filter(|sum| *sum <= HELD_BYTES_MAX);
        self.0.fetch_update(Relaxed, Relaxed, more).map(drop).map_err(|_| Overload)
    }
}

impl Background {
    /// A pool that runs this many jobs at once.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self { threads: Arc::new(Semaphore::new(threads)), waiting: Arc::default(), held: Arc::default() }
    }

    /// Bytes of requests that are kept until their answer.
    #[must_use]
    pub fn held(&self) -> &Arc<HeldBytes> {
        &self.held
    }

    /// Jobs that wait or run.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Runs a job when a thread is free. Needs a tokio runtime.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Overload> {
        if self.waiting.fetch_add(1, Relaxed) >= WAITING_MAX {
            self.waiting.fetch_sub(1, Relaxed);
            return Err(Overload);
        }
        let waits = Waits(Arc::clone(&self.waiting));
        let threads = Arc::clone(&self.threads);
        tokio::spawn(async move {
            // The semaphore is never closed.
            let Ok(permit) = threads.acquire_owned().await else { return };
            tokio::task::spawn_blocking(move || {
                job();
                drop((permit, waits));
            });
        });
        Ok(())
    }
}

struct Waits(Arc<AtomicUsize>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Unanswered requests of one connection that run elsewhere.
#[derive(Debug)]
pub struct InFlight {
    requests: AtomicUsize,
    bytes: AtomicUsize,
    all: Arc<HeldBytes>,
}

impl InFlight {
    /// Of a new connection.
    #[must_use]
    pub fn new(all: &Arc<HeldBytes>) -> Self {
        Self { requests: AtomicUsize::new(0), bytes: AtomicUsize::new(0), all: Arc::clone(all) }
    }

    /// Counts one more, of so many bytes, until the ticket is dropped; then the connection looks whether it may read
    /// again.
    pub fn ticket(self: &Arc<Self>, peer: &Arc<Peer>, bytes: usize) -> Result<Ticket, Overload> {
        self.all.take(bytes)?;
        self.requests.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        Ok(Ticket { in_flight: Arc::clone(self), peer: Arc::clone(peer), bytes })
    }

    /// Requests that run.
    #[must_use]
    pub fn now(&self) -> usize {
        self.requests.load(Relaxed)
    }

    /// True while this connection has as many as it may.
    #[must_use]
    pub fn is_saturated(&self) -> bool {
        self.now() >= IN_FLIGHT_MAX || self.bytes.load(Relaxed) >= IN_FLIGHT_BYTES_MAX
    }
}

/// One request that runs elsewhere.
#[derive(Debug)]
pub struct Ticket {
    in_flight: Arc<InFlight>,
    peer: Arc<Peer>,
    bytes: usize,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.in_flight.all.0.fetch_sub(self.bytes, Relaxed);
        self.in_flight.bytes.fetch_sub(self.bytes, Relaxed);
        self.in_flight.requests.fetch_sub(1, Relaxed);
        self.peer.wake();
    }
}
