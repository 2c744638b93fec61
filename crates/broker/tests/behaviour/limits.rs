//! Every limit of the broker, driven to its end with its gauge in view.

use std::time::Duration;

use ferromq_broker::background::{self, Background};
use ferromq_broker::holds::HOLDS_MAX;
use ferromq_protocol::code::request;
use ferromq_protocol::header::OwnedFrame;

use crate::support::{Pull, Send, TestBroker, eventually, number};

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
    Send::to("T").ok(&mut client);
    let count = broker.broker().holds.clone();
    count.pretend(HOLDS_MAX - 1);
    let held = Pull::of("T", "g").at("1").held("60000").post(&mut client);
    eventually("the last place is taken", || count.now() == HOLDS_MAX);
    let refused = Pull::of("T", "g").at("1").held("60000").by(&mut client);
    assert_eq!(refused.code, 2);
    assert!(refused.remark.unwrap().starts_with("[OVERLOAD]"));
    Send::to("T").ok(&mut client);
    assert_eq!(client.reply(held).code, 0);
    assert_eq!(count.now(), HOLDS_MAX - 1);
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
    let topics: Vec<String> = (0..600).map(|n| format!("T{n}")).collect();
    let asked: Vec<i32> = topics
        .iter()
        .map(|topic| client.post(request::SEND_MESSAGE_V2, &Send::to(topic).fields(), b"x"))
        .collect();
    for opaque in asked {
        assert_eq!(client.reply(opaque).code, 0);
    }
    assert!(broker.broker().metadata.topics.len() > 600);
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
    drop(idle);
}
