//! Producers: which queue, what is sent, when it is tried again.

use std::collections::HashSet;
use std::time::Duration;

use ferromq_client::{
    CallError, InvalidMessage, Message, ProducerOptions, RouteError, SendError, SendStatus, StartError,
};
use ferromq_protocol::code::{request, response};
use ferromq_protocol::frame::Encoding;
use ferromq_protocol::properties::Properties;
use ferromq_protocol::{batch, java};

use crate::fake::{Fake, Fault};

fn message(body: &str) -> Message {
    Message::new("T", body.to_owned()).tag("TagA").keys(["k1", "k2"])
}

#[tokio::test]
async fn a_message_is_sent_as_the_official_clients_send_it() {
    for encoding in [Encoding::Json, Encoding::Binary] {
        let fake = Fake::start("broker-a").await;
        fake.route("T", &[(&fake, 1)]);
        let client = fake.client_with(|config| config.encoding = encoding).await;
        let producer = client.producer("PID", ProducerOptions::default()).unwrap();
        let receipt = producer.send(&message("hello")).await.unwrap();

        let sent = fake.requests(request::SEND_MESSAGE_V2).remove(0);
        assert_eq!(sent.encoding, encoding);
        assert_eq!(&sent.body[..], b"hello");
        for (name, value) in [("a", "PID"), ("b", "T"), ("c", "TBW102"), ("d", "4"), ("e", "0"), ("f", "0")] {
            assert_eq!(sent.field(name), Some(value), "{name}");
        }
        for (name, value) in [("h", "0"), ("j", "0"), ("k", "false"), ("m", "false"), ("n", "broker-a")] {
            assert_eq!(sent.field(name), Some(value), "{name}");
        }
        let properties = Properties(sent.field("i").unwrap().as_bytes());
        assert_eq!(properties.get("TAGS"), Some("TagA"));
        assert_eq!(properties.get("KEYS"), Some("k1 k2"));
        assert_eq!(properties.get("WAIT"), Some("true"));
        assert_eq!(properties.get("UNIQ_KEY"), Some(receipt.msg_id.as_str()));
        assert_eq!(receipt.msg_id.len(), 32);
        assert_eq!((receipt.status, receipt.queue_offset.0), (SendStatus::Ok, 0));
        assert_eq!(receipt.offset_msg_id, "id-0");
    }
}

#[tokio::test]
async fn messages_go_round_all_queues_of_all_brokers() {
    let (a, b) = (Fake::start("a").await, Fake::start("b").await);
    a.route("T", &[(&a, 3), (&b, 2)]);
    let client = a.client().await;
    let producer = client.producer("PID", ProducerOptions::default()).unwrap();
    for turn in 0..10 {
        producer.send(&message(&turn.to_string())).await.unwrap();
    }
    for (fake, queues) in [(&a, 3), (&b, 2)] {
        for queue in 0..queues {
            assert_eq!(fake.stored("T", queue), 2, "{} {queue}", fake.name);
        }
    }
    assert_eq!(a.requests(request::GET_ROUTEINFO_BY_TOPIC).len(), 1, "the route is remembered");
}

#[tokio::test]
async fn a_failed_send_goes_to_another_broker() {
    let (a, b) = (Fake::start("a").await, Fake::start("b").await);
    a.route("T", &[(&a, 4), (&b, 1)]);
    let client = a.client().await;
    let producer = client.producer("PID", ProducerOptions::default()).unwrap();
    for code in [1, 2, 14, 16, 17, 204, 205] {
        for _ in 0..10 {
            a.fault(request::SEND_MESSAGE_V2, Fault::Answer(code, "no"));
        }
        // Among five sends in a row, at least one begins at `a`; each of those fails there once and is
        // stored at `b`.
        for body in 0..5 {
            let receipt = producer.send(&message(&format!("{code}-{body}"))).await.unwrap();
            assert_eq!(&*receipt.queue.broker_name, "b", "code {code}");
        }
        a.clear_faults();
    }
}

#[tokio::test]
async fn a_broken_connection_is_a_reason_to_try_again() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 2)]);
    let client = fake.client().await;
    let producer = client.producer("PID", ProducerOptions::default()).unwrap();
    fake.fault(request::SEND_MESSAGE_V2, Fault::Disconnect);
    producer.send(&message("x")).await.unwrap();
    assert_eq!(fake.requests(request::SEND_MESSAGE_V2).len(), 2);
}

#[tokio::test]
async fn other_codes_fail_at_once_with_code_and_remark() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 2)]);
    let client = fake.client().await;
    let producer = client.producer("PID", ProducerOptions::default()).unwrap();
    fake.fault(request::SEND_MESSAGE_V2, Fault::Answer(response::MESSAGE_ILLEGAL, "too odd"));
    let error = producer.send(&message("x")).await.unwrap_err();
    assert_eq!(error.code(), Some(13));
    assert!(error.to_string().contains("too odd"), "{error}");
    assert_eq!(fake.requests(request::SEND_MESSAGE_V2).len(), 1);
}

#[tokio::test]
async fn attempts_end_after_the_retries() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 2)]);
    let client = fake.client().await;
    let producer = client.producer("PID", ProducerOptions::default()).unwrap();
    for _ in 0..4 {
        fake.fault(request::SEND_MESSAGE_V2, Fault::Answer(response::SYSTEM_ERROR, "no"));
    }
    let SendError::Failed { attempts, brokers, last, .. } = producer.send(&message("x")).await.unwrap_err()
    else {
        panic!()
    };
    assert_eq!((attempts, brokers.len()), (3, 3));
    assert!(matches!(last, CallError::Refused(refused) if refused.code == 1));
    assert_eq!(fake.requests(request::SEND_MESSAGE_V2).len(), 3);
}

#[tokio::test]
async fn the_timeout_covers_all_attempts() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    let client = fake.client().await;
    let options = ProducerOptions { timeout: Duration::from_millis(200), ..ProducerOptions::default() };
    let producer = client.producer("PID", options).unwrap();
    fake.fault(request::SEND_MESSAGE_V2, Fault::Silence);
    let began = std::time::Instant::now();
    let error = producer.send(&message("x")).await.unwrap_err();
    assert!(matches!(error, SendError::Timeout { attempts: 1, .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(2), "one more attempt would have had no time");
}

#[tokio::test]
async fn stored_but_not_flushed_is_a_receipt_unless_another_broker_is_wanted() {
    for (retry_not_ok, stored) in [(false, 0), (true, 1)] {
        let fake = Fake::start("a").await;
        fake.route("T", &[(&fake, 1)]);
        let client = fake.client().await;
        let options = ProducerOptions { retry_not_ok, ..ProducerOptions::default() };
        let producer = client.producer("PID", options).unwrap();
        fake.fault(request::SEND_MESSAGE_V2, Fault::Sent(response::FLUSH_DISK_TIMEOUT));
        let receipt = producer.send(&message("x")).await.unwrap();
        let expected = if retry_not_ok { SendStatus::Ok } else { SendStatus::FlushDiskTimeout };
        assert_eq!(receipt.status, expected);
        assert_eq!(fake.stored("T", 0), stored);
    }
}

#[tokio::test]
async fn a_key_has_one_queue_in_all_languages() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 7)]);
    let client = fake.client().await;
    let producer = client.producer("PID", ProducerOptions::default()).unwrap();
    // The hash of this text is negative, which Java's rule turns around after the division.
    for key in ["order-1", "polygenelubricants", "键"] {
        let receipt = producer.send_by_key(&message("x"), key).await.unwrap();
        let expected = (java::hash_code(key) % 7).abs();
        assert_eq!(receipt.queue.queue_id.0, expected, "{key}");
    }
    fake.fault(request::SEND_MESSAGE_V2, Fault::Answer(response::SYSTEM_BUSY, "no"));
    let error = producer.send_by_key(&message("x"), "order-1").await.unwrap_err();
    assert!(matches!(error, SendError::Failed { attempts: 1, .. }), "another queue would break the order");
}

#[tokio::test]
async fn a_oneway_message_asks_for_no_answer() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    let client = fake.client().await;
    let producer = client.producer("PID", ProducerOptions::default()).unwrap();
    producer.send_oneway(&message("x")).await.unwrap();
    let sent = fake.wait_for(request::SEND_MESSAGE_V2, 1).await.remove(0);
    assert!(sent.is_oneway());
    assert_eq!(fake.stored("T", 0), 1);
}

#[tokio::test]
async fn a_batch_is_one_request_and_one_receipt() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    let client = fake.client().await;
    let producer = client.producer("PID", ProducerOptions::default()).unwrap();
    let receipt = producer.send_batch(&[message("one"), message("two"), message("three")]).await.unwrap();
    assert_eq!(fake.bodies("T", 0), [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
    assert_eq!(receipt.offset_msg_id, "id-0,id-1000,id-2000");

    let sent = fake.requests(request::SEND_BATCH_MESSAGE).remove(0);
    assert_eq!(sent.field("m"), Some("true"));
    let keys: Vec<String> = batch::entries(&sent.body)
        .map(|entry| Properties(entry.unwrap().properties).get("UNIQ_KEY").unwrap().to_owned())
        .collect();
    assert_eq!(receipt.msg_id, keys.join(","));
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), 3);
    let outer = Properties(sent.field("i").unwrap().as_bytes());
    assert!(outer.get("UNIQ_KEY").is_some_and(|key| !keys.iter().any(|inner| inner == key)));
}

#[tokio::test]
async fn batches_that_brokers_would_refuse_are_not_sent() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    let client = fake.client().await;
    let producer = client.producer("PID", ProducerOptions::default()).unwrap();
    let other_topic = Message::new("U", "x");
    let delayed = message("x").property("DELAY", "3");
    for batch in
        [vec![], vec![message("x"), other_topic], vec![message("x"), message("y").wait(false)], vec![delayed]]
    {
        let error = producer.send_batch(&batch).await.unwrap_err();
        assert!(matches!(error, SendError::Invalid(_)), "{error}");
    }
    assert!(fake.requests(request::SEND_BATCH_MESSAGE).is_empty());
}

#[tokio::test]
async fn messages_that_brokers_would_refuse_are_not_sent() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    let client = fake.client().await;
    let options = ProducerOptions { body_len_max: 10, ..ProducerOptions::default() };
    let producer = client.producer("PID", options).unwrap();
    let refused = [
        Message::new("", "x"),
        Message::new("a b", "x"),
        Message::new("键", "x"),
        Message::new("t".repeat(128), "x"),
        Message::new("SCHEDULE_TOPIC_XXXX", "x"),
        Message::new("T", ""),
        Message::new("T", "12345678901"),
        Message::new("T", "x").property("bad\u{1}name", "v"),
        Message::new("T", "x").property("name", "bad\u{2}value"),
        Message::new("T", "x").property("name", "v".repeat(32_768)),
    ];
    for message in refused {
        let error = producer.send(&message).await.unwrap_err();
        assert!(matches!(error, SendError::Invalid(_)), "{message:?}: {error}");
    }
    producer.send(&Message::new("T", "1234567890")).await.unwrap();
    assert_eq!(fake.requests(request::SEND_MESSAGE_V2).len(), 1);
}

#[tokio::test]
async fn a_topic_is_created_by_its_first_message_if_the_cluster_allows_it() {
    let fake = Fake::start("a").await;
    let client = fake.client().await;
    let producer = client.producer("PID", ProducerOptions::default()).unwrap();
    let error = producer.send(&message("x")).await.unwrap_err();
    assert_eq!(error, SendError::Route(RouteError::NoRoute { topic: "T".to_owned() }));

    fake.route("TBW102", &[(&fake, 8)]);
    producer.send(&message("x")).await.unwrap();
    assert_eq!(producer.queues("T").await.unwrap().len(), 4);
    assert_eq!(fake.requests(request::SEND_MESSAGE_V2)[0].field("d"), Some("4"));
}

#[tokio::test]
async fn a_group_has_one_producer_in_a_client() {
    let fake = Fake::start("a").await;
    let client = fake.client().await;
    let first = client.producer("PID", ProducerOptions::default()).unwrap();
    let taken = client.producer("PID", ProducerOptions::default()).unwrap_err();
    assert_eq!(taken, StartError::GroupTaken("PID".to_owned()));
    drop(first);
    client.producer("PID", ProducerOptions::default()).unwrap();
    for bad in ["", "a b", "DEFAULT_PRODUCER", &"g".repeat(121)] {
        let error = client.producer(bad, ProducerOptions::default()).unwrap_err();
        assert!(matches!(error, StartError::Invalid(_)), "{bad:?}");
    }
    let too_long = client.producer(&"g".repeat(121), ProducerOptions::default()).unwrap_err();
    assert!(matches!(too_long, StartError::Invalid(InvalidMessage::TooLong { limit: 120, .. })));
}

#[tokio::test]
async fn brokers_hear_of_a_producer_and_of_its_end() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    let client = fake.client_with(|config| config.heartbeat = Duration::from_millis(20)).await;
    let producer = client.producer("PID", ProducerOptions::default()).unwrap();
    producer.send(&message("x")).await.unwrap();
    let heartbeat = fake.wait_for(request::HEART_BEAT, 1).await.remove(0);
    let text = String::from_utf8(heartbeat.body.to_vec()).unwrap();
    assert!(text.contains(r#""producerDataSet":[{"groupName":"PID"}]"#), "{text}");
    assert!(text.contains(client.id()), "{text}");
    producer.stop().await;
    let leaving = fake.requests(request::UNREGISTER_CLIENT).remove(0);
    assert_eq!(leaving.field("producerGroup"), Some("PID"));
    assert_eq!(leaving.field("clientID"), Some(client.id()));
}
