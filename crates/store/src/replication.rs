//! What replication needs of a store, and no replication: groups as they are written, a bound on confirmation, bytes of
//! the log across files, waiting for more, and keeping old files for a replica that lags.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ferromq_protocol::types::PhysicalOffset;
use parking_lot::{Condvar, Mutex, RwLock};

use crate::layout::{physical, position};
pub use crate::log::tail::SealedGroup;

/// Follows the log as it grows. Called by the committing and confirming threads: note what you hear and return.
pub trait LogListener: Send + Sync {
    /// A group was written. Its bytes are those of the file and will not change, unless the log is cut.
    fn sealed(&self, group: &SealedGroup<'_>);
    /// Everything before this position is synced here.
    fn durable(&self, _position: PhysicalOffset) {}
    /// Everything before this position is visible to readers.
    fn confirmed(&self, _position: PhysicalOffset) {}
}

/// No replica has to have anything.
const UNBOUNDED: u64 = u64::MAX;

/// The store's side of it.
pub(crate) struct Replication {
    bound: AtomicU64,
    listeners: RwLock<Vec<Arc<dyn LogListener>>>,
    has_listeners: AtomicBool,
    written: Mutex<u64>,
    grew: Condvar,
    waiting: AtomicUsize,
    pins: Arc<Mutex<Pins>>,
}

/// Positions from which on segments have to stay, with how many want that.
#[derive(Debug, Default)]
struct Pins {
    counts: BTreeMap<u64, usize>,
}

/// Keeps the log from a position on until dropped.
#[derive(Debug)]
pub struct Pin {
    position: u64,
    pins: Arc<Mutex<Pins>>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.pins.lock();
        if let Some(count) = pins.counts.get_mut(&self.position) {
            *count -= 1;
            if *count == 0 {
                pins.counts.remove(&self.position);
            }
        }
    }
}

impl Replication {
    pub(crate) fn new(written: u64) -> Self {
        Self {
            bound: AtomicU64::new(UNBOUNDED),
            listeners: RwLock::default(),
            has_listeners: AtomicBool::new(false),
            written: Mutex::new(written),
            grew: Condvar::new(),
            waiting: AtomicUsize::new(0),
            pins: Arc::default(),
        }
    }

    /// Records are confirmed at most up to here.
    pub(crate) fn bound(&self) -> u64 {
        self.bound.load(Ordering::Acquire)
    }

    pub(crate) fn set_bound(&self, bound: Option<PhysicalOffset>) {
        self.bound.store(bound.map_or(UNBOUNDED, position), Ordering::Release);
    }

    pub(crate) fn listen(&self, listener: Arc<dyn LogListener>) {
        self.listeners.write().push(listener);
        self.has_listeners.store(true, Ordering::Release);
    }

    fn tell(&self, what: impl Fn(&dyn LogListener)) {
        if self.has_listeners.load(Ordering::Acquire) {
            self.listeners.read().iter().for_each(|listener| what(&**listener));
        }
    }

    pub(crate) fn sealed(&self, group: &SealedGroup<'_>) {
        self.tell(|listener| listener.sealed(group));
        if self.waiting.load(Ordering::Acquire) > 0 {
            *self.written.lock() = position(group.end);
            self.grew.notify_all();
        }
    }

    pub(crate) fn durable(&self, position: u64) {
        self.tell(|listener| listener.durable(physical(position)));
    }

    pub(crate) fn confirmed(&self, position: u64) {
        self.tell(|listener| listener.confirmed(physical(position)));
    }

    /// Waits until `written` tells of a position beyond `from`, and returns what it told last.
    pub(crate) fn wait_beyond(&self, from: u64, timeout: Duration, written: impl Fn() -> u64) -> u64 {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let mut known = self.written.lock();
        // Asked under the lock: a group that is sealed from here on finds us waiting.
        if written() <= from {
            self.grew.wait_for(&mut known, timeout);
        }
        drop(known);
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        written()
    }

    pub(crate) fn pin(&self, at: u64) -> Pin {
        *self.pins.lock().counts.entry(at).or_default() += 1;
        Pin { position: at, pins: Arc::clone(&self.pins) }
    }

    /// The lowest pinned position.
    pub(crate) fn floor(&self) -> Option<u64> {
        self.pins.lock().counts.keys().next().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_the_lowest_pin_and_goes_with_its_last_holder() {
        let replication = Replication::new(0);
        assert_eq!(replication.floor(), None);
        let (a, b, c) = (replication.pin(500), replication.pin(100), replication.pin(100));
        assert_eq!(replication.floor(), Some(100));
        drop(b);
        assert_eq!(replication.floor(), Some(100));
        drop(c);
        assert_eq!(replication.floor(), Some(500));
        drop(a);
        assert_eq!(replication.floor(), None);
    }

    #[test]
    fn waiting_ends_at_once_when_there_is_more_and_in_time_when_there_is_not() {
        let replication = Replication::new(0);
        assert_eq!(replication.wait_beyond(5, Duration::from_secs(60), || 6), 6);
        assert_eq!(replication.wait_beyond(5, Duration::from_millis(1), || 5), 5);
    }

    #[test]
    fn a_sealed_group_wakes_whoever_waits() {
        let replication = Replication::new(0);
        let written = AtomicU64::new(5);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                replication.wait_beyond(5, Duration::from_secs(60), || written.load(Ordering::Acquire))
            });
            while replication.waiting.load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
            written.store(9, Ordering::Release);
            let group = SealedGroup { start: physical(5), end: physical(9), records: 1, bytes: &[] };
            replication.sealed(&group);
            assert_eq!(waiter.join().unwrap(), 9);
        });
    }
}
