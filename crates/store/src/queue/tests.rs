//! Queues against a real directory.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ferromq_protocol::types::{PhysicalOffset, QueueId, QueueOffset};
use parking_lot::Mutex;

use super::*;
use crate::disk::{Access, RealDisk};

/// Ten entries to a file.
const FILE_SIZE: u64 = 200;

pub(super) struct Fixture {
    pub(super) root: tempfile::TempDir,
    pub(super) queues: Queues,
}

pub(super) fn config(root: &Path) -> QueueConfig {
    QueueConfig {
        dir: root.join("consumequeue"),
        batch_dir: root.join("batchconsumequeue"),
        side_dir: root.join("ferromq"),
        file_size: FILE_SIZE,
        open_files_max: 4,
        access: Access::ReadWrite,
    }
}

impl Fixture {
    pub(super) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("ferromq/tmp")).unwrap();
        let queues = Queues::new(&config(root.path()), Arc::new(RealDisk::default()));
        Self { root, queues }
    }

    pub(super) fn queue(&self) -> Arc<Queue> {
        self.queues.get("orders", QueueId(3))
    }

    fn file(&self, start: u64) -> Vec<u8> {
        std::fs::read(self.root.path().join(format!("consumequeue/orders/3/{start:020}"))).unwrap()
    }
}

/// The `i`-th record of a test: 100 bytes each.
pub(super) fn entry(i: i64) -> Entry {
    Entry { physical: PhysicalOffset(i * 100), size: 100, tag_code: i % 3 }
}

pub(super) fn push(queue: &Arc<Queue>, offset: i64, entry: Entry) -> Result<Pushed, PushError> {
    queue.push(QueueOffset(offset), entry, &mut Woken::default())
}

pub(super) fn fill(queue: &Arc<Queue>, offsets: std::ops::Range<i64>) {
    for i in offsets {
        assert_eq!(push(queue, i, entry(i)), Ok(Pushed::Appended));
    }
}

pub(super) fn read(queue: &Queue, from: i64, max: usize) -> Vec<Entry> {
    let mut out = Vec::new();
    queue.entries(QueueOffset(from), max, Wait::Allowed, &mut out).unwrap();
    out
}

#[test]
fn entries_are_readable_before_and_after_they_reach_the_file() {
    let fixture = Fixture::new();
    let queue = fixture.queue();
    fill(&queue, 0..25);
    let all: Vec<_> = (0..25).map(entry).collect();
    assert_eq!(read(&queue, 0, 100), all, "all in memory");
    assert!(!fixture.root.path().join("consumequeue").exists(), "a push touches no file");

    assert_eq!(fixture.queues.flush().unwrap(), Flushed { queues: 1, entries: 25 });
    assert_eq!(read(&queue, 0, 100), all, "all in three files");
    fill(&queue, 25..28);
    assert_eq!(read(&queue, 18, 9), (18..27).map(entry).collect::<Vec<_>>(), "from files and memory");
    assert_eq!(read(&queue, 28, 9), []);
    assert_eq!(queue.max_offset(), QueueOffset(28));
    assert_eq!(queue.end_physical(), PhysicalOffset(2800));

    fixture.queues.flush().unwrap();
    fixture.queues.sync().unwrap();
    for start in [0, 200, 400] {
        assert_eq!(fixture.file(start).len(), 200, "files have their full length");
    }
    assert_eq!(fixture.file(400)[..20], entry(20).encode());
    assert_eq!(fixture.file(400)[160..], [0; 40], "nothing behind the last entry");
}

#[test]
fn a_read_that_may_not_wait_says_so_when_the_file_is_not_open() {
    let fixture = Fixture::new();
    let queue = fixture.queue();
    fill(&queue, 0..1);
    fixture.queues.flush().unwrap();
    // Four other queues push this one's descriptor out.
    for other in 10..14 {
        fill(&fixture.queues.get("others", QueueId(other)), 0..1);
    }
    fixture.queues.flush().unwrap();
    assert_eq!(fixture.queues.files.open_count(), 4, "descriptors are bounded");

    let mut out = Vec::new();
    let first = queue.entries(QueueOffset(0), 1, Wait::Never, &mut out);
    assert!(matches!(first, Err(EntriesError::WouldBlock)), "{first:?}");
    assert_eq!(read(&queue, 0, 1), [entry(0)]);
    queue.entries(QueueOffset(0), 1, Wait::Never, &mut out).unwrap();
    assert_eq!(out, [entry(0)], "open and in the page cache now");
}

#[test]
fn what_the_queue_has_already_is_ignored() {
    let fixture = Fixture::new();
    let queue = fixture.queue();
    fill(&queue, 0..5);
    assert_eq!(push(&queue, 2, entry(2)), Ok(Pushed::Known));
    assert_eq!(push(&queue, 4, entry(4)), Ok(Pushed::Known));
    assert_eq!(queue.max_offset(), QueueOffset(5));
}

#[test]
fn a_later_record_with_an_offset_in_use_is_refused() {
    let fixture = Fixture::new();
    let queue = fixture.queue();
    fill(&queue, 0..5);
    let later = Entry { physical: PhysicalOffset(900), size: 10, tag_code: 0 };
    let refused = push(&queue, 3, later).unwrap_err();
    assert!(matches!(refused, PushError::Taken { offset: QueueOffset(3), max: QueueOffset(5), .. }));
    assert_eq!(read(&queue, 0, 9).len(), 5, "and changes nothing");
}

#[test]
fn a_gap_is_filled_with_blanks_and_never_shifts_what_follows() {
    let fixture = Fixture::new();
    let queue = fixture.queue();
    fill(&queue, 0..5);
    assert_eq!(push(&queue, 8, entry(8)), Ok(Pushed::AfterGap(3)));
    fixture.queues.flush().unwrap();
    assert_eq!(read(&queue, 5, 4), [Entry::BLANK, Entry::BLANK, Entry::BLANK, entry(8)]);
    let absurd = push(&queue, i64::MAX / 2, entry(9)).unwrap_err();
    assert!(matches!(absurd, PushError::FarAhead { .. }));
}

#[test]
fn a_queue_that_starts_in_the_middle_has_blanks_before_its_first_message() {
    let fixture = Fixture::new();
    let queue = fixture.queue();
    assert_eq!(push(&queue, 27, entry(27)), Ok(Pushed::Appended));
    assert_eq!((queue.min_offset(), queue.max_offset()), (QueueOffset(27), QueueOffset(28)));
    fixture.queues.flush().unwrap();
    let file = fixture.file(400);
    for i in 0..7 {
        assert_eq!(file[i * 20..][..20], Entry::BLANK.encode());
    }
    assert_eq!(file[140..160], entry(27).encode());
    assert!(!fixture.root.path().join("consumequeue/orders/3/00000000000000000200").exists());
    assert_eq!(queue.end_physical(), PhysicalOffset(2800), "blanks do not count as records up to 2 GiB");
    let mut out = Vec::new();
    let before = queue.entries(QueueOffset(3), 1, Wait::Allowed, &mut out);
    assert!(matches!(before, Err(EntriesError::Gone)), "{before:?}");
}

#[test]
fn zero_bytes_in_a_file_are_corruption_and_not_an_entry() {
    let fixture = Fixture::new();
    let queue = fixture.queue();
    fill(&queue, 0..12);
    fixture.queues.flush().unwrap();
    let path = fixture.root.path().join("consumequeue/orders/3/00000000000000000000");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[60..80].fill(0);
    std::fs::write(&path, bytes).unwrap();
    let mut out = Vec::new();
    match queue.entries(QueueOffset(1), 5, Wait::Allowed, &mut out) {
        Err(EntriesError::Corrupt { index: 3, offset: QueueOffset(3), path: named }) => {
            assert_eq!(named, path)
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(out, [entry(1), entry(2)]);
}

#[test]
fn an_existing_file_of_another_length_is_refused() {
    let fixture = Fixture::new();
    let dir = fixture.root.path().join("consumequeue/orders/3");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("00000000000000000000"), [0; 60]).unwrap();
    let queue = fixture.queue();
    fill(&queue, 0..1);
    let error = fixture.queues.flush().unwrap_err();
    assert!(matches!(error, QueueError::Length { found: 60, expected: 200, .. }), "{error}");
    assert_eq!(read(&queue, 0, 1), [entry(0)], "the entry stays in memory");
    assert_eq!(fixture.queues.unflushed(), 1, "and is tried again");
}

#[test]
fn the_first_message_at_a_position_is_found_across_blanks() {
    let fixture = Fixture::new();
    let queue = fixture.queue();
    push(&queue, 15, entry(15)).unwrap();
    fill(&queue, 16..20);
    push(&queue, 26, entry(26)).unwrap();
    fill(&queue, 27..33);
    fixture.queues.flush().unwrap();
    let find = |physical| {
        let found = queue.first_at_or_after(PhysicalOffset(physical), QueueOffset(10), queue.max_offset());
        found.unwrap().map(|(offset, entry)| (offset.0, entry.physical.0))
    };
    assert_eq!(find(0), Some((15, 1500)), "blanks before the first message are none");
    assert_eq!(find(1501), Some((16, 1600)));
    assert_eq!(find(1900), Some((19, 1900)));
    assert_eq!(find(1901), Some((26, 2600)), "over the gap");
    assert_eq!(find(3200), Some((32, 3200)));
    assert_eq!(find(3201), None);
}

/// Remembers whom it was told about.
#[derive(Default)]
struct Told(Mutex<Vec<u64>>);

impl Notify for Told {
    fn notify(&self, token: u64) {
        self.0.lock().push(token);
    }
}

impl Told {
    fn take(&self) -> Vec<u64> {
        std::mem::take(&mut self.0.lock())
    }
}

#[test]
fn a_message_tells_only_those_whose_filter_can_match_and_each_once() {
    let fixture = Fixture::new();
    let queue = fixture.queue();
    let told = Arc::new(Told::default());
    let watch = |filter, token| queue.watch(QueueOffset(0), filter, Arc::clone(&told) as _, token).unwrap();
    let _all = watch(TagFilter::All, 1);
    let _one = watch(TagFilter::Hashes([1].into()), 2);
    let two = watch(TagFilter::Hashes([2, 7].into()), 3);
    let _three = watch(TagFilter::Hashes([2].into()), 4);

    let mut woken = Woken::default();
    let with_tag = |i, tag_code| Entry { tag_code, ..entry(i) };
    queue.push(QueueOffset(0), with_tag(0, 5), &mut woken).unwrap();
    queue.push(QueueOffset(1), with_tag(1, 0x7_0000_0001), &mut woken).unwrap();
    assert!(told.take().is_empty(), "nobody is told before the whole group is visible");
    woken.notify();
    assert_eq!(told.take(), [1, 2]);

    drop(two);
    queue.push(QueueOffset(2), with_tag(2, 2), &mut woken).unwrap();
    woken.notify();
    assert_eq!(told.take(), [4], "told ones and withdrawn ones are not told again");
    assert_eq!(queue.waiting(), 0);
}

#[test]
fn who_asks_for_an_offset_that_exists_does_not_wait() {
    let fixture = Fixture::new();
    let queue = fixture.queue();
    fill(&queue, 0..3);
    let told = Arc::new(Told::default());
    let watch = |from| queue.watch(QueueOffset(from), TagFilter::All, Arc::clone(&told) as _, 0);
    assert!(watch(2).is_none());
    assert!(watch(3).is_some());
}

#[test]
fn no_message_slips_between_the_last_look_and_the_watch() {
    let fixture = Fixture::new();
    let queue = fixture.queue();
    let told = Arc::new(Told::default());
    let seen = AtomicU64::new(0);
    let total = 20_000;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut woken = Woken::default();
            for i in 0..total {
                queue.push(QueueOffset(i), entry(i), &mut woken).unwrap();
                woken.notify();
            }
        });
        let mut next = 0;
        while next < total {
            let registered = queue.watch(QueueOffset(next), TagFilter::All, Arc::clone(&told) as _, 0);
            if registered.is_some() {
                // Without a wake-up this would never end.
                while told.take().is_empty() {
                    std::thread::yield_now();
                }
                seen.fetch_add(1, Ordering::Relaxed);
            }
            assert!(queue.max_offset().0 > next, "told, so there is something");
            next = queue.max_offset().0;
        }
    });
    assert_eq!(queue.waiting(), 0);
}

#[test]
fn queues_of_a_topic_are_found_by_number() {
    let fixture = Fixture::new();
    for id in [5, 0, 3] {
        assert_eq!(fixture.queues.get("orders", QueueId(id)).id(), QueueId(id));
    }
    let ids: Vec<_> = fixture.queues.of_topic("orders").iter().map(|queue| queue.id().0).collect();
    assert_eq!(ids, [0, 3, 5]);
    assert!(fixture.queues.find("orders", QueueId(1)).is_none());
    assert!(fixture.queues.find("other", QueueId(0)).is_none());
    assert!(Arc::ptr_eq(&fixture.queues.get("orders", QueueId(3)), &fixture.queue()));
    assert_eq!(fixture.queues.count(), 3);
}

#[test]
fn the_minimum_follows_the_start_of_the_log_and_expired_files_go() {
    let fixture = Fixture::new();
    let queue = fixture.queue();
    fill(&queue, 0..35);
    fixture.queues.flush().unwrap();
    let trim = |log_start| {
        fixture.queues.raise_min(PhysicalOffset(log_start)).unwrap();
        let removed = fixture.queues.remove_expired(PhysicalOffset(log_start)).unwrap();
        (queue.min_offset().0, removed)
    };
    assert_eq!(trim(0), (0, 0));
    assert_eq!(trim(950), (10, 1), "a message that begins before the start of the log is gone");
    assert_eq!(trim(1900), (19, 0), "its file still holds a living message");
    let mut out = Vec::new();
    let gone = queue.entries(QueueOffset(9), 1, Wait::Allowed, &mut out);
    assert!(matches!(gone, Err(EntriesError::Gone)), "{gone:?}");
    assert_eq!(read(&queue, 19, 2), [entry(19), entry(20)]);

    assert_eq!(trim(9000), (35, 2), "nothing left, but the last file stays and with it the maximum");
    assert_eq!(queue.max_offset(), QueueOffset(35));
    let left = std::fs::read_dir(fixture.root.path().join("consumequeue/orders/3")).unwrap();
    assert_eq!(left.count(), 1);
    push(&queue, 35, entry(100)).unwrap();
    assert_eq!((queue.min_offset().0, queue.max_offset().0), (35, 36));
    assert_eq!(trim(10_000), (35, 0), "the new message is alive");
    assert_eq!(trim(10_050), (36, 0), "and then gone");
}

#[test]
fn entries_that_were_never_written_can_expire() {
    let fixture = Fixture::new();
    let queue = fixture.queue();
    fill(&queue, 0..3);
    fixture.queues.raise_min(PhysicalOffset(150)).unwrap();
    assert_eq!(queue.min_offset(), QueueOffset(2));
    assert_eq!(fixture.queues.remove_expired(PhysicalOffset(150)).unwrap(), 0);
}

#[test]
fn a_deleted_topic_is_gone_and_its_name_starts_anew() {
    let fixture = Fixture::new();
    let queue = fixture.queue();
    fill(&queue, 0..15);
    fixture.queues.flush().unwrap();
    fill(&queue, 15..16);
    let told = Arc::new(Told::default());
    let watch = queue.watch(QueueOffset(16), TagFilter::All, Arc::clone(&told) as _, 7);

    let deleted = fixture.queues.delete_topic("orders", || {
        assert!(!queue.takes_records(), "records are refused before the position is taken");
        assert!(!fixture.queues.get("orders", QueueId(9)).takes_records(), "the name is not free yet");
        PhysicalOffset(1600)
    });
    assert!(deleted.unwrap());
    assert_eq!(told.take(), [7], "who waits for a deleted queue is told");
    drop(watch);
    assert!(!fixture.root.path().join("consumequeue/orders").exists());
    assert_eq!(push(&queue, 16, entry(16)), Ok(Pushed::Deleted));
    assert!(matches!(
        queue.entries(QueueOffset(0), 1, Wait::Allowed, &mut Vec::new()),
        Err(EntriesError::Gone)
    ));

    let anew = fixture.queue();
    fill(&anew, 0..1);
    fixture.queues.flush().unwrap();
    fixture.queues.sync().unwrap();
    assert_eq!(read(&anew, 0, 5), [entry(0)]);
    assert!(!fixture.queues.delete_topic("none", || unreachable!()).unwrap());
}

#[test]
fn deletions_survive_a_crash_and_are_forgotten_with_their_records() {
    let fixture = Fixture::new();
    let again = || {
        let queues = Queues::new(&config(fixture.root.path()), Arc::new(RealDisk::default()));
        queues.load_exclusions().unwrap();
        queues
    };
    for (topic, position) in [("a", 100), ("b", 200), ("a", 300)] {
        let _ = fixture.queues.get(topic, QueueId(0));
        assert!(fixture.queues.delete_topic(topic, || PhysicalOffset(position)).unwrap());
    }
    let file = fixture.root.path().join("ferromq/deleted-topics");
    let mut torn = std::fs::read(&file).unwrap();
    torn.extend_from_slice(b"400 c");
    std::fs::write(&file, torn).unwrap();

    let queues = again();
    assert!(queues.is_dead("a", PhysicalOffset(299)) && !queues.is_dead("a", PhysicalOffset(300)));
    assert!(queues.is_dead("b", PhysicalOffset(199)) && !queues.is_dead("c", PhysicalOffset(0)));
    let _ = queues.get("d", QueueId(0));
    assert!(queues.delete_topic("d", || PhysicalOffset(500)).unwrap(), "written over the torn line");
    assert!(again().is_dead("d", PhysicalOffset(499)));

    queues.remove_expired(PhysicalOffset(300)).unwrap();
    let queues = again();
    assert!(!queues.is_dead("a", PhysicalOffset(0)) && queues.is_dead("d", PhysicalOffset(0)));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "500 d\n");
}
