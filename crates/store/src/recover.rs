//! The start: from what a directory holds to a store that can go on, whatever the last run left behind.
//!
//! L, the queue position of the checkpoint, is the last position known to be durable in every respect. Queue entries
//! below it are kept, everything above it is derived from the log again. Where the records end, the log ends: what lies
//! behind is zeroed, so that nothing of it comes back. Every step can be broken off and begun anew with the same
//! result, because L does not move before all of it is on the disk.
//!
//! Below L damage is never cut away: then the start is refused, and `ferromq store check` tells what is there.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferromq_protocol::record;
use ferromq_protocol::types::{PhysicalOffset, QueueId, QueueOffset, TimestampMs};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use thiserror::Error;

use crate::checkpoint::{CheckpointFile, StoreCheckpoint};
use crate::config::StoreConfig;
use crate::disk::{Access, Disk};
use crate::dispatch;
use crate::index::{Index, IndexConfig, IndexError, IndexKey, IndexLoad, Shape};
use crate::layout::{Layout, offset_name, parse_offset_name, physical, position};
use crate::log::Mark;
use crate::log::erase::{erase_behind, first_non_zero};
use crate::log::scan::{End, Scan, ScanRules, Scanned};
use crate::log::segment::Segments;
use crate::queue::{Claim, EntriesError, Entry, Load, Loaded, QueueError, Queues, Replayed};
use crate::running::{Directory, DirectoryError};
use crate::write_behind::table_stamp;

/// A store that cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The directory is in use, not accessible or of a later version.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The disk refused while the log was read or mended.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of the log has another length than configured. Start with the `mappedFileSizeCommitLog` it was written
    /// with.
    #[error("{} has {found} bytes, configured are {expected}", path.display())]
    SegmentLength {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// The configured length.
        expected: u64,
    },
    /// Something in the directory of the log is no file of the log; Java would not start either.
    #[error("{} is not a file of the commit log", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A file of the log is missing between others.
    #[error("{} is missing between other files of the commit log", path.display())]
    SegmentMissing {
        /// The missing file.
        path: PathBuf,
    },
    /// There are queues but no log: most likely it is not mounted, or configured elsewhere. Going on would erase the
    /// queues. `ferromq store repair` does that when it is meant.
    #[error("{} holds no commit log, but there are queues with messages", path.display())]
    LogMissing {
        /// Where the log should be.
        path: PathBuf,
    },
    /// The log is damaged at a position that was known to be on the disk; what follows is still there. Look at it with
    /// `ferromq store check`, then decide on `ferromq store repair`.
    #[error(
        "the commit log is damaged at {position} ({end:?}), below {durable}, up to where it was on the disk; \
         run `ferromq store check`, then `ferromq store repair`"
    )]
    DamagedLog {
        /// Where it ends.
        position: PhysicalOffset,
        /// Up to where it was whole.
        durable: PhysicalOffset,
        /// Why it ends.
        end: End,
    },
    /// The store was written by another kind of store.
    #[error("{} belongs to a {kind} store, which is not supported", path.display())]
    OtherKind {
        /// What shows it.
        path: PathBuf,
        /// Which one.
        kind: &'static str,
    },
    /// Queues cannot be read or mended.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// Entries of queues cannot be read.
    #[error(transparent)]
    Entries(#[from] EntriesError),
    /// The index cannot be read or mended.
    #[error(transparent)]
    Index(#[from] IndexError),
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> OpenError + 'a {
    move |source| OpenError::Io { action, path: path.to_owned(), source }
}

/// What recovery did.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// The last run did not stop cleanly.
    pub abnormal: bool,
    /// Where reading began.
    pub scanned_from: u64,
    /// Where the log ends.
    pub end: u64,
    /// Records read.
    pub records: u64,
    /// Queue entries that were missing.
    pub entries: u64,
    /// Bytes behind the end that were not zero and are now.
    pub erased_bytes: u64,
    /// Files behind the end that were removed.
    pub removed_files: usize,
    /// The queues came from the table of the last run instead of their files.
    pub queue_table_used: bool,
    /// Findings about queues.
    pub queue_findings: usize,
    /// How long it took.
    pub took: Duration,
}

/// What recovery leaves behind.
pub(crate) struct Recovered {
    pub(crate) segments: Segments,
    pub(crate) queues: Queues,
    pub(crate) index: Option<Index>,
    pub(crate) checkpoint: CheckpointFile,
    pub(crate) end: Mark,
    pub(crate) report: RecoveryReport,
}

/// Refuses directories of stores that only look like ours.
fn refuse_other_kinds(disk: &dyn Disk, layout: &Layout) -> Result<(), OpenError> {
    let exists =
        |path: &Path| disk.metadata(path).map(|entry| entry.is_some()).map_err(io_error("look at", path));
    let rocksdb = layout.consume_queues().join("CURRENT");
    if exists(&rocksdb)? {
        return Err(OpenError::OtherKind { path: rocksdb, kind: "RocksDB" });
    }
    let names = disk.list(layout.root()).map_err(io_error("list", layout.root()))?;
    let dledger = names.iter().find(|entry| entry.is_dir && entry.name.starts_with("dledger-"));
    if let Some(dledger) = dledger {
        let log = disk.list(layout.commit_log()).map_err(io_error("list", layout.commit_log()))?;
        if log.is_empty() {
            return Err(OpenError::OtherKind { path: layout.root().join(&dledger.name), kind: "DLedger" });
        }
    }
    Ok(())
}

/// Queues follow from the log. Where there is none, loading them would cut every entry off, so they are looked at first.
fn refuse_queues_without_log(disk: &dyn Disk, layout: &Layout) -> Result<(), OpenError> {
    for root in [layout.consume_queues(), layout.batch_queues()] {
        for topic in directories(disk, &root)? {
            for queue in directories(disk, &topic)? {
                for file in disk.list(&queue).map_err(io_error("list", &queue))? {
                    let path = queue.join(&file.name);
                    if !file.is_dir && holds_entries(disk, &path).map_err(io_error("read", &path))? {
                        return Err(OpenError::LogMissing { path: layout.commit_log().to_owned() });
                    }
                }
            }
        }
    }
    Ok(())
}

fn directories(disk: &dyn Disk, dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    if disk.metadata(dir).map_err(io_error("look at", dir))?.is_none() {
        return Ok(Vec::new());
    }
    let entries = disk.list(dir).map_err(io_error("list", dir))?;
    Ok(entries.into_iter().filter(|entry| entry.is_dir).map(|entry| dir.join(entry.name)).collect())
}

/// Files are created full of zeros.
fn holds_entries(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    let file = disk.open(path, Access::Read)?;
    let mut buffer = vec![0; 64 << 10];
    let mut at = 0;
    while let Some(data) = file.next_data(at)? {
        let read = file.read_at(&mut buffer, data)?;
        if read == 0 {
            break;
        }
        if buffer[..read].iter().any(|byte| *byte != 0) {
            return Ok(true);
        }
        at = data + read as u64;
    }
    Ok(false)
}

/// Finds the files of the log and mends what a crash during their creation left.
fn load_segments(disk: &dyn Disk, layout: &Layout, size: u64) -> Result<Vec<u64>, OpenError> {
    let dir = layout.commit_log();
    let mut entries = disk.list(dir).map_err(io_error("list", dir))?;
    entries.retain(|entry| !entry.is_dir);
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let mut changed = false;
    if let Some(last) = entries.last().filter(|last| last.len == 0) {
        let path = dir.join(&last.name);
        disk.remove_file(&path).map_err(io_error("remove", &path))?;
        entries.pop();
        changed = true;
    }
    let mut bases: Vec<u64> = Vec::with_capacity(entries.len());
    for entry in &entries {
        let path = dir.join(&entry.name);
        let Some(base) = parse_offset_name(&entry.name) else { return Err(OpenError::Foreign { path }) };
        if entry.len > size || base % size != 0 {
            return Err(OpenError::SegmentLength { path, found: entry.len, expected: size });
        }
        let expected = bases.last().map_or(base, |before| before + size);
        if base != expected {
            return Err(OpenError::SegmentMissing { path: dir.join(offset_name(expected)) });
        }
        if entry.len < size {
            tracing::warn!(file = %path.display(), len = entry.len, "lengthening a short file of the log");
            let lengthen = || {
                let file = disk.open(&path, Access::ReadWrite)?;
                file.set_len(size)?;
                file.sync_data()
            };
            lengthen().map_err(io_error("lengthen", &path))?;
        }
        bases.push(base);
    }
    if changed {
        disk.sync_dir(dir).map_err(io_error("sync", dir))?;
    }
    Ok(bases)
}

/// Everything a start works with.
struct Recovery<'a> {
    directory: &'a Directory,
    disk: &'a Arc<dyn Disk>,
    layout: &'a Layout,
    config: &'a StoreConfig,
    segments: &'a Segments,
    queues: &'a Queues,
    rules: ScanRules,
    replayed: Replayed,
    report: RecoveryReport,
    /// A failure to read the log while the queues were loaded.
    claim_failure: Mutex<Option<io::Error>>,
}

/// Opens what the directory holds.
pub(crate) fn recover(
    directory: &Directory,
    disk: &Arc<dyn Disk>,
    layout: &Layout,
    config: &StoreConfig,
    queues: Queues,
) -> Result<Recovered, OpenError> {
    let began = Instant::now();
    refuse_other_kinds(&**disk, layout)?;
    let bases = load_segments(&**disk, layout, config.segment_size)?;
    if bases.is_empty() {
        refuse_queues_without_log(&**disk, layout)?;
    }
    let segments = Segments::new(Arc::clone(disk), layout, config.segment_size, &bases);
    let path = layout.checkpoint();
    let checkpoint = CheckpointFile::load(Arc::clone(disk), &path, &layout.staging());
    let mut checkpoint = checkpoint.map_err(io_error("read", &path))?;
    let cut_at = read_truncation(&**disk, layout)?;
    let abnormal = directory.abort_found || cut_at.is_some();

    let mut recovery = Recovery {
        directory,
        disk,
        layout,
        config,
        segments: &segments,
        queues: &queues,
        rules: ScanRules {
            strict_from: 0,
            verify_below: config.check_crc_on_recover,
            require_property_crc: config.force_verify_property_crc,
            compare_property_crc: config.append_property_crc,
            ours_from: directory.last_run.map_or(u64::MAX, |mark| mark.from),
        },
        replayed: Replayed::default(),
        report: RecoveryReport { abnormal, ..RecoveryReport::default() },
        claim_failure: Mutex::default(),
    };
    let end = recovery.run(&mut checkpoint, abnormal, cut_at)?;
    let mut report = recovery.report;
    let index = config.index_enabled.then(|| {
        let log = LogBytes { disk, layout, config, segments: &segments };
        let load = OpenIndex {
            end: physical(end.position),
            full_until: checkpoint.current().index_time,
            // Java's checkpoint does not speak for the index.
            synced_below: match directory.last_run {
                Some(_) => checkpoint.current().queue_position,
                None => PhysicalOffset(0),
            },
            clean: !abnormal,
            empty_from: report.scanned_from,
        };
        open_index(log, &load)
    });
    let index = index.transpose()?;
    report.took = began.elapsed();
    Ok(Recovered { segments, queues, index, checkpoint, end, report })
}

impl Recovery<'_> {
    fn run(
        &mut self,
        checkpoint: &mut CheckpointFile,
        abnormal: bool,
        cut_at: Option<u64>,
    ) -> Result<Mark, OpenError> {
        self.queues.load_exclusions()?;
        if abnormal {
            self.queues.distrust_names()?;
        }
        let log_start = self.segments.first_base().unwrap_or(0);
        let durable = self.known_durable(checkpoint)?;
        // After a clean stop whose checkpoint says nothing, the queue files themselves are the best witness.
        let trust_queues = durable.is_none() && !abnormal;
        let keep_below = if trust_queues {
            PhysicalOffset(i64::MAX)
        } else {
            self.lower_queue_time(checkpoint, durable.unwrap_or(log_start))?;
            physical(durable.unwrap_or(log_start))
        };
        let loaded = if self.take_queue_table(checkpoint, durable, abnormal, cut_at)? {
            let ends = self.queues.all().into_iter().map(|queue| queue.end_physical());
            Loaded { end_physical: ends.max().unwrap_or_default(), ..Loaded::default() }
        } else {
            self.queues.distrust_table()?;
            self.queues.load(&Load {
                keep_below,
                claims: &|entry, topic, queue, offset| {
                    let claim = claims_record(&**self.disk, self.segments, entry, topic, queue, offset);
                    claim.unwrap_or_else(|error| {
                        // The start fails for it; until then nothing is to be cut off.
                        self.claim_failure.lock().get_or_insert(error);
                        Claim::Confirmed
                    })
                },
                threads: self.config.recovery_threads,
                progress: &|done, total| tracing::info!(done, total, "loading the queues of topics"),
            })?
        };
        self.report.queue_findings = loaded.findings.len();
        for finding in &loaded.findings {
            tracing::warn!(file = %finding.path.display(), offset = finding.offset.0, "queue: {}", finding.kind);
        }

        let mut from = durable.unwrap_or(log_start);
        if trust_queues {
            let end = position(loaded.end_physical).max(log_start);
            from = self.segments.find(end).map_or(log_start, |segment| segment.base);
        }
        // Somebody has removed the queues, to have them made anew. As in Java, that takes the whole log.
        if loaded.end_physical.0 <= 0 {
            from = log_start;
        }
        if let Some(wanted) = loaded.replay_from {
            from = from.min(position(wanted).max(log_start));
        }
        let durable = durable.unwrap_or(0);
        self.rules.strict_from = durable;
        let (end, why) = self.scan(from, durable, cut_at)?;
        self.fill_gaps(from)?;
        if position(loaded.end_physical) > end.position {
            self.queues.truncate(physical(end.position))?;
        }
        self.erase_behind(end.position, why)?;
        self.queues.limit_deletions(physical(end.position))?;
        if abnormal {
            self.write_again(durable.max(log_start), end.position)?;
        }
        self.queues.finish_recovery()?;
        self.queues.raise_min(physical(log_start))?;
        for queue in self.queues.all() {
            queue.set_next_offset(queue.max_offset());
        }
        self.finish_truncation()?;
        self.report.end = end.position;
        // Store times go on from the last one, also when no record had to be read.
        let fields = checkpoint.current();
        Ok(Mark { store_time: end.store_time.max(fields.log_time).max(fields.queue_time), ..end })
    }

    /// Takes the queues from the table of the last run, if nothing has happened to them that it does not know.
    fn take_queue_table(
        &mut self,
        checkpoint: &CheckpointFile,
        durable: Option<u64>,
        abnormal: bool,
        cut_at: Option<u64>,
    ) -> Result<bool, OpenError> {
        let fields = checkpoint.current();
        let known = durable == Some(position(fields.queue_position)) && self.directory.last_run.is_some();
        if !known || cut_at.is_some() {
            return Ok(false);
        }
        let stamp = table_stamp(&fields, self.directory.lock_modified()?);
        let log_start = physical(self.segments.first_base().unwrap_or(0));
        let believed = self.queues.load_table(&stamp, !abnormal, log_start)?;
        self.report.queue_table_used = believed;
        Ok(believed)
    }

    /// Up to where the checkpoint knows the log and its queues to be durable; `None` if it does not say.
    fn known_durable(&self, checkpoint: &CheckpointFile) -> Result<Option<u64>, OpenError> {
        let fields = checkpoint.current();
        let log_start = self.segments.first_base().unwrap_or(0);
        let log_end = self.segments.list().last().map_or(0, |last| last.end());
        let position = position(fields.queue_position);
        if position > 0 && position <= log_end {
            return Ok(Some(position.max(log_start)));
        }
        // Versions before 5.5 know only times; Java goes back three seconds from them.
        let time = match (fields.log_time.0, fields.queue_time.0) {
            (0, queue_time) => queue_time,
            (log_time, queue_time) => log_time.min(queue_time),
        };
        if time <= 0 {
            return Ok(None);
        }
        let before = TimestampMs(time - 3000);
        for segment in self.segments.list().iter().rev() {
            let mut scan = self.scan_from(segment.base);
            let path = segment.path();
            if let Scanned::Record(record) = scan.next_item().map_err(io_error("read", path))?
                && record.store_timestamp.0 > 0
                && record.store_timestamp <= before
            {
                return Ok(Some(segment.base));
            }
        }
        Ok(None)
    }

    /// Entries from `keep_below` on are dropped until they are written again. A checkpoint whose fields are of different
    /// age may say by its time that they are there, and versions before 5.5 go by the time.
    fn lower_queue_time(&self, checkpoint: &mut CheckpointFile, keep_below: u64) -> Result<(), OpenError> {
        let fields = checkpoint.current();
        let mut scan = self.scan_from(keep_below);
        let queue_time = loop {
            match scan.next_item().map_err(io_error("read", self.layout.commit_log()))? {
                Scanned::Record(record) => break fields.queue_time.min(record.store_timestamp),
                Scanned::Blank => {}
                Scanned::End(_) => break fields.queue_time,
            }
        };
        if queue_time < fields.queue_time {
            let lowered = checkpoint.write(&StoreCheckpoint { queue_time, ..fields });
            lowered.map_err(io_error("write", &self.layout.checkpoint()))?;
        }
        Ok(())
    }

    fn scan_from(&self, position: u64) -> Scan<'_> {
        Scan::new(&**self.disk, self.segments, position, self.rules)
    }

    /// Reads the log from `from` to its end and gives every record to its queue.
    fn scan(&mut self, from: u64, durable: u64, cut_at: Option<u64>) -> Result<(Mark, End), OpenError> {
        let mut from = from;
        // A position that is no record's comes from a checkpoint that means less than it says. The start of a file
        // always is one.
        if from > self.segments.first_base().unwrap_or(0) && from == durable && !self.is_boundary(from)? {
            from = self.segments.find(from).map_or(from, |segment| segment.base);
        }
        self.report.scanned_from = from;
        let mut position = from;
        loop {
            let (end, why) = self.replay_from(position, cut_at)?;
            if end.position >= durable || why == End::Cut {
                return Ok((end, why));
            }
            let damaged = OpenError::DamagedLog {
                position: physical(end.position),
                durable: physical(durable),
                end: why,
            };
            position = self.switch_without_blank(end.position, why)?.ok_or(damaged)?;
        }
    }

    /// Whether a record, a blank, or nothing but zeros begins here.
    fn is_boundary(&self, at: u64) -> Result<bool, OpenError> {
        if self.segments.find(at).is_none_or(|segment| segment.base == at) {
            return Ok(true);
        }
        let mut scan = self.scan_from(at);
        let item = scan.next_item().map_err(io_error("read", self.layout.commit_log()))?;
        Ok(!matches!(item, Scanned::End(why) if why != End::Zeros))
    }

    fn replay_from(&mut self, from: u64, cut_at: Option<u64>) -> Result<(Mark, End), OpenError> {
        /// Entries are flushed after so many bytes of log, to bound their memory.
        const FLUSH_EVERY: u64 = 64 << 20;
        let log_start = physical(self.segments.first_base().unwrap_or(0));
        let mut scan = Scan::new(&**self.disk, self.segments, from, self.rules);
        let mut end = Mark { position: from, store_time: TimestampMs(0) };
        let mut flushed = from;
        let why = loop {
            if cut_at.is_some_and(|cut| scan.position() >= cut) {
                break End::Cut;
            }
            match scan.next_item().map_err(io_error("read", self.layout.commit_log()))? {
                Scanned::Record(record) => {
                    self.report.records += 1;
                    if dispatch::has_queue_entry(record.sys_flag) {
                        let entry = queue_entry(&record, self.config);
                        let (topic, queue, offset) = (record.topic, record.queue_id, record.queue_offset);
                        // A tear can leave a record whole but for its place in the queue, which no checksum covers.
                        let at = position(record.physical);
                        if at >= self.rules.strict_from.max(self.rules.ours_from)
                            && self.queues.is_taken(topic, queue, offset, record.physical, log_start)
                        {
                            break End::OffsetTaken(offset.0);
                        }
                        self.queues.replay(topic, queue, offset, entry, &mut self.replayed)?;
                    }
                }
                Scanned::Blank => {}
                Scanned::End(why) => break why,
            }
            end = Mark { position: scan.position(), store_time: scan.last_time() };
            if end.position - flushed >= FLUSH_EVERY {
                tracing::info!(position = end.position, records = self.report.records, "reading the log");
                self.queues.flush()?;
                flushed = end.position;
            }
        };
        self.report.entries = self.replayed.entries;
        Ok((end, why))
    }

    /// Below the durable position: a file that ends in zeros instead of a blank while the next one goes on. If nothing
    /// points to a lost record, the blank is written and the position of the next file returned. Above the durable
    /// position nobody can tell a lost blank from a lost record, and the log is cut.
    fn switch_without_blank(&self, end: u64, why: End) -> Result<Option<u64>, OpenError> {
        let Some(segment) = self.segments.find(end).filter(|_| why == End::Zeros) else { return Ok(None) };
        let remaining = segment.end() - end;
        let error = io_error("read", segment.path());
        if end == segment.base || first_non_zero(&**self.disk, &segment, end).map_err(error)?.is_some() {
            return Ok(None);
        }
        // A record that would have fitted, or a queue with a gap, means that records were lost here.
        let mut expected: FxHashMap<(String, QueueId), i64> = FxHashMap::default();
        let mut scan = self.scan_from(segment.end());
        let mut first = true;
        loop {
            match scan.next_item().map_err(io_error("read", self.layout.commit_log()))? {
                Scanned::Record(record) => {
                    let fitted = record.bytes.len() as u64 + record::PEEK_LEN as u64 <= remaining;
                    if std::mem::take(&mut first) && fitted {
                        return Ok(None);
                    }
                    if !dispatch::has_queue_entry(record.sys_flag) {
                        continue;
                    }
                    let key = (record.topic.to_owned(), record.queue_id);
                    let next = expected.entry(key).or_insert_with_key(|(topic, queue)| {
                        self.queues.find(topic, *queue).map_or(0, |queue| queue.max_offset().0)
                    });
                    if record.queue_offset.0 != *next {
                        return Ok(None);
                    }
                    *next += 1;
                }
                Scanned::Blank => {}
                Scanned::End(_) if first => return Ok(None),
                Scanned::End(_) => break,
            }
        }
        tracing::warn!(position = end, file = %segment.path().display(), "writing the lost end of a file of the log");
        let blank = record::encode_blank(u32::try_from(remaining).unwrap_or(u32::MAX));
        let write = || {
            let file = segment.file(&**self.disk)?;
            file.write_at(&[IoSlice::new(&blank)], end - segment.base)?;
            file.sync_data()
        };
        write().map_err(io_error("write", segment.path()))?;
        Ok(Some(segment.end()))
    }

    /// Looks for the records of queue gaps in the part of the log that was not read.
    fn fill_gaps(&mut self, scanned_from: u64) -> Result<(), OpenError> {
        let gaps = std::mem::take(&mut self.replayed.gaps);
        for finding in &self.replayed.findings {
            tracing::warn!(file = %finding.path.display(), offset = finding.offset.0, "queue: {}", finding.kind);
        }
        self.report.queue_findings += self.replayed.findings.len();
        let Some(from) = gaps.iter().map(|gap| position(gap.after)).min() else { return Ok(()) };
        let from = from.max(self.segments.first_base().unwrap_or(0));
        let mut filled = 0;
        let mut scan = Scan::new(&**self.disk, self.segments, from, self.rules);
        while scan.position() < scanned_from {
            let record = match scan.next_item().map_err(io_error("read", self.layout.commit_log()))? {
                Scanned::Record(record) => record,
                Scanned::Blank => continue,
                Scanned::End(_) => break,
            };
            let offset = record.queue_offset;
            let missing = gaps.iter().any(|gap| {
                gap.topic == record.topic
                    && gap.queue == record.queue_id
                    && (gap.from..gap.to).contains(&offset)
            });
            if missing && dispatch::has_queue_entry(record.sys_flag) {
                let entry = queue_entry(&record, self.config);
                filled += u64::from(self.queues.fill_gap(record.topic, record.queue_id, offset, entry)?);
            }
        }
        tracing::warn!(gaps = gaps.len(), filled, "queues had gaps");
        Ok(())
    }

    fn erase_behind(&mut self, end: u64, why: End) -> Result<(), OpenError> {
        let erased = erase_behind(&**self.disk, self.segments, end);
        let erased = erased.map_err(io_error("erase the end of", self.layout.commit_log()))?;
        if erased.bytes > 0 {
            tracing::warn!(position = end, erased.bytes, ?why, "erased what lay behind the end of the log");
        }
        self.report.erased_bytes = erased.bytes;
        self.report.removed_files = erased.files;
        Ok(())
    }

    /// Writes the bytes again that the page cache may have and the disk may not: after a crash of this process alone,
    /// nobody knows what a sync that failed before it has dropped.
    fn write_again(&self, from: u64, end: u64) -> Result<(), OpenError> {
        const CHUNK: usize = 1 << 20;
        let mut buffer = Vec::new();
        for segment in self.segments.list().iter() {
            let mut at = from.max(segment.base);
            let to = end.min(segment.end());
            if at >= to {
                continue;
            }
            let mut write = || {
                let file = segment.file(&**self.disk)?;
                while at < to {
                    buffer.resize(usize::try_from(to - at).unwrap_or(CHUNK).min(CHUNK), 0);
                    let read = file.read_at(&mut buffer, at - segment.base)?;
                    if read == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    file.write_at(&[IoSlice::new(&buffer[..read])], at - segment.base)?;
                    at += read as u64;
                }
                file.sync_data()
            };
            write().map_err(io_error("write again", segment.path()))?;
        }
        // The same goes for zeros: a write that failed may have reached the disk, and what erased it not.
        if let Some(segment) = self.segments.find(end) {
            let len = ZEROED_AGAIN.min(segment.end() - end);
            let zero = || {
                let file = segment.file(&**self.disk)?;
                file.zero(end - segment.base, len)?;
                file.sync_data()
            };
            zero().map_err(io_error("erase the end of", segment.path()))?;
        }
        let dir = self.layout.commit_log();
        self.disk.sync_dir(dir).map_err(io_error("sync", dir))
    }

    /// The cut is done. An intent that a crash tore goes as well.
    fn finish_truncation(&self) -> Result<(), OpenError> {
        let path = self.layout.truncation();
        if self.disk.metadata(&path).map_err(io_error("look at", &path))?.is_some() {
            remove_truncation(&**self.disk, self.layout).map_err(io_error("remove", &path))?;
        }
        Ok(())
    }
}

/// Behind the end of the log so many bytes are zeroed again after a crash: more than is written at once.
const ZEROED_AGAIN: u64 = 16 << 20;

/// A log that can be read, and how its store is configured.
#[derive(Clone, Copy)]
pub(crate) struct LogBytes<'a> {
    pub(crate) disk: &'a Arc<dyn Disk>,
    pub(crate) layout: &'a Layout,
    pub(crate) config: &'a StoreConfig,
    pub(crate) segments: &'a Segments,
}

/// For bytes of the log that were checked before.
pub(crate) const TRUSTING: ScanRules = ScanRules {
    strict_from: u64::MAX,
    verify_below: false,
    require_property_crc: false,
    compare_property_crc: false,
    ours_from: u64::MAX,
};

/// How to open the index.
pub(crate) struct OpenIndex {
    /// End of the log.
    pub(crate) end: PhysicalOffset,
    /// Of the checkpoint.
    pub(crate) full_until: TimestampMs,
    /// See [`IndexLoad::synced_below`].
    pub(crate) synced_below: PhysicalOffset,
    /// The last stop was clean.
    pub(crate) clean: bool,
    /// From where on an index without any file is filled. Older messages were never in it, or somebody removed it:
    /// reading the whole log at a start would take too long, `ferromq store repair` does it.
    pub(crate) empty_from: u64,
}

/// Opens the index and adds the keys that the log has and it lacks.
pub(crate) fn open_index(log: LogBytes<'_>, open: &OpenIndex) -> Result<Index, OpenError> {
    let end = open.end;
    let config = IndexConfig {
        dir: log.layout.index(),
        staging: log.layout.staging(),
        shape: Shape { slots: log.config.index_slots, entries: log.config.index_entries },
        access: Access::ReadWrite,
        zone: log.config.time_zone.clone(),
    };
    let scan = |position| Scan::new(&**log.disk, log.segments, position, TRUSTING);
    let store_time = |at| match scan(position(at)).next_item() {
        Ok(Scanned::Record(record)) if record.physical == at => Some(record.store_timestamp),
        _ => None,
    };
    let load = IndexLoad {
        clean: open.clean,
        end,
        full_until: open.full_until,
        synced_below: open.synced_below,
        store_time: &store_time,
    };
    let (index, findings) = Index::open(config, Arc::clone(log.disk), &load)?;
    for finding in findings {
        tracing::warn!(file = %finding.path.display(), "index: {}", finding.kind);
    }
    // The last message of the index may have keys that are not in it; the index passes over those it has.
    let log_start = log.segments.first_base().unwrap_or(0);
    let from = match position(index.resume_at()) {
        _ if index.has_no_files() => open.empty_from,
        // No entry counts, and those of records below the checkpoint's position would.
        0 if log_start > 0 => open.empty_from,
        resume_at if resume_at <= log_start => log_start,
        resume_at => {
            let is_record = |at| {
                let item = scan(at).next_item().map(|item| matches!(item, Scanned::Record(_)));
                item.map_err(io_error("read", log.layout.commit_log()))
            };
            // The position of the last message that is in the index, or the one behind it, or what a torn entry says.
            if is_record(resume_at)? {
                resume_at
            } else if is_record(resume_at - 1)? {
                resume_at - 1
            } else {
                log.segments.find(resume_at).map_or(log_start, |segment| segment.base)
            }
        }
    };
    let mut scan = scan(from);
    let (mut hashes, mut keys) = (Vec::new(), Vec::new());
    while scan.position() < position(end) {
        let io = io_error("read", log.layout.commit_log());
        let record = match scan.next_item().map_err(io)? {
            Scanned::Record(record) => record,
            Scanned::Blank => continue,
            Scanned::End(_) => break,
        };
        let topic = dispatch::TopicHash::new(record.topic);
        hashes.clear();
        keys.clear();
        dispatch::derive(topic, record.sys_flag, record.properties, &mut hashes);
        let (physical, store_time) = (record.physical, record.store_timestamp);
        keys.extend(hashes.iter().map(|hash| IndexKey { hash: *hash, physical, store_time }));
        index.push(&keys);
        if index.unflushed_bytes() > INDEX_FLUSH_BYTES {
            index.flush()?;
        }
    }
    Ok(index)
}

/// Entries of the index are flushed after so many bytes of them, to bound their memory.
const INDEX_FLUSH_BYTES: u64 = 8 << 20;

/// Whether the log has the record that a queue entry means.
///
/// # Errors
/// The log could not be read, which says nothing about the entry.
pub(crate) fn claims_record(
    disk: &dyn Disk,
    segments: &Segments,
    entry: &Entry,
    topic: &str,
    queue: QueueId,
    offset: QueueOffset,
) -> io::Result<Claim> {
    let at = position(entry.physical);
    if at < segments.first_base().unwrap_or(0) {
        return Ok(Claim::Removed);
    }
    // One record of many queues: nothing around it is read, and nothing of a size that only the entry claims.
    let Some(segment) = segments.find(at) else { return Ok(Claim::Denied) };
    let file = segment.file(disk)?;
    let mut start = [0; record::HEAD_LEN];
    file.read_at(&mut start, at - segment.base)?;
    let head = record::head(&start).filter(|head| {
        head.total_size == entry.size && head.physical == entry.physical && head.queue_id == queue
    });
    let Some(head) = head else { return Ok(Claim::Denied) };
    let len = u64::try_from(head.total_size).unwrap_or(0);
    if at + len > segment.end() {
        return Ok(Claim::Denied);
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_at(&mut bytes, at - segment.base)?;
    let ours = record::decode(&bytes).is_ok_and(|record| record.topic == topic);
    Ok(match ours {
        true if head.queue_offset == offset => Claim::Confirmed,
        true => Claim::OtherOffset,
        false => Claim::Denied,
    })
}

/// The entry a record has in its queue.
pub(crate) fn queue_entry(record: &record::Record<'_>, config: &StoreConfig) -> Entry {
    let mut keys = Vec::new();
    let topic = dispatch::TopicHash::new(record.topic);
    let tag = dispatch::derive(topic, record.sys_flag, record.properties, &mut keys);
    Entry {
        physical: record.physical,
        size: i32::try_from(record.bytes.len()).unwrap_or(i32::MAX),
        tag_code: tag.code(record.store_timestamp, &config.delay_levels),
    }
}

/// The position of a cut that was begun; see [`crate::Store::truncate_to`].
fn read_truncation(disk: &dyn Disk, layout: &Layout) -> Result<Option<u64>, OpenError> {
    let path = layout.truncation();
    let read = || {
        if disk.metadata(&path)?.is_none() {
            return Ok(None);
        }
        let mut text = [0; 20];
        let read = disk.open(&path, Access::Read)?.read_at(&mut text, 0)?;
        // A torn intent means that the cut has not begun.
        Ok(std::str::from_utf8(&text[..read]).ok().and_then(parse_offset_name))
    };
    read().map_err(io_error("read", &path))
}

pub(crate) fn write_truncation(disk: &dyn Disk, layout: &Layout, at: u64) -> io::Result<()> {
    let file = disk.create_small(&layout.truncation())?;
    file.write_at(&[IoSlice::new(offset_name(at).as_bytes())], 0)?;
    file.sync_data()?;
    disk.sync_dir(&layout.ours())
}

pub(crate) fn remove_truncation(disk: &dyn Disk, layout: &Layout) -> io::Result<()> {
    disk.remove_file(&layout.truncation())?;
    disk.sync_dir(&layout.ours())
}
