//! Changes a store that does not start, or in which messages are not where they should be. The only part of `offline`
//! that writes.
//!
//! Queues and index follow from the log: what is wrong with them is built anew. The log follows from nothing, so nothing
//! of it is changed unless the caller accepts the loss; what has to leave its place then goes into
//! `<root>/ferromq/removed/<time>/`, never away. What the next start mends by itself is left to it. Every change is told.

use std::collections::BTreeSet;
use std::fmt;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferromq_protocol::types::{PhysicalOffset, QueueId, TimestampMs};
use serde::Serialize;

use super::check::{CheckReport, Problem, Severity};
use super::{ANY_RECORD, OfflineError, Progress, StoreFiles, io_error, list_sorted};
use crate::checkpoint::{CheckpointFile, StoreCheckpoint};
use crate::config::StoreConfig;
use crate::disk::{Access, Disk};
use crate::dispatch::{self, TopicHash};
use crate::index::{Index, IndexKey, IndexLoad};
use crate::layout::{offset_name, parse_offset_name, physical};
use crate::log::scan::Scanned;
use crate::queue::{Load, Replayed};
use crate::recover::queue_entry;

/// How far a repair may go.
#[derive(Clone, Copy, Debug, Default)]
pub struct RepairOptions {
    /// Messages may leave the log: behind damage in its middle, before a missing file, or all queues when there is no log
    /// any more. They are moved aside.
    pub accept_loss: bool,
    /// All queues are built anew from the log, not only those that are wrong.
    pub rebuild_queues: bool,
    /// The index is built anew from the log even if it is right.
    pub rebuild_index: bool,
    /// Names the folder for what is moved aside.
    pub now: TimestampMs,
}

/// Something that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// File or directory.
    pub path: PathBuf,
    /// What was done, and why.
    pub what: String,
}

/// What a repair did, and what it left.
#[derive(Clone, Debug, Serialize)]
pub struct RepairReport {
    /// In the order in which it was done.
    pub changes: Vec<Change>,
    /// The store afterwards.
    pub after: CheckReport,
    /// What is still wrong could be mended with `accept_loss`.
    pub needs_accepted_loss: bool,
}

impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Change { path, what } in &self.changes {
            writeln!(f, "{}: {what}", path.display())?;
        }
        if self.changes.is_empty() {
            writeln!(f, "nothing was changed")?;
        }
        if self.needs_accepted_loss {
            writeln!(
                f,
                "what is left cannot be mended without losing messages: see below, then --accept-loss"
            )?;
        }
        write!(f, "\n{}", self.after)
    }
}

/// Keys are written after so many bytes of them.
const FLUSH_EVERY: u64 = 8 << 20;
/// Records between two calls of the progress.
const PROGRESS_EVERY: u64 = 100_000;
/// Bytes copied at once.
const CHUNK: u64 = 1 << 20;

/// Mends the store below `config.root`.
///
/// # Errors
/// A broker runs on it, there is no store, or the disk fails. Calling again goes on where this ended.
pub fn repair(
    config: &StoreConfig,
    disk: &Arc<dyn Disk>,
    options: &RepairOptions,
    progress: Progress<'_>,
) -> Result<RepairReport, OfflineError> {
    let files = StoreFiles::open(config.clone(), Arc::clone(disk))?;
    let lock_path = files.layout.lock();
    let _lock = disk
        .lock(&lock_path)
        .map_err(io_error("lock", &lock_path))?
        .ok_or_else(|| OfflineError::InUse { path: files.layout.root().to_owned() })?;
    let staging = files.layout.staging();
    disk.create_dir_all(&staging).map_err(io_error("create", &staging))?;
    let mut repair = Repair {
        disk: Arc::clone(disk),
        config: config.clone(),
        options: *options,
        changes: Vec::new(),
        needs_accepted_loss: false,
        aside: files.layout.ours().join("removed").join(options.now.to_string()),
    };
    repair.mend_log_names(&files)?;
    let files = repair.reopen()?;
    repair.mend_log(&files)?;
    let files = repair.reopen()?;
    repair.mend_missing_log(&files)?;
    let files = repair.reopen()?;
    let broken = repair.broken_queues(&files, progress)?;
    let files = repair.reopen()?;
    repair.mend_queues(&files, &broken, progress)?;
    repair.mend_index(&files, progress)?;
    let after = repair.reopen()?.check_held(progress)?;
    Ok(RepairReport { changes: repair.changes, after, needs_accepted_loss: repair.needs_accepted_loss })
}

struct Repair {
    disk: Arc<dyn Disk>,
    config: StoreConfig,
    options: RepairOptions,
    changes: Vec<Change>,
    needs_accepted_loss: bool,
    aside: PathBuf,
}

type QueueName = (String, QueueId);

impl Repair {
    fn reopen(&self) -> Result<StoreFiles, OfflineError> {
        StoreFiles::open(self.config.clone(), Arc::clone(&self.disk))
    }

    fn changed(&mut self, path: &Path, what: impl Into<String>) {
        self.changes.push(Change { path: path.to_owned(), what: what.into() });
    }

    /// Moves a file or directory of the store to the same place below the folder for such.
    fn move_aside(&mut self, root: &Path, path: &Path, why: &str) -> Result<(), OfflineError> {
        let below =
            path.strip_prefix(root).unwrap_or_else(|_| Path::new(path.file_name().unwrap_or_default()));
        let to = self.aside.join(below);
        let parent = to.parent().unwrap_or(&self.aside);
        self.disk.create_dir_all(parent).map_err(io_error("create", parent))?;
        self.disk.rename(path, &to).map_err(io_error("move", path))?;
        for dir in [path.parent(), Some(parent)].into_iter().flatten() {
            self.disk.sync_dir(dir).map_err(io_error("sync", dir))?;
        }
        self.changed(path, format!("moved to {}: {why}", to.display()));
        Ok(())
    }

    /// Names and lengths in the directory of the log.
    fn mend_log_names(&mut self, files: &StoreFiles) -> Result<(), OfflineError> {
        let dir = files.layout.commit_log();
        let root = files.layout.root();
        let size = files.config.segment_size;
        let entries = list_sorted(&*self.disk, dir)?;
        let mut bases: Vec<u64> = Vec::new();
        for entry in entries.iter().filter(|entry| !entry.is_dir) {
            let path = dir.join(&entry.name);
            match parse_offset_name(&entry.name) {
                None => {
                    self.move_aside(root, &path, "it is no file of the log, and no broker starts with it")?
                }
                Some(base) if base.is_multiple_of(size) && entry.len == size => bases.push(base),
                // Empty or short, as a crash leaves it; lengthening adds zeros.
                Some(base) if base.is_multiple_of(size) && entry.len < size => {
                    let file = self.disk.open(&path, Access::ReadWrite).map_err(io_error("open", &path))?;
                    file.set_len(size)
                        .and_then(|()| file.sync_data())
                        .map_err(io_error("lengthen", &path))?;
                    self.changed(&path, format!("lengthened from {} to {size} bytes with zeros", entry.len));
                    bases.push(base);
                }
                // Another size, or none of ours: only whoever configured the store knows.
                Some(_) => {}
            }
        }
        let gap = bases.windows(2).rposition(|pair| pair[0] + size != pair[1]);
        if let Some(gap) = gap {
            if !self.options.accept_loss {
                self.needs_accepted_loss = true;
                return Ok(());
            }
            for base in &bases[..=gap] {
                self.move_aside(
                    root,
                    &dir.join(offset_name(*base)),
                    "a file between it and the rest is missing",
                )?;
            }
        }
        Ok(())
    }

    /// Damage in the middle of the log: cut there, and what follows moved aside.
    fn mend_log(&mut self, files: &StoreFiles) -> Result<(), OfflineError> {
        let mut scan = files.scan(files.log_start(), ANY_RECORD);
        let mut last_time = TimestampMs(0);
        let why = loop {
            match scan.next_item().map_err(io_error("read", files.layout.commit_log()))? {
                Scanned::Record(record) => last_time = record.store_timestamp,
                Scanned::Blank => {}
                Scanned::End(why) => break why,
            }
        };
        let end = scan.position();
        let later: Vec<_> =
            files.segments.list().iter().filter(|segment| segment.base > end).cloned().collect();
        let records_follow = later.iter().any(|segment| files.record_exists(physical(segment.base)));
        let below_durable =
            physical(end) < files.checkpoint.queue_position && !files.segments.list().is_empty();
        if !records_follow && !below_durable {
            // The end of the log, or a torn one: the next start does the same.
            return Ok(());
        }
        if !self.options.accept_loss {
            self.needs_accepted_loss = true;
            return Ok(());
        }
        for segment in later.iter().rev() {
            self.move_aside(files.layout.root(), segment.path(), "it follows damage in the log")?;
        }
        if let Some(segment) = files.segments.find(end) {
            let kept = self.aside.join(format!("{}-from-{}", offset_name(segment.base), end - segment.base));
            self.copy_and_erase(segment.path(), end - segment.base, segment.end() - segment.base, &kept)?;
            let what = format!("cut at {end} ({why:?}); what followed was copied to {}", kept.display());
            self.changed(segment.path(), what);
        }
        // It promised more than there is now.
        let fields = StoreCheckpoint {
            log_time: files.checkpoint.log_time.min(last_time),
            queue_time: files.checkpoint.queue_time.min(last_time),
            queue_position: files.checkpoint.queue_position.min(physical(end)),
            ..files.checkpoint
        };
        self.write_checkpoint(files, &fields, "it named a position behind the end of the log")
    }

    fn copy_and_erase(&self, path: &Path, from: u64, to: u64, copy: &Path) -> Result<(), OfflineError> {
        let parent = copy.parent().unwrap_or(copy);
        self.disk.create_dir_all(parent).map_err(io_error("create", parent))?;
        let source = self.disk.open(path, Access::ReadWrite).map_err(io_error("open", path))?;
        let target = self.disk.create_small(copy).map_err(io_error("create", copy))?;
        let mut buffer = Vec::new();
        let mut at = from;
        while at < to {
            buffer.resize(usize::try_from(CHUNK.min(to - at)).unwrap_or(0), 0);
            let read = source.read_at(&mut buffer, at).map_err(io_error("read", path))?;
            if read == 0 {
                break;
            }
            let bytes = IoSlice::new(&buffer[..read]);
            target.write_at(&[bytes], at - from).map_err(io_error("write", copy))?;
            at += read as u64;
        }
        target.sync_data().map_err(io_error("sync", copy))?;
        self.disk.sync_dir(parent).map_err(io_error("sync", parent))?;
        source.zero(from, to - from).and_then(|()| source.sync_data()).map_err(io_error("erase", path))
    }

    /// Queues without a log: no broker starts, lest a log that is only not mounted loses its queues.
    fn mend_missing_log(&mut self, files: &StoreFiles) -> Result<(), OfflineError> {
        let queues = files.layout.consume_queues();
        let has_queues = !list_sorted(&*self.disk, &queues)?.is_empty();
        if !files.segments.list().is_empty() || !has_queues {
            return Ok(());
        }
        if !self.options.accept_loss {
            self.needs_accepted_loss = true;
            return Ok(());
        }
        self.move_aside(files.layout.root(), &queues, "there is no log that its entries could point into")?;
        self.disk.create_dir_all(&queues).map_err(io_error("create", &queues))?;
        self.write_checkpoint(files, &StoreCheckpoint::default(), "there is no log")
    }

    /// Queues to be built anew. Those whose files cannot even be loaded are moved aside on the way.
    fn broken_queues(
        &mut self,
        files: &StoreFiles,
        progress: Progress<'_>,
    ) -> Result<BTreeSet<QueueName>, OfflineError> {
        let mut broken = BTreeSet::new();
        let root = files.layout.consume_queues();
        loop {
            let (report, wrong) = files.check_with_queues(progress)?;
            let unfit = report.problems.iter().find_map(|problem| {
                let Problem { severity: Severity::Refused, file, what, .. } = problem else { return None };
                Some((queue_of(&root, file)?, file.clone(), what.clone()))
            });
            match unfit {
                Some((name, _, what)) => {
                    let dir = files.layout.consume_queue(&name.0, name.1);
                    self.move_aside(files.layout.root(), &dir, &what)?;
                    broken.insert(name);
                }
                None => {
                    broken.extend(wrong);
                    return Ok(broken);
                }
            }
        }
    }

    fn mend_queues(
        &mut self,
        files: &StoreFiles,
        broken: &BTreeSet<QueueName>,
        progress: Progress<'_>,
    ) -> Result<(), OfflineError> {
        if broken.is_empty() && !self.options.rebuild_queues {
            return Ok(());
        }
        let end = self.end_of_log(files)?;
        let in_log = self.queues_in_log(files, end)?;
        let all = |name: &QueueName| self.options.rebuild_queues || broken.contains(name);
        let rebuilt: BTreeSet<QueueName> = in_log.into_iter().filter(all).collect();
        for (topic, id) in &rebuilt {
            let dir = files.layout.consume_queue(topic, *id);
            if self.disk.metadata(&dir).map_err(io_error("look at", &dir))?.is_some() {
                self.move_aside(files.layout.root(), &dir, "it is built anew from the log")?;
            }
        }
        let queues = files.queues(Access::ReadWrite);
        queues.load_exclusions()?;
        queues.distrust_table()?;
        queues.load(&Load {
            keep_below: PhysicalOffset(i64::MAX),
            claims: &|entry, topic, queue, offset| files.claim(entry, topic, queue, offset),
            threads: self.config.recovery_threads,
            progress: &|done, total| progress("queues", done, total),
        })?;
        let mut replayed = Replayed::default();
        self.walk(files, end, "rebuilding queues", progress, &mut |record| {
            if dispatch::has_queue_entry(record.sys_flag)
                && rebuilt.contains(&(record.topic.to_owned(), record.queue_id))
            {
                let entry = queue_entry(record, &files.config);
                queues.replay(record.topic, record.queue_id, record.queue_offset, entry, &mut replayed)?;
                if replayed.entries.is_multiple_of(PROGRESS_EVERY) {
                    queues.flush()?;
                }
            }
            Ok(())
        })?;
        queues.flush()?;
        queues.finish_recovery()?;
        queues.sync()?;
        let what = format!("built {} queues with {} entries", rebuilt.len(), replayed.entries);
        self.changed(&files.layout.consume_queues(), what);
        for finding in replayed.findings {
            self.changed(&finding.path, format!("at offset {}: {}", finding.offset, finding.kind));
        }
        Ok(())
    }

    fn mend_index(&mut self, files: &StoreFiles, progress: Progress<'_>) -> Result<(), OfflineError> {
        let dir = files.layout.index();
        let names = list_sorted(&*self.disk, &dir)?;
        let report = files.check_held(progress)?;
        let wrong = report
            .problems
            .iter()
            .any(|problem| problem.severity >= Severity::Wrong && problem.file.starts_with(&dir));
        if !self.config.index_enabled || !(wrong || self.options.rebuild_index) {
            return Ok(());
        }
        for entry in names.iter().filter(|entry| !entry.is_dir) {
            let path = dir.join(&entry.name);
            self.disk.remove_file(&path).map_err(io_error("remove", &path))?;
        }
        let end = self.end_of_log(files)?;
        let load = IndexLoad {
            clean: false,
            end,
            full_until: TimestampMs(0),
            synced_below: PhysicalOffset(0),
            store_time: &|_| None,
        };
        let (index, _) = Index::open(files.index_config(Access::ReadWrite), Arc::clone(&self.disk), &load)?;
        let (mut hashes, mut keys, mut count) = (Vec::new(), Vec::new(), 0_u64);
        self.walk(files, end, "rebuilding the index", progress, &mut |record| {
            hashes.clear();
            keys.clear();
            dispatch::derive(TopicHash::new(record.topic), record.sys_flag, record.properties, &mut hashes);
            let (physical, store_time) = (record.physical, record.store_timestamp);
            keys.extend(hashes.iter().map(|hash| IndexKey { hash: *hash, physical, store_time }));
            count += keys.len() as u64;
            index.push(&keys);
            if index.unflushed_bytes() > FLUSH_EVERY {
                index.flush()?;
            }
            Ok(())
        })?;
        index.close()?;
        let what = format!("removed {} files and built the index anew with {count} keys", names.len());
        self.changed(&dir, what);
        // A broker deletes what it does not know to be durable after a crash.
        let fields = StoreCheckpoint { index_time: index.full_until(), ..files.checkpoint };
        self.write_checkpoint(files, &fields, "other index files are full now")
    }

    fn write_checkpoint(
        &mut self,
        files: &StoreFiles,
        fields: &StoreCheckpoint,
        why: &str,
    ) -> Result<(), OfflineError> {
        let path = files.layout.checkpoint();
        let mut file = CheckpointFile::load(Arc::clone(&self.disk), &path, &files.layout.staging())
            .map_err(io_error("read", &path))?;
        if file.current() != *fields {
            file.write(fields).map_err(io_error("write", &path))?;
            self.changed(&path, format!("written anew: {why}"));
        }
        Ok(())
    }

    fn end_of_log(&self, files: &StoreFiles) -> Result<PhysicalOffset, OfflineError> {
        let mut end = physical(files.log_start());
        self.walk(files, PhysicalOffset(i64::MAX), "log", &|_, _, _| (), &mut |record| {
            end = record.physical.plus(record.bytes.len() as u64);
            Ok(())
        })?;
        Ok(end)
    }

    /// Queues with a record that is still in the log. The others cannot be built anew, and their maximum counts.
    fn queues_in_log(
        &self,
        files: &StoreFiles,
        end: PhysicalOffset,
    ) -> Result<BTreeSet<QueueName>, OfflineError> {
        let mut found = BTreeSet::new();
        self.walk(files, end, "log", &|_, _, _| (), &mut |record| {
            if dispatch::has_queue_entry(record.sys_flag) {
                found.insert((record.topic.to_owned(), record.queue_id));
            }
            Ok(())
        })?;
        Ok(found)
    }

    fn walk(
        &self,
        files: &StoreFiles,
        end: PhysicalOffset,
        stage: &str,
        progress: Progress<'_>,
        each: &mut dyn FnMut(&ferromq_protocol::record::Record<'_>) -> Result<(), OfflineError>,
    ) -> Result<(), OfflineError> {
        let start = files.log_start();
        let total = files.segments.list().last().map_or(0, |last| last.end()) - start;
        let mut scan = files.scan(start, ANY_RECORD);
        let mut records = 0_u64;
        while physical(scan.position()) < end {
            match scan.next_item().map_err(io_error("read", files.layout.commit_log()))? {
                Scanned::Record(record) => {
                    each(&record)?;
                    records += 1;
                    if records.is_multiple_of(PROGRESS_EVERY) {
                        progress(stage, record.physical.0.unsigned_abs() - start, total);
                    }
                }
                Scanned::Blank => {}
                Scanned::End(_) => break,
            }
        }
        Ok(())
    }
}

/// The queue to which a file below the directory of queues belongs.
fn queue_of(root: &Path, file: &Path) -> Option<QueueName> {
    let mut parts = file.strip_prefix(root).ok()?.iter().map(|part| part.to_str());
    let topic = parts.next()??;
    let id = parts.next()??.parse().ok()?;
    Some((topic.to_owned(), QueueId(id)))
}
