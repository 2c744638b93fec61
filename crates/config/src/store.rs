//! What the store needs to know: where its files are, how large, how safe, how long.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::settings::{Problem, Settings};

/// Bytes of one consume queue entry: file sizes are whole multiples.
const QUEUE_ENTRY_BYTES: u64 = 20;

/// Fixed from start to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSection {
    /// Directory of everything.
    pub root: PathBuf,
    /// Directory of the commit log.
    pub commit_log: PathBuf,
    /// Bytes of one commit log file.
    pub log_file_bytes: u64,
    /// Bytes of one consume queue file: whole entries.
    pub queue_file_bytes: u64,
    /// When a send is answered.
    pub flush: FlushMode,
    /// ASYNC_FLUSH: from the first unsynced byte to the start of a flush.
    pub flush_interval: Duration,
    /// SYNC_FLUSH: how long a send waits for the disk.
    pub sync_timeout: Duration,
    /// Between two complete syncs of queues and index.
    pub thorough_sync_interval: Duration,
    /// Largest message body in bytes at the start.
    pub max_body_bytes: usize,
    /// Delays by level, as `1s 5s 10m`.
    pub delay_levels: String,
    /// Records get a checksum over everything as a last property.
    pub append_property_crc: bool,
    /// Records without that checksum count as damaged.
    pub require_property_crc: bool,
    /// Recovery verifies bodies below the durable position too.
    pub verify_on_recovery: bool,
    /// The key index.
    pub index: IndexSection,
    /// Between two looks at what may be deleted.
    pub clean_interval: Duration,
    /// Bytes of the newest log kept in memory.
    pub hot_tail_bytes: usize,
    /// Consume queue files that are open at the same time.
    pub max_open_queue_files: usize,
}

/// When a send counts as safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMode {
    /// In the page cache.
    Async,
    /// On the disk.
    Sync,
}

/// The key index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexSection {
    /// New messages are entered.
    pub write: bool,
    /// Slots of one file.
    pub slots: u32,
    /// Entries of one file.
    pub entries: u32,
}

/// What may be deleted, and when. May change while running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Age after which a log file may go.
    pub keep: Duration,
    /// Hours of the day in which old files are deleted, as bits 0 to 23.
    pub delete_hours: HoursOfDay,
    /// Percent of the disk from which old files are deleted at any hour.
    pub start_percent: u8,
    /// Percent of the disk from which files are deleted whatever their age.
    pub force_percent: u8,
    /// Percent of the disk from which sends are refused.
    pub full_percent: u8,
    /// Files that are not old enough may be deleted at `force_percent`.
    pub force: bool,
    /// Files deleted in one round.
    pub files_per_round: u32,
    /// Between two deletions of log files.
    pub log_file_pause: Duration,
}

/// A set of hours, 0 to 23.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoursOfDay(u32);

impl HoursOfDay {
    /// Java's `deleteWhen`: hours separated by semicolons.
    fn parse(text: &str) -> Option<Self> {
        let mut hours = 0;
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let hour: u32 = part.parse().ok().filter(|hour| *hour < 24)?;
            hours |= 1 << hour;
        }
        Some(Self(hours))
    }

    /// True in that hour of the day.
    pub fn contains(self, hour: u8) -> bool {
        hour < 24 && self.0 >> hour & 1 == 1
    }
}

/// How much one pull may read. May change while running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Bytes of recent messages.
    pub recent_bytes: u32,
    /// Recent messages.
    pub recent_count: u32,
    /// Bytes of older messages.
    pub older_bytes: u32,
    /// Older messages.
    pub older_count: u32,
    /// Percent of the memory within which messages count as recent.
    pub recent_percent_of_memory: u8,
    /// Bytes of queue entries looked at while nothing matches.
    pub filter_bytes: u32,
    /// Damaged records are stepped over instead of failing the pull.
    pub skip_corrupt: bool,
}

/// Limits of queries by key. May change while running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryLimits {
    /// Queries look into the index at all.
    pub enabled: bool,
    /// Messages found for a unique key.
    pub by_unique_key: u32,
    /// Messages found for another key.
    pub by_key: u32,
}

impl StoreSection {
    pub(crate) fn read(settings: &Settings, problems: &mut Vec<Problem>) -> Self {
        let root = settings.path_if_set("storePathRootDir").unwrap_or_else(|| {
            problems.push(settings.rule("storePathRootDir", "name a directory"));
            PathBuf::new()
        });
        let commit_log = settings.path_if_set("storePathCommitLog").unwrap_or_else(|| root.join("commitlog"));
        if commit_log.to_string_lossy().contains(',') {
            problems.push(settings.rule(
                "storePathCommitLog",
                "a commit log in several directories is not supported yet; name one directory without a comma",
            ));
        }
        let queue_file_bytes: u64 = settings.bounded("mappedFileSizeConsumeQueue");
        Self {
            commit_log,
            root,
            log_file_bytes: settings.bounded("mappedFileSizeCommitLog"),
            queue_file_bytes: queue_file_bytes.next_multiple_of(QUEUE_ENTRY_BYTES),
            flush: if settings.text("flushDiskType") == "SYNC_FLUSH" {
                FlushMode::Sync
            } else {
                FlushMode::Async
            },
            flush_interval: settings.milliseconds("flushIntervalCommitLog"),
            sync_timeout: settings.milliseconds("syncFlushTimeout"),
            thorough_sync_interval: settings.milliseconds("flushConsumeQueueThoroughInterval"),
            max_body_bytes: settings.bounded("maxMessageSize"),
            delay_levels: delay_levels(settings, problems),
            append_property_crc: settings.flag("enabledAppendPropCRC"),
            require_property_crc: settings.flag("forceVerifyPropCRC"),
            verify_on_recovery: settings.flag("checkCRCOnRecover"),
            index: IndexSection {
                // Java writes the files only if both are on.
                write: settings.flag("messageIndexEnable") & settings.flag("indexFileWriteEnable"),
                slots: settings.bounded("maxHashSlotNum"),
                entries: settings.bounded("maxIndexNum"),
            },
            clean_interval: settings.milliseconds("cleanResourceInterval"),
            hot_tail_bytes: settings.bounded("hotTailSize"),
            max_open_queue_files: settings.bounded("maxOpenQueueFiles"),
        }
    }

    /// Directory of the JSON files.
    pub fn config_directory(&self) -> PathBuf {
        self.root.join("config")
    }

    /// Directory of what Java does not have.
    pub fn own_directory(&self) -> PathBuf {
        self.root.join("ferromq")
    }

    /// Where updateBrokerConfig writes when no file was given.
    pub fn default_config_file(&self) -> PathBuf {
        self.config_directory().join("broker.properties")
    }

    /// The directories whose disks fill up.
    pub fn directories(&self) -> [&Path; 2] {
        [&self.commit_log, &self.root]
    }
}

fn delay_levels(settings: &Settings, problems: &mut Vec<Problem>) -> String {
    let text = settings.text("messageDelayLevel");
    let is_delay = |part: &str| {
        let number = part.strip_suffix(['s', 'm', 'h', 'd']);
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    if !text.split(' ').filter(|part| !part.is_empty()).all(is_delay) {
        problems.push(
            settings.rule("messageDelayLevel", "write numbers followed by s, m, h or d, as in 1s 5s 10m"),
        );
    }
    text.to_owned()
}

impl Retention {
    pub(crate) fn read(settings: &Settings, problems: &mut Vec<Problem>) -> Self {
        let delete_hours = HoursOfDay::parse(settings.text("deleteWhen")).unwrap_or_else(|| {
            problems.push(settings.rule("deleteWhen", "write hours from 00 to 23 separated by semicolons"));
            HoursOfDay(0)
        });
        // Java clamps instead of refusing.
        let percent = |name, least, most| {
            u8::try_from(settings.number(name).clamp(least, most))
                .expect("invariant: percents are clamped below 100")
        };
        Self {
            keep: Duration::from_secs(3_600 * settings.bounded::<u64>("fileReservedTime")),
            delete_hours,
            start_percent: percent("diskMaxUsedSpaceRatio", 10, 95),
            force_percent: percent("diskSpaceCleanForciblyRatio", 30, 85),
            full_percent: percent("diskSpaceWarningLevelRatio", 35, 90),
            force: settings.flag("cleanFileForciblyEnable"),
            files_per_round: settings.bounded("deleteFileBatchMax"),
            log_file_pause: settings.milliseconds("deleteCommitLogFilesInterval"),
        }
    }
}

impl ReadLimits {
    pub(crate) fn read(settings: &Settings) -> Self {
        Self {
            recent_bytes: settings.bounded("maxTransferBytesOnMessageInMemory"),
            recent_count: settings.bounded("maxTransferCountOnMessageInMemory"),
            older_bytes: settings.bounded("maxTransferBytesOnMessageInDisk"),
            older_count: settings.bounded("maxTransferCountOnMessageInDisk"),
            recent_percent_of_memory: settings.bounded("accessMessageInMemoryMaxRatio"),
            filter_bytes: settings.bounded("maxFilterMessageSize"),
            skip_corrupt: settings.flag("skipCorruptRecords"),
        }
    }
}

impl QueryLimits {
    pub(crate) fn read(settings: &Settings) -> Self {
        Self {
            enabled: settings.flag("indexFileReadEnable"),
            by_unique_key: settings.bounded("defaultQueryMaxNum"),
            by_key: settings.bounded("maxMsgsNumBatch"),
        }
    }
}
