//! How records leave the store: planned from queue entries, then copied out of the ring, the page cache or the disk.
//!
//! Planning looks at entries only, so the header of an answer can be written before its body. Copying takes whole
//! contiguous ranges. Bytes of the ring were written by this process; every record that comes from a file is checked
//! before it is served. Nothing waits for the disk unless the caller allows it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use ferromq_protocol::record::{self, PEEK_LEN, Record};
use ferromq_protocol::types::{PhysicalOffset, QueueOffset};
use smallvec::SmallVec;
use thiserror::Error;

use crate::engine::Engine;
use crate::health::Trouble;
use crate::layout::{physical, position};
use crate::log::segment::Segment;
use crate::queue::{ENTRY_SIZE, EntriesError, Entry, Queue, TagFilter, Wait};

/// Entries a read looks at, unless it asks for more messages: Java counts 16,000 bytes of 20 each.
const EXAMINED_MIN: i64 = 16_000 / 20;
/// A read may always have so many bytes, and never more than the other.
const BYTES_MIN: usize = 100;
const BYTES_MAX: usize = 128 << 20;

/// Limits of one read beyond what the client asks for (`maxTransfer…`, `accessMessageInMemoryMaxRatio`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// `maxTransferBytesOnMessageInMemory`.
    pub bytes_in_memory: usize,
    /// `maxTransferCountOnMessageInMemory`.
    pub count_in_memory: usize,
    /// `maxTransferBytesOnMessageInDisk`.
    pub bytes_on_disk: usize,
    /// `maxTransferCountOnMessageInDisk`.
    pub count_on_disk: usize,
    /// Records this close to the end of the log count as being in memory: a share of the machine's memory.
    pub memory_bytes: u64,
}

impl Default for ReadLimits {
    /// Java's, on a machine with 8 GiB.
    fn default() -> Self {
        Self {
            bytes_in_memory: 262_144,
            count_in_memory: 32,
            bytes_on_disk: 65_536,
            count_on_disk: 8,
            memory_bytes: (8 << 30) / 100 * 40,
        }
    }
}

/// What a consumer asks for.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest<'a> {
    /// Offset of the first message.
    pub offset: QueueOffset,
    /// Messages at most.
    pub max_messages: usize,
    /// Bytes at most, but always one message.
    pub max_bytes: usize,
    /// Which entries are wanted.
    pub filter: &'a TagFilter,
    /// Limits of this broker.
    pub limits: ReadLimits,
    /// Whether planning may wait for queue files.
    pub wait: Wait,
}

/// How a read went, in Java's words (`GetMessageStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStatus {
    /// There are messages.
    Found,
    /// Everything examined was filtered out.
    NoMatchedMessage,
    /// What was examined is being removed by retention.
    MessageWasRemoving,
    /// No entries could be found at the offset.
    OffsetFoundNull,
    /// Beyond the end.
    OffsetOverflowBadly,
    /// Exactly at the end: wait for more.
    OffsetOverflowOne,
    /// Before the beginning.
    OffsetTooSmall,
    /// The queue has never had a message.
    NoMessageInQueue,
}

/// A record to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedRecord {
    /// Where it lies.
    pub physical: PhysicalOffset,
    /// Its bytes.
    pub size: usize,
    /// Its offset in the queue.
    pub queue_offset: QueueOffset,
}

/// The answer to a [`ReadRequest`], without the bytes. Use one again and again: it keeps its memory.
#[derive(Debug)]
pub struct Plan {
    /// How it went.
    pub status: ReadStatus,
    /// Where to go on.
    pub next: QueueOffset,
    /// Beginning of the queue.
    pub min: QueueOffset,
    /// End of the queue.
    pub max: QueueOffset,
    /// What to copy.
    pub records: SmallVec<[PlannedRecord; 32]>,
    /// Bytes of all records.
    pub bytes: usize,
    /// The consumer lags so far behind that another replica should serve it.
    pub suggests_replica: bool,
    queue: Option<Arc<Queue>>,
    entries: Vec<Entry>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            status: ReadStatus::NoMessageInQueue,
            next: QueueOffset(0),
            min: QueueOffset(0),
            max: QueueOffset(0),
            records: SmallVec::new(),
            bytes: 0,
            suggests_replica: false,
            queue: None,
            entries: Vec::new(),
        }
    }
}

/// What is wrong with the bytes of a record.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("damaged record at {physical} in {} (byte {at}): {reason}", path.display())]
pub struct CorruptRecord {
    /// Position in the log.
    pub physical: PhysicalOffset,
    /// The file.
    pub path: PathBuf,
    /// Byte within the file.
    pub at: u64,
    /// What does not fit.
    pub reason: String,
}

/// A read that cannot be answered.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The disk would have to be waited for: ask again with [`Wait::Allowed`] on a thread that may block.
    #[error("the records are not in memory")]
    WouldBlock,
    /// No record of the log begins there, or it was removed.
    #[error("there is no record at {0}")]
    NotFound(PhysicalOffset),
    /// The bytes on the disk are not what was written. Other records can still be read; see `ferromq store check`.
    #[error(transparent)]
    Corrupt(#[from] CorruptRecord),
    /// Entries of the queue cannot be read.
    #[error(transparent)]
    Entries(EntriesError),
    /// The disk failed.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl From<EntriesError> for ReadError {
    fn from(error: EntriesError) -> Self {
        match error {
            EntriesError::WouldBlock => Self::WouldBlock,
            other => Self::Entries(other),
        }
    }
}

/// The count and size rules of `isTheBatchFull`, for what was collected so far.
fn is_full(request: &ReadRequest<'_>, plan: &Plan, size: usize, in_memory: bool) -> bool {
    let count = plan.records.len();
    if count == 0 {
        return false;
    }
    let limits = &request.limits;
    let (bytes_max, count_max) = if in_memory {
        (limits.bytes_in_memory, limits.count_in_memory)
    } else {
        (limits.bytes_on_disk, limits.count_on_disk)
    };
    let bytes = plan.bytes + size;
    let asked = request.max_bytes.clamp(BYTES_MIN, BYTES_MAX);
    count + 1 > request.max_messages || bytes > asked || bytes > bytes_max || count + 1 > count_max
}

impl Engine {
    /// Everything before this position may be read.
    fn readable_end(&self) -> u64 {
        if self.health.has(Trouble::Poisoned) {
            // What lies behind was never synced and may be gone when it is read again.
            self.log.confirmed().min(self.log.durable_position())
        } else {
            self.log.confirmed()
        }
    }

    /// See [`crate::Store::plan`].
    pub(crate) fn plan(
        &self,
        queue: &Arc<Queue>,
        request: &ReadRequest<'_>,
        plan: &mut Plan,
    ) -> Result<(), ReadError> {
        let (min, max) = (queue.min_offset(), queue.max_offset());
        let offset = request.offset;
        plan.records.clear();
        plan.bytes = 0;
        plan.suggests_replica = false;
        (plan.min, plan.max) = (min, max);
        plan.queue = Some(Arc::clone(queue));
        (plan.status, plan.next) = if max.0 == 0 {
            (ReadStatus::NoMessageInQueue, QueueOffset(0))
        } else if offset < min {
            (ReadStatus::OffsetTooSmall, min)
        } else if offset == max {
            (ReadStatus::OffsetOverflowOne, offset)
        } else if offset > max {
            (ReadStatus::OffsetOverflowBadly, max)
        } else {
            return self.plan_entries(queue, request, plan);
        };
        Ok(())
    }

    fn plan_entries(
        &self,
        queue: &Arc<Queue>,
        request: &ReadRequest<'_>,
        plan: &mut Plan,
    ) -> Result<(), ReadError> {
        let per_file = self.config.queue_file_size / ENTRY_SIZE as u64;
        let per_file = i64::try_from(per_file).unwrap_or(i64::MAX).max(1);
        let start = request.offset.0;
        let file_end = (start / per_file + 1).saturating_mul(per_file);
        let asked = i64::try_from(request.max_messages).unwrap_or(i64::MAX);
        let end = plan.max.0.min(file_end).min(start.saturating_add(asked.max(EXAMINED_MIN)));

        let log_end = self.readable_end();
        let log_start = self.log.min_position();
        let mut skip_below = None;
        let mut last_examined = None;
        let mut at = start;
        plan.status = ReadStatus::NoMatchedMessage;
        plan.next = request.offset;
        let mut entries = std::mem::take(&mut plan.entries);
        let examined = loop {
            if at >= end {
                break Ok(());
            }
            entries.clear();
            // Unfiltered, one round suffices.
            let round =
                usize::try_from(end - at).unwrap_or(usize::MAX).min(request.max_messages.clamp(8, 128) + 1);
            match queue.entries(QueueOffset(at), round, request.wait, &mut entries) {
                Ok(()) => {}
                Err(EntriesError::Gone) if at == start => {
                    plan.status = ReadStatus::OffsetFoundNull;
                    plan.next = QueueOffset(file_end);
                    break Ok(());
                }
                Err(EntriesError::Gone) => break Ok(()),
                Err(error) => break Err(ReadError::from(error)),
            }
            if entries.is_empty() {
                break Ok(());
            }
            let mut full = false;
            for entry in &entries {
                let from = position(entry.physical);
                let size = usize::try_from(entry.size).unwrap_or(0);
                if from >= log_end && !entry.is_blank() {
                    full = true;
                    break;
                }
                let in_memory = log_end - from.min(log_end) <= request.limits.memory_bytes;
                if is_full(request, plan, size, in_memory) {
                    full = true;
                    break;
                }
                last_examined = Some(from);
                let queue_offset = QueueOffset(at);
                at += 1;
                plan.next = QueueOffset(at);
                if skip_below.is_some_and(|below| from < below) {
                    continue;
                }
                if !request.filter.matches(entry.tag_code) {
                    if plan.records.is_empty() {
                        plan.status = ReadStatus::NoMatchedMessage;
                    }
                    continue;
                }
                if entry.is_blank() || from < log_start {
                    if plan.records.is_empty() {
                        plan.status = ReadStatus::MessageWasRemoving;
                    }
                    let size = self.log.segments.size();
                    skip_below = Some(from - from % size + size);
                    continue;
                }
                skip_below = None;
                plan.records.push(PlannedRecord { physical: entry.physical, size, queue_offset });
                plan.bytes += size;
                plan.status = ReadStatus::Found;
            }
            if full {
                break Ok(());
            }
        };
        plan.entries = entries;
        examined?;
        if let Some(from) = last_examined {
            plan.suggests_replica = log_end.saturating_sub(from) > request.limits.memory_bytes;
        } else if plan.status == ReadStatus::NoMatchedMessage {
            // Nothing may be read yet although the queue has it: as if it ended here.
            plan.status = ReadStatus::OffsetOverflowOne;
        }
        Ok(())
    }

    /// See [`crate::Store::copy`].
    pub(crate) fn copy(&self, plan: &Plan, wait: Wait, out: &mut Vec<u8>) -> Result<(), ReadError> {
        let start = out.len();
        let copied = self.copy_records(plan, wait, out);
        if copied.is_err() {
            out.truncate(start);
        }
        copied
    }

    fn copy_records(&self, plan: &Plan, wait: Wait, out: &mut Vec<u8>) -> Result<(), ReadError> {
        let mut rest = &plan.records[..];
        while let Some(first) = rest.first() {
            // Records that lie behind one another are one read.
            let from = position(first.physical);
            let mut end = from;
            let joined = rest
                .iter()
                .take_while(|record| {
                    let joins = position(record.physical) == end;
                    end += if joins { record.size as u64 } else { 0 };
                    joins
                })
                .count();
            let (range, later) = rest.split_at(joined);
            rest = later;
            let len = usize::try_from(end - from).unwrap_or(usize::MAX);
            if self.log.ring.read(from, len, out) {
                continue;
            }
            let at = out.len();
            match self.read_file(from, len, wait, out) {
                Ok(segment) => self.keep_valid(plan, range, &segment, at, out)?,
                Err(ReadError::NotFound(_)) if range.len() > 1 => {
                    // A damaged entry may reach beyond its file; its neighbours are read on their own.
                    for record in range {
                        let at = out.len();
                        let segment = self.read_file(position(record.physical), record.size, wait, out);
                        let segment = match segment {
                            Err(ReadError::NotFound(_)) if self.skips_corrupt() => {
                                self.count_skipped();
                                continue;
                            }
                            other => other?,
                        };
                        self.keep_valid(plan, std::slice::from_ref(record), &segment, at, out)?;
                    }
                }
                Err(ReadError::NotFound(_)) if self.skips_corrupt() => self.count_skipped(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Checks the records at `at` of `out`. A damaged one is an error, or left out if the configuration says so.
    fn keep_valid(
        &self,
        plan: &Plan,
        range: &[PlannedRecord],
        segment: &Segment,
        at: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let mut at = at;
        for planned in range {
            let verdict = check_record(&out[at..at + planned.size], planned, plan.queue.as_deref());
            match verdict {
                Ok(()) => at += planned.size,
                Err(reason) => {
                    let corrupt = self.report_corrupt(segment, planned.physical, reason);
                    if !self.skips_corrupt() {
                        return Err(corrupt.into());
                    }
                    self.count_skipped();
                    out.drain(at..at + planned.size);
                }
            }
        }
        Ok(())
    }

    fn report_corrupt(&self, segment: &Segment, at: PhysicalOffset, reason: String) -> CorruptRecord {
        self.counters.corrupt_records.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let corrupt = CorruptRecord {
            physical: at,
            path: segment.path().to_owned(),
            at: position(at) - segment.base,
            reason,
        };
        tracing::error!(%corrupt, "damaged record");
        corrupt
    }

    fn skips_corrupt(&self) -> bool {
        self.skip_corrupt_records.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn count_skipped(&self) {
        self.counters.skipped_records.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    /// Appends readable bytes to `out`, all of them or an error; they lie in one segment.
    pub(crate) fn read_bytes(
        &self,
        at: PhysicalOffset,
        len: usize,
        wait: Wait,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let from = position(at);
        if at.0 < 0 || from < self.log.min_position() || from.saturating_add(len as u64) > self.readable_end()
        {
            return Err(ReadError::NotFound(at));
        }
        if !self.log.ring.read(from, len, out) {
            self.read_file(from, len, wait, out)?;
        }
        Ok(())
    }

    /// Appends bytes of one segment to `out`: all of them or an error.
    fn read_file(
        &self,
        from: u64,
        len: usize,
        wait: Wait,
        out: &mut Vec<u8>,
    ) -> Result<Arc<Segment>, ReadError> {
        let missing = || ReadError::NotFound(physical(from));
        let segment = self.log.segments.find(from).ok_or_else(missing)?;
        if from + len as u64 > segment.end() {
            return Err(missing());
        }
        let io_error = |source| ReadError::Io { path: segment.path().to_owned(), source };
        let file = segment.file(&*self.disk).map_err(io_error)?;
        let start = out.len();
        let within = from - segment.base;
        out.resize(start + len, 0);
        let read = match file.read_cached_at(&mut out[start..], within).map_err(io_error)? {
            Some(read) => read,
            None if wait == Wait::Never => {
                out.truncate(start);
                return Err(ReadError::WouldBlock);
            }
            None => {
                segment.advise_before_cold_read(file, within, len as u64);
                let read = file.read_at(&mut out[start..], within).map_err(io_error)?;
                segment.advise_after_cold_read(file, within);
                read
            }
        };
        if read < len {
            out.truncate(start);
            return Err(io_error(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(segment)
    }

    /// See [`crate::Store::read_range`].
    pub(crate) fn read_range(
        &self,
        from: PhysicalOffset,
        max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let start = out.len();
        let mut at = position(from);
        let end = self.log.written().position.min(at.saturating_add(max as u64));
        if from.0 < 0 || at < self.log.min_position() {
            return Err(ReadError::NotFound(from));
        }
        while at < end {
            let segment_size = self.log.segments.size();
            let piece_end = end.min(at - at % segment_size + segment_size);
            let len = usize::try_from(piece_end - at).unwrap_or(usize::MAX);
            if !self.log.ring.read(at, len, out) {
                self.read_file(at, len, Wait::Allowed, out).inspect_err(|_| out.truncate(start))?;
            }
            at = piece_end;
        }
        Ok(())
    }

    /// See [`crate::Store::record_at`].
    pub(crate) fn record_at(
        &self,
        at: PhysicalOffset,
        wait: Wait,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let from = position(at);
        let end = self.readable_end();
        if at.0 < 0 || from < self.log.min_position() || from.saturating_add(PEEK_LEN as u64) > end {
            return Err(ReadError::NotFound(at));
        }
        let start = out.len();
        let found = self.record_between(from, end, wait, out);
        if found.is_err() {
            out.truncate(start);
        }
        found
    }

    fn record_between(&self, from: u64, end: u64, wait: Wait, out: &mut Vec<u8>) -> Result<(), ReadError> {
        let missing = || ReadError::NotFound(physical(from));
        let start = out.len();
        if !self.log.ring.read(from, PEEK_LEN, out) {
            self.read_file(from, PEEK_LEN, wait, out)?;
        }
        let peek = record::peek(&out[start..]).filter(|peek| peek.is_record()).ok_or_else(missing)?;
        out.truncate(start);
        let len = usize::try_from(peek.total_size).map_err(|_| missing())?;
        if from.saturating_add(len as u64) > end {
            return Err(missing());
        }
        let segment = if self.log.ring.read(from, len, out) {
            None
        } else {
            Some(self.read_file(from, len, wait, out)?)
        };
        // Any number may be asked for, so bytes that only look like a record are no damage.
        let record = record::decode(&out[start..]).map_err(|_| missing())?;
        if record.physical != physical(from) {
            return Err(missing());
        }
        match segment {
            Some(segment) if !record.body_crc_matches() => {
                Err(self.report_corrupt(&segment, physical(from), body_crc_text()).into())
            }
            _ => Ok(()),
        }
    }
}

fn body_crc_text() -> String {
    "the body does not have the checksum stored with it".to_owned()
}

/// Whether the bytes are the record that the queue's entry means.
fn check_record(bytes: &[u8], planned: &PlannedRecord, queue: Option<&Queue>) -> Result<(), String> {
    let record: Record<'_> = record::decode(bytes).map_err(|error| error.to_string())?;
    if record.bytes.len() != bytes.len() {
        return Err(format!("it has {} bytes, its queue entry says {}", record.bytes.len(), bytes.len()));
    }
    if record.physical != planned.physical {
        return Err(format!("it says that it lies at {}", record.physical));
    }
    if record.queue_offset != planned.queue_offset {
        return Err(format!(
            "it has queue offset {} instead of {}",
            record.queue_offset, planned.queue_offset
        ));
    }
    if let Some(queue) = queue
        && (record.topic != queue.topic() || record.queue_id != queue.id())
    {
        return Err(format!("it belongs to {}-{}", record.topic, record.queue_id));
    }
    if !record.body_crc_matches() {
        return Err(body_crc_text());
    }
    Ok(())
}
