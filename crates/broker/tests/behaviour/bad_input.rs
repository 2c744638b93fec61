//! Input that makes no sense: a code and a remark that helps, and the broker goes on.

use ferromq_protocol::code::request;

use crate::support::{PATIENCE, Pull, Send, TestBroker, number};

#[test]
fn every_forbidden_character_of_a_topic_is_refused() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let forbidden =
        (0_u8..128).map(char::from).filter(|c| !c.is_ascii_alphanumeric() && !"%|_-".contains(*c));
    for character in forbidden.chain(['é', '标', '🚀']) {
        let topic = format!("a{character}b");
        let reply = Send::to(&topic).by(&mut client);
        assert_eq!(reply.code, 29, "{topic:?}");
        let remark = reply.remark.unwrap();
        assert!(remark.contains("contains illegal characters"), "{remark}");
    }
    Send::to("T").ok(&mut client);
}

#[test]
fn limits_of_a_message_are_told_and_nothing_of_it_is_stored() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    Send::to("T").ok(&mut client);
    let body = vec![b'x'; (4 << 20) + 1];
    assert_eq!(Send::to("T").body(&body).by(&mut client).code, 13);
    assert_eq!(Send::to("T").property("big", &"x".repeat(33_000)).by(&mut client).code, 13);
    let zero = Send::to("T").property("zero", "a\0b").by(&mut client);
    assert_eq!(zero.code, 13);
    assert!(zero.remark.unwrap().contains("zero bytes"));
    assert_eq!(Send::to("T").body(b"").by(&mut client).code, 1);
    assert_eq!(Send::to("T").queue("4").by(&mut client).code, 29);
    Send::to("T").body(&body[1..]).ok(&mut client);
    assert_eq!(number(&Send::to("T").ok(&mut client), "queueOffset"), 2);
}

#[test]
fn a_frame_that_cannot_be_read_costs_its_connection_only() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0xff; 64],
        &[
            0, 0, 0, 20, 0, 0, 0, 16, b'{', b'"', b'c', b'o', b'd', b'e', b'"', b':', b'}', 0, 0, 0, 0, 0, 0,
            0,
        ],
        &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 4],
        &[0, 0, 0, 8, 9, 0, 0, 4, 1, 2, 3, 4],
    ] {
        let mut bad = broker.client();
        bad.raw(garbage);
        assert!(bad.is_closed_within(PATIENCE), "{garbage:?}");
        Send::to("T").ok(&mut client);
    }
}

#[test]
fn numbers_out_of_every_range_are_answered() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    Send::to("T").ok(&mut client);
    for (field, value) in [
        ("queueOffset", "9223372036854775807"),
        ("queueOffset", "-9223372036854775808"),
        ("queueId", "2147483647"),
        ("queueId", "-2147483648"),
        ("maxMsgNums", "-2147483648"),
        ("maxMsgNums", "2147483647"),
        ("maxMsgBytes", "-1"),
        ("commitOffset", "-9223372036854775808"),
        ("subVersion", "-1"),
    ] {
        let reply = Pull::of("T", "g").field("sysFlag", "5").field(field, value).by(&mut client);
        assert!([0, 19, 21, 29].contains(&reply.code), "{field}={value}: {} {:?}", reply.code, reply.remark);
    }
    let held = Pull::of("T", "g").at("1").held("9223372036854775807").post(&mut client);
    for (field, value) in [("g", "-9223372036854775808"), ("h", "-2147483648"), ("j", "-1"), ("f", "1024")] {
        Send::to("T").field(field, value).ok(&mut client);
    }
    assert_eq!(client.reply(held).code, 0);
    for (code, fields) in [
        (request::SEARCH_OFFSET_BY_TIMESTAMP, vec![("topic", "T"), ("queueId", "0"), ("timestamp", "-1")]),
        (
            request::SEARCH_OFFSET_BY_TIMESTAMP,
            vec![("topic", "T"), ("queueId", "-1"), ("timestamp", "9223372036854775807")],
        ),
        (request::GET_MAX_OFFSET, vec![("topic", ""), ("queueId", "-2147483648")]),
        (request::GET_EARLIEST_MSG_STORETIME, vec![("topic", "../../etc"), ("queueId", "0")]),
    ] {
        assert_eq!(client.call(code, &fields, b"").code, 0, "{code} {fields:?}");
    }
    let many =
        [("topic", "T"), ("readQueueNums", "2147483647"), ("writeQueueNums", "2147483647"), ("perm", "6")];
    assert_eq!(client.call(request::UPDATE_AND_CREATE_TOPIC, &many, b"").code, 29);
}

#[test]
fn bodies_that_are_no_json_are_refused() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    for code in [
        request::HEART_BEAT,
        request::LOCK_BATCH_MQ,
        request::UNLOCK_BATCH_MQ,
        request::CHECK_CLIENT_CONFIG,
        request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
        request::UPDATE_AND_CREATE_TOPIC_LIST,
    ] {
        for body in [&b"{"[..], b"\xff\xfe\xfd", b"[1,2", b"nonsense"] {
            let reply = client.call(code, &[], body);
            assert_eq!(reply.code, 1, "{code}: {body:?}");
            assert!(reply.remark.is_some_and(|remark| !remark.is_empty()));
        }
    }
}

#[test]
fn every_request_code_without_fields_and_body_is_answered() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let codes: Vec<i32> = ferromq_protocol::code::request::ALL.iter().map(|(code, _)| *code).collect();
    for code in codes {
        let reply = client.call(code, &[], b"");
        assert!(reply.code == 0 || reply.remark.is_some(), "{code}");
    }
    Send::to("T").ok(&mut client);
}
