//! Keeps sockets served while a write of the log does not return.
//!
//! Connections commit what they send themselves, so a worker of the runtime waits for the disk if the disk makes it
//! wait. There may be only one worker, and of several it may be the one that waits for the sockets: until the write has
//! returned no pull is answered and no send refused. Therefore the runtime has a worker more than it is to use, and a task
//! of ours keeps that one occupied. A thread looks whether a commit takes long; then it lets the worker go, which serves
//! everyone until the write has returned.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use ferromq_store::Store;
use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Workers a runtime needs beyond those that serve connections.
pub const RESERVE_WORKERS: usize = 1;

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A commit that takes longer is not going to return soon.
const STALLED_AFTER: Duration = Duration::from_millis(5);

/// What the thread is told.
enum Event {
    /// The worker in reserve is occupied now.
    Occupied,
    Stop,
}

/// Ends when dropped, or with the runtime.
pub(crate) struct StallWatch {
    events: mpsc::Sender<Event>,
    thread: Option<JoinHandle<()>>,
    _alive: oneshot::Sender<()>,
}

impl StallWatch {
    /// Starts the thread. Must be called within the runtime to be watched.
    ///
    /// # Errors
    /// A thread cannot be made.
    pub(crate) fn start(store: Arc<Store>) -> io::Result<Self> {
        let runtime = Handle::current();
        let reserve = Arc::new(Reserve::default());
        let (events, received) = mpsc::channel();
        let (alive, gone) = oneshot::channel::<()>();
        let end = EndOnDrop(Arc::clone(&reserve));
        runtime.spawn(async move {
            // A runtime that ends drops its tasks, and then waits for its workers.
            let _end = end;
            let _ = gone.await;
        });

        let told = events.clone();
        let watch = move || {
            let mut is_occupied = reserve.occupy(&runtime, &told);
            loop {
                match received.recv_timeout(LOOK_INTERVAL) {
                    // It may be the worker that waited for the sockets: whoever wakes up for this waits for them next.
                    Ok(Event::Occupied) => drop(runtime.spawn(async {})),
                    Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) if store.commit_stalled_for() > STALLED_AFTER => {
                        reserve.release();
                        is_occupied = false;
                    }
                    Err(RecvTimeoutError::Timeout) if !is_occupied => {
                        is_occupied = reserve.occupy(&runtime, &told);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                }
            }
            reserve.release();
        };
        let thread = std::thread::Builder::new().name("stall-watch".to_owned()).spawn(watch)?;
        Ok(Self { events, thread: Some(thread), _alive: alive })
    }
}

impl Drop for StallWatch {
    fn drop(&mut self) {
        // If nobody receives it, the thread has ended.
        let _ = self.events.send(Event::Stop);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// A worker that does nothing.
#[derive(Default)]
struct Reserve {
    state: Mutex<ReserveState>,
    changed: Condvar,
}

#[derive(Default)]
struct ReserveState {
    /// Counts releases; a task that comes late must not occupy a second worker.
    releases: u64,
    ended: bool,
}

impl Reserve {
    /// Whether the runtime has a worker to spare.
    fn occupy(self: &Arc<Self>, runtime: &Handle, events: &mpsc::Sender<Event>) -> bool {
        if runtime.metrics().num_workers() <= RESERVE_WORKERS {
            return false;
        }
        let (reserve, events) = (Arc::clone(self), events.clone());
        let releases = self.state.lock().releases;
        runtime.spawn(async move {
            let mut state = reserve.state.lock();
            let _ = events.send(Event::Occupied);
            while !state.ended && state.releases == releases {
                reserve.changed.wait(&mut state);
            }
        });
        true
    }

    fn release(&self) {
        self.state.lock().releases += 1;
        self.changed.notify_all();
    }
}

/// See [`StallWatch::start`].
struct EndOnDrop(Arc<Reserve>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.state.lock().ended = true;
        self.0.changed.notify_all();
    }
}
