//! The end of the log and the work of whoever holds the commit token: assign, write, roll.
//!
//! The token is this value behind a mutex that is only ever tried, never waited for. *Assign* gives the next records
//! their places and patches them; the result is a sealed group of at most 1 MiB that lies in one file. *Write* puts a
//! group into the file with one call, straight from the buffers of its batches, and then copies it into the ring. A
//! group that cannot be written is taken back: its places are given out again, the bytes that may have reached the
//! file are zeroed, and no record of it counts as stored.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ferromq_protocol::record::{self, PropertyCrc};
use ferromq_protocol::types::TimestampMs;
use smallvec::SmallVec;

use super::segment::Segment;
use super::{Log, Mark};
use crate::append::{BLANK_LEN, Batch, Outcome, Progress, Stored};
use crate::layout::physical;

/// A group is sealed at this length, unless one record or one client's batch is longer.
const GROUP_BYTES_MAX: u64 = 1 << 20;
/// With `zeroes_ahead`, what follows the tail is overwritten with zeros in pieces of this size, once so little of the
/// last piece is left. A sync of pages that were never written waits for the journal of the file system as well, and
/// with it for whatever other files have in there.
const ZERO_AHEAD: u64 = 256 << 10;
const ZERO_AHEAD_LEFT: u64 = 128 << 10;
const PAGE: u64 = 4096;
/// Pieces of batches in a group: the slices of its one write lie on the stack.
const GROUP_PARTS_MAX: usize = 128;
/// How long records that need a new file are refused after the disk was too full to create one.
const NO_SPACE_PAUSE: Duration = Duration::from_secs(1);
/// Store times so far ahead of the clock are reported: the clock went back.
const CLOCK_STEP_REPORTED_MS: i64 = 10_000;

/// What depends on the place of a group, and the slices it is made of.
#[derive(Debug)]
pub struct SealedGroup<'a> {
    /// Position of its first byte.
    pub start: ferromq_protocol::types::PhysicalOffset,
    /// First position behind it. After a blank end this is the start of the next file, beyond the last byte.
    pub end: ferromq_protocol::types::PhysicalOffset,
    /// Records in it; 0 for the blank end of a file.
    pub records: usize,
    /// Its bytes, contiguous from `start`.
    pub bytes: &'a [IoSlice<'a>],
}

/// See the head of this file.
pub(crate) struct Tail {
    /// The next byte to be given out.
    pub(crate) position: u64,
    /// The file that holds `position`; `None` at the very beginning and when the last file is exactly full.
    segment: Option<Arc<Segment>>,
    last_store_time: TimestampMs,
    /// Batches that were taken from the pending list, in order. Only the first may be partly in the log.
    pub(crate) work: VecDeque<Box<Batch>>,
    parts: Vec<Part>,
    no_space_until: Option<Duration>,
    clock_step_reported: bool,
    property_crc: PropertyCrc,
    /// Up to here the log was overwritten with zeros; `None` if that is not done.
    zeroed_to: Option<u64>,
}

/// Bytes of one batch that lie in the group.
struct Part {
    batch: usize,
    bytes: Range<usize>,
}

/// Places given out, to be written next.
struct Group {
    start: u64,
    end: u64,
    store_time: TimestampMs,
    records: usize,
    /// Records that will never have a place.
    refused: usize,
    /// The next record does not fit into this file.
    file_is_full: bool,
}

/// What [`Tail::commit_group`] came to.
#[derive(Debug)]
pub(crate) enum Committed {
    /// Records or a blank were written; the mark is the new end.
    Written,
    /// Some records were refused; nothing was written.
    Refused,
    /// There was nothing to do.
    Idle,
    /// What may have reached the file could not be zeroed or synced: the log must not be appended to any more.
    Broken(io::Error),
}

/// What the tail uses of its surroundings.
pub(crate) struct Surroundings<'a> {
    pub(crate) log: &'a Log,
    pub(crate) now: TimestampMs,
    pub(crate) elapsed: Duration,
    pub(crate) sealed: &'a dyn Fn(&SealedGroup<'_>),
}

impl Tail {
    pub(crate) fn new(log: &Log, property_crc: PropertyCrc, zeroes_ahead: bool) -> Self {
        let end = log.written();
        Self {
            position: end.position,
            segment: log.segments.find(end.position),
            last_store_time: end.store_time,
            work: VecDeque::new(),
            parts: Vec::new(),
            no_space_until: None,
            clock_step_reported: false,
            property_crc,
            zeroed_to: zeroes_ahead.then_some(0),
        }
    }

    /// Puts the next group of the waiting batches into the log. Batches with nothing left to place are then at the
    /// front of `work`; [`Tail::take_finished`] hands them out.
    pub(crate) fn commit_group(&mut self, around: &Surroundings<'_>) -> Committed {
        let group = self.assign(around);
        if group.records > 0 {
            return match self.write(around, &group) {
                Ok(()) => Committed::Written,
                Err(error) => self.roll_back(around.log, &group, &error),
            };
        }
        if !group.file_is_full {
            return if group.refused > 0 { Committed::Refused } else { Committed::Idle };
        }
        self.roll(around).unwrap_or_else(|error| self.refuse_next(around, &error))
    }

    /// The first batch, if all its records have a place or were refused.
    pub(crate) fn take_finished(&mut self) -> Option<Box<Batch>> {
        let finished = self.work.front().is_some_and(|batch| batch.next == batch.records.len());
        finished.then(|| self.work.pop_front())?
    }

    /// Whether the first batch is partly in the log.
    pub(crate) fn is_within_batch(&self) -> bool {
        self.work.front().is_some_and(|batch| batch.next > 0)
    }

    /// Refuses everything that waits.
    pub(crate) fn refuse_all(&mut self, outcome: Outcome) {
        for batch in &mut self.work {
            for record in &mut batch.records[batch.next..] {
                record.progress = Progress::Refused(outcome);
            }
            batch.next = batch.records.len();
        }
    }

    /// Store time of the next group: never before the last one, because consumers search by it.
    fn store_time(&mut self, now: TimestampMs) -> TimestampMs {
        let ahead = self.last_store_time.0.saturating_sub(now.0);
        if ahead <= CLOCK_STEP_REPORTED_MS {
            self.clock_step_reported = false;
        } else if !self.clock_step_reported {
            self.clock_step_reported = true;
            tracing::warn!(ahead_ms = ahead, "the clock is behind the last stored record, keeping its time");
        }
        self.last_store_time = self.last_store_time.max(now);
        self.last_store_time
    }

    fn assign(&mut self, around: &Surroundings<'_>) -> Group {
        self.parts.clear();
        let start = self.position;
        let file_end = self.segment.as_ref().map_or(start, |segment| segment.end());
        let store_time = self.store_time(around.now);
        let mut group = Group { start, end: start, store_time, records: 0, refused: 0, file_is_full: false };
        for (index, batch) in self.work.iter_mut().enumerate() {
            while batch.next < batch.records.len() {
                let first = batch.next;
                let run = first..first + batch.records[first].run.max(1);
                let bytes = batch.bytes_start(first)..batch.bytes_start(run.end);
                let len = bytes.len() as u64;
                if batch.records[run.clone()].iter().any(|record| !record.queue.takes_records()) {
                    for record in &mut batch.records[run.clone()] {
                        record.progress = Progress::Refused(Outcome::TopicDeleted);
                    }
                    group.refused += run.len();
                    batch.next = run.end;
                    continue;
                }
                if group.end + len + BLANK_LEN > file_end {
                    group.file_is_full = true;
                    return group;
                }
                let joins = self
                    .parts
                    .last()
                    .is_some_and(|part| part.batch == index && part.bytes.end == bytes.start);
                let too_long = group.records > 0 && group.end - start + len > GROUP_BYTES_MAX;
                if too_long || (!joins && self.parts.len() == GROUP_PARTS_MAX) {
                    return group;
                }
                for record in run.clone() {
                    assign_record(batch, record, &mut group, self.property_crc);
                }
                match self.parts.last_mut() {
                    Some(part) if joins => part.bytes.end = bytes.end,
                    _ => self.parts.push(Part { batch: index, bytes }),
                }
                batch.next = run.end;
            }
        }
        group
    }

    fn write(&mut self, around: &Surroundings<'_>, group: &Group) -> io::Result<()> {
        // Out of `self` for as long as the slices point into it.
        let work = std::mem::take(&mut self.work);
        let slices: SmallVec<[IoSlice<'_>; GROUP_PARTS_MAX]> =
            self.parts.iter().map(|part| IoSlice::new(&work[part.batch].bytes[part.bytes.clone()])).collect();
        let written = self.write_slices(around, &slices, group.records, group.store_time);
        drop(slices);
        self.work = work;
        written
    }

    /// Writes records that have their places already; they lie in the present file.
    pub(crate) fn write_placed(
        &mut self,
        around: &Surroundings<'_>,
        slices: &[IoSlice<'_>],
        records: usize,
        store_time: TimestampMs,
    ) -> io::Result<()> {
        let log = around.log;
        if self.segment.is_none() {
            self.segment = Some(log.segments.ensure(self.position - self.position % log.segments.size())?);
        }
        self.write_slices(around, slices, records, store_time)?;
        self.last_store_time = self.last_store_time.max(store_time);
        Ok(())
    }

    fn write_slices(
        &mut self,
        around: &Surroundings<'_>,
        slices: &[IoSlice<'_>],
        records: usize,
        store_time: TimestampMs,
    ) -> io::Result<()> {
        let log = around.log;
        let start = self.position;
        let segment = self.segment.as_ref().ok_or(io::ErrorKind::NotFound)?;
        segment.file(&*log.disk)?.write_at(slices, start - segment.base)?;
        for slice in slices {
            log.ring.append(self.position, slice);
            self.position += slice.len() as u64;
        }
        self.zero_ahead(log);
        log.set_written(Mark { position: self.position, store_time }, around.elapsed);
        let (start, end) = (physical(start), physical(self.position));
        (around.sealed)(&SealedGroup { start, end, records, bytes: slices });
        Ok(())
    }

    fn zero_ahead(&mut self, log: &Log) {
        let (Some(zeroed_to), Some(segment)) = (self.zeroed_to, &self.segment) else { return };
        if self.position + ZERO_AHEAD_LEFT <= zeroed_to {
            return;
        }
        let from = zeroed_to
            .max((segment.base + (self.position - segment.base).next_multiple_of(PAGE)).min(segment.end()));
        let to = (from + ZERO_AHEAD).min(segment.end());
        self.zeroed_to = Some(to);
        if from < to
            && let Ok(file) = segment.file(&*log.disk)
        {
            // It only saves time; an error is met again by what is to be written there.
            let _ = file.zero(from - segment.base, to - from);
        }
    }

    /// After a cut of the log.
    pub(crate) fn restart_at(&mut self, log: &Log, cut: Mark) {
        self.position = cut.position;
        self.segment = log.segments.find(cut.position);
        self.last_store_time = cut.store_time;
        self.zeroed_to = self.zeroed_to.map(|_| cut.position);
    }

    /// Takes back a group that could not be written.
    fn roll_back(&mut self, log: &Log, group: &Group, error: &io::Error) -> Committed {
        tracing::error!(position = group.start, bytes = group.end - group.start, %error, "cannot write the log");
        let undone = self.zero(log, group.start, group.end);
        // Otherwise nobody knows whether the next start finds the records.
        let outcome = if undone.is_ok() { refusal(error) } else { Outcome::Poisoned };
        let start = physical(group.start);
        for batch in self.work.iter_mut().rev() {
            for record in batch.records.iter_mut().rev() {
                let Progress::Assigned(stored) = record.progress else { continue };
                if stored.physical < start {
                    break;
                }
                if record.has_queue_entry {
                    record.queue.set_next_offset(stored.queue_offset);
                }
                record.progress = Progress::Refused(outcome);
            }
        }
        match undone {
            Ok(()) => Committed::Refused,
            Err(error) => Committed::Broken(error),
        }
    }

    /// Zeroes what a failed write may have left, durably: written again later, the same pages could otherwise come
    /// out of a power cut as a mixture of both.
    fn zero(&self, log: &Log, start: u64, end: u64) -> io::Result<()> {
        let Some(segment) = &self.segment else { return Ok(()) };
        let file = segment.file(&*log.disk)?;
        file.zero(start - segment.base, end - start)?;
        file.sync_data()
    }

    /// Ends the file with a blank and goes on in the next one, which comes first: if there is no room for it, nothing
    /// has changed.
    pub(crate) fn roll(&mut self, around: &Surroundings<'_>) -> io::Result<Committed> {
        let log = around.log;
        if self.no_space_until.is_some_and(|until| around.elapsed < until) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let size = log.segments.size();
        let next_base =
            self.segment.as_ref().map_or(self.position - self.position % size, |segment| segment.end());
        let next = log.segments.ensure(next_base)?;
        self.no_space_until = None;
        if let Some(segment) = self.segment.as_ref().filter(|_| self.position < next_base) {
            let remaining = u32::try_from(next_base - self.position).map_err(io::Error::other)?;
            let blank = record::encode_blank(remaining);
            let slices = [IoSlice::new(&blank)];
            let file = segment.file(&*log.disk)?;
            if let Err(error) = file.write_at(&slices, self.position - segment.base) {
                let undone = self.zero(log, self.position, self.position + BLANK_LEN);
                return undone.map_or_else(|broken| Ok(Committed::Broken(broken)), |()| Err(error));
            }
            let start = physical(self.position);
            self.position = next_base;
            log.set_written(
                Mark { position: next_base, store_time: log.written().store_time },
                around.elapsed,
            );
            (around.sealed)(&SealedGroup { start, end: physical(next_base), records: 0, bytes: &slices });
        }
        self.segment = Some(next);
        Ok(Committed::Written)
    }

    /// The next record cannot be placed because there is no next file.
    fn refuse_next(&mut self, around: &Surroundings<'_>, error: &io::Error) -> Committed {
        let outcome = refusal(error);
        if self.no_space_until.is_none_or(|until| around.elapsed >= until) {
            tracing::error!(position = self.position, %error, "cannot create the next file of the log");
            self.no_space_until = Some(around.elapsed + NO_SPACE_PAUSE);
        }
        if let Some(batch) = self.work.iter_mut().find(|batch| batch.next < batch.records.len()) {
            let run = batch.next..batch.next + batch.records[batch.next].run.max(1);
            for record in &mut batch.records[run.clone()] {
                record.progress = Progress::Refused(outcome);
            }
            batch.next = run.end;
        }
        Committed::Refused
    }
}

fn assign_record(batch: &mut Batch, index: usize, group: &mut Group, property_crc: PropertyCrc) {
    let bytes = batch.bytes_start(index)..batch.bytes_start(index + 1);
    let len = bytes.len() as u64;
    let record = &mut batch.records[index];
    let queue_offset = record.queue.next_offset();
    let stored = Stored { physical: physical(group.end), queue_offset, store_timestamp: group.store_time };
    let bytes = &mut batch.bytes[bytes];
    record::patch_position(bytes, stored.physical, queue_offset, stored.store_timestamp);
    if property_crc == PropertyCrc::Append {
        record::seal_property_crc(bytes);
    }
    if record.has_queue_entry {
        record.queue.set_next_offset(queue_offset.plus(1));
    }
    record.progress = Progress::Assigned(stored);
    group.end += len;
    group.records += 1;
}

fn refusal(error: &io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Outcome::NoSpace,
        _ => Outcome::Failed,
    }
}
