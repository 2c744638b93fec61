//! When the table of queues is believed, and that it then equals what the files say.

use std::path::Path;

use super::super::tests::{Fixture, config, entry, fill, push, read};
use super::super::{Claim, Load, Replayed};
use super::*;
use crate::disk::RealDisk;

const NOW: TableStamp =
    TableStamp { position: PhysicalOffset(2_500), time: TimestampMs(77), lock_modified: TimestampMs(88) };

fn again(root: &Path) -> Queues {
    let queues = Queues::new(&config(root), Arc::new(RealDisk::default()));
    queues.load_exclusions().unwrap();
    queues
}

fn load(root: &Path, expected: &TableStamp, clean: bool) -> (Queues, bool) {
    let queues = again(root);
    let believed = queues.load_table(expected, clean, PhysicalOffset(0)).unwrap();
    assert_eq!(queues.count() > 0, believed, "all or nothing");
    (queues, believed)
}

/// Two topics, one queue of them with entries in memory, and the table on disk.
fn saved() -> Fixture {
    let fixture = Fixture::new();
    fill(&fixture.queue(), 0..25);
    fill(&fixture.queues.get("others", QueueId(0)), 0..3);
    push(&fixture.queues.get("others", QueueId(7)), 12, entry(12)).unwrap();
    fixture.queues.flush().unwrap();
    fixture.queues.sync().unwrap();
    fixture.queues.save_table(&NOW).unwrap();
    fixture
}

fn state(queues: &Queues) -> Vec<(String, i32, i64, i64, i64)> {
    let mut all: Vec<_> = queues.all();
    all.sort_by_key(|queue| (queue.topic().to_owned(), queue.id()));
    let row = |queue: &Arc<Queue>| {
        let (min, max) = (queue.min_offset().0, queue.max_offset().0);
        assert_eq!(queue.next_offset().0, max);
        (queue.topic().to_owned(), queue.id().0, min, max, queue.end_physical().0)
    };
    all.iter().map(row).collect()
}

fn from_files(root: &Path) -> Queues {
    let queues = again(root);
    let load = Load {
        keep_below: PhysicalOffset(i64::MAX),
        claims: &|_, _, _, _| Claim::Removed,
        threads: 1,
        progress: &|_, _| (),
    };
    queues.load(&load).unwrap();
    queues
}

#[test]
fn the_table_says_what_the_files_say() {
    let fixture = saved();
    let (queues, believed) = load(fixture.root.path(), &NOW, false);
    assert!(believed);
    assert_eq!(state(&queues), state(&from_files(fixture.root.path())));
    let queue = queues.get("orders", QueueId(3));
    assert_eq!(read(&queue, 0, 99), (0..25).map(entry).collect::<Vec<_>>());
    fill(&queue, 25..32);
    queues.flush().unwrap();
    assert_eq!(read(&queue, 20, 99), (20..32).map(entry).collect::<Vec<_>>());
}

#[test]
fn what_came_after_the_table_comes_from_the_log() {
    let fixture = saved();
    fill(&fixture.queue(), 25..33);
    fill(&fixture.queues.get("newer", QueueId(0)), 0..2);
    fixture.queues.flush().unwrap();
    fill(&fixture.queue(), 33..34);

    let (queues, believed) = load(fixture.root.path(), &NOW, false);
    assert!(believed, "a topic of our own does not spoil the stamp");
    let mut replayed = Replayed::default();
    for i in 24..34 {
        queues.replay("orders", QueueId(3), QueueOffset(i), entry(i), &mut replayed).unwrap();
    }
    for i in 0..2 {
        queues.replay("newer", QueueId(0), QueueOffset(i), entry(i), &mut replayed).unwrap();
    }
    assert_eq!((replayed.entries, replayed.findings.len()), (11, 0));
    queues.finish_recovery().unwrap();
    queues.flush().unwrap();
    assert_eq!(read(&queues.get("orders", QueueId(3)), 22, 99), (22..34).map(entry).collect::<Vec<_>>());
    assert_eq!(state(&queues), state(&from_files(fixture.root.path())));
}

#[test]
fn entries_in_memory_are_not_in_the_table() {
    let fixture = saved();
    fill(&fixture.queue(), 25..27);
    fixture.queues.save_table(&NOW).unwrap();
    let (queues, _) = load(fixture.root.path(), &NOW, false);
    let queue = queues.get("orders", QueueId(3));
    assert_eq!((queue.max_offset().0, queue.end_physical().0), (25, 2_500));
    fill(&queue, 25..27);
}

#[test]
fn it_is_not_believed_once_anything_changed() {
    let fixture = saved();
    let root = fixture.root.path();
    let other_position = TableStamp { position: PhysicalOffset(2_400), ..NOW };
    let other_time = TableStamp { time: TimestampMs(78), ..NOW };
    let other_lock = TableStamp { lock_modified: TimestampMs(89), ..NOW };
    for changed in [other_position, other_time, other_lock] {
        assert!(!load(root, &changed, true).1, "{changed:?}");
    }
    let table = root.join("ferromq/queues");
    let whole = std::fs::read(&table).unwrap();
    let mut damaged = whole.clone();
    damaged[30] ^= 1;
    std::fs::write(&table, &damaged).unwrap();
    assert!(!load(root, &NOW, true).1);
    std::fs::write(&table, &whole).unwrap();
    assert!(load(root, &NOW, true).1);

    let mut other_size = config(root);
    other_size.file_size = 400;
    let queues = Queues::new(&other_size, Arc::new(RealDisk::default()));
    assert!(!queues.load_table(&NOW, true, PhysicalOffset(0)).unwrap());

    std::fs::create_dir(root.join("consumequeue/by-hand")).unwrap();
    // File systems keep time in ticks; this one is the next for sure.
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
    std::fs::File::open(root.join("consumequeue")).unwrap().set_modified(later).unwrap();
    assert!(!load(root, &NOW, true).1, "somebody else was in consumequeue/");
}

#[test]
fn after_a_crash_of_the_machine_it_is_not_believed() {
    let fixture = saved();
    let root = fixture.root.path();
    let stamp = root.join("ferromq/queues.stamp");
    let sealed = Sealed::decode(&std::fs::read(&stamp).unwrap()).unwrap();
    assert_ne!(sealed.session, 0, "this machine names its sessions");
    for session in [0, sealed.session ^ 1] {
        std::fs::write(&stamp, Sealed { session, ..sealed }.encode()).unwrap();
        assert!(!load(root, &NOW, false).1);
        assert!(load(root, &NOW, true).1, "after a clean stop it does not matter");
    }
    std::fs::write(&stamp, &sealed.encode()[..40]).unwrap();
    assert!(!load(root, &NOW, true).1, "torn");
}

#[test]
fn who_believed_it_keeps_it_for_the_next_start() {
    let fixture = saved();
    let root = fixture.root.path();
    let (queues, _) = load(root, &NOW, true);
    let ours = TimestampMs(99);
    queues.keep_table(ours).unwrap();
    assert!(!load(root, &NOW, true).1);
    assert!(load(root, &TableStamp { lock_modified: ours, ..NOW }, false).1);
}

#[test]
fn deletions_apply_to_it() {
    let fixture = saved();
    let root = fixture.root.path();
    assert!(fixture.queues.delete_topic("orders", || PhysicalOffset(2_500)).unwrap());
    let (queues, believed) = load(root, &NOW, false);
    assert!(believed);
    assert!(queues.find("orders", QueueId(3)).is_none() && queues.find("others", QueueId(0)).is_some());
}

#[test]
fn a_deletion_that_was_interrupted_is_finished() {
    let fixture = saved();
    let root = fixture.root.path();
    let dir = root.join("consumequeue/orders/3");
    let old = std::fs::read(dir.join("00000000000000000000")).unwrap();
    assert!(fixture.queues.delete_topic("orders", || PhysicalOffset(2_500)).unwrap());
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("00000000000000000000"), old).unwrap();
    fixture.queues.files.stamping.renew();
    let (_, believed) = load(root, &NOW, false);
    assert!(believed && !dir.exists());

    // Created and deleted since the table was written: who knows whose files these are.
    let _ = fixture.queues.get("short", QueueId(0));
    assert!(fixture.queues.delete_topic("short", || PhysicalOffset(2_600)).unwrap());
    std::fs::create_dir_all(root.join("consumequeue/short")).unwrap();
    fixture.queues.files.stamping.renew();
    assert!(!load(root, &NOW, false).1);
}

#[test]
fn files_that_retention_removed_since_are_not_missed() {
    let fixture = saved();
    fixture.queues.raise_min(PhysicalOffset(1_200)).unwrap();
    assert_eq!(fixture.queues.remove_expired(PhysicalOffset(1_200)).unwrap(), 1);
    let queues = again(fixture.root.path());
    assert!(queues.load_table(&NOW, false, PhysicalOffset(1_200)).unwrap());
    queues.raise_min(PhysicalOffset(1_200)).unwrap();
    let queue = queues.get("orders", QueueId(3));
    assert_eq!((queue.min_offset().0, queue.max_offset().0), (12, 25));
    queues.raise_min(PhysicalOffset(9_000)).unwrap();
    assert_eq!(queues.remove_expired(PhysicalOffset(9_000)).unwrap(), 1);
}

#[test]
fn a_cut_of_the_queues_spoils_it() {
    let fixture = saved();
    fixture.queues.truncate(PhysicalOffset(1_000)).unwrap();
    assert!(!load(fixture.root.path(), &NOW, true).1);
}
