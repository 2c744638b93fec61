//! A store that follows another one: groups come as bytes with their places, and may have to be taken back.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferromq_protocol::record::{self, PEEK_LEN, RecordError};
use ferromq_protocol::types::{PhysicalOffset, TimestampMs};
use thiserror::Error;

use crate::commit::Unconfirmed;
use crate::engine::Engine;
use crate::health::Trouble;
use crate::layout::{physical, position};
use crate::log::Mark;
use crate::log::erase::erase_behind;
use crate::log::scan::{Scan, Scanned};
use crate::log::tail::{Committed, SealedGroup, Surroundings};
use crate::queue::EntriesError;
use crate::recover::{
    LogBytes, OpenError, OpenIndex, TRUSTING, open_index, remove_truncation, write_truncation,
};

/// Bytes of another log that cannot be appended here.
#[derive(Debug, Error)]
pub enum AppendRawError {
    /// The store gives out places itself.
    #[error("the store leads and takes no bytes with places")]
    Leading,
    /// Somebody else is appending or cutting.
    #[error("the end of the log is in use")]
    Busy,
    /// The store failed to sync before; restart it.
    #[error("the store is poisoned")]
    Poisoned,
    /// The bytes belong elsewhere: ask for those at the end of this log, or cut it first.
    #[error("bytes for {at}, but the log ends at {end}")]
    NotAtEnd {
        /// Where the bytes belong.
        at: PhysicalOffset,
        /// Where the log ends.
        end: PhysicalOffset,
    },
    /// The bytes are no records of that place. What precedes `at` was taken.
    #[error("no record for {at}: {reason}")]
    NotRecords {
        /// Place of the first byte in question.
        at: PhysicalOffset,
        /// What is wrong.
        reason: String,
    },
    /// The disk refused; nothing of what would not fit is there.
    #[error("cannot write the log: {0}")]
    Io(#[from] io::Error),
}

/// A log that could not be cut. If it was begun, the next start finishes it.
#[derive(Debug, Error)]
pub enum TruncateError {
    /// A leader's log is never cut.
    #[error("the store leads")]
    Leading,
    /// Somebody else is appending, confirming, syncing or writing behind; try again.
    #[error("the log is in use")]
    Busy,
    /// Beyond the end, before the beginning, or within a record.
    #[error("the log cannot be cut at {0}")]
    Position(PhysicalOffset),
    /// The disk refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Queue entries could not be read or erased.
    #[error(transparent)]
    Entries(#[from] EntriesError),
    /// The index could not be cut.
    #[error(transparent)]
    Index(#[from] OpenError),
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> TruncateError + 'a {
    move |source| TruncateError::Io { action, path: path.to_owned(), source }
}

impl Engine {
    /// See [`crate::Store::append_raw`].
    pub(crate) fn append_raw(&self, at: PhysicalOffset, bytes: &[u8]) -> Result<(), AppendRawError> {
        if self.health.has(Trouble::Poisoned) {
            return Err(AppendRawError::Poisoned);
        }
        if !self.health.has(Trouble::NotLeading) {
            return Err(AppendRawError::Leading);
        }
        let mut tail = self.tail.try_lock().ok_or(AppendRawError::Busy)?;
        let end = tail.position;
        let start = position(at);
        // The padding of a blank end is not appended, it is already behind us.
        let skipped = end.checked_sub(start).and_then(|skipped| usize::try_from(skipped).ok());
        let padding = skipped.filter(|len| {
            *len == 0
                || (end % self.log.segments.size() == 0 && bytes.iter().take(*len).all(|byte| *byte == 0))
        });
        let Some(padding) = padding else {
            return Err(AppendRawError::NotAtEnd { at, end: physical(end) });
        };
        let mut rest = bytes.get(padding..).unwrap_or_default();
        while !rest.is_empty() {
            let (batch, len, blank) = self.take_records(rest, tail.position)?;
            let now = self.clock.elapsed();
            let sealed = |group: &SealedGroup<'_>| self.tell_sealed(group);
            let around =
                Surroundings { log: &self.log, now: self.clock.now(), elapsed: now, sealed: &sealed };
            if batch.records.is_empty() {
                self.pool.give_back(batch);
            } else {
                let store_time = batch.records.iter().filter_map(|record| record.progress.stored());
                let store_time =
                    store_time.map(|stored| stored.store_timestamp).max().unwrap_or(TimestampMs(0));
                let slices = [IoSlice::new(&batch.bytes)];
                tail.write_placed(&around, &slices, batch.records.len(), store_time)?;
                for record in batch.records.iter().filter(|record| record.has_queue_entry) {
                    if let Some(stored) = record.progress.stored() {
                        record.queue.set_next_offset(stored.queue_offset.plus(1));
                    }
                }
                self.unconfirmed.lock().push_back(Unconfirmed::new(self.log.written(), now, Some(batch)));
            }
            rest = &rest[len..];
            if blank {
                let before = tail.position;
                if let Committed::Broken(error) = tail.roll(&around)? {
                    self.poison(format!("a failed write of the log could not be undone: {error}"));
                    return Err(AppendRawError::Poisoned);
                }
                self.unconfirmed.lock().push_back(Unconfirmed::new(self.log.written(), now, None));
                let skipped = usize::try_from(tail.position - before).unwrap_or(usize::MAX);
                rest = rest.get(skipped..).unwrap_or_default();
            }
        }
        drop(tail);
        self.await_confirmation();
        Ok(())
    }

    /// The records at the start of `bytes`, up to the end of a file: with their length, and whether a blank follows.
    fn take_records(
        &self,
        bytes: &[u8],
        at: u64,
    ) -> Result<(Box<crate::append::Batch>, usize, bool), AppendRawError> {
        let mut batch = self.pool.take();
        let mut len = 0;
        let fail = |batch, len: usize, reason: String| {
            self.pool.give_back(batch);
            Err(AppendRawError::NotRecords { at: physical(at + len as u64), reason })
        };
        let file_end = at - at % self.log.segments.size() + self.log.segments.size();
        while let Some(rest) = bytes.get(len..).filter(|rest| !rest.is_empty()) {
            let place = at + len as u64;
            let peek = record::peek(rest);
            if peek
                .is_some_and(|peek| peek.is_blank() && u64::try_from(peek.total_size) == Ok(file_end - place))
            {
                return Ok((batch, len, true));
            }
            let record = match record::decode(rest) {
                Ok(record) => record,
                Err(_) if len > 0 && self.is_cut_short(rest) => break,
                Err(error) => return fail(batch, len, error.to_string()),
            };
            if record.physical != physical(place) {
                return fail(batch, len, format!("it says that it lies at {}", record.physical));
            }
            if !record.body_crc_matches() {
                return fail(batch, len, "the body does not have the checksum stored with it".to_owned());
            }
            if place + (record.bytes.len() + PEEK_LEN) as u64 > file_end {
                return fail(batch, len, "it reaches beyond its file".to_owned());
            }
            batch.push_raw(&record, &self.queues.get(record.topic, record.queue_id));
            len += record.bytes.len();
        }
        Ok((batch, len, false))
    }

    fn is_cut_short(&self, bytes: &[u8]) -> bool {
        matches!(record::decode(bytes), Err(RecordError::Incomplete { .. }))
    }

    /// See [`crate::Store::truncate_to`].
    pub(crate) fn truncate_to(&self, at: PhysicalOffset) -> Result<(), TruncateError> {
        let truncated = self.cut_log(at);
        // Whoever wanted to confirm meanwhile relied on us to look.
        self.confirm();
        truncated
    }

    fn cut_log(&self, at: PhysicalOffset) -> Result<(), TruncateError> {
        if !self.health.has(Trouble::NotLeading) {
            return Err(TruncateError::Leading);
        }
        // All owners stand still: nothing is appended, confirmed, synced or written behind meanwhile.
        let mut tail = self.tail.try_lock().ok_or(TruncateError::Busy)?;
        let mut confirmer = self.confirmer.try_lock().ok_or(TruncateError::Busy)?;
        let _syncer = self.syncer.try_lock().ok_or(TruncateError::Busy)?;
        let mut checkpointer = self.checkpointer.try_lock().ok_or(TruncateError::Busy)?;
        let _behind = self.write_behind.try_lock().ok_or(TruncateError::Busy)?;
        let cut = self.mark_before(at)?;
        if cut.position == tail.position {
            return Ok(());
        }
        // From here on the cut is certain: whatever is interrupted, the next start goes on with it.
        let path = self.layout.truncation();
        write_truncation(&*self.disk, &self.layout, cut.position).map_err(io_error("write", &path))?;
        let lowered = self.lower_checkpoint(&mut checkpointer, cut);
        lowered.map_err(io_error("write", &self.layout.checkpoint()))?;
        self.withdraw_unconfirmed(cut, &mut confirmer);
        self.log.cut(cut);
        self.queues.truncate(at)?;
        self.queues.limit_deletions(at).map_err(EntriesError::from)?;
        self.restore_next_offsets();
        let log = self.layout.commit_log();
        erase_behind(&*self.disk, &self.log.segments, cut.position).map_err(io_error("cut", log))?;
        // The queue files must not keep what they lost either, before the intent goes.
        if let Err(error) = self.queues.sync() {
            self.health.poison(format!("cannot sync the queue files: {error}"));
            return Err(TruncateError::Entries(error.into()));
        }
        if let Some(index) = &self.index {
            let log = LogBytes {
                disk: &self.disk,
                layout: &self.layout,
                config: &self.config,
                segments: &self.log.segments,
            };
            let open = OpenIndex {
                end: at,
                full_until: checkpointer.fields().index_time,
                synced_below: checkpointer.fields().queue_position,
                clean: false,
                empty_from: cut.position,
            };
            index.load().flush().map_err(OpenError::from)?;
            index.store(Arc::new(open_index(log, &open)?));
        }
        tail.restart_at(&self.log, cut);
        self.set_flushed_position(self.flushed_position().min(cut.position));
        remove_truncation(&*self.disk, &self.layout).map_err(io_error("remove", &path))
    }

    /// Offsets of records that lie before a cut and are not confirmed yet stay given out.
    fn restore_next_offsets(&self) {
        let unconfirmed = self.unconfirmed.lock();
        let records =
            unconfirmed.iter().filter_map(|entry| entry.batch.as_ref()).flat_map(|batch| &batch.records);
        for record in records.filter(|record| record.has_queue_entry) {
            if let Some(stored) = record.progress.stored() {
                record.queue.set_next_offset(stored.queue_offset.plus(1));
            }
        }
    }

    /// The position with the store time of the record before it, if a record, a blank or the end is there.
    fn mark_before(&self, at: PhysicalOffset) -> Result<Mark, TruncateError> {
        let wrong = || TruncateError::Position(at);
        let cut = u64::try_from(at.0).map_err(|_| wrong())?;
        if cut < self.log.min_position() || cut > self.log.written().position {
            return Err(wrong());
        }
        let from = cut.saturating_sub(1).max(self.log.min_position());
        let base = self.log.segments.find(from).map_or(cut, |segment| segment.base);
        let mut scan = Scan::new(&*self.disk, &self.log.segments, base, TRUSTING);
        while scan.position() < cut {
            let item = scan.next_item().map_err(io_error("read", self.layout.commit_log()))?;
            if matches!(item, Scanned::End(_)) {
                return Err(wrong());
            }
        }
        if scan.position() != cut {
            return Err(wrong());
        }
        Ok(Mark { position: cut, store_time: scan.last_time() })
    }
}
