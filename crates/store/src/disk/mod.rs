//! The disk as the store sees it: a trait small enough to simulate.
//!
//! Production uses [`RealDisk`]; the simulation loses unsynced pages and directory entries, tears pages and fails
//! calls from a seed. Nothing else in this crate touches `std::fs`.
//!
//! What a call promises after a power cut:
//! - bytes are durable once `sync_data` on their file returned `Ok` after the write;
//! - names (create, rename, remove) are durable once `sync_dir` on their directory returned `Ok` afterwards;
//! - a failed sync says nothing about what reached the disk and must not be retried as if nothing had happened.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use ferromq_protocol::types::TimestampMs;

mod real;

pub use real::RealDisk;

/// What `list` and `metadata` tell about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// File name without its directory.
    pub name: String,
    /// Directory or file.
    pub is_dir: bool,
    /// Bytes; 0 for directories.
    pub len: u64,
    /// Last modification.
    pub modified: TimestampMs,
}

/// Space of the file system that holds a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes of the file system.
    pub total: u64,
    /// Unused bytes, with those reserved for the superuser.
    pub free: u64,
    /// Bytes an ordinary user may still write.
    pub available: u64,
}

impl Space {
    /// How full it is for an ordinary user, rounded up to the percent: `UtilAll.getDiskPartitionSpaceUsedPercent`.
    #[must_use]
    pub fn used_percent(self) -> u8 {
        let used = u128::from(self.total.saturating_sub(self.free));
        let usable = (used + u128::from(self.available)).max(1);
        u8::try_from((used * 100).div_ceil(usable)).unwrap_or(100)
    }
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Existing file, no writes.
    Read,
    /// Existing file, reads and writes.
    ReadWrite,
}

/// How the bytes of a new file are provided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// A hole: takes no space until written, so a later write may meet a full disk.
    Sparse,
    /// Space is reserved now: a full disk is an error of the creation, not of a later write.
    Reserved,
}

/// A directory tree. Paths are absolute or relative to the process.
pub trait Disk: Send + Sync + 'static {
    /// Opens an existing file.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates a file that appears under its name at its full length, zero-filled, in one step: no crash shows a
    /// shorter one. Fails with `AlreadyExists` if the name exists. `staging` is a directory of ours on the same
    /// file system; it is used where the file system knows no unnamed files. The directory entry is durable only
    /// after `sync_dir`.
    fn create(&self, path: &Path, len: u64, fill: Fill, staging: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates or truncates a file of growing length (configuration texts, markers).
    fn create_small(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates a directory and its missing parents. New entries are durable only after `sync_dir` on each parent.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory, unsorted. An absent directory is an empty list.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;
    /// Facts about one name; `None` if it does not exist.
    fn metadata(&self, path: &Path) -> io::Result<Option<DirEntry>>;
    /// Replaces `to` by `from` in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives the file a second name; an existing `to` is an error.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file name.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Space around a path.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// A handle for syncing a whole file system at once, for when very many of its files were written; `None` if this
    /// disk cannot do that, or not with errors reported.
    fn file_system(&self, _path: &Path) -> io::Result<Option<Box<dyn FileSystem>>> {
        Ok(None)
    }
    /// Names the time since when nothing that was written can have been lost but by a failing disk: it changes with
    /// every boot of the machine. `None` if that is not known.
    fn session(&self) -> Option<u64> {
        None
    }
    /// Takes the exclusive lock on `path` (created if absent) that Java's broker takes too, and keeps it until the
    /// returned value is dropped. `None` if another process holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>>;
}

/// A file system, opened.
pub trait FileSystem: Send + Sync {
    /// Makes durable every byte and every name written before the call. Reports failures since the handle was opened,
    /// also those of write-back that nobody waited for.
    fn sync(&self) -> io::Result<()>;
}

/// A held lock. Dropping it releases the lock.
pub trait DiskLock: Send + Sync {
    /// The locked file, for writing Java's four bytes into it.
    fn file(&self) -> &dyn DiskFile;
}

/// An open file. All positions are absolute; there is no cursor.
#[expect(clippy::len_without_is_empty, reason = "the length of a file, not of a collection")]
pub trait DiskFile: Send + Sync {
    /// Writes all slices contiguously from `at`. After an error any part may have been written.
    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<()>;
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;
    /// Like `read_at` when the bytes are in memory; `None` when the disk would have to be waited for.
    fn read_cached_at(&self, buf: &mut [u8], at: u64) -> io::Result<Option<usize>>;
    /// Makes all written bytes (and the length) durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Starts writing dirty pages of the range to the disk without waiting. Best effort.
    fn start_write_back(&self, at: u64, len: u64);
    /// Tells the page cache that the range will be read soon. Best effort.
    fn will_need(&self, at: u64, len: u64);
    /// Tells the page cache that the range is not needed any more. Best effort.
    fn dont_need(&self, at: u64, len: u64);
    /// Changes the length; new bytes are zero.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// First position not before `at` whose byte may differ from zero; `None` when only zeros follow. An answer
    /// that is too early is allowed: this spares reading holes and reserved space, and promises nothing else.
    fn next_data(&self, at: u64) -> io::Result<Option<u64>>;
    /// Current length.
    fn len(&self) -> io::Result<u64>;
    /// Overwrites the range with zeros (no holes are punched, so that a full disk cannot be met later).
    fn zero(&self, at: u64, len: u64) -> io::Result<()>;
}

/// Like [`DiskFile::next_data`], for one who goes through reserved space in pieces of [`chunk_len`]; `None` from `to` on.
///
/// Zeros of reserved space that something read are in the page cache, and cached pages count as data. Without giving
/// them back, reading ahead of one piece makes the next one look like data, to the end of a file of gigabytes.
pub(crate) fn next_uncached_data(file: &dyn DiskFile, at: u64, to: u64) -> io::Result<Option<u64>> {
    file.dont_need(at, to.saturating_sub(at));
    Ok(file.next_data(at)?.map(|data| data.max(at)).filter(|data| *data < to))
}

/// How much to read at `at`, so that the next piece begins with a page: parts of one are not given back.
pub(crate) fn chunk_len(at: u64, to: u64) -> usize {
    const CHUNK: u64 = 64 << 10;
    usize::try_from((CHUNK - at % CHUNK).min(to - at)).unwrap_or(0)
}

/// Zeros what is not zero in a range, without giving blocks to holes. Returns how many bytes were written over. Nothing
/// that was cut off may come back, so the caller syncs before anything else is written there.
pub(crate) fn erase(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<u64> {
    let mut buffer = Vec::new();
    let mut erased = 0;
    let mut at = from;
    while let Some(data) = next_uncached_data(file, at, to)? {
        at = data;
        buffer.resize(chunk_len(at, to), 0);
        let read = file.read_at(&mut buffer, at)?;
        if read == 0 {
            break;
        }
        if let Some(first) = buffer[..read].iter().position(|byte| *byte != 0) {
            let last = buffer[..read].iter().rposition(|byte| *byte != 0).unwrap_or(first);
            let len = (last - first + 1) as u64;
            file.zero(at + first as u64, len)?;
            erased += len;
        }
        at += read as u64;
    }
    Ok(erased)
}
