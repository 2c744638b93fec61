//! The table of queues as a file, for a start that opens none of 100,000 queues.
//!
//! `<root>/ferromq/queues` says where every queue stood when a checkpoint was written; a start takes it instead of
//! looking into `consumequeue/`, and replays the log from the checkpoint on. It must never be believed when anybody but
//! us touched the store, nor when pages may have been lost since. `<root>/ferromq/queues.stamp` holds what has to be as
//! it was: the table itself, the checkpoint, the modification times of `lock` (every broker that starts changes it) and
//! of `consumequeue/` (it changes with the topics; our own changes renew the stamp), and after anything but a clean stop
//! the session of the machine. In doubt the files are read.

use std::collections::HashSet;
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

use ferromq_protocol::types::{PhysicalOffset, QueueId, QueueOffset, TimestampMs};
use parking_lot::Mutex;

use super::files::Files;
use super::recover::Placed;
use super::{Lies, NO_FILE, Queue, QueueError, Queues};
use crate::disk::{Access, Disk, DiskFile};

const TABLE: &str = "queues";
const STAMP: &str = "queues.stamp";
const MAGIC: &[u8; 8] = b"FMQqueu1";

/// What the table goes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableStamp {
    /// Position of the checkpoint: entries of records below it are in the files, and synced.
    pub position: PhysicalOffset,
    /// Store time of the checkpoint.
    pub time: TimestampMs,
    /// Modification time of `lock`, read after this process wrote to it.
    pub lock_modified: TimestampMs,
}

/// Keeps the stamp of the table that lies on the disk.
pub(super) struct Stamping {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    watched: PathBuf,
    current: Mutex<Option<(Sealed, Arc<dyn DiskFile>)>>,
}

/// A stamp as it is stored: sizes and times are those of the moment of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sealed {
    stamp: TableStamp,
    table_len: u64,
    table_crc: u32,
    session: u64,
    topics_modified: i64,
}

const SEALED_SIZE: usize = 8 + 8 * 6 + 4 + 4;

impl Sealed {
    fn encode(&self) -> [u8; SEALED_SIZE] {
        let mut bytes = Vec::with_capacity(SEALED_SIZE);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.stamp.position.0.to_be_bytes());
        bytes.extend_from_slice(&self.stamp.time.0.to_be_bytes());
        bytes.extend_from_slice(&self.stamp.lock_modified.0.to_be_bytes());
        bytes.extend_from_slice(&self.table_len.to_be_bytes());
        bytes.extend_from_slice(&self.session.to_be_bytes());
        bytes.extend_from_slice(&self.topics_modified.to_be_bytes());
        bytes.extend_from_slice(&self.table_crc.to_be_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        let mut array = [0; SEALED_SIZE];
        array.copy_from_slice(&bytes);
        array
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, crc) = bytes.split_last_chunk::<4>()?;
        if bytes.len() != SEALED_SIZE || crc32fast::hash(content) != u32::from_be_bytes(*crc) {
            return None;
        }
        let mut input = Input(content.strip_prefix(MAGIC)?);
        Some(Self {
            stamp: TableStamp {
                position: PhysicalOffset(input.long()?),
                time: TimestampMs(input.long()?),
                lock_modified: TimestampMs(input.long()?),
            },
            table_len: u64::from_be_bytes(input.take()?),
            session: u64::from_be_bytes(input.take()?),
            topics_modified: input.long()?,
            table_crc: u32::from_be_bytes(input.take()?),
        })
    }
}

/// Bytes that are read from the front.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn long(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }

    fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
}

impl Stamping {
    pub(super) fn new(disk: &Arc<dyn Disk>, dir: &std::path::Path, side_dir: &std::path::Path) -> Self {
        Self {
            disk: Arc::clone(disk),
            path: side_dir.join(STAMP),
            watched: dir.to_owned(),
            current: Mutex::new(None),
        }
    }

    /// A topic's directory appeared or went by our own hand.
    pub(super) fn renew(&self) {
        let mut current = self.current.lock();
        if let Some((sealed, file)) = current.as_mut() {
            let renewed = Sealed { topics_modified: self.topics_modified(), ..*sealed };
            if file.write_at(&[IoSlice::new(&renewed.encode())], 0).is_ok() {
                *sealed = renewed;
            } else {
                // What is on the disk is no longer true, and that will be noticed.
                *current = None;
            }
        }
    }

    /// This process has the store now: what it believed, or wrote, goes with the new time of `lock` and this session.
    fn take_over(&self, lock_modified: TimestampMs) -> Result<(), QueueError> {
        let sealed = match &*self.current.lock() {
            Some((sealed, _)) => *sealed,
            None => return Ok(()),
        };
        let stamp = TableStamp { lock_modified, ..sealed.stamp };
        self.write(Sealed { stamp, session: self.session(), ..sealed })
    }

    fn write(&self, sealed: Sealed) -> Result<(), QueueError> {
        let mut current = self.current.lock();
        let file = match current.take() {
            Some((_, file)) => file,
            None => self.disk.create_small(&self.path).map_err(QueueError::io("create", &self.path))?,
        };
        file.write_at(&[IoSlice::new(&sealed.encode())], 0).map_err(QueueError::io("write", &self.path))?;
        *current = Some((sealed, file));
        Ok(())
    }

    fn sync(&self) -> Result<(), QueueError> {
        let Some((_, file)) = &*self.current.lock() else { return Ok(()) };
        file.sync_data().map_err(QueueError::io("sync", &self.path))?;
        let dir = self.path.parent().unwrap_or(&self.path);
        self.disk.sync_dir(dir).map_err(QueueError::io("sync", dir))
    }

    fn remove(&self) -> Result<(), QueueError> {
        let mut current = self.current.lock();
        *current = None;
        match self.disk.remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(QueueError::io("remove", &self.path)),
        }
    }

    fn topics_modified(&self) -> i64 {
        match self.disk.metadata(&self.watched) {
            Ok(Some(entry)) => entry.modified.0,
            Ok(None) => 0,
            // Never equal to what is stored.
            Err(_) => i64::MIN,
        }
    }

    fn session(&self) -> u64 {
        self.disk.session().unwrap_or(0)
    }
}

impl Queues {
    /// Writes the table, after a checkpoint was written that says `stamp.position`. What was flushed since is in it.
    ///
    /// # Errors
    /// The table could not be written; the next start reads the queue files.
    pub fn save_table(&self, stamp: &TableStamp) -> Result<(), QueueError> {
        let bytes = self.encode_table();
        let path = self.files.side_dir.join(TABLE);
        let staged = self.files.staging.join(TABLE);
        let disk = &self.files.disk;
        let file = disk.create_small(&staged).map_err(QueueError::io("create", &staged))?;
        file.write_at(&[IoSlice::new(&bytes)], 0).map_err(QueueError::io("write", &staged))?;
        file.sync_data().map_err(QueueError::io("sync", &staged))?;
        disk.rename(&staged, &path).map_err(QueueError::io("rename", &staged))?;
        let stamping = &self.files.stamping;
        stamping.write(Sealed {
            stamp: *stamp,
            table_len: bytes.len() as u64,
            table_crc: crc32fast::hash(&bytes),
            session: stamping.session(),
            topics_modified: stamping.topics_modified(),
        })?;
        stamping.sync()
    }

    /// Keeps a table that was believed at the start, now that this process has changed the modification time of `lock`.
    ///
    /// # Errors
    /// The stamp could not be written; the next start reads the queue files.
    pub fn keep_table(&self, lock_modified: TimestampMs) -> Result<(), QueueError> {
        self.files.stamping.take_over(lock_modified)
    }

    /// Makes the next start read the queue files. To be called before anything happens to the queues that neither the
    /// log nor the list of deletions tells, and when the disk has failed.
    ///
    /// # Errors
    /// The stamp could not be removed.
    pub fn distrust_table(&self) -> Result<(), QueueError> {
        self.files.stamping.remove()
    }

    /// Takes the queues from the table, if it can be believed; `false` if not, and then nothing is taken.
    ///
    /// `expected` is what the checkpoint and the lock say, `clean` whether the last stop was clean. `log_start` tells
    /// which queues retention may have trimmed since.
    ///
    /// # Errors
    /// The directory of a queue cannot be read.
    pub fn load_table(
        &self,
        expected: &TableStamp,
        clean: bool,
        log_start: PhysicalOffset,
    ) -> Result<bool, QueueError> {
        let Some((sealed, table)) = self.read_table() else { return Ok(false) };
        let stamping = &self.files.stamping;
        let session = stamping.session();
        let believed = sealed.stamp == *expected
            && sealed.topics_modified == stamping.topics_modified()
            && (clean || (session != 0 && session == sealed.session));
        if !believed {
            return Ok(false);
        }
        let Some(rows) = self.decode_table(&table) else { return Ok(false) };
        // A deletion may have been interrupted, and what is left of a topic that the table does not know may be an old
        // one or a new one of the same name.
        let known: HashSet<&str> = rows.iter().map(|row| row.topic).collect();
        for topic in self.deletions.topics().iter().filter(|topic| !known.contains(topic.as_str())) {
            let dir = self.files.dir.join(topic);
            if self.files.disk.metadata(&dir).map_err(QueueError::io("look at", &dir))?.is_some() {
                return Ok(false);
            }
        }
        for row in &rows {
            let queue = self.get(row.topic, row.id);
            // Its last record is dead: so are all of them.
            if self.deletions.covers(row.topic, PhysicalOffset(row.placed.end_physical.0 - 1)) {
                self.finish_deletion(&queue)?;
                continue;
            }
            queue.place_at(&row.placed);
            if row.placed.first_file != NO_FILE && !row.placed.min_lies.is_behind(log_start) {
                queue.find_first_file()?;
            }
        }
        let file = self.files.disk.open(&stamping.path, Access::ReadWrite);
        *stamping.current.lock() = file.ok().map(|file| (sealed, file));
        Ok(true)
    }

    fn read_table(&self) -> Option<(Sealed, Vec<u8>)> {
        let read = |name| {
            let file = self.files.disk.open(&self.files.side_dir.join(name), Access::Read).ok()?;
            let mut bytes = vec![0; usize::try_from(file.len().ok()?).ok()?];
            let read = file.read_at(&mut bytes, 0).ok()?;
            bytes.truncate(read);
            Some(bytes)
        };
        let sealed = Sealed::decode(&read(STAMP)?)?;
        let table = read(TABLE)?;
        let fits = table.len() as u64 == sealed.table_len && crc32fast::hash(&table) == sealed.table_crc;
        fits.then_some((sealed, table))
    }

    /// Per topic: length and bytes of the name, number of queues; per queue: id, first file, where the
    /// minimum lies, minimum, maximum, end of the last record.
    fn encode_table(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.files.file_size.to_be_bytes());
        for topic in self.topics() {
            let queues = self.of_topic(&topic);
            let Ok(len) = u16::try_from(topic.len()) else { continue };
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.extend_from_slice(topic.as_bytes());
            bytes.extend_from_slice(&u32::try_from(queues.len()).unwrap_or(u32::MAX).to_be_bytes());
            for queue in &queues {
                let written = queue.written();
                bytes.extend_from_slice(&queue.id().0.to_be_bytes());
                bytes.extend_from_slice(&written.first_file.to_be_bytes());
                bytes.extend_from_slice(&written.min_lies.0.to_be_bytes());
                for number in [written.min.0, written.max.0, written.end_physical.0] {
                    bytes.extend_from_slice(&number.to_be_bytes());
                }
            }
        }
        bytes
    }

    fn decode_table<'a>(&self, bytes: &'a [u8]) -> Option<Vec<Row<'a>>> {
        let mut input = Input(bytes.strip_prefix(MAGIC)?);
        if u64::from_be_bytes(input.take()?) != self.files.file_size {
            return None;
        }
        let mut rows = Vec::new();
        while !input.0.is_empty() {
            let len = u16::from_be_bytes(input.take()?);
            let topic = str::from_utf8(input.bytes(usize::from(len))?).ok()?;
            for _ in 0..input.number()? {
                let id = QueueId(i32::from_be_bytes(input.take()?));
                let placed = Placed {
                    first_file: input.number()?,
                    min_lies: Lies(input.number()?),
                    min: QueueOffset(input.long()?),
                    max: QueueOffset(input.long()?),
                    end_physical: PhysicalOffset(input.long()?),
                };
                rows.push(Row { topic, id, placed });
            }
        }
        Some(rows)
    }
}

/// A queue of the table.
struct Row<'a> {
    topic: &'a str,
    id: QueueId,
    placed: Placed,
}

impl Queue {
    /// Where the queue stands in its files, without what is in memory only.
    fn written(&self) -> Placed {
        let tail = self.tail.lock();
        let max = self.max_offset().0 - tail.pending_len();
        let min = self.min_offset().0;
        let in_memory = tail.pending().iter().find(|entry| entry.is_message());
        Placed {
            first_file: tail.first_file,
            min: QueueOffset(min.min(max)),
            max: QueueOffset(max),
            min_lies: if min < max { tail.min_lies } else { Lies::NOWHERE },
            // No record before that one ends behind its start.
            end_physical: in_memory.map_or(tail.end_physical, |entry| entry.physical),
        }
    }

    /// Looks which files retention has left.
    fn find_first_file(&self) -> Result<(), QueueError> {
        let files: &Files = self.files();
        let dir = files.queue_dir(self.topic(), self.id());
        let names = files.disk.list(&dir).map_err(QueueError::io("list", &dir))?;
        let first = names.iter().filter_map(|entry| files.number_of(&entry.name)).min();
        self.tail.lock().first_file = first.unwrap_or(NO_FILE);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
