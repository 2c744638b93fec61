//! Brings queue and index entries to their files, and writes the checkpoint.
//!
//! The order is the contract of [`crate::checkpoint`]: first the position and times are captured, then everything up to
//! there is written, then synced, and only then does the checkpoint say so. Syncing many queues takes a while, in which
//! entries have to go on to their files; so the checkpoint has a thread of its own.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ferromq_protocol::types::TimestampMs;
use parking_lot::Mutex;

use crate::checkpoint::{CheckpointFile, StoreCheckpoint};
use crate::commit::WRITE_BEHIND_BYTES_MAX;
use crate::engine::Engine;
use crate::health::Trouble;
use crate::index::IndexError;
use crate::layout::{physical, position};
use crate::log::Mark;
use crate::queue::{QueueError, TableStamp};
use crate::running::DirectoryError;

/// Owned by whoever writes behind.
pub(crate) struct WriteBehind {
    flushed_at: Duration,
    failing: bool,
    table_distrusted: bool,
}

pub(crate) type WriteBehindToken = Mutex<WriteBehind>;

/// Owned by whoever writes a checkpoint. Who has both has taken this one first.
pub(crate) struct Checkpointer {
    file: CheckpointFile,
    written_at: Duration,
}

pub(crate) type CheckpointToken = Mutex<Checkpointer>;

/// Why there is no new checkpoint.
enum NotWritten {
    /// Entries are being written by somebody else.
    Busy,
    /// The disk refused, or the store is poisoned.
    Failed,
}

/// With fewer bytes of log than this for each queue that had entries, writing them costs more than they are worth ...
const QUEUE_SHARE_BYTES: u64 = 16 << 10;
/// ... so the next time comes so many times later.
const SPREAD_FACTOR: u64 = 3;
/// Then it is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// A checkpoint on its way: what was captured before anything was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckpointCandidate {
    queues: Mark,
}

impl WriteBehind {
    pub(crate) fn new(now: Duration) -> Self {
        Self { flushed_at: now, failing: false, table_distrusted: false }
    }
}

impl Checkpointer {
    pub(crate) fn new(file: CheckpointFile, now: Duration) -> Self {
        Self { file, written_at: now }
    }

    pub(crate) fn fields(&self) -> StoreCheckpoint {
        self.file.current()
    }
}

impl Engine {
    /// One round of the write-behind thread. Returns how long it may sleep.
    pub(crate) fn write_behind_step(&self) -> Duration {
        let interval = self.config.write_behind_interval;
        let Some(mut behind) = self.write_behind.try_lock() else { return interval };
        if self.health.has(Trouble::Poisoned) {
            // Whatever the page cache has dropped, the next start shall look for it.
            if !std::mem::replace(&mut behind.table_distrusted, true)
                && let Err(error) = self.queues.distrust_table()
            {
                tracing::warn!(%error, "cannot remove the stamp of the table of queues");
            }
            return interval;
        }
        let now = self.clock.elapsed();
        let dispatched = self.log.dispatched();
        let fresh = dispatched.position > self.flushed_position();
        if fresh && (self.write_behind_is_due() || now.saturating_sub(behind.flushed_at) >= interval) {
            behind.flushed_at = now;
            self.flush_entries(&mut behind, dispatched);
        }
        if self.without_checkpoint() >= self.config.checkpoint_bytes {
            self.signals.checkpoint.raise();
        }
        interval
    }

    /// One round of the checkpoint thread. Returns how long it may sleep.
    pub(crate) fn checkpoint_step(&self) -> Duration {
        let interval = self.config.checkpoint_interval;
        let Some(mut checkpointer) = self.checkpointer.try_lock() else { return interval };
        let now = self.clock.elapsed();
        let due = (checkpointer.written_at + interval).saturating_sub(now);
        let bytes = self.without_checkpoint();
        if bytes >= self.config.checkpoint_bytes || (bytes > 0 && due.is_zero()) {
            return match self.write_checkpoint(&mut checkpointer) {
                Err(NotWritten::Busy) => RETRY_AFTER,
                Ok(()) | Err(NotWritten::Failed) => {
                    checkpointer.written_at = now;
                    interval
                }
            };
        }
        // With nothing to tell there is nothing to wait for either: the next record is young for as long.
        if due.is_zero() { interval } else { due }
    }

    /// Bytes of visible log that no checkpoint covers.
    fn without_checkpoint(&self) -> u64 {
        self.log.dispatched_position().saturating_sub(self.checkpointed.load(Ordering::Acquire))
    }

    /// Whether enough log has passed for the next write of entries.
    pub(crate) fn write_behind_is_due(&self) -> bool {
        self.log.dispatched_position().saturating_sub(self.flushed_position())
            >= self.flush_distance.load(Ordering::Relaxed)
    }

    /// Bytes of log whose entries are in memory only.
    pub(crate) fn write_behind_lag(&self) -> u64 {
        self.log.written().position.saturating_sub(self.flushed_position())
    }

    fn flush_entries(&self, behind: &mut WriteBehind, upto: Mark) -> bool {
        if self.health.has(Trouble::Poisoned) {
            // What failed to reach the disk would look as if it had: nothing is written or promised any more.
            return false;
        }
        let queues = self.queues.flush().map_err(|error| error.to_string());
        let flushed = queues.and_then(|flushed| match &self.index {
            Some(index) => index.load().flush().map(|()| flushed).map_err(|error| {
                if matches!(error, IndexError::Sync { .. }) {
                    self.poison(error.to_string());
                }
                error.to_string()
            }),
            None => Ok(flushed),
        });
        match flushed {
            Ok(flushed) => {
                let bytes = upto.position.saturating_sub(self.flushed_position());
                let is_spread = flushed.queues.saturating_mul(QUEUE_SHARE_BYTES) > bytes;
                let times = if is_spread { SPREAD_FACTOR } else { 1 };
                let distance = self.config.write_behind_bytes.saturating_mul(times);
                self.flush_distance.store(distance, Ordering::Relaxed);
                if std::mem::take(&mut behind.failing) {
                    tracing::info!("queue and index entries are written again");
                }
                self.set_flushed_position(upto.position);
                self.health.set(Trouble::QueuesBehind, false);
                self.signals.commit.raise();
                true
            }
            Err(error) => {
                // Entries stay in memory and are tried again; records are refused once that memory is used up.
                if !std::mem::replace(&mut behind.failing, true) {
                    tracing::error!(error, "cannot write queue or index entries");
                }
                if self.write_behind_lag() > WRITE_BEHIND_BYTES_MAX {
                    self.health.set(Trouble::QueuesBehind, true);
                    self.signals.commit.raise();
                }
                false
            }
        }
    }

    /// Up to where the checkpoint says that queues are durable; `None` while somebody writes it.
    pub(crate) fn checkpoint_position(&self) -> Option<u64> {
        let checkpointer = self.checkpointer.try_lock()?;
        Some(position(checkpointer.fields().queue_position))
    }

    /// Writes a checkpoint of what is there now. `false` if that failed, or if somebody else is about to.
    pub(crate) fn write_checkpoint_now(&self) -> bool {
        self.checkpointer
            .try_lock()
            .is_some_and(|mut checkpointer| self.write_checkpoint(&mut checkpointer).is_ok())
    }

    /// For a clean stop: everything is written, the index closed and a checkpoint made of it. `false` if that failed, or
    /// if somebody else is writing.
    pub(crate) fn close_entries(&self) -> bool {
        let Some(mut checkpointer) = self.checkpointer.try_lock() else { return false };
        if self.health.has(Trouble::Poisoned) {
            return false;
        }
        // Nobody else writes entries while the index is closed.
        let Some(behind) = self.write_behind.try_lock() else { return false };
        if let Some(index) = &self.index
            && let Err(error) = index.load().close()
        {
            tracing::error!(%error, "cannot close the index");
            return false;
        }
        drop(behind);
        self.write_checkpoint(&mut checkpointer).is_ok()
    }

    fn write_checkpoint(&self, checkpointer: &mut Checkpointer) -> Result<(), NotWritten> {
        let candidate = self.checkpoint_capture();
        let mut behind = self.write_behind.try_lock().ok_or(NotWritten::Busy)?;
        let flushed = self.flush_entries(&mut behind, candidate.queues);
        // Entries that come from now on go to their files while these are synced.
        drop(behind);
        let written = flushed
            && self.checkpoint_sync()
            && !self.health.has(Trouble::Poisoned)
            && self.checkpoint_publish(checkpointer, candidate);
        if written { Ok(()) } else { Err(NotWritten::Failed) }
    }

    /// Takes back what a cut of the log will make untrue.
    pub(crate) fn lower_checkpoint(&self, checkpointer: &mut Checkpointer, cut: Mark) -> io::Result<()> {
        let known = checkpointer.fields();
        self.checkpointed.fetch_min(cut.position, Ordering::AcqRel);
        checkpointer.file.write(&StoreCheckpoint {
            log_time: known.log_time.min(cut.store_time),
            queue_time: known.queue_time.min(cut.store_time),
            index_time: known.index_time.min(cut.store_time),
            queue_position: known.queue_position.min(physical(cut.position)),
            ..known
        })
    }

    /// First: what the checkpoint will say, if all goes well.
    pub(crate) fn checkpoint_capture(&self) -> CheckpointCandidate {
        CheckpointCandidate { queues: self.log.dispatched() }
    }

    /// Then: everything captured, and written since, becomes durable.
    pub(crate) fn checkpoint_sync(&self) -> bool {
        let queues = self.queues.sync().map_err(|error| error.to_string());
        let synced = queues.and_then(|()| match &self.index {
            Some(index) => index.load().sync().map_err(|error| error.to_string()),
            None => Ok(()),
        });
        match synced {
            Ok(()) => true,
            Err(error) => {
                self.poison(format!("cannot sync queue or index files: {error}"));
                false
            }
        }
    }

    /// Last: the file. Positions above the durable end of the log are not promised, even if their entries are there.
    pub(crate) fn checkpoint_publish(
        &self,
        checkpointer: &mut Checkpointer,
        candidate: CheckpointCandidate,
    ) -> bool {
        let durable = self.log.durable();
        let queues = if candidate.queues.position <= durable.position { candidate.queues } else { durable };
        // A full file may hold keys of records that are not durable yet, and would be believed after those were cut off.
        let full_until = self.index.as_ref().map_or(TimestampMs(0), |index| index.load().full_until());
        let next = StoreCheckpoint {
            log_time: durable.store_time,
            queue_time: queues.store_time,
            index_time: full_until.min(TimestampMs(durable.store_time.0.saturating_sub(1))),
            queue_position: physical(queues.position),
            ..StoreCheckpoint::default()
        };
        match checkpointer.file.advance(&next) {
            Ok(()) => {
                self.checkpointed.store(queues.position, Ordering::Release);
                self.save_queue_table(&checkpointer.fields());
                true
            }
            Err(error) => {
                self.poison(format!("cannot write the checkpoint: {error}"));
                false
            }
        }
    }

    /// The next start is faster with it and right without it.
    fn save_queue_table(&self, checkpoint: &StoreCheckpoint) {
        let save = || -> Result<(), TableError> {
            let lock_modified = self.directory.lock_modified()?;
            Ok(self.queues.save_table(&table_stamp(checkpoint, lock_modified))?)
        };
        if let Err(error) = save() {
            tracing::warn!(%error, "cannot write the table of queues");
        }
    }
}

/// What the table of queues goes with.
pub(crate) fn table_stamp(checkpoint: &StoreCheckpoint, lock_modified: TimestampMs) -> TableStamp {
    TableStamp { position: checkpoint.queue_position, time: checkpoint.queue_time, lock_modified }
}

#[derive(Debug, thiserror::Error)]
enum TableError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Queues(#[from] QueueError),
}
