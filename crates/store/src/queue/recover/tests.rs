//! Recovery of queues over damaged files, with a list of records in place of the log.

use super::super::tests::{Fixture, config, entry, fill, push, read};
use super::*;
use crate::disk::RealDisk;

/// The records of queue `orders`-3: offset `i` lies at `100 * i`, see [`entry`].
fn orders(entry: &Entry, topic: &str, queue: QueueId, offset: QueueOffset) -> Claim {
    if topic != "orders" || queue != QueueId(3) {
        return Claim::Denied;
    }
    match entry.physical.0 - offset.0 * 100 {
        0 => Claim::Confirmed,
        // Stands for the record of another offset.
        7 => Claim::OtherOffset,
        _ => Claim::Denied,
    }
}

struct Restart {
    fixture: Fixture,
    keep_below: i64,
}

impl Restart {
    /// A queue with this many entries on disk, and the process gone.
    fn after(entries: i64) -> Self {
        let fixture = Fixture::new();
        fill(&fixture.queue(), 0..entries);
        fixture.queues.flush().unwrap();
        Self { fixture, keep_below: i64::MAX }
    }

    fn keep_below(mut self, position: i64) -> Self {
        self.keep_below = position;
        self
    }

    fn path(&self, start: u64) -> PathBuf {
        self.fixture.root.path().join(format!("consumequeue/orders/3/{start:020}"))
    }

    fn edit(&self, start: u64, change: impl FnOnce(&mut [u8])) {
        let mut bytes = std::fs::read(self.path(start)).unwrap();
        change(&mut bytes);
        std::fs::write(self.path(start), bytes).unwrap();
    }

    fn load(&self) -> Result<(Queues, Loaded), EntriesError> {
        let queues = Queues::new(&config(self.fixture.root.path()), Arc::new(RealDisk::default()));
        queues.load_exclusions()?;
        let load = Load {
            keep_below: PhysicalOffset(self.keep_below),
            claims: &orders,
            threads: 1,
            progress: &|_, _| (),
        };
        let loaded = queues.load(&load)?;
        Ok((queues, loaded))
    }
}

fn bounds(queues: &Queues) -> (i64, i64, i64) {
    let queue = queues.get("orders", QueueId(3));
    assert_eq!(queue.next_offset(), queue.max_offset());
    (queue.min_offset().0, queue.max_offset().0, queue.end_physical().0)
}

fn replay(queues: &Queues, offset: i64, entry: Entry, replayed: &mut Replayed) {
    queues.replay("orders", QueueId(3), QueueOffset(offset), entry, replayed).unwrap();
}

fn kinds(findings: &[QueueFinding]) -> Vec<QueueFault> {
    findings.iter().map(|finding| finding.kind.clone()).collect()
}

#[test]
fn after_a_clean_stop_everything_is_there() {
    let restart = Restart::after(25);
    let (queues, loaded) = restart.load().unwrap();
    assert_eq!(loaded, Loaded { queues: 1, end_physical: PhysicalOffset(2500), ..Loaded::default() });
    assert_eq!(bounds(&queues), (0, 25, 2500));
    let queue = queues.get("orders", QueueId(3));
    assert_eq!(read(&queue, 0, 99), (0..25).map(entry).collect::<Vec<_>>());
    fill(&queue, 25..31);
    queues.flush().unwrap();
    assert_eq!(read(&queue, 23, 99), (23..31).map(entry).collect::<Vec<_>>());
}

#[test]
fn entries_behind_the_known_position_come_back_from_the_log_only() {
    let restart = Restart::after(25).keep_below(1750);
    let before: Vec<_> = [0, 200, 400].map(|start| std::fs::read(restart.path(start)).unwrap()).into();
    for interrupted in [true, false] {
        let (queues, loaded) = restart.load().unwrap();
        assert_eq!(bounds(&queues), (0, 18, 1800));
        assert_eq!(loaded.end_physical, PhysicalOffset(1800));
        if interrupted {
            continue;
        }
        // The log lost the last two records.
        let mut replayed = Replayed::default();
        for i in 17..23 {
            replay(&queues, i, entry(i), &mut replayed);
        }
        assert_eq!(replayed.entries, 5, "one was there");
        assert!(replayed.findings.is_empty() && replayed.gaps.is_empty());
        queues.finish_recovery().unwrap();
        queues.flush().unwrap();
        assert_eq!(bounds(&queues), (0, 23, 2300));
    }
    let after: Vec<_> = [0, 200, 400].map(|start| std::fs::read(restart.path(start)).unwrap()).into();
    assert_eq!(after[..2], before[..2]);
    assert_eq!(after[2][..60], before[2][..60]);
    assert_eq!(after[2][60..], [0; 140], "what was cut cannot come back");
}

#[test]
fn a_file_behind_the_end_goes() {
    let restart = Restart::after(25).keep_below(1000);
    let (queues, _) = restart.load().unwrap();
    queues.finish_recovery().unwrap();
    assert_eq!(bounds(&queues), (0, 10, 1000));
    assert!(restart.path(0).exists() && !restart.path(200).exists() && !restart.path(400).exists());
}

#[test]
fn a_lost_page_ends_the_queue_and_what_follows_it_is_erased() {
    let restart = Restart::after(9);
    restart.edit(0, |bytes| bytes[80..120].fill(0));
    let (queues, loaded) = restart.load().unwrap();
    assert_eq!(bounds(&queues), (0, 4, 400));
    assert_eq!(loaded.end_physical, PhysicalOffset(400), "so the replay brings the rest");
    queues.finish_recovery().unwrap();
    assert_eq!(std::fs::read(restart.path(0)).unwrap()[80..], [0; 120]);
}

#[test]
fn an_entry_without_its_record_is_cut_and_the_replay_starts_earlier() {
    let restart = Restart::after(13).keep_below(5000);
    for (start, index) in [(200, 2), (200, 1), (200, 0), (0, 9)] {
        let elsewhere = Entry { physical: PhysicalOffset(4000 + index), size: 50, tag_code: 0 };
        restart.edit(start, |bytes| {
            bytes[usize::try_from(index).unwrap() * 20..][..20].copy_from_slice(&elsewhere.encode());
        });
    }
    let (queues, loaded) = restart.load().unwrap();
    assert_eq!(bounds(&queues), (0, 9, 900));
    assert_eq!(loaded.replay_from, Some(PhysicalOffset(900)));
    assert_eq!(kinds(&loaded.findings), [QueueFault::WrongRecord { physical: PhysicalOffset(4009) }]);
    assert_eq!((loaded.findings[0].offset.0, &loaded.findings[0].path), (9, &restart.path(0)));
    queues.finish_recovery().unwrap();
    assert_eq!(std::fs::read(restart.path(0)).unwrap()[180..], [0; 20]);
}

#[test]
fn a_queue_that_was_shifted_long_ago_is_left_for_repair() {
    let restart = Restart::after(0);
    let queue = restart.fixture.queues.get("orders", QueueId(3));
    for i in 0..2_000 {
        let shifted = Entry { physical: PhysicalOffset(i * 100 + 7), ..entry(i) };
        push(&queue, i, shifted).unwrap();
    }
    restart.fixture.queues.flush().unwrap();
    let (queues, loaded) = restart.load().unwrap();
    assert_eq!(bounds(&queues), (0, 2_000, 200_007));
    assert_eq!(kinds(&loaded.findings), [QueueFault::Shifted]);
}

#[test]
fn what_a_truncation_left_behind_does_not_extend_the_queue() {
    let restart = Restart::after(9);
    // Entry 5 is stale: older than entry 4 and none of ours.
    let stale = Entry { physical: PhysicalOffset(250), size: 10, tag_code: 0 };
    restart.edit(0, |bytes| bytes[100..120].copy_from_slice(&stale.encode()));
    let (queues, _) = restart.load().unwrap();
    assert_eq!(bounds(&queues), (0, 5, 500));
}

#[test]
fn lost_blanks_before_the_first_message_are_put_back() {
    let restart = Restart::after(0);
    let queue = restart.fixture.queues.get("orders", QueueId(3));
    push(&queue, 27, entry(27)).unwrap();
    push(&queue, 28, entry(28)).unwrap();
    restart.fixture.queues.flush().unwrap();
    let whole = std::fs::read(restart.path(400)).unwrap();
    let (queues, loaded) = restart.load().unwrap();
    assert_eq!((bounds(&queues), loaded.findings.len()), ((27, 29, 2900), 0), "blanks are no messages");

    restart.edit(400, |bytes| bytes[..140].fill(0));
    let (queues, loaded) = restart.load().unwrap();
    assert_eq!(bounds(&queues), (27, 29, 2900));
    assert_eq!(kinds(&loaded.findings), [QueueFault::BlanksMissing(7)]);
    assert_eq!(std::fs::read(restart.path(400)).unwrap(), whole);
}

#[test]
fn a_first_file_of_zeros_holds_nothing_and_blanks_are_written_when_its_message_comes_back() {
    let restart = Restart::after(0).keep_below(2000);
    let queue = restart.fixture.queues.get("orders", QueueId(3));
    push(&queue, 27, entry(27)).unwrap();
    restart.fixture.queues.flush().unwrap();
    let whole = std::fs::read(restart.path(400)).unwrap();
    restart.edit(400, |bytes| bytes.fill(0));
    let (queues, _) = restart.load().unwrap();
    let mut replayed = Replayed::default();
    replay(&queues, 27, entry(27), &mut replayed);
    queues.finish_recovery().unwrap();
    queues.flush().unwrap();
    assert_eq!(std::fs::read(restart.path(400)).unwrap(), whole);
    queues.raise_min(PhysicalOffset(0)).unwrap();
    assert_eq!(bounds(&queues), (27, 28, 2800));
}

#[test]
fn a_queue_that_comes_back_elsewhere_leaves_no_file_behind() {
    let restart = Restart::after(5).keep_below(0);
    let (queues, _) = restart.load().unwrap();
    let mut replayed = Replayed::default();
    replay(&queues, 27, entry(27), &mut replayed);
    queues.finish_recovery().unwrap();
    queues.flush().unwrap();
    assert!(!restart.path(0).exists() && restart.path(400).exists());
    let (queues, loaded) = restart.keep_below(5000).load().unwrap();
    assert_eq!((bounds(&queues), loaded.findings.len()), ((27, 28, 2800), 0));
}

#[test]
fn blanks_whose_message_is_not_on_the_disk_do_not_speak_for_the_file_before_them() {
    let restart = Restart::after(25).keep_below(1000);
    // A gap was filled up to entry 23, but a power cut lost its first file.
    restart.edit(200, |bytes| bytes.fill(0));
    restart.edit(400, |bytes| {
        for blank in bytes[..3 * ENTRY_SIZE].chunks_exact_mut(ENTRY_SIZE) {
            blank.copy_from_slice(&Entry::BLANK.encode());
        }
    });
    let (queues, _) = restart.load().unwrap();
    assert_eq!(bounds(&queues), (0, 10, 1000));

    let mut restart = restart;
    restart.keep_below = 2350;
    restart.edit(200, |bytes| {
        for blank in bytes.chunks_exact_mut(ENTRY_SIZE) {
            blank.copy_from_slice(&Entry::BLANK.encode());
        }
    });
    let (queues, _) = restart.load().unwrap();
    assert_eq!(bounds(&queues), (0, 24, 2400), "whole files of blanks, and then their message");
}

#[test]
fn a_last_blank_does_not_hide_the_messages_below_two_gigabytes() {
    let restart = Restart::after(3);
    restart.edit(0, |bytes| bytes[60..80].copy_from_slice(&Entry::BLANK.encode()));
    let (queues, loaded) = restart.load().unwrap();
    assert_eq!(bounds(&queues), (0, 4, 300));
    assert_eq!(loaded.end_physical, PhysicalOffset(300));
    assert_eq!(push(&queues.get("orders", QueueId(3)), 4, entry(4)), Ok(Pushed::Appended));
}

#[test]
fn missing_entries_are_blank_until_the_log_is_searched_for_them() {
    let restart = Restart::after(5).keep_below(5000);
    let (queues, _) = restart.load().unwrap();
    let mut replayed = Replayed::default();
    replay(&queues, 7, entry(7), &mut replayed);
    assert_eq!(kinds(&replayed.findings), [QueueFault::Gap(2)]);
    let gap = Gap {
        topic: "orders".into(),
        queue: QueueId(3),
        from: QueueOffset(5),
        to: QueueOffset(7),
        after: PhysicalOffset(500),
    };
    assert_eq!(replayed.gaps, [gap]);

    let put = |i| queues.fill_gap("orders", QueueId(3), QueueOffset(i), entry(i)).unwrap();
    assert!(put(5));
    assert!(!put(5), "once");
    assert!(!put(4) && !put(9), "only into the gap");
    let queue = queues.get("orders", QueueId(3));
    assert_eq!(read(&queue, 4, 9), [entry(4), entry(5), Entry::BLANK, entry(7)]);
}

#[test]
fn a_record_with_offset_zero_begins_the_queue_anew() {
    let restart = Restart::after(25).keep_below(5000);
    let (queues, _) = restart.load().unwrap();
    let mut replayed = Replayed::default();
    let anew = |i| Entry { physical: PhysicalOffset(6000 + i * 100), ..entry(i) };
    for i in 0..2 {
        replay(&queues, i, anew(i), &mut replayed);
    }
    assert_eq!(kinds(&replayed.findings), [QueueFault::Restarted { physical: PhysicalOffset(6000) }]);
    queues.finish_recovery().unwrap();
    queues.flush().unwrap();
    assert_eq!(bounds(&queues), (0, 2, 6200));
    assert_eq!(read(&queues.get("orders", QueueId(3)), 0, 9), [anew(0), anew(1)]);
    assert!(!restart.path(200).exists());
}

#[test]
fn an_offset_in_use_is_reported_and_changes_nothing() {
    let restart = Restart::after(5);
    let (queues, _) = restart.load().unwrap();
    let mut replayed = Replayed::default();
    replay(&queues, 3, entry(60), &mut replayed);
    replay(&queues, 1 << 40, entry(61), &mut replayed);
    let expected = [
        QueueFault::Taken { physical: PhysicalOffset(6000) },
        QueueFault::FarAhead { physical: PhysicalOffset(6100) },
    ];
    assert_eq!(kinds(&replayed.findings), expected);
    assert_eq!(bounds(&queues), (0, 5, 500));
}

#[test]
fn a_deletion_that_was_interrupted_is_finished() {
    let restart = Restart::after(25);
    let whole = std::fs::read(restart.path(0)).unwrap();
    let second = std::fs::read(restart.path(200)).unwrap();
    assert!(restart.fixture.queues.delete_topic("orders", || PhysicalOffset(2500)).unwrap());
    // As if the process had died before the first two files went.
    std::fs::create_dir_all(restart.path(0).parent().unwrap()).unwrap();
    std::fs::write(restart.path(0), whole).unwrap();
    std::fs::write(restart.path(200), second).unwrap();

    let (queues, loaded) = restart.load().unwrap();
    assert_eq!((loaded.queues, kinds(&loaded.findings)), (0, vec![QueueFault::Deleted]));
    assert!(!restart.path(0).exists() && queues.find("orders", QueueId(3)).is_none());

    let mut replayed = Replayed::default();
    replay(&queues, 24, entry(24), &mut replayed);
    assert_eq!(replayed.entries, 0, "its records stay dead");
    replay(&queues, 0, entry(25), &mut replayed);
    assert_eq!(bounds(&queues), (0, 1, 2600), "those of the topic that came after it do not");
}

#[test]
fn a_newest_file_without_bytes_is_removed() {
    let restart = Restart::after(10);
    std::fs::write(restart.path(200), []).unwrap();
    let (queues, loaded) = restart.load().unwrap();
    assert_eq!(bounds(&queues), (0, 10, 1000));
    assert_eq!(kinds(&loaded.findings), [QueueFault::EmptyFile]);
    assert!(!restart.path(200).exists());
}

#[test]
fn files_that_do_not_belong_there_stop_the_start() {
    let restart = Restart::after(35);
    std::fs::write(restart.path(0).with_file_name("notes.txt"), "x").unwrap();
    let foreign = restart.load().err().unwrap();
    assert!(matches!(foreign, EntriesError::Disk(QueueError::Foreign { .. })), "{foreign}");
    std::fs::remove_file(restart.path(0).with_file_name("notes.txt")).unwrap();

    std::fs::remove_file(restart.path(200)).unwrap();
    let missing = restart.load().err().unwrap();
    assert!(
        matches!(&missing, EntriesError::Disk(QueueError::Missing { path }) if *path == restart.path(200)),
        "{missing}"
    );

    std::fs::write(restart.path(200), [1; 260]).unwrap();
    let length = restart.load().err().unwrap();
    assert!(matches!(length, EntriesError::Disk(QueueError::Length { found: 260, .. })), "{length}");
}

#[test]
fn a_cut_of_the_log_cuts_the_queues() {
    let restart = Restart::after(25);
    let queue = restart.fixture.queues.get("orders", QueueId(3));
    fill(&queue, 25..28);
    let queues = &restart.fixture.queues;
    let cut = |position| {
        queues.truncate(PhysicalOffset(position)).unwrap();
        queues.flush().unwrap();
        bounds(queues)
    };
    assert_eq!(cut(2700), (0, 27, 2700));
    assert_eq!(cut(2200), (0, 22, 2200));
    assert_eq!(std::fs::read(restart.path(400)).unwrap()[40..], [0; 160]);
    assert_eq!(cut(1000), (0, 10, 1000));
    assert!(!restart.path(200).exists());
    fill(&queue, 10..12);
    queues.flush().unwrap();
    assert_eq!(read(&queue, 8, 9), (8..12).map(entry).collect::<Vec<_>>());
    assert_eq!(cut(0), (0, 0, 0));
    assert!(!restart.path(0).exists());
    fill(&queue, 0..1);
    queues.flush().unwrap();
    assert_eq!(read(&queue, 0, 9), [entry(0)]);
}

#[test]
fn queues_that_list_messages_of_other_topics_stay_as_they_are() {
    let restart = Restart::after(5).keep_below(200);
    let lmq = restart.fixture.queues.get("%LMQ%home", QueueId(0));
    fill(&lmq, 0..4);
    restart.fixture.queues.flush().unwrap();
    let (queues, loaded) = restart.load().unwrap();
    assert_eq!(bounds(&queues).1, 2);
    assert_eq!(queues.get("%LMQ%home", QueueId(0)).max_offset(), QueueOffset(4));
    assert!(loaded.findings.is_empty());
}

#[test]
fn topics_with_batch_queues_are_passed_over() {
    let restart = Restart::after(0);
    std::fs::create_dir_all(restart.fixture.root.path().join("batchconsumequeue/orders/3")).unwrap();
    let (queues, _) = restart.load().unwrap();
    let mut replayed = Replayed::default();
    replay(&queues, 0, entry(0), &mut replayed);
    assert!(replayed.entries == 0 && queues.find("orders", QueueId(3)).is_none());
    assert!(queues.is_batch_topic("orders") && !queues.is_batch_topic("other"));
}

#[test]
fn many_threads_load_what_one_loads() {
    let restart = Restart::after(12);
    for topic in 0..300 {
        for id in 0..2 {
            let queue = restart.fixture.queues.get(&format!("t{topic}"), QueueId(id));
            fill(&queue, 0..i64::from(topic % 7));
        }
    }
    restart.fixture.queues.flush().unwrap();
    let queues = Queues::new(&config(restart.fixture.root.path()), Arc::new(RealDisk::default()));
    let load = Load {
        keep_below: PhysicalOffset(i64::MAX),
        claims: &|_, _, _, _| Claim::Removed,
        threads: 4,
        progress: &|_, _| (),
    };
    let loaded = queues.load(&load).unwrap();
    for queue in queues.all() {
        let expected =
            if queue.topic() == "orders" { 12 } else { queue.topic()[1..].parse::<i64>().unwrap() % 7 };
        assert_eq!(queue.max_offset().0, expected, "{queue:?}");
    }
    assert_eq!(loaded.queues, 1 + 2 * (0..300).filter(|topic| topic % 7 > 0).count() as u64);
}
