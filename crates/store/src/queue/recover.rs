//! Queues at start: what the files hold, what of it to keep, and what a replay of the log adds.
//!
//! A start knows a position up to which queue entries are complete and synced (`keep_below`; everything after a clean
//! stop). Entries of records below it are kept as they are, those behind it are forgotten and come back from the log:
//! [`Queues::load`], then [`Queues::replay`] for every record from `keep_below` on, then [`Queues::finish_recovery`].
//! Stopping in between and starting over gives the same result, because the position does not move before the end.
//!
//! Java stops reading a queue at the first zero entry of a file and takes whatever it finds before it. We also look
//! whether the last entry kept points at a record of this queue, put blanks where the beginning of a queue's first file
//! was lost, and erase what lies behind the end, because nothing that was cut may come back.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ferromq_protocol::types::{PhysicalOffset, QueueId, QueueOffset};

use super::entry::{ENTRY_SIZE, Entry};
use super::files::remove_if_present;
use super::flush::FlushBuffer;
use super::{EntriesError, Lies, NO_FILE, PushError, Pushed, Queue, QueueError, Queues, Woken};
use crate::disk::{DirEntry, DiskFile, erase};

/// What the log says about the record an entry points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is a record of this queue with this offset.
    Confirmed,
    /// It is a record of this queue, with another offset.
    OtherOffset,
    /// There is no record, or it belongs to another queue.
    Denied,
    /// The log begins behind it.
    Removed,
}

impl Claim {
    /// The entry does not point at the record it should point at.
    pub(crate) fn is_wrong(self) -> bool {
        matches!(self, Self::Denied | Self::OtherOffset)
    }
}

/// Asks the log about an entry: topic, queue and offset that its record should have.
pub type Claims<'a> = &'a (dyn Fn(&Entry, &str, QueueId, QueueOffset) -> Claim + Sync);

/// How to load the queues.
pub struct Load<'a> {
    /// Entries of records at or behind this position are dropped; the caller replays them.
    pub keep_below: PhysicalOffset,
    /// The log, for checks.
    pub claims: Claims<'a>,
    /// Threads that scan; one makes the order of disk calls the same every time.
    pub threads: usize,
    /// Told (topics done, topics in all) now and then.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// Something recovery found in a queue that a clean stop does not leave behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueFinding {
    /// File it is about.
    pub path: PathBuf,
    /// First queue offset it is about.
    pub offset: QueueOffset,
    /// What it is.
    pub kind: QueueFault,
}

/// Kinds of [`QueueFinding`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueFault {
    /// A newest file without any bytes: the process died while creating it. Removed.
    #[error("the file is empty")]
    EmptyFile,
    /// A file made since the last checkpoint is missing. It comes back from the log, with what lay behind it.
    #[error("the file before this offset is missing")]
    FileMissing,
    /// The first file has zeros before its first message; they become blanks.
    #[error("{0} entries before the first message were not written")]
    BlanksMissing(i64),
    /// The entry points at no record of this queue. Cut off here, and what the log has from here on is put back.
    #[error("the entry points at {physical}, where the log has no record of this queue")]
    WrongRecord {
        /// Where it points.
        physical: PhysicalOffset,
    },
    /// Many entries in a row point at records of other offsets: the queue was shifted by a lost entry long ago. Left
    /// as it is; `ferromq store repair` rebuilds it.
    #[error("entries point at records with other offsets, for as far back as was looked")]
    Shifted,
    /// Records with these offsets are not in the log any more or were lost: filled with blanks.
    #[error("{0} entries before this one are missing")]
    Gap(i64),
    /// A record claims an offset that the queue gave to an earlier record. Not entered.
    #[error("the record at {physical} claims an offset in use")]
    Taken {
        /// The record.
        physical: PhysicalOffset,
    },
    /// A record claims an offset absurdly far ahead. Not entered.
    #[error("the record at {physical} claims an offset far ahead")]
    FarAhead {
        /// The record.
        physical: PhysicalOffset,
    },
    /// A record with offset 0 follows others: the topic was deleted and created anew. The older entries go.
    #[error("the queue was created anew by the record at {physical}")]
    Restarted {
        /// The record.
        physical: PhysicalOffset,
    },
    /// Files of a deleted topic that a crash left behind. Removed.
    #[error("the topic was deleted")]
    Deleted,
}

/// What [`Queues::load`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Queues in the table.
    pub queues: u64,
    /// End of the last record that any kept entry points at: Java's starting point after a clean stop.
    pub end_physical: PhysicalOffset,
    /// Where the replay has to start for the sake of queues that lost entries below `keep_below`.
    pub replay_from: Option<PhysicalOffset>,
    /// What was not in order.
    pub findings: Vec<QueueFinding>,
}

impl Loaded {
    fn merge(&mut self, other: Self) {
        self.queues += other.queues;
        self.end_physical = self.end_physical.max(other.end_physical);
        self.need_replay_from(other.replay_from);
        self.findings.extend(other.findings);
    }

    fn need_replay_from(&mut self, from: Option<PhysicalOffset>) {
        self.replay_from = match (self.replay_from, from) {
            (Some(mine), Some(other)) => Some(mine.min(other)),
            (mine, other) => mine.or(other),
        };
    }
}

/// What [`Queues::replay`] met.
#[derive(Default)]
pub struct Replayed {
    /// Entries added.
    pub entries: u64,
    /// Gaps that were filled with blanks. Look for their records in the log from `after` on and give them to
    /// [`Queues::fill_gap`].
    pub gaps: Vec<Gap>,
    /// What was not in order.
    pub findings: Vec<QueueFinding>,
    woken: Woken,
}

/// Missing entries of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Topic of the queue.
    pub topic: String,
    /// Number of the queue.
    pub queue: QueueId,
    /// First missing offset.
    pub from: QueueOffset,
    /// Offset behind the gap.
    pub to: QueueOffset,
    /// Their records lie at or behind this position.
    pub after: PhysicalOffset,
}

/// How many entries are checked against the log, from the end of a queue backwards, before giving up.
const CLAIMS_MAX: i64 = 1_000;
/// Bytes of the first read of a file, and of those that follow.
const FIRST_CHUNK: usize = 4_096;
const CHUNK: usize = 3_000 * ENTRY_SIZE;
/// Topics of queues that list messages of other topics (`%LMQ%…`).
const MULTI_DISPATCH_PREFIX: &str = "%LMQ%";

/// Where a queue stands according to its files.
pub(super) struct Placed {
    pub(super) first_file: u32,
    pub(super) min: QueueOffset,
    pub(super) max: QueueOffset,
    pub(super) min_lies: Lies,
    pub(super) end_physical: PhysicalOffset,
}

impl Queues {
    /// Finds all queues on disk. The table must be empty but for what a side file brought.
    ///
    /// # Errors
    /// A file that cannot be read or that no broker of this configuration wrote; Java would not start either.
    pub fn load(&self, load: &Load<'_>) -> Result<Loaded, EntriesError> {
        let topics = self.list_dir(&self.files.dir)?;
        let total = topics.len() as u64;
        let done = AtomicU64::new(0);
        let scan = |topics: &[DirEntry]| {
            let mut loaded = Loaded::default();
            let mut buffer = Vec::new();
            for topic in topics.iter().filter(|entry| entry.is_dir) {
                self.load_topic(&topic.name, load, &mut buffer, &mut loaded)?;
                let count = done.fetch_add(1, Ordering::Relaxed) + 1;
                if count.is_multiple_of(1_000) {
                    (load.progress)(count, total);
                }
            }
            Ok(loaded)
        };
        let threads = load.threads.clamp(1, topics.len().div_ceil(64).max(1));
        if threads == 1 {
            return scan(&topics);
        }
        let mut loaded = Loaded::default();
        let results: Vec<Result<Loaded, EntriesError>> = std::thread::scope(|scope| {
            let parts: Vec<_> = topics
                .chunks(topics.len().div_ceil(threads))
                .map(|part| scope.spawn(|| scan(part)))
                .collect();
            let panicked = |payload| std::panic::resume_unwind(payload);
            parts.into_iter().map(|part| part.join().unwrap_or_else(panicked)).collect()
        });
        for result in results {
            loaded.merge(result?);
        }
        Ok(loaded)
    }

    fn list_dir(&self, dir: &Path) -> Result<Vec<DirEntry>, QueueError> {
        let mut entries = self.files.disk.list(dir).map_err(QueueError::io("list", dir))?;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn load_topic(
        &self,
        topic: &str,
        load: &Load<'_>,
        buffer: &mut Vec<u8>,
        loaded: &mut Loaded,
    ) -> Result<(), EntriesError> {
        // The replay does not know the entries of these; they stay as they are.
        let keep_below = match topic.starts_with(MULTI_DISPATCH_PREFIX) {
            true => PhysicalOffset(i64::MAX),
            false => load.keep_below,
        };
        // Java skips directories whose name is no number.
        let ids = self.list_dir(&self.files.dir.join(topic))?;
        let dead_before = self.deletions.before(topic);
        for id in ids.iter().filter(|entry| entry.is_dir).filter_map(|entry| entry.name.parse().ok()) {
            let queue = self.get(topic, QueueId(id));
            let names = self.list_dir(&self.files.queue_dir(topic, QueueId(id)))?;
            let scan = Scan { queue: &queue, load, keep_below, dead_before, buffer, loaded };
            let leftovers = scan.run(&names)?;
            let end = queue.end_physical();
            if self.deletions.covers(topic, PhysicalOffset(end.0 - 1)) {
                self.finish_deletion(&queue)?;
                if !names.is_empty() {
                    let path = self.files.queue_dir(topic, QueueId(id));
                    let kind = QueueFault::Deleted;
                    loaded.findings.push(QueueFinding { path, offset: QueueOffset(0), kind });
                }
                continue;
            }
            if let Some(end) = leftovers {
                self.leftovers.lock().push((Arc::clone(&queue), end));
            }
            loaded.queues += 1;
            loaded.end_physical = loaded.end_physical.max(end);
        }
        Ok(())
    }

    /// Removes what a deletion left of a queue that was interrupted.
    pub(super) fn finish_deletion(&self, queue: &Arc<Queue>) -> Result<(), QueueError> {
        if self.files.is_writable() {
            queue.reset()?;
            self.files.remove_dir(&self.files.queue_dir(queue.topic(), queue.id()))?;
        }
        self.forget_queue(queue);
        Ok(())
    }

    /// After a crash: files may have names that the run before did not come to sync, and nobody will create them again.
    /// Until the next [`Queues::sync`], the directories of every queue that is written to are synced as well.
    ///
    /// # Errors
    /// The list of deleted topics, whose last line may not be on the disk either, cannot be written again.
    pub fn distrust_names(&self) -> Result<(), QueueError> {
        self.files.names_distrusted.store(true, Ordering::Release);
        self.deletions.renew()
    }

    /// The log was cut at `end`: deletions of topics that were noted behind it concern nothing that is written from here
    /// on. To be called before anything is.
    ///
    /// # Errors
    /// The list of deletions cannot be written.
    pub fn limit_deletions(&self, end: PhysicalOffset) -> Result<(), QueueError> {
        self.deletions.limit(end)
    }

    /// Whether a record, next in a replay, claims an offset that another record of its queue has. The places of records
    /// are given out in order, so a record of this program cannot; a torn one can. Of a queue whose messages all lie
    /// before `log_start` nobody knows whether its entries are torn themselves, so that says nothing.
    #[must_use]
    pub fn is_taken(
        &self,
        topic: &str,
        id: QueueId,
        offset: QueueOffset,
        physical: PhysicalOffset,
        log_start: PhysicalOffset,
    ) -> bool {
        if self.deletions.covers(topic, physical) {
            return false;
        }
        self.find(topic, id).is_some_and(|queue| {
            let end = queue.end_physical();
            offset < queue.max_offset() && end > log_start && physical >= end
        })
    }

    /// Enters the record of a replay. Records must come in log order, starting at or before `keep_below`; those whose
    /// entry is there already, and those of deleted topics, are passed over.
    ///
    /// # Errors
    /// A queue that is created anew cannot be cleared.
    pub fn replay(
        &self,
        topic: &str,
        id: QueueId,
        offset: QueueOffset,
        entry: Entry,
        replayed: &mut Replayed,
    ) -> Result<(), QueueError> {
        if self.deletions.covers(topic, entry.physical) || self.is_batch_topic(topic) {
            return Ok(());
        }
        let queue = self.get(topic, id);
        let after = queue.end_physical();
        let finding =
            |kind| QueueFinding { path: self.files.path(&queue, queue.place(offset.0).0), offset, kind };
        let physical = entry.physical;
        match queue.push(offset, entry, &mut replayed.woken) {
            Ok(Pushed::Appended) => replayed.entries += 1,
            Ok(Pushed::AfterGap(missing)) => {
                replayed.entries += 1;
                replayed.findings.push(finding(QueueFault::Gap(missing)));
                replayed.gaps.push(Gap {
                    topic: topic.to_owned(),
                    queue: id,
                    from: QueueOffset(offset.0 - missing),
                    to: offset,
                    after,
                });
            }
            Ok(Pushed::Known | Pushed::Deleted) => {}
            Err(PushError::Taken { .. }) if offset.0 == 0 => {
                replayed.findings.push(finding(QueueFault::Restarted { physical }));
                if self.files.is_writable() {
                    queue.reset()?;
                } else {
                    queue.clear();
                }
                if queue.push(offset, entry, &mut replayed.woken).is_ok() {
                    replayed.entries += 1;
                }
            }
            Err(PushError::Taken { .. }) => {
                replayed.findings.push(finding(QueueFault::Taken { physical }));
            }
            Err(PushError::FarAhead { .. }) => {
                replayed.findings.push(finding(QueueFault::FarAhead { physical }));
            }
        }
        queue.set_next_offset(queue.max_offset());
        Ok(())
    }

    /// Puts a record into a gap that [`Queues::replay`] filled with blanks. `false` if there is no blank in its place.
    ///
    /// # Errors
    /// The entry cannot be read or written.
    pub fn fill_gap(
        &self,
        topic: &str,
        id: QueueId,
        offset: QueueOffset,
        entry: Entry,
    ) -> Result<bool, EntriesError> {
        let Some(queue) = self.find(topic, id) else { return Ok(false) };
        if self.deletions.covers(topic, entry.physical) || !queue.entry(offset)?.is_some_and(|e| e.is_blank())
        {
            return Ok(false);
        }
        // In a file, not in memory: one place to write to.
        queue.flush(&mut FlushBuffer::default())?;
        let (number, index) = queue.place(offset.0);
        let file = self.files.open(&queue, number)?;
        let at = u64::try_from(index).unwrap_or(0) * ENTRY_SIZE as u64;
        self.files.write(&queue, number, &file, &entry.encode(), at)?;
        Ok(true)
    }

    /// Erases what lies in queue files behind the end of their queues, now that the replay has put back what belongs
    /// there. Afterwards the queues can be used.
    ///
    /// # Errors
    /// A file that cannot be erased.
    pub fn finish_recovery(&self) -> Result<(), QueueError> {
        let leftovers = std::mem::take(&mut *self.leftovers.lock());
        for (queue, end) in &leftovers {
            // Most got back from the log exactly what they had.
            let starts_elsewhere = queue.place(queue.min_offset().0).0 > 0;
            if queue.max_offset().0 < *end || (queue.has_no_file() && starts_elsewhere) {
                queue.erase_behind_end()?;
            }
        }
        Ok(())
    }

    /// Drops every entry whose record lies at or behind `end`, in memory and on disk: the log was cut there. The next
    /// offset of a queue follows its new maximum. Nobody may append meanwhile.
    ///
    /// # Errors
    /// A queue that cannot be read or erased; call again.
    pub fn truncate(&self, end: PhysicalOffset) -> Result<(), EntriesError> {
        self.distrust_table()?;
        for queue in self.all() {
            let _turn = self.turn.lock();
            queue.truncate(end)?;
        }
        Ok(())
    }
}

impl Queue {
    /// Takes over what was found on disk.
    pub(super) fn place_at(&self, placed: &Placed) {
        let mut tail = self.tail.lock();
        tail.first_file = placed.first_file;
        tail.min_lies = placed.min_lies;
        tail.end_physical = placed.end_physical;
        self.min.store(placed.min.0, Ordering::Release);
        self.max.store(placed.max.0, Ordering::Release);
        self.set_next_offset(placed.max);
    }

    /// Ends the queue, which has nothing in memory, at `max` with this last message.
    fn set_end(&self, max: QueueOffset, last: Option<Entry>) {
        let mut tail = self.tail.lock();
        tail.end_physical = last.map_or(PhysicalOffset(0), |entry| entry.end());
        if self.min.fetch_min(max.0, Ordering::AcqRel) >= max.0 {
            tail.min_lies = Lies::NOWHERE;
        }
        self.max.store(max.0, Ordering::Release);
        self.set_next_offset(max);
    }

    fn truncate(self: &Arc<Self>, end: PhysicalOffset) -> Result<(), EntriesError> {
        if self.end_physical() <= end {
            self.set_next_offset(self.max_offset());
            return Ok(());
        }
        let (min, max) = (self.min_offset(), self.max_offset());
        // A cut below the minimum takes all of them.
        let cut = self.first_at_or_after(end, min, max)?.map_or(max, |(offset, _)| offset);
        let last = self.last_message(QueueOffset(0), cut)?;
        {
            let mut tail = self.tail.lock();
            let written = max.0 - tail.pending_len();
            tail.heat().pending.truncate(usize::try_from(cut.0 - written).unwrap_or(0));
            tail.end_physical = last.map_or(PhysicalOffset(0), |(_, entry)| entry.end());
            if cut.0 <= min.0 {
                tail.min_lies = Lies::NOWHERE;
            }
            self.max.store(cut.0, Ordering::Release);
            self.min.fetch_min(cut.0, Ordering::AcqRel);
            tail.release_if_idle();
        }
        self.set_next_offset(cut);
        self.erase_behind_end()?;
        Ok(())
    }

    /// The last entry in `[from, to)` that is no blank, looking back over the files that exist.
    fn last_message(
        &self,
        from: QueueOffset,
        to: QueueOffset,
    ) -> Result<Option<(QueueOffset, Entry)>, EntriesError> {
        let mut entries = Vec::new();
        let mut end = to.0;
        let mut want = 1;
        while end > from.0 {
            let start = (end - want).max(from.0);
            entries.clear();
            let count = usize::try_from(end - start).unwrap_or(0);
            match self.entries(QueueOffset(start), count, super::Wait::Allowed, &mut entries) {
                Err(EntriesError::Gone) if want == 1 => return Ok(None),
                Err(EntriesError::Gone) => {
                    // Part of the range is before the first file: go on one by one.
                    want = 1;
                    continue;
                }
                result => result?,
            }
            if let Some(i) = entries.iter().rposition(Entry::is_message) {
                let offset = start + i64::try_from(i).unwrap_or(0);
                return Ok(Some((QueueOffset(offset), entries[i])));
            }
            end = start;
            want = if want == 1 { 256 } else { want };
        }
        Ok(None)
    }

    /// Whether nothing of the queue is in a file, as far as is known.
    fn has_no_file(&self) -> bool {
        self.tail.lock().first_file == NO_FILE
    }

    /// Forgets all entries and starts at offset 0.
    fn clear(&self) {
        let mut tail = self.tail.lock();
        if let Some(hot) = tail.hot.as_mut() {
            hot.pending.clear();
        }
        tail.release_if_idle();
        tail.first_file = NO_FILE;
        tail.end_physical = PhysicalOffset(0);
        tail.min_lies = Lies::NOWHERE;
        self.max.store(0, Ordering::Release);
        self.min.store(0, Ordering::Release);
    }

    /// [`Queue::clear`], and removes all files.
    fn reset(&self) -> Result<(), QueueError> {
        self.clear();
        let files = self.files();
        let dir = files.queue_dir(self.topic(), self.id());
        // The newest first: a crash leaves files that follow each other.
        let mut names = files.disk.list(&dir).map_err(QueueError::io("list", &dir))?;
        names.sort_unstable_by(|a, b| b.name.cmp(&a.name));
        for number in names.iter().filter_map(|entry| files.number_of(&entry.name)) {
            files.remove(self, number)?;
        }
        Ok(())
    }

    /// Makes everything on disk behind the last entry zero: the rest of its file, and no file after it.
    fn erase_behind_end(self: &Arc<Self>) -> Result<(), QueueError> {
        let files = self.files();
        let dir = files.queue_dir(self.topic(), self.id());
        let max = self.max_offset().0;
        let (end_file, end_index) = self.place(max);
        let begin_file = if self.has_no_file() { self.place(self.min_offset().0).0 } else { 0 };
        let mut kept = false;
        for entry in files.disk.list(&dir).map_err(QueueError::io("list", &dir))? {
            let Some(number) = files.number_of(&entry.name) else { continue };
            if number < begin_file || number > end_file || (number == end_file && end_index == 0) {
                files.remove(self, number)?;
                continue;
            }
            kept = true;
            if number == end_file {
                let file = files.open(self, number)?;
                let from = u64::try_from(end_index).unwrap_or(0) * ENTRY_SIZE as u64;
                let io = |error| QueueError::io("erase", &files.path(self, number))(error);
                if erase(file.as_ref(), from, files.file_size).map_err(io)? > 0 {
                    files.mark_unsynced(self, number);
                }
            }
        }
        if !kept {
            self.tail.lock().first_file = NO_FILE;
        }
        Ok(())
    }
}

/// The bytes in a range that are not zero: position of the first and behind the last.
#[derive(Clone, Copy)]
struct Data {
    first: u64,
    end: u64,
}

impl Data {
    fn of(bytes: &[u8], at: u64) -> Option<Self> {
        let first = bytes.iter().position(|byte| *byte != 0)?;
        let last = bytes.iter().rposition(|byte| *byte != 0)?;
        Some(Self { first: at + first as u64, end: at + last as u64 + 1 })
    }

    /// Looks through a range of a file without reading its holes.
    fn find(file: &dyn DiskFile, from: u64, to: u64, buffer: &mut Vec<u8>) -> io::Result<Option<Self>> {
        let mut found: Option<Self> = None;
        let mut at = from;
        while let Some(data) = file.next_data(at)?.filter(|data| *data < to) {
            at = data.max(at);
            buffer.resize(usize::try_from(to - at).unwrap_or(CHUNK).min(CHUNK), 0);
            let read = file.read_at(buffer, at)?;
            if read == 0 {
                break;
            }
            found = Self::join(found, Self::of(&buffer[..read], at));
            at += read as u64;
        }
        Ok(found)
    }

    fn join(before: Option<Self>, after: Option<Self>) -> Option<Self> {
        match (before, after) {
            (Some(before), Some(after)) => Some(Self { end: after.end, ..before }),
            (before, after) => before.or(after),
        }
    }
}

/// Reads the files of one queue and puts into it what is to be kept.
struct Scan<'a, 'b> {
    queue: &'a Arc<Queue>,
    load: &'a Load<'b>,
    keep_below: PhysicalOffset,
    /// Entries of records before this position belong to an earlier topic of this name, whose files a power cut may
    /// have brought back.
    dead_before: PhysicalOffset,
    buffer: &'a mut Vec<u8>,
    loaded: &'a mut Loaded,
}

/// What one file holds.
#[derive(Default)]
struct FileScan {
    /// Entries kept.
    count: i64,
    /// The first kept entry that is no blank, with its index.
    first: Option<(i64, Entry)>,
    /// What lies behind the kept entries.
    leftovers: Option<Data>,
}

impl Scan<'_, '_> {
    /// Where something ends that lies behind the end of the queue, if anything does.
    fn run(mut self, names: &[DirEntry]) -> Result<Option<i64>, EntriesError> {
        let files = self.queue.files();
        let numbers = self.numbers(names)?;
        let Some(&newest) = numbers.last() else { return Ok(None) };
        let (first_file, last_file) = self.files_without_gap(&numbers)?;

        // The newest file that begins with something to keep; those before it are full. A torn entry may look like
        // something to keep while the file before it lost what was written there, so the log is asked.
        let mut number = last_file;
        while number > first_file && !self.begins_with_kept(number)? {
            number -= 1;
        }
        let scan = self.scan_file(number, 0, number == first_file)?;
        let per_file = files.entries_per_file();
        let max = i64::from(number) * per_file + scan.count;
        let behind = match scan.leftovers {
            _ if number < newest => Some(i64::MAX),
            Some(data) => {
                let end = i64::try_from(data.end.div_ceil(ENTRY_SIZE as u64)).unwrap_or(i64::MAX);
                Some(i64::from(number) * per_file + end)
            }
            None => None,
        };
        if scan.count == 0 && number == first_file {
            // Nothing to keep: the queue begins where its next record says, maybe in another file.
            return Ok(behind.or(Some(i64::MAX)));
        }
        let start = i64::from(first_file) * per_file;
        let (min, min_lies) = match scan.first {
            Some((index, entry)) if number == first_file => (start + index, Lies::at(entry.physical)),
            None if number == first_file => (max, Lies::NOWHERE),
            _ => (start, Lies::UNKNOWN),
        };
        self.queue.place_at(&Placed {
            first_file,
            min: QueueOffset(min),
            max: QueueOffset(max),
            min_lies,
            end_physical: PhysicalOffset(0),
        });
        let kept = self.drop_wrong_records(QueueOffset(start), QueueOffset(max))?;
        Ok(if kept.0 < max { Some(i64::MAX) } else { behind })
    }

    /// The first and the last of the files that belong together. A power cut may have kept the name of a file and lost
    /// that of the one before it: of files made since the last checkpoint, whose entries come back from the log, and of
    /// files that retention had removed, in front of those that count.
    fn files_without_gap(&mut self, numbers: &[u32]) -> Result<(u32, u32), QueueError> {
        let files = self.queue.files();
        let mut rest = numbers;
        loop {
            let first = rest.first().copied().unwrap_or(0);
            let together = (first..).zip(rest).take_while(|(expected, number)| expected == *number).count();
            let (run, behind) = rest.split_at(together);
            let last = run.last().copied().unwrap_or(first);
            let Some(next) = behind.first() else { return Ok((first, last)) };
            let offset = i64::from(*next) * files.entries_per_file();
            self.finding(last + 1, offset, QueueFault::FileMissing);
            let mut counts = false;
            for number in behind {
                counts |= self.begins_with_kept(*number)?;
            }
            if !counts {
                return Ok((first, last));
            }
            let end = i64::from(last + 1) * files.entries_per_file() - 1;
            if self.claim(&self.entry_of(last, files.entries_per_file() - 1)?, end) != Claim::Removed {
                return Err(QueueError::Missing { path: files.path(self.queue, last + 1) });
            }
            if files.is_writable() {
                for number in run {
                    files.remove(self.queue, *number)?;
                }
            }
            rest = behind;
        }
    }

    /// The numbers of the queue's files, in order.
    fn numbers(&mut self, names: &[DirEntry]) -> Result<Vec<u32>, QueueError> {
        let files = self.queue.files();
        let dir = files.queue_dir(self.queue.topic(), self.queue.id());
        let mut numbers: Vec<u32> = Vec::with_capacity(1);
        let mut names = names.iter().filter(|entry| !entry.is_dir).peekable();
        while let Some(entry) = names.next() {
            let path = dir.join(&entry.name);
            if entry.len == 0 && names.peek().is_none() {
                if files.is_writable() {
                    remove_if_present(files.disk.as_ref(), &path)?;
                }
                self.loaded.findings.push(QueueFinding {
                    path,
                    offset: QueueOffset(0),
                    kind: QueueFault::EmptyFile,
                });
                break;
            }
            let number = files.number_of(&entry.name).ok_or(QueueError::Foreign { path: path.clone() })?;
            if entry.len != files.file_size {
                return Err(QueueError::Length { path, found: entry.len, expected: files.file_size });
            }
            numbers.push(number);
        }
        Ok(numbers)
    }

    fn keeps(&self, entry: &Entry) -> bool {
        entry.is_blank()
            || (entry.is_message() && (self.dead_before..self.keep_below).contains(&entry.physical))
    }

    fn begins_with_kept(&self, number: u32) -> Result<bool, QueueError> {
        let entry = self.entry_of(number, 0)?;
        if !self.keeps(&entry) {
            return Ok(false);
        }
        if entry.is_blank() {
            return self.blanks_lead_to_kept(number);
        }
        if self.lists_foreign_records() {
            return Ok(true);
        }
        let per_file = self.queue.files().entries_per_file();
        Ok(match self.claim(&entry, i64::from(number) * per_file) {
            Claim::Confirmed | Claim::OtherOffset => true,
            Claim::Denied => false,
            // A torn entry may point anywhere in front of the log. Then it does not follow those before it.
            Claim::Removed => match self.all_before(number.saturating_sub(1), &entry) {
                Ok(follows) => follows,
                Err(error) if error.is_not_found() => self.has_living(number)?,
                Err(error) => return Err(error),
            },
        })
    }

    /// Blanks say nothing about when they were written. Only if the message that they lead to is to be kept were they, and
    /// the file before them, on the disk as well.
    fn blanks_lead_to_kept(&self, number: u32) -> Result<bool, QueueError> {
        for number in number.. {
            match self.find_entry(number, |entry| !entry.is_blank()) {
                Ok(Some(entry)) => return Ok(self.keeps(&entry)),
                Ok(None) => {}
                Err(error) if error.is_not_found() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Whether a file is full of entries to keep whose records lie before that of `next`.
    fn all_before(&self, number: u32, next: &Entry) -> Result<bool, QueueError> {
        let precedes =
            |entry: &Entry| self.keeps(entry) && (entry.is_blank() || entry.physical < next.physical);
        Ok(self.find_entry(number, |entry| !precedes(entry))?.is_none())
    }

    /// The first entry of a file that is like this.
    fn find_entry(&self, number: u32, like: impl Fn(&Entry) -> bool) -> Result<Option<Entry>, QueueError> {
        let files = self.queue.files();
        let file = files.open(self.queue, number)?;
        let mut bytes = vec![0; CHUNK];
        let mut at = 0;
        while at < files.file_size {
            let io = |error| QueueError::io("read", &files.path(self.queue, number))(error);
            let read = file.read_at(&mut bytes, at).map_err(io)? / ENTRY_SIZE * ENTRY_SIZE;
            let mut entries = bytes[..read].as_chunks::<ENTRY_SIZE>().0.iter().map(Entry::decode);
            if let Some(entry) = entries.find(&like) {
                return Ok(Some(entry));
            }
            if read == 0 {
                break;
            }
            at += read as u64;
        }
        Ok(None)
    }

    /// Whether any entry to keep in a file points at its record. Not only the last: it may be torn.
    fn has_living(&self, number: u32) -> Result<bool, QueueError> {
        let per_file = self.queue.files().entries_per_file();
        for index in 0..per_file {
            let entry = self.entry_of(number, index)?;
            if !self.keeps(&entry) {
                break;
            }
            if self.claim(&entry, i64::from(number) * per_file + index) == Claim::Confirmed {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Queues with this prefix list messages of other topics.
    fn lists_foreign_records(&self) -> bool {
        self.queue.topic().starts_with(MULTI_DISPATCH_PREFIX)
    }

    fn entry_of(&self, number: u32, index: i64) -> Result<Entry, QueueError> {
        let files = self.queue.files();
        let mut bytes = [0; ENTRY_SIZE];
        files
            .open(self.queue, number)?
            .read_at(&mut bytes, u64::try_from(index).unwrap_or(0) * ENTRY_SIZE as u64)
            .map_err(|error| QueueError::io("read", &files.path(self.queue, number))(error))?;
        Ok(Entry::decode(&bytes))
    }

    fn claim(&self, entry: &Entry, offset: i64) -> Claim {
        (self.load.claims)(entry, self.queue.topic(), self.queue.id(), QueueOffset(offset))
    }

    fn finding(&mut self, number: u32, offset: i64, kind: QueueFault) {
        let path = self.queue.files().path(self.queue, number);
        self.loaded.findings.push(QueueFinding { path, offset: QueueOffset(offset), kind });
    }

    /// Scans a file from an index on; what is before it counts as blank.
    fn scan_file(&mut self, number: u32, from: i64, is_first: bool) -> Result<FileScan, QueueError> {
        let files = self.queue.files();
        let file = files.open(self.queue, number)?;
        let io = |error| QueueError::io("read", &files.path(self.queue, number))(error);
        let base = i64::from(number) * files.entries_per_file();
        let mut scan = FileScan { count: from, ..FileScan::default() };
        let mut end = PhysicalOffset(0);
        let mut at = u64::try_from(from).unwrap_or(0) * ENTRY_SIZE as u64;
        let mut read = 0;
        'file: while at < files.file_size {
            self.buffer.resize(if at == 0 { FIRST_CHUNK } else { CHUNK }, 0);
            read = file.read_at(self.buffer, at).map_err(io)?;
            if read < ENTRY_SIZE {
                break;
            }
            for raw in self.buffer[..read].as_chunks::<ENTRY_SIZE>().0 {
                let entry = Entry::decode(raw);
                if !self.keeps(&entry) {
                    break 'file;
                }
                if entry.is_message() {
                    if entry.physical < end
                        && (self.load.claims)(
                            &entry,
                            self.queue.topic(),
                            self.queue.id(),
                            QueueOffset(base + scan.count),
                        ) != Claim::Confirmed
                    {
                        // Torn, or left behind by a truncation that did not erase: the queue ended before it.
                        break 'file;
                    }
                    end = entry.end();
                    scan.first = scan.first.or(Some((scan.count, entry)));
                }
                scan.count += 1;
            }
            at += (read / ENTRY_SIZE * ENTRY_SIZE) as u64;
            read = 0;
        }
        let behind = u64::try_from(scan.count).unwrap_or(0) * ENTRY_SIZE as u64;
        let in_buffer = behind.checked_sub(at).and_then(|index| usize::try_from(index).ok());
        let near = in_buffer.and_then(|index| Data::of(self.buffer[..read].get(index..)?, behind));
        let far = Data::find(file.as_ref(), (at + read as u64).max(behind), files.file_size, self.buffer);
        scan.leftovers = Data::join(near, far.map_err(io)?);
        if let Some(data) = scan.leftovers
            && is_first
            && scan.count == 0
            && data.first > 0
        {
            self.restore_blanks(number, &file, data.first / ENTRY_SIZE as u64, &mut scan)?;
        }
        Ok(scan)
    }

    /// A queue that began in the middle of its first file has lost the blanks before its first message. If that is
    /// really one, they are put back; else nothing in this file counts.
    fn restore_blanks(
        &mut self,
        number: u32,
        file: &Arc<dyn DiskFile>,
        index: u64,
        scan: &mut FileScan,
    ) -> Result<(), QueueError> {
        let files = self.queue.files();
        let mut bytes = [0; ENTRY_SIZE];
        file.read_at(&mut bytes, index * ENTRY_SIZE as u64)
            .map_err(|error| QueueError::io("read", &files.path(self.queue, number))(error))?;
        let entry = Entry::decode(&bytes);
        let index = i64::try_from(index).unwrap_or(0);
        let base = i64::from(number) * files.entries_per_file();
        if !entry.is_message() || !self.keeps(&entry) || self.claim(&entry, base + index) != Claim::Confirmed
        {
            return Ok(());
        }
        self.finding(number, base, QueueFault::BlanksMissing(index));
        if files.is_writable() {
            self.queue.fill_before_first(number, file, index)?;
        }
        *scan = self.scan_file(number, index, false)?;
        Ok(())
    }

    /// Cuts entries off the end that point at records of others. Where the queue ends then.
    fn drop_wrong_records(
        &mut self,
        start: QueueOffset,
        max: QueueOffset,
    ) -> Result<QueueOffset, EntriesError> {
        let foreign_records = self.lists_foreign_records();
        let mut wrong: Option<(QueueOffset, Entry)> = None;
        let mut left = CLAIMS_MAX;
        let last = loop {
            let end = wrong.map_or(max, |(offset, _)| offset);
            let Some((offset, entry)) = self.queue.last_message(start, end)? else { break None };
            if foreign_records || !self.claim(&entry, offset.0).is_wrong() {
                break Some(entry);
            }
            wrong = Some((offset, entry));
            left -= 1;
            if left == 0 {
                self.finding(self.queue.place(end.0).0, end.0, QueueFault::Shifted);
                let last = self.queue.last_message(start, max)?;
                self.queue.set_end(max, last.map(|(_, entry)| entry));
                return Ok(max);
            }
        };
        let end = wrong.map_or(max, |(offset, _)| offset);
        self.queue.set_end(end, last);
        if let Some((offset, entry)) = wrong {
            let kind = QueueFault::WrongRecord { physical: entry.physical };
            self.finding(self.queue.place(offset.0).0, offset.0, kind);
            self.loaded.need_replay_from(Some(last.map_or(PhysicalOffset(0), |last| last.end())));
        }
        Ok(end)
    }
}

#[cfg(test)]
mod tests;
