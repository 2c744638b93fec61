//! The end of the log after a crash: what a power cut tore ends it, and what had been on the disk never does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod common;

use std::os::unix::fs::FileExt;
use std::path::Path;

use common::{config, open, queue, read_all, real, send, stored};
use ferromq_protocol::types::PhysicalOffset;
use ferromq_store::layout::offset_name;
use ferromq_store::{OpenError, Store};

/// About sixty of them fill a file.
const BODY: [u8; 1_000] = [7; 1_000];

/// The places of so many messages.
fn fill(store: &Store, messages: usize) -> Vec<PhysicalOffset> {
    let orders = queue(store, "orders", 0);
    (0..messages).map(|_| stored(&send(store, &orders, &[&BODY])[0]).physical).collect()
}

fn overwrite(root: &Path, at: PhysicalOffset, within: u64, bytes: &[u8]) {
    let at = u64::try_from(at.0).unwrap() + within;
    let file = root.join("commitlog").join(offset_name(at - at % (64 << 10)));
    std::fs::File::options().write(true).open(file).unwrap().write_all_at(bytes, at % (64 << 10)).unwrap();
}

fn log_files(root: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(root.join("commitlog"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn records_in_later_files_do_not_outlive_a_tear_above_the_durable_position() {
    let root = tempfile::tempdir().unwrap();
    let store = open(config(root.path()));
    let places = fill(&store, 200);
    drop(store);
    // No checkpoint was written yet, so nothing is known to be durable.
    let torn = 90;
    overwrite(root.path(), places[torn], 500, b"torn");

    let store = open(config(root.path()));
    let report = store.recovery();
    assert_eq!(report.end, u64::try_from(places[torn].0).unwrap());
    assert!(report.removed_files >= 2 && report.erased_bytes > 100_000, "{report:?}");
    let orders = queue(&store, "orders", 0);
    assert_eq!(read_all(&store, &orders, 0).len(), torn);
    // What comes next takes the place of what was cut off, and nothing of that reappears behind it.
    assert_eq!(fill(&store, 1), [places[torn]]);
    drop((store, orders));
    let store = open(config(root.path()));
    assert_eq!(read_all(&store, &queue(&store, "orders", 0), 0).len(), torn + 1);
    assert_eq!(store.recovery().erased_bytes, 0);
}

#[test]
fn damage_below_the_durable_position_refuses_the_start_and_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = open(config(root.path()));
    let places = fill(&store, 200);
    assert!(store.stop().clean);
    drop(store);
    overwrite(root.path(), places[90], 500, b"rot");
    // Without its entries the queue has to be made from the whole log.
    std::fs::remove_dir_all(root.path().join("consumequeue")).unwrap();

    let before = log_files(root.path());
    let refused = Store::open(config(root.path()), real()).map(drop);
    let Err(OpenError::DamagedLog { position, durable, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(position, places[90]);
    assert!(durable > places[199]);
    assert!(log_files(root.path()) == before, "the log is as it was");
}

#[test]
fn queues_that_were_removed_are_made_anew() {
    let root = tempfile::tempdir().unwrap();
    let store = open(config(root.path()));
    fill(&store, 200);
    assert!(store.stop().clean);
    drop(store);
    std::fs::remove_dir_all(root.path().join("consumequeue")).unwrap();
    let store = open(config(root.path()));
    assert_eq!(read_all(&store, &queue(&store, "orders", 0), 0).len(), 200);
}

#[test]
fn a_record_that_lost_its_place_in_the_queue_ends_the_log_and_not_the_queue() {
    let root = tempfile::tempdir().unwrap();
    let store = open(config(root.path()));
    let places = fill(&store, 20);
    drop(store);
    // The offset in the queue: no checksum covers it.
    overwrite(root.path(), places[15], 20, &[0; 8]);

    let store = open(config(root.path()));
    assert_eq!(store.recovery().end, u64::try_from(places[15].0).unwrap());
    let orders = queue(&store, "orders", 0);
    assert_eq!(read_all(&store, &orders, 0).len(), 15);
    assert_eq!(fill(&store, 1), [places[15]]);
}
