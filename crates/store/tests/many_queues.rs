//! A start with very many queues, after a crash: `FERROMQ_SOAK` makes it 100,000 queues and 256 MiB of log.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod common;

use std::time::{Duration, Instant};

use common::{config, open, queue, send, stored};
use ferromq_store::queue::Wait;
use ferromq_store::{Store, StoreConfig};

const QUEUES_PER_TOPIC: i32 = 8;

struct Size {
    topics: i32,
    /// Bytes of each message that comes after the checkpoint.
    body: usize,
    ready_within: Duration,
}

fn size() -> Size {
    match std::env::var_os("FERROMQ_SOAK") {
        Some(_) => Size { topics: 12_500, body: 2_400, ready_within: Duration::from_secs(5) },
        None => Size { topics: 50, body: 100, ready_within: Duration::from_secs(60) },
    }
}

/// One message to every queue. Records are small on the wire but lie anywhere in the log.
fn send_to_all(store: &Store, size: &Size, body: &[u8]) {
    for topic in 0..size.topics {
        for id in 0..QUEUES_PER_TOPIC {
            let queue = queue(store, &format!("topic-{topic:05}"), id);
            stored(&send(store, &queue, &[body])[0]);
        }
    }
}

fn crash_and_open(store: Store, config: &StoreConfig) -> (Store, Duration) {
    // Without a stop: threads end, nothing more is written.
    drop(store);
    let began = Instant::now();
    let store = open(config.clone());
    let took = began.elapsed();
    println!(
        "ready in {took:?}: table of queues used: {}, {:?}",
        store.recovery().queue_table_used,
        store.recovery()
    );
    (store, took)
}

fn check_all(store: &Store, size: &Size, messages: i64) {
    for topic in 0..size.topics {
        for id in 0..QUEUES_PER_TOPIC {
            let queue = queue(store, &format!("topic-{topic:05}"), id);
            assert_eq!((queue.min_offset().0, queue.max_offset().0), (0, messages), "{queue:?}");
        }
    }
    // Every hundredth is read.
    for topic in (0..size.topics).step_by(100) {
        let queue = queue(store, &format!("topic-{topic:05}"), 3);
        let mut entries = Vec::new();
        queue.entries(queue.min_offset(), 99, Wait::Allowed, &mut entries).unwrap();
        assert_eq!(entries.len() as i64, messages);
        let mut record = Vec::new();
        store.record_at(entries[0].physical, Wait::Allowed, &mut record).unwrap();
    }
}

#[test]
fn a_store_with_many_queues_is_ready_soon_after_a_crash() {
    let size = size();
    let root = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        segment_size: 64 << 20,
        queue_file_size: 6_000_000,
        index_slots: 5_000_000,
        index_entries: 20_000_000,
        recovery_threads: 2,
        checkpoint_interval: Duration::from_secs(3_600),
        checkpoint_bytes: 1 << 40,
        ..config(root.path())
    };

    // Killed before there was any checkpoint: all files are read.
    let store = open(config.clone());
    send_to_all(&store, &size, b"first");
    let (store, took) = crash_and_open(store, &config);
    assert!(!store.recovery().queue_table_used);
    assert!(took <= size.ready_within, "{took:?}");
    check_all(&store, &size, 1);
    assert!(store.stop().clean);
    drop(store);

    // Killed with the table of the last stop, and the log that came after it.
    let store = open(config.clone());
    assert!(store.recovery().queue_table_used);
    let body = vec![7; size.body];
    send_to_all(&store, &size, &body);
    let (store, took) = crash_and_open(store, &config);
    assert!(store.recovery().queue_table_used);
    assert!(took <= size.ready_within, "{took:?}");
    check_all(&store, &size, 2);
    assert!(store.stop().clean);
}
