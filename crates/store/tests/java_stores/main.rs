//! Stores that Java RocketMQ 5.5.0 wrote open in place: what we find in them equals what Java finds.
#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod fixture;

use std::net::IpAddr;
use std::sync::Arc;

use ferromq_protocol::msg_id;
use ferromq_protocol::record::{self, Record};
use ferromq_protocol::sys_flag;
use ferromq_protocol::types::{Host, PhysicalOffset, QueueId, QueueOffset, TimestampMs};
use ferromq_store::Store;
use ferromq_store::disk::{Access, RealDisk};
use ferromq_store::dispatch::TopicHash;
use ferromq_store::index::{Index, IndexConfig, IndexLoad, IndexQuery, Shape};
use ferromq_store::query::{KeyKind, KeyQuery};
use ferromq_store::queue::{Boundary, Queue, Wait};
use serde_json::Value;

use crate::fixture::Fixture;

/// What a broker that only opens and stops must not change.
const UNTOUCHED: &[&str] = &[
    "commitlog",
    "consumequeue",
    "batchconsumequeue",
    "index",
    "timerlog",
    "timerwheel",
    "config/delayOffset.json",
    "config/consumerOrderInfo.json",
];

fn long(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// The ordinary queues of a manifest.
fn queues<'a>(store: &Store, manifest: &'a Value) -> Vec<(Arc<Queue>, &'a Value)> {
    let mut found = Vec::new();
    for (topic, ids) in manifest["topics"].as_object().unwrap() {
        for (id, facts) in ids.as_object().unwrap() {
            if facts["cqType"] == "SimpleCQ" {
                let queue = store.find_queue(topic, QueueId(id.parse().unwrap()));
                match queue {
                    Some(queue) => found.push((queue, facts)),
                    None => assert_eq!(long(&facts["maxOffset"]), 0, "{topic}-{id} is missing"),
                }
            } else {
                assert!(store.find_queue(topic, QueueId(id.parse().unwrap())).is_none(), "{topic}-{id}");
            }
        }
    }
    found
}

fn check_bounds(store: &Store, manifest: &Value) {
    assert_eq!(store.min_physical().0, long(&manifest["afterLoad"]["minPhyOffset"]));
    assert_eq!(store.max_physical().0, long(&manifest["afterLoad"]["maxPhyOffset"]));
    let queues = queues(store, manifest);
    for (queue, facts) in &queues {
        assert_eq!(queue.min_offset().0, long(&facts["minOffset"]), "{queue:?}");
        assert_eq!(queue.max_offset().0, long(&facts["maxOffset"]), "{queue:?}");
        assert_eq!(queue.next_offset(), queue.max_offset(), "{queue:?}");
    }
    assert_eq!(store.queues().count(), queues.len(), "no queue that Java does not have");
}

fn check_messages(store: &Store, manifest: &Value) -> usize {
    let mut checked = 0;
    for (queue, facts) in queues(store, manifest) {
        for message in facts["messages"].as_array().unwrap() {
            let entry = queue.entry(QueueOffset(long(&message["queueOffset"]))).unwrap().unwrap();
            assert_eq!(entry.physical.0, long(&message["commitLogOffset"]), "{queue:?}");
            assert_eq!(i64::from(entry.size), long(&message["size"]), "{queue:?}");
            assert_eq!(entry.tag_code, long(&message["tagsCode"]), "{queue:?}");
            let mut bytes = Vec::new();
            store.record_at(entry.physical, Wait::Allowed, &mut bytes).unwrap();
            check_record(&record::decode(&bytes).unwrap(), message);
            checked += 1;
        }
    }
    checked
}

fn check_record(record: &Record<'_>, message: &Value) {
    assert_eq!(format!("{:08x}", record.magic), text(&message["magic"]));
    assert_eq!(record.topic, text(&message["topic"]));
    assert_eq!(i64::from(record.queue_id.0), long(&message["queueId"]));
    assert_eq!(record.queue_offset.0, long(&message["recordQueueOffset"]));
    assert_eq!(i64::from(record.flag), long(&message["flag"]));
    assert_eq!(i64::from(record.sys_flag & !sys_flag::COMPRESSED), long(&message["sysFlag"]));
    assert_eq!(record.born_timestamp.0, long(&message["bornTimestamp"]));
    assert_eq!(record.store_timestamp.0, long(&message["storeTimestamp"]));
    assert_eq!(record.born_host, host(&message["bornHost"]));
    assert_eq!(record.store_host, host(&message["storeHost"]));
    assert_eq!(i64::from(record.reconsume_times), long(&message["reconsumeTimes"]));
    assert_eq!(record.prepared_transaction_offset.0, long(&message["preparedTransactionOffset"]));
    assert_eq!(i64::from(record.body_crc), long(&message["recordBodyCrc"]));
    assert_eq!(record.body.len() as i64, long(&message["storedBodyLength"]));
    assert!(record.body_crc_matches());
    if record.sys_flag & sys_flag::COMPRESSED == 0 {
        assert_eq!(record.body.len() as i64, long(&message["bodyLength"]));
        assert_eq!(format!("{:08x}", crc32fast::hash(record.body)), text(&message["bodyCrc32"]));
    }
    let id = msg_id::OffsetMsgId { store_host: record.store_host, physical: record.physical };
    assert_eq!(id.text().as_str(), text(&message["offsetMsgId"]));
    for (name, value) in message["properties"].as_object().unwrap() {
        assert_eq!(record.properties.get(name), value.as_str(), "{name}");
    }
    for (field, property) in [("uniqKey", "UNIQ_KEY"), ("tags", "TAGS"), ("keys", "KEYS")] {
        assert_eq!(record.properties.get(property), message[field].as_str(), "{field}");
    }
}

/// `1.2.3.4:5` or `[0:0:0:0:0:0:0:1]:5`.
fn host(value: &Value) -> Host {
    let (ip, port) = text(value).rsplit_once(':').unwrap();
    let ip: IpAddr = ip.trim_matches(['[', ']']).parse().unwrap();
    Host { ip, port: port.parse().unwrap() }
}

fn check_time_searches(store: &Store, manifest: &Value) -> usize {
    let mut checked = 0;
    for (queue, facts) in queues(store, manifest) {
        for search in facts["searchOffsetByTime"].as_array().unwrap() {
            let time = TimestampMs(long(&search["timestamp"]));
            for (answer, boundary) in
                [("offset", Boundary::default()), ("lower", Boundary::Lower), ("upper", Boundary::Upper)]
            {
                let found = store.offset_by_time(&queue, time, boundary).unwrap();
                assert_eq!(found.0, long(&search[answer]), "{queue:?} at {time} {answer}");
                checked += 1;
            }
        }
        for message in facts["messages"].as_array().unwrap() {
            let offset = QueueOffset(long(&message["queueOffset"]));
            let time = store.store_time(&queue, offset).unwrap().unwrap();
            assert_eq!(time.0, long(&message["storeTimestamp"]));
        }
    }
    checked
}

/// Every query Java was asked, in Java's order, straight from the index files.
fn check_index_files(fixture: &Fixture) -> usize {
    let config = fixture.config();
    let shape = Shape { slots: config.index_slots, entries: config.index_entries };
    let config = IndexConfig {
        dir: fixture.root.join("index"),
        staging: fixture.root.join("ferromq/tmp"),
        shape,
        access: Access::Read,
        zone: config.time_zone,
    };
    let load = IndexLoad {
        clean: true,
        end: PhysicalOffset(i64::MAX),
        full_until: TimestampMs(0),
        synced_below: PhysicalOffset(0),
        store_time: &|_| None,
    };
    let (index, findings) = Index::open(config, Arc::new(RealDisk::default()), &load).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    let queries = fixture.manifest["keyQueries"].as_array().unwrap();
    for query in queries {
        let topic = TopicHash::new(text(&query["topic"]));
        let key = text(&query["key"]);
        let hits = index
            .query_newest_first(&IndexQuery {
                hash: if query["indexType"] == "T" { topic.tag(key) } else { topic.key(key) },
                max: usize::try_from(long(&query["maxNum"])).unwrap(),
                begin: TimestampMs(long(&query["begin"])),
                end: TimestampMs(long(&query["end"])),
            })
            .unwrap();
        let expected: Vec<i64> = query["phyOffsets"].as_array().unwrap().iter().map(long).collect();
        let found: Vec<i64> = hits.offsets.iter().map(|offset| offset.0).collect();
        assert_eq!(found, expected, "{query}");
        assert_eq!(hits.last_physical.0, long(&query["indexLastUpdatePhyoffset"]), "{query}");
        assert_eq!(hits.last_time.0, long(&query["indexLastUpdateTimestamp"]), "{query}");
    }
    queries.len()
}

/// The same queries through the store, which leaves out what only has the same hash.
fn check_key_queries(store: &Store, manifest: &Value) {
    for query in manifest["keyQueries"].as_array().unwrap() {
        let asked = KeyQuery {
            topic: text(&query["topic"]),
            key: text(&query["key"]),
            kind: if query["indexType"] == "T" { KeyKind::Tag } else { KeyKind::Key },
            max: usize::try_from(long(&query["maxNum"])).unwrap(),
            begin: TimestampMs(long(&query["begin"])),
            end: TimestampMs(long(&query["end"])),
        };
        let mut bytes = Vec::new();
        let hits = store.query(&asked, &mut bytes).unwrap();
        let found: Vec<i64> = record::decode_all(&bytes).map(|record| record.unwrap().physical.0).collect();
        let mut expected: Vec<i64> = query["phyOffsets"].as_array().unwrap().iter().map(long).collect();
        expected.sort_unstable();
        expected.dedup();
        // These fixtures have no two keys with one hash.
        assert_eq!((&found, hits.records), (&expected, expected.len()), "{query}");
    }
}

fn check_acknowledged(store: &Store, manifest: &Value) -> usize {
    let mut checked = 0;
    for row in manifest["acked"].as_array().unwrap() {
        let queue = store.find_queue(text(&row[0]), QueueId(i32::try_from(long(&row[1])).unwrap())).unwrap();
        for (i, id) in (0..).zip(text(&row[4]).split(',')) {
            let entry = queue.entry(QueueOffset(long(&row[2]) + i)).unwrap().unwrap();
            let mut bytes = Vec::new();
            store.record_at(entry.physical, Wait::Allowed, &mut bytes).unwrap();
            let record = record::decode(&bytes).unwrap();
            let found = msg_id::OffsetMsgId { store_host: record.store_host, physical: record.physical };
            assert_eq!(found.text().as_str(), id);
            checked += 1;
        }
    }
    checked
}

/// Opens the store and compares everything; twice, the second time after a stop of ours.
fn equals_manifest(name: &str) {
    let fixture = Fixture::unpack(name);
    for run in 1..=2 {
        let store = fixture.open();
        check_bounds(&store, &fixture.manifest);
        let messages = check_messages(&store, &fixture.manifest);
        let searches = check_time_searches(&store, &fixture.manifest);
        check_key_queries(&store, &fixture.manifest);
        assert!(messages >= 20 && searches >= 40, "{messages} messages, {searches} searches");
        if fixture.manifest["acked"].is_array() {
            let acknowledged = check_acknowledged(&store, &fixture.manifest);
            assert!(acknowledged > 2_000, "{acknowledged}");
        }
        assert_eq!(store.recovery().queue_table_used, run == 2, "our table, once there is one");
        store.start().unwrap();
        assert!(store.stop().clean);
        let queries = check_index_files(&fixture);
        assert!(queries >= 30, "{queries}");
    }
}

#[test]
fn opens_plain_java_store() {
    equals_manifest("plain");
}

#[test]
fn opens_java_store_with_ipv6_hosts() {
    equals_manifest("ipv6");
}

#[test]
fn recovers_a_killed_java_store_as_java_does() {
    equals_manifest("crash");
}

#[test]
fn recovers_a_killed_java_store_with_a_checkpoint_as_java_does() {
    equals_manifest("crash-checkpoint");
}

#[test]
fn java_index_files_answer_in_javas_order() {
    for name in ["plain", "features", "batchcq", "ipv6"] {
        let queries = check_index_files(&Fixture::unpack(name));
        assert!(queries >= 30, "{queries}");
    }
}

#[test]
fn what_we_do_not_support_stays_as_it_is() {
    for name in ["features", "batchcq"] {
        let fixture = Fixture::unpack(name);
        let before = fixture.checksums(UNTOUCHED);
        assert!(before.len() >= 6, "{before:?}");
        for _ in 0..2 {
            let store = fixture.open();
            check_bounds(&store, &fixture.manifest);
            check_messages(&store, &fixture.manifest);
            check_time_searches(&store, &fixture.manifest);
            check_key_queries(&store, &fixture.manifest);
            store.start().unwrap();
            assert!(store.stop().clean);
            assert_eq!(fixture.checksums(UNTOUCHED), before, "{name}");
        }
    }
}

#[test]
fn a_plain_java_store_stays_as_it_is_when_nothing_is_sent() {
    for name in ["plain", "ipv6"] {
        let fixture = Fixture::unpack(name);
        let before = fixture.checksums(UNTOUCHED);
        let store = fixture.open();
        store.start().unwrap();
        assert!(store.stop().clean);
        assert_eq!(fixture.checksums(UNTOUCHED), before, "{name}");
    }
}
