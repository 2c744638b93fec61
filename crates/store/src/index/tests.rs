//! The index against a real directory, held against a naive one.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use ferromq_protocol::types::{PhysicalOffset, TimestampMs};
use jiff::tz::TimeZone;

use super::*;
use crate::disk::{Access, RealDisk};

pub(super) const SHAPE: Shape = Shape { slots: 7, entries: 20 };
pub(super) const BEGIN: i64 = 1_795_232_057_286;
const ANY_TIME: (i64, i64) = (0, i64::MAX);

pub(super) fn config(root: &Path) -> IndexConfig {
    IndexConfig {
        dir: root.join("index"),
        staging: root.join("ferromq/tmp"),
        shape: SHAPE,
        access: Access::ReadWrite,
        zone: TimeZone::UTC,
    }
}

pub(super) fn store_time(physical: PhysicalOffset) -> Option<TimestampMs> {
    Some(TimestampMs(BEGIN + physical.0 * 10))
}

pub(super) fn open(root: &Path, clean: bool, end: i64) -> (Index, Vec<IndexFinding>) {
    let load = IndexLoad {
        clean,
        end: PhysicalOffset(end),
        full_until: TimestampMs(0),
        synced_below: PhysicalOffset(0),
        store_time: &store_time,
    };
    Index::open(config(root), Arc::new(RealDisk::default()), &load).unwrap()
}

pub(super) fn fresh() -> (tempfile::TempDir, Index) {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("ferromq/tmp")).unwrap();
    let (index, findings) = open(root.path(), true, i64::MAX);
    assert!(findings.is_empty());
    (root, index)
}

/// The keys of the record at `100 * i`: one of its own, one that every third shares, one of all.
pub(super) fn keys(i: i64) -> Vec<IndexKey> {
    let physical = PhysicalOffset(i * 100);
    let store_time = store_time(physical).unwrap();
    let own = u32::try_from(1_000 + i).unwrap();
    let shared = u32::try_from(10 + i % 3).unwrap();
    [own, shared, 500].map(|hash| IndexKey { hash, physical, store_time }).into()
}

pub(super) fn add(index: &Index, records: std::ops::Range<i64>) {
    for i in records {
        index.push(&keys(i));
    }
}

pub(super) fn find(index: &Index, hash: u32, max: usize, (begin, end): (i64, i64)) -> Vec<i64> {
    let query = IndexQuery { hash, max, begin: TimestampMs(begin), end: TimestampMs(end) };
    index.query(&query).unwrap().offsets.iter().map(|offset| offset.0 / 100).collect()
}

/// What a search through all records finds.
fn expected(hash: u32, records: std::ops::Range<i64>) -> Vec<i64> {
    records.filter(|i| keys(*i).iter().any(|key| key.hash == hash)).collect()
}

pub(super) fn check(index: &Index, records: std::ops::Range<i64>) {
    for hash in (10..13).chain([500, 1_000, 1_003, 1_011, 1_029]) {
        assert_eq!(find(index, hash, 999, ANY_TIME), expected(hash, records.clone()), "hash {hash}");
    }
}

fn file_names(root: &Path) -> Vec<String> {
    let names = std::fs::read_dir(root.join("index")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

#[test]
fn keys_are_found_in_memory_on_disk_and_after_a_restart() {
    let (root, index) = fresh();
    add(&index, 0..30);
    check(&index, 0..30);
    assert!(!root.path().join("index").exists(), "adding touches no file");
    index.flush().unwrap();
    check(&index, 0..30);
    add(&index, 30..32);
    check(&index, 0..32);
    index.close().unwrap();

    let (index, findings) = open(root.path(), true, i64::MAX);
    assert!(findings.is_empty());
    assert_eq!(index.resume_at(), PhysicalOffset(3_101));
    check(&index, 0..32);
    add(&index, 30..35);
    check(&index, 0..35);
    index.flush().unwrap();
    check(&index, 0..35);
}

#[test]
fn the_newest_messages_within_the_window_are_returned_in_log_order() {
    let (_root, index) = fresh();
    add(&index, 0..30);
    assert_eq!(find(&index, 500, 3, ANY_TIME), [27, 28, 29]);
    // A message per second: `100 * i` is stored at `BEGIN + 1000 * i`.
    assert_eq!(find(&index, 500, 99, (BEGIN + 4_000, BEGIN + 9_000)), [4, 5, 6, 7, 8, 9]);
    assert_eq!(find(&index, 500, 99, (BEGIN - 9, BEGIN)), [0]);
    assert_eq!(find(&index, 500, 99, (BEGIN + 40_000, BEGIN + 50_000)), [0; 0]);
    assert_eq!(find(&index, 500, 0, ANY_TIME), [0; 0]);
}

#[test]
fn a_file_has_javas_bytes() {
    let (root, index) = fresh();
    index.push(&keys(2));
    index.push(&keys(5));
    index.close().unwrap();
    let names = file_names(root.path());
    assert_eq!(names, ["20261121033419286"], "named by the time of the first message");
    let bytes = std::fs::read(root.path().join("index").join(&names[0])).unwrap();
    assert_eq!(bytes.len(), 40 + 4 * 7 + 20 * 20);
    let header = Header {
        begin_time: TimestampMs(BEGIN + 2_000),
        end_time: TimestampMs(BEGIN + 5_000),
        begin_physical: PhysicalOffset(200),
        end_physical: PhysicalOffset(500),
        // 1002 and 1005 share slot 1 and 4 with nobody; 12 is in slot 5, 500 in slot 3.
        used_slots: 4,
        count: 7,
    };
    assert_eq!(bytes[..40], header.encode());
    let slots: Vec<u8> = [0, 1, 0, 6, 4, 5, 0].into_iter().flat_map(u32::to_be_bytes).collect();
    assert_eq!(bytes[40..68], slots);
    assert_eq!(bytes[68..88], [0; 20], "entry 0 is unused");
    let entry = |hash, physical, seconds, previous| {
        KeyEntry { hash, physical: PhysicalOffset(physical), seconds, previous }.encode()
    };
    let entries = [
        (1_002, 200, 0, 0),
        (12, 200, 0, 0),
        (500, 200, 0, 0),
        (1_005, 500, 3, 0),
        (12, 500, 3, 2),
        (500, 500, 3, 3),
    ];
    for (i, (hash, physical, seconds, previous)) in entries.into_iter().enumerate() {
        assert_eq!(bytes[88 + 20 * i..][..20], entry(hash, physical, seconds, previous), "entry {}", i + 1);
    }
}

#[test]
fn a_full_file_hands_its_end_over_and_is_synced() {
    let (root, index) = fresh();
    // 19 entries fit: six records and a key of the seventh.
    add(&index, 0..8);
    assert_eq!(index.full_until(), TimestampMs(0));
    index.flush().unwrap();
    assert_eq!(index.full_until(), store_time(PhysicalOffset(600)).unwrap());
    let names = file_names(root.path());
    assert_eq!(names.len(), 2);
    let header = |name: &String| {
        let bytes = std::fs::read(root.path().join("index").join(name)).unwrap();
        Header::decode(bytes.first_chunk().unwrap())
    };
    assert_eq!((header(&names[0]).count, header(&names[0]).end_physical), (20, PhysicalOffset(600)));
    assert_eq!((header(&names[1]).count, header(&names[1]).begin_physical), (6, PhysicalOffset(600)));
    check(&index, 0..8);

    let following = header(&names[0]).following();
    assert_eq!(following.begin_physical, PhysicalOffset(600), "what a file holds before its first message");
    assert_eq!((following.begin_time, following.end_time), (following.end_time, header(&names[0]).end_time));
}

#[test]
fn a_chain_that_loops_ends_the_walk() {
    let (root, index) = fresh();
    add(&index, 0..3);
    index.close().unwrap();
    let path = root.path().join("index").join(&file_names(root.path())[0]);
    let mut bytes = std::fs::read(&path).unwrap();
    // Entry 6 and 3 have hash 500: let the older one point at the newer one.
    bytes[68 + 3 * 20 + 16..][..4].copy_from_slice(&6_u32.to_be_bytes());
    std::fs::write(&path, bytes).unwrap();
    let (index, _) = open(root.path(), true, i64::MAX);
    assert_eq!(find(&index, 500, 99, ANY_TIME), [0, 1, 2]);
}

#[test]
fn expired_files_go_but_never_the_newest() {
    let (root, index) = fresh();
    add(&index, 0..30);
    index.flush().unwrap();
    let all = file_names(root.path());
    assert_eq!(all.len(), 5);
    assert_eq!(index.remove_expired(PhysicalOffset(600)).unwrap(), 0);
    assert_eq!(index.remove_expired(PhysicalOffset(601)).unwrap(), 1);
    assert_eq!(find(&index, 500, 99, ANY_TIME), (6..30).collect::<Vec<_>>());
    assert_eq!(index.remove_expired(PhysicalOffset(1 << 40)).unwrap(), 3);
    assert_eq!(file_names(root.path()), all[4..]);
}

#[test]
fn an_entry_stays_in_memory_until_its_file_can_be_written() {
    let (root, index) = fresh();
    let dir = root.path().join("index");
    std::fs::write(&dir, "in the way").unwrap();
    add(&index, 0..8);
    assert!(index.flush().is_err());
    check(&index, 0..8);
    assert_eq!(index.unflushed_bytes(), 24 * 20);
    std::fs::remove_file(&dir).unwrap();
    index.flush().unwrap();
    assert_eq!(index.unflushed_bytes(), 0);
    check(&index, 0..8);
}

#[test]
fn a_query_during_writing_finds_all_that_was_there_when_it_began() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("ferromq/tmp")).unwrap();
    let load = IndexLoad {
        clean: true,
        end: PhysicalOffset(i64::MAX),
        full_until: TimestampMs(0),
        synced_below: PhysicalOffset(0),
        store_time: &store_time,
    };
    let shape = Shape { slots: 3_000, entries: 2_000 };
    let config = IndexConfig { shape, ..config(root.path()) };
    let (index, _) = Index::open(config, Arc::new(RealDisk::default()), &load).unwrap();
    let added = std::sync::atomic::AtomicI64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..2_000 {
                add(&index, i..i + 1);
                added.store(i + 1, Ordering::Release);
                if i % 50 == 0 {
                    index.flush().unwrap();
                }
            }
        });
        loop {
            let before = added.load(Ordering::Acquire);
            let found = find(&index, 500, usize::MAX, ANY_TIME);
            assert!(found.len() as i64 >= before, "{} of {before}", found.len());
            assert!(found.iter().copied().eq(0..found.len() as i64));
            if before == 2_000 {
                break;
            }
        }
    });
}
