//! `store check`, `dump` and `repair` on whole, killed and damaged stores. Most of them were written by Java.
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod common;
#[path = "java_stores/fixture.rs"]
mod fixture;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferromq_protocol::types::{PhysicalOffset, QueueId, QueueOffset, TimestampMs};
use ferromq_store::StoreConfig;
use ferromq_store::disk::{Disk, RealDisk};
use ferromq_store::offline::check::{CheckReport, Severity};
use ferromq_store::offline::repair::{RepairOptions, RepairReport, repair};
use ferromq_store::offline::{OfflineError, StoreFiles};

use crate::fixture::Fixture;

const EVERYTHING: &[&str] = &["."];

fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk::default())
}

/// What somebody knows who has no configuration: only what is not in the lengths of files.
fn config(fixture: &Fixture) -> StoreConfig {
    let known = fixture.config();
    StoreConfig {
        index_slots: known.index_slots,
        index_entries: known.index_entries,
        ..StoreConfig::at(&fixture.root)
    }
}

fn files(fixture: &Fixture) -> StoreFiles {
    StoreFiles::open(config(fixture), disk()).unwrap()
}

/// Checks, and holds it to its promise not to change anything.
fn check(fixture: &Fixture) -> CheckReport {
    let before = fixture.checksums(EVERYTHING);
    let report = files(fixture).check(&|_, _, _| ()).unwrap();
    assert_eq!(fixture.checksums(EVERYTHING), before, "a check changes nothing");
    assert!(serde_json::to_string(&report).unwrap().contains("\"problems\""));
    report
}

fn mend(fixture: &Fixture, options: RepairOptions) -> RepairReport {
    let options = RepairOptions { now: TimestampMs(1_700_000_000_000), ..options };
    let report = repair(&config(fixture), &disk(), &options, &|_, _, _| ()).unwrap();
    assert!(report.to_string().contains("store  "));
    report
}

const ACCEPTING: RepairOptions =
    RepairOptions { accept_loss: true, rebuild_queues: false, rebuild_index: false, now: TimestampMs(0) };

/// The one problem of a report.
fn only(report: &CheckReport) -> (Severity, PathBuf, Option<u64>) {
    assert_eq!(report.problems.len(), 1, "{report}");
    let problem = &report.problems[0];
    (problem.severity, problem.file.clone(), problem.byte)
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    fs::File::options().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

/// Queue files and index, which a repair may have to write anew.
fn derived(fixture: &Fixture) -> Vec<(PathBuf, u32)> {
    fixture.checksums(&["consumequeue"]).into_iter().collect()
}

#[test]
fn nothing_is_wrong_with_a_store_that_java_stopped() {
    for name in ["plain", "features", "batchcq", "ipv6"] {
        let fixture = Fixture::unpack(name);
        let report = check(&fixture);
        // One of them has records of topics that were deleted.
        let expected = (name == "features").then_some(Severity::Note);
        assert_eq!((report.worst(), report.recovery.after_crash), (expected, false), "{name}: {report}");
        let records = fixture.manifest["physicalRecords"].as_array().unwrap();
        let records = records.iter().filter(|row| row.as_array().unwrap().len() > 3).count();
        assert_eq!(report.log.records as usize, records);
        assert_eq!(report.sizes.log_file, 1 << 20);
    }
}

#[test]
fn the_next_start_mends_a_store_that_was_killed() {
    for name in ["crash", "crash-checkpoint"] {
        let fixture = Fixture::unpack(name);
        let report = check(&fixture);
        assert!(report.recovery.after_crash && !report.recovery.refused);
        assert!(report.worst() <= Some(Severity::Mended), "{report}");
        let end = fixture.manifest["afterLoad"]["maxPhyOffset"].as_u64().unwrap();
        assert_eq!(report.log.end, end);
        let changes = mend(&fixture, RepairOptions::default()).changes;
        assert_eq!(changes, [], "{name} needs no repair");
    }
}

#[test]
fn an_entry_that_points_elsewhere_is_found_and_its_queue_built_anew() {
    let fixture = Fixture::unpack("plain");
    let whole = derived(&fixture);
    let path = fixture.root.join("consumequeue/plain_b/1/00000000000000000000");
    overwrite(&path, 40 * 20 + 7, &[0xff]);
    let report = check(&fixture);
    assert_eq!(report.worst(), Some(Severity::Wrong));
    let found = report.problems.iter().any(|problem| problem.file == path && problem.byte == Some(40 * 20));
    assert!(found, "{report}");

    let report = mend(&fixture, RepairOptions::default());
    assert_eq!(report.after.worst(), None, "{report}");
    assert!(!report.changes.is_empty());
    assert_eq!(derived(&fixture), whole);
    let moved = fixture.root.join("ferromq/removed/1700000000000/consumequeue/plain_b/1");
    assert!(moved.join("00000000000000000000").exists(), "{report}");
    assert_eq!(mend(&fixture, RepairOptions::default()).changes, [], "once is enough");
}

#[test]
fn a_hole_in_a_queue_is_found_and_filled() {
    let fixture = Fixture::unpack("plain");
    let whole = derived(&fixture);
    let path = fixture.root.join("consumequeue/plain_b/0/00000000000000000000");
    overwrite(&path, 50 * 20, &[0; 60]);
    let report = check(&fixture);
    assert!(report.queues.missing > 0 && report.worst() >= Some(Severity::Mended), "{report}");
    mend(&fixture, RepairOptions { rebuild_queues: true, ..RepairOptions::default() });
    assert_eq!(derived(&fixture), whole, "all queues follow from the log");
    assert_eq!(check(&fixture).worst(), None);
}

#[test]
fn queue_files_that_do_not_fit_are_found_and_built_anew() {
    let fixture = Fixture::unpack("plain");
    let whole = derived(&fixture);
    let dir = fixture.root.join("consumequeue/plain_a/2");
    fs::write(dir.join("00000000000000000000"), [1; 50]).unwrap();
    fs::write(fixture.root.join("consumequeue/plain_c/0/core.1234"), "x").unwrap();
    let report = check(&fixture);
    let (severity, file, _) = only(&report);
    assert_eq!((severity, file), (Severity::Refused, dir.join("00000000000000000000")));
    assert!(report.recovery.refused);

    let report = mend(&fixture, RepairOptions::default());
    assert_eq!(report.after.worst(), None, "{report}");
    assert_eq!(derived(&fixture), whole);
}

#[test]
fn a_damaged_index_is_found_and_built_anew() {
    let fixture = Fixture::unpack("crash-checkpoint");
    // A start completes what the kill left open.
    let store = fixture.open();
    store.start().unwrap();
    assert!(store.stop().clean);
    drop(store);
    assert_eq!(check(&fixture).worst(), None);
    let mut index: Vec<_> = fixture.checksums(&["index"]).into_keys().collect();
    index.sort();
    // A slot that leads nowhere.
    let used = fs::read(&index[0]).unwrap()[40..].chunks(4).position(|slot| slot != [0; 4]).unwrap() as u64;
    overwrite(&index[0], 40 + 4 * used, &[0; 4]);
    let (severity, file, _) = only(&check(&fixture));
    assert_eq!((severity, &file), (Severity::Wrong, &index[0]));

    let keys = |report: &CheckReport| (report.index.entries, report.index.last_physical);
    let before = keys(&check(&fixture));
    let report = mend(&fixture, RepairOptions::default());
    assert_eq!((report.after.worst(), keys(&report.after)), (None, before), "{report}");
    // An entry that is no longer there.
    let index: Vec<_> = fixture.checksums(&["index"]).into_keys().collect();
    overwrite(&index[0], 40 + 4 * 5_000 + 20 * 700, &[0; 20]);
    let report = check(&fixture);
    let found = report.problems.iter().any(|problem| problem.byte == Some(40 + 4 * 5_000 + 20 * 700));
    assert!(found, "{report}");
}

#[test]
fn damage_in_the_middle_of_the_log_is_found_and_cut_only_if_that_is_accepted() {
    let fixture = Fixture::unpack("plain");
    let row = &fixture.manifest["physicalRecords"][1_500];
    let at = row[0].as_u64().unwrap();
    let (base, within) = (at >> 20 << 20, at & 0xf_ffff);
    let path = fixture.root.join(format!("commitlog/{base:020}"));
    let body = fs::read(&path).unwrap()[usize::try_from(within).unwrap() + 90];
    overwrite(&path, within + 90, &[!body]);
    let report = check(&fixture);
    assert_eq!((report.log.end, report.log.records), (at, report.log.records));
    let here = report.problems.iter().find(|problem| problem.file == path).unwrap();
    assert_eq!(here.byte, Some(within), "{report}");
    assert_eq!(report.worst(), Some(Severity::Wrong), "records follow: {report}");

    let before = fixture.checksums(&["commitlog"]);
    let report = mend(&fixture, RepairOptions::default());
    assert!(report.needs_accepted_loss && report.to_string().contains("--accept-loss"));
    assert_eq!(fixture.checksums(&["commitlog"]), before, "not without consent");

    let report = mend(&fixture, ACCEPTING);
    assert_eq!(report.after.log.end, at, "{report}");
    assert!(report.after.worst() <= Some(Severity::Mended), "{report}");
    let removed = fixture.root.join("ferromq/removed/1700000000000");
    let tail = fs::read(removed.join(format!("{base:020}-from-{within}"))).unwrap();
    assert_eq!(tail.len() as u64, (1 << 20) - within);
    assert!(removed.join(format!("commitlog/{:020}", base + (1 << 20))).exists());

    let store = fixture.open();
    assert_eq!(store.max_physical(), PhysicalOffset(i64::try_from(at).unwrap()));
    store.start().unwrap();
    assert!(store.stop().clean);
    drop(store);
    assert_eq!(check(&fixture).worst(), None);
}

#[test]
fn strange_files_in_the_log_are_moved_and_a_gap_takes_consent() {
    let fixture = Fixture::unpack("plain");
    let log = fixture.root.join("commitlog");
    fs::write(log.join("notes.txt"), "x").unwrap();
    let (severity, file, _) = only(&check(&fixture));
    assert_eq!((severity, file), (Severity::Refused, log.join("notes.txt")));
    mend(&fixture, RepairOptions::default());
    assert_eq!(check(&fixture).worst(), None);

    fs::remove_file(log.join("00000000000001048576")).unwrap();
    let report = check(&fixture);
    assert!(report.recovery.refused && report.to_string().contains("00000000000001048576"), "{report}");
    assert!(mend(&fixture, RepairOptions::default()).needs_accepted_loss);
    let report = mend(&fixture, ACCEPTING);
    assert_eq!((report.after.log.start, report.after.recovery.refused), (2 << 20, false), "{report}");
    let store = fixture.open();
    assert_eq!(store.min_physical(), PhysicalOffset(2 << 20));
}

#[test]
fn queues_without_a_log_are_given_up_only_if_that_is_accepted() {
    let fixture = Fixture::unpack("ipv6");
    fs::rename(fixture.root.join("commitlog"), fixture.root.join("elsewhere")).unwrap();
    let report = check(&fixture);
    assert!(report.recovery.refused, "{report}");
    assert!(mend(&fixture, RepairOptions::default()).needs_accepted_loss);
    mend(&fixture, ACCEPTING);
    let store = fixture.open();
    assert_eq!(store.queues().count(), 0);
}

#[test]
fn a_store_in_use_is_not_repaired() {
    let fixture = Fixture::unpack("ipv6");
    let _store = fixture.open();
    let refused = repair(&config(&fixture), &disk(), &RepairOptions::default(), &|_, _, _| ()).err();
    assert!(matches!(refused, Some(OfflineError::InUse { .. })), "{refused:?}");
    assert!(files(&fixture).check(&|_, _, _| ()).unwrap().in_use);
    let empty = tempfile::tempdir().unwrap();
    let nothing = StoreFiles::open(StoreConfig::at(empty.path()), disk()).err();
    assert!(matches!(nothing, Some(OfflineError::NoStore { .. })));
}

#[test]
fn a_dump_shows_what_is_there() {
    let fixture = Fixture::unpack("plain");
    let files = files(&fixture);
    assert_eq!(files.dump_segments().unwrap().len(), 5);

    let mut records = Vec::new();
    let mut take = |record| {
        records.push(record);
        true
    };
    let end = files.dump_records(PhysicalOffset(0), usize::MAX, &mut take).unwrap();
    assert!(end.is_some(), "the log ends");
    let expected = fixture.manifest["physicalRecords"].as_array().unwrap();
    let expected: Vec<_> = expected.iter().filter(|row| row.as_array().unwrap().len() > 3).collect();
    assert_eq!(records.len(), expected.len());
    for (record, row) in records.iter().zip(&expected) {
        assert_eq!(record.physical, row[0].as_i64().unwrap());
        assert_eq!(record.topic, row[3].as_str().unwrap());
        assert!(record.body_ok);
    }
    let line = records[0].to_string();
    assert!(line.contains(&records[0].message_id) && line.contains("UNIQ_KEY="), "{line}");

    let queues = files.dump_queues().unwrap();
    assert_eq!(queues.len(), 12);
    let facts = &fixture.manifest["topics"]["plain_b"]["1"];
    let queue = queues.iter().find(|line| line.topic == "plain_b" && line.queue == 1).unwrap();
    assert_eq!(queue.max, facts["maxOffset"].as_i64().unwrap());

    let mut entries = Vec::new();
    let mut take = |entry| {
        entries.push(entry);
        entries.len() < 5
    };
    files.dump_entries("plain_b", QueueId(1), QueueOffset(3), 99, &mut take).unwrap();
    assert_eq!(entries.len(), 5);
    assert_eq!(entries[0].physical, facts["messages"][3]["commitLogOffset"].as_i64().unwrap());
    let unknown = files.dump_entries("none", QueueId(0), QueueOffset(0), 1, &mut |_| true).err();
    assert!(unknown.unwrap().to_string().contains("queue 0 of topic none"));

    let index = files.dump_index().unwrap();
    assert_eq!((index.len(), index[0].keys), (1, 9_995));
    let mut keys = Vec::new();
    let mut take = |key| {
        keys.push(key);
        true
    };
    files.dump_keys(&index[0].file, 0, 3, &mut take).unwrap();
    assert_eq!(keys.iter().map(|key| key.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(files.dump_keys("../lock", 0, 1, &mut |_| true).is_err());
    assert_eq!(files.dump_checkpoint().queue_position, 0);
}

/// A tear can leave a record whole but for its place in the queue, which no checksum covers.
#[test]
fn a_record_with_the_offset_of_another_ends_the_log_as_it_does_for_a_start() {
    let root = tempfile::tempdir().unwrap();
    let store = common::open(common::config(root.path()));
    let orders = common::queue(&store, "orders", 0);
    let places: Vec<u64> = (0..20)
        .map(|_| common::stored(&common::send(&store, &orders, &[b"x"])[0]).physical)
        .map(|physical| u64::try_from(physical.0).unwrap())
        .collect();
    // A crash, before any checkpoint.
    drop((orders, store));
    let torn = 12;
    let offset = 5_i64.to_be_bytes();
    overwrite(&root.path().join("commitlog/00000000000000000000"), places[torn] + 20, &offset);

    let config = common::config(root.path());
    let report = StoreFiles::open(config.clone(), disk()).unwrap().check(&|_, _, _| ()).unwrap();
    assert_eq!((report.log.end, report.log.records), (places[torn], torn as u64), "{report}");
    assert!(report.log.ends_because.contains("OffsetTaken(5)"), "{report}");
    assert_eq!(report.worst(), Some(Severity::Mended), "{report}");

    let store = common::open(config);
    assert_eq!(store.recovery().end, places[torn]);
    assert_eq!(common::queue(&store, "orders", 0).max_offset(), QueueOffset(i64::try_from(torn).unwrap()));
}
