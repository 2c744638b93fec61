//! The real disk, on which the log's writes or syncs do not return as long as a test wants.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock, RwLockWriteGuard};

use ferromq_store::disk::{Access, DirEntry, Disk, DiskFile, DiskLock, Fill, RealDisk, Space};

/// Closed while somebody holds it exclusively.
#[derive(Clone, Default)]
pub struct Gate(Arc<RwLock<()>>);

impl Gate {
    /// Nobody passes until the guard is dropped.
    pub fn close(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.write().unwrap()
    }

    pub fn pass(&self) {
        drop(self.0.read().unwrap());
    }
}

/// What is largest among the writes of the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Largest {
    pub bytes: usize,
    pub pieces: usize,
}

#[derive(Default)]
pub struct SlowDisk {
    real: RealDisk,
    pub writes: Gate,
    pub syncs: Gate,
    pub largest: Arc<Mutex<Largest>>,
}

impl SlowDisk {
    fn gated(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let is_log = path.parent().is_some_and(|dir| dir.ends_with("commitlog"));
        if !is_log {
            return file;
        }
        let (writes, syncs, largest) = (self.writes.clone(), self.syncs.clone(), self.largest.clone());
        Arc::new(LogFile { file, writes, syncs, largest })
    }
}

impl Disk for SlowDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.gated(path, self.real.open(path, access)?))
    }

    fn create(&self, path: &Path, len: u64, fill: Fill, staging: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.gated(path, self.real.create(path, len, fill, staging)?))
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
        self.real.space(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.real.lock(path)
    }
}

struct LogFile {
    file: Arc<dyn DiskFile>,
    writes: Gate,
    syncs: Gate,
    largest: Arc<Mutex<Largest>>,
}

impl DiskFile for LogFile {
    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        self.writes.pass();
        let mut largest = self.largest.lock().unwrap();
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        *largest = Largest { bytes: largest.bytes.max(bytes), pieces: largest.pieces.max(slices.len()) };
        drop(largest);
        self.file.write_at(slices, at)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buf, at)
    }

    fn read_cached_at(&self, buf: &mut [u8], at: u64) -> io::Result<Option<usize>> {
        self.file.read_cached_at(buf, at)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.syncs.pass();
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
