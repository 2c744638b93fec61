//! Work that may wait for the disk, kept away from the tasks of connections.
//!
//! A bounded number runs at once and a bounded number waits; what is beyond is refused. Each connection counts its own
//! share, so that one client cannot fill the pool alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ferromq_net::peer::Peer;
use tokio::sync::Semaphore;

/// Jobs that wait for a thread, of all connections together.
pub const WAITING_MAX: usize = 10_000;
/// Jobs of one connection that wait or run; beyond, nothing more is read from it.
pub const IN_FLIGHT_MAX: usize = 256;

/// Too many jobs wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overload;

/// The pool.
#[derive(Debug)]
pub struct Background {
    threads: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

impl Background {
    /// A pool that runs this many jobs at once.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self { threads: Arc::new(Semaphore::new(threads)), waiting: Arc::default() }
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
#[derive(Debug, Default)]
pub struct InFlight(AtomicUsize);

impl InFlight {
    /// Counts one more until the ticket is dropped; then the connection looks whether it may read again.
    pub fn ticket(self: &Arc<Self>, peer: &Arc<Peer>) -> Ticket {
        self.0.fetch_add(1, Relaxed);
        Ticket { in_flight: Arc::clone(self), peer: Arc::clone(peer) }
    }

    /// Requests that run.
    #[must_use]
    pub fn now(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// True while this connection has as many as it may.
    #[must_use]
    pub fn is_saturated(&self) -> bool {
        self.now() >= IN_FLIGHT_MAX
    }
}

/// One request that runs elsewhere.
#[derive(Debug)]
pub struct Ticket {
    in_flight: Arc<InFlight>,
    peer: Arc<Peer>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.in_flight.0.fetch_sub(1, Relaxed);
        self.peer.wake();
    }
}
