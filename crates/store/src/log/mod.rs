//! The commit log: one append-only sequence of bytes over equally long files.
//!
//! Four positions move through it, each never ahead of the one before but for `durable`, which is on its own:
//! - *written*: the bytes before it were given to the page cache;
//! - *durable*: the bytes before it were synced;
//! - *confirmed*: the records before it may be read, because they are written, and synced or replicated as the mode
//!   demands;
//! - *dispatched*: the records before it are in their queues and in the index.
//!
//! `segment` has the files, `ring` the newest bytes in memory, `tail` the end to which the holder of the commit token
//! appends, `reader` the verified way back, `scan` what recovery and tools read the log with.

pub(crate) mod erase;
pub(crate) mod ring;
pub(crate) mod scan;
pub(crate) mod segment;
pub(crate) mod tail;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ferromq_protocol::types::TimestampMs;
use parking_lot::Mutex;

use self::ring::Ring;
use self::segment::Segments;
use crate::disk::Disk;

/// A position with the store time of the last record before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    pub(crate) position: u64,
    pub(crate) store_time: TimestampMs,
}

/// What all parts of the store share about the log.
pub(crate) struct Log {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) segments: Segments,
    pub(crate) ring: Ring,
    written: Mutex<Written>,
    durable: Mutex<Mark>,
    durable_position: AtomicU64,
    confirmed: AtomicU64,
    dispatched: Mutex<Mark>,
    dispatched_position: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Written {
    mark: Mark,
    /// When the first byte was written that no sync has covered yet.
    unsynced_since: Option<Duration>,
}

impl Log {
    /// A log that ends at `end`; everything before it counts as durable and dispatched.
    pub(crate) fn new(disk: Arc<dyn Disk>, segments: Segments, ring: Ring, end: Mark) -> Self {
        Self {
            disk,
            segments,
            ring,
            written: Mutex::new(Written { mark: end, unsynced_since: None }),
            durable: Mutex::new(end),
            durable_position: AtomicU64::new(end.position),
            confirmed: AtomicU64::new(end.position),
            dispatched: Mutex::new(end),
            dispatched_position: AtomicU64::new(end.position),
        }
    }

    /// First position still there.
    pub(crate) fn min_position(&self) -> u64 {
        self.segments.first_base().unwrap_or(0).min(self.written().position)
    }

    pub(crate) fn written(&self) -> Mark {
        self.written.lock().mark
    }

    /// Only for the holder of the commit token.
    pub(crate) fn set_written(&self, mark: Mark, now: Duration) {
        let mut written = self.written.lock();
        written.mark = mark;
        written.unsynced_since.get_or_insert(now);
    }

    pub(crate) fn unsynced_since(&self) -> Option<Duration> {
        self.written.lock().unsynced_since
    }

    /// What a sync that begins now will cover. From here on bytes count as unsynced again.
    pub(crate) fn begin_sync(&self) -> Mark {
        let mut written = self.written.lock();
        written.unsynced_since = None;
        written.mark
    }

    pub(crate) fn durable(&self) -> Mark {
        *self.durable.lock()
    }

    pub(crate) fn durable_position(&self) -> u64 {
        self.durable_position.load(Ordering::Acquire)
    }

    pub(crate) fn set_durable(&self, mark: Mark) {
        let mut durable = self.durable.lock();
        *durable = mark;
        self.durable_position.store(mark.position, Ordering::Release);
    }

    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Acquire)
    }

    pub(crate) fn set_confirmed(&self, position: u64) {
        self.confirmed.store(position, Ordering::Release);
    }

    pub(crate) fn dispatched(&self) -> Mark {
        *self.dispatched.lock()
    }

    pub(crate) fn dispatched_position(&self) -> u64 {
        self.dispatched_position.load(Ordering::Acquire)
    }

    pub(crate) fn set_dispatched(&self, mark: Mark) {
        let mut dispatched = self.dispatched.lock();
        *dispatched = mark;
        self.dispatched_position.store(mark.position, Ordering::Release);
    }

    /// After a cut at `mark`: nothing lies behind it any more.
    pub(crate) fn cut(&self, mark: Mark) {
        *self.written.lock() = Written { mark, unsynced_since: None };
        self.ring.truncate(mark.position);
        if self.durable_position() > mark.position {
            self.set_durable(mark);
        }
        if self.confirmed() > mark.position {
            self.set_confirmed(mark.position);
        }
        if self.dispatched_position() > mark.position {
            self.set_dispatched(mark);
        }
    }
}
