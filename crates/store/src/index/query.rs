//! Looking up a key.
//!
//! From the newest file to the oldest, within a file along the chain of the key's slot. Conditions and their order are
//! Java's (`IndexService.queryOffset`, `IndexFile.selectPhyOffset`), with one addition: a link to an entry that is not
//! older ends the walk, so that a damaged file cannot loop.

use std::sync::Arc;

use ferromq_protocol::types::{PhysicalOffset, TimestampMs};

use super::file::{self, ENTRY_SIZE, Header, KeyEntry, SLOT_SIZE};
use super::{Index, IndexError, IndexFile};
use crate::disk::{Access, DiskFile};

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexQuery {
    /// Hash of the key, from [`crate::dispatch::TopicHash`].
    pub hash: u32,
    /// Most messages to return, the newest ones.
    pub max: usize,
    /// First store time of interest, to the second the index knows.
    pub begin: TimestampMs,
    /// Last store time of interest.
    pub end: TimestampMs,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexHits {
    /// Positions of messages with a key of this hash, each once, in log order. The caller compares the keys.
    pub offsets: Vec<PhysicalOffset>,
    /// Store time of the last message in the index.
    pub last_time: TimestampMs,
    /// Position of the last message in the index.
    pub last_physical: PhysicalOffset,
}

impl Index {
    /// Looks up a key. May wait for the disk.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn query(&self, query: &IndexQuery) -> Result<IndexHits, IndexError> {
        let mut hits = self.query_newest_first(query)?;
        hits.offsets.sort_unstable();
        hits.offsets.dedup();
        Ok(hits)
    }

    /// [`Index::query`] with the positions as Java's index returns them: newest first, repeated where it has a message
    /// twice.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn query_newest_first(&self, query: &IndexQuery) -> Result<IndexHits, IndexError> {
        let files = self.files.read().clone();
        let mut hits = IndexHits::default();
        for (age, file) in files.iter().rev().enumerate() {
            let header = file.state.lock().header;
            if age == 0 {
                hits.last_time = header.end_time;
                hits.last_physical = header.end_physical;
            }
            if overlaps(&header, query) {
                self.walk_file(file, query, &mut hits.offsets)?;
            }
            if header.begin_time < query.begin || hits.offsets.len() >= query.max {
                break;
            }
        }
        Ok(hits)
    }

    fn walk_file(
        &self,
        file: &IndexFile,
        query: &IndexQuery,
        found: &mut Vec<PhysicalOffset>,
    ) -> Result<(), IndexError> {
        let mut reader = ChainReader { index: self, file, handle: None };
        let (header, mut number) = reader.head(self.config.shape.slot_of(query.hash))?;
        while number > 0 && number < header.count && found.len() < query.max {
            let entry = reader.entry(number)?;
            if entry.seconds < 0 {
                break;
            }
            let time = header.begin_time.0.saturating_add(i64::from(entry.seconds) * file::MS_PER_SECOND);
            if entry.hash == query.hash && time >= query.begin.0 && time <= query.end.0 {
                found.push(entry.physical);
            }
            if entry.previous >= number || time < query.begin.0 {
                break;
            }
            number = entry.previous;
        }
        Ok(())
    }
}

fn overlaps(header: &Header, query: &IndexQuery) -> bool {
    let span = header.begin_time..=header.end_time;
    (query.begin < header.begin_time && query.end > header.end_time)
        || span.contains(&query.begin)
        || span.contains(&query.end)
}

/// Reads slots and entries of one file, from memory as long as they are there.
struct ChainReader<'a> {
    index: &'a Index,
    file: &'a IndexFile,
    /// Set once an entry was read from the file: older ones are there too.
    handle: Option<Arc<dyn DiskFile>>,
}

impl ChainReader<'_> {
    /// The beginning of a chain, and the header of that moment: entries that it does not count came later.
    fn head(&mut self, slot: u32) -> Result<(Header, u32), IndexError> {
        let shape = self.index.config.shape;
        let mut state = self.file.state.lock();
        let header = state.header;
        if let Some(open) = state.open.as_mut() {
            let handle = open.handle.clone();
            let head = open.slots.get(slot, handle.as_deref(), shape);
            return Ok((header, head.map_err(IndexError::io("read", &self.file.path))?));
        }
        drop(state);
        let mut bytes = [0; SLOT_SIZE];
        self.handle()?
            .read_at(&mut bytes, shape.slot_at(slot))
            .map_err(IndexError::io("read", &self.file.path))?;
        Ok((header, file::link(i32::from_be_bytes(bytes))))
    }

    fn entry(&mut self, number: u32) -> Result<KeyEntry, IndexError> {
        if self.handle.is_none()
            && let Some(open) = &self.file.state.lock().open
            && let Some(entry) = open.in_memory(number)
        {
            return Ok(entry);
        }
        let at = self.index.config.shape.entry_at(number);
        let mut bytes = [0; ENTRY_SIZE];
        self.handle()?.read_at(&mut bytes, at).map_err(IndexError::io("read", &self.file.path))?;
        Ok(KeyEntry::decode(&bytes))
    }

    fn handle(&mut self) -> Result<&Arc<dyn DiskFile>, IndexError> {
        if self.handle.is_none() {
            let open = self.file.state.lock().open.as_ref().and_then(|open| open.handle.clone());
            let handle = match open {
                Some(handle) => handle,
                // Full files are opened for the query only: there may be thousands.
                None => self
                    .index
                    .disk
                    .open(&self.file.path, Access::Read)
                    .map_err(IndexError::io("open", &self.file.path))?,
            };
            self.handle = Some(handle);
        }
        Ok(self.handle.as_ref().expect("invariant: set above"))
    }
}
