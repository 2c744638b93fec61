//! The index at start.
//!
//! After a clean stop the headers are right and nothing is read but them. Otherwise every file that was not known to be
//! full and durable is read through: an entry counts if it continues the chain of its slot exactly where the entries
//! before it left it and its position does not go back. That needs no checksum, and gives the slot table on the way.
//! The messages from the last counted one on are then added again by the replay of the log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use ferromq_protocol::types::{PhysicalOffset, TimestampMs};
use parking_lot::{Mutex, RwLock};

use super::file::{self, ENTRY_SIZE, HEADER_SIZE, Header, KeyEntry, SLOT_SIZE, Shape};
use super::slots::Slots;
use super::{FileState, Index, IndexConfig, IndexError, IndexFile, OpenFile, WRITE_MAX, whole_entries};
use crate::disk::{Access, DirEntry, Disk, DiskFile, erase};

/// How to open the index.
pub struct IndexLoad<'a> {
    /// The last stop was clean: headers and slot tables are complete.
    pub clean: bool,
    /// The log ends here; entries behind it are of no use.
    pub end: PhysicalOffset,
    /// Files whose last message is not younger were full and synced (checkpoint).
    pub full_until: TimestampMs,
    /// All keys of messages before this position are on the disk.
    pub synced_below: PhysicalOffset,
    /// Store time of the record at a position, if the log still has it.
    pub store_time: &'a dyn Fn(PhysicalOffset) -> Option<TimestampMs>,
}

/// Something recovery changed in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexFinding {
    /// The file.
    pub path: PathBuf,
    /// What it is.
    pub kind: IndexFault,
}

/// Kinds of [`IndexFinding`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexFault {
    /// The process died while creating it. Removed.
    #[error("the file is empty")]
    EmptyFile,
    /// Entries from this one on were not written, belong to no chain or point behind the end of the log. Their
    /// messages are added again as far as the log has them.
    #[error("entries {kept} to {counted} do not count")]
    Cut {
        /// Entries before this one are kept.
        kept: u32,
        /// The header counted up to here.
        counted: u32,
    },
    /// An older file was cut: this one would leave a gap. Removed, its messages are added again.
    #[error("the file follows one that lost entries")]
    AfterCut,
}

impl Index {
    /// Opens the index and verifies what a crash may have damaged.
    ///
    /// # Errors
    /// A file that cannot be read, or one of another shape.
    pub fn open(
        config: IndexConfig,
        disk: Arc<dyn Disk>,
        load: &IndexLoad<'_>,
    ) -> Result<(Self, Vec<IndexFinding>), IndexError> {
        let index = Self {
            disk,
            config,
            files: RwLock::default(),
            resume_at: AtomicI64::new(0),
            full_until: AtomicI64::new(load.full_until.0),
            slot_bytes: AtomicUsize::new(0),
            // A crash may have come between the creation of a file and the sync of its name.
            directory_changed: AtomicBool::new(!load.clean),
            waiting: Mutex::default(),
            turn: Mutex::default(),
        };
        let mut findings = Vec::new();
        let names = index.names(&mut findings)?;
        let mut resume_at = PhysicalOffset(0);
        let mut cut = false;
        for (place, entry) in names.iter().enumerate() {
            let path = index.config.dir.join(&entry.name);
            if cut {
                if index.config.access == Access::ReadWrite {
                    index.remove_file(&path)?;
                }
                findings.push(IndexFinding { path, kind: IndexFault::AfterCut });
                continue;
            }
            let newest = place + 1 == names.len();
            let opened = index.open_file(&path, load, newest)?;
            resume_at = match opened.resume_at {
                Some(resume_at) => resume_at,
                // The last message of the file before may have had more keys in this one.
                None if resume_at.0 > 0 => PhysicalOffset(resume_at.0 - 1),
                None => resume_at,
            };
            if let Some(fault) = opened.cut {
                cut = true;
                findings.push(IndexFinding { path: path.clone(), kind: fault });
            }
            let file = IndexFile { name: entry.name.clone(), path, state: Mutex::new(opened.state) };
            index.files.write().push(Arc::new(file));
        }
        if findings.iter().any(|finding| !matches!(finding.kind, IndexFault::Cut { .. }))
            && index.config.access == Access::ReadWrite
        {
            // A removed file must not come back between those that take its place.
            let dir = &index.config.dir;
            index.disk.sync_dir(dir).map_err(IndexError::sync(dir))?;
        }
        index.resume_at.store(resume_at.0, Ordering::Relaxed);
        Ok((index, findings))
    }

    /// The files that are to be opened. An empty newest one goes.
    fn names(&self, findings: &mut Vec<IndexFinding>) -> Result<Vec<DirEntry>, IndexError> {
        let dir = &self.config.dir;
        let mut names = names(&self.config, &*self.disk)?;
        if let Some(newest) = names.pop_if(|newest| newest.len == 0) {
            let path = dir.join(&newest.name);
            if self.config.access == Access::ReadWrite {
                self.remove_file(&path)?;
            }
            findings.push(IndexFinding { path, kind: IndexFault::EmptyFile });
        }
        let shape = self.config.shape;
        match names.iter().find(|entry| entry.len != shape.file_len()) {
            Some(other) => Err(IndexError::Shape { path: dir.join(&other.name), found: other.len, shape }),
            None => Ok(names),
        }
    }

    fn open_file(&self, path: &Path, load: &IndexLoad<'_>, newest: bool) -> Result<Opened, IndexError> {
        let shape = self.config.shape;
        let handle = self.disk.open(path, self.config.access).map_err(IndexError::io("open", path))?;
        let mut bytes = [0; HEADER_SIZE];
        handle.read_at(&mut bytes, 0).map_err(IndexError::io("read", path))?;
        let mut header = Header::decode(&bytes);
        let counted = header.count;
        header.count = header.count.min(shape.entries);
        let full = header.count >= shape.entries;

        let trusted = load.clean || (full && self.is_durable(path, handle.as_ref(), &header, load)?);
        if trusted && header.end_physical < load.end && counted == header.count {
            let open = (newest && !full).then(|| OpenFile {
                handle: Some(handle),
                written: header.count,
                header_changed: false,
                in_flight: Arc::default(),
                pending: Vec::new(),
                slots: Slots::stored(shape.slots),
            });
            let resume_at = (header.count > 1).then(|| header.end_physical.plus(1));
            return Ok(Opened { state: FileState { header, open }, resume_at, cut: None });
        }
        self.verify_file(path, handle, header, counted, newest, load)
    }

    /// Whether everything of a full file reached the disk before a crash. Its header may be torn, so it alone does not
    /// tell: the last entry has to agree about where the file ends.
    fn is_durable(
        &self,
        path: &Path,
        file: &dyn DiskFile,
        header: &Header,
        load: &IndexLoad<'_>,
    ) -> Result<bool, IndexError> {
        let completed = (1..=load.full_until.0).contains(&header.end_time.0);
        // A store time may be that of several files, a position is that of one.
        let before_checkpoint = load.synced_below.0 == 0 || header.end_physical < load.synced_below;
        if !completed || !before_checkpoint {
            return Ok(false);
        }
        let mut last = [0; ENTRY_SIZE];
        let last_at = self.config.shape.entry_at(header.count.saturating_sub(1));
        file.read_at(&mut last, last_at).map_err(IndexError::io("read", path))?;
        Ok(KeyEntry::decode(&last).physical == header.end_physical)
    }

    fn verify_file(
        &self,
        path: &Path,
        handle: Arc<dyn DiskFile>,
        header: Header,
        counted: u32,
        newest: bool,
        load: &IndexLoad<'_>,
    ) -> Result<Opened, IndexError> {
        let shape = self.config.shape;
        let mut verified = Verified::new(shape);
        verified.read(handle.as_ref(), header.count, load.end).map_err(IndexError::io("read", path))?;
        let cut = (verified.count < counted).then_some(IndexFault::Cut { kept: verified.count, counted });
        let mut resume_at = verified.last.map(|last| last.physical);
        let complete = verified.last.is_some_and(|last| last.physical < load.synced_below);
        if (newest || cut.is_some()) && !complete {
            // The process may have died between two keys of the last message: it is added again as a whole.
            verified.drop_last_message(handle.as_ref()).map_err(IndexError::io("read", path))?;
        } else {
            resume_at = resume_at.map(|last| last.plus(1));
        }
        if self.config.access == Access::ReadWrite {
            // Also what no header counts: entries of an earlier life would continue those that take their place, should
            // a power cut lose the page of the newer ones.
            let behind = shape.entry_at(verified.count);
            let erased = erase(handle.as_ref(), behind, shape.file_len());
            if erased.map_err(IndexError::io("erase", path))? > 0 {
                handle.sync_data().map_err(IndexError::sync(path))?;
            }
        }
        let header = verified.correct(header, load.store_time);
        verified.slots.mark_all_dirty();
        let open = OpenFile {
            handle: Some(handle),
            written: header.count,
            header_changed: true,
            in_flight: Arc::default(),
            pending: Vec::new(),
            slots: verified.slots,
        };
        Ok(Opened { state: FileState { header, open: Some(open) }, resume_at, cut })
    }

    fn remove_file(&self, path: &Path) -> Result<(), IndexError> {
        self.disk.remove_file(path).map_err(IndexError::io("remove", path))?;
        self.directory_changed.store(true, Ordering::Release);
        Ok(())
    }
}

/// An index file, looked through without being opened for use.
pub(crate) struct Surveyed {
    pub(crate) path: PathBuf,
    pub(crate) header: Header,
    /// Entries before this one continue each other and point into the log.
    pub(crate) valid: u32,
    /// Position of the last of them.
    pub(crate) last_physical: Option<PhysicalOffset>,
    /// Slots of the file that do not lead to the newest of them.
    pub(crate) wrong_slots: u32,
}

/// Reads all files of an index, one after the other. `progress` is told files done and files in all.
pub(crate) fn survey(
    config: &IndexConfig,
    disk: &dyn Disk,
    end: PhysicalOffset,
    progress: &dyn Fn(u64, u64),
) -> Result<Vec<Surveyed>, IndexError> {
    let names = names(config, disk)?;
    let shape = config.shape;
    let mut surveyed = Vec::with_capacity(names.len());
    for (place, entry) in names.iter().enumerate() {
        progress(place as u64, names.len() as u64);
        let path = config.dir.join(&entry.name);
        if entry.len != shape.file_len() {
            return Err(IndexError::Shape { path, found: entry.len, shape });
        }
        let file = disk.open(&path, Access::Read).map_err(IndexError::io("open", &path))?;
        let mut bytes = [0; HEADER_SIZE];
        file.read_at(&mut bytes, 0).map_err(IndexError::io("read", &path))?;
        let header = Header::decode(&bytes);
        let mut verified = Verified::new(shape);
        verified.read(&*file, header.count.min(shape.entries), end).map_err(IndexError::io("read", &path))?;
        let wrong_slots = verified.wrong_slots(&*file).map_err(IndexError::io("read", &path))?;
        surveyed.push(Surveyed {
            header,
            valid: verified.count,
            last_physical: verified.last.map(|last| last.physical),
            wrong_slots,
            path,
        });
    }
    Ok(surveyed)
}

/// The files of an index, oldest first. Java passes over names that are no numbers.
fn names(config: &IndexConfig, disk: &dyn Disk) -> Result<Vec<DirEntry>, IndexError> {
    let mut names = disk.list(&config.dir).map_err(IndexError::io("list", &config.dir))?;
    names.retain(|entry| !entry.is_dir && entry.name.bytes().all(|byte| byte.is_ascii_digit()));
    names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(names)
}

/// One file, opened.
struct Opened {
    state: FileState,
    /// Messages from here on are not in this file; `None` if it has none.
    resume_at: Option<PhysicalOffset>,
    cut: Option<IndexFault>,
}

/// The entries of a file that continue each other, and the slot table that follows from them.
struct Verified {
    shape: Shape,
    slots: Slots,
    /// Number behind the last of them.
    count: u32,
    /// Chains they form.
    chains: u32,
    first: Option<KeyEntry>,
    last: Option<KeyEntry>,
}

impl Verified {
    fn new(shape: Shape) -> Self {
        Self { shape, slots: Slots::empty(shape.slots), count: 1, chains: 0, first: None, last: None }
    }

    fn read(&mut self, file: &dyn DiskFile, counted: u32, end: PhysicalOffset) -> io::Result<()> {
        let mut buffer = vec![0; whole_entries(WRITE_MAX)];
        while self.count < counted {
            let left = usize::try_from(counted - self.count).unwrap_or(usize::MAX).saturating_mul(ENTRY_SIZE);
            let want = left.min(buffer.len());
            let read = file.read_at(&mut buffer[..want], self.shape.entry_at(self.count))?;
            let entries = buffer[..read].as_chunks::<ENTRY_SIZE>().0;
            for raw in entries {
                if !self.accept(raw, end)? {
                    return Ok(());
                }
            }
            if entries.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn accept(&mut self, raw: &[u8; ENTRY_SIZE], end: PhysicalOffset) -> io::Result<bool> {
        let entry = KeyEntry::decode(raw);
        let slot = self.shape.slot_of(entry.hash);
        let head = self.slots.get(slot, None, self.shape)?;
        let follows = self.last.is_none_or(|last| entry.physical >= last.physical);
        let written = raw.iter().any(|byte| *byte != 0);
        if !written || !follows || entry.previous != head || entry.seconds < 0 {
            return Ok(false);
        }
        if entry.physical.0 < 0 || entry.physical >= end {
            return Ok(false);
        }
        self.slots.set(slot, self.count);
        self.count += 1;
        self.chains += u32::from(head == 0);
        self.first = self.first.or(Some(entry));
        self.last = Some(entry);
        Ok(true)
    }

    /// How many slots of a file differ from those that follow from its entries.
    fn wrong_slots(&mut self, file: &dyn DiskFile) -> io::Result<u32> {
        let mut wrong = 0;
        let mut slot = 0;
        let mut buffer = vec![0; WRITE_MAX];
        while slot < self.shape.slots {
            let left = usize::try_from(self.shape.slots - slot).unwrap_or(usize::MAX);
            let want = left.saturating_mul(SLOT_SIZE).min(buffer.len());
            let read = file.read_at(&mut buffer[..want], self.shape.slot_at(slot))?;
            let stored = buffer[..read].as_chunks::<SLOT_SIZE>().0;
            if stored.is_empty() {
                break;
            }
            for raw in stored {
                let head = self.slots.get(slot, None, self.shape)?;
                wrong += u32::from(file::link(i32::from_be_bytes(*raw)) != head);
                slot += 1;
            }
        }
        Ok(wrong)
    }

    /// Takes back the entries of the last message.
    fn drop_last_message(&mut self, file: &dyn DiskFile) -> io::Result<()> {
        let Some(dropped) = self.last else { return Ok(()) };
        while let Some(last) = self.last.filter(|last| last.physical == dropped.physical) {
            self.slots.set(self.shape.slot_of(last.hash), last.previous);
            self.chains -= u32::from(last.previous == 0);
            self.count -= 1;
            self.last = None;
            if self.count > 1 {
                let mut raw = [0; ENTRY_SIZE];
                file.read_at(&mut raw, self.shape.entry_at(self.count - 1))?;
                self.last = Some(KeyEntry::decode(&raw));
            }
        }
        if self.count == 1 {
            self.first = None;
        }
        Ok(())
    }

    /// The header that counts these entries. What a torn header cannot tell comes from the log.
    fn correct(&self, found: Header, store_time: &dyn Fn(PhysicalOffset) -> Option<TimestampMs>) -> Header {
        let mut header = Header { count: self.count, used_slots: self.chains, ..found };
        let (Some(first), Some(last)) = (self.first, self.last) else {
            // Nothing is left: what the file before it handed over is as good a beginning as any.
            return Header {
                end_physical: header.begin_physical,
                end_time: header.begin_time,
                count: 1,
                used_slots: 0,
                ..header
            };
        };
        header.begin_physical = first.physical;
        header.begin_time = store_time(first.physical).unwrap_or(header.begin_time);
        let estimate = match header.end_physical == last.physical {
            true => header.end_time.0,
            false => header.begin_time.0.saturating_add(i64::from(last.seconds) * file::MS_PER_SECOND),
        };
        header.end_physical = last.physical;
        header.end_time = store_time(last.physical).unwrap_or(TimestampMs(estimate));
        header
    }
}

#[cfg(test)]
mod tests;
