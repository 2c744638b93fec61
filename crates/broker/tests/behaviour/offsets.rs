//! Committed offsets: kept over restarts, never ahead after a crash.

use ferromq_protocol::code::request;

use crate::support::{Client, Send, TestBroker, eventually, number};

fn commit(client: &mut Client, offset: i64) {
    let offset = offset.to_string();
    let fields =
        [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0"), ("commitOffset", offset.as_str())];
    assert_eq!(client.call(request::UPDATE_CONSUMER_OFFSET, &fields, b"").code, 0);
}

/// What the broker knows, or `None` if it says that it knows nothing.
fn committed(client: &mut Client) -> Option<i64> {
    let fields = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0"), ("setZeroIfNotFound", "false")];
    let reply = client.call(request::QUERY_CONSUMER_OFFSET, &fields, b"");
    (reply.code == 0).then(|| number(&reply, "offset"))
}

fn prepared(broker: &TestBroker) -> Client {
    let mut client = broker.client();
    for _ in 0..10 {
        Send::to("T").ok(&mut client);
    }
    client.call(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], br#"{"groupName":"g"}"#);
    client
}

#[test]
fn offsets_survive_a_stop() {
    let broker = TestBroker::start();
    let mut client = prepared(&broker);
    commit(&mut client, 7);
    let broker = broker.restart();
    assert_eq!(committed(&mut broker.client()), Some(7));
}

/// As with Java, it starts there only if it has missed nothing.
#[test]
fn a_new_group_starts_at_the_first_message_ever_or_where_it_likes() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let body = vec![b'x'; 1_000_000];
    for _ in 0..20 {
        Send::to("T").body(&body).ok(&mut client);
    }
    let asked = [("consumerGroup", "new"), ("topic", "T"), ("queueId", "0")];
    let reply = client.call(request::QUERY_CONSUMER_OFFSET, &asked, b"");
    assert_eq!((reply.code, reply.field("offset")), (0, Some("0")));

    let directory = broker.stop();
    std::fs::remove_file(directory.path().join("commitlog/00000000000000000000")).unwrap();
    let broker = TestBroker::on(directory);
    let mut client = broker.client();
    let least = client.call(request::GET_MIN_OFFSET, &[("topic", "T"), ("queueId", "0")], b"");
    assert!(number(&least, "offset") > 0, "the first file had messages");
    assert_eq!(client.call(request::QUERY_CONSUMER_OFFSET, &asked, b"").code, 22);
}

#[test]
fn after_a_crash_an_offset_may_be_older_but_not_newer() {
    let broker = TestBroker::with(&[("flushConsumerOffsetInterval", "100")]);
    let mut client = prepared(&broker);
    let file = broker.directory.path().join("config/consumerOffset.json");
    commit(&mut client, 3);
    eventually("the offset is in its file", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains("0:3"))
    });
    for offset in 4..=9 {
        commit(&mut client, offset);
    }
    let broker = broker.crash();
    let offset = committed(&mut broker.client()).unwrap();
    assert!((3..=9).contains(&offset), "{offset}");
}

#[test]
fn an_offset_beyond_a_log_that_lost_its_end_is_taken_back() {
    let broker = TestBroker::start();
    let mut client = prepared(&broker);
    commit(&mut client, 10);
    drop(client);
    let directory = broker.stop();
    // As after a power cut: the offsets reached the disk, the last messages did not.
    let text = std::fs::read_to_string(directory.path().join("config/consumerOffset.json")).unwrap();
    assert!(text.contains("0:10"), "{text}");
    std::fs::write(directory.path().join("config/consumerOffset.json"), text.replace("0:10", "0:25"))
        .unwrap();
    std::fs::write(directory.path().join("abort"), "").unwrap();
    let broker = TestBroker::on(directory);
    assert_eq!(committed(&mut broker.client()), Some(10), "the end of the queue, not beyond");
}

#[test]
fn a_topic_that_comes_again_has_no_offsets_of_its_former_life() {
    let broker = TestBroker::start();
    let mut client = prepared(&broker);
    commit(&mut client, 7);
    assert_eq!(client.call(request::DELETE_TOPIC_IN_BROKER, &[("topic", "T")], b"").code, 0);
    assert_eq!(committed(&mut client), None);
    let reply = Send::to("T").ok(&mut client);
    assert_eq!(number(&reply, "queueOffset"), 0);
    let broker = broker.crash();
    assert_eq!(committed(&mut broker.client()), None);
    assert_eq!(number(&Send::to("T").ok(&mut broker.client()), "queueOffset"), 1);
}

#[test]
fn deleting_a_group_keeps_its_offsets_unless_told_otherwise() {
    let broker = TestBroker::start();
    let mut client = prepared(&broker);
    commit(&mut client, 7);
    client.call(request::DELETE_SUBSCRIPTIONGROUP, &[("groupName", "g")], b"");
    assert_eq!(committed(&mut client), Some(7));
    let fields = [("groupName", "g"), ("cleanOffset", "true")];
    client.call(request::DELETE_SUBSCRIPTIONGROUP, &fields, b"");
    assert_eq!(committed(&mut client), None);
}

#[test]
fn a_new_group_begins_where_a_young_queue_begins() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    Send::to("T").queue("1").ok(&mut client);
    let ask = |client: &mut Client, queue| {
        let fields = [("consumerGroup", "g"), ("topic", "T"), ("queueId", queue)];
        client.call(request::QUERY_CONSUMER_OFFSET, &fields, b"")
    };
    assert_eq!(ask(&mut client, "0").code, 22, "an empty queue has no first message");
    let reply = ask(&mut client, "1");
    assert_eq!((reply.code, number(&reply, "offset")), (0, 0));
}

#[test]
fn javas_file_is_read_and_kept() {
    let java = "{\n\t\"dataVersion\":{\n\t\t\"counter\":4,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":17\n\t},\n\t\"groupTopicMap\":{\"g\":[\"T\"]},\n\t\"offsetTable\":{\n\t\t\"T@g\":{0:5,1:7},\n\t\t\"T@b@broadcast\":{0:2}\n\t},\n\t\"pullOffsetTable\":{}\n}";
    let broker = TestBroker::with_files(&[("config/consumerOffset.json", java)]);
    assert_eq!(committed(&mut broker.client()), Some(5));
    let mut client = prepared(&broker);
    commit(&mut client, 6);
    let directory = broker.stop();
    let text = std::fs::read_to_string(directory.path().join("config/consumerOffset.json")).unwrap();
    assert!(text.contains("\"T@b@broadcast\""), "{text}");
    let backup = std::fs::read_to_string(directory.path().join("config/consumerOffset.json.bak")).unwrap();
    assert_eq!(backup, java);
}
