//! The real disk with somebody who looks at some of its calls before they happen: counts them, holds them up, or says
//! that there is less space. Tests of the broker use it too.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferromq_store::disk::{Access, DirEntry, Disk, DiskFile, DiskLock, FileSystem, Fill, RealDisk, Space};

/// What a test wants to know of, or to delay.
pub trait Watch: Send + Sync + 'static {
    fn writes(&self, _path: &Path, _slices: &[IoSlice<'_>]) {}
    fn syncs(&self, _path: &Path) {}
    fn resizes(&self, _path: &Path) {}
    /// Space to be told instead of the real one.
    fn space(&self) -> Option<Space> {
        None
    }
}

/// Whether this is a file of the log.
pub fn is_log(path: &Path) -> bool {
    path.parent().is_some_and(|dir| dir.ends_with("commitlog"))
}

pub struct WatchedDisk<W> {
    real: RealDisk,
    watch: Arc<W>,
}

impl<W: Watch> WatchedDisk<W> {
    pub fn new(watch: Arc<W>) -> Self {
        Self { real: RealDisk::default(), watch }
    }

    fn watched(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(WatchedFile { file, path: path.to_owned(), watch: Arc::clone(&self.watch) })
    }
}

impl<W: Watch> Disk for WatchedDisk<W> {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.watched(path, self.real.open(path, access)?))
    }

    fn create(&self, path: &Path, len: u64, fill: Fill, staging: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.watched(path, self.real.create(path, len, fill, staging)?))
    }

    fn create_small(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.real.create_small(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.real.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.real.list(dir)
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<DirEntry>> {
        self.real.metadata(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.real.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.real.hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.real.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.real.remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.real.sync_dir(dir)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.watch.space().map_or_else(|| self.real.space(path), Ok)
    }

    fn file_system(&self, path: &Path) -> io::Result<Option<Box<dyn FileSystem>>> {
        self.real.file_system(path)
    }

    fn session(&self) -> Option<u64> {
        self.real.session()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.real.lock(path)
    }
}

struct WatchedFile<W> {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    watch: Arc<W>,
}

impl<W: Watch> DiskFile for WatchedFile<W> {
    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        self.watch.writes(&self.path, slices);
        self.file.write_at(slices, at)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buf, at)
    }

    fn read_cached_at(&self, buf: &mut [u8], at: u64) -> io::Result<Option<usize>> {
        self.file.read_cached_at(buf, at)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.watch.syncs(&self.path);
        self.file.sync_data()
    }

    fn start_write_back(&self, at: u64, len: u64) {
        self.file.start_write_back(at, len);
    }

    fn will_need(&self, at: u64, len: u64) {
        self.file.will_need(at, len);
    }

    fn dont_need(&self, at: u64, len: u64) {
        self.file.dont_need(at, len);
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.watch.resizes(&self.path);
        self.file.set_len(len)
    }

    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        self.file.next_data(at)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn zero(&self, at: u64, len: u64) -> io::Result<()> {
        self.file.zero(at, len)
    }
}
