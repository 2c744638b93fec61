//! Sending: what is stored, where, and what the producer is told.

use ferromq_protocol::batch;
use ferromq_protocol::code::request;
use ferromq_protocol::properties::name;

use crate::support::{Pull, Send, TestBroker, number, records};

#[test]
fn a_message_comes_back_as_it_was_sent() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let sent = Send::to("T").property("TAGS", "TagA").property("UNIQ_KEY", "ABCD").property("WAIT", "true");
    let reply = sent.ok(&mut client);
    assert_eq!(reply.field("MSG_REGION"), Some("DefaultRegion"));
    assert_eq!(reply.field("TRACE_ON"), Some("true"));
    assert_eq!(reply.field("transactionId"), Some("ABCD"));
    assert_eq!((number(&reply, "queueId"), number(&reply, "queueOffset")), (0, 0));

    let pulled = Pull::of("T", "g").by(&mut client);
    assert_eq!((pulled.code, pulled.remark.as_deref()), (0, Some("FOUND")));
    assert_eq!(number(&pulled, "nextBeginOffset"), 1);
    let found = records(&pulled.body);
    let record = &found[0];
    assert_eq!((found.len(), record.topic, record.body), (1, "T", &b"hello"[..]));
    assert_eq!(record.born_host.to_string(), client.local().to_string());
    assert_eq!(record.store_host.to_string(), broker.address().to_string());
    for (key, value) in [
        (name::TAGS, "TagA"),
        (name::UNIQUE_KEY, "ABCD"),
        (name::WAIT, "true"),
        (name::MSG_REGION, "DefaultRegion"),
        (name::TRACE_SWITCH, "true"),
        (name::CLUSTER, "DefaultCluster"),
    ] {
        assert_eq!(record.properties.get(key), Some(value), "{key}");
    }
    let id = reply.field("msgId").unwrap();
    assert_eq!(id.len(), 32);
    assert!(id.ends_with(&format!("{:016X}", record.physical.0)), "{id}");
}

#[test]
fn binary_headers_are_answered_in_kind() {
    let broker = TestBroker::start();
    let mut client = broker.client().binary();
    let reply = Send::to("T").property("UNIQ_KEY", "ABCD").ok(&mut client);
    assert_eq!(reply.encoding, ferromq_protocol::frame::Encoding::Binary);
    assert_eq!(reply.field("transactionId"), Some("ABCD"));
    let pulled = Pull::of("T", "g").by(&mut client);
    assert_eq!((pulled.code, records(&pulled.body).len()), (0, 1));
}

#[test]
fn what_the_broker_says_itself_replaces_what_a_producer_claims() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let sent = Send::to("T")
        .property("MSG_REGION", "elsewhere")
        .property("CLUSTER", "other")
        .property("POP_CK", "forged")
        .property("colour", "red");
    sent.ok(&mut client);
    let pulled = Pull::of("T", "g").by(&mut client);
    let record = &records(&pulled.body)[0];
    let entries: Vec<_> = record.properties.iter().map(|(key, _)| String::from_utf8_lossy(key)).collect();
    assert_eq!(entries, ["colour", "UNIQ_KEY", "MSG_REGION", "TRACE_ON", "CLUSTER"]);
    assert_eq!(record.properties.get("MSG_REGION"), Some("DefaultRegion"));
    assert_eq!(record.properties.get("CLUSTER"), Some("DefaultCluster"));
}

#[test]
fn a_message_without_an_id_gets_one_of_its_own() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let ids: Vec<String> =
        (0..100).map(|_| Send::to("T").ok(&mut client).field("transactionId").unwrap().to_owned()).collect();
    let mut distinct = ids.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), ids.len());
    assert!(ids.iter().all(|id| id.len() == 32));
    let pulled = Pull::of("T", "g").by(&mut client);
    assert_eq!(records(&pulled.body)[0].properties.get(name::UNIQUE_KEY), Some(ids[0].as_str()));
}

#[test]
fn oneway_sends_are_stored_and_never_answered() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    Send::to("T").ok(&mut client);
    client.oneway(request::SEND_MESSAGE_V2, &Send::to("T").fields(), b"quiet");
    client.oneway(request::SEND_MESSAGE_V2, &Send::to("no such.topic").fields(), b"wrong");
    client.oneway(9_999, &[], b"");
    let reply = Send::to("T").ok(&mut client);
    assert_eq!(number(&reply, "queueOffset"), 2, "the oneway message has its place");
    assert!(client.others.is_empty());
}

#[test]
fn queue_minus_one_spreads_over_the_queues() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let mut used = [0; 4];
    for _ in 0..200 {
        let reply = Send::to("T").queue("-1").ok(&mut client);
        used[usize::try_from(number(&reply, "queueId")).unwrap()] += 1;
    }
    assert!(used.iter().all(|count| *count > 10), "{used:?}");
}

#[test]
fn pipelined_sends_of_a_connection_keep_their_order() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    Send::to("T").ok(&mut client);
    let fields = Send::to("T");
    let bodies: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    let sent: Vec<i32> = bodies
        .iter()
        .map(|body| client.post(request::SEND_MESSAGE_V2, &fields.fields(), body.as_bytes()))
        .collect();
    let offsets: Vec<i64> =
        sent.into_iter().map(|opaque| number(&client.reply(opaque), "queueOffset")).collect();
    assert_eq!(offsets, (1..=500).collect::<Vec<i64>>());
    let pulled = Pull::of("T", "g").at("1").by(&mut client);
    let found = records(&pulled.body);
    assert_eq!(found.len(), 32);
    assert!(found.iter().zip(&bodies).all(|(record, body)| record.body == body.as_bytes()));
}

#[test]
fn a_batch_is_stored_message_by_message() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    Send::to("T").ok(&mut client);
    let mut body = Vec::new();
    for (flag, text) in ["one", "two", "three"].into_iter().enumerate() {
        let properties = format!("UNIQ_KEY\u{1}K{text}\u{2}TAGS\u{1}{text}\u{2}");
        let flag = i32::try_from(flag).unwrap();
        batch::push(
            &mut body,
            &batch::Entry { flag, body: text.as_bytes(), properties: properties.as_bytes() },
        )
        .unwrap();
    }
    let sent = Send::to("T").property("UNIQ_KEY", "WHOLE").field("m", "true").body(&body);
    let reply = client.call(request::SEND_BATCH_MESSAGE, &sent.fields(), &body);
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    assert_eq!(number(&reply, "queueOffset"), 1, "that of the first");
    let ids: Vec<&str> = reply.field("msgId").unwrap().split(',').collect();
    assert_eq!(ids.len(), 3);

    let pulled = Pull::of("T", "g").at("1").by(&mut client);
    let found = records(&pulled.body);
    for (at, (record, text)) in found.iter().zip(["one", "two", "three"]).enumerate() {
        assert_eq!((record.body, record.flag), (text.as_bytes(), i32::try_from(at).unwrap()));
        assert_eq!(record.properties.get("UNIQ_KEY"), Some(format!("K{text}").as_str()));
        assert_eq!(record.properties.get("CLUSTER"), None, "they carry their own properties only");
        assert!(ids[at].ends_with(&format!("{:016X}", record.physical.0)));
    }
}

#[test]
fn a_batch_with_one_wrong_message_stores_none() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    Send::to("T").ok(&mut client);
    let mut body = Vec::new();
    for properties in ["A\u{1}b\u{2}".to_owned(), format!("big\u{1}{}\u{2}", "x".repeat(40_000))] {
        let entry = batch::Entry { flag: 0, body: b"x", properties: properties.as_bytes() };
        if batch::push(&mut body, &entry).is_err() {
            // The client's encoder refuses what we want to see refused; a cut batch does as well.
            body.extend_from_slice(&[0, 0, 0, 99, 0]);
        }
    }
    let sent = Send::to("T").field("m", "true");
    let reply = client.call(request::SEND_BATCH_MESSAGE, &sent.fields(), &body);
    assert_eq!(reply.code, 13, "{:?}", reply.remark);
    assert_eq!(number(&Send::to("T").ok(&mut client), "queueOffset"), 1);
}

#[test]
fn sync_flush_answers_once_the_disk_has_it() {
    let broker = TestBroker::with(&[("flushDiskType", "SYNC_FLUSH")]);
    let mut client = broker.client();
    for expected in 0..20 {
        let reply = Send::to("T").ok(&mut client);
        assert_eq!(number(&reply, "queueOffset"), expected);
        let status = broker.broker().store.status();
        assert_eq!(status.durable, status.confirmed);
    }
    let unhurried = Send::to("T").property("WAIT", "false");
    assert_eq!(number(&unhurried.ok(&mut client), "queueOffset"), 20);
}

#[test]
fn many_connections_at_once_lose_nothing() {
    let broker = TestBroker::start();
    Send::to("T").ok(&mut broker.client());
    let address = broker.address();
    let threads: Vec<_> = (0..16)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = crate::support::Client::connect(address);
                let offset = |_| number(&Send::to("T").ok(&mut client), "queueOffset");
                (0..100).map(offset).collect::<Vec<i64>>()
            })
        })
        .collect();
    let mut offsets: Vec<i64> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (1..=1_600).collect::<Vec<i64>>(), "dense, each once");
}

#[test]
fn the_configuration_may_hold_sends_back() {
    let broker = TestBroker::with(&[("startAcceptSendRequestTimeStamp", "4102444800000")]);
    let reply = Send::to("T").by(&mut broker.client());
    assert_eq!(reply.code, 1);
    assert!(reply.remark.unwrap().starts_with("broker unable to service, until 2"));
}
