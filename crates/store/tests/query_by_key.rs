//! Records are found by their keys, also after a stop, after a crash, and after the log was cut.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use common::{config, done, open, parts, queue, stored};
use ferromq_protocol::record;
use ferromq_protocol::types::{PhysicalOffset, TimestampMs};
use ferromq_store::query::{KeyKind, KeyQuery};
use ferromq_store::{Store, Stored};

fn send_with_keys(store: &Store, n: usize) -> Stored {
    let queue = queue(store, "TopicA", 0);
    let port = store.port();
    let mut batch = port.batch();
    let properties = format!("KEYS\x01k{n} all\x02UNIQ_KEY\x01U{n}\x02TAGS\x01T{}\x02", n % 2);
    let body = format!("body {n}");
    batch.push(&parts(&queue, body.as_bytes(), properties.as_bytes(), 0)).unwrap();
    port.submit(batch).unwrap();
    store.commit_inline();
    stored(&done(&port).answers()[0].1)
}

fn bodies(store: &Store, key: &str, kind: KeyKind, max: usize) -> Vec<String> {
    let mut out = Vec::new();
    let query =
        KeyQuery { topic: "TopicA", key, kind, max, begin: TimestampMs(0), end: TimestampMs(i64::MAX) };
    let hits = store.query(&query, &mut out).unwrap();
    let bodies: Vec<String> = record::decode_all(&out)
        .map(|record| String::from_utf8(record.unwrap().body.to_vec()).unwrap())
        .collect();
    assert_eq!(bodies.len(), hits.records);
    bodies
}

fn check(store: &Store, count: usize) {
    for n in 0..count {
        let body = [format!("body {n}")];
        assert_eq!(bodies(store, &format!("k{n}"), KeyKind::Key, 64), body);
        assert_eq!(bodies(store, &format!("U{n}"), KeyKind::Key, 64), body);
    }
    let newest: Vec<String> = (count - 10..count).map(|n| format!("body {n}")).collect();
    assert_eq!(bodies(store, "all", KeyKind::Key, 10), newest);
    let odd: Vec<String> = (0..count).filter(|n| n % 2 == 1).map(|n| format!("body {n}")).collect();
    assert_eq!(bodies(store, "T1", KeyKind::Tag, 1000), odd);
    assert_eq!(bodies(store, &format!("k{count}"), KeyKind::Key, 64), [""; 0]);
    assert_eq!(bodies(store, "T1", KeyKind::Key, 64), [""; 0]);
}

#[test]
fn keys_are_found_after_a_stop_and_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let mut count = 0;
    for round in 0..4 {
        let store = open(config(dir.path()));
        if round > 0 {
            check(&store, count);
        }
        for _ in 0..300 {
            send_with_keys(&store, count);
            count += 1;
        }
        check(&store, count);
        if round % 2 == 0 {
            assert!(store.stop().clean);
        }
    }
}

#[test]
fn keys_behind_a_cut_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(config(dir.path()));
    let mut places: Vec<PhysicalOffset> = Vec::new();
    for n in 0..100 {
        places.push(send_with_keys(&store, n).physical);
    }
    store.stand_down();
    while store.truncate_to(places[60]).is_err() {
        std::thread::yield_now();
    }
    check(&store, 60);
    store.lead();
    for n in 60..80 {
        send_with_keys(&store, n);
    }
    check(&store, 80);
    assert!(store.stop().clean);
    drop(store);
    check(&open(config(dir.path())), 80);
}
