//! What does not exist yet is refused by name, and the message stays with who has it.

use ferromq_protocol::code::request;

use crate::support::{Pull, Send, TestBroker, number};

#[test]
fn a_send_that_asks_for_a_missing_feature_is_refused_by_its_name_and_never_stored() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    Send::to("T").ok(&mut client);
    for (property, value, named) in [
        ("DELAY", "3", "DELAY"),
        ("DELAY", "soon", "DELAY"),
        ("TIMER_DELIVER_MS", "1", "TIMER"),
        ("TIMER_DELAY_MS", "1000", "TIMER"),
        ("TIMER_DELAY_SEC", "1", "TIMER"),
        ("TIMER_DEL_UNIQKEY", "x", "TIMER"),
        ("TRAN_MSG", "true", "TRAN_MSG"),
        ("INNER_MULTI_DISPATCH", "%LMQ%a", "INNER_MULTI_DISPATCH"),
        ("__LITE_TOPIC", "l", "__LITE_TOPIC"),
    ] {
        let reply = Send::to("T").property(property, value).by(&mut client);
        assert_eq!(reply.code, 13, "{property}");
        assert!(reply.remark.as_ref().unwrap().contains(named), "{property}: {:?}", reply.remark);
        assert_eq!(reply.field("MSG_REGION"), Some("DefaultRegion"), "the Java client looks for it");
    }
    for flag in ["4", "8", "12"] {
        let reply = Send::to("T").field("f", flag).by(&mut client);
        assert_eq!(reply.code, 13, "transaction flag {flag}");
    }
    for (property, value) in [("DELAY", "0"), ("DELAY", "-1"), ("TRAN_MSG", "false")] {
        Send::to("T").property(property, value).ok(&mut client);
    }
    assert_eq!(number(&Send::to("T").ok(&mut client), "queueOffset"), 4, "only what was accepted is there");
}

#[test]
fn requests_of_missing_features_are_not_supported_by_name() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    for (code, named) in [
        (request::CONSUMER_SEND_MSG_BACK, "sending back"),
        (request::END_TRANSACTION, "transaction"),
        (request::RECALL_MESSAGE, "recall"),
        (request::POP_MESSAGE, "pop"),
        (request::SEND_REPLY_MESSAGE_V2, "request-reply"),
    ] {
        let reply = client.call(code, &[], b"");
        let remark = reply.remark.clone().unwrap();
        assert_eq!(reply.code, 3);
        assert!(remark.starts_with(&format!(" request type {code} not supported")), "{remark}");
        assert!(remark.contains(named), "{remark}");
    }
    let reply = client.call(4_711, &[], b"");
    assert_eq!(reply.remark.as_deref(), Some(" request type 4711 not supported"));
}

/// What the Java client does when its listener answers RECONSUME_LATER: send back; on an error send the message to the
/// retry topic itself; on an error of that keep it and try again.
#[test]
fn a_message_to_be_consumed_later_stays_with_the_client() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let sent = Send::to("T").ok(&mut client);
    let offset = u64::from_str_radix(&sent.field("msgId").unwrap()[16..], 16).unwrap().to_string();
    let back = [("offset", offset.as_str()), ("group", "g"), ("delayLevel", "0"), ("originTopic", "T")];
    assert_eq!(client.call(request::CONSUMER_SEND_MSG_BACK, &back, b"").code, 3);

    let again = Send::to("%RETRY%g")
        .property("RETRY_TOPIC", "T")
        .property("RECONSUME_TIME", "1")
        .property("MAX_RECONSUME_TIMES", "16")
        .property("DELAY", "3")
        .field("j", "1");
    assert_eq!(again.by(&mut client).code, 13);

    assert_eq!(Pull::of("T", "g").by(&mut client).code, 0, "the message is where it was");
    let retry = Pull::of("%RETRY%g", "g").by(&mut client);
    assert_eq!(number(&retry, "maxOffset"), 0, "and nowhere else");
}

#[test]
fn a_resend_that_java_would_bury_is_refused() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    Send::to("%RETRY%g").field("j", "16").ok(&mut client);
    let buried = Send::to("%RETRY%g").field("j", "17").by(&mut client);
    assert_eq!(buried.code, 13);
    assert!(buried.remark.unwrap().contains("dead letter"));
    let lock = br#"{"clientId":"c","consumerGroup":"g","mqSet":[{"brokerName":"broker-a","queueId":0,"topic":"T"}]}"#;
    client.call(request::LOCK_BATCH_MQ, &[], lock);
    assert_eq!(Send::to("%RETRY%g").by(&mut client).code, 13, "the group consumes in order");
    client.call(request::UNLOCK_BATCH_MQ, &[], lock);
    Send::to("%RETRY%g").ok(&mut client);
}

#[test]
fn topics_of_kinds_we_lack_are_refused_at_creation() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    for attribute in ["+queue.type=BatchCQ", "+cleanup.policy=COMPACTION"] {
        let fields = [
            ("topic", "T"),
            ("readQueueNums", "1"),
            ("writeQueueNums", "1"),
            ("perm", "6"),
            ("attributes", attribute),
        ];
        let reply = client.call(request::UPDATE_AND_CREATE_TOPIC, &fields, b"");
        assert_eq!(reply.code, 1);
        let value = attribute.split_once('=').unwrap().1;
        assert!(reply.remark.as_ref().unwrap().contains(value), "{:?}", reply.remark);
        assert_eq!(client.call(request::GET_TOPIC_CONFIG, &[("topic", "T")], b"").code, 17);
    }
}

#[test]
fn topics_of_kinds_we_lack_in_a_store_of_java_are_kept_and_not_served() {
    let broker = TestBroker::with_files(&[(
        "config/topics.json",
        r#"{"dataVersion":{"counter":3,"stateVersion":0,"timestamp":5},"topicConfigTable":{"bcq":{"attributes":{"queue.type":"BatchCQ"},"perm":6,"readQueueNums":2,"topicName":"bcq","writeQueueNums":2}}}"#,
    )]);
    let mut client = broker.client();
    let sent = Send::to("bcq").by(&mut client);
    assert_eq!(sent.code, 13);
    assert!(sent.remark.unwrap().contains("BatchCQ"));
    let pulled = Pull::of("bcq", "g").by(&mut client);
    assert_eq!(pulled.code, 3);
    assert!(pulled.remark.unwrap().contains("BatchCQ"));
    Send::to("T").ok(&mut client);
    let text = std::fs::read_to_string(broker.directory.path().join("config/topics.json")).unwrap();
    assert!(text.contains("BatchCQ"), "the file still has it: {text}");
}
