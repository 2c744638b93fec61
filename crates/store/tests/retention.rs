//! Old messages leave: by the hour, by age, when the disk fills up; and what has to stay stays.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::watched_disk::{Watch, WatchedDisk};
use common::{config, parts, queue, read_all, stored};
use ferromq_protocol::types::{PhysicalOffset, QueueOffset, TimestampMs};
use ferromq_store::clock::{Clock, SystemClock};
use ferromq_store::disk::Space;
use ferromq_store::queue::{Boundary, Queue, TagFilter, Wait};
use ferromq_store::retention::RetentionRules;
use ferromq_store::{
    Environment, Loop, Outcome, Plan, ReadLimits, ReadRequest, ReadStatus, Store, StoreConfig,
};
use jiff::tz::TimeZone;

const HOUR: Duration = Duration::from_secs(3_600);
/// Bodies of this size make about sixty records per file of the log.
const BODY: [u8; 1_000] = [7; 1_000];

/// The real clock, moved by hand.
#[derive(Default)]
struct MovedClock {
    real: SystemClock,
    ahead_ms: AtomicI64,
}

impl MovedClock {
    fn pass(&self, time: Duration) {
        self.ahead_ms.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }

    fn ahead(&self) -> i64 {
        self.ahead_ms.load(Ordering::Relaxed)
    }
}

impl Clock for MovedClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(self.real.now().0 + self.ahead())
    }

    fn elapsed(&self) -> Duration {
        self.real.elapsed() + Duration::from_millis(self.ahead().unsigned_abs())
    }
}

/// How full the disk is said to be.
struct Fullness {
    used_percent: AtomicU64,
}

impl Watch for Fullness {
    fn space(&self) -> Option<Space> {
        let free = 100 - self.used_percent.load(Ordering::Relaxed);
        Some(Space { total: 100, free, available: free })
    }
}

struct Fixture {
    root: tempfile::TempDir,
    clock: Arc<MovedClock>,
    disk: Arc<Fullness>,
}

impl Fixture {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            clock: Arc::default(),
            disk: Arc::new(Fullness { used_percent: AtomicU64::new(20) }),
        }
    }

    /// No hour is right but the ones a test chooses.
    fn config(&self) -> StoreConfig {
        StoreConfig {
            retention: RetentionRules { delete_hours: 0, ..RetentionRules::default() },
            time_zone: TimeZone::UTC,
            ..config(self.root.path())
        }
    }

    /// A store without threads: what happens, happens when a test steps.
    fn open(&self) -> Store {
        let disk = Arc::new(WatchedDisk::new(Arc::clone(&self.disk)));
        let environment = Environment { disk, clock: self.clock.clone() };
        let store = Store::open(self.config(), environment).unwrap();
        store.follow().unwrap();
        store.lead();
        store
    }

    /// Lets the clean loop finish a round, and one that began before.
    fn clean(&self, store: &Store) {
        self.clock.pass(Duration::from_secs(70));
        store.step(Loop::Sync);
        for _ in 0..30 {
            store.step(Loop::Clean);
        }
    }

    fn log_files(&self) -> usize {
        std::fs::read_dir(self.root.path().join("commitlog")).unwrap().count()
    }
}

fn send(store: &Store, queue: &Arc<Queue>) -> Outcome {
    let port = store.port();
    let mut batch = port.batch();
    batch.push(&parts(queue, &BODY, b"", 0)).unwrap();
    port.submit(batch).unwrap();
    for _ in 0..100 {
        store.step(Loop::Commit);
        if let Poll::Ready(batch) = port.poll_done(&Context::from_waker(Waker::noop())) {
            return batch.answers()[0].1;
        }
    }
    panic!("no answer");
}

fn fill(store: &Store, queue: &Arc<Queue>, messages: usize) {
    for _ in 0..messages {
        stored(&send(store, queue));
    }
    store.step(Loop::WriteBehind);
}

fn read_status(store: &Store, queue: &Arc<Queue>, offset: i64) -> (ReadStatus, QueueOffset) {
    let mut plan = Plan::default();
    let request = ReadRequest {
        offset: QueueOffset(offset),
        max_messages: 32,
        max_bytes: usize::MAX,
        filter: &TagFilter::All,
        limits: ReadLimits::default(),
        wait: Wait::Allowed,
    };
    store.plan(queue, &request, &mut plan).unwrap();
    (plan.status, plan.next)
}

fn every_hour() -> RetentionRules {
    RetentionRules { delete_hours: u32::MAX, ..RetentionRules::default() }
}

#[test]
fn old_files_go_with_what_pointed_to_them_and_never_the_active_one() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let orders = queue(&store, "orders", 0);
    let quiet = queue(&store, "quiet", 0);
    fill(&store, &quiet, 3);
    fill(&store, &orders, 300);
    let files = fixture.log_files();
    assert!(files >= 5, "{files}");

    fixture.clock.pass(71 * HOUR);
    store.set_retention(every_hour());
    fixture.clean(&store);
    assert_eq!(store.min_physical().0, 0, "not old enough");

    fixture.clock.pass(2 * HOUR);
    store.set_retention(RetentionRules { delete_hours: 0, ..every_hour() });
    fixture.clean(&store);
    assert_eq!(store.min_physical().0, 0, "not the hour");

    store.set_retention(every_hour());
    fixture.clean(&store);
    let min = store.min_physical();
    assert!(store.max_physical().0 - min.0 < 64 << 10, "only the file that is written is left");
    assert_eq!(store.status().removed_segments, u64::try_from(min.0 >> 16).unwrap());

    // A consumer that was in the middle of it.
    let (status, next) = read_status(&store, &orders, 5);
    assert_eq!((status, next), (ReadStatus::OffsetTooSmall, orders.min_offset()));
    let left = read_all(&store, &orders, next.0);
    assert_eq!(left.first().map(|(offset, _)| *offset), Some(next.0));
    assert_eq!(left.len() as i64, orders.max_offset().0 - next.0);
    assert_eq!((quiet.min_offset().0, quiet.max_offset().0), (3, 3), "nothing left, but offsets go on");
    let earliest = store.offset_by_time(&orders, TimestampMs(0), Boundary::Lower).unwrap();
    assert_eq!(earliest, next);
    // Thirty entries to a queue file: those of removed messages are gone too.
    let queue_files = std::fs::read_dir(fixture.root.path().join("consumequeue/orders/0")).unwrap().count();
    assert!(queue_files <= 4, "{queue_files}");

    let before: Vec<_> = [&orders, &quiet].map(|queue| (queue.min_offset(), queue.max_offset())).into();
    assert!(store.stop().clean);
    drop((store, orders, quiet));
    let store = fixture.open();
    let after: Vec<_> = ["orders", "quiet"]
        .map(|topic| queue(&store, topic, 0))
        .map(|queue| (queue.min_offset(), queue.max_offset()))
        .into();
    assert_eq!(after, before);
    assert_eq!(stored(&send(&store, &queue(&store, "quiet", 0))).queue_offset, QueueOffset(3));
}

#[test]
fn after_a_crash_in_the_middle_of_it_nothing_that_stays_is_lost() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let orders = queue(&store, "orders", 0);
    fill(&store, &orders, 300);
    fixture.clock.pass(73 * HOUR);
    store.set_retention(every_hour());
    fixture.clock.pass(Duration::from_secs(70));
    store.step(Loop::Sync);
    store.step(Loop::Clean);
    store.step(Loop::Clean);
    let (min, max) = (orders.min_offset(), orders.max_offset());
    assert!(min.0 > 0 && store.min_physical() > PhysicalOffset(0));
    fill(&store, &orders, 10);
    drop((store, orders));

    let store = fixture.open();
    let orders = queue(&store, "orders", 0);
    assert_eq!((orders.min_offset(), orders.max_offset()), (min, max.plus(10)));
    let left = read_all(&store, &orders, min.0);
    assert!(left.iter().map(|(offset, _)| *offset).eq(min.0..max.0 + 10));
}

#[test]
fn a_nearly_full_disk_takes_young_files_until_there_is_room() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let orders = queue(&store, "orders", 0);
    fill(&store, &orders, 300);
    fixture.disk.used_percent.store(86, Ordering::Relaxed);
    store.set_retention(RetentionRules { force: false, ..RetentionRules::default() });
    fixture.clean(&store);
    assert_eq!(store.min_physical().0, 0, "not allowed");

    store.set_retention(RetentionRules { files_per_round: 2, ..RetentionRules::default() });
    fixture.clock.pass(Duration::from_secs(70));
    store.step(Loop::Sync);
    store.step(Loop::Clean);
    store.step(Loop::Clean);
    assert_eq!(store.min_physical().0, 2 << 16);
    assert!(store.step(Loop::Clean) > Duration::from_secs(5), "the round is over");
    assert_eq!(store.min_physical().0, 2 << 16);
    fixture.disk.used_percent.store(60, Ordering::Relaxed);
    fixture.clean(&store);
    assert_eq!(store.min_physical().0, 2 << 16, "there is room");
}

#[test]
fn a_full_disk_refuses_records_and_serves_reads_until_there_is_room() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let orders = queue(&store, "orders", 0);
    fill(&store, &orders, 3);
    fixture.disk.used_percent.store(91, Ordering::Relaxed);
    fixture.clean(&store);
    assert_eq!(send(&store, &orders), Outcome::NoSpace);
    assert!(!store.is_writable());
    assert_eq!(read_all(&store, &orders, 0).len(), 3);
    fixture.disk.used_percent.store(90, Ordering::Relaxed);
    fixture.clean(&store);
    stored(&send(&store, &orders));
}

#[test]
fn what_a_replica_needs_stays() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let orders = queue(&store, "orders", 0);
    fill(&store, &orders, 300);
    fixture.disk.used_percent.store(88, Ordering::Relaxed);
    let pin = store.pin(PhysicalOffset(70_000));
    fixture.clean(&store);
    assert_eq!(store.min_physical().0, 1 << 16, "up to the file with the position");
    drop(pin);
    fixture.clean(&store);
    assert!(store.min_physical().0 > 1 << 16);
}

#[test]
fn who_asks_gets_old_files_removed_at_once() {
    let fixture = Fixture::new();
    let store = fixture.open();
    fill(&store, &queue(&store, "orders", 0), 300);
    store.step(Loop::Clean);
    fixture.clock.pass(73 * HOUR);
    // The hour is not right, and the round not due.
    store.step(Loop::Clean);
    let round = store.step(Loop::Clean);
    assert!(round > Duration::from_secs(5) && store.min_physical().0 == 0);
    store.step(Loop::Sync);
    store.request_cleaning();
    store.step(Loop::Clean);
    assert_eq!(store.min_physical().0, 1 << 16);
}
