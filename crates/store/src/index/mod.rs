//! The key index: from a key of a message to its place in the log.
//!
//! Files of fixed shape hold a hash table with chains, newest entry first; only hashes are stored, so whoever queries
//! has to look at the records. Messages are added in log order by the confirming thread.
//!
//! What always holds:
//! - adding touches no file (but to read a page of the slot table after a restart): entries collect in memory, the slot
//!   table of the newest file is memory, and [`Index::flush`] writes behind. Queries see what is in memory;
//! - entries reach a file in order and before the header that counts them. The slot table follows only when a file is
//!   full or the index is closed, because recovery rebuilds it from the entries;
//! - a chain leads from an entry to older ones only; a query stops where it does not.
//!
//! After a crash Java deletes the newest file and forgets the keys in it. We verify what is there, cut it back to the
//! last whole record and let the replay of the log add the rest ([`Index::resume_at`]).

mod file;
mod query;
mod recover;
mod slots;

use std::io::{self, IoSlice};
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use ferromq_protocol::types::{PhysicalOffset, TimestampMs};
use jiff::tz::TimeZone;
use parking_lot::{Mutex, RwLock};

pub use self::file::{Header, KeyEntry, Shape};
pub use self::query::{IndexHits, IndexQuery};
pub(crate) use self::recover::survey;
pub use self::recover::{IndexFault, IndexFinding, IndexLoad};
use self::slots::Slots;
use crate::disk::{Access, Disk, DiskFile, Fill};

/// Where the index lies and how its files look.
#[derive(Clone, Debug)]
pub struct IndexConfig {
    /// `<root>/index`.
    pub dir: PathBuf,
    /// Directory of ours for files that are being created.
    pub staging: PathBuf,
    /// Numbers of slots and entries.
    pub shape: Shape,
    /// `Access::Read` for a look at a store that must not be touched.
    pub access: Access,
    /// Zone of file names; the machine's, as Java's are.
    pub zone: TimeZone,
}

/// A key of a message that was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexKey {
    /// Hash of the key, from [`crate::dispatch`].
    pub hash: u32,
    /// Position of the message.
    pub physical: PhysicalOffset,
    /// Its store time.
    pub store_time: TimestampMs,
}

/// A failure of the index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
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
    /// A sync failed: nobody knows what is on the disk, and trying again may succeed without writing anything. The store
    /// must stop acknowledging.
    #[error("cannot sync {}: {source}", path.display())]
    Sync {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file does not have the configured shape. Set `maxHashSlotNum` and `maxIndexNum` to what it was written with,
    /// or remove the directory: queries by key then find nothing that was stored before.
    #[error(
        "{} has {found} bytes; with maxHashSlotNum={} and maxIndexNum={} it would have {}",
        path.display(), shape.slots, shape.entries, shape.file_len()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// The configured shape.
        shape: Shape,
    },
}

impl IndexError {
    pub(crate) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn sync(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Sync { path: path.to_owned(), source }
    }

    /// Whether space ran out, as opposed to a disk that fails.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// The index of a store.
pub struct Index {
    disk: Arc<dyn Disk>,
    config: IndexConfig,
    /// Oldest first.
    files: RwLock<Vec<Arc<IndexFile>>>,
    /// Messages before this position are in the index.
    resume_at: AtomicI64,
    /// End time of the last file that is full and durable.
    full_until: AtomicI64,
    /// Of the slot table that took the last key.
    slot_bytes: AtomicUsize,
    directory_changed: AtomicBool,
    /// Keys that could not be added yet, and all that came after them. Held by whoever adds keys, to keep their order.
    waiting: Mutex<Vec<IndexKey>>,
    /// Held by whoever writes to files.
    turn: Mutex<()>,
}

/// One file of the index, on disk or about to be.
struct IndexFile {
    name: String,
    path: PathBuf,
    state: Mutex<FileState>,
}

struct FileState {
    header: Header,
    /// Until the file is full and everything of it is durable.
    open: Option<OpenFile>,
}

/// The part of a file that is in memory.
struct OpenFile {
    /// `None` until the file exists.
    handle: Option<Arc<dyn DiskFile>>,
    /// Entries before this one are in the file.
    written: u32,
    /// The header in the file is older.
    header_changed: bool,
    /// Entries that are being written, from `written` on, encoded.
    in_flight: Arc<Vec<u8>>,
    /// Entries after those.
    pending: Vec<u8>,
    slots: Slots,
}

/// Slot pages are written in groups of this many.
const SLOT_PAGES_PER_WRITE: usize = 64;
/// Entries are written in pieces of this many bytes.
const WRITE_MAX: usize = 1 << 20;

impl OpenFile {
    fn new(shape: Shape) -> Self {
        Self {
            handle: None,
            written: 1,
            header_changed: true,
            in_flight: Arc::default(),
            pending: Vec::new(),
            slots: Slots::empty(shape.slots),
        }
    }

    /// An entry that is not in the file yet.
    fn in_memory(&self, number: u32) -> Option<KeyEntry> {
        let place = usize::try_from(number.checked_sub(self.written)?).ok()? * file::ENTRY_SIZE;
        let (bytes, place) = match place.checked_sub(self.in_flight.len()) {
            None => (self.in_flight.as_slice(), place),
            Some(place) => (self.pending.as_slice(), place),
        };
        bytes.get(place..)?.first_chunk().map(KeyEntry::decode)
    }
}

impl FileState {
    /// Adds an entry to a file that is not full.
    fn put(&mut self, key: &IndexKey, shape: Shape, path: &Path) -> Result<(), IndexError> {
        let header = &mut self.header;
        let open = self.open.get_or_insert_with(|| OpenFile::new(shape));
        let slot = shape.slot_of(key.hash);
        let handle = open.handle.as_deref();
        let head = open.slots.get(slot, handle, shape).map_err(IndexError::io("read", path))?;
        let previous = if head < header.count { head } else { 0 };
        let entry = KeyEntry {
            hash: key.hash,
            physical: key.physical,
            seconds: file::seconds_since(header.begin_time, key.store_time),
            previous,
        };
        open.pending.extend_from_slice(&entry.encode());
        open.slots.set(slot, header.count);
        open.header_changed = true;
        if header.count <= 1 {
            header.begin_physical = key.physical;
            header.begin_time = key.store_time;
        }
        header.used_slots += u32::from(previous == 0);
        header.count += 1;
        header.end_physical = key.physical;
        header.end_time = key.store_time;
        Ok(())
    }
}

impl Index {
    /// Adds the keys of a group of records: all keys of a record in one call, records in log order. Messages that the
    /// index has already are passed over.
    ///
    /// If after a restart a page of the slot table cannot be read, keys wait for the next [`Index::flush`], and queries
    /// miss them until then.
    pub fn push(&self, keys: &[IndexKey]) {
        let resume_at = self.resume_at.load(Ordering::Relaxed);
        let mut keys = keys.iter().copied().filter(|key| key.physical.0 >= resume_at).peekable();
        let mut waiting = self.waiting.lock();
        if waiting.is_empty()
            && let Err(error) = self.add(&mut keys)
        {
            tracing::warn!(%error, "keys wait for the slot table of the index");
        }
        waiting.extend(keys);
    }

    fn add_waiting(&self) -> Result<(), IndexError> {
        let mut waiting = self.waiting.lock();
        let mut keys = std::mem::take(&mut *waiting).into_iter().peekable();
        let added = self.add(&mut keys);
        waiting.extend(keys);
        added
    }

    /// Takes keys up to the first that cannot be added.
    fn add(&self, keys: &mut Peekable<impl Iterator<Item = IndexKey>>) -> Result<(), IndexError> {
        let Some(first) = keys.peek() else { return Ok(()) };
        let mut newest = self.newest(first.store_time);
        let mut state = newest.state.lock();
        while let Some(key) = keys.peek() {
            if state.header.count >= self.config.shape.entries {
                let following = state.header.following();
                drop(state);
                let next = self.begin_file(following, key.store_time, &newest.name);
                newest = next;
                state = newest.state.lock();
            }
            state.put(key, self.config.shape, &newest.path)?;
            keys.next();
        }
        let slot_bytes = state.open.as_ref().map_or(0, |open| open.slots.bytes());
        self.slot_bytes.store(slot_bytes, Ordering::Relaxed);
        Ok(())
    }

    /// The file that takes the next entry, perhaps full.
    fn newest(&self, now: TimestampMs) -> Arc<IndexFile> {
        if let Some(newest) = self.files.read().last() {
            return Arc::clone(newest);
        }
        self.begin_file(Header::EMPTY, now, "")
    }

    fn begin_file(&self, header: Header, now: TimestampMs, last: &str) -> Arc<IndexFile> {
        let name = file::name(now, &self.config.zone, Some(last));
        let file = Arc::new(IndexFile {
            path: self.config.dir.join(&name),
            name,
            state: Mutex::new(FileState { header, open: Some(OpenFile::new(self.config.shape)) }),
        });
        self.files.write().push(Arc::clone(&file));
        file
    }

    /// Writes the entries that are in memory, then the headers that count them. Files that became full are completed
    /// and synced.
    ///
    /// # Errors
    /// What could not be written, or not even be added, stays in memory and is tried again by the next flush.
    pub fn flush(&self) -> Result<(), IndexError> {
        let _turn = self.turn.lock();
        self.add_waiting()?;
        let files = self.files.read().clone();
        for file in &files {
            if file.state.lock().open.is_none() {
                continue;
            }
            self.write_entries(file)?;
            let full = {
                let state = file.state.lock();
                let all_written = state.open.as_ref().is_some_and(|open| open.written == state.header.count);
                (state.header.count >= self.config.shape.entries && all_written)
                    .then_some(state.header.end_time)
            };
            if let Some(end_time) = full {
                self.write_slots(file)?;
                self.sync_file(file)?;
                file.state.lock().open = None;
                self.full_until.fetch_max(end_time.0, Ordering::AcqRel);
            }
        }
        Ok(())
    }

    fn write_entries(&self, file: &IndexFile) -> Result<(), IndexError> {
        let io = |error| IndexError::io("write", &file.path)(error);
        loop {
            let (handle, batch, at) = {
                let mut state = file.state.lock();
                let header = state.header;
                let Some(open) = state.open.as_mut() else { return Ok(()) };
                // After a failure the batch is still there; else the next one begins.
                if open.in_flight.is_empty() {
                    let rest = open.pending.split_off(open.pending.len().min(whole_entries(WRITE_MAX)));
                    open.in_flight = Arc::new(std::mem::replace(&mut open.pending, rest));
                }
                if open.in_flight.is_empty() {
                    let Some(handle) = open.handle.clone().filter(|_| open.header_changed) else {
                        return Ok(());
                    };
                    open.header_changed = false;
                    drop(state);
                    // A header never counts entries that are not written.
                    let written = handle.write_at(&[IoSlice::new(&header.encode())], 0).map_err(io);
                    if written.is_err()
                        && let Some(open) = file.state.lock().open.as_mut()
                    {
                        open.header_changed = true;
                    }
                    return written;
                }
                (open.handle.clone(), Arc::clone(&open.in_flight), open.written)
            };
            let handle = match handle {
                Some(handle) => handle,
                None => self.create(file)?,
            };
            handle.write_at(&[IoSlice::new(&batch)], self.config.shape.entry_at(at)).map_err(io)?;
            if let Some(open) = file.state.lock().open.as_mut() {
                open.in_flight = Arc::default();
                open.written += u32::try_from(batch.len() / file::ENTRY_SIZE).unwrap_or(u32::MAX);
            }
        }
    }

    fn create(&self, file: &IndexFile) -> Result<Arc<dyn DiskFile>, IndexError> {
        let len = self.config.shape.file_len();
        let create = || self.disk.create(&file.path, len, Fill::Sparse, &self.config.staging);
        let handle = match create() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.disk
                    .create_dir_all(&self.config.dir)
                    .map_err(IndexError::io("create", &self.config.dir))?;
                create()
            }
            result => result,
        };
        let handle = handle.map_err(IndexError::io("create", &file.path))?;
        self.directory_changed.store(true, Ordering::Release);
        if let Some(open) = file.state.lock().open.as_mut() {
            open.handle = Some(Arc::clone(&handle));
        }
        Ok(handle)
    }

    fn write_slots(&self, file: &IndexFile) -> Result<(), IndexError> {
        let mut buffer = Vec::new();
        loop {
            let (first, handle) = {
                let mut state = file.state.lock();
                let Some(open) = state.open.as_mut() else { return Ok(()) };
                let Some(handle) = open.handle.clone() else { return Ok(()) };
                let Some(first) = open.slots.take_dirty(SLOT_PAGES_PER_WRITE, &mut buffer) else {
                    return Ok(());
                };
                (first, handle)
            };
            let at = self.config.shape.slot_at(first);
            if let Err(error) = handle.write_at(&[IoSlice::new(&buffer)], at) {
                if let Some(open) = file.state.lock().open.as_mut() {
                    open.slots.mark_dirty(first, buffer.len() / file::SLOT_SIZE);
                }
                return Err(IndexError::io("write", &file.path)(error));
            }
        }
    }

    fn sync_file(&self, file: &IndexFile) -> Result<(), IndexError> {
        let handle = file.state.lock().open.as_ref().and_then(|open| open.handle.clone());
        if let Some(handle) = handle {
            handle.sync_data().map_err(IndexError::sync(&file.path))?;
        }
        if self.directory_changed.swap(false, Ordering::AcqRel) {
            for dir in [Some(self.config.dir.as_path()), self.config.dir.parent()].into_iter().flatten() {
                self.disk.sync_dir(dir).map_err(IndexError::sync(dir))?;
            }
        }
        Ok(())
    }

    /// Makes durable what earlier flushes wrote, so that after a power cut little of the log has to be searched for
    /// keys again.
    ///
    /// # Errors
    /// A failed sync leaves unknown what is on the disk.
    pub fn sync(&self) -> Result<(), IndexError> {
        let files = self.files.read().clone();
        files.iter().try_for_each(|file| self.sync_file(file))
    }

    /// Writes and syncs everything, slot tables included: for a clean stop, after the last message.
    ///
    /// # Errors
    /// The next start has to treat the index as after a crash.
    pub fn close(&self) -> Result<(), IndexError> {
        self.flush()?;
        let _turn = self.turn.lock();
        for file in self.files.read().iter() {
            self.write_slots(file)?;
        }
        self.sync()
    }

    /// Messages from this position on are to be added by a replay of the log; 0 for an index without files.
    #[must_use]
    pub fn resume_at(&self) -> PhysicalOffset {
        PhysicalOffset(self.resume_at.load(Ordering::Relaxed))
    }

    /// Whether there is no file, neither on disk nor about to be.
    #[must_use]
    pub fn has_no_files(&self) -> bool {
        self.files.read().is_empty()
    }

    /// Store time up to which files are full and durable, for the checkpoint; 0 if there is none.
    #[must_use]
    pub fn full_until(&self) -> TimestampMs {
        TimestampMs(self.full_until.load(Ordering::Acquire))
    }

    /// Bytes of entries that are in memory only.
    #[must_use]
    pub fn unflushed_bytes(&self) -> u64 {
        let bytes = |file: &Arc<IndexFile>| {
            let state = file.state.lock();
            state.open.as_ref().map_or(0, |open| (open.in_flight.len() + open.pending.len()) as u64)
        };
        let waiting = (self.waiting.lock().len() * size_of::<IndexKey>()) as u64;
        waiting + self.files.read().iter().rev().take(2).map(bytes).sum::<u64>()
    }

    /// Bytes of the newest file's slot table that are in memory, and how many there can be.
    #[must_use]
    pub fn slot_table_bytes(&self) -> (usize, usize) {
        // Not from the file's state: whoever holds that may be reading a page from the disk.
        (self.slot_bytes.load(Ordering::Relaxed), Slots::bytes_max(self.config.shape.slots))
    }

    /// Removes files all of whose messages lie before `log_start`, never the newest. Returns how many went.
    ///
    /// # Errors
    /// A file that cannot be removed; those after it stay too.
    pub fn remove_expired(&self, log_start: PhysicalOffset) -> Result<u64, IndexError> {
        let _turn = self.turn.lock();
        let mut removed = 0;
        loop {
            let oldest = {
                let files = self.files.read();
                match files.first() {
                    Some(oldest) if files.len() > 1 => Arc::clone(oldest),
                    _ => break,
                }
            };
            let state = oldest.state.lock();
            if state.open.is_some() || state.header.end_physical >= log_start {
                break;
            }
            drop(state);
            self.remove_oldest(&oldest)?;
            removed += 1;
        }
        Ok(removed)
    }

    fn remove_oldest(&self, oldest: &IndexFile) -> Result<(), IndexError> {
        match self.disk.remove_file(&oldest.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(IndexError::io("remove", &oldest.path))?,
        }
        self.directory_changed.store(true, Ordering::Release);
        self.files.write().remove(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests;

/// The largest number of bytes up to `bytes` that is a number of entries.
fn whole_entries(bytes: usize) -> usize {
    bytes / file::ENTRY_SIZE * file::ENTRY_SIZE
}
