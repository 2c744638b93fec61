//! Clients come, stay, change their minds and leave, and their groups are told.

use std::time::Duration;

use ferromq_protocol::body::{ConsumerConnection, ConsumerList, LockBatchAnswer};
use ferromq_protocol::code::request;
use ferromq_protocol::header::OwnedFrame;
use ferromq_protocol::json;

use crate::support::{Client, PATIENCE, Pull, SILENCE, Send, TestBroker, eventually};

struct Heartbeat<'a> {
    client: &'a str,
    group: &'a str,
    topics: &'a [(&'a str, i64)],
    model: &'a str,
    fingerprint: i32,
    without_subscriptions: bool,
}

const PLAIN: Heartbeat<'_> = Heartbeat {
    client: "c1",
    group: "g",
    topics: &[("T", 1)],
    model: "CLUSTERING",
    fingerprint: 0,
    without_subscriptions: false,
};

impl Heartbeat<'_> {
    fn by(&self, client: &mut Client) -> OwnedFrame {
        let subscriptions: Vec<String> = self
            .topics
            .iter()
            .map(|(topic, version)| {
                format!(
                    r#"{{"classFilterMode":false,"codeSet":["2598919"],"subString":"TagA","subVersion":"{version}","tagsSet":["TagA"],"topic":"{topic}"}}"#
                )
            })
            .collect();
        let body = format!(
            r#"{{"clientID":"{}","consumerDataSet":[{{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"{}","messageModel":"{}","subscriptionDataSet":[{}],"unitMode":false}}],"heartbeatFingerprint":{},"producerDataSet":[{{"groupName":"pg"}}],"withoutSub":{}}}"#,
            self.client,
            self.group,
            self.model,
            subscriptions.join(","),
            self.fingerprint,
            self.without_subscriptions,
        );
        let reply = client.call(request::HEART_BEAT, &[], body.as_bytes());
        assert_eq!(reply.code, 0, "{:?}", reply.remark);
        assert_eq!(reply.field("IS_SUPPORT_HEART_BEAT_V2"), Some("true"));
        assert_eq!(reply.version, 513, "clients remember it");
        reply
    }
}

fn wants_subscriptions(reply: &OwnedFrame) -> bool {
    reply.field("IS_SUB_CHANGE") == Some("true")
}

fn ids(client: &mut Client, group: &str) -> Vec<String> {
    let reply = client.call(request::GET_CONSUMER_LIST_BY_GROUP, &[("consumerGroup", group)], b"");
    if reply.code != 0 {
        return Vec::new();
    }
    json::from_slice::<ConsumerList>(&reply.body).unwrap().consumer_id_list
}

/// Tells whether the client is told that its group has other members now.
fn is_told(client: &mut Client, time: Duration) -> bool {
    let told = client.pushed(request::NOTIFY_CONSUMER_IDS_CHANGED, time);
    told.is_some_and(|frame| frame.is_oneway() && frame.field("consumerGroup") == Some("g"))
}

#[test]
fn a_new_member_is_listed_with_the_answer_and_all_are_told() {
    let broker = TestBroker::start();
    let (mut first, mut second) = (broker.client(), broker.client());
    PLAIN.by(&mut first);
    assert_eq!(ids(&mut first, "g"), ["c1"]);
    assert!(is_told(&mut first, PATIENCE));
    Heartbeat { client: "c2", ..PLAIN }.by(&mut second);
    assert_eq!(ids(&mut first, "g"), ["c1", "c2"]);
    assert!(is_told(&mut first, PATIENCE) && is_told(&mut second, PATIENCE));
    PLAIN.by(&mut first);
    assert!(!is_told(&mut second, SILENCE), "nothing changed");
}

#[test]
fn a_heartbeat_creates_group_and_retry_topic() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    PLAIN.by(&mut client);
    let group = client.call(request::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", "g")], b"");
    let topic = client.call(request::GET_TOPIC_CONFIG, &[("topic", "%RETRY%g")], b"");
    assert_eq!((group.code, topic.code), (0, 0));
    let broker = broker.crash();
    let mut client = broker.client();
    assert_eq!(client.call(request::GET_TOPIC_CONFIG, &[("topic", "%RETRY%g")], b"").code, 0);
}

#[test]
fn a_dead_connection_leaves_its_groups_and_the_others_are_told() {
    let broker = TestBroker::start();
    let (mut first, mut second) = (broker.client(), broker.client());
    PLAIN.by(&mut first);
    Heartbeat { client: "c2", ..PLAIN }.by(&mut second);
    while is_told(&mut second, SILENCE) {}
    drop(first);
    assert!(is_told(&mut second, PATIENCE));
    assert_eq!(ids(&mut second, "g"), ["c2"]);
}

#[test]
fn leaving_is_told_to_the_others_too() {
    let broker = TestBroker::start();
    let (mut first, mut second) = (broker.client(), broker.client());
    PLAIN.by(&mut first);
    Heartbeat { client: "c2", ..PLAIN }.by(&mut second);
    while is_told(&mut second, SILENCE) {}
    let leave = [("clientID", "c1"), ("consumerGroup", "g")];
    assert_eq!(first.call(request::UNREGISTER_CLIENT, &leave, b"").code, 0);
    assert!(is_told(&mut second, PATIENCE));
    assert_eq!(ids(&mut second, "g"), ["c2"]);
}

#[test]
fn pulls_follow_the_subscription_of_the_heartbeat() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    Send::to("T").property("TAGS", "TagB").ok(&mut client);
    Send::to("T").property("TAGS", "TagA").ok(&mut client);
    Send::to("U").ok(&mut client);
    let pull = |topic| Pull::of(topic, "g").field("sysFlag", "0").field("subVersion", "1");
    assert_eq!(pull("T").by(&mut client).code, 24, "no heartbeat yet");
    PLAIN.by(&mut client);
    let reply = pull("T").by(&mut client);
    assert_eq!((reply.code, crate::support::records(&reply.body).len()), (0, 1));
    assert_eq!(pull("U").by(&mut client).code, 24, "not among its topics");
    assert_eq!(pull("T").field("subVersion", "2").by(&mut client).code, 25, "a newer one is on its way");
    Heartbeat { topics: &[("T", 2), ("U", 2)], ..PLAIN }.by(&mut client);
    assert_eq!(pull("T").field("subVersion", "2").by(&mut client).code, 0);
    assert_ne!(pull("U").by(&mut client).code, 24);
    Heartbeat { topics: &[("U", 2)], ..PLAIN }.by(&mut client);
    assert_eq!(pull("T").by(&mut client).code, 24, "dropped for the whole group");
}

#[test]
fn the_light_heartbeat_keeps_subscriptions_and_asks_for_them_when_there_are_none() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let full = Heartbeat { fingerprint: 77, ..PLAIN };
    let light = Heartbeat { topics: &[], without_subscriptions: true, ..full };
    assert!(!wants_subscriptions(&full.by(&mut client)));
    assert!(!wants_subscriptions(&light.by(&mut client)));
    Send::to("T").ok(&mut client);
    let pull = Pull::of("T", "g").field("sysFlag", "0").field("subVersion", "1");
    assert_eq!(pull.by(&mut client).code, 20, "still subscribed, though not to this message");

    let broker = broker.restart();
    let mut client = broker.client();
    assert!(wants_subscriptions(&light.by(&mut client)), "nothing is known after a restart");
    assert_eq!(pull.by(&mut client).code, 24);
    assert!(!wants_subscriptions(&full.by(&mut client)));
    assert_eq!(pull.by(&mut client).code, 20);
    assert!(wants_subscriptions(&PLAIN.by(&mut client)), "the first form always says so");
}

#[test]
fn broadcasting_groups_are_not_told() {
    let broker = TestBroker::start();
    let (mut first, mut second) = (broker.client(), broker.client());
    let broadcast = |client| Heartbeat { client, model: "BROADCASTING", ..PLAIN };
    broadcast("c1").by(&mut first);
    broadcast("c2").by(&mut second);
    drop(second);
    assert!(!is_told(&mut first, SILENCE));
}

#[test]
fn a_group_may_wish_not_to_be_told() {
    let broker = TestBroker::start();
    let (mut first, mut second) = (broker.client(), broker.client());
    let settings = br#"{"groupName":"g","notifyConsumerIdsChangedEnable":false}"#;
    first.call(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], settings);
    PLAIN.by(&mut first);
    Heartbeat { client: "c2", ..PLAIN }.by(&mut second);
    assert_eq!(ids(&mut first, "g"), ["c1", "c2"]);
    drop(second);
    eventually("the member is gone", || ids(&mut first, "g") == ["c1"]);
    assert!(!is_told(&mut first, SILENCE));
}

#[test]
fn tools_see_who_is_connected() {
    let broker = TestBroker::start();
    let (mut client, mut tool) = (broker.client(), broker.client());
    PLAIN.by(&mut client);
    let reply = tool.call(request::GET_CONSUMER_CONNECTION_LIST, &[("consumerGroup", "g")], b"");
    let seen: ConsumerConnection = json::from_slice(&reply.body).unwrap();
    let connection = &seen.connection_set[0];
    assert_eq!(
        (connection.client_id.as_str(), connection.language.as_str(), connection.version),
        ("c1", "JAVA", 513)
    );
    assert_eq!(connection.client_addr, client.local().to_string());
    assert_eq!(seen.subscription_table["T"].sub_string, "TagA");
    let producers = tool.call(request::GET_PRODUCER_CONNECTION_LIST, &[("producerGroup", "pg")], b"");
    assert_eq!(producers.code, 0);
}

#[test]
fn a_tools_question_is_passed_on_to_the_client_and_its_answer_back() {
    let broker = TestBroker::start();
    let (mut client, mut tool) = (broker.client(), broker.client());
    PLAIN.by(&mut client);
    let question = [("consumerGroup", "g"), ("clientId", "c1"), ("jstackEnable", "false")];
    let asked = tool.post(request::GET_CONSUMER_RUNNING_INFO, &question, b"");
    let relayed = client.pushed(request::GET_CONSUMER_RUNNING_INFO, PATIENCE).unwrap();
    assert_eq!(relayed.field("clientId"), Some("c1"));
    client.answer(&relayed, 0, b"{\"jstack\":\"here\"}");
    let reply = tool.reply(asked);
    assert_eq!((reply.code, &reply.body[..]), (0, &b"{\"jstack\":\"here\"}"[..]));
}

#[test]
fn locks_are_held_by_a_client_and_given_to_another_when_released() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let body = |id: &str| {
        format!(
            r#"{{"clientId":"{id}","consumerGroup":"g","mqSet":[{{"brokerName":"broker-a","queueId":0,"topic":"T"}},{{"brokerName":"broker-a","queueId":1,"topic":"T"}}],"onlyThisBroker":false}}"#
        )
    };
    let mut lock = |id: &str| {
        let reply = client.call(request::LOCK_BATCH_MQ, &[], body(id).as_bytes());
        json::from_slice::<LockBatchAnswer>(&reply.body).unwrap().lock_ok_mq_set.len()
    };
    assert_eq!((lock("a"), lock("b"), lock("a")), (2, 0, 2));
    let mut other = broker.client();
    assert_eq!(other.call(request::UNLOCK_BATCH_MQ, &[], body("b").as_bytes()).code, 0);
    assert_eq!(lock("b"), 0, "only the holder releases");
    other.call(request::UNLOCK_BATCH_MQ, &[], body("a").as_bytes());
    assert_eq!(lock("b"), 2);
}
