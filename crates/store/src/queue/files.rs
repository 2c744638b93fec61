//! The files of all consume queues: names, a bounded set of open descriptors, and what waits to be synced.
//!
//! `<consumequeue>/<topic>/<queue id>/<20 digits>`: files of one size, named by the position of their first byte. Java
//! refuses to start over a short or foreign file in these directories, so a file appears under its name at full
//! length. Descriptors are opened on demand and the least used are closed; closing one loses nothing, because written
//! pages belong to the file and a later `sync_data` through another descriptor covers them.

use std::io::{ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ferromq_protocol::types::QueueId;
use parking_lot::{Mutex, RwLock};
use rustc_hash::{FxHashMap, FxHashSet};

use super::entry::ENTRY_SIZE;
use super::side_file::Stamping;
use super::{Queue, QueueError};
use crate::disk::{Access, Disk, DiskFile, FileSystem, Fill};
use crate::layout::{offset_name, parse_offset_name};

/// Where queue files lie and how large they are.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// `<root>/consumequeue`.
    pub dir: PathBuf,
    /// `<root>/batchconsumequeue`: topics in there have no queues of ours.
    pub batch_dir: PathBuf,
    /// Our own directory on the same file system, `<root>/ferromq`: side file, deletions, staging.
    pub side_dir: PathBuf,
    /// Bytes of a queue file; rounded up to whole entries.
    pub file_size: u64,
    /// Descriptors of queue files kept open.
    pub open_files_max: usize,
    /// `Access::Read` for a look at a store that must not be touched.
    pub access: Access,
}

/// Shared by all queues of a store.
pub(crate) struct Files {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) side_dir: PathBuf,
    pub(crate) staging: PathBuf,
    pub(crate) file_size: u64,
    access: Access,
    descriptors: RwLock<Descriptors>,
    unsynced: Mutex<Unsynced>,
    /// For syncing more files than are worth opening one by one.
    file_system: RwLock<Option<Box<dyn FileSystem>>>,
    /// Queues with entries that are not in their files yet.
    pub(super) dirty: Mutex<Vec<Arc<Queue>>>,
    next_serial: AtomicU32,
    /// To be renewed whenever a directory of a topic appears or goes.
    pub(super) stamping: Stamping,
    /// Names that exist may not be on the disk; see [`super::Queues::distrust_names`].
    pub(super) names_distrusted: AtomicBool,
}

/// Each costs about a write of the journal; a whole file system is synced with one, but with everybody's data.
const SINGLE_SYNCS_MAX: usize = 256;

/// What was written since the last sync.
#[derive(Default)]
struct Unsynced {
    files: FxHashMap<FileKey, Arc<Queue>>,
    directories: FxHashSet<PathBuf>,
}

impl Files {
    pub(super) fn new(config: &QueueConfig, disk: Arc<dyn Disk>) -> Self {
        let entry_size = ENTRY_SIZE as u64;
        Self {
            stamping: Stamping::new(&disk, &config.dir, &config.side_dir),
            disk,
            dir: config.dir.clone(),
            side_dir: config.side_dir.clone(),
            staging: config.side_dir.join("tmp"),
            file_size: config.file_size.max(entry_size).next_multiple_of(entry_size),
            access: config.access,
            descriptors: RwLock::new(Descriptors::new(config.open_files_max)),
            unsynced: Mutex::default(),
            file_system: RwLock::default(),
            dirty: Mutex::default(),
            next_serial: AtomicU32::new(0),
            names_distrusted: AtomicBool::new(false),
        }
    }

    pub(super) fn take_serial(&self) -> u32 {
        self.next_serial.fetch_add(1, Ordering::Relaxed)
    }

    /// Entries in a file.
    pub(super) fn entries_per_file(&self) -> i64 {
        i64::try_from(self.file_size / ENTRY_SIZE as u64).unwrap_or(i64::MAX)
    }

    pub(super) fn is_writable(&self) -> bool {
        self.access == Access::ReadWrite
    }

    /// The number of the file with this name; `None` if it is none of a queue's.
    pub(super) fn number_of(&self, name: &str) -> Option<u32> {
        let start = parse_offset_name(name)?;
        let number = start.is_multiple_of(self.file_size).then_some(start / self.file_size)?;
        u32::try_from(number).ok().filter(|number| *number < u32::MAX)
    }

    pub(super) fn queue_dir(&self, topic: &str, id: QueueId) -> PathBuf {
        self.dir.join(topic).join(id.0.to_string())
    }

    pub(super) fn path(&self, queue: &Queue, number: u32) -> PathBuf {
        self.queue_dir(queue.topic(), queue.id()).join(offset_name(u64::from(number) * self.file_size))
    }

    /// The descriptor if it is open.
    pub(super) fn opened(&self, queue: &Queue, number: u32) -> Option<Arc<dyn DiskFile>> {
        self.descriptors.read().get(FileKey { serial: queue.serial(), number })
    }

    /// The descriptor, opening the existing file if need be.
    pub(super) fn open(&self, queue: &Queue, number: u32) -> Result<Arc<dyn DiskFile>, QueueError> {
        if let Some(file) = self.opened(queue, number) {
            return Ok(file);
        }
        let path = self.path(queue, number);
        let file = self.disk.open(&path, self.access).map_err(QueueError::io("open", &path))?;
        self.descriptors.write().insert(FileKey { serial: queue.serial(), number }, Arc::clone(&file));
        Ok(file)
    }

    /// Creates a file, and the directories of its queue if this is their first. An existing file of full length is
    /// taken over: it is from before a crash, and what it holds comes from the log again.
    pub(super) fn create(&self, queue: &Arc<Queue>, number: u32) -> Result<Arc<dyn DiskFile>, QueueError> {
        let path = self.path(queue, number);
        let file = match self.disk.open(&path, self.access) {
            Ok(file) => {
                let found = file.len().map_err(QueueError::io("measure", &path))?;
                if found != self.file_size {
                    return Err(QueueError::Length { path, found, expected: self.file_size });
                }
                file
            }
            Err(error) if error.kind() == ErrorKind::NotFound => self.create_new(queue, &path)?,
            Err(error) => return Err(QueueError::io("open", &path)(error)),
        };
        self.unsynced.lock().directories.insert(self.queue_dir(queue.topic(), queue.id()));
        self.descriptors.write().insert(FileKey { serial: queue.serial(), number }, Arc::clone(&file));
        Ok(file)
    }

    fn create_new(&self, queue: &Queue, path: &Path) -> Result<Arc<dyn DiskFile>, QueueError> {
        let create = || self.disk.create(path, self.file_size, Fill::Sparse, &self.staging);
        let created = match create() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let dir = self.queue_dir(queue.topic(), queue.id());
                self.disk.create_dir_all(&dir).map_err(QueueError::io("create", &dir))?;
                self.stamping.renew();
                let mut unsynced = self.unsynced.lock();
                unsynced.directories.insert(self.dir.clone());
                unsynced.directories.insert(self.dir.join(queue.topic()));
                drop(unsynced);
                create()
            }
            result => result,
        };
        created.map_err(QueueError::io("create", path))
    }

    /// Writes whole entries and remembers that the file has to be synced.
    pub(super) fn write(
        &self,
        queue: &Arc<Queue>,
        number: u32,
        file: &Arc<dyn DiskFile>,
        bytes: &[u8],
        at: u64,
    ) -> Result<(), QueueError> {
        self.mark_unsynced(queue, number);
        file.write_at(&[IoSlice::new(bytes)], at)
            .map_err(|error| QueueError::io("write", &self.path(queue, number))(error))
    }

    pub(super) fn mark_unsynced(&self, queue: &Arc<Queue>, number: u32) {
        let key = FileKey { serial: queue.serial(), number };
        let mut unsynced = self.unsynced.lock();
        unsynced.files.entry(key).or_insert_with(|| Arc::clone(queue));
        if self.names_distrusted.load(Ordering::Acquire) {
            let topic = self.dir.join(queue.topic());
            unsynced.directories.insert(self.queue_dir(queue.topic(), queue.id()));
            unsynced.directories.insert(topic);
            unsynced.directories.insert(self.dir.clone());
        }
    }

    /// Removes a file. An absent one is fine: a crash came between two removals.
    pub(super) fn remove(&self, queue: &Queue, number: u32) -> Result<(), QueueError> {
        self.forget(queue, number);
        let path = self.path(queue, number);
        remove_if_present(self.disk.as_ref(), &path)?;
        self.unsynced.lock().directories.insert(self.queue_dir(queue.topic(), queue.id()));
        Ok(())
    }

    /// Closes the descriptor and drops the need to sync.
    pub(super) fn forget(&self, queue: &Queue, number: u32) {
        let key = FileKey { serial: queue.serial(), number };
        self.descriptors.write().remove(key);
        self.unsynced.lock().files.remove(&key);
    }

    /// Removes a directory of a deleted topic. Whatever else lies in it stays, and so does the directory.
    pub(super) fn remove_dir(&self, dir: &Path) -> Result<(), QueueError> {
        match self.disk.remove_dir(dir) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {}
            result => result.map_err(QueueError::io("remove", dir))?,
        }
        self.stamping.renew();
        let parent = dir.parent().unwrap_or(&self.dir).to_owned();
        self.unsynced.lock().directories.insert(parent);
        Ok(())
    }

    /// Makes everything written before the call durable. After an error all of it still counts as unsynced, but the
    /// caller must not retry as if nothing had happened: the page cache may have dropped what failed.
    pub(super) fn sync(&self) -> Result<(), QueueError> {
        // Only when all that recovery put back is in its files do the directories below cover all names in doubt.
        let covers_all_names = self.dirty.lock().is_empty();
        let taken = std::mem::take(&mut *self.unsynced.lock());
        let result = self.sync_all(&taken);
        if covers_all_names && result.is_ok() {
            self.names_distrusted.store(false, Ordering::Release);
        }
        if result.is_err() {
            let mut unsynced = self.unsynced.lock();
            unsynced.files.extend(taken.files);
            unsynced.directories.extend(taken.directories);
        }
        result
    }

    /// Opens what syncing very many files takes. From here on its errors count.
    pub(super) fn open_file_system(&self) -> Result<(), QueueError> {
        if self.is_writable() && self.file_system.read().is_none() {
            let opened = match self.disk.file_system(&self.dir) {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                result => result.map_err(QueueError::io("open", &self.dir))?,
            };
            *self.file_system.write() = opened;
        }
        Ok(())
    }

    fn sync_all(&self, taken: &Unsynced) -> Result<(), QueueError> {
        if taken.files.len() > SINGLE_SYNCS_MAX
            && let Some(file_system) = &*self.file_system.read()
        {
            return file_system.sync().map_err(QueueError::io("sync the file system of", &self.dir));
        }
        for (key, queue) in &taken.files {
            let file = match self.open(queue, key.number) {
                Ok(file) => file,
                // Deleted since: by retention or with its topic.
                Err(error) if error.is_not_found() && !queue.has_file(key.number) => continue,
                Err(error) => return Err(error),
            };
            file.sync_data().map_err(|error| QueueError::io("sync", &self.path(queue, key.number))(error))?;
        }
        for dir in &taken.directories {
            match self.disk.sync_dir(dir) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => result.map_err(QueueError::io("sync", dir))?,
            }
        }
        Ok(())
    }

    pub(super) fn forget_unsynced(&self) {
        *self.unsynced.lock() = Unsynced::default();
    }

    #[cfg(test)]
    pub(super) fn open_count(&self) -> usize {
        self.descriptors.read().slots.len()
    }
}

/// Removes a file that may be gone already.
pub(super) fn remove_if_present(disk: &dyn Disk, path: &Path) -> Result<(), QueueError> {
    match disk.remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.map_err(QueueError::io("remove", path)),
    }
}

/// One file of one queue: the queue's serial number and the number of the file within it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct FileKey {
    serial: u32,
    number: u32,
}

/// Open descriptors up to a limit. When full, the first one that was not used since the hand last passed it goes
/// (the clock algorithm: a hit costs one relaxed store under a shared lock).
struct Descriptors {
    slots: Vec<Slot>,
    places: FxHashMap<FileKey, usize>,
    hand: usize,
    limit: usize,
}

struct Slot {
    key: FileKey,
    file: Arc<dyn DiskFile>,
    used: AtomicBool,
}

impl Descriptors {
    fn new(limit: usize) -> Self {
        Self { slots: Vec::new(), places: FxHashMap::default(), hand: 0, limit: limit.max(1) }
    }

    fn get(&self, key: FileKey) -> Option<Arc<dyn DiskFile>> {
        let slot = self.slots.get(*self.places.get(&key)?)?;
        slot.used.store(true, Ordering::Relaxed);
        Some(Arc::clone(&slot.file))
    }

    fn insert(&mut self, key: FileKey, file: Arc<dyn DiskFile>) {
        let slot = Slot { key, file, used: AtomicBool::new(true) };
        if let Some(&place) = self.places.get(&key) {
            self.slots[place] = slot;
        } else if self.slots.len() < self.limit {
            self.places.insert(key, self.slots.len());
            self.slots.push(slot);
        } else {
            while self.slots[self.hand].used.swap(false, Ordering::Relaxed) {
                self.hand = (self.hand + 1) % self.slots.len();
            }
            self.places.remove(&self.slots[self.hand].key);
            self.places.insert(key, self.hand);
            self.slots[self.hand] = slot;
            self.hand = (self.hand + 1) % self.slots.len();
        }
    }

    fn remove(&mut self, key: FileKey) {
        if let Some(place) = self.places.remove(&key) {
            self.slots.swap_remove(place);
            if let Some(moved) = self.slots.get(place) {
                self.places.insert(moved.key, place);
            }
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
        }
    }
}
