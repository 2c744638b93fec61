//! The real disk, on which the log's writes or syncs do not return as long as a test wants.

use std::io::IoSlice;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock, RwLockWriteGuard};

use crate::watched_disk::{Watch, is_log};

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

/// Calls of the log and what they wait for.
#[derive(Default)]
pub struct SlowDisk {
    pub writes: Gate,
    pub syncs: Gate,
    pub largest: Mutex<Largest>,
}

impl Watch for SlowDisk {
    fn writes(&self, path: &Path, slices: &[IoSlice<'_>]) {
        if !is_log(path) {
            return;
        }
        self.writes.pass();
        let mut largest = self.largest.lock().unwrap();
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        *largest = Largest { bytes: largest.bytes.max(bytes), pieces: largest.pieces.max(slices.len()) };
    }

    fn syncs(&self, path: &Path) {
        if is_log(path) {
            self.syncs.pass();
        }
    }
}
