//! What the loops, the connections and the readers of one store share.
//!
//! Each part has one owner at a time: the end of the log belongs to the holder of the commit token, confirmation to the
//! confirmer, syncing and writing behind to their threads. The tokens are locks that are tried and never waited for,
//! so any of these steps can be called at any moment; the simulation does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::append::{BatchPool, Encoding};
use crate::clock::Clock;
use crate::commit::{CommitWatch, Intake, Unconfirmed};
use crate::config::StoreConfig;
use crate::confirm::Confirmer;
use crate::disk::Disk;
use crate::health::Health;
use crate::index::Index;
use crate::layout::Layout;
use crate::log::Log;
use crate::log::tail::{SealedGroup, Tail};
use crate::queue::Queues;
use crate::replication::Replication;
use crate::retention::Retention;
use crate::running::Directory;
use crate::signal::Signal;
use crate::sync::SyncToken;
use crate::write_behind::{CheckpointToken, WriteBehindToken};

/// Wakes the loops.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    pub(crate) commit: Signal,
    pub(crate) sync: Signal,
    /// The syncer has nothing to do until something is written.
    pub(crate) sync_rests: AtomicBool,
    pub(crate) write_behind: Signal,
    pub(crate) checkpoint: Signal,
    pub(crate) clean: Signal,
    pub(crate) stopping: AtomicBool,
}

/// Events worth a number.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) groups: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) corrupt_records: AtomicU64,
    pub(crate) skipped_records: AtomicU64,
    pub(crate) removed_segments: AtomicU64,
}

/// See the head of this file.
pub(crate) struct Engine {
    pub(crate) config: StoreConfig,
    pub(crate) layout: Layout,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) directory: Directory,
    pub(crate) log: Log,
    pub(crate) queues: Queues,
    /// `None` if the configuration wants none. Replaced when the log is cut.
    pub(crate) index: Option<ArcSwap<Index>>,
    pub(crate) health: Health,
    pub(crate) encoding: Arc<Encoding>,
    pub(crate) pool: BatchPool,
    pub(crate) intake: Intake,
    pub(crate) tail: Mutex<Tail>,
    pub(crate) commit_watch: CommitWatch,
    pub(crate) unconfirmed: Mutex<std::collections::VecDeque<Unconfirmed>>,
    pub(crate) confirmer: Mutex<Confirmer>,
    pub(crate) syncer: SyncToken,
    pub(crate) write_behind: WriteBehindToken,
    pub(crate) checkpointer: CheckpointToken,
    /// The position of the last checkpoint.
    pub(crate) checkpointed: AtomicU64,
    pub(crate) flushed: AtomicU64,
    /// Bytes of log after which entries are given to their files again.
    pub(crate) flush_distance: AtomicU64,
    pub(crate) replication: Replication,
    pub(crate) retention: Retention,
    pub(crate) signals: Signals,
    pub(crate) counters: Counters,
    pub(crate) skip_corrupt_records: AtomicBool,
}

impl Engine {
    /// Queue and index entries of everything before this position were given to their files.
    pub(crate) fn flushed_position(&self) -> u64 {
        self.flushed.load(Ordering::Acquire)
    }

    pub(crate) fn set_flushed_position(&self, position: u64) {
        self.flushed.store(position, Ordering::Release);
    }

    pub(crate) fn tell_sealed(&self, group: &SealedGroup<'_>) {
        self.counters.groups.fetch_add(1, Ordering::Relaxed);
        self.counters.records.fetch_add(group.records as u64, Ordering::Relaxed);
        self.replication.sealed(group);
    }
}

/// Milliseconds for an atomic.
pub(crate) fn to_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
