//! What is in a store, as values that print as text and as JSON. Changes nothing.

use std::collections::BTreeMap;
use std::fmt;

use ferromq_protocol::msg_id::OffsetMsgId;
use ferromq_protocol::record::Record;
use ferromq_protocol::types::{PhysicalOffset, QueueId, QueueOffset};
use serde::Serialize;

use super::{ANY_RECORD, OfflineError, StoreFiles, io_error};
use crate::disk::Access;
use crate::index::{Header, KeyEntry};
use crate::layout::{physical, position};
use crate::log::scan::Scanned;
use crate::queue::{Claim, Entry, Load, Wait};

/// A file of the log.
#[derive(Clone, Debug, Serialize)]
pub struct SegmentLine {
    /// Its name.
    pub file: String,
    /// First position.
    pub start: u64,
    /// Position behind it.
    pub end: u64,
    /// Store time of its first record.
    pub first_time: Option<i64>,
}

/// A record of the log.
#[derive(Clone, Debug, Serialize)]
pub struct RecordLine {
    /// Position.
    pub physical: i64,
    /// Bytes.
    pub size: usize,
    /// Topic.
    pub topic: String,
    /// Queue.
    pub queue: i32,
    /// Place in the queue.
    pub offset: i64,
    /// Id made of host and position.
    pub message_id: String,
    /// When it was stored.
    pub store_time: i64,
    /// When it was sent.
    pub born_time: i64,
    /// Who sent it.
    pub born_host: String,
    /// Bits of the system.
    pub sys_flag: i32,
    /// Flag of the user.
    pub flag: i32,
    /// How often it was consumed again.
    pub reconsume_times: i32,
    /// Bytes of the body as stored.
    pub body_bytes: usize,
    /// Whether the body is what its checksum was made of.
    pub body_ok: bool,
    /// Properties.
    pub properties: BTreeMap<String, String>,
}

/// A queue.
#[derive(Clone, Debug, Serialize)]
pub struct QueueLine {
    /// Topic.
    pub topic: String,
    /// Number.
    pub queue: i32,
    /// First offset with a record.
    pub min: i64,
    /// Offset of the next message.
    pub max: i64,
    /// End of its last record in the log.
    pub end_physical: i64,
}

/// An entry of a queue.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EntryLine {
    /// Offset.
    pub offset: i64,
    /// Position of the record.
    pub physical: i64,
    /// Bytes of the record.
    pub size: i32,
    /// Hash of the tag.
    pub tag_code: i64,
    /// No message is meant by it.
    pub blank: bool,
}

/// A file of the index.
#[derive(Clone, Debug, Serialize)]
pub struct IndexLine {
    /// Its name.
    pub file: String,
    /// Store time of the first message.
    pub begin_time: i64,
    /// Store time of the last message.
    pub end_time: i64,
    /// Position of the first message.
    pub begin_physical: i64,
    /// Position of the last message.
    pub end_physical: i64,
    /// Slots in use.
    pub used_slots: u32,
    /// Keys.
    pub keys: u32,
}

/// A key of the index.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct KeyLine {
    /// Number of the entry.
    pub number: u32,
    /// Hash of the key.
    pub hash: u32,
    /// Position of the message.
    pub physical: i64,
    /// Store time, to the second.
    pub seconds: i32,
    /// Older entry of the chain.
    pub previous: u32,
}

/// Entries read at once.
const CHUNK: usize = 1_000;

impl StoreFiles {
    /// The files of the log.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn dump_segments(&self) -> Result<Vec<SegmentLine>, OfflineError> {
        let line = |segment: &std::sync::Arc<crate::log::segment::Segment>| {
            let mut scan = self.scan(segment.base, ANY_RECORD);
            let first = scan.next_item().map_err(io_error("read", segment.path()))?;
            let first_time = match first {
                Scanned::Record(record) => Some(record.store_timestamp.0),
                Scanned::Blank | Scanned::End(_) => None,
            };
            let file = segment.path().file_name().map(|name| name.to_string_lossy().into_owned());
            Ok(SegmentLine {
                file: file.unwrap_or_default(),
                start: segment.base,
                end: segment.end(),
                first_time,
            })
        };
        self.segments.list().iter().map(line).collect()
    }

    /// Up to `count` records from a position on, which has to be that of a record or before the log; `each` returns
    /// whether it wants more. Returns why it ended when the log did.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn dump_records(
        &self,
        from: PhysicalOffset,
        count: usize,
        each: &mut dyn FnMut(RecordLine) -> bool,
    ) -> Result<Option<String>, OfflineError> {
        let mut scan = self.scan(position(from).max(self.log_start()), ANY_RECORD);
        let mut left = count;
        while left > 0 {
            match scan.next_item().map_err(io_error("read", self.layout.commit_log()))? {
                Scanned::Record(record) => {
                    left -= 1;
                    if !each(RecordLine::of(&record)) {
                        return Ok(None);
                    }
                }
                Scanned::Blank => {}
                Scanned::End(why) => return Ok(Some(format!("{why:?}"))),
            }
        }
        Ok(None)
    }

    /// All queues, by topic and number.
    ///
    /// # Errors
    /// Queue files do not fit or cannot be read.
    pub fn dump_queues(&self) -> Result<Vec<QueueLine>, OfflineError> {
        let queues = self.loaded_queues()?;
        queues.raise_min(physical(self.log_start()))?;
        let mut lines: Vec<_> = queues
            .all()
            .iter()
            .map(|queue| QueueLine {
                topic: queue.topic().to_owned(),
                queue: queue.id().0,
                min: queue.min_offset().0,
                max: queue.max_offset().0,
                end_physical: queue.end_physical().0,
            })
            .collect();
        lines.sort_by(|a, b| (&a.topic, a.queue).cmp(&(&b.topic, b.queue)));
        Ok(lines)
    }

    /// Up to `count` entries of a queue from an offset on.
    ///
    /// # Errors
    /// There is no such queue, or its files do not fit or cannot be read.
    pub fn dump_entries(
        &self,
        topic: &str,
        id: QueueId,
        from: QueueOffset,
        count: usize,
        each: &mut dyn FnMut(EntryLine) -> bool,
    ) -> Result<(), OfflineError> {
        let queues = self.loaded_queues()?;
        let queue = queues
            .find(topic, id)
            .ok_or_else(|| OfflineError::NotThere { what: format!("queue {id} of topic {topic}") })?;
        let (mut at, mut left) = (from.max(queue.min_offset()), count);
        let mut entries: Vec<Entry> = Vec::new();
        while left > 0 {
            entries.clear();
            queue.entries(at, left.min(CHUNK), Wait::Allowed, &mut entries)?;
            if entries.is_empty() {
                break;
            }
            for entry in &entries {
                let line = EntryLine {
                    offset: at.0,
                    physical: entry.physical.0,
                    size: entry.size,
                    tag_code: entry.tag_code,
                    blank: entry.is_blank(),
                };
                if !each(line) {
                    return Ok(());
                }
                at = at.plus(1);
            }
            left -= entries.len();
        }
        Ok(())
    }

    fn loaded_queues(&self) -> Result<crate::queue::Queues, OfflineError> {
        let queues = self.queues(Access::Read);
        queues.load_exclusions()?;
        queues.load(&Load {
            keep_below: PhysicalOffset(i64::MAX),
            // As they are, right or wrong.
            claims: &|_, _, _, _| Claim::Removed,
            threads: self.config.recovery_threads,
            progress: &|_, _| (),
        })?;
        Ok(queues)
    }

    /// The files of the index, oldest first.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn dump_index(&self) -> Result<Vec<IndexLine>, OfflineError> {
        let dir = self.layout.index();
        let mut lines = Vec::new();
        for entry in super::list_sorted(&*self.disk, &dir)? {
            if entry.is_dir || !entry.name.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            let header = self.index_header(&entry.name)?;
            lines.push(IndexLine {
                begin_time: header.begin_time.0,
                end_time: header.end_time.0,
                begin_physical: header.begin_physical.0,
                end_physical: header.end_physical.0,
                used_slots: header.used_slots,
                keys: header.count - 1,
                file: entry.name,
            });
        }
        Ok(lines)
    }

    /// Up to `count` keys of an index file from a number on; the first is 1.
    ///
    /// # Errors
    /// There is no such file, or it cannot be read.
    pub fn dump_keys(
        &self,
        file: &str,
        from: u32,
        count: usize,
        each: &mut dyn FnMut(KeyLine) -> bool,
    ) -> Result<(), OfflineError> {
        let header = self.index_header(file)?;
        let path = self.layout.index().join(file);
        let shape = self.index_config(Access::Read).shape;
        let opened = self.disk.open(&path, Access::Read).map_err(io_error("open", &path))?;
        for number in (from.max(1)..header.count).take(count) {
            let mut bytes =
                KeyEntry { hash: 0, physical: PhysicalOffset(0), seconds: 0, previous: 0 }.encode();
            opened.read_at(&mut bytes, shape.entry_at(number)).map_err(io_error("read", &path))?;
            let entry = KeyEntry::decode(&bytes);
            let line = KeyLine {
                number,
                hash: entry.hash,
                physical: entry.physical.0,
                seconds: entry.seconds,
                previous: entry.previous,
            };
            if !each(line) {
                break;
            }
        }
        Ok(())
    }

    fn index_header(&self, name: &str) -> Result<Header, OfflineError> {
        let path = self.layout.index().join(name);
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        if !is_name || self.disk.metadata(&path).map_err(io_error("look at", &path))?.is_none() {
            return Err(OfflineError::NotThere { what: format!("index file {name}") });
        }
        let mut bytes = Header::decode(&[0; 40]).encode();
        let file = self.disk.open(&path, Access::Read).map_err(io_error("open", &path))?;
        file.read_at(&mut bytes, 0).map_err(io_error("read", &path))?;
        Ok(Header::decode(&bytes))
    }

    /// The checkpoint.
    #[must_use]
    pub fn dump_checkpoint(&self) -> super::check::CheckpointSummary {
        super::check::CheckpointSummary::of(&self.checkpoint)
    }
}

impl RecordLine {
    fn of(record: &Record<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let id = OffsetMsgId { store_host: record.store_host, physical: record.physical };
        Self {
            physical: record.physical.0,
            size: record.bytes.len(),
            topic: record.topic.to_owned(),
            queue: record.queue_id.0,
            offset: record.queue_offset.0,
            message_id: id.text().as_str().to_owned(),
            store_time: record.store_timestamp.0,
            born_time: record.born_timestamp.0,
            born_host: format!("{}:{}", record.born_host.ip, record.born_host.port),
            sys_flag: record.sys_flag,
            flag: record.flag,
            reconsume_times: record.reconsume_times,
            body_bytes: record.body.len(),
            body_ok: record.body_crc_matches(),
            properties: record.properties.iter().map(|(name, value)| (text(name), text(value))).collect(),
        }
    }
}

impl fmt::Display for SegmentLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}, {})", self.file, self.start, self.end)?;
        match self.first_time {
            Some(time) => write!(f, " first record stored {}", super::check::time(time)),
            None => write!(f, " begins with no record"),
        }
    }
}

impl fmt::Display for RecordLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { physical, size, topic, queue, offset, message_id, .. } = self;
        let stored = super::check::time(self.store_time);
        write!(f, "{physical} {size} bytes {topic}-{queue} {offset} {message_id} stored {stored}")?;
        if !self.body_ok {
            write!(f, " BODY DAMAGED")?;
        }
        for (name, value) in &self.properties {
            write!(f, " {name}={value}")?;
        }
        Ok(())
    }
}

impl fmt::Display for QueueLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, queue, min, max, end_physical } = self;
        write!(f, "{topic}-{queue} [{min}, {max}) up to {end_physical} of the log")
    }
}

impl fmt::Display for EntryLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, physical, size, tag_code, blank } = self;
        if *blank {
            write!(f, "{offset} blank")
        } else {
            write!(f, "{offset} at {physical} {size} bytes tag {tag_code}")
        }
    }
}

impl fmt::Display for IndexLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, keys, used_slots, begin_physical, end_physical, .. } = self;
        let (begin, end) = (super::check::time(self.begin_time), super::check::time(self.end_time));
        write!(f, "{file} {keys} keys in {used_slots} slots, messages {begin_physical} to {end_physical}, ")?;
        write!(f, "stored {begin} to {end}")
    }
}

impl fmt::Display for KeyLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, hash, physical, seconds, previous } = self;
        write!(f, "{number} hash {hash} at {physical} after {seconds} s, previous {previous}")
    }
}
