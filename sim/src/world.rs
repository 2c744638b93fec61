//! A store, its senders and consumers, and everything that befalls them, from a seed.
//!
//! No thread exists: the loops of the store are steps, taken in any order, and between any two disk calls of one step
//! another may happen, as another thread would do it. A life of the store ends with a stop, with its death at any disk
//! call, or with a power cut; then the next life has to begin, and the model compares.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ferromq_protocol::record;
use ferromq_protocol::types::{Host, PhysicalOffset, QueueId, QueueOffset, TimestampMs};
use ferromq_store::checkpoint::StoreCheckpoint;
use ferromq_store::layout::{Layout, parse_offset_name};
use ferromq_store::query::{KeyKind, KeyQuery};
use ferromq_store::queue::{Entry, TagFilter, Wait};
use ferromq_store::{
    Environment, FlushMode, Loop, Plan, Port, ReadLimits, ReadRequest, ReadStatus, RecordError, RecordParts,
    Store, StoreConfig, Stored,
};
use parking_lot::Mutex;

use crate::clock::SimClock;
use crate::disk::{Crash, Fault, FaultyCall, NextCall, Sabotage, SimDisk};
use crate::model::{Found, Model, QueueKey};
use crate::random::Random;

const HOST: Host = Host { ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), port: 10911 };
const ROOT: &str = "/store";
const PORTS: usize = 3;
const TOPICS: [&str; 3] = ["TopicA", "TopicB", "a-topic-with-a-rather-long-name-0123456789"];
const QUEUES: u64 = 2;
/// Marks a sender that does not wait for the disk, in the tag of a record.
const UNWAITING: u64 = 1 << 63;

/// A broken promise.
#[derive(Clone, Debug)]
pub struct Failure {
    /// How to see it again.
    pub seed: u64,
    /// What was broken.
    pub what: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "seed {}: {}", self.seed, self.what)
    }
}

/// What a run amounted to. The same seed gives the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lives of the store.
    pub lives: u64,
    /// Records sent.
    pub sent: u64,
    /// Records found by the last start.
    pub kept: u64,
    /// Disk calls.
    pub calls: u64,
    /// A number that depends on every place that was given to a record.
    pub digest: u64,
}

/// See the head of this file.
pub struct World {
    random: Mutex<Random>,
    clock: Arc<SimClock>,
    disk: SimDisk,
    config: StoreConfig,
    store: Mutex<Option<Arc<Store>>>,
    ports: Mutex<Vec<Arc<Port>>>,
    model: Mutex<Model>,
    broken: Mutex<Option<String>>,
    within_interlude: AtomicBool,
    changes_queue_files: AtomicBool,
    reads: AtomicBool,
    traced: bool,
    summary: Mutex<Summary>,
}

type Checked = Result<(), String>;

impl World {
    /// Runs a seed to its end, telling what happens if `traced`.
    ///
    /// # Errors
    /// The first broken promise.
    pub fn run(seed: u64, sabotage: Sabotage, traced: bool) -> Result<Summary, Failure> {
        let world = Arc::new(Self::new(seed, sabotage, traced));
        let weak: Weak<Self> = Arc::downgrade(&world);
        world.disk.set_interlude(Some(Arc::new(move |path: &Path, next| {
            if let Some(world) = weak.upgrade() {
                world.interlude(path, next);
            }
        })));
        let lived = world.live();
        world.disk.set_interlude(None);
        world.drop_store();
        lived.map_err(|what| Failure { seed, what })?;
        let mut summary = *world.summary.lock();
        summary.calls = world.disk.calls();
        Ok(summary)
    }

    fn new(seed: u64, sabotage: Sabotage, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let clock = Arc::new(SimClock::default());
        let disk = SimDisk::new(random.fork(), Arc::clone(&clock), sabotage);
        let config = StoreConfig {
            segment_size: [8 << 10, 12 << 10, 32 << 10][random.index(3)],
            queue_file_size: [160, 400][random.index(2)],
            flush_mode: [FlushMode::Async, FlushMode::Sync][random.index(2)],
            append_property_crc: random.one_in(4),
            index_slots: 16,
            index_entries: 40,
            ring_bytes: 1,
            pending_bytes_max: 64 << 10,
            recovery_threads: 1,
            open_queue_files_max: 4,
            ..StoreConfig::at(ROOT)
        };
        if config.append_property_crc {
            disk.tear_log_anywhere();
        }
        Self {
            random: Mutex::new(random),
            clock,
            disk,
            config,
            store: Mutex::default(),
            ports: Mutex::default(),
            model: Mutex::default(),
            broken: Mutex::default(),
            within_interlude: AtomicBool::new(false),
            changes_queue_files: AtomicBool::new(false),
            reads: AtomicBool::new(false),
            traced,
            summary: Mutex::default(),
        }
    }

    fn note(&self, line: impl FnOnce() -> String) {
        if self.traced {
            println!("{}", line());
        }
    }

    fn one_in(&self, times: u64) -> bool {
        self.random.lock().one_in(times)
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.lock().below(bound)
    }

    fn layout(&self) -> Layout {
        Layout::new(ROOT, None)
    }

    fn current(&self) -> Option<Arc<Store>> {
        self.store.lock().clone()
    }

    fn drop_store(&self) {
        let ports = std::mem::take(&mut *self.ports.lock());
        let store = self.store.lock().take();
        drop((ports, store));
    }

    /// All lives of the store.
    fn live(&self) -> Checked {
        self.note(|| format!("{:?} segments of {}", self.config.flush_mode, self.config.segment_size));
        let lives = 2 + self.below(4);
        let mut how = None;
        for life in 0..lives {
            self.begin_life(&mut how)?;
            self.summary.lock().lives += 1;
            let last = life + 1 == lives;
            how = self.spend_life(last)?;
        }
        self.begin_life(&mut how)
    }

    /// What the index files hold, for the trace.
    fn describe_index(&self) -> String {
        let shape = ferromq_store::index::Shape {
            slots: self.config.index_slots,
            entries: self.config.index_entries,
        };
        let mut text = String::new();
        for path in self.disk.files(&self.layout().index()) {
            let bytes = self.disk.content(&path).unwrap_or_default();
            let Some(header) = bytes.first_chunk().map(ferromq_store::index::Header::decode) else {
                continue;
            };
            let entries = (1..shape.entries).filter_map(|entry| {
                let at = 40 + 4 * shape.slots as usize + 20 * entry as usize;
                Some(ferromq_store::index::KeyEntry::decode(bytes.get(at..)?.first_chunk()?).physical.0)
            });
            text += &format!("\n  {} {header:?} {:?}", path.display(), entries.collect::<Vec<_>>());
        }
        text
    }

    /// Opens the store, over crashes and failures of the opening itself, and compares.
    fn begin_life(&self, how: &mut Option<Crash>) -> Checked {
        self.check_directories()?;
        let mut attempts = 0;
        let store = loop {
            attempts += 1;
            self.note(|| self.describe_index());
            if attempts < 4 && self.one_in(4) {
                self.disk.die_in(self.below(120));
            }
            if attempts < 4 && self.one_in(12) {
                let (call, kind) = self.pick_fault();
                self.disk.fail(Fault { call, after: self.below(40), times: 1, kind });
            }
            let environment = Environment { disk: Arc::new(self.disk.clone()), clock: self.clock.clone() };
            let opened = Store::open(self.config.clone(), environment).map_err(|error| error.to_string());
            let started = opened.and_then(|store| {
                self.note(|| format!("opened: {:?}", store.recovery()));
                store.follow().map_err(|error| error.to_string())?;
                store.lead();
                Ok(store)
            });
            match started {
                Ok(store) if !self.disk.is_dead() => break store,
                Ok(store) => {
                    self.note(|| "died while starting".to_owned());
                    drop(store);
                }
                Err(error) if self.disk.is_dead() => self.note(|| format!("died while opening: {error}")),
                Err(error) if attempts < 4 => self.note(|| format!("opening failed: {error}")),
                Err(error) => return Err(format!("cannot open the store: {error}")),
            }
            let crash = if self.one_in(2) { Crash::PowerCut } else { Crash::Kill };
            self.note(|| format!("{crash:?}"));
            self.disk.crash(crash);
            // Whatever the last life left unsynced may be lost now.
            if crash == Crash::PowerCut {
                *how = Some(Crash::PowerCut);
            }
        };
        self.disk.heal();
        let store = Arc::new(store);
        self.model.lock().remove_before(u64::try_from(store.min_physical().0).unwrap_or(0));
        let (found, starts) = self.read_everything(&store)?;
        let end = u64::try_from(store.max_physical().0).unwrap_or(0);
        self.note(|| format!("found {} records, the log ends at {end}", found.len()));
        let mut model = self.model.lock();
        model.recovered(&found, &starts, *how, self.config.flush_mode, end)?;
        drop(model);
        let mut summary = self.summary.lock();
        summary.kept = found.len() as u64;
        for record in &found {
            summary.digest = summary.digest.wrapping_mul(31).wrapping_add(record.id)
                ^ record.stored.physical.0.cast_unsigned()
                ^ record.stored.store_timestamp.0.cast_unsigned();
        }
        drop(summary);
        self.check_keys(&store, &found)?;
        *self.ports.lock() = (0..PORTS).map(|_| Arc::new(store.port())).collect();
        *self.store.lock() = Some(store);
        Ok(())
    }

    /// Actions until the end of this life, and the end. Returns how it came.
    fn spend_life(&self, last: bool) -> Result<Option<Crash>, String> {
        let faulty = self.one_in(3);
        if faulty {
            let (call, kind) = self.pick_fault();
            let fault = Fault { call, after: self.below(60), times: 1 + self.below(3), kind };
            self.note(|| format!("{fault:?}"));
            self.disk.fail(fault);
        }
        let cramped = self.one_in(6);
        if cramped {
            self.disk.set_capacity(self.disk.used() + self.below(64 << 10));
            self.note(|| "the disk has little room".to_owned());
        }
        let dies = self.one_in(2);
        if dies {
            self.disk.die_in(self.below(400));
        }
        for _ in 0..10 + self.below(50) {
            if self.disk.is_dead() {
                break;
            }
            self.act()?;
        }
        self.disk.set_capacity(u64::MAX);
        let died = self.disk.is_dead();
        if !died && !last && self.one_in(3) {
            let excused = faulty || cramped;
            return self.stop(excused);
        }
        let crash = if self.one_in(2) { Crash::Kill } else { Crash::PowerCut };
        self.collect()?;
        self.drop_store();
        self.note(|| format!("{crash:?}{}", if died { " in the middle of a call" } else { "" }));
        self.disk.crash(crash);
        if crash == Crash::PowerCut {
            self.check_checkpoint()?;
        }
        Ok(Some(crash))
    }

    fn stop(&self, excused: bool) -> Result<Option<Crash>, String> {
        let Some(store) = self.current() else { return Ok(None) };
        let report = store.stop();
        self.watch(&store)?;
        self.collect()?;
        self.note(|| format!("stopped: {report:?}"));
        drop(store);
        self.drop_store();
        let died = self.disk.is_dead();
        if !(report.clean || excused || died) {
            return Err("a stop without any trouble was not clean".to_owned());
        }
        let abort = self.disk.content(&self.layout().abort()).is_some();
        if report.clean && !died {
            if abort {
                return Err("abort is there after a clean stop".to_owned());
            }
            self.model.lock().durable = u64::try_from(report.end.0).unwrap_or(0);
            if self.one_in(2) {
                self.disk.crash(Crash::PowerCut);
                self.check_checkpoint()?;
                self.note(|| "PowerCut after the stop".to_owned());
            } else {
                self.disk.crash(Crash::Kill);
            }
            // Nothing may be lost that was there.
            return Ok(Some(Crash::Kill));
        }
        let crash = if self.one_in(2) { Crash::Kill } else { Crash::PowerCut };
        self.disk.crash(crash);
        Ok(Some(crash))
    }

    fn pick_fault(&self) -> (FaultyCall, ErrorKind) {
        match self.below(7) {
            0 | 1 => (FaultyCall::Write, ErrorKind::Other),
            2 => (FaultyCall::Write, ErrorKind::StorageFull),
            3 => (FaultyCall::SyncData, ErrorKind::Other),
            4 => (FaultyCall::SyncDir, ErrorKind::Other),
            5 => (FaultyCall::Create, ErrorKind::StorageFull),
            _ => (FaultyCall::Read, ErrorKind::Other),
        }
    }

    /// What other threads do while a call is under way.
    fn interlude(&self, path: &Path, next: NextCall) {
        if self.current().is_none() || !self.one_in(24) || self.within_interlude.swap(true, Ordering::Relaxed)
        {
            return;
        }
        self.note(|| format!("meanwhile, before a call for {}:", path.display()));
        // Whoever changes queue files or the stamp of their table takes turns; what happens between two calls of one
        // must not wait for it.
        let takes_turns = self.changes_queue_files.load(Ordering::Relaxed)
            || path.ends_with("queues.stamp")
            || path.ends_with("ferromq");
        let choices = match takes_turns {
            true => 5,
            false if self.reads.load(Ordering::Relaxed) => 8,
            false => 7,
        };
        // Whoever needs a file of the log waits until it is made, or opened if an earlier attempt got that far.
        let makes_log_file = path.ends_with("commitlog")
            || (next == NextCall::Opens && path.starts_with(self.layout().commit_log()));
        // Whoever needs the newest file of the index waits until a page of its slot table is read.
        let reads_slots = next == NextCall::Reads && path.starts_with(self.layout().index());
        let acted = match self.below(choices) {
            _ if makes_log_file || reads_slots => self.read(),
            0 | 1 => self.send(),
            2 => self.step(Loop::Commit),
            3 => self.step(Loop::Sync),
            4 => self.read(),
            5 => self.step(Loop::WriteBehind),
            6 => self.step(Loop::Checkpoint),
            _ => self.clean(),
        };
        self.note(|| "and on".to_owned());
        if let Err(what) = acted {
            self.broken.lock().get_or_insert(what);
        }
        self.within_interlude.store(false, Ordering::Relaxed);
    }

    fn act(&self) -> Checked {
        let acted = match self.below(80) {
            0..32 => self.send(),
            32..40 => self.step(Loop::Commit),
            40..52 => self.step(Loop::Sync),
            52..56 => self.step(Loop::WriteBehind),
            56..60 => self.step(Loop::Checkpoint),
            60..67 => self.read(),
            67 => self.delete_topic(),
            68 => self.clean(),
            _ => {
                self.pass_time();
                Ok(())
            }
        };
        acted?;
        self.collect()?;
        match self.broken.lock().take() {
            Some(what) => Err(what),
            None => Ok(()),
        }
    }

    fn pass_time(&self) {
        let by = match self.below(8) {
            0 => Duration::from_secs(6),
            1 => Duration::from_secs(61),
            2 | 3 => Duration::from_millis(600),
            _ => Duration::from_millis(self.below(50)),
        };
        self.clock.advance(by);
        if self.one_in(10) {
            self.clock.step_back(i64::try_from(self.below(20_000)).unwrap_or(0));
        }
        self.note(|| format!("{by:?} pass"));
    }

    /// What brings entries to their files, and a checkpoint if one is due.
    fn step(&self, each: Loop) -> Checked {
        let Some(store) = self.current() else { return Ok(()) };
        self.note(|| format!("step {each:?}"));
        store.step(each);
        self.watch(&store)
    }

    fn delete_topic(&self) -> Checked {
        let Some(store) = self.current() else { return Ok(()) };
        let topic = TOPICS[usize::try_from(self.below(3)).unwrap_or(0)];
        self.changes_queue_files.store(true, Ordering::Relaxed);
        let deleted = store.delete_topic(topic);
        self.changes_queue_files.store(false, Ordering::Relaxed);
        self.note(|| format!("delete {topic}: {deleted:?}"));
        match deleted {
            Ok(false) => {}
            other => self.model.lock().delete_topic(topic, other.is_ok() && !self.disk.is_dead()),
        }
        Ok(())
    }

    /// Days later, old files go.
    fn clean(&self) -> Checked {
        let Some(store) = self.current() else { return Ok(()) };
        self.clock.advance(Duration::from_secs(80 * 3600));
        store.request_cleaning();
        self.changes_queue_files.store(true, Ordering::Relaxed);
        store.step(Loop::Clean);
        self.changes_queue_files.store(false, Ordering::Relaxed);
        let start = u64::try_from(store.min_physical().0).unwrap_or(0);
        self.note(|| format!("cleaned, the log starts at {start}"));
        self.model.lock().remove_before(start);
        self.watch(&store)
    }

    /// What can be seen from outside at any moment.
    fn watch(&self, store: &Store) -> Checked {
        let status = store.status();
        self.note(|| {
            format!(
                "  written {} durable {} confirmed {}",
                status.written.0, status.durable.0, status.confirmed.0
            )
        });
        let durable = u64::try_from(status.durable.0).unwrap_or(0);
        let mut model = self.model.lock();
        model.durable = model.durable.max(durable);
        if status.confirmed > status.written {
            return Err(format!("confirmed is ahead of written: {status:?}"));
        }
        if self.config.flush_mode == FlushMode::Sync && status.confirmed > status.durable {
            return Err(format!("confirmed is ahead of durable: {status:?}"));
        }
        Ok(())
    }

    fn send(&self) -> Checked {
        let Some(store) = self.current() else { return Ok(()) };
        let port = Arc::clone(&self.ports.lock()[usize::try_from(self.below(PORTS as u64)).unwrap_or(0)]);
        let mut batch = port.batch();
        let mut ids = Vec::new();
        for _ in 0..1 + self.below(3) {
            let topic = TOPICS[usize::try_from(self.below(3)).unwrap_or(0)];
            let id = i32::try_from(self.below(QUEUES)).unwrap_or(0);
            let queue = store.queue(topic, QueueId(id));
            let key: QueueKey = (topic.to_owned(), id);
            let wait = !self.one_in(6);
            let messages = if self.one_in(5) { 2 + self.below(3) } else { 1 };
            let mut bodies = Vec::new();
            for _ in 0..messages {
                let record = self.model.lock().send(key.clone());
                let len = if self.one_in(8) { self.below(3000) } else { self.below(300) };
                bodies.push((record, body(record, usize::try_from(len).unwrap_or(0))));
                ids.push(record);
            }
            let properties: Vec<String> = bodies
                .iter()
                .map(|(record, _)| format!("KEYS\x01k{record}\x02TAGS\x01T{}\x02", record % 3))
                .collect();
            let parts: Vec<RecordParts<'_>> = bodies
                .iter()
                .zip(&properties)
                .map(|((record, body), properties)| RecordParts {
                    queue: &queue,
                    flag: i32::try_from(record % 7).unwrap_or(0),
                    sys_flag: 0,
                    born_timestamp: TimestampMs(1_600_000_000_000),
                    born_host: HOST,
                    store_host: HOST,
                    reconsume_times: 0,
                    prepared_transaction_offset: PhysicalOffset(0),
                    body,
                    properties: properties.as_bytes(),
                    wait,
                    tag: record | if wait { 0 } else { UNWAITING },
                })
                .collect();
            let pushed: Result<(), RecordError> = match &parts[..] {
                [single] => batch.push(single),
                several => batch.push_group(several.iter().map(|parts| Ok::<_, RecordError>(*parts))),
            };
            self.note(|| {
                format!(
                    "send {:?} to {key:?}: {pushed:?}",
                    bodies.iter().map(|(id, _)| id).collect::<Vec<_>>()
                )
            });
            if pushed.is_err() {
                ids.truncate(ids.len() - bodies.len());
                self.refuse(bodies.iter().map(|(record, _)| *record))?;
            }
            let mut model = self.model.lock();
            for ((record, body), properties) in bodies.iter().zip(&properties) {
                let crc = if self.config.append_property_crc { record::PROPERTY_CRC_LEN } else { 0 };
                model.set_len(*record, (91 + body.len() + topic.len() + properties.len() + crc) as u64);
            }
            drop(model);
            self.summary.lock().sent += messages;
        }
        match port.submit(batch) {
            Ok(()) => {
                if !self.one_in(4) {
                    store.commit_inline();
                }
            }
            Err(batch) => {
                self.note(|| "the store is busy".to_owned());
                port.recycle(batch);
                self.refuse(ids.into_iter())?;
            }
        }
        self.watch(&store)
    }

    fn refuse(&self, records: impl Iterator<Item = u64>) -> Checked {
        let mut model = self.model.lock();
        for record in records {
            model.answer(record, ferromq_store::Outcome::ReadOnly, true)?;
        }
        Ok(())
    }

    /// Takes the answers that have come.
    fn collect(&self) -> Checked {
        let ports = self.ports.lock().clone();
        for port in ports {
            while let Poll::Ready(batch) = port.poll_done(&Context::from_waker(Waker::noop())) {
                let mut model = self.model.lock();
                for (tag, outcome) in batch.answers() {
                    self.note(|| format!("answer for {}: {outcome:?}", tag & !UNWAITING));
                    model.answer(tag & !UNWAITING, *outcome, tag & UNWAITING == 0)?;
                }
                drop(model);
                port.recycle(batch);
            }
        }
        Ok(())
    }

    /// A consumer at a random place.
    fn read(&self) -> Checked {
        let Some(store) = self.current() else { return Ok(()) };
        let topic = TOPICS[usize::try_from(self.below(3)).unwrap_or(0)];
        let id = i32::try_from(self.below(QUEUES)).unwrap_or(0);
        let Some(queue) = store.find_queue(topic, QueueId(id)) else { return Ok(()) };
        let from = self.below(u64::try_from(queue.max_offset().0).unwrap_or(0) + 1);
        let wait = if self.one_in(2) { Wait::Never } else { Wait::Allowed };
        let mut plan = Plan::default();
        let request = request(i64::try_from(from).unwrap_or(0), wait);
        let mut bytes = Vec::new();
        self.reads.store(true, Ordering::Relaxed);
        let planned = store.plan(&queue, &request, &mut plan);
        let copied = planned.and_then(|()| store.copy(&plan, wait, &mut bytes));
        self.reads.store(false, Ordering::Relaxed);
        if copied.is_err() {
            // Not in memory, removed meanwhile, or the disk fails just now.
            return Ok(());
        }
        let mut model = self.model.lock();
        for found in decode(&bytes, topic, id)? {
            model.see(&found)?;
        }
        Ok(())
    }

    fn read_everything(
        &self,
        store: &Arc<Store>,
    ) -> Result<(Vec<Found>, BTreeMap<QueueKey, QueueOffset>), String> {
        let mut found = Vec::new();
        let mut starts = BTreeMap::new();
        for topic in TOPICS {
            for id in 0..i32::try_from(QUEUES).unwrap_or(0) {
                let Some(queue) = store.find_queue(topic, QueueId(id)) else { continue };
                let mut next = queue.min_offset();
                starts.insert((topic.to_owned(), id), next);
                let mut plan = Plan::default();
                loop {
                    let planned = store.plan(&queue, &request(next.0, Wait::Allowed), &mut plan);
                    planned.map_err(|error| format!("cannot plan {topic}-{id} at {next}: {error}"))?;
                    match plan.status {
                        ReadStatus::Found => {}
                        ReadStatus::OffsetOverflowOne | ReadStatus::NoMessageInQueue => break,
                        other => return Err(format!("{topic}-{id} at {next}: {other:?}, {queue:?}")),
                    }
                    let mut bytes = Vec::new();
                    let copied = store.copy(&plan, Wait::Allowed, &mut bytes);
                    copied.map_err(|error| format!("cannot read {topic}-{id} at {next}: {error}"))?;
                    found.extend(decode(&bytes, topic, id)?);
                    next = plan.next;
                }
                if next != queue.max_offset() || queue.next_offset() != queue.max_offset() {
                    return Err(format!("{queue:?} was read up to {next}, next is {}", queue.next_offset()));
                }
            }
        }
        Ok((found, starts))
    }

    /// The index knows every record that is there, and no other.
    fn check_keys(&self, store: &Store, found: &[Found]) -> Checked {
        let sent = self.model.lock().sent.len() as u64;
        for _ in 0..4 {
            let record = self.below(sent);
            let expected = found.iter().find(|found| found.id == record);
            let topic = match self.model.lock().sent.get(usize::try_from(record).unwrap_or(0)) {
                Some(sent) if !sent.orphaned => sent.queue.0.clone(),
                _ => continue,
            };
            let key = format!("k{record}");
            let query = KeyQuery {
                topic: &topic,
                key: &key,
                kind: KeyKind::Key,
                max: 64,
                begin: TimestampMs(0),
                end: TimestampMs(i64::MAX),
            };
            let mut out = Vec::new();
            store.query(&query, &mut out).map_err(|error| error.to_string())?;
            let hits: Vec<u64> = record::decode_all(&out)
                .filter_map(|hit| hit.ok().and_then(|hit| Some(u64::from_be_bytes(*hit.body.first_chunk()?))))
                .collect();
            let expected: Vec<u64> = expected.iter().map(|found| found.id).collect();
            if hits != expected {
                return Err(format!("key {key}: the index has {hits:?}, the log has {expected:?}"));
            }
        }
        Ok(())
    }

    /// What Java relies on: everything below L is in the queue files, and no time or position is ahead of the disk.
    fn check_checkpoint(&self) -> Checked {
        let layout = self.layout();
        let Some(bytes) = self.disk.content(&layout.checkpoint()) else { return Ok(()) };
        let fields = StoreCheckpoint::decode(&bytes);
        let position = u64::try_from(fields.queue_position.0).unwrap_or(0);
        // Entries of what retention has removed may go at any time.
        let log_files = self.disk.files(layout.commit_log());
        let log_start = log_files
            .iter()
            .filter_map(|path| parse_offset_name(path.file_name()?.to_str()?))
            .min()
            .unwrap_or(0);
        let model = self.model.lock();
        if position > model.durable {
            return Err(format!("checkpoint: L is {position}, durable was {}", model.durable));
        }
        // A power cut may mix fields of two checkpoints, so each has to be true on its own.
        for (sent, stored, len) in model.placed() {
            let end = u64::try_from(stored.physical.0).unwrap_or(0) + len;
            let time = stored.store_timestamp;
            if (time < fields.log_time || time < fields.index_time) && end > model.durable {
                return Err(format!(
                    "checkpoint: {fields:?} speaks for {stored:?}, durable was {}",
                    model.durable
                ));
            }
            if (end > position && time >= fields.queue_time) || end <= log_start {
                continue;
            }
            let (topic, queue) = &sent.queue;
            let at = u64::try_from(stored.queue_offset.0).unwrap_or(0) * 20;
            let dir = layout.consume_queue(topic, QueueId(*queue));
            let file = dir.join(ferromq_store::layout::offset_name(at - at % self.config.queue_file_size));
            let within = usize::try_from(at % self.config.queue_file_size).unwrap_or(0);
            let entry = self
                .disk
                .content(&file)
                .and_then(|bytes| Some(Entry::decode(bytes.get(within..within + 20)?.first_chunk()?)));
            if entry.is_none_or(|entry| entry.physical != stored.physical) {
                let file = file.display();
                return Err(format!(
                    "checkpoint: {fields:?}, but {file} has {entry:?} for {stored:?} of {sent:?}"
                ));
            }
        }
        Ok(())
    }

    /// Nothing lies where Java would stumble over it.
    fn check_directories(&self) -> Checked {
        let layout = self.layout();
        let check = |dir: PathBuf, len: Option<u64>| {
            for path in self.disk.files(&dir) {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let is_offset = parse_offset_name(name).is_some();
                let found = self.disk.content(&path).map_or(0, |bytes| bytes.len() as u64);
                if (len.is_some() && !is_offset) || len.is_some_and(|len| len != found) {
                    return Err(format!("{} of {found} bytes", path.display()));
                }
            }
            Ok(())
        };
        check(layout.commit_log().to_owned(), Some(self.config.segment_size))?;
        check(layout.consume_queues(), Some(self.config.queue_file_size))
    }
}

fn request(from: i64, wait: Wait) -> ReadRequest<'static> {
    ReadRequest {
        offset: QueueOffset(from),
        max_messages: 8,
        max_bytes: usize::MAX,
        filter: &TagFilter::All,
        limits: ReadLimits::default(),
        wait,
    }
}

/// The body of a record: its number, then bytes that follow from it, sometimes zeros.
fn body(record: u64, len: usize) -> Vec<u8> {
    let mut body = record.to_be_bytes().to_vec();
    let mut random = Random::new(record);
    let zeros = random.one_in(4);
    body.extend((0..len).map(|_| if zeros { 0 } else { random.number().to_be_bytes()[0] }));
    body
}

fn decode(bytes: &[u8], topic: &str, queue: i32) -> Result<Vec<Found>, String> {
    record::decode_all(bytes)
        .map(|record| {
            let record = record.map_err(|error| format!("a read gave no record: {error}"))?;
            let id = record
                .body
                .first_chunk()
                .map(|id| u64::from_be_bytes(*id))
                .ok_or("a body without a number")?;
            if record.body != body(id, record.body.len() - 8) || !record.body_crc_matches() {
                return Err(format!("the body of record {id} is not what was sent"));
            }
            Ok(Found {
                id,
                queue: (topic.to_owned(), queue),
                stored: Stored {
                    physical: record.physical,
                    queue_offset: record.queue_offset,
                    store_timestamp: record.store_timestamp,
                },
                len: record.bytes.len() as u64,
            })
        })
        .collect()
}
