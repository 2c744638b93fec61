//! The machine's disk (Linux): positioned vectored I/O on plain descriptors, no memory mapping.
//!
//! Errors are passed on as the kernel gave them; nothing is retried but interrupted calls and short transfers.
//! The two system calls for which no safe wrapper exists (open file description locks, `sync_file_range`) are at
//! the end of the file.

use std::fs::{self, File};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ferromq_protocol::types::TimestampMs;
use rustix::fs::{Advice, AtFlags, CWD, FallocateFlags, Mode, OFlags, RenameFlags, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};

use super::{Access, DirEntry, Disk, DiskFile, DiskLock, FileSystem, Fill, Space};

/// The kernel takes at most this many slices per call.
const MAX_SLICES: usize = 1024;
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Files and directories of the machine.
#[derive(Debug, Default)]
pub struct RealDisk {
    staged: AtomicU64,
}

struct RealFile {
    file: File,
}

/// Errors are counted from the opening of the descriptor on.
struct RealFileSystem(File);

impl FileSystem for RealFileSystem {
    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0)?)
    }
}

/// Keeps one descriptor for its whole life: the lock belongs to the descriptor.
struct RealLock {
    file: RealFile,
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let file = File::options().read(true).write(access == Access::ReadWrite).open(path)?;
        Ok(Arc::new(RealFile { file }))
    }

    fn create(&self, path: &Path, len: u64, fill: Fill, staging: &Path) -> io::Result<Arc<dyn DiskFile>> {
        // Name and length need no sync of their own here: journalling file systems bring the length to the disk
        // no later than the name that was given afterwards, and recovery lengthens a short file in any case.
        let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(parent, flags, Mode::from_raw_mode(0o644)) {
            Ok(fd) => {
                let file = RealFile { file: File::from(fd) };
                file.provide(len, fill)?;
                let by_descriptor = format!("/proc/self/fd/{}", file.file.as_raw_fd());
                match rustix::fs::linkat(CWD, by_descriptor.as_str(), CWD, path, AtFlags::SYMLINK_FOLLOW) {
                    Ok(()) => return Ok(Arc::new(file)),
                    // No /proc here: the long way round.
                    Err(Errno::NOENT | Errno::ACCESS | Errno::PERM) => {}
                    Err(other) => return Err(other.into()),
                }
            }
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {}
            Err(other) => return Err(other.into()),
        }
        self.create_by_rename(path, len, fill, staging)
    }

    fn create_small(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Arc::new(RealFile { file }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut listed = Vec::new();
        for entry in entries {
            let entry = entry?;
            match fs::metadata(entry.path()) {
                Ok(metadata) => {
                    listed.push(describe(entry.file_name().to_string_lossy().into_owned(), &metadata));
                }
                // Removed while we were reading, or a dangling link.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(listed)
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<DirEntry>> {
        match fs::metadata(path) {
            Ok(metadata) => {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                Ok(Some(describe(name.unwrap_or_default(), &metadata)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space { total: bytes(stat.f_blocks), free: bytes(stat.f_bfree), available: bytes(stat.f_bavail) })
    }

    fn file_system(&self, path: &Path) -> io::Result<Option<Box<dyn FileSystem>>> {
        // Earlier kernels sync as well, but keep errors to themselves.
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut numbers = release.split('.').map_while(|part| part.parse::<u32>().ok());
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        let handle = (version >= (5, 8)).then(|| File::open(path).map(RealFileSystem));
        Ok(handle.transpose()?.map(|handle| Box::new(handle) as Box<dyn FileSystem>))
    }

    fn session(&self) -> Option<u64> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let digits: String = boot.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        u64::from_str_radix(&digits, 16).ok()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let locked = try_lock_first_byte(&file)?;
        Ok(locked.then(|| Box::new(RealLock { file: RealFile { file } }) as Box<dyn DiskLock>))
    }
}

impl RealDisk {
    fn create_by_rename(
        &self,
        path: &Path,
        len: u64,
        fill: Fill,
        staging: &Path,
    ) -> io::Result<Arc<dyn DiskFile>> {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        let staged = staging.join(format!("new-{}-{number}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&staged)?;
        let file = RealFile { file };
        let finished = file.provide(len, fill).and_then(|()| rename_to_new_name(&staged, path));
        if let Err(error) = finished {
            let _ = fs::remove_file(&staged);
            return Err(error);
        }
        Ok(Arc::new(file))
    }
}

fn rename_to_new_name(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system cannot refuse to replace. The store is locked, so nobody creates the name meanwhile.
        Err(Errno::INVAL | Errno::NOSYS) if !to.try_exists()? => fs::rename(from, to),
        Err(Errno::INVAL | Errno::NOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
        other => Ok(other?),
    }
}

fn describe(name: String, metadata: &fs::Metadata) -> DirEntry {
    let is_dir = metadata.is_dir();
    let modified = metadata.mtime().saturating_mul(1000).saturating_add(metadata.mtime_nsec() / 1_000_000);
    DirEntry { name, is_dir, len: if is_dir { 0 } else { metadata.len() }, modified: TimestampMs(modified) }
}

impl RealFile {
    fn provide(&self, len: u64, fill: Fill) -> io::Result<()> {
        if fill == Fill::Reserved && len > 0 {
            match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len) {
                Ok(()) => return Ok(()),
                // The file system cannot reserve; a later write may then meet a full disk and is rolled back.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
                Err(other) => return Err(other.into()),
            }
        }
        self.file.set_len(len)
    }

    fn advise(&self, at: u64, len: u64, advice: Advice) {
        // A length of zero would mean "to the end of the file".
        if let Some(len) = std::num::NonZeroU64::new(len) {
            let _ = rustix::fs::fadvise(&self.file, at, Some(len), advice);
        }
    }
}

impl DiskFile for RealFile {
    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        let mut at = at;
        let mut slices = slices;
        while !slices.is_empty() {
            let batch = &slices[..slices.len().min(MAX_SLICES)];
            let mut written = match rustix::io::pwritev(&self.file, batch, at) {
                Ok(written) => written,
                Err(Errno::INTR) => continue,
                Err(other) => return Err(other.into()),
            };
            if written == 0 && batch.iter().any(|slice| !slice.is_empty()) {
                return Err(io::ErrorKind::WriteZero.into());
            }
            at += written as u64;
            // Steps over what is done; the rest of a slice cut in two is written on its own.
            while let Some(first) = slices.first() {
                if written < first.len() {
                    if written > 0 {
                        write_all_at(&self.file, &first[written..], at)?;
                        at += (first.len() - written) as u64;
                        slices = &slices[1..];
                    }
                    break;
                }
                written -= first.len();
                slices = &slices[1..];
                if written == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match rustix::io::pread(&self.file, &mut buf[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Ok(filled)
    }

    fn read_cached_at(&self, buf: &mut [u8], at: u64) -> io::Result<Option<usize>> {
        let mut filled = 0;
        while filled < buf.len() {
            let slices = &mut [IoSliceMut::new(&mut buf[filled..])];
            match rustix::io::preadv2(&self.file, slices, at + filled as u64, ReadWriteFlags::NOWAIT) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                // Not in memory, or a file system that cannot tell.
                Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(None),
                Err(other) => return Err(other.into()),
            }
        }
        Ok(Some(filled))
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.file)?)
    }

    fn start_write_back(&self, at: u64, len: u64) {
        start_write_back(&self.file, at, len);
    }

    fn will_need(&self, at: u64, len: u64) {
        self.advise(at, len, Advice::WillNeed);
    }

    fn dont_need(&self, at: u64, len: u64) {
        self.advise(at, len, Advice::DontNeed);
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
            Ok(position) => Ok(Some(position)),
            Err(Errno::NXIO) => Ok(None),
            // The file system keeps no map of its holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok((at < self.len()?).then_some(at)),
            Err(other) => Err(other.into()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn zero(&self, at: u64, len: u64) -> io::Result<()> {
        let mut at = at;
        let end = at.saturating_add(len);
        while at < end {
            let step = (ZEROS.len() as u64).min(end - at);
            write_all_at(&self.file, &ZEROS[..step as usize], at)?;
            at += step;
        }
        Ok(())
    }
}

impl DiskLock for RealLock {
    fn file(&self) -> &dyn DiskFile {
        &self.file
    }
}

fn write_all_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

/// Locks the byte that Java's broker locks through `fcntl(F_SETLK)`. A lock of the open file description conflicts
/// with it both ways, and unlike a lock of the process it survives somebody opening and closing the file again.
fn try_lock_first_byte(file: &File) -> io::Result<bool> {
    let request = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    #[expect(unsafe_code, reason = "no crate we use wraps F_OFD_SETLK")]
    // SAFETY: the descriptor is open for the duration of the call, and `request` is a valid, initialised flock that
    // the kernel only reads.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &request) };
    if result == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}

fn start_write_back(file: &File, at: u64, len: u64) {
    let (Ok(at), Ok(len)) = (i64::try_from(at), i64::try_from(len)) else { return };
    if len == 0 {
        return;
    }
    #[expect(unsafe_code, reason = "no crate we use wraps sync_file_range")]
    // SAFETY: takes a descriptor that is open for the duration of the call and three numbers; touches no memory.
    // The result is of no interest: this is a hint, and errors of the write-back show up at the next fdatasync.
    unsafe {
        libc::sync_file_range(file.as_raw_fd(), at, len, libc::SYNC_FILE_RANGE_WRITE);
    }
}

#[cfg(test)]
mod tests;
