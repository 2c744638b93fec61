//! The files of the commit log: equally long, contiguous, named by the position of their first byte.
//!
//! Which segments exist changes only through [`Segments`], and readers keep working on the list they took: a segment
//! that is removed stays readable for whoever holds it. Segments prepared ahead of the tail are in the list as well.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::disk::{Access, Disk, DiskFile, Fill};
use crate::layout::{Layout, offset_name};

/// One file of the log.
pub(crate) struct Segment {
    pub(crate) base: u64,
    pub(crate) len: u64,
    path: PathBuf,
    file: OnceLock<Arc<dyn DiskFile>>,
    access: Access,
    /// What cold readers asked the page cache for, and gave up, last; see [`Segment::advise_before_cold_read`].
    read_ahead_to: AtomicU64,
    dropped_to: AtomicU64,
}

/// Cold readers have so many bytes fetched ahead of them ...
const READ_AHEAD: u64 = 4 << 20;
/// ... and leave so many behind, because the readers of other queues are not far.
const KEPT_BEHIND: u64 = 32 << 20;

impl Segment {
    pub(super) fn new(base: u64, len: u64, path: PathBuf, file: Option<Arc<dyn DiskFile>>) -> Self {
        Self {
            base,
            len,
            path,
            file: file.map_or_else(OnceLock::new, OnceLock::from),
            access: Access::ReadWrite,
            read_ahead_to: AtomicU64::new(0),
            dropped_to: AtomicU64::new(0),
        }
    }

    /// Has the kernel fetch what a reader of old records will want next. Records of many queues lie mixed, so the
    /// kernel itself sees no sequence in their reads.
    pub(crate) fn advise_before_cold_read(&self, file: &dyn DiskFile, at: u64, len: u64) {
        let ahead = self.read_ahead_to.load(Ordering::Relaxed);
        let end = at + len;
        if end + READ_AHEAD / 2 > ahead || end + 2 * READ_AHEAD < ahead {
            let to = (end + READ_AHEAD).min(self.len);
            self.read_ahead_to.store(to, Ordering::Relaxed);
            file.will_need(at, to - at);
        }
    }

    /// Gives up what a draining reader has left behind, so that a backlog does not push the producers' pages out.
    pub(crate) fn advise_after_cold_read(&self, file: &dyn DiskFile, at: u64) {
        let dropped = self.dropped_to.load(Ordering::Relaxed);
        if at < dropped {
            // Another reader, further back.
            self.dropped_to.store(at, Ordering::Relaxed);
        } else if at - dropped > 2 * KEPT_BEHIND {
            let to = at - KEPT_BEHIND;
            self.dropped_to.store(to, Ordering::Relaxed);
            file.dont_need(dropped, to - dropped);
        }
    }

    /// First position behind the segment.
    pub(crate) fn end(&self) -> u64 {
        self.base + self.len
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The open file; opened at the first use.
    pub(crate) fn file(&self, disk: &dyn Disk) -> io::Result<&dyn DiskFile> {
        if let Some(file) = self.file.get() {
            return Ok(&**file);
        }
        // Two threads may open it at the same time; the second descriptor is closed again.
        let opened = disk.open(&self.path, self.access)?;
        Ok(&**self.file.get_or_init(|| opened))
    }
}

/// The list of segments, ordered by position and without gaps.
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    staging: PathBuf,
    size: u64,
    list: ArcSwap<Vec<Arc<Segment>>>,
    /// Held while a file is made. Who waits for it wants that file and could do nothing else meanwhile.
    making: Mutex<()>,
    /// Names may be gone here and not on the disk. True at first: the last run may have removed some.
    removals_unsynced: AtomicBool,
}

impl Segments {
    /// The given files, which exist at full length; `bases` ascend without gaps.
    pub(crate) fn new(disk: Arc<dyn Disk>, layout: &Layout, size: u64, bases: &[u64]) -> Self {
        let dir = layout.commit_log().to_path_buf();
        let list = bases
            .iter()
            .map(|base| {
                let path = dir.join(offset_name(*base));
                Arc::new(Segment::new(*base, size, path, None))
            })
            .collect();
        let (staging, list) = (layout.staging(), ArcSwap::from_pointee(list));
        let (making, removals_unsynced) = (Mutex::default(), AtomicBool::new(true));
        Self { disk, dir, staging, size, list, making, removals_unsynced }
    }

    /// Files that must not be written.
    pub(crate) fn for_reading(disk: Arc<dyn Disk>, layout: &Layout, size: u64, bases: &[u64]) -> Self {
        let segments = Self::new(disk, layout, size, bases);
        let read_only = |segment: &Arc<Segment>| {
            let segment = Segment::new(segment.base, size, segment.path.clone(), None);
            Arc::new(Segment { access: Access::Read, ..segment })
        };
        let list = segments.list().iter().map(read_only).collect();
        segments.list.store(Arc::new(list));
        segments
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// All segments at this moment.
    pub(crate) fn list(&self) -> Arc<Vec<Arc<Segment>>> {
        self.list.load_full()
    }

    /// Position of the first byte still there; `None` for an empty log.
    pub(crate) fn first_base(&self) -> Option<u64> {
        self.list.load().first().map(|segment| segment.base)
    }

    /// The segment that holds `position`.
    pub(crate) fn find(&self, position: u64) -> Option<Arc<Segment>> {
        let list = self.list.load();
        let first = list.first()?.base;
        let index = usize::try_from(position.checked_sub(first)? / self.size).ok()?;
        list.get(index).cloned()
    }

    /// The segment that begins at `base`, created with reserved space if it does not exist. Its name is durable when
    /// this returns. Preparing ahead and writing may both ask for the same one at the same time; the space for it is
    /// reserved once.
    ///
    /// # Errors
    /// A full disk is reported here and nowhere later, because the space of a segment is reserved.
    pub(crate) fn ensure(&self, base: u64) -> io::Result<Arc<Segment>> {
        if let Some(segment) = self.find(base).filter(|segment| segment.base == base) {
            return Ok(segment);
        }
        let _making = self.making.lock();
        if let Some(segment) = self.find(base).filter(|segment| segment.base == base) {
            return Ok(segment);
        }
        let path = self.dir.join(offset_name(base));
        let file = match self.disk.create(&path, self.size, Fill::Reserved, &self.staging) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.disk.open(&path, Access::ReadWrite)?
            }
            Err(error) => return Err(error),
        };
        self.disk.sync_dir(&self.dir)?;
        let segment = Arc::new(Segment::new(base, self.size, path, Some(file)));
        self.list.rcu(|list| {
            let mut longer = Vec::clone(list);
            longer.push(Arc::clone(&segment));
            longer
        });
        Ok(segment)
    }

    /// Removes segments, the newest first; readers that hold one finish in peace. Durable when this returns.
    ///
    /// # Errors
    /// A segment whose file could not be removed stays in the list, and those before it too: otherwise there would be a
    /// gap in the files sooner or later.
    pub(crate) fn remove(&self, gone: impl Fn(&Segment) -> bool) -> io::Result<Vec<Arc<Segment>>> {
        let mut removed = Vec::new();
        for segment in self.list().iter().rev().filter(|segment| gone(segment)) {
            // Opened before its name goes, for those who have it and did not read yet.
            segment.file(&*self.disk)?;
            self.removals_unsynced.store(true, Ordering::Release);
            self.disk.remove_file(&segment.path)?;
            self.list.rcu(|list| {
                list.iter().filter(|other| other.base != segment.base).cloned().collect::<Vec<_>>()
            });
            removed.push(Arc::clone(segment));
        }
        if !removed.is_empty() {
            self.sync_removals()?;
        }
        Ok(removed)
    }

    /// Makes every removal durable, also one whose own sync failed. What a removed segment held may only be forgotten
    /// elsewhere after this: until then a power cut brings its name back.
    ///
    /// # Errors
    /// The directory cannot be synced; call again.
    pub(crate) fn sync_removals(&self) -> io::Result<()> {
        if self.removals_unsynced.swap(false, Ordering::AcqRel) {
            let synced = self.disk.sync_dir(&self.dir);
            self.removals_unsynced.fetch_or(synced.is_err(), Ordering::AcqRel);
            synced?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;
    use crate::disk::RealDisk;

    fn segments(root: &Path) -> Segments {
        let layout = Layout::new(root, None);
        let disk = RealDisk::default();
        disk.create_dir_all(layout.commit_log()).unwrap();
        disk.create_dir_all(&layout.staging()).unwrap();
        Segments::new(Arc::new(disk), &layout, 4096, &[])
    }

    #[test]
    fn positions_find_their_segment() {
        let dir = tempfile::tempdir().unwrap();
        let segments = segments(dir.path());
        assert!(segments.find(0).is_none() && segments.first_base().is_none());
        for base in [8192, 12288] {
            segments.ensure(base).unwrap();
        }
        assert!(segments.find(8191).is_none());
        assert_eq!(segments.find(8192).unwrap().base, 8192);
        assert_eq!(segments.find(12287).unwrap().base, 8192);
        assert_eq!(segments.find(16383).unwrap().base, 12288);
        assert!(segments.find(16384).is_none());
    }

    #[test]
    fn a_file_somebody_else_created_meanwhile_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let first = segments(dir.path());
        let second = Segments::new(Arc::new(RealDisk::default()), &Layout::new(dir.path(), None), 4096, &[]);
        first.ensure(0).unwrap();
        assert_eq!(second.ensure(0).unwrap().base, 0);
    }

    #[test]
    fn a_removed_segment_stays_readable_for_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let segments = segments(dir.path());
        let held = segments.ensure(0).unwrap();
        segments.ensure(4096).unwrap();
        let disk = RealDisk::default();
        held.file(&disk).unwrap().write_at(&[IoSlice::new(b"x")], 0).unwrap();
        assert_eq!(segments.remove(|segment| segment.base == 0).unwrap().len(), 1);
        assert!(segments.find(0).is_none() && !held.path().exists());
        let mut byte = [0];
        held.file(&disk).unwrap().read_at(&mut byte, 0).unwrap();
        assert_eq!(&byte, b"x");
    }
}
