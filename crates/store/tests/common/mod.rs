//! What the behaviour tests share: a store in a scratch directory and a way to send through it.
#![allow(dead_code, reason = "every test program uses a part")]
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, reason = "these are tests")]

pub mod watched_disk;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ferromq_protocol::record;
use ferromq_protocol::types::{Host, PhysicalOffset, QueueId, QueueOffset, TimestampMs};
use ferromq_store::clock::SystemClock;
use ferromq_store::disk::RealDisk;
use ferromq_store::queue::{Queue, TagFilter, Wait};
use ferromq_store::{
    Batch, Environment, Loop, Outcome, Plan, Port, ReadLimits, ReadRequest, ReadStatus, RecordParts, Store,
    StoreConfig, Stored,
};

pub const HOST: Host = Host { ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), port: 10911 };

/// Small files, so that tests see many of them.
pub fn config(root: &Path) -> StoreConfig {
    StoreConfig {
        segment_size: 64 << 10,
        queue_file_size: 600,
        ring_bytes: 1 << 20,
        index_slots: 500,
        index_entries: 2000,
        ..StoreConfig::at(root)
    }
}

pub fn real() -> Environment {
    Environment { disk: Arc::new(RealDisk::default()), clock: Arc::new(SystemClock::default()) }
}

pub fn open(config: StoreConfig) -> Store {
    let store = Store::open(config, real()).unwrap();
    store.start().unwrap();
    store
}

pub fn parts<'a>(queue: &'a Arc<Queue>, body: &'a [u8], properties: &'a [u8], tag: u64) -> RecordParts<'a> {
    RecordParts {
        queue,
        flag: 0,
        sys_flag: 0,
        born_timestamp: TimestampMs(1_700_000_000_000),
        born_host: HOST,
        store_host: HOST,
        reconsume_times: 0,
        prepared_transaction_offset: PhysicalOffset(0),
        body,
        properties,
        wait: true,
        tag,
    }
}

/// Waits for the next answered batch of a port.
pub fn done(port: &Port) -> Box<Batch> {
    for _ in 0..100_000 {
        if let Poll::Ready(batch) = port.poll_done(&Context::from_waker(Waker::noop())) {
            return batch;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    panic!("no answer");
}

/// Commits what was submitted. After a slow write only the loop does that, and not every test gives it a thread.
pub fn commit(store: &Store) {
    if !store.commit_inline() {
        store.step(Loop::Commit);
    }
}

/// Sends one batch of the given bodies and returns what became of them.
pub fn send(store: &Store, queue: &Arc<Queue>, bodies: &[&[u8]]) -> Vec<Outcome> {
    let port = store.port();
    let mut batch = port.batch();
    for (tag, body) in bodies.iter().enumerate() {
        batch.push(&parts(queue, body, b"TAGS\x01TagA\x02", tag as u64)).unwrap();
    }
    port.submit(batch).unwrap();
    commit(store);
    let batch = done(&port);
    let mut outcomes = Vec::new();
    for (place, (tag, outcome)) in batch.answers().iter().enumerate() {
        assert_eq!(*tag, place as u64, "answers come in the order of the records");
        outcomes.push(*outcome);
    }
    port.recycle(batch);
    outcomes
}

pub fn stored(outcome: &Outcome) -> Stored {
    match outcome {
        Outcome::Confirmed(stored) => *stored,
        other => panic!("{other:?}"),
    }
}

/// Bodies of a queue from an offset on, in as many reads as it takes.
pub fn read_all(store: &Store, queue: &Arc<Queue>, from: i64) -> Vec<(i64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut next = QueueOffset(from);
    let mut plan = Plan::default();
    loop {
        let request = ReadRequest {
            offset: next,
            max_messages: 32,
            max_bytes: usize::MAX,
            filter: &TagFilter::All,
            limits: ReadLimits::default(),
            wait: Wait::Allowed,
        };
        store.plan(queue, &request, &mut plan).unwrap();
        if plan.status != ReadStatus::Found {
            return found;
        }
        let mut bytes = Vec::new();
        store.copy(&plan, Wait::Allowed, &mut bytes).unwrap();
        for record in record::decode_all(&bytes) {
            let record = record.unwrap();
            assert_eq!((record.topic, record.queue_id), (queue.topic(), queue.id()));
            assert!(record.body_crc_matches());
            found.push((record.queue_offset.0, record.body.to_vec()));
        }
        assert!(plan.next > next, "a read makes progress");
        next = plan.next;
    }
}

pub fn queue(store: &Store, topic: &str, id: i32) -> Arc<Queue> {
    store.queue(topic, QueueId(id))
}
