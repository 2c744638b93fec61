//! The index after a crash.

use super::super::tests::{SHAPE, add, check, config, find, fresh, keys, open, store_time};
use super::*;
use crate::disk::RealDisk;

/// Records 0 to 4 flushed (15 entries), then a crash.
fn crashed() -> (tempfile::TempDir, PathBuf) {
    let (root, index) = fresh();
    add(&index, 0..5);
    index.flush().unwrap();
    let name = std::fs::read_dir(root.path().join("index")).unwrap().next().unwrap().unwrap().path();
    (root, name)
}

fn edit(path: &Path, change: impl FnOnce(&mut [u8])) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn entry_range(first: u32, last: u32) -> std::ops::Range<usize> {
    let at = |number| usize::try_from(SHAPE.entry_at(number)).unwrap();
    at(first)..at(last + 1)
}

/// Opens, replays the records from `resume_at` on, and expects all of them; then once more after a clean stop.
fn recovers(root: &Path, expected_resume: i64, expected_cut: Option<u32>) {
    let (index, findings) = open(root, false, 500);
    assert_eq!(index.resume_at(), PhysicalOffset(expected_resume));
    let cut = findings.iter().map(|finding| match finding.kind {
        IndexFault::Cut { kept, .. } => kept,
        ref other => panic!("{other}"),
    });
    assert_eq!(cut.collect::<Vec<_>>(), expected_cut.into_iter().collect::<Vec<_>>());
    add(&index, 0..9);
    check(&index, 0..9);
    index.close().unwrap();
    let (index, findings) = open(root, true, 900);
    assert!(findings.is_empty());
    check(&index, 0..9);
    let (index, findings) = open(root, false, 900);
    assert!(findings.is_empty());
    add(&index, 8..9);
    check(&index, 0..9);
}

#[test]
fn after_a_kill_only_the_last_message_is_added_again() {
    let (root, _) = crashed();
    recovers(root.path(), 400, None);
}

#[test]
fn keys_that_were_on_the_disk_are_not_erased_to_be_added_again() {
    let (root, path) = crashed();
    let load = |below| IndexLoad {
        clean: false,
        end: PhysicalOffset(500),
        full_until: TimestampMs(0),
        synced_below: PhysicalOffset(below),
        store_time: &store_time,
    };
    let stored = |bytes: Vec<u8>| bytes[entry_range(1, 15)].to_vec();
    let before = stored(std::fs::read(&path).unwrap());
    let config = || config(root.path());
    let (index, _) = Index::open(config(), Arc::new(RealDisk::default()), &load(500)).unwrap();
    assert_eq!(index.resume_at(), PhysicalOffset(401), "nothing of the last message is missing");
    // And another crash before anything was added.
    drop(index);
    assert!(stored(std::fs::read(&path).unwrap()) == before);
    let (index, _) = Index::open(config(), Arc::new(RealDisk::default()), &load(400)).unwrap();
    assert_eq!(index.resume_at(), PhysicalOffset(400));
}

#[test]
fn a_lost_page_of_entries_is_added_again() {
    let (root, path) = crashed();
    edit(&path, |bytes| bytes[entry_range(6, 9)].fill(0));
    recovers(root.path(), 100, Some(6));
}

#[test]
fn an_entry_that_does_not_continue_its_chain_ends_what_counts() {
    let (root, path) = crashed();
    edit(&path, |bytes| bytes[entry_range(10, 10)][19] ^= 1);
    recovers(root.path(), 200, Some(10));
}

#[test]
fn a_header_that_was_not_written_costs_the_whole_file_but_loses_nothing() {
    let (root, path) = crashed();
    edit(&path, |bytes| bytes[..HEADER_SIZE].fill(0));
    let (index, findings) = open(root.path(), false, 500);
    assert!(findings.is_empty());
    assert_eq!(index.resume_at(), PhysicalOffset(0));
    add(&index, 0..5);
    check(&index, 0..5);
}

#[test]
fn a_header_that_counts_too_much_is_corrected_from_the_log() {
    let (root, path) = crashed();
    let torn = Header {
        begin_time: TimestampMs(77),
        end_time: TimestampMs(78),
        begin_physical: PhysicalOffset(79),
        end_physical: PhysicalOffset(80),
        used_slots: 0,
        count: 4_000,
    };
    edit(&path, |bytes| bytes[..HEADER_SIZE].copy_from_slice(&torn.encode()));
    recovers(root.path(), 400, Some(16));
    let header = Header::decode(std::fs::read(&path).unwrap().first_chunk().unwrap());
    assert_eq!(header.begin_time, store_time(PhysicalOffset(0)).unwrap());
}

#[test]
fn entries_behind_the_end_of_the_log_do_not_count() {
    let (root, path) = crashed();
    let (index, findings) = open(root.path(), false, 300);
    assert_eq!(findings[0].kind, IndexFault::Cut { kept: 10, counted: 16 });
    assert_eq!(index.resume_at(), PhysicalOffset(200));
    assert_eq!(std::fs::read(&path).unwrap()[entry_range(7, 15)], [0; 180], "and do not come back");
    add(&index, 2..3);
    check(&index, 0..3);
    drop(index);

    // The same after a stop that looked clean.
    let (root, _) = crashed();
    let (index, findings) = open(root.path(), true, 300);
    assert_eq!((findings.len(), index.resume_at()), (1, PhysicalOffset(200)));
}

#[test]
fn a_file_after_one_that_lost_entries_goes_too() {
    let (root, index) = fresh();
    add(&index, 0..15);
    index.flush().unwrap();
    drop(index);
    let mut paths: Vec<_> =
        std::fs::read_dir(root.path().join("index")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert_eq!(paths.len(), 3);
    edit(&paths[1], |bytes| bytes[entry_range(9, 9)].fill(0));
    let (index, findings) = open(root.path(), false, 1_500);
    assert_eq!(findings[0].kind, IndexFault::Cut { kept: 9, counted: 20 });
    assert_eq!((&findings[1].path, &findings[1].kind), (&paths[2], &IndexFault::AfterCut));
    assert!(!paths[2].exists());
    add(&index, 0..15);
    check(&index, 0..15);
}

#[test]
fn files_that_were_full_and_synced_are_not_read() {
    let (root, index) = fresh();
    add(&index, 0..8);
    index.flush().unwrap();
    let full_until = index.full_until();
    drop(index);
    let mut paths: Vec<_> =
        std::fs::read_dir(root.path().join("index")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    edit(&paths[0], |bytes| bytes[entry_range(9, 9)].fill(0));
    let load = IndexLoad {
        clean: false,
        end: PhysicalOffset(800),
        full_until,
        synced_below: PhysicalOffset(0),
        store_time: &store_time,
    };
    let (index, findings) = Index::open(config(root.path()), Arc::new(RealDisk::default()), &load).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(index.resume_at(), PhysicalOffset(700));
}

#[test]
fn a_torn_header_does_not_make_a_file_count_as_synced() {
    // Its last message lies at 600: at or behind the checkpoint's position, or the header says less.
    for (synced_below, end_physical) in [(600, 600), (550, 500)] {
        let (root, index) = fresh();
        add(&index, 0..8);
        index.flush().unwrap();
        let full_until = index.full_until();
        drop(index);
        let mut paths: Vec<_> = std::fs::read_dir(root.path().join("index"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        let whole = std::fs::read(&paths[0]).unwrap();
        edit(&paths[0], |bytes| {
            bytes[..8].fill(0);
            bytes[24..32].copy_from_slice(&i64::to_be_bytes(end_physical));
            bytes[HEADER_SIZE..HEADER_SIZE + 28].fill(0);
        });
        let load = IndexLoad {
            clean: false,
            end: PhysicalOffset(800),
            full_until,
            synced_below: PhysicalOffset(synced_below),
            store_time: &store_time,
        };
        let opened = Index::open(config(root.path()), Arc::new(RealDisk::default()), &load);
        let (index, findings) = opened.unwrap();
        assert!(findings.is_empty(), "{findings:?}");
        add(&index, 0..8);
        check(&index, 0..8);
        index.flush().unwrap();
        assert_eq!(std::fs::read(&paths[0]).unwrap(), whole);
    }
}

#[test]
fn a_full_file_whose_slots_were_not_written_gets_them() {
    let (root, index) = fresh();
    add(&index, 0..8);
    index.flush().unwrap();
    drop(index);
    let mut paths: Vec<_> =
        std::fs::read_dir(root.path().join("index")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let whole = std::fs::read(&paths[0]).unwrap();
    edit(&paths[0], |bytes| bytes[HEADER_SIZE..HEADER_SIZE + 28].fill(0));
    let (index, findings) = open(root.path(), false, 800);
    assert!(findings.is_empty());
    add(&index, 0..8);
    check(&index, 0..8);
    index.flush().unwrap();
    check(&index, 0..8);
    assert_eq!(std::fs::read(&paths[0]).unwrap(), whole);
}

#[test]
fn a_message_whose_keys_were_cut_in_two_is_added_as_a_whole() {
    let (root, index) = fresh();
    add(&index, 0..3);
    index.push(&keys(3)[..1]);
    index.flush().unwrap();
    drop(index);
    let (index, _) = open(root.path(), false, 500);
    assert_eq!(index.resume_at(), PhysicalOffset(300));
    add(&index, 3..5);
    check(&index, 0..5);
    assert_eq!(find(&index, 1_003, 9, (0, i64::MAX)), [3]);
}

#[test]
fn an_empty_newest_file_goes_and_one_of_another_shape_stops_the_start() {
    let (root, path) = crashed();
    let empty = path.with_file_name("99991231235959999");
    std::fs::write(&empty, []).unwrap();
    let (_, findings) = open(root.path(), false, 500);
    assert_eq!((&findings[0].path, &findings[0].kind), (&empty, &IndexFault::EmptyFile));
    assert!(!empty.exists());

    std::fs::write(&empty, [0; 100]).unwrap();
    let load = IndexLoad {
        clean: true,
        end: PhysicalOffset(500),
        full_until: TimestampMs(0),
        synced_below: PhysicalOffset(0),
        store_time: &store_time,
    };
    let refused = Index::open(config(root.path()), Arc::new(RealDisk::default()), &load).err().unwrap();
    assert!(matches!(refused, IndexError::Shape { found: 100, .. }), "{refused}");
    assert!(empty.exists());
}
