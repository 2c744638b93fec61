//! What a change is worth before, while and after its file is written.

use std::path::PathBuf;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

use ferromq_protocol::body::TopicConfigTable;
use ferromq_protocol::json::{self, Form};
use ferromq_store::clock::SystemClock;

use super::*;
use crate::groups;

/// A disk whose writes wait until the test lets them happen, or fail.
struct Gate {
    started: mpsc::Receiver<(File, String)>,
    verdicts: mpsc::Sender<bool>,
}

impl Gate {
    /// The next write that has begun.
    fn write(&self) -> (File, String) {
        self.started.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    fn let_it_happen(&self) -> (File, String) {
        let write = self.write();
        self.verdicts.send(true).unwrap();
        write
    }

    fn let_it_fail(&self) {
        self.write();
        self.verdicts.send(false).unwrap();
    }
}

fn gated() -> (Arc<Metadata>, Gate, JoinHandle<()>) {
    let (starts, started) = mpsc::channel();
    let (verdicts, verdict) = mpsc::channel();
    let gate = Mutex::new((starts, verdict));
    let write: WriteFile = Box::new(move |file, text| {
        let gate = gate.lock();
        gate.0.send((file, String::from_utf8(text.to_vec()).unwrap())).unwrap();
        if gate.1.recv().unwrap() {
            return Ok(());
        }
        Err(StateFileError::Io {
            action: "write",
            path: PathBuf::from(file.name()),
            source: io::ErrorKind::StorageFull.into(),
        })
    });
    let metadata = Arc::new(Metadata::new(files::Loaded::default(), Arc::new(SystemClock::default()), write));
    let thread = metadata.start().unwrap();
    (metadata, Gate { started, verdicts }, thread)
}

fn immediate() -> (Arc<Metadata>, JoinHandle<()>) {
    let write: WriteFile = Box::new(|_, _| Ok(()));
    let metadata = Arc::new(Metadata::new(files::Loaded::default(), Arc::new(SystemClock::default()), write));
    let thread = metadata.start().unwrap();
    (metadata, thread)
}

type Saved = std::pin::Pin<Box<dyn Future<Output = Result<(), PersistError>> + Send>>;

fn put(metadata: &Metadata, name: &str) -> Saved {
    let mut edit = metadata.edit();
    edit.push(Change::PutTopic(Arc::new(Topic::new(name, 4))));
    Box::pin(edit.commit())
}

fn is_done(saved: &mut Saved) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    matches!(saved.as_mut().poll(&mut cx), Poll::Ready(_))
}

/// Waits as a task would.
fn wait(saved: Saved) -> Result<(), PersistError> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(saved)
}

fn stop(metadata: &Metadata, thread: JoinHandle<()>) {
    metadata.stop();
    thread.join().unwrap();
}

#[test]
fn nothing_shows_before_its_file_is_written() {
    let (metadata, gate, thread) = gated();
    let mut saved = put(&metadata, "T");
    let (file, text) = gate.write();
    assert_eq!(file, File::Topics);
    assert!(text.contains("\"T\""), "{text}");
    assert!(!is_done(&mut saved));
    assert!(metadata.topics.find("T").is_none(), "not on the disk yet");
    assert!(metadata.edit().topic("T").is_some(), "but whoever edits knows of it");

    gate.verdicts.send(true).unwrap();
    wait(saved).unwrap();
    assert_eq!(metadata.topics.find("T").unwrap().write_queues, 4);
    stop(&metadata, thread);
}

#[test]
fn changes_that_come_during_a_write_share_the_next() {
    let (metadata, gate, thread) = gated();
    let first = put(&metadata, "first");
    gate.write();
    let others: Vec<Saved> = (0..1_000).map(|n| put(&metadata, &format!("T{n}"))).collect();
    gate.verdicts.send(true).unwrap();
    wait(first).unwrap();
    assert_eq!(metadata.topics.len(), 1);

    let (_, text) = gate.let_it_happen();
    for saved in others {
        wait(saved).unwrap();
    }
    assert_eq!(metadata.topics.len(), 1_001);
    assert!(text.contains("\"T0\"") && text.contains("\"T999\"") && text.contains("\"first\""));
    assert_eq!(metadata.versions().topics.counter, 1_001, "every change counts");
    stop(&metadata, thread);
}

#[test]
fn a_failed_write_leaves_everything_as_it_was() {
    let (metadata, gate, thread) = gated();
    let good = put(&metadata, "good");
    gate.let_it_happen();
    wait(good).unwrap();
    let before = metadata.versions();

    let bad = put(&metadata, "bad");
    gate.write();
    // Builds on what is about to fail, so it fails too.
    let dependent = {
        let mut edit = metadata.edit();
        let topic = edit.topic("bad").unwrap();
        edit.push(Change::PutTopic(Arc::new(Topic { order: true, ..(*topic).clone() })));
        Box::pin(edit.commit()) as Saved
    };
    gate.verdicts.send(false).unwrap();
    for saved in [bad, dependent] {
        let error = wait(saved).unwrap_err().to_string();
        assert!(error.contains("topics.json"), "{error}");
    }
    assert!(metadata.topics.find("bad").is_none() && metadata.edit().topic("bad").is_none());
    assert_eq!(metadata.versions().topics, before.topics);

    let again = put(&metadata, "bad");
    gate.let_it_happen();
    wait(again).unwrap();
    assert!(metadata.topics.find("bad").is_some(), "a later attempt is not harmed");
    stop(&metadata, thread);
}

#[test]
fn what_is_kept_between_writes_is_what_is_in_force() {
    let (metadata, gate, thread) = gated();
    let topics_of = |text: &str| {
        let file: TopicConfigTable = json::from_slice(text.as_bytes()).unwrap();
        let mut whole = Vec::new();
        json::write(&mut whole, &file, Form::File);
        assert_eq!(text.as_bytes(), whole, "kept text and new text look the same");
        let topics = file.topic_config_table.into_iter();
        topics.map(|(name, topic)| format!("{name} {}", topic.write_queue_nums)).collect::<Vec<_>>()
    };
    let written = |change| {
        let mut edit = metadata.edit();
        edit.push(change);
        let saved = edit.commit();
        let (_, text) = gate.let_it_happen();
        wait(Box::pin(saved)).unwrap();
        topics_of(&text)
    };
    let topic = |name: &str, queues| Change::PutTopic(Arc::new(Topic::new(name, queues)));

    assert_eq!(written(topic("A", 4)), ["A 4"]);
    assert_eq!(written(topic("B", 4)), ["A 4", "B 4"]);
    let failed = put(&metadata, "C");
    gate.let_it_fail();
    wait(failed).unwrap_err();
    assert_eq!(written(topic("A", 8)), ["A 8", "B 4"], "a write that failed leaves nothing behind");
    let mut edit = metadata.edit();
    edit.push(Change::DeleteTopic("A".into()));
    let deleted = edit.commit();
    assert_eq!(gate.let_it_happen().0, File::Offsets);
    let (_, text) = gate.let_it_happen();
    wait(Box::pin(deleted)).unwrap();
    assert_eq!(topics_of(&text), ["B 4"]);
    stop(&metadata, thread);
}

#[test]
fn a_write_waits_for_those_who_come_back_but_not_long() {
    let (ms, at_once) = (Duration::from_millis, Duration::ZERO);
    assert!(!Pace::default().expects_more(1, at_once), "nobody is known to come");
    let pace = Pace { waiters: 8, took: ms(10) };
    assert!(pace.expects_more(7, ms(4)));
    assert!(!pace.expects_more(8, at_once), "all are there");
    assert!(!pace.expects_more(7, ms(5)), "half of a write is enough");
    let slow = Pace { waiters: 8, took: ms(10_000) };
    assert!(!slow.expects_more(7, COMPANY_WAIT_MAX));
}

#[test]
fn a_deleted_topic_takes_its_offsets_with_it_and_they_go_first() {
    let (metadata, gate, thread) = gated();
    let saved = put(&metadata, "T");
    gate.let_it_happen();
    wait(saved).unwrap();
    metadata.commit_offset("g", "T", 0, 7).unwrap();
    metadata.commit_offset("g", "U", 0, 8).unwrap();

    let deleted = {
        let mut edit = metadata.edit();
        edit.push(Change::DeleteTopic("T".into()));
        Box::pin(edit.commit()) as Saved
    };
    let (file, text) = gate.let_it_happen();
    assert_eq!(file, File::Offsets);
    assert!(!text.contains("T@g") && text.contains("U@g"), "{text}");
    let (file, text) = gate.let_it_happen();
    assert_eq!(file, File::Topics);
    assert!(!text.contains("\"T\""), "{text}");
    wait(deleted).unwrap();
    assert!(metadata.topics.find("T").is_none());
    assert_eq!(metadata.offsets.committed("g", "T", 0), None);
    assert_eq!(metadata.offsets.committed("g", "U", 0), Some(8));

    // What was forgotten makes the file of offsets look behind; the stop brings it up to date.
    metadata.stop();
    gate.let_it_happen();
    thread.join().unwrap();
}

#[test]
fn offsets_are_written_when_asked_for_and_at_the_stop_and_not_otherwise() {
    let (metadata, gate, thread) = gated();
    metadata.flush_offsets();
    metadata.commit_offset("g", "T", 0, 7).unwrap();
    let saved = put(&metadata, "T");
    assert_eq!(gate.let_it_happen().0, File::Topics, "a topic does not drag the offsets along");
    wait(saved).unwrap();

    metadata.flush_offsets();
    let (file, text) = gate.let_it_happen();
    assert_eq!(file, File::Offsets);
    assert!(text.contains("{0:7}") || text.contains("0:7"), "{text}");

    metadata.commit_offset("g", "T", 0, 9).unwrap();
    metadata.stop();
    let (file, text) = gate.let_it_happen();
    assert_eq!(file, File::Offsets);
    assert!(text.contains("0:9"), "{text}");
    thread.join().unwrap();
}

#[test]
fn the_version_of_offsets_counts_every_five_hundred_commits() {
    let (metadata, gate, thread) = gated();
    for commits in [499, 1, 500] {
        for offset in 0..commits {
            metadata.commit_offset("g", "T", 0, offset).unwrap();
        }
        metadata.flush_offsets();
        gate.let_it_happen();
    }
    stop(&metadata, thread);
    assert_eq!(metadata.versions().offsets.counter, 2);
}

#[test]
fn a_failed_write_of_offsets_is_tried_again() {
    let (metadata, gate, thread) = gated();
    metadata.commit_offset("g", "T", 0, 7).unwrap();
    metadata.flush_offsets();
    gate.let_it_fail();
    metadata.stop();
    assert_eq!(gate.let_it_happen().0, File::Offsets);
    thread.join().unwrap();
}

#[test]
fn after_the_stop_no_change_is_accepted() {
    let (metadata, thread) = immediate();
    stop(&metadata, thread);
    assert!(matches!(wait(put(&metadata, "T")), Err(PersistError::Stopping)));
    wait(Box::pin(metadata.edit().commit())).unwrap();
}

#[test]
fn an_edit_sees_staged_deletions_and_groups() {
    let (metadata, gate, thread) = gated();
    let mut edit = metadata.edit();
    edit.push(Change::PutGroup(Arc::new(groups::with_defaults("g"))));
    let created = Box::pin(edit.commit()) as Saved;
    gate.write();
    let mut edit = metadata.edit();
    assert!(edit.group("g").is_some());
    edit.push(Change::DeleteGroup { group: "g".into(), with_offsets: false });
    assert!(edit.group("g").is_none());
    let deleted = Box::pin(edit.commit()) as Saved;
    gate.verdicts.send(true).unwrap();
    wait(created).unwrap();
    assert!(metadata.groups.find("g").is_some());
    gate.let_it_happen();
    wait(deleted).unwrap();
    assert!(metadata.groups.find("g").is_none());
    stop(&metadata, thread);
}
