//! The files that say whether a store is in use and how it ended: `lock`, `abort` and our own marks.
//!
//! `lock` is taken before anything else is read. `abort` exists, durably, before the first record is taken, and goes
//! last. Our `running` mark says from where on records are ours: those obey rules that Java's need not. It carries the
//! modification time of `lock`, which every start of a broker changes, so it does not speak for what Java did since.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferromq_protocol::types::TimestampMs;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::disk::{Access, Disk, DiskLock};
use crate::layout::Layout;

/// Version of what we keep in `ferromq/`.
const FORMAT_VERSION: u32 = 1;
/// What Java writes into the lock file.
const LOCK_TEXT: &[u8] = b"lock";

/// A store directory that cannot be used.
#[derive(Debug, Error)]
pub enum DirectoryError {
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
    /// A broker, ours or Java's, runs on this directory.
    #[error("{} is locked: another broker runs on this store", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A later version of this program wrote it.
    #[error("{} has format version {found}, this program knows {FORMAT_VERSION}", path.display())]
    FormatVersion {
        /// The file that says so.
        path: PathBuf,
        /// The version it names.
        found: u32,
    },
}

pub(crate) fn io_error<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> DirectoryError + 'a {
    move |source| DirectoryError::Io { action, path: path.to_owned(), source }
}

#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    format_version: u32,
}

/// From where on the log is ours, if nobody else started since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunningMark {
    pub(crate) from: u64,
    lock_modified: i64,
}

/// A store directory that this process has locked.
pub(crate) struct Directory {
    disk: Arc<dyn Disk>,
    layout: Layout,
    lock: Box<dyn DiskLock>,
    /// Whether the last broker on this directory did not stop cleanly. A hint only.
    pub(crate) abort_found: bool,
    /// The last run of ours, if no other broker has started since.
    pub(crate) last_run: Option<RunningMark>,
}

impl Directory {
    /// Creates the directory if need be and locks it. Nothing in it is changed if somebody else holds it.
    pub(crate) fn lock(disk: Arc<dyn Disk>, layout: &Layout) -> Result<Self, DirectoryError> {
        create_dir_durably(&*disk, layout.root())?;
        let path = layout.lock();
        let lock = disk.lock(&path).map_err(io_error("lock", &path))?;
        let lock = lock.ok_or(DirectoryError::Locked { path })?;
        check_identity(&*disk, layout)?;

        let abort = layout.abort();
        let abort_found = disk.metadata(&abort).map_err(io_error("look at", &abort))?.is_some();
        let mut directory = Self { disk, layout: layout.clone(), lock, abort_found, last_run: None };
        directory.last_run = last_run(&*directory.disk, layout)?;
        directory.make_places()?;
        Ok(directory)
    }

    /// Directories, ours and Java's, each durable under its name.
    fn make_places(&self) -> Result<(), DirectoryError> {
        let layout = &self.layout;
        let staging = layout.staging();
        let places = [
            layout.ours(),
            staging.clone(),
            layout.commit_log().to_owned(),
            layout.consume_queues(),
            layout.index(),
            layout.config(),
        ];
        for place in &places {
            create_dir_durably(&*self.disk, place)?;
        }
        for leftover in self.disk.list(&staging).map_err(io_error("list", &staging))? {
            if !leftover.is_dir {
                let path = staging.join(leftover.name);
                self.disk.remove_file(&path).map_err(io_error("remove", &path))?;
            }
        }
        let identity = layout.identity();
        if self.disk.metadata(&identity).map_err(io_error("look at", &identity))?.is_none() {
            self.write_small(&identity, &json(&Identity { format_version: FORMAT_VERSION }))?;
        }
        Ok(())
    }

    /// Marks the store as in use, durably. From here on a crash is seen as one.
    pub(crate) fn mark_running(&self, end: u64) -> Result<(), DirectoryError> {
        let abort = self.layout.abort();
        self.write_small(&abort, std::process::id().to_string().as_bytes())?;
        // What Java does at its start, too: it changes the time of the file.
        let lock = self.layout.lock();
        let written = self.lock.file().write_at(&[IoSlice::new(LOCK_TEXT)], 0);
        written.and_then(|()| self.lock.file().sync_data()).map_err(io_error("write", &lock))?;
        // An unbroken row of runs of ours keeps its beginning.
        let from = self.last_run.map_or(end, |last| last.from.min(end));
        let mark = RunningMark { from, lock_modified: self.lock_modified()?.0 };
        self.write_small(&mark_path(&self.layout), &json(&mark))
    }

    /// Marks a clean end, durably. Everything else has to be on the disk.
    pub(crate) fn mark_stopped(&self) -> Result<(), DirectoryError> {
        let abort = self.layout.abort();
        if self.disk.metadata(&abort).map_err(io_error("look at", &abort))?.is_some() {
            self.disk.remove_file(&abort).map_err(io_error("remove", &abort))?;
            let root = self.layout.root();
            self.disk.sync_dir(root).map_err(io_error("sync", root))?;
        }
        Ok(())
    }

    /// When a broker last started on this store.
    pub(crate) fn lock_modified(&self) -> Result<TimestampMs, DirectoryError> {
        lock_modified(&*self.disk, &self.layout)
    }

    fn write_small(&self, path: &Path, text: &[u8]) -> Result<(), DirectoryError> {
        let write = || {
            let file = self.disk.create_small(path)?;
            file.write_at(&[IoSlice::new(text)], 0)?;
            file.sync_data()?;
            self.disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
        };
        write().map_err(io_error("write", path))
    }
}

fn mark_path(layout: &Layout) -> PathBuf {
    layout.ours().join("running")
}

fn lock_modified(disk: &dyn Disk, layout: &Layout) -> Result<TimestampMs, DirectoryError> {
    let path = layout.lock();
    let entry = disk.metadata(&path).map_err(io_error("look at", &path))?;
    Ok(entry.map_or(TimestampMs(0), |entry| entry.modified))
}

/// The last run of ours, if no other broker has started since.
pub(crate) fn last_run(disk: &dyn Disk, layout: &Layout) -> Result<Option<RunningMark>, DirectoryError> {
    let Some(text) = read_small(disk, &mark_path(layout))? else { return Ok(None) };
    // A torn mark is none.
    let mark: Option<RunningMark> = serde_json::from_slice(&text).ok();
    let lock_modified = lock_modified(disk, layout)?.0;
    Ok(mark.filter(|mark| mark.lock_modified == lock_modified))
}

/// Creates a directory with what its path lacks, each name durable in its parent. An existing one is synced too: the
/// run that created it may have died before it came to that.
fn create_dir_durably(disk: &dyn Disk, path: &Path) -> Result<(), DirectoryError> {
    let mut created = Vec::new();
    for dir in path.ancestors().filter(|dir| !dir.as_os_str().is_empty()) {
        created.push(dir);
        if disk.metadata(dir).map_err(io_error("look at", dir))?.is_some() {
            break;
        }
    }
    disk.create_dir_all(path).map_err(io_error("create", path))?;
    for dir in created.into_iter().rev() {
        if let Some(parent) = dir.parent() {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            // The root of the file system, and a directory that others own, may not be ours to sync.
            match disk.sync_dir(parent) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                other => other.map_err(io_error("sync", parent))?,
            }
        }
    }
    Ok(())
}

fn check_identity(disk: &dyn Disk, layout: &Layout) -> Result<(), DirectoryError> {
    let path = layout.identity();
    let Some(text) = read_small(disk, &path)? else { return Ok(()) };
    match serde_json::from_slice::<Identity>(&text) {
        Ok(identity) if identity.format_version > FORMAT_VERSION => {
            Err(DirectoryError::FormatVersion { path, found: identity.format_version })
        }
        // A torn file says nothing; the first version knew only itself.
        _ => Ok(()),
    }
}

fn read_small(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, DirectoryError> {
    let read = || {
        if disk.metadata(path)?.is_none() {
            return Ok(None);
        }
        let file = disk.open(path, Access::Read)?;
        let mut text = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        let read = file.read_at(&mut text, 0)?;
        text.truncate(read);
        Ok(Some(text))
    };
    read().map_err(io_error("read", path))
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    // These are plain structs of numbers.
    serde_json::to_vec(value).unwrap_or_default()
}
