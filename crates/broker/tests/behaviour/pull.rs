//! Pulling: what is found, what is waited for, and how long.

use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use ferromq_protocol::code::request;

use crate::support::{Client, PATIENCE, Pull, SILENCE, Send, TestBroker, eventually, number, records};

#[test]
fn a_held_pull_is_answered_by_the_next_message() {
    let broker = TestBroker::start();
    let (mut consumer, mut producer) = (broker.client(), broker.client());
    Send::to("T").ok(&mut producer);
    let pull = Pull::of("T", "g").at("1").held("15000").post(&mut consumer);
    eventually("the pull is held", || broker.broker().holds.now() == 1);
    let sent = Instant::now();
    Send::to("T").body(b"news").ok(&mut producer);
    let reply = consumer.reply(pull);
    assert!(sent.elapsed() < Duration::from_secs(5));
    assert_eq!((reply.code, records(&reply.body)[0].body), (0, &b"news"[..]));
    assert_eq!(broker.broker().holds.now(), 0);
}

#[test]
fn a_pull_of_an_empty_queue_is_held_too() {
    let broker = TestBroker::start();
    let (mut consumer, mut producer) = (broker.client(), broker.client());
    Send::to("T").queue("1").ok(&mut producer);
    let pull = Pull::of("T", "g").held("15000").post(&mut consumer);
    eventually("the pull is held", || broker.broker().holds.now() == 1);
    Send::to("T").ok(&mut producer);
    assert_eq!(consumer.reply(pull).code, 0);
}

#[test]
fn only_a_wanted_tag_wakes_a_held_pull() {
    let broker = TestBroker::start();
    let (mut consumer, mut producer) = (broker.client(), broker.client());
    Send::to("T").ok(&mut producer);
    let wants = |expression| Pull::of("T", "g").at("1").held("15000").field("subscription", expression);
    let for_a = wants("TagA").post(&mut consumer);
    let for_b = wants("TagB || TagC").post(&mut consumer);
    eventually("both pulls are held", || broker.broker().holds.now() == 2);

    Send::to("T").property("TAGS", "TagX").ok(&mut producer);
    Send::to("T").ok(&mut producer);
    assert_eq!(consumer.receive_within(SILENCE), None, "nobody wants these");
    Send::to("T").property("TAGS", "TagC").ok(&mut producer);
    let reply = consumer.reply(for_b);
    assert_eq!((reply.code, number(&reply, "nextBeginOffset")), (0, 4));
    assert_eq!(records(&reply.body).len(), 1);
    assert_eq!(consumer.receive_within(SILENCE), None, "the other still waits");
    Send::to("T").property("TAGS", "TagA").ok(&mut producer);
    assert_eq!(records(&consumer.reply(for_a).body).len(), 1);
}

#[test]
fn a_held_pull_ends_when_its_time_is_up() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    Send::to("T").ok(&mut client);
    let asked = Instant::now();
    // The first is the last that is due: the one timer has to go back.
    let longest = Pull::of("T", "g").at("1").held("60000").post(&mut client);
    let shorter = Pull::of("T", "g").at("1").held("300").post(&mut client);
    let longer = Pull::of("T", "g").at("1").held("600").post(&mut client);
    for (opaque, ms) in [(shorter, 300), (longer, 600)] {
        let reply = client.reply(opaque);
        let waited = asked.elapsed();
        assert_eq!((reply.code, reply.remark.as_deref()), (19, Some("OFFSET_OVERFLOW_ONE")));
        assert!(waited >= Duration::from_millis(ms), "not before its time: {waited:?}");
        assert!(waited < Duration::from_millis(ms) + Duration::from_secs(4), "not long after: {waited:?}");
        for field in ["nextBeginOffset", "minOffset", "maxOffset", "suggestWhichBrokerId"] {
            number(&reply, field);
        }
    }
    Send::to("T").ok(&mut client);
    assert_eq!(client.reply(longest).code, 0);
}

#[test]
fn without_long_polling_a_pull_is_held_for_the_short_time() {
    let broker = TestBroker::with(&[("longPollingEnable", "false"), ("shortPollingTimeMills", "200")]);
    let mut client = broker.client();
    Send::to("T").ok(&mut client);
    let asked = Instant::now();
    assert_eq!(Pull::of("T", "g").at("1").held("15000").by(&mut client).code, 19);
    let waited = asked.elapsed();
    assert!(waited >= Duration::from_millis(200) && waited < Duration::from_secs(5), "{waited:?}");
}

#[test]
fn a_pull_that_may_not_be_held_is_answered_at_once() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    Send::to("T").ok(&mut client);
    let asked = Instant::now();
    assert_eq!(Pull::of("T", "g").at("1").field("suspendTimeoutMillis", "15000").by(&mut client).code, 19);
    assert_eq!(Pull::of("T", "g").at("1").held("0").by(&mut client).code, 19);
    assert!(asked.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_held_pull_commits_its_offset_once_and_at_once() {
    let broker = TestBroker::start();
    let (mut consumer, mut producer) = (broker.client(), broker.client());
    Send::to("T").ok(&mut producer);
    let pull = Pull::of("T", "g").at("1").held("15000").field("sysFlag", "7").field("commitOffset", "1");
    let held = pull.post(&mut consumer);
    let committed = || broker.broker().metadata.offsets.committed("g", "T", 0);
    eventually("the offset is committed while the pull is held", || committed() == Some(1));
    broker.broker().metadata.commit_offset("g", "T", 0, 0).unwrap();
    Send::to("T").ok(&mut producer);
    assert_eq!(consumer.reply(held).code, 0);
    assert_eq!(committed(), Some(0), "the second look commits nothing");
}

#[test]
fn held_pulls_go_with_their_connection() {
    let broker = TestBroker::start();
    let mut producer = broker.client();
    Send::to("T").ok(&mut producer);
    let mut consumer = broker.client();
    for _ in 0..50 {
        Pull::of("T", "g").at("1").held("60000").post(&mut consumer);
    }
    eventually("the pulls are held", || broker.broker().holds.now() == 50);
    drop(consumer);
    eventually("the pulls are gone", || broker.broker().holds.now() == 0);
    let queue = broker.broker().store.queue("T", ferromq_protocol::types::QueueId(0));
    assert_eq!(queue.waiting(), 0);
    Send::to("T").ok(&mut producer);
}

#[test]
fn deleting_a_topic_ends_its_held_pulls() {
    let broker = TestBroker::start();
    let (mut consumer, mut admin) = (broker.client(), broker.client());
    Send::to("T").ok(&mut admin);
    let held = Pull::of("T", "g").at("1").held("60000").post(&mut consumer);
    eventually("the pull is held", || broker.broker().holds.now() == 1);
    assert_eq!(admin.call(request::DELETE_TOPIC_IN_BROKER, &[("topic", "T")], b"").code, 0);
    assert_eq!(consumer.reply(held).code, 17);
}

#[test]
fn thousands_of_held_pulls_wait_without_work() {
    let broker = TestBroker::start();
    let (mut consumer, mut producer) = (broker.client(), broker.client());
    for queue in ["0", "1", "2", "3"] {
        Send::to("T").queue(queue).ok(&mut producer);
    }
    let post = |consumer: &mut _, n: i32| {
        let queue = (n % 4).to_string();
        Pull::of("T", "g").at("1").held("60000").field("queueId", &queue).post(consumer)
    };
    let held: Vec<i32> = (0..4_000).map(|n| post(&mut consumer, n)).collect();
    eventually("all are held", || broker.broker().holds.now() == 4_000);
    let found = broker.broker().stats.totals.found.total();
    let missed = broker.broker().stats.totals.missed.total();
    assert_eq!(consumer.receive_within(SILENCE), None);
    assert_eq!(broker.broker().stats.totals.missed.total(), missed, "nobody looked again");

    Send::to("T").queue("2").ok(&mut producer);
    for opaque in held.iter().skip(2).step_by(4) {
        assert_eq!(consumer.reply(*opaque).code, 0);
    }
    assert_eq!(broker.broker().holds.now(), 3_000, "the other queues' still wait");
    assert_eq!(broker.broker().stats.totals.found.total(), found + 1_000);
    assert_eq!(consumer.receive_within(SILENCE), None);
}

#[test]
fn a_pull_brings_at_most_32_messages_and_256_kib() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    for _ in 0..40 {
        Send::to("many").ok(&mut client);
    }
    let reply = Pull::of("many", "g").field("maxMsgNums", "1024").by(&mut client);
    assert_eq!(records(&reply.body).len(), 32);
    let body = vec![b'x'; 100_000];
    for _ in 0..5 {
        Send::to("large").body(&body).ok(&mut client);
    }
    let reply = Pull::of("large", "g").by(&mut client);
    assert_eq!(records(&reply.body).len(), 2, "a third would exceed the limit");
    let huge = vec![b'x'; 4 << 20];
    Send::to("huge").body(&huge).ok(&mut client);
    let reply = Pull::of("huge", "g").field("maxMsgBytes", "1000").by(&mut client);
    assert_eq!(records(&reply.body)[0].body.len(), huge.len(), "the first always comes");
}

#[test]
fn messages_that_left_memory_are_read_from_the_disk() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let body = vec![b'c'; 50_000];
    for _ in 0..20 {
        Send::to("T").body(&body).ok(&mut client);
    }
    // The ring of another process is empty: everything comes from files.
    let broker = broker.restart();
    let mut client = broker.client();
    let mut offset = 0;
    while offset < 20 {
        let reply = Pull::of("T", "g").at(&offset.to_string()).by(&mut client);
        assert_eq!(reply.code, 0, "{:?}", reply.remark);
        assert!(records(&reply.body).iter().all(|record| record.body == body));
        offset = number(&reply, "nextBeginOffset");
    }
}

/// Damages what each of these messages is made of, far from one another: the body, the length, where it says it lies.
#[test]
fn a_damaged_record_fails_the_pull_until_it_may_be_skipped() {
    const COUNT: usize = 12;
    let broker = TestBroker::start();
    let mut client = broker.client();
    for n in 0..COUNT {
        Send::to("T").body(format!("message {n}").as_bytes()).ok(&mut client);
    }
    let reply = Pull::of("T", "g").by(&mut client);
    let places: Vec<u64> =
        records(&reply.body).iter().map(|r| u64::try_from(r.physical.0).unwrap()).collect();
    assert_eq!(places.len(), COUNT);
    // The ring of another process is empty: everything comes from files, and is checked.
    let broker = broker.restart();
    let file = broker.directory.path().join("commitlog/00000000000000000000");
    let log = std::fs::File::options().write(true).open(&file).unwrap();
    let (body_at, position_at, damaged) = (88 + 3, 28, [3, 4, 8, 11]);
    log.write_all_at(b"?", places[3] + body_at).unwrap();
    log.write_all_at(&1_000_000_i32.to_be_bytes(), places[4]).unwrap();
    log.write_all_at(&[1], places[8] + position_at).unwrap();
    log.write_all_at(&[0; 100], places[11]).unwrap();

    let mut client = broker.client();
    let reply = Pull::of("T", "g").by(&mut client);
    let remark = reply.remark.as_deref().unwrap();
    assert_eq!(reply.code, 1, "{remark}");
    let at = places[3].to_string();
    assert!(remark.contains(file.to_str().unwrap()) && remark.contains(&at), "{remark}");
    assert!(broker.gauge("ferromqCorruptRecords") > 0);
    assert_eq!(broker.gauge("ferromqSkippedRecords"), 0);
    // What lies around it is served to whoever asks for that.
    assert_eq!(records(&Pull::of("T", "g").field("maxMsgNums", "3").by(&mut client).body).len(), 3);

    let skip = |client: &mut Client, skip: bool| {
        let line = format!("skipCorruptRecords={skip}\n");
        assert_eq!(client.call(request::UPDATE_BROKER_CONFIG, &[], line.as_bytes()).code, 0);
    };
    skip(&mut client, true);
    let reply = Pull::of("T", "g").by(&mut client);
    assert_eq!((reply.code, number(&reply, "nextBeginOffset")), (0, i64::try_from(COUNT).unwrap()));
    let offsets: Vec<i64> = records(&reply.body).iter().map(|record| record.queue_offset.0).collect();
    let whole: Vec<i64> = (0..12).filter(|offset| !damaged.contains(offset)).collect();
    assert_eq!(offsets, whole);
    assert_eq!(broker.gauge("ferromqSkippedRecords"), damaged.len());
    // Nothing but a damaged one: the consumer goes on behind it.
    let reply = Pull::of("T", "g").at("11").by(&mut client);
    assert_eq!((reply.code, reply.body.len(), number(&reply, "nextBeginOffset")), (0, 0, 12));

    skip(&mut client, false);
    assert_eq!(Pull::of("T", "g").by(&mut client).code, 1);
}

#[test]
fn every_status_has_its_code_and_its_next_offset() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    Send::to("T").queue("1").ok(&mut client);
    for _ in 0..3 {
        Send::to("T").property("TAGS", "TagA").ok(&mut client);
    }
    for (pull, code, remark, next) in [
        (Pull::of("T", "g").at("3"), 19, "OFFSET_OVERFLOW_ONE", 3),
        (Pull::of("T", "g").at("4"), 21, "OFFSET_OVERFLOW_BADLY", 3),
        (Pull::of("T", "g").at("-1"), 21, "OFFSET_TOO_SMALL", 0),
        (Pull::of("T", "g").field("subscription", "TagB"), 20, "NO_MATCHED_MESSAGE", 3),
        (Pull::of("T", "g").field("queueId", "2"), 19, "NO_MESSAGE_IN_QUEUE", 0),
        (Pull::of("T", "g").field("queueId", "2").at("9"), 21, "NO_MESSAGE_IN_QUEUE", 0),
    ] {
        let reply = pull.by(&mut client);
        assert_eq!((reply.code, reply.remark.as_deref()), (code, Some(remark)), "{pull:?}");
        assert_eq!(number(&reply, "nextBeginOffset"), next, "{pull:?}");
    }
}

#[test]
fn a_group_that_nobody_created_is_created_by_its_first_pull() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    Send::to("T").ok(&mut client);
    assert_eq!(Pull::of("T", "new").by(&mut client).code, 0);
    assert_eq!(client.call(request::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", "new")], b"").code, 0);
    let broker = broker.crash();
    let reply = broker.client().call(request::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", "new")], b"");
    assert_eq!(reply.code, 0, "it was saved before the pull was answered");
}

#[test]
fn pulls_on_one_connection_do_not_hold_each_other_up() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    Send::to("T").ok(&mut client);
    let held = Pull::of("T", "g").at("1").held("30000").post(&mut client);
    let asked = Instant::now();
    assert_eq!(Pull::of("T", "g").by(&mut client).code, 0);
    Send::to("T").ok(&mut client);
    assert_eq!(client.reply(held).code, 0);
    assert!(asked.elapsed() < PATIENCE);
}
