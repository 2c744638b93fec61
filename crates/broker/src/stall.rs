//! Keeps sockets served while a write of the log does not return.
//!
//! One worker of the runtime at a time waits for the sockets. If that one finds a single send and commits it, it has
//! woken no other worker, and until the disk has taken the write nobody notices what clients send meanwhile: no pull is
//! answered and no send refused. A thread of its own looks whether a commit takes long and then gives the runtime a task
//! that does nothing. The worker that wakes up for it waits for the sockets afterwards.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use ferromq_store::Store;
use tokio::runtime::Handle;

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A commit that takes longer is not going to return soon.
const STALLED_AFTER: Duration = Duration::from_millis(5);

/// Ends when dropped.
pub(crate) struct StallWatch {
    alive: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl StallWatch {
    /// Starts the thread. Must be called within the runtime to be watched.
    ///
    /// # Errors
    /// A thread cannot be made.
    pub(crate) fn start(store: Arc<Store>) -> io::Result<Self> {
        let runtime = Handle::current();
        let (alive, ended) = mpsc::channel();
        let watch = move || {
            while ended.recv_timeout(LOOK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                if store.commit_stalled_for() > STALLED_AFTER {
                    runtime.spawn(async {});
                }
            }
        };
        let thread = std::thread::Builder::new().name("stall-watch".to_owned()).spawn(watch)?;
        Ok(Self { alive: Some(alive), thread: Some(thread) })
    }
}

impl Drop for StallWatch {
    fn drop(&mut self) {
        self.alive = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}
