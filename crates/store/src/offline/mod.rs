//! Stores without a broker: `check` tells what is wrong and what the next start would do, `dump` shows what is there,
//! `repair` changes what a start refuses to.
//!
//! Nothing here but `repair` writes, and `repair` deletes nothing that a message could be in: it moves it into
//! `<root>/ferromq/removed/`. File sizes are configuration, not stored; [`StoreFiles::open`] takes them from the lengths of
//! the files it finds.

pub mod check;
pub mod dump;
pub mod repair;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferromq_protocol::types::{PhysicalOffset, QueueId, QueueOffset};
use serde::Serialize;

use crate::checkpoint::{CheckpointFile, StoreCheckpoint};
use crate::config::StoreConfig;
use crate::disk::{Access, DirEntry, Disk};
use crate::index::{IndexConfig, IndexError, Shape};
use crate::layout::{Layout, offset_name, parse_offset_name, position};
use crate::log::scan::{Scan, ScanRules, Scanned};
use crate::log::segment::Segments;
use crate::queue::{Claim, EntriesError, Entry, QueueConfig, QueueError, Queues};
use crate::recover::claims_record;
use crate::running::{DirectoryError, last_run};

/// A store that cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The disk refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no store: neither a log nor queues.
    #[error("{} holds no store: there is no commitlog/ and no consumequeue/ in it", path.display())]
    NoStore {
        /// The directory.
        path: PathBuf,
    },
    /// A broker runs on the store. Stop it first.
    #[error("a broker runs on {}", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// There is no such file or queue in the store.
    #[error("there is no {what} in this store")]
    NotThere {
        /// What was asked for.
        what: String,
    },
    /// Our own files.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Queue files.
    #[error(transparent)]
    Queues(#[from] QueueError),
    /// Queue entries.
    #[error(transparent)]
    Entries(#[from] EntriesError),
    /// Index files.
    #[error(transparent)]
    Index(#[from] IndexError),
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> OfflineError + 'a {
    move |source| OfflineError::Io { action, path: path.to_owned(), source }
}

/// Told what is being done, how much of it is done, and how much there is.
pub type Progress<'a> = &'a (dyn Fn(&str, u64, u64) + Sync);

/// The files of a store, opened for reading.
pub struct StoreFiles {
    disk: Arc<dyn Disk>,
    config: StoreConfig,
    layout: Layout,
    segments: Segments,
    checkpoint: StoreCheckpoint,
    /// From here on records were written by this program; see [`ScanRules::ours_from`].
    ours_from: u64,
    /// What is wrong with the names and lengths of the files of the log.
    log_problems: Vec<check::Problem>,
}

impl StoreFiles {
    /// Looks what files there are. Sizes in `config` that the files contradict are taken from the files.
    ///
    /// # Errors
    /// There is no store, or it cannot be read.
    pub fn open(config: StoreConfig, disk: Arc<dyn Disk>) -> Result<Self, OfflineError> {
        let layout = Layout::new(config.root.clone(), config.commit_log.clone());
        let mut config = config;
        let exists =
            |path: &Path| disk.metadata(path).map(|found| found.is_some()).map_err(io_error("look at", path));
        if !exists(layout.commit_log())? && !exists(&layout.consume_queues())? {
            return Err(OfflineError::NoStore { path: layout.root().to_owned() });
        }
        let log = list_sorted(&*disk, layout.commit_log())?;
        let queues = list_sorted(&*disk, &layout.consume_queues())?;
        if let Some(len) = common_len(&log) {
            config.segment_size = len;
        }
        if let Some(len) = queue_file_len(&*disk, &layout, &queues)? {
            config.queue_file_size = len;
        }
        let (bases, log_problems) = survey_log(&layout, &log, config.segment_size);
        let segments = Segments::for_reading(Arc::clone(&disk), &layout, config.segment_size, &bases);
        let path = layout.checkpoint();
        let checkpoint = CheckpointFile::read(&*disk, &path).map_err(io_error("read", &path))?;
        let ours_from = last_run(&*disk, &layout)?.map_or(u64::MAX, |mark| mark.from);
        Ok(Self { disk, config, layout, segments, checkpoint, ours_from, log_problems })
    }

    /// Whether a broker runs on the store. What is read then may change meanwhile.
    ///
    /// # Errors
    /// The lock cannot be looked at.
    pub fn is_in_use(&self) -> Result<bool, OfflineError> {
        let path = self.layout.lock();
        let exists = self.disk.metadata(&path).map_err(io_error("look at", &path))?.is_some();
        Ok(exists && self.disk.lock(&path).map_err(io_error("lock", &path))?.is_none())
    }

    fn log_start(&self) -> u64 {
        self.segments.first_base().unwrap_or(0)
    }

    fn scan(&self, from: u64, rules: ScanRules) -> Scan<'_> {
        Scan::new(&*self.disk, &self.segments, from, rules)
    }

    fn claim(&self, entry: &Entry, topic: &str, queue: QueueId, offset: QueueOffset) -> Claim {
        // A part of the log that cannot be read is reported where the log is read.
        claims_record(&*self.disk, &self.segments, entry, topic, queue, offset).unwrap_or(Claim::Denied)
    }

    /// The record at a position, if there is one.
    fn record_exists(&self, at: PhysicalOffset) -> bool {
        let scanned = self
            .scan(position(at), ANY_RECORD)
            .next_item()
            .is_ok_and(|item| matches!(item, Scanned::Record(_)));
        at.0 >= 0 && scanned
    }

    fn queues(&self, access: Access) -> Queues {
        Queues::new(
            &QueueConfig {
                dir: self.layout.consume_queues(),
                batch_dir: self.layout.batch_queues(),
                side_dir: self.layout.ours(),
                file_size: self.config.queue_file_size,
                open_files_max: self.config.open_queue_files_max,
                access,
            },
            Arc::clone(&self.disk),
        )
    }

    fn index_config(&self, access: Access) -> IndexConfig {
        IndexConfig {
            dir: self.layout.index(),
            staging: self.layout.staging(),
            shape: Shape { slots: self.config.index_slots, entries: self.config.index_entries },
            access,
            zone: self.config.time_zone.clone(),
        }
    }
}

/// Whole records with a right position and a right body.
const ANY_RECORD: ScanRules = ScanRules {
    strict_from: u64::MAX,
    verify_below: true,
    require_property_crc: false,
    compare_property_crc: false,
    ours_from: u64::MAX,
};

/// The sizes that files of a store have; they are configuration and stored nowhere.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sizes {
    /// `mappedFileSizeCommitLog`.
    pub log_file: u64,
    /// `mappedFileSizeConsumeQueue`.
    pub queue_file: u64,
    /// `maxHashSlotNum`.
    pub index_slots: u32,
    /// `maxIndexNum`.
    pub index_entries: u32,
}

fn list_sorted(disk: &dyn Disk, dir: &Path) -> Result<Vec<DirEntry>, OfflineError> {
    let mut entries = disk.list(dir).map_err(io_error("list", dir))?;
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// The length that most files with an offset for a name have.
fn common_len(entries: &[DirEntry]) -> Option<u64> {
    let named = entries.iter().filter(|entry| !entry.is_dir && parse_offset_name(&entry.name).is_some());
    let mut lens: Vec<u64> = named.map(|entry| entry.len).filter(|len| *len > 0).collect();
    lens.sort_unstable();
    let mut runs = lens.chunk_by(|a, b| a == b).collect::<Vec<_>>();
    runs.sort_by_key(|run| run.len());
    runs.last().and_then(|run| run.first()).copied()
}

/// The length of the first queue file there is.
fn queue_file_len(
    disk: &dyn Disk,
    layout: &Layout,
    topics: &[DirEntry],
) -> Result<Option<u64>, OfflineError> {
    for topic in topics.iter().filter(|entry| entry.is_dir) {
        let topic = layout.consume_queues().join(&topic.name);
        for queue in list_sorted(disk, &topic)?.iter().filter(|entry| entry.is_dir) {
            if let Some(len) = common_len(&list_sorted(disk, &topic.join(&queue.name))?) {
                return Ok(Some(len));
            }
        }
    }
    Ok(None)
}

/// The files of the log that follow each other, and what is wrong with the others.
fn survey_log(layout: &Layout, entries: &[DirEntry], size: u64) -> (Vec<u64>, Vec<check::Problem>) {
    let dir = layout.commit_log();
    let mut problems = Vec::new();
    let mut bases: Vec<u64> = Vec::new();
    let last = entries.iter().rposition(|entry| !entry.is_dir);
    for (place, entry) in entries.iter().enumerate().filter(|(_, entry)| !entry.is_dir) {
        let path = dir.join(&entry.name);
        let mut problem = |severity, what: String| {
            problems.push(check::Problem { severity, file: path.clone(), byte: None, what });
        };
        let Some(base) = parse_offset_name(&entry.name) else {
            problem(check::Severity::Refused, "is not a file of the log".to_owned());
            continue;
        };
        if entry.len == 0 && Some(place) == last {
            problem(check::Severity::Mended, "is empty; the next start removes it".to_owned());
            continue;
        }
        if entry.len > size || !base.is_multiple_of(size) {
            let what = format!("has {} bytes or a name that do not fit files of {size} bytes", entry.len);
            problem(check::Severity::Refused, what);
            continue;
        }
        if entry.len < size {
            let what = format!("has {} of {size} bytes; the next start lengthens it", entry.len);
            problem(check::Severity::Mended, what);
        }
        if let Some(before) = bases.last()
            && before + size != base
        {
            let missing = offset_name(before + size);
            problem(check::Severity::Refused, format!("follows a gap: {missing} is missing"));
            // What is behind the gap is the log; Java would take it so, too.
            bases.clear();
        }
        bases.push(base);
    }
    (bases, problems)
}
