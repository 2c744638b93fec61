//! Every limit of the broker, driven to its end with its gauge in view.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ferromq_broker::background::{self, Background};
use ferromq_broker::holds::{HOLD_BYTES_MAX, HOLDS_MAX};
use ferromq_protocol::code::request;
use ferromq_protocol::header::OwnedFrame;

use crate::slow_disk::{Gate, SlowDisk};
use crate::support::{Client, Pull, Send, TestBroker, eventually, number};
use crate::watched_disk::WatchedDisk;

/// More at once than a connection may have unanswered: the rest waits in the socket, and all of it is answered.
#[test]
fn a_flood_of_sends_is_slowed_down_and_answered() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    Send::to("T").ok(&mut client);
    let body = vec![b'x'; 1_000];
    let count = 20_000;
    let address = broker.address();
    let mut writer = client.split();
    let sender = std::thread::spawn(move || {
        let send = Send::to("T");
        let fields = send.fields();
        for _ in 0..count {
            writer.post(request::SEND_MESSAGE_V2, &fields, &body);
        }
        writer
    });
    let mut last = 0;
    for _ in 0..count {
        let reply = client.receive_within(crate::support::PATIENCE).unwrap();
        assert_eq!(reply.code, 0, "{:?}", reply.remark);
        last = last.max(number(&reply, "queueOffset"));
    }
    sender.join().unwrap();
    assert_eq!(last, count);
    let status = broker.broker().store.status();
    assert_eq!(status.pending_bytes, 0);
    Send::to("T").ok(&mut crate::support::Client::connect(address));
}

/// Posts bursts of a request until one of a burst had to wait for too long, and gives its answer.
fn burst_until_refused(broker: &TestBroker, code: i32, fields: &[(&str, &str)]) -> OwnedFrame {
    let mut client = broker.client();
    for _ in 0..1_000 {
        let asked: Vec<i32> = (0..500).map(|_| client.post(code, fields, b"x")).collect();
        let replies: Vec<OwnedFrame> = asked.into_iter().map(|opaque| client.reply(opaque)).collect();
        if let Some(refused) = replies.into_iter().find(|reply| reply.code != 0) {
            return refused;
        }
    }
    panic!("all of them were answered in time");
}

#[test]
fn sends_that_waited_too_long_are_refused() {
    let broker = TestBroker::with(&[("waitTimeMillsInSendQueue", "1")]);
    let refused = burst_until_refused(&broker, request::SEND_MESSAGE_V2, &Send::to("T").fields());
    assert_eq!(refused.code, 2);
    assert!(refused.remark.unwrap().starts_with("[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control"));
}

#[test]
fn requests_for_the_disk_that_waited_too_long_are_refused() {
    let broker = TestBroker::with(&[("waitTimeMillsInPullQueue", "1")]);
    let refused = burst_until_refused(&broker, request::GET_ALL_TOPIC_CONFIG, &[]);
    assert_eq!(refused.code, 2);
    assert!(refused.remark.unwrap().starts_with("[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control"));
}

#[tokio::test]
async fn work_for_the_disk_is_refused_beyond_its_queue() {
    let pool = Background::new(1);
    let (release, gate) = std::sync::mpsc::channel::<()>();
    pool.run(move || gate.recv().unwrap_or_default()).unwrap();
    for _ in 1..background::WAITING_MAX {
        pool.run(|| ()).unwrap();
    }
    assert_eq!(pool.waiting(), background::WAITING_MAX);
    assert!(pool.run(|| ()).is_err());
    drop(release);
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while pool.waiting() > 0 {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    pool.run(|| ()).unwrap();
}

#[test]
fn held_pulls_are_counted_and_have_an_end() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let count = broker.broker().holds.clone();
    let text = "x".repeat(3_000);
    let pull = || Pull::of("T", "g").at("1").held("60000").field("subscription", &text);
    for (parked, bytes) in [(HOLDS_MAX - 1, 0), (0, HOLD_BYTES_MAX - 10_000)] {
        Send::to("T").ok(&mut client);
        count.pretend(parked, bytes);
        let held = pull().post(&mut client);
        eventually("it is held", || count.now() == parked + 1 && count.bytes() > bytes + 2 * text.len());
        let refused = pull().by(&mut client);
        assert_eq!(refused.code, 2);
        assert!(refused.remark.unwrap().starts_with("[OVERLOAD]"));

        assert_eq!(client.call(request::DELETE_TOPIC_IN_BROKER, &[("topic", "T")], b"").code, 0);
        assert_eq!(client.reply(held).code, 17, "its topic is gone");
        assert_eq!((count.now(), count.bytes()), (parked, bytes));
        count.pretend(parked.wrapping_neg(), bytes.wrapping_neg());
    }
}

#[test]
fn requests_that_are_kept_are_counted_in_bytes() {
    const LEN: usize = 1 << 20;
    let broker = TestBroker::start();
    let held = Arc::clone(broker.broker().background.held());
    let gate = Gate::default();
    let closed = gate.close();
    broker.occupy_pool(&gate);
    let body = vec![b' '; LEN];
    let ask = |client: &mut Client, count: usize| {
        let mut writer = client.split();
        let body = body.clone();
        std::thread::spawn(move || {
            (0..count).map(|_| writer.post(request::GET_ALL_TOPIC_CONFIG, &[], &body)).collect::<Vec<i32>>()
        })
    };
    let mut greedy = broker.client();
    let asked = ask(&mut greedy, 40);
    eventually("nothing more is read", || held.now() >= background::IN_FLIGHT_BYTES_MAX);
    std::thread::sleep(crate::support::SILENCE);
    assert!(held.now() < background::IN_FLIGHT_BYTES_MAX + 2 * LEN, "{}", held.now());

    // What all of them have in flight has a limit too, and others than the greedy are told so.
    let before = background::HELD_BYTES_MAX - held.now() - LEN / 2;
    held.pretend(before);
    let mut other = broker.client();
    let refused = other.call(request::GET_ALL_TOPIC_CONFIG, &[], &body);
    assert_eq!(refused.code, 2);
    assert!(refused.remark.unwrap().starts_with("[OVERLOAD]"));
    let refused = other.call(request::UPDATE_AND_CREATE_TOPIC_LIST, &[], &body);
    assert_eq!(refused.code, 2);
    let refused = Send::to("new").body(&body).by(&mut other);
    assert_eq!(refused.code, 2);
    held.pretend(before.wrapping_neg());
    Send::to("new").body(&body).ok(&mut other);

    drop(closed);
    let asked = asked.join().unwrap();
    for opaque in asked {
        assert_eq!(greedy.reply(opaque).code, 0);
    }
    eventually("nothing is held", || held.now() == 0);
    assert_eq!(broker.gauge("ferromqInFlightBytesMax"), background::HELD_BYTES_MAX);
}

/// A broker whose log answers when the test wants.
fn on_slow_disk(settings: &[(&str, &str)]) -> (Arc<SlowDisk>, TestBroker) {
    let disk = Arc::new(SlowDisk::default());
    let settings = [&[("flushDiskType", "SYNC_FLUSH"), ("syncFlushTimeout", "60000")], settings].concat();
    let broker = TestBroker::on_disk(Arc::new(WatchedDisk::new(Arc::clone(&disk))), &settings);
    (disk, broker)
}

/// Posts sends from another thread until the broker takes no more, and hands over what it is told about them.
fn flood(client: &Client, body: &[u8], count: usize) -> std::thread::JoinHandle<Vec<i32>> {
    let (mut writer, body) = (client.split(), body.to_vec());
    std::thread::spawn(move || {
        let send = Send::to("T");
        let fields = send.fields();
        (0..count).map(|_| writer.post(request::SEND_MESSAGE_V2, &fields, &body)).collect()
    })
}

#[test]
fn unanswered_sends_of_a_connection_have_an_end() {
    for (len, count) in [(10, 9_000), (200_000, 120)] {
        let (disk, broker) = on_slow_disk(&[]);
        let messages_max = broker.gauge("ferromqUnansweredSendsPerConnectionMax");
        let bytes_max = broker.gauge("ferromqUnansweredSendBytesPerConnectionMax");
        let mut client = broker.client();
        Send::to("T").ok(&mut client);
        let pending = || broker.broker().store.status().pending_bytes;
        let closed = disk.syncs.close();
        let body = vec![b'x'; len];
        let first = client.post(request::SEND_MESSAGE_V2, &Send::to("T").fields(), &body);
        eventually("it waits for the disk", || pending() > 0);
        let each = pending();
        let limit = messages_max.min(bytes_max / each);

        let posted = flood(&client, &body, count);
        eventually("it is full", || pending() >= limit * each);
        std::thread::sleep(crate::support::SILENCE);
        assert!(pending() <= (limit + 1) * each, "{} messages of {len} bytes", pending() / each);
        assert_eq!(broker.gauge("ferromqPendingBytes"), pending());

        // Another connection still gets its turn.
        let other = broker.client().post(request::SEND_MESSAGE_V2, &Send::to("T").fields(), b"x");
        eventually("it waits, too", || pending() > limit * each);
        drop(closed);
        assert_eq!(client.reply(first).code, 0);
        let posted = posted.join().unwrap();
        assert!(posted.len() == count && other > 0);
        for _ in posted {
            assert_eq!(client.receive_within(crate::support::PATIENCE).unwrap().code, 0);
        }
        eventually("all are answered", || pending() == 0);
    }
}

#[test]
fn sends_of_all_connections_together_have_an_end() {
    const LEN: usize = 1_000_000;
    let (disk, broker) = on_slow_disk(&[]);
    let mut clients: Vec<Client> = (0..4).map(|_| broker.client()).collect();
    Send::to("T").ok(&mut clients[0]);
    let status = || broker.broker().store.status();
    let closed = disk.syncs.close();
    let body = vec![b'x'; LEN];
    let floods: Vec<_> = clients.iter().map(|client| flood(client, &body, 16)).collect();
    for posted in floods {
        posted.join().unwrap();
    }
    eventually("it is full", || status().pending_bytes > status().pending_bytes_max - 2 * LEN);
    assert!(status().pending_bytes <= status().pending_bytes_max);
    assert_eq!(broker.gauge("ferromqPendingBytesMax"), status().pending_bytes_max);

    drop(closed);
    let mut codes = BTreeMap::<i32, usize>::new();
    for client in &mut clients {
        for _ in 0..16 {
            let reply = client.receive_within(crate::support::PATIENCE).unwrap();
            if reply.code == 2 {
                assert!(reply.remark.as_deref().unwrap().starts_with("[OVERLOAD]"));
            }
            *codes.entry(reply.code).or_default() += 1;
        }
    }
    assert_eq!(codes.keys().collect::<Vec<_>>(), [&0, &2], "{codes:?}");
    assert!(codes[&0] >= status().pending_bytes_max / LEN - 2, "{codes:?}");
    assert_eq!(status().pending_bytes, 0);
    Send::to("T").body(&body).ok(&mut clients[0]);
}

#[test]
fn batches_that_are_kept_for_reuse_have_an_end() {
    const KEPT: usize = 64;
    const KEPT_BYTES: usize = 512 << 10;
    for (len, connections) in [(700_000, 40), (10, 200)] {
        let (disk, broker) = on_slow_disk(&[]);
        let mut clients: Vec<Client> = (0..connections).map(|_| broker.client()).collect();
        Send::to("T").ok(&mut clients[0]);
        let body = vec![b'x'; len];
        let pending = || broker.broker().store.status().pending_bytes;
        // One batch of each connection is in use at once.
        let closed = disk.syncs.close();
        for client in &mut clients {
            client.post(request::SEND_MESSAGE_V2, &Send::to("T").fields(), &body);
        }
        eventually("all wait for the disk", || pending() > connections * len.max(100));
        drop(closed);
        for client in &mut clients {
            assert_eq!(client.receive_within(crate::support::PATIENCE).unwrap().code, 0);
        }
        eventually("they are back", || broker.gauge("ferromqIdleBatches") >= connections.min(KEPT));
        let (batches, bytes) = (broker.gauge("ferromqIdleBatches"), broker.gauge("ferromqIdleBatchBytes"));
        assert!(batches <= KEPT && bytes <= batches * KEPT_BYTES && bytes > 0, "{batches} of {bytes} bytes");
        assert_eq!(broker.gauge("ferromqIdleBatchesMax"), KEPT);
        assert_eq!(broker.gauge("ferromqIdleBatchBytesMax"), KEPT * KEPT_BYTES);
    }
}

#[test]
fn only_the_newest_index_file_has_its_slot_table_in_memory() {
    let broker = TestBroker::with(&[("maxHashSlotNum", "100000"), ("maxIndexNum", "4000")]);
    let mut client = broker.client();
    let slots = || broker.gauge("ferromqIndexSlotBytes");
    let max = broker.gauge("ferromqIndexSlotBytesMax");
    assert_eq!(max, 100_000_usize.div_ceil(1_024) * 4_096);
    assert_eq!(slots(), 0, "an idle broker has none");
    let mut keyed = 1_u64..;
    let mut send = |count: usize| {
        // Keys that are alike would share few slots.
        let spread = |n: u64| format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let keys: Vec<String> = keyed.by_ref().take(count).map(spread).collect();
        Send::to("T").property("KEYS", &keys.join(" ")).ok(&mut client);
    };
    send(1);
    // One page of it, or two: there may be an entry of the message's own.
    assert!((4_096..=8_192).contains(&slots()), "{}", slots());
    for _ in 0..3 {
        send(1_000);
    }
    assert_eq!(slots(), max, "so many keys need every page");
    // The file becomes full, and another begins.
    send(1_200);
    assert!(slots() < max, "{}", slots());
    send(1_500);
    send(1_500);
    assert_eq!(slots(), max);
}

#[test]
fn one_write_of_the_log_has_an_end_however_much_waits() {
    let (disk, broker) = on_slow_disk(&[("osPageCacheBusyTimeOutMills", "60000")]);
    let mut clients: Vec<Client> = (0..300).map(|_| broker.client()).collect();
    Send::to("T").ok(&mut clients[0]);
    let pending = || broker.broker().store.status().pending_bytes;
    let closed = disk.writes.close();
    let large = vec![b'x'; 100_000];
    let (few, many) = clients.split_at_mut(20);
    for client in few {
        client.post(request::SEND_MESSAGE_V2, &Send::to("T").fields(), &large);
    }
    eventually("the large ones wait", || pending() > 20 * large.len());
    for client in many {
        client.post(request::SEND_MESSAGE_V2, &Send::to("T").fields(), b"small");
    }
    eventually("the small ones wait too", || pending() > 20 * large.len() + 280 * 150);
    drop(closed);
    for client in &mut clients {
        assert_eq!(client.receive_within(crate::support::PATIENCE).unwrap().code, 0);
    }
    let largest = *disk.largest.lock().unwrap();
    assert!(largest.bytes > 500_000 && largest.bytes <= 1 << 20, "{largest:?}");
    assert_eq!(largest.pieces, 128);
}

#[test]
fn while_a_commit_does_not_return_sends_are_refused() {
    let (disk, broker) = on_slow_disk(&[("osPageCacheBusyTimeOutMills", "100")]);
    let mut client = broker.client();
    Send::to("T").ok(&mut client);
    let closed = disk.writes.close();
    let stuck = client.post(request::SEND_MESSAGE_V2, &Send::to("T").fields(), b"stuck");
    let stalled_ms = || broker.broker().store.status().commit_stalled_for.as_millis();
    eventually("it takes long", || stalled_ms() > 200);
    assert!(broker.gauge("pageCacheLockTimeMills") > 200);
    let refused = Send::to("T").by(&mut broker.client());
    assert_eq!(refused.code, 2);
    assert!(refused.remark.unwrap().starts_with("[REJECTREQUEST]"));
    drop(closed);
    assert_eq!(client.reply(stuck).code, 0);
    eventually("it is over", || stalled_ms() == 0);
    Send::to("T").ok(&mut client);
}

#[test]
fn requests_that_run_elsewhere_do_not_pile_up() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let count = 5 * background::IN_FLIGHT_MAX;
    let asked: Vec<i32> = (0..count).map(|_| client.post(request::GET_ALL_TOPIC_CONFIG, &[], b"")).collect();
    for opaque in asked {
        assert_eq!(client.reply(opaque).code, 0);
    }
    eventually("nothing waits any more", || broker.broker().background.waiting() == 0);
}

#[test]
fn sends_to_many_topics_that_appear_are_all_answered() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let topics: Vec<String> = (0..1_100).map(|n| format!("T{n}")).collect();
    let asked: Vec<i32> = topics
        .iter()
        .map(|topic| client.post(request::SEND_MESSAGE_V2, &Send::to(topic).fields(), b"x"))
        .collect();
    for opaque in asked {
        assert_eq!(client.reply(opaque).code, 0);
    }
    assert!(broker.broker().metadata.topics.len() > 1_100);
    // More than a connection keeps at hand, one after the other and back again.
    for topic in topics.iter().chain(topics.iter().rev()) {
        Send::to(topic).ok(&mut client);
    }
}

#[test]
fn thousands_of_idle_connections_cost_nobody_anything() {
    let broker = TestBroker::start();
    let idle: Vec<_> = (0..1_000).map(|_| broker.client()).collect();
    let mut client = broker.client();
    for _ in 0..100 {
        Send::to("T").ok(&mut client);
    }
    assert_eq!(broker.broker().clients.connections(), 0, "none of them registered anything");
    let connections = broker.gauge("ferromqConnections");
    assert!(connections > idle.len() && connections < broker.gauge("ferromqConnectionsMax"), "{connections}");
    drop(idle);
}
