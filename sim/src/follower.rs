//! A leader and a store that follows it, without any replication: groups go over as they were sealed, the follower is cut
//! back and crashes whenever the seed likes, in the middle of a cut too, and in the end it must be the same store.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use ferromq_protocol::types::{Host, PhysicalOffset, QueueId, QueueOffset, TimestampMs};
use ferromq_store::layout::{Layout, offset_name};
use ferromq_store::query::{KeyKind, KeyQuery};
use ferromq_store::queue::{Entry, Wait};
use ferromq_store::replication::{LogListener, SealedGroup};
use ferromq_store::{Environment, FlushMode, Loop, RecordParts, Store, StoreConfig};
use parking_lot::Mutex;

use crate::clock::SimClock;
use crate::disk::{Crash, Sabotage, SimDisk};
use crate::random::Random;

const HOST: Host = Host { ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), port: 10911 };
const ROOT: &str = "/store";
const TOPICS: [&str; 2] = ["TopicA", "TopicB"];
const QUEUES: u64 = 3;

/// The groups of the leader, as they were sealed.
#[derive(Default)]
struct Groups(Mutex<Vec<Group>>);

#[derive(Clone)]
struct Group {
    start: PhysicalOffset,
    end: PhysicalOffset,
    bytes: Vec<u8>,
}

impl LogListener for Groups {
    fn sealed(&self, group: &SealedGroup<'_>) {
        let bytes = group.bytes.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.0.lock().push(Group { start: group.start, end: group.end, bytes });
    }
}

struct Pair {
    random: Random,
    clock: Arc<SimClock>,
    config: StoreConfig,
    leader: Store,
    leader_disk: SimDisk,
    groups: Arc<Groups>,
    follower: Option<Store>,
    follower_disk: SimDisk,
    /// A cut that was interrupted: where, and up to where the log was on the disk before.
    interrupted: Option<(PhysicalOffset, PhysicalOffset)>,
    cuts: u64,
    crashes: u64,
    sent: u64,
    traced: bool,
}

/// What a run amounted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Records of the leader.
    pub records: u64,
    /// Times the follower was cut back.
    pub cuts: u64,
    /// Times it crashed.
    pub crashes: u64,
}

type Checked<T = ()> = Result<T, String>;

/// Runs a seed to its end, telling what happens if `traced`.
///
/// # Errors
/// The first difference.
pub fn run(seed: u64, sabotage: Sabotage, traced: bool) -> Checked<Copied> {
    let mut pair = Pair::new(seed, sabotage)?;
    pair.traced = traced;
    for _ in 0..60 + pair.random.below(120) {
        pair.act()?;
    }
    pair.catch_up()?;
    pair.compare()?;
    pair.restart_follower(Crash::PowerCut)?;
    pair.catch_up()?;
    pair.compare()?;
    Ok(Copied { records: pair.sent, cuts: pair.cuts, crashes: pair.crashes })
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Pair {
    fn new(seed: u64, sabotage: Sabotage) -> Checked<Self> {
        let mut random = Random::new(seed);
        let clock = Arc::new(SimClock::default());
        let config = StoreConfig {
            segment_size: [8 << 10, 16 << 10][random.index(2)],
            queue_file_size: 200,
            flush_mode: [FlushMode::Async, FlushMode::Sync][random.index(2)],
            index_slots: 16,
            index_entries: 50,
            ring_bytes: 1,
            recovery_threads: 1,
            open_queue_files_max: 4,
            ..StoreConfig::at(ROOT)
        };
        let leader_disk = SimDisk::new(random.fork(), Arc::clone(&clock), Sabotage::None);
        let follower_disk = SimDisk::new(random.fork(), Arc::clone(&clock), sabotage);
        let leader = open(&config, &leader_disk, &clock)?;
        leader.lead();
        let groups = Arc::new(Groups::default());
        leader.listen(Arc::clone(&groups) as Arc<dyn LogListener>);
        let follower = Some(open(&config, &follower_disk, &clock)?);
        let (cuts, crashes, sent) = (0, 0, 0);
        Ok(Self {
            random,
            clock,
            config,
            leader,
            leader_disk,
            groups,
            follower,
            follower_disk,
            interrupted: None,
            cuts,
            crashes,
            sent,
            traced: false,
        })
    }

    fn note(&self, line: impl FnOnce() -> String) {
        if self.traced {
            println!("{}", line());
        }
    }

    fn act(&mut self) -> Checked {
        match self.random.below(16) {
            0..6 => self.send(),
            6..11 => self.copy_some(),
            11 => self.cut(),
            12 => {
                let each = Loop::ALL[self.random.index(Loop::ALL.len())];
                self.leader.step(each);
                Ok(())
            }
            13 => {
                let each = Loop::ALL[self.random.index(Loop::ALL.len())];
                self.note(|| format!("the follower's {each:?}"));
                self.follower()?.step(each);
                self.mend()
            }
            14 => {
                self.clock.advance(Duration::from_millis(self.random.below(90_000)));
                Ok(())
            }
            _ if self.random.one_in(3) => {
                let crash = if self.random.one_in(2) { Crash::Kill } else { Crash::PowerCut };
                self.restart_follower(crash)
            }
            _ => {
                self.follower_disk.die_in(self.random.below(60));
                Ok(())
            }
        }
    }

    fn send(&mut self) -> Checked {
        let port = self.leader.port();
        let mut batch = port.batch();
        for _ in 0..1 + self.random.below(4) {
            let topic = TOPICS[self.random.index(TOPICS.len())];
            let queue =
                self.leader.queue(topic, QueueId(i32::try_from(self.random.below(QUEUES)).unwrap_or(0)));
            let mut body = self.sent.to_be_bytes().to_vec();
            body.resize(8 + self.random.index(900), b'x');
            let properties = format!("KEYS\x01k{}\x02TAGS\x01T{}\x02", self.sent, self.sent % 3);
            let parts = RecordParts {
                queue: &queue,
                flag: 0,
                sys_flag: 0,
                born_timestamp: TimestampMs(1_600_000_000_000),
                born_host: HOST,
                store_host: HOST,
                reconsume_times: 0,
                prepared_transaction_offset: PhysicalOffset(0),
                body: &body,
                properties: properties.as_bytes(),
                wait: true,
                tag: self.sent,
            };
            batch.push(&parts).map_err(text)?;
            self.sent += 1;
        }
        port.submit(batch).map_err(|_| "the leader is busy")?;
        self.leader.step(Loop::Commit);
        Ok(())
    }

    fn follower(&self) -> Checked<&Store> {
        self.follower.as_ref().ok_or_else(|| "there is no follower".to_owned())
    }

    /// A few groups, from where the follower's log ends; between groups as bytes, as a replica that fell behind asks.
    fn copy_some(&mut self) -> Checked {
        for _ in 0..1 + self.random.below(4) {
            if !self.copy_one()? {
                break;
            }
        }
        self.mend()
    }

    /// Returns whether there was anything to copy.
    fn copy_one(&mut self) -> Checked<bool> {
        let end = self.follower()?.status().written;
        let group = self.groups.0.lock().iter().find(|group| group.start == end).cloned();
        let (at, bytes) = match group {
            Some(group) => (group.start, group.bytes),
            None => {
                let next = self.groups.0.lock().iter().map(|group| group.end).find(|next| *next > end);
                let Some(next) = next else { return Ok(false) };
                let mut bytes = Vec::new();
                let len = usize::try_from(next.0 - end.0).unwrap_or(0);
                self.leader.read_range(end, len, &mut bytes).map_err(text)?;
                (end, bytes)
            }
        };
        let appended = self.follower()?.append_raw(at, &bytes);
        self.note(|| format!("{} bytes at {at}: {appended:?}", bytes.len()));
        match appended {
            Ok(()) => Ok(true),
            Err(_) if self.follower_disk.is_dead() => Ok(false),
            Err(error) => Err(format!("the follower refuses {} bytes at {at}: {error}", bytes.len())),
        }
    }

    fn cut(&mut self) -> Checked {
        let status = self.follower()?.status();
        let (end, durable) = (status.written, status.durable);
        let boundaries: Vec<PhysicalOffset> =
            self.groups.0.lock().iter().map(|group| group.start).filter(|start| *start <= end).collect();
        if boundaries.is_empty() {
            return Ok(());
        }
        let at = boundaries[self.random.index(boundaries.len())];
        if self.random.one_in(2) {
            self.follower_disk.die_in(self.random.below(40));
        }
        let truncated = self.follower()?.truncate_to(at);
        self.note(|| format!("cut at {at} of {end}: {truncated:?}"));
        self.cuts += 1;
        let died = self.follower_disk.is_dead();
        self.follower_disk.heal();
        match truncated {
            Ok(()) if !died => self.check_end(at),
            Err(error) if !died => Err(format!("cannot cut at {at}: {error}")),
            _ => {
                self.interrupted = Some((at, durable));
                self.mend()
            }
        }
    }

    fn check_end(&self, at: PhysicalOffset) -> Checked {
        let status = self.follower()?.status();
        if status.written != at || status.confirmed > at || status.durable > at {
            return Err(format!("cut at {at}, but {status:?}"));
        }
        Ok(())
    }

    /// Starts the follower again if it has died meanwhile.
    fn mend(&mut self) -> Checked {
        if !self.follower_disk.is_dead() {
            return Ok(());
        }
        let crash = if self.random.one_in(2) { Crash::Kill } else { Crash::PowerCut };
        self.restart_follower(crash)
    }

    fn restart_follower(&mut self, crash: Crash) -> Checked {
        self.follower = None;
        self.crashes += 1;
        self.note(|| format!("{crash:?}"));
        self.follower_disk.crash(crash);
        for attempt in 0..4 {
            if attempt < 3 && self.random.one_in(3) {
                self.follower_disk.die_in(self.random.below(80));
            }
            let opened = open(&self.config, &self.follower_disk, &self.clock);
            if self.follower_disk.is_dead() {
                drop(opened);
                let crash = if self.random.one_in(2) { Crash::Kill } else { Crash::PowerCut };
                self.note(|| format!("died while opening, {crash:?}"));
                self.follower_disk.crash(crash);
                continue;
            }
            self.follower_disk.heal();
            let opened = opened?;
            self.note(|| format!("opened: {:?}", opened.recovery()));
            let end = opened.status().written;
            if let Some((at, durable)) = self.interrupted.take()
                && end != at
                && end < durable
            {
                return Err(format!("a cut at {at} was made by half: the log ends at {end} of {durable}"));
            }
            self.follower = Some(opened);
            let path = Layout::new(ROOT, None).truncation();
            if self.follower_disk.content(&path).is_some() {
                return Err("the intent of a cut outlived a start".to_owned());
            }
            return Ok(());
        }
        Err("the follower did not start".to_owned())
    }

    fn catch_up(&mut self) -> Checked {
        self.follower_disk.heal();
        for each in Loop::ALL {
            self.leader.step(each);
        }
        loop {
            self.mend()?;
            if !self.copy_one()? && !self.follower_disk.is_dead() {
                break;
            }
        }
        self.clock.advance(Duration::from_secs(2));
        for each in [Loop::Commit, Loop::Sync, Loop::WriteBehind] {
            self.leader.step(each);
            self.follower()?.step(each);
        }
        Ok(())
    }

    /// Byte for byte the same log, and the same queues and keys.
    fn compare(&self) -> Checked {
        let follower = self.follower()?;
        let end = self.leader.max_physical();
        if follower.max_physical() != end {
            return Err(format!("the leader ends at {end}, the follower at {}", follower.max_physical()));
        }
        let layout = Layout::new(ROOT, None);
        let mut base = 0;
        while base < u64::try_from(end.0).unwrap_or(0) {
            let path = layout.commit_log().join(offset_name(base));
            let (ours, theirs) = (self.leader_disk.content(&path), self.follower_disk.content(&path));
            if ours != theirs {
                return Err(format!("{} differs", path.display()));
            }
            base += self.config.segment_size;
        }
        for topic in TOPICS {
            for id in 0..QUEUES {
                let id = QueueId(i32::try_from(id).unwrap_or(0));
                let entries = |store: &Store| -> Checked<Vec<Entry>> {
                    let Some(queue) = store.find_queue(topic, id) else { return Ok(Vec::new()) };
                    let mut entries = Vec::new();
                    let max = usize::try_from(queue.max_offset().0).unwrap_or(0);
                    queue.entries(QueueOffset(0), max, Wait::Allowed, &mut entries).map_err(text)?;
                    Ok(entries)
                };
                let (ours, theirs) = (entries(&self.leader)?, entries(follower)?);
                if ours != theirs {
                    return Err(format!(
                        "queue {topic}-{id} differs: {} and {} entries",
                        ours.len(),
                        theirs.len()
                    ));
                }
            }
        }
        for record in 0..self.sent {
            let hits = |store: &Store| {
                let key = format!("k{record}");
                let mut out = Vec::new();
                let (begin, end) = (TimestampMs(0), TimestampMs(i64::MAX));
                for topic in TOPICS {
                    let query = KeyQuery { topic, key: &key, kind: KeyKind::Key, max: 8, begin, end };
                    store.query(&query, &mut out).map_err(text)?;
                }
                Ok::<_, String>(out)
            };
            let (ours, theirs) = (hits(&self.leader)?, hits(follower)?);
            if ours != theirs || ours.is_empty() {
                return Err(format!("key k{record} gives {} and {} bytes", ours.len(), theirs.len()));
            }
        }
        Ok(())
    }
}

fn open(config: &StoreConfig, disk: &SimDisk, clock: &Arc<SimClock>) -> Checked<Store> {
    let clock: Arc<SimClock> = Arc::clone(clock);
    let store =
        Store::open(config.clone(), Environment { disk: Arc::new(disk.clone()), clock }).map_err(text)?;
    store.follow().map_err(text)?;
    Ok(store)
}
