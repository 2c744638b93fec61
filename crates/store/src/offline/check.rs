//! What is wrong with a store, and what the next start would do about it. Changes nothing.
//!
//! Reads the whole log and holds every record against its queue, every queue entry against the log, and every index file
//! against itself.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use ferromq_protocol::record::Record;
use ferromq_protocol::types::{PhysicalOffset, QueueId, QueueOffset, TimestampMs};
use serde::Serialize;

use super::{ANY_RECORD, OfflineError, Progress, Sizes, StoreFiles, io_error};
use crate::checkpoint::StoreCheckpoint;
use crate::disk::Access;
use crate::dispatch;
use crate::index::{IndexError, survey};
use crate::layout::{physical, position};
use crate::log::scan::{End, ScanRules, Scanned};
use crate::queue::{ENTRY_SIZE, EntriesError, Entry, Load, Queue, QueueFault, Queues, Wait};
use crate::recover::queue_entry;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// As it is after a kill or while nothing was sent yet.
    Note,
    /// The next start mends it.
    Mended,
    /// A start goes on with it, but messages are not where they should be. `repair` rebuilds what can be rebuilt.
    Wrong,
    /// The store does not start like this.
    Refused,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// In which file.
    pub file: PathBuf,
    /// Where in the file.
    pub byte: Option<u64>,
    /// What it is.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Note => "note",
            Severity::Mended => "mended by the next start",
            Severity::Wrong => "wrong",
            Severity::Refused => "start refused",
        };
        write!(f, "{severity}: {}", self.file.display())?;
        if let Some(byte) = self.byte {
            write!(f, " at byte {byte}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// The log.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LogSummary {
    /// First position.
    pub start: u64,
    /// Position behind the last record that counts.
    pub end: u64,
    /// Why it ends there.
    pub ends_because: String,
    /// Files.
    pub files: usize,
    /// Records.
    pub records: u64,
    /// Store time of the first record.
    pub first_time: Option<i64>,
    /// Store time of the last record.
    pub last_time: Option<i64>,
}

/// The queues.
#[derive(Clone, Debug, Default, Serialize)]
pub struct QueueSummary {
    /// Topics.
    pub topics: usize,
    /// Queues.
    pub queues: usize,
    /// Entries of messages that are still in the log.
    pub entries: u64,
    /// Entries that the log has and the queues lack.
    pub missing: u64,
}

/// The index.
#[derive(Clone, Debug, Default, Serialize)]
pub struct IndexSummary {
    /// Files.
    pub files: usize,
    /// Keys.
    pub entries: u64,
    /// Position of the last message in it.
    pub last_physical: Option<i64>,
}

/// The checkpoint.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct CheckpointSummary {
    /// Store time up to which the log is durable.
    pub log_time: i64,
    /// Store time up to which queues are durable.
    pub queue_time: i64,
    /// Store time up to which index files are full and durable.
    pub index_time: i64,
    /// Position up to which queues are durable.
    pub queue_position: i64,
}

impl CheckpointSummary {
    pub(super) fn of(fields: &StoreCheckpoint) -> Self {
        Self {
            log_time: fields.log_time.0,
            queue_time: fields.queue_time.0,
            index_time: fields.index_time.0,
            queue_position: fields.queue_position.0,
        }
    }
}

/// What the next start would do.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Recovery {
    /// The last stop was not clean.
    pub after_crash: bool,
    /// Queues are trusted up to this position; `None` if the queue files themselves have to tell.
    pub trusts_queues_below: Option<u64>,
    /// Records from here on are read.
    pub reads_from: u64,
    /// Bytes behind the end of the log that would be erased, at most.
    pub erases_bytes: u64,
    /// Files behind the end that would be removed.
    pub removes_files: usize,
    /// The start would be refused.
    pub refused: bool,
}

/// What [`StoreFiles::check`] found.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// The store.
    pub root: PathBuf,
    /// A broker runs on it: everything may have changed meanwhile.
    pub in_use: bool,
    /// Sizes of files.
    pub sizes: Sizes,
    /// The checkpoint.
    pub checkpoint: CheckpointSummary,
    /// The log.
    pub log: LogSummary,
    /// The queues.
    pub queues: QueueSummary,
    /// The index.
    pub index: IndexSummary,
    /// What the next start would do.
    pub recovery: Recovery,
    /// Everything that is not as it should be, the worst last.
    pub problems: Vec<Problem>,
    /// Problems beyond the number that is listed.
    pub more_problems: u64,
}

impl CheckReport {
    /// The worst there is.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.problems.iter().map(|problem| problem.severity).max()
    }
}

/// Problems listed; a wrong shift in one queue may make millions.
const PROBLEMS_MAX: usize = 1_000;
/// Entries of a queue that are read at once while records pass by.
const WINDOW: usize = 256;
/// Records between two calls of the progress.
const PROGRESS_EVERY: u64 = 100_000;

impl StoreFiles {
    /// Looks at everything. Reads the whole log.
    ///
    /// # Errors
    /// The disk fails; what is wrong with the store is in the report.
    pub fn check(&self, progress: Progress<'_>) -> Result<CheckReport, OfflineError> {
        let in_use = self.is_in_use()?;
        Ok(CheckReport { in_use, ..self.check_held(progress)? })
    }

    /// [`StoreFiles::check`] by whoever holds the lock.
    pub(super) fn check_held(&self, progress: Progress<'_>) -> Result<CheckReport, OfflineError> {
        self.check_with_queues(progress).map(|(report, _)| report)
    }

    /// A report, and the queues that have to be built anew.
    pub(super) fn check_with_queues(
        &self,
        progress: Progress<'_>,
    ) -> Result<(CheckReport, BTreeSet<(String, QueueId)>), OfflineError> {
        let mut check = Check {
            files: self,
            problems: self.log_problems.clone(),
            more_problems: 0,
            queues: None,
            views: HashMap::new(),
            summary: QueueSummary::default(),
            broken: BTreeSet::new(),
        };
        let abort = self.layout.abort();
        let after_crash = self.disk.metadata(&abort).map_err(io_error("look at", &abort))?.is_some();
        check.load_queues(progress)?;
        let (log, mut recovery) = check.read_log(after_crash, progress)?;
        check.check_queues(log.end, progress)?;
        let index = check.check_index(log.end, progress)?;
        check.problems.sort_by_key(|problem| problem.severity);
        recovery.refused = check.problems.iter().any(|problem| problem.severity == Severity::Refused);
        let report = CheckReport {
            root: self.layout.root().to_owned(),
            in_use: false,
            sizes: Sizes {
                log_file: self.config.segment_size,
                queue_file: self.config.queue_file_size,
                index_slots: self.config.index_slots,
                index_entries: self.config.index_entries,
            },
            checkpoint: CheckpointSummary::of(&self.checkpoint),
            log,
            queues: check.summary,
            index,
            recovery,
            problems: check.problems,
            more_problems: check.more_problems,
        };
        Ok((report, check.broken))
    }
}

struct Check<'a> {
    files: &'a StoreFiles,
    problems: Vec<Problem>,
    more_problems: u64,
    /// `None` if they cannot be loaded.
    queues: Option<Queues>,
    views: HashMap<(String, QueueId), View>,
    summary: QueueSummary,
    /// Queues with something wrong that a start does not mend.
    broken: BTreeSet<(String, QueueId)>,
}

/// A queue while the records of the log pass by.
struct View {
    queue: Option<Arc<Queue>>,
    /// Offset the next record should have.
    next: i64,
    window_start: i64,
    window: Vec<Entry>,
    /// Entries that were found to be right.
    right: i64,
    missing: i64,
    wrong: i64,
}

impl Check<'_> {
    fn problem(&mut self, severity: Severity, file: PathBuf, byte: Option<u64>, what: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { severity, file, byte, what });
        } else {
            self.more_problems += 1;
        }
    }

    fn load_queues(&mut self, progress: Progress<'_>) -> Result<(), OfflineError> {
        let queues = self.files.queues(Access::Read);
        queues.load_exclusions()?;
        let loaded = queues.load(&Load {
            keep_below: PhysicalOffset(i64::MAX),
            claims: &|entry, topic, queue, offset| self.files.claim(entry, topic, queue, offset),
            threads: self.files.config.recovery_threads,
            progress: &|done, total| progress("queues", done, total),
        });
        match loaded {
            Ok(loaded) => {
                for finding in loaded.findings {
                    let index = finding.offset.0 % (self.queue_entries_per_file());
                    let byte = u64::try_from(index).unwrap_or(0) * ENTRY_SIZE as u64;
                    let severity = match finding.kind {
                        QueueFault::Shifted => Severity::Wrong,
                        _ => Severity::Mended,
                    };
                    self.problem(severity, finding.path, Some(byte), finding.kind.to_string());
                }
                self.summary.topics = queues.topics().len();
                self.summary.queues = queues.count();
                self.queues = Some(queues);
                Ok(())
            }
            Err(error) => match unfit_file(&error) {
                Some(path) => {
                    self.problem(Severity::Refused, path, None, error.to_string());
                    Ok(())
                }
                None => Err(error.into()),
            },
        }
    }

    fn queue_entries_per_file(&self) -> i64 {
        i64::try_from(self.files.config.queue_file_size / ENTRY_SIZE as u64).unwrap_or(i64::MAX).max(1)
    }

    /// Reads the log to its end, and behind it what looks like more.
    fn read_log(
        &mut self,
        after_crash: bool,
        progress: Progress<'_>,
    ) -> Result<(LogSummary, Recovery), OfflineError> {
        let files = self.files;
        let start = files.log_start();
        let list = files.segments.list();
        let log_end = list.last().map_or(start, |last| last.end());
        let known = position(files.checkpoint.queue_position);
        let durable = (known > 0 && known <= log_end).then(|| known.max(start));
        if list.is_empty() && self.queues.as_ref().is_some_and(|queues| queues.count() > 0) {
            let what = "there are queues but no log: is it mounted, is the path right?".to_owned();
            self.problem(Severity::Refused, files.layout.commit_log().to_owned(), None, what);
        }

        let mut log = LogSummary { start, end: start, files: list.len(), ..LogSummary::default() };
        let ours_from = files.ours_from;
        let rules = ScanRules { strict_from: durable.unwrap_or(0), ours_from, ..ANY_RECORD };
        let mut scan = files.scan(start, rules);
        let (end, why) = loop {
            let position_before = scan.position();
            match scan.next_item().map_err(io_error("read", files.layout.commit_log()))? {
                Scanned::Record(record) => {
                    if position_before >= rules.strict_from.max(ours_from) && self.is_offset_taken(&record) {
                        break (position_before, End::OffsetTaken(record.queue_offset.0));
                    }
                    log.records += 1;
                    log.first_time = log.first_time.or(Some(record.store_timestamp.0));
                    log.last_time = Some(record.store_timestamp.0);
                    self.compare(&record, durable)?;
                    if log.records.is_multiple_of(PROGRESS_EVERY) {
                        progress("log", position(record.physical) - start, log_end - start);
                    }
                }
                Scanned::Blank => {}
                Scanned::End(why) => break (position_before, why),
            }
        };
        log.end = end;
        log.ends_because = format!("{why:?}");
        self.judge_end(&log, why, durable);
        let removes_files = list.iter().filter(|segment| segment.base > log.end).count();
        let recovery = Recovery {
            after_crash,
            trusts_queues_below: durable,
            reads_from: durable.unwrap_or(start),
            erases_bytes: match why {
                End::Zeros | End::NoFile => 0,
                _ => log_end.saturating_sub(log.end),
            },
            removes_files,
            refused: false,
        };
        Ok((log, recovery))
    }

    /// Says what the end of the log means: the place for the next record, a torn one, or damage in the middle.
    fn judge_end(&mut self, log: &LogSummary, why: End, durable: Option<u64>) {
        let files = self.files;
        let Some(segment) = files.segments.find(log.end) else { return };
        let byte = Some(log.end - segment.base);
        let file = segment.path().to_owned();
        if durable.is_some_and(|durable| log.end < durable) {
            let what = format!(
                "the log is damaged here ({why:?}), below {}, up to where it was on the disk",
                durable.unwrap_or(0)
            );
            self.problem(Severity::Refused, file.clone(), byte, what);
        } else if !matches!(why, End::Zeros | End::NoFile) {
            let what = format!("{why:?}: the log ends here, what follows would be erased");
            self.problem(Severity::Mended, file.clone(), byte, what);
        }
        for later in files.segments.list().iter().filter(|segment| segment.base > log.end) {
            if files.record_exists(physical(later.base)) {
                let what = format!("begins with a record, but the log ends before it, at {}", log.end);
                self.problem(Severity::Wrong, later.path().to_owned(), Some(0), what);
            }
        }
    }

    /// Whether a record before this one has its offset or a later one; recovery ends the log here.
    fn is_offset_taken(&self, record: &Record<'_>) -> bool {
        let view = self.views.get(&(record.topic.to_owned(), record.queue_id));
        let known = self.queues.as_ref().is_some_and(|queues| !queues.is_dead(record.topic, record.physical));
        known
            && dispatch::has_queue_entry(record.sys_flag)
            && view.is_some_and(|view| record.queue_offset.0 < view.next)
    }

    /// Holds a record against its queue.
    fn compare(&mut self, record: &Record<'_>, durable: Option<u64>) -> Result<(), OfflineError> {
        let Some(queues) = &self.queues else { return Ok(()) };
        if !dispatch::has_queue_entry(record.sys_flag)
            || queues.is_dead(record.topic, record.physical)
            || queues.is_batch_topic(record.topic)
        {
            return Ok(());
        }
        let files = self.files;
        let offset = record.queue_offset.0;
        let key = (record.topic.to_owned(), record.queue_id);
        let view = self.views.entry(key).or_insert_with(|| View {
            queue: queues.find(record.topic, record.queue_id),
            next: offset,
            window_start: 0,
            window: Vec::new(),
            right: 0,
            missing: 0,
            wrong: 0,
        });
        let mut found = Vec::new();
        let file = files.layout.consume_queue(record.topic, record.queue_id);
        if offset != view.next {
            let what = format!(
                "the record at {} has offset {offset}, the one before it in its queue {}",
                record.physical,
                view.next - 1
            );
            found.push((Severity::Wrong, file.clone(), None, what));
        }
        view.next = offset + 1;
        match view.entry(offset)? {
            None => {
                view.missing += 1;
                if view.missing == 1 {
                    let restored = durable.is_none_or(|durable| position(record.physical) >= durable);
                    let (severity, why) = match (&view.queue, restored) {
                        (_, true) => (Severity::Mended, ""),
                        (Some(_), false) => (Severity::Wrong, ""),
                        // Java keeps no list of what it deleted.
                        (None, false) => (Severity::Note, "; there is no such queue: was its topic deleted?"),
                    };
                    let at = record.physical;
                    let what = format!("the entry {offset} of the record at {at} is missing{why}");
                    found.push((severity, file, None, what));
                }
            }
            Some(entry) if entry == queue_entry(record, &files.config) => view.right += 1,
            Some(entry) => {
                view.wrong += 1;
                let what =
                    format!("entry {offset} is {entry:?} instead of the record at {}", record.physical);
                found.push((Severity::Wrong, file, None, what));
            }
        }
        for (severity, file, byte, what) in found {
            if severity >= Severity::Wrong {
                self.broken.insert((record.topic.to_owned(), record.queue_id));
            }
            self.problem(severity, file, byte, what);
        }
        Ok(())
    }

    /// What the queues have that the log does not.
    fn check_queues(&mut self, log_end: u64, progress: Progress<'_>) -> Result<(), OfflineError> {
        let Some(queues) = self.queues.take() else { return Ok(()) };
        let log_start = physical(self.files.log_start());
        let all = queues.all();
        for (done, queue) in all.iter().enumerate() {
            if done.is_multiple_of(1_000) {
                progress("entries", done as u64, all.len() as u64);
            }
            let view = self.views.remove(&(queue.topic().to_owned(), queue.id()));
            let (right, missing) = view.map_or((0, 0), |view| (view.right, view.missing));
            self.summary.entries += u64::try_from(right).unwrap_or(0);
            self.summary.missing += u64::try_from(missing).unwrap_or(0);
            let alive = queue.first_at_or_after(log_start, queue.min_offset(), queue.max_offset())?;
            let Some((first, _)) = alive else { continue };
            // Blanks and messages of other topics are why this may differ without anything being wrong.
            if queue.max_offset().0 - first.0 != right {
                self.look_for_strays(queue, first, log_end)?;
            }
        }
        // Queues that the next start creates.
        let created: Vec<_> = self.views.drain().collect();
        for (_, view) in created {
            self.summary.missing += u64::try_from(view.missing).unwrap_or(0);
        }
        self.queues = Some(queues);
        Ok(())
    }

    fn look_for_strays(
        &mut self,
        queue: &Arc<Queue>,
        first: QueueOffset,
        log_end: u64,
    ) -> Result<(), OfflineError> {
        let per_file = self.queue_entries_per_file();
        let mut at = first.0;
        let mut entries = Vec::new();
        while at < queue.max_offset().0 {
            entries.clear();
            if let Err(error) = queue.entries(QueueOffset(at), WINDOW, Wait::Allowed, &mut entries)
                && entries.is_empty()
            {
                let EntriesError::Corrupt { path, index, .. } = error else { return Err(error.into()) };
                let byte = u64::try_from(index).unwrap_or(0) * ENTRY_SIZE as u64;
                let what = format!("there is no entry {at}, but there are some behind it");
                self.broken.insert((queue.topic().to_owned(), queue.id()));
                self.problem(Severity::Wrong, path, Some(byte), what);
                return Ok(());
            }
            for (offset, entry) in (at..).zip(&entries) {
                if !entry.is_message() {
                    continue;
                }
                let dir = self.files.layout.consume_queue(queue.topic(), queue.id());
                let byte = Some(u64::try_from(offset % per_file).unwrap_or(0) * ENTRY_SIZE as u64);
                let start = u64::try_from(offset / per_file).unwrap_or(0) * self.files.config.queue_file_size;
                let file = dir.join(crate::layout::offset_name(start));
                if position(entry.physical) >= log_end {
                    let what =
                        format!("entry {offset} points at {}, behind the end of the log", entry.physical);
                    self.problem(Severity::Mended, file, byte, what);
                } else if self.files.claim(entry, queue.topic(), queue.id(), QueueOffset(offset)).is_wrong()
                    && !queue.topic().starts_with("%LMQ%")
                {
                    let what = format!("entry {offset} points at {}, no record of its queue", entry.physical);
                    self.broken.insert((queue.topic().to_owned(), queue.id()));
                    self.problem(Severity::Wrong, file, byte, what);
                }
            }
            at += i64::try_from(entries.len()).unwrap_or(1).max(1);
        }
        Ok(())
    }

    fn check_index(&mut self, log_end: u64, progress: Progress<'_>) -> Result<IndexSummary, OfflineError> {
        let files = self.files;
        let config = files.index_config(Access::Read);
        let surveyed = survey(&config, &*files.disk, physical(log_end), &|done, total| {
            progress("index", done, total);
        });
        let surveyed = match surveyed {
            Ok(surveyed) => surveyed,
            Err(error @ IndexError::Shape { .. }) => {
                self.problem(Severity::Refused, files.layout.index(), None, error.to_string());
                return Ok(IndexSummary::default());
            }
            Err(error) => return Err(error.into()),
        };
        let mut summary = IndexSummary::default();
        let count = surveyed.len();
        for (place, file) in surveyed.into_iter().enumerate() {
            summary.files += 1;
            summary.entries += u64::from(file.valid.saturating_sub(1));
            summary.last_physical = file.last_physical.map(|last| last.0).or(summary.last_physical);
            if file.valid < file.header.count {
                let byte = config.shape.entry_at(file.valid);
                let what = format!(
                    "entries {} to {} do not continue the chains before them or point behind the log",
                    file.valid, file.header.count
                );
                self.problem(Severity::Mended, file.path.clone(), Some(byte), what);
            }
            if file.wrong_slots > 0 {
                let newest = place + 1 == count;
                let what =
                    format!("{} slots do not lead to the newest entry of their chain", file.wrong_slots);
                // While a broker runs the slots of the newest file are in its memory.
                let severity = if newest { Severity::Note } else { Severity::Wrong };
                self.problem(severity, file.path, None, what);
            }
        }
        Ok(summary)
    }
}

impl View {
    fn entry(&mut self, offset: i64) -> Result<Option<Entry>, OfflineError> {
        let Some(queue) = &self.queue else { return Ok(None) };
        if offset >= queue.max_offset().0 {
            return Ok(None);
        }
        let in_window = offset >= self.window_start
            && offset - self.window_start < i64::try_from(self.window.len()).unwrap_or(0);
        if !in_window {
            self.window.clear();
            self.window_start = offset;
            match queue.entries(QueueOffset(offset), WINDOW, Wait::Allowed, &mut self.window) {
                Ok(()) | Err(EntriesError::Gone | EntriesError::Corrupt { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let place = usize::try_from(offset - self.window_start).unwrap_or(usize::MAX);
        Ok(self.window.get(place).copied())
    }
}

/// The file that does not fit, if that is the error.
fn unfit_file(error: &EntriesError) -> Option<PathBuf> {
    use crate::queue::QueueError;
    match error {
        EntriesError::Disk(
            QueueError::Length { path, .. } | QueueError::Foreign { path } | QueueError::Missing { path },
        )
        | EntriesError::Corrupt { path, .. } => Some(path.clone()),
        EntriesError::Disk(QueueError::Io { .. }) | EntriesError::WouldBlock | EntriesError::Gone => None,
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sizes, checkpoint, log, queues, index, recovery, .. } = self;
        writeln!(f, "store        {}", self.root.display())?;
        if self.in_use {
            writeln!(f, "             a broker runs on it: what follows may have changed meanwhile")?;
        }
        writeln!(
            f,
            "files        log {} bytes, queue {} bytes, index {} slots and {} entries",
            sizes.log_file, sizes.queue_file, sizes.index_slots, sizes.index_entries
        )?;
        writeln!(
            f,
            "checkpoint   queues to {}, times: log {}, queues {}, index {}",
            checkpoint.queue_position, checkpoint.log_time, checkpoint.queue_time, checkpoint.index_time
        )?;
        writeln!(
            f,
            "log          {} to {} in {} files, {} records; ends because: {}",
            log.start, log.end, log.files, log.records, log.ends_because
        )?;
        if let (Some(first), Some(last)) = (log.first_time, log.last_time) {
            writeln!(f, "             stored between {} and {}", time(first), time(last))?;
        }
        writeln!(
            f,
            "queues       {} of {} topics, {} entries, {} missing",
            queues.queues, queues.topics, queues.entries, queues.missing
        )?;
        writeln!(f, "index        {} files, {} keys", index.files, index.entries)?;
        let stop = if recovery.after_crash { "after a crash" } else { "after a clean stop" };
        if recovery.refused {
            writeln!(f, "next start   {stop}: refused, see below")?;
        } else {
            writeln!(
                f,
                "next start   {stop}: reads from {}, erases at most {} bytes, removes {} files",
                recovery.reads_from, recovery.erases_bytes, recovery.removes_files
            )?;
        }
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        if self.more_problems > 0 {
            writeln!(f, "and {} more", self.more_problems)?;
        }
        if self.problems.is_empty() {
            writeln!(f, "nothing wrong")?;
        }
        Ok(())
    }
}

/// For people; the JSON form has the number.
pub(super) fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| TimestampMs(ms).to_string(), |time| time.to_string())
}
