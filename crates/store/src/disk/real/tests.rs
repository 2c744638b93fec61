use std::io::{IoSlice, Write};
use std::process::{Command, Stdio};

use super::*;
use crate::disk::erase;

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn created(disk: &RealDisk, path: &Path, len: u64) -> Arc<dyn DiskFile> {
    disk.create(path, len, Fill::Reserved, path.parent().unwrap()).unwrap()
}

#[test]
fn created_file_has_its_full_length_and_reads_as_zeros() {
    let dir = scratch();
    for fill in [Fill::Sparse, Fill::Reserved] {
        let path = dir.path().join(format!("{fill:?}"));
        let file = RealDisk::default().create(&path, 10_000, fill, dir.path()).unwrap();
        assert_eq!(file.len().unwrap(), 10_000);
        let mut bytes = vec![1; 10_000];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 10_000);
        assert!(bytes.iter().all(|byte| *byte == 0));
    }
    assert_eq!(RealDisk::default().list(dir.path()).unwrap().len(), 2, "no temporary file is left");
}

#[test]
fn create_refuses_an_existing_name() {
    let dir = scratch();
    let disk = RealDisk::default();
    let path = dir.path().join("segment");
    created(&disk, &path, 16).write_at(&[IoSlice::new(b"kept")], 0).unwrap();
    let by_link = disk.create(&path, 16, Fill::Sparse, dir.path()).err().unwrap();
    let by_rename = disk.create_by_rename(&path, 16, Fill::Sparse, dir.path()).err().unwrap();
    assert_eq!(by_link.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(by_rename.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(&fs::read(&path).unwrap()[..4], b"kept");
    assert_eq!(disk.list(dir.path()).unwrap().len(), 1, "the staged file is removed again");
}

#[test]
fn create_by_rename_works_like_create() {
    let dir = scratch();
    let path = dir.path().join("segment");
    let file = RealDisk::default().create_by_rename(&path, 4096, Fill::Reserved, dir.path()).unwrap();
    file.write_at(&[IoSlice::new(b"x")], 4095).unwrap();
    assert_eq!(fs::read(&path).unwrap().len(), 4096);
}

#[test]
fn vectored_write_is_contiguous_beyond_the_slice_limit_of_one_call() {
    let dir = scratch();
    let file = created(&RealDisk::default(), &dir.path().join("f"), 10_000);
    let pieces: Vec<Vec<u8>> = (0..2500_u32).map(|n| n.to_be_bytes()[1..].to_vec()).collect();
    let slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    file.write_at(&slices, 7).unwrap();
    let mut read = vec![0; 7500];
    file.read_at(&mut read, 7).unwrap();
    assert_eq!(read, pieces.concat());
}

#[test]
fn empty_slices_do_not_end_a_write() {
    let dir = scratch();
    let file = created(&RealDisk::default(), &dir.path().join("f"), 16);
    file.write_at(&[IoSlice::new(b""), IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"c")], 0)
        .unwrap();
    let mut read = [0; 4];
    file.read_at(&mut read, 0).unwrap();
    assert_eq!(&read, b"abc\0");
}

#[test]
fn reads_stop_at_the_end_of_the_file() {
    let dir = scratch();
    let file = created(&RealDisk::default(), &dir.path().join("f"), 10);
    file.write_at(&[IoSlice::new(b"0123456789")], 0).unwrap();
    let mut bytes = [0; 8];
    assert_eq!(file.read_at(&mut bytes, 6).unwrap(), 4);
    assert_eq!(&bytes[..4], b"6789");
    assert_eq!(file.read_at(&mut bytes, 10).unwrap(), 0);
    // Just written, hence cached; `None` is what a file system without the call answers.
    assert!(matches!(file.read_cached_at(&mut bytes, 6).unwrap(), Some(4) | None));
}

#[test]
fn zero_overwrites_exactly_its_range() {
    let dir = scratch();
    let file = created(&RealDisk::default(), &dir.path().join("f"), 200_000);
    file.write_at(&[IoSlice::new(&vec![7; 200_000])], 0).unwrap();
    file.zero(5, 199_990).unwrap();
    let mut bytes = vec![0; 200_000];
    file.read_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes[..5], [7; 5]);
    assert!(bytes[5..199_995].iter().all(|byte| *byte == 0));
    assert_eq!(bytes[199_995..], [7; 5]);
}

#[test]
fn next_data_finds_written_bytes_and_never_skips_them() {
    let dir = scratch();
    let file = created(&RealDisk::default(), &dir.path().join("f"), 1 << 20);
    file.write_at(&[IoSlice::new(b"x")], 500_000).unwrap();
    let found = file.next_data(0).unwrap().unwrap();
    assert!(found <= 500_000);
    assert_eq!(file.next_data(500_000).unwrap(), Some(500_000));
    assert_eq!(file.next_data(1 << 20).unwrap(), None);
}

#[test]
fn missing_names_are_no_errors_for_list_and_metadata() {
    let dir = scratch();
    let missing = dir.path().join("missing");
    assert_eq!(RealDisk::default().list(&missing).unwrap(), Vec::new());
    assert_eq!(RealDisk::default().metadata(&missing).unwrap(), None);
}

#[test]
fn metadata_tells_kind_length_and_time() {
    let dir = scratch();
    let disk = RealDisk::default();
    created(&disk, &dir.path().join("f"), 123);
    let entry = disk.metadata(&dir.path().join("f")).unwrap().unwrap();
    assert_eq!((entry.name.as_str(), entry.is_dir, entry.len), ("f", false, 123));
    assert!(entry.modified > TimestampMs(1_600_000_000_000), "{:?}", entry.modified);
    assert!(disk.metadata(dir.path()).unwrap().unwrap().is_dir);
}

#[test]
fn space_of_this_file_system_is_plausible() {
    let dir = scratch();
    let space = RealDisk::default().space(dir.path()).unwrap();
    assert!(space.total >= space.free && space.free >= space.available && space.total > 0, "{space:?}");
}

#[test]
fn space_kept_for_the_superuser_counts_neither_as_used_nor_as_free() {
    let percent = |total, free, available| Space { total, free, available }.used_percent();
    assert_eq!(percent(264, 227, 58), 39);
    assert_eq!(percent(100, 100, 95), 0);
    assert_eq!(percent(1_000, 999, 999), 1);
    assert_eq!(percent(100, 5, 0), 100);
    assert_eq!(percent(0, 0, 0), 0);
}

#[test]
fn reserved_space_that_was_read_is_no_data_once_the_cache_let_go_of_it() {
    let dir = scratch();
    let file = created(&RealDisk::default(), &dir.path().join("f"), 8 << 20);
    file.write_at(&[IoSlice::new(b"x")], 0).unwrap();
    file.sync_data().unwrap();
    let behind = 1 << 20;
    let untouched = file.next_data(behind).unwrap();
    file.read_at(&mut vec![0; 4 << 20], behind).unwrap();
    file.dont_need(behind, 7 << 20);
    assert_eq!(file.next_data(behind).unwrap(), untouched);
}

#[test]
fn erasing_does_not_look_at_reserved_space_that_something_read() {
    let dir = scratch();
    let file = created(&RealDisk::default(), &dir.path().join("f"), 8 << 20);
    file.write_at(&[IoSlice::new(&[1; 10_000])], 0).unwrap();
    file.sync_data().unwrap();
    let behind = 1 << 20;
    let untouched = file.next_data(behind).unwrap();
    // As a scan of the log does that ends here, and the kernel that reads ahead of it.
    file.read_at(&mut vec![0; 7 << 20], behind).unwrap();
    assert_eq!(erase(&*file, 5_000, 8 << 20).unwrap(), 5_000);
    assert_eq!(file.next_data(behind).unwrap(), untouched, "it was read to its end");
    let mut bytes = vec![7; 10_000];
    file.read_at(&mut bytes, 0).unwrap();
    assert!(bytes[..5_000] == [1; 5_000] && bytes[5_000..] == [0; 5_000]);
}

#[test]
fn lock_excludes_a_second_holder_until_it_is_dropped() {
    let dir = scratch();
    let path = dir.path().join("lock");
    let disk = RealDisk::default();
    let held = disk.lock(&path).unwrap().unwrap();
    assert!(disk.lock(&path).unwrap().is_none());
    // Somebody opening and closing the file must not release the lock.
    drop(File::open(&path).unwrap());
    assert!(disk.lock(&path).unwrap().is_none());
    held.file().write_at(&[IoSlice::new(b"lock")], 0).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"lock");
    drop(held);
    assert!(locks_soon(&disk, &path));
}

/// A process that another test starts just now holds our descriptors until it has become another program.
fn locks_soon(disk: &RealDisk, path: &Path) -> bool {
    (0..1000).any(|_| {
        let locked = disk.lock(path).unwrap().is_some();
        if !locked {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        locked
    })
}

/// The process at the other side takes the kind of lock that Java's `FileChannel.tryLock(0, 1, false)` takes.
const CLASSIC_LOCK: &str = "
import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
try:
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
except OSError:
    print('refused', flush=True)
else:
    print('locked', flush=True)
    sys.stdin.readline()
";

fn classic_locker(path: &Path) -> Option<(std::process::Child, String)> {
    let mut child = Command::new("python3")
        .args(["-c", CLASSIC_LOCK])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut line = String::new();
    io::BufRead::read_line(&mut io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line).unwrap();
    Some((child, line.trim().to_owned()))
}

#[test]
fn lock_and_the_classic_process_lock_exclude_each_other() {
    let dir = scratch();
    let path = dir.path().join("lock");
    let held = RealDisk::default().lock(&path).unwrap().unwrap();
    // Without an interpreter this half of the promise is covered by the round trips with the Java broker.
    let Some((mut child, answer)) = classic_locker(&path) else { return };
    assert_eq!(answer, "refused");
    child.wait().unwrap();
    drop(held);

    let (mut child, answer) = classic_locker(&path).unwrap();
    assert_eq!(answer, "locked");
    assert!(RealDisk::default().lock(&path).unwrap().is_none());
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    child.wait().unwrap();
    assert!(locks_soon(&RealDisk::default(), &path));
}
