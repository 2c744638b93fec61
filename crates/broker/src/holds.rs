//! Requests that are parked until a message comes or their time is up.
//!
//! One `Holds` belongs to one connection. A parked request hangs on its queue, is told by the step that makes a
//! message visible, and is withdrawn when it is dropped; deadlines share one timer per connection. Nothing scans, and
//! an idle connection with parked requests costs memory only.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Waker};

use ferromq_protocol::types::QueueOffset;
use ferromq_store::queue::{Notify, Queue, TagFilter, Watch};
use parking_lot::Mutex;
use slab::Slab;
use tokio::time::{Instant, Sleep};

/// Parked requests of the whole broker; beyond, clients are told to come back later.
pub const HOLDS_MAX: usize = 200_000;

/// Bytes of parked requests of the whole broker. An ordinary one has some hundred, but its texts may be long.
pub const HOLD_BYTES_MAX: usize = 256 << 20;

/// How many requests are parked, for the limits and the gauges.
#[derive(Debug, Default)]
pub struct HoldCount {
    parked: AtomicUsize,
    bytes: AtomicUsize,
}

impl HoldCount {
    /// Parked requests of the whole broker.
    #[must_use]
    pub fn now(&self) -> usize {
        self.parked.load(Relaxed)
    }

    /// What they need, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Counts requests that are not there, so that a test reaches the limit.
    #[doc(hidden)]
    pub fn pretend(&self, parked: usize, bytes: usize) {
        self.parked.fetch_add(parked, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    fn take(&self, bytes: usize) -> bool {
        let parked = self.parked.fetch_add(1, Relaxed);
        let taken = self.bytes.fetch_add(bytes, Relaxed);
        if parked < HOLDS_MAX && taken.saturating_add(bytes) <= HOLD_BYTES_MAX {
            return true;
        }
        self.give_back(1, bytes);
        false
    }

    fn give_back(&self, parked: usize, bytes: usize) {
        self.parked.fetch_sub(parked, Relaxed);
        self.bytes.fetch_sub(bytes, Relaxed);
    }
}

/// Where the store tells of messages. It runs on the thread that confirms them, so it only notes who was told.
#[derive(Default)]
struct Told(Mutex<Mail>);

#[derive(Default)]
struct Mail {
    tokens: Vec<u64>,
    waker: Option<Waker>,
}

impl Notify for Told {
    fn notify(&self, token: u64) {
        let mut mail = self.0.lock();
        mail.tokens.push(token);
        let waker = mail.waker.take();
        drop(mail);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

struct Hold<T> {
    token: u64,
    deadline: Instant,
    /// Counted for [`HOLD_BYTES_MAX`].
    bytes: usize,
    request: T,
    /// Withdraws the registration when the hold goes.
    _watch: Watch,
}

/// Why a request is not parked.
pub(crate) enum NotParked<T> {
    /// There is something to read already.
    ReadAgain(T),
    /// The broker holds as many as it may.
    Full(T),
}

/// The parked requests of one connection.
pub(crate) struct Holds<T> {
    told: Arc<Told>,
    parked: Slab<Hold<T>>,
    deadlines: BTreeSet<(Instant, usize)>,
    timer: Option<Pin<Box<Sleep>>>,
    /// The timer will wake this connection's task, whose waker never changes.
    timer_is_armed: bool,
    parked_ever: u32,
    count: Arc<HoldCount>,
}

impl<T> Holds<T> {
    pub(crate) fn new(count: Arc<HoldCount>) -> Self {
        Self {
            told: Arc::default(),
            parked: Slab::new(),
            deadlines: BTreeSet::new(),
            timer: None,
            timer_is_armed: false,
            parked_ever: 0,
            count,
        }
    }

    /// Parks a request of so many bytes until an entry at or after `from` passes the filter, or until the deadline.
    pub(crate) fn park(
        &mut self,
        queue: &Arc<Queue>,
        from: QueueOffset,
        filter: TagFilter,
        deadline: Instant,
        bytes: usize,
        request: T,
    ) -> Result<(), NotParked<T>> {
        let bytes = bytes + size_of::<Hold<T>>();
        if !self.count.take(bytes) {
            return Err(NotParked::Full(request));
        }
        let key = self.parked.vacant_key();
        // A place is used again; the number in front tells a late word for its last user from one for this.
        self.parked_ever = self.parked_ever.wrapping_add(1);
        let token = u64::from(self.parked_ever) << 32 | (key as u64 & 0xffff_ffff);
        let target = Arc::clone(&self.told) as Arc<dyn Notify>;
        let Some(watch) = queue.watch(from, filter, target, token) else {
            self.count.give_back(1, bytes);
            return Err(NotParked::ReadAgain(request));
        };
        self.parked.insert(Hold { token, deadline, bytes, request, _watch: watch });
        self.deadlines.insert((deadline, key));
        Ok(())
    }

    /// Moves the requests that are due into `due`, told or timed out, and sees to it that the task is woken for the
    /// next ones.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, due: &mut Vec<T>) {
        if self.parked.is_empty() {
            return;
        }
        let tokens = {
            let mut mail = self.told.0.lock();
            match &mut mail.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            std::mem::take(&mut mail.tokens)
        };
        for token in tokens {
            let key = usize::try_from(token & 0xffff_ffff).unwrap_or(usize::MAX);
            if self.parked.get(key).is_some_and(|hold| hold.token == token) {
                self.release(key, due);
            }
        }
        self.poll_deadlines(cx, due);
    }

    fn poll_deadlines(&mut self, cx: &mut Context<'_>, due: &mut Vec<T>) {
        loop {
            let Some(&(deadline, key)) = self.deadlines.first() else { return };
            if deadline <= Instant::now() {
                self.release(key, due);
                continue;
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            // A timer that is set too early fires for nothing once in a while, which is cheaper than setting it anew
            // for every request.
            if timer.is_elapsed() || deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
                self.timer_is_armed = false;
            }
            if self.timer_is_armed {
                return;
            }
            // Outside the task's budget: a timer that was not polled would never wake it.
            let mut timer = tokio::task::coop::unconstrained(timer.as_mut());
            if Pin::new(&mut timer).poll(cx).is_pending() {
                self.timer_is_armed = true;
                return;
            }
            self.timer_is_armed = false;
        }
    }

    fn release(&mut self, key: usize, due: &mut Vec<T>) {
        let hold = self.parked.remove(key);
        self.deadlines.remove(&(hold.deadline, key));
        self.count.give_back(1, hold.bytes);
        due.push(hold.request);
    }
}

impl<T> Drop for Holds<T> {
    fn drop(&mut self) {
        let bytes = self.parked.iter().map(|(_, hold)| hold.bytes).sum();
        self.count.give_back(self.parked.len(), bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use ferromq_protocol::types::QueueId;
    use ferromq_store::disk::{Access, RealDisk};
    use ferromq_store::queue::{QueueConfig, Queues};

    use super::*;

    /// A queue without a message. It has no file either.
    fn empty_queue() -> Arc<Queue> {
        let nowhere = Path::new("/nonexistent");
        let config = QueueConfig {
            dir: nowhere.into(),
            batch_dir: nowhere.into(),
            side_dir: nowhere.into(),
            file_size: 6_000_000,
            open_files_max: 1,
            access: Access::Read,
        };
        Queues::new(&config, Arc::new(RealDisk::default())).get("T", QueueId(0))
    }

    #[tokio::test]
    async fn a_late_word_for_a_request_that_is_gone_does_not_reach_the_next_one_in_its_place() {
        let queue = empty_queue();
        let mut holds = Holds::new(Arc::default());
        let park = |holds: &mut Holds<&'static str>, name, deadline| {
            let parked = holds.park(&queue, QueueOffset(0), TagFilter::All, deadline, 0, name);
            assert!(parked.is_ok());
        };
        let due = |holds: &mut Holds<&'static str>| {
            let mut due = Vec::new();
            holds.poll(&mut Context::from_waker(Waker::noop()), &mut due);
            due
        };
        park(&mut holds, "first", Instant::now());
        assert_eq!(due(&mut holds), ["first"]);
        park(&mut holds, "second", Instant::now() + Duration::from_secs(60));
        holds.told.notify(1 << 32);
        assert!(due(&mut holds).is_empty());
        holds.told.notify(2 << 32);
        assert_eq!(due(&mut holds), ["second"]);
        assert_eq!(holds.count.now(), 0);
    }
}
