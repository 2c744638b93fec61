//! Brings the log to the disk and keeps a file ready ahead of it, on a thread of its own.
//!
//! In ASYNC mode a sync begins at the latest an interval after the first unsynced byte; in SYNC mode one follows the
//! other, and what was written during the last is confirmed by the next. A failed sync poisons the store: what the
//! page cache still shows may not be on the disk, and a second attempt could succeed without having written it.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use crate::config::FlushMode;
use crate::engine::Engine;
use crate::health::Trouble;
use crate::log::Mark;

/// In ASYNC mode, dirty bytes are handed to the disk in pieces of this size before the sync asks for them.
const WRITE_BACK_BYTES: u64 = 4 << 20;
/// The next file is made once fewer bytes than this are left in the present one ...
const PREPARE_BYTES: u64 = 64 << 20;
/// ... or this part of it.
const PREPARE_SHARE: u64 = 4;
/// Between two looks while everything is synced.
const IDLE_WAIT: Duration = Duration::from_secs(1);
/// After a failure to make the next file.
const PREPARE_PAUSE: Duration = Duration::from_secs(1);

/// Owned by whoever syncs.
#[derive(Debug, Default)]
pub(crate) struct Syncer {
    write_back_from: u64,
    prepare_not_before: Duration,
}

/// The syncer behind a lock that is only tried: one sync at a time is enough.
pub(crate) type SyncToken = Mutex<Syncer>;

impl Engine {
    /// One round of the sync thread. Returns how long it may sleep.
    pub(crate) fn sync_step(&self) -> Duration {
        let Some(mut syncer) = self.syncer.try_lock() else { return Duration::from_millis(1) };
        let wait = self.sync_if_due(&mut syncer);
        self.prepare_next_file(&mut syncer);
        wait
    }

    /// Syncs what is written, now. `false` if a sync is under way already, or if the store is poisoned.
    pub(crate) fn sync_now(&self) -> bool {
        let Some(mut syncer) = self.syncer.try_lock() else { return false };
        self.sync(&mut syncer)
    }

    fn sync_if_due(&self, syncer: &mut Syncer) -> Duration {
        let interval = self.config.flush_interval;
        // IMPORTANT: said before the look, or a byte written between the two would wait for the next one.
        self.signals.sync_rests.store(true, Ordering::SeqCst);
        let Some(since) = self.log.unsynced_since() else { return IDLE_WAIT };
        self.signals.sync_rests.store(false, Ordering::SeqCst);
        let age = self.clock.elapsed().saturating_sub(since);
        if self.config.flush_mode == FlushMode::Async && age < interval {
            self.start_write_back(syncer);
            return (interval - age).min(interval / 4);
        }
        // What was written meanwhile is looked at at once.
        if self.sync(syncer) { Duration::ZERO } else { IDLE_WAIT }
    }

    /// Wakes the syncer if it rests because everything was synced.
    pub(crate) fn wake_resting_syncer(&self) {
        if self.signals.sync_rests.swap(false, Ordering::SeqCst) {
            self.signals.sync.raise();
        }
    }

    fn sync(&self, syncer: &mut Syncer) -> bool {
        if self.health.has(Trouble::Poisoned) {
            return false;
        }
        let from = self.log.durable_position();
        let target = self.log.begin_sync();
        if let Err(error) = self.sync_files(from, target) {
            self.poison(format!("cannot sync the log up to {}: {error}", target.position));
            return false;
        }
        syncer.write_back_from = syncer.write_back_from.max(target.position);
        // A cut may have shortened the log meanwhile.
        let target = if self.log.written().position < target.position { self.log.written() } else { target };
        self.log.set_durable(target);
        self.replication.durable(target.position);
        self.confirm();
        true
    }

    fn sync_files(&self, from: u64, target: Mark) -> io::Result<()> {
        for segment in self.log.segments.list().iter() {
            if segment.end() > from && segment.base < target.position {
                segment.file(&*self.disk)?.sync_data()?;
            }
        }
        Ok(())
    }

    /// Spreads the work of the next sync over the interval.
    fn start_write_back(&self, syncer: &mut Syncer) {
        let written = self.log.written().position;
        while written.saturating_sub(syncer.write_back_from) >= WRITE_BACK_BYTES {
            let at = syncer.write_back_from;
            let Some(segment) = self.log.segments.find(at) else { break };
            let len = WRITE_BACK_BYTES.min(segment.end() - at);
            if let Ok(file) = segment.file(&*self.disk) {
                file.start_write_back(at - segment.base, len);
            }
            syncer.write_back_from = at + len;
        }
    }

    fn prepare_next_file(&self, syncer: &mut Syncer) {
        let now = self.clock.elapsed();
        if now < syncer.prepare_not_before || self.health.refusal().is_some() {
            return;
        }
        let position = self.log.written().position;
        let segments = &self.log.segments;
        let base = match segments.find(position) {
            None => position,
            Some(present) => {
                let left = present.end() - position;
                if left > (segments.size() / PREPARE_SHARE).max(PREPARE_BYTES) {
                    return;
                }
                present.end()
            }
        };
        if let Err(error) = segments.ensure(base) {
            syncer.prepare_not_before = now + PREPARE_PAUSE;
            tracing::warn!(position = base, %error, "cannot prepare the next file of the log");
        }
    }
}
