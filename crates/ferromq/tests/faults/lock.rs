//! Who has a data directory: Java's broker and ours see each other through a POSIX lock of the file `lock`, which is
//! what Java's `FileChannel.tryLock` takes. This process stands in for Java.

use std::fs::File;
use std::path::Path;

use ferromq_protocol::code::response;
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

use crate::common::{Server, files, stderr};
use crate::ledger::create_topic;
use crate::wire::Connection;

fn lock_file(data: &Path) -> File {
    std::fs::create_dir_all(data).unwrap();
    File::options().read(true).write(true).create(true).truncate(false).open(data.join("lock")).unwrap()
}

#[test]
fn a_lock_of_javas_keeps_us_out() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    Server::up(directory.path(), &[]).stop();
    let lock = lock_file(&data);
    fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    let before = contents(&data);

    let refused = Server::command(directory.path(), &[]).output().unwrap();
    let text = stderr(&refused);
    assert_eq!(refused.status.code(), Some(255), "{text}");
    assert!(text.contains("lock is locked: another broker, ours or Java's, runs on this store"), "{text}");
    assert!(text.contains(&format!("process {} (", std::process::id())), "{text}");
    assert!(contents(&data) == before, "a broker that may not start touches nothing");

    fcntl_lock(&lock, FlockOperation::NonBlockingUnlock).unwrap();
    Server::up(directory.path(), &[]).stop();
}

#[test]
fn our_lock_keeps_java_out() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::up(directory.path(), &[]);
    assert!(!may_lock(&data));
    // Whoever looked at the file did not take the lock away, as it would be with one that belongs to a process.
    let mut connection = Connection::to(server.address("broker", "local")).unwrap();
    assert_eq!(create_topic(&mut connection, "orders", 1).unwrap().code, response::SUCCESS);
    assert!(!may_lock(&data));
    server.stop();
    assert!(may_lock(&data), "it goes with the process");
}

/// Whether Java would get the lock now.
fn may_lock(data: &Path) -> bool {
    match fcntl_lock(lock_file(data), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => true,
        Err(Errno::AGAIN | Errno::ACCESS) => false,
        Err(other) => panic!("{other}"),
    }
}

/// Every file with its bytes and its time.
fn contents(data: &Path) -> Vec<(std::path::PathBuf, Vec<u8>, std::time::SystemTime)> {
    let read = |path: std::path::PathBuf| {
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        // To close the lock's file here is to give up the lock; those of the log are long and empty.
        let is_read = path != data.join("lock") && !path.starts_with(data.join("commitlog"));
        let bytes = if is_read { std::fs::read(&path).unwrap() } else { Vec::new() };
        (path, bytes, modified)
    };
    files(data).into_iter().map(read).collect()
}
