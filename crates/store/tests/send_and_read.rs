//! What was confirmed can be read, at its offset, also after a stop and a start.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::time::{Duration, Instant};

use common::{config, open, queue, read_all, send, stored};
use ferromq_protocol::types::PhysicalOffset;
use ferromq_store::queue::Wait;
use ferromq_store::{FlushMode, Outcome, StoreConfig};

fn body(n: usize) -> Vec<u8> {
    let mut body = format!("message {n} ").into_bytes();
    body.resize(20 + n % 700, b'.');
    body
}

#[test]
fn confirmed_records_are_read_back_at_their_offsets() {
    for flush_mode in [FlushMode::Async, FlushMode::Sync] {
        let dir = tempfile::tempdir().unwrap();
        let config = StoreConfig { flush_mode, ..config(dir.path()) };
        let store = open(config.clone());
        let mut expected = vec![Vec::new(); 4];
        for n in 0..500 {
            let id = n % 4;
            let outcomes = send(&store, &queue(&store, "TopicA", id as i32), &[&body(n), &body(n + 1)]);
            for (outcome, body) in outcomes.iter().zip([body(n), body(n + 1)]) {
                assert_eq!(stored(outcome).queue_offset.0, expected[id].len() as i64);
                expected[id].push(body);
            }
        }
        let check = |store: &ferromq_store::Store| {
            for (id, expected) in expected.iter().enumerate() {
                let found = read_all(store, &queue(store, "TopicA", id as i32), 0);
                let expected: Vec<_> = (0..).zip(expected.iter().cloned()).collect();
                assert_eq!(found, expected);
            }
        };
        check(&store);
        let end = store.max_physical();
        assert!(store.stop().clean);
        drop(store);

        let store = open(config);
        assert!(!store.recovery().abnormal);
        assert_eq!(store.recovery().records, 0, "a clean stop leaves nothing to read again");
        assert_eq!(store.max_physical(), end);
        check(&store);
        let outcome = send(&store, &queue(&store, "TopicA", 0), &[b"next"]);
        assert_eq!(stored(&outcome[0]).queue_offset.0, expected[0].len() as i64);
    }
}

#[test]
fn a_crash_without_a_stop_loses_nothing_that_was_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let mut sent = 0;
    for round in 0..4 {
        let store = open(config.clone());
        assert_eq!(store.recovery().abnormal, round > 0);
        let queue = queue(&store, "TopicA", 0);
        let found = read_all(&store, &queue, 0);
        assert_eq!(found.len(), sent, "round {round}: {:?}", store.recovery());
        for (place, (offset, found)) in found.into_iter().enumerate() {
            assert_eq!((offset, found), (place as i64, body(place)));
        }
        for _ in 0..150 {
            stored(&send(&store, &queue, &[&body(sent)])[0]);
            sent += 1;
        }
    }
}

#[test]
fn a_record_is_found_by_its_position_and_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(config(dir.path()));
    let queue = queue(&store, "TopicA", 0);
    let first = stored(&send(&store, &queue, &[b"first"])[0]);
    let second = stored(&send(&store, &queue, &[b"second"])[0]);
    let mut out = Vec::new();
    store.record_at(second.physical, Wait::Allowed, &mut out).unwrap();
    let record = ferromq_protocol::record::decode(&out).unwrap();
    assert_eq!((record.body, record.physical), (&b"second"[..], second.physical));
    assert_eq!(record.store_timestamp, second.store_timestamp);
    let end = store.max_physical();
    for wrong in [-1, first.physical.0 + 1, first.physical.0 + 4, end.0, end.0 + 100_000] {
        let error = store.record_at(PhysicalOffset(wrong), Wait::Allowed, &mut out).unwrap_err();
        assert!(matches!(error, ferromq_store::ReadError::NotFound(_)), "{wrong}: {error}");
    }
}

#[test]
fn a_stopped_store_refuses_records() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(config(dir.path()));
    let queue = queue(&store, "TopicA", 0);
    stored(&send(&store, &queue, &[b"first"])[0]);
    assert!(store.stop().clean);
    let port = store.port();
    let mut batch = port.batch();
    batch.push(&common::parts(&queue, b"late", b"", 7)).unwrap();
    port.submit(batch).unwrap();
    store.commit_inline();
    assert_eq!(common::done(&port).answers(), [(7, Outcome::ReadOnly)]);
}

/// The syncer rests for a second when it has nothing to do. A record that comes right then must not wait for its end.
#[test]
fn a_flush_does_not_wait_for_the_end_of_a_rest() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(StoreConfig { flush_interval: Duration::from_millis(50), ..config(directory.path()) });
    let queue = queue(&store, "orders", 0);
    let synced_after = || {
        let began = Instant::now();
        let stored = stored(&send(&store, &queue, &[b"x"])[0]);
        while store.status().durable <= stored.physical {
            assert!(began.elapsed() < Duration::from_secs(20), "never synced");
            std::thread::sleep(Duration::from_millis(1));
        }
        began.elapsed()
    };
    // Each begins when the one before was synced, hence at the beginning of a rest. A busy machine may delay some.
    let fastest = (0..4).map(|_| synced_after()).skip(1).min().unwrap();
    assert!(fastest < Duration::from_millis(600), "{fastest:?}");
    store.stop();
}
