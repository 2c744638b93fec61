//! What a store is told at its start, in the words of this crate. The broker's configuration maps Java's keys to it.

use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::dispatch::DelayLevels;
use crate::retention::RetentionRules;

/// When a record counts as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FlushMode {
    /// Once its bytes are in the page cache (`ASYNC_FLUSH`).
    #[default]
    Async,
    /// Once its bytes are on the disk (`SYNC_FLUSH`).
    Sync,
}

/// Everything that is fixed while the store is open. [`StoreConfig::at`] has Java's defaults.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// `storePathRootDir`.
    pub root: PathBuf,
    /// `storePathCommitLog`; below the root if `None`.
    pub commit_log: Option<PathBuf>,
    /// `mappedFileSizeCommitLog`.
    pub segment_size: u64,
    /// `mappedFileSizeConsumeQueue`.
    pub queue_file_size: u64,
    /// `flushDiskType`.
    pub flush_mode: FlushMode,
    /// `flushIntervalCommitLog`: with [`FlushMode::Async`], how long a byte may stay unsynced.
    pub flush_interval: Duration,
    /// `syncFlushTimeout`: with [`FlushMode::Sync`], how long a sender waits for the disk.
    pub sync_flush_timeout: Duration,
    /// `maxMessageSize` at the start; [`crate::Store::set_max_message_size`] changes it.
    pub max_message_size: usize,
    /// `enabledAppendPropCRC`.
    pub append_property_crc: bool,
    /// `forceVerifyPropCRC`.
    pub force_verify_property_crc: bool,
    /// `checkCRCOnRecover`: whether recovery reads the checksums of bodies below the last known durable position.
    /// Above it they are checked in any case.
    pub check_crc_on_recover: bool,
    /// `messageIndexEnable`.
    pub index_enabled: bool,
    /// `maxHashSlotNum`.
    pub index_slots: u32,
    /// `maxIndexNum`.
    pub index_entries: u32,
    /// Zone of the names of index files: the machine's, as Java's.
    pub time_zone: TimeZone,
    /// `messageDelayLevel`; decides the tag code of delayed messages.
    pub delay_levels: DelayLevels,
    /// `skipCorruptRecords` at the start: a damaged record is left out of answers and counted, instead of failing
    /// the read.
    pub skip_corrupt_records: bool,
    /// Threads that load queues at the start.
    pub recovery_threads: usize,
    /// Bytes of the log's end kept in memory for consumers.
    pub ring_bytes: u64,
    /// Bytes of records submitted and not yet answered.
    pub pending_bytes_max: usize,
    /// Descriptors of queue files kept open.
    pub open_queue_files_max: usize,
    /// The write-behind of queue and index files starts at the latest after so many bytes of log, or three times as many
    /// while they are spread over many queues ...
    pub write_behind_bytes: u64,
    /// ... or this time.
    pub write_behind_interval: Duration,
    /// Queue and index files are synced and the checkpoint is written at the latest after so many bytes of log ...
    pub checkpoint_bytes: u64,
    /// ... or this time.
    pub checkpoint_interval: Duration,
    /// What may be removed, and when, until [`crate::Store::set_retention`] says otherwise.
    pub retention: RetentionRules,
    /// Between two looks at what may be removed, and at how full the disks are.
    pub clean_interval: Duration,
    /// Nothing is removed for so long after the start.
    pub clean_delay: Duration,
}

impl StoreConfig {
    /// Java's defaults for a store below `root`.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            commit_log: None,
            segment_size: 1 << 30,
            queue_file_size: 6_000_000,
            flush_mode: FlushMode::Async,
            flush_interval: Duration::from_millis(500),
            sync_flush_timeout: Duration::from_secs(5),
            max_message_size: 4 << 20,
            append_property_crc: false,
            force_verify_property_crc: false,
            check_crc_on_recover: true,
            index_enabled: true,
            index_slots: 5_000_000,
            index_entries: 20_000_000,
            time_zone: TimeZone::system(),
            delay_levels: DelayLevels::default(),
            skip_corrupt_records: false,
            recovery_threads: std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4)),
            ring_bytes: 64 << 20,
            pending_bytes_max: 32 << 20,
            open_queue_files_max: 4096,
            write_behind_bytes: 16 << 20,
            write_behind_interval: Duration::from_secs(1),
            checkpoint_bytes: 256 << 20,
            checkpoint_interval: Duration::from_secs(60),
            retention: RetentionRules::default(),
            clean_interval: Duration::from_secs(10),
            clean_delay: Duration::from_secs(60),
        }
    }
}
