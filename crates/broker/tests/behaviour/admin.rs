//! What tools ask and change.

use std::time::{Duration, Instant};

use ferromq_protocol::body::{
    ConsumeStats, KvTable, MessageQueue, SubscriptionGroupTable, TopicConfig, TopicConfigAndMappingTable,
    TopicStatsTable,
};
use ferromq_protocol::code::request;
use ferromq_protocol::header::OwnedFrame;
use ferromq_protocol::json;

use crate::support::{Client, Pull, Send, TestBroker, number, records};

fn create(client: &mut Client, topic: &str, read: &str, write: &str, perm: &str) -> OwnedFrame {
    client.call(request::UPDATE_AND_CREATE_TOPIC, &creation(topic, read, write, perm), b"")
}

fn creation<'a>(topic: &'a str, read: &'a str, write: &'a str, perm: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", read),
        ("writeQueueNums", write),
        ("perm", perm),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
    ]
}

fn config(client: &mut Client, topic: &str) -> TopicConfig {
    let reply = client.call(request::GET_TOPIC_CONFIG, &[("topic", topic)], b"");
    json::from_slice(&reply.body).unwrap()
}

fn queue(topic: &str, queue_id: i32) -> MessageQueue {
    MessageQueue { topic: topic.into(), broker_name: "broker-a".into(), queue_id }
}

#[test]
fn a_queue_number_may_shrink_by_writes_first_and_reads_then() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    create(&mut client, "T", "16", "16", "6");
    Send::to("T").queue("12").body(b"late").ok(&mut client);
    create(&mut client, "T", "16", "8", "6");
    assert_eq!(Send::to("T").queue("-1").by(&mut client).code, 0);
    let pulled = Pull::of("T", "g").field("queueId", "12").by(&mut client);
    assert_eq!(records(&pulled.body)[0].body, b"late", "what is there can still be read");
    create(&mut client, "T", "8", "8", "6");
    assert_eq!(Pull::of("T", "g").field("queueId", "12").by(&mut client).code, 29);
    assert_eq!(Send::to("T").queue("12").by(&mut client).code, 29);
    create(&mut client, "T", "16", "16", "6");
    assert_eq!(Pull::of("T", "g").field("queueId", "12").by(&mut client).code, 0, "nothing was lost");
}

#[test]
fn a_topic_without_read_permission_is_not_pulled() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    create(&mut client, "T", "4", "4", "2");
    Send::to("T").ok(&mut client);
    let refused = Pull::of("T", "g").by(&mut client);
    assert_eq!((refused.code, refused.field("forbiddenType")), (16, Some("3")));
    create(&mut client, "T", "4", "4", "6");
    assert_eq!(Pull::of("T", "g").by(&mut client).code, 0);
}

#[test]
fn a_topic_is_as_it_was_set_after_a_crash() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let mut fields = creation("T", "3", "5", "4");
    fields.extend([("attributes", "+message.type=FIFO"), ("topicSysFlag", "1")]);
    client.call(request::UPDATE_AND_CREATE_TOPIC, &fields, b"");
    let before = config(&mut client, "T");
    let broker = broker.crash();
    let after = config(&mut broker.client(), "T");
    assert_eq!(after, before);
    assert_eq!((after.read_queue_nums, after.write_queue_nums, after.perm), (3, 5, 4));
    assert_eq!(after.attributes["message.type"], "FIFO");
}

#[test]
fn a_message_to_a_topic_that_appears_is_never_there_without_its_topic() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    for n in 0..20 {
        Send::to(&format!("T{n}")).ok(&mut client);
    }
    let broker = broker.crash();
    let mut client = broker.client();
    for n in 0..20 {
        assert_eq!(Pull::of(&format!("T{n}"), "g").by(&mut client).code, 0);
    }
}

#[test]
fn thousands_of_topics_are_created_in_seconds() {
    let broker = TestBroker::start();
    let started = Instant::now();
    let threads: Vec<_> = (0..4)
        .map(|part| {
            let address = broker.address();
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                let names: Vec<String> = (0..500).map(|n| format!("topic-{part}-{n}")).collect();
                let asked: Vec<i32> = names
                    .iter()
                    .map(|name| {
                        client.post(request::UPDATE_AND_CREATE_TOPIC, &creation(name, "4", "4", "6"), b"")
                    })
                    .collect();
                asked.into_iter().for_each(|opaque| assert_eq!(client.reply(opaque).code, 0));
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let took = started.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    let broker = broker.crash();
    let reply = broker.client().call(request::GET_ALL_TOPIC_CONFIG, &[], b"");
    let all: TopicConfigAndMappingTable = json::from_slice(&reply.body).unwrap();
    assert_eq!(all.topic_config_table.keys().filter(|name| name.starts_with("topic-")).count(), 2_000);
}

#[test]
fn lists_come_whole_or_by_pages() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let whole = client.call(request::GET_ALL_TOPIC_CONFIG, &[], b"");
    let total = number(&whole, "totalTopicNum");
    let table: TopicConfigAndMappingTable = json::from_slice(&whole.body).unwrap();
    assert_eq!(i64::try_from(table.topic_config_table.len()).unwrap(), total);
    let mut seen = 0;
    while seen < total {
        let fields = [
            ("topicSeq", seen.to_string()),
            ("maxTopicNum", "4".to_string()),
            ("dataVersion", String::new()),
        ];
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let page = client.call(request::GET_ALL_TOPIC_CONFIG, &fields, b"");
        let page: TopicConfigAndMappingTable = json::from_slice(&page.body).unwrap();
        assert!((1..=4).contains(&page.topic_config_table.len()));
        seen += i64::try_from(page.topic_config_table.len()).unwrap();
    }
    assert_eq!(seen, total);
    let groups = client.call(request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &[], b"");
    let groups: SubscriptionGroupTable = json::from_slice(&groups.body).unwrap();
    assert_eq!(groups.subscription_group_table.len(), 8);
}

#[test]
fn statistics_tell_where_queues_and_groups_are() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    create(&mut client, "T", "2", "2", "6");
    for _ in 0..5 {
        Send::to("T").ok(&mut client);
    }
    let reply = client.call(request::GET_TOPIC_STATS_INFO, &[("topic", "T")], b"");
    let stats: TopicStatsTable = json::from_slice(&reply.body).unwrap();
    let offsets = stats.offset_table[&queue("T", 0)];
    assert_eq!((offsets.min_offset, offsets.max_offset), (0, 5));
    assert!(offsets.last_update_timestamp > 1_700_000_000_000);
    assert_eq!(stats.offset_table[&queue("T", 1)].last_update_timestamp, 0);

    Pull::of("T", "g").field("sysFlag", "5").field("commitOffset", "3").by(&mut client);
    let reply = client.call(request::GET_CONSUME_STATS, &[("consumerGroup", "g")], b"");
    let stats: ConsumeStats = json::from_slice(&reply.body).unwrap();
    let offsets = stats.offset_table[&queue("T", 0)];
    assert_eq!((offsets.broker_offset, offsets.consumer_offset, offsets.pull_offset), (5, 3, 5));
    assert!(offsets.last_timestamp > 1_700_000_000_000);
    assert!(reply.body.windows(2).any(|pair| pair == b"{{"), "queues are bare objects as keys");
}

#[test]
fn messages_are_found_by_key_unique_key_and_position() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    let sent = Send::to("T").property("KEYS", "order-7 user-9").property("UNIQ_KEY", "UK1").body(b"found");
    let id = sent.ok(&mut client).field("msgId").unwrap().to_owned();
    Send::to("T").property("KEYS", "order-8").ok(&mut client);
    let query = |client: &mut Client, key: &str, unique: &str| {
        let fields = [
            ("topic", "T"),
            ("key", key),
            ("maxNum", "32"),
            ("beginTimestamp", "0"),
            ("endTimestamp", "9223372036854775807"),
            ("_UNIQUE_KEY_QUERY", unique),
        ];
        client.call(request::QUERY_MESSAGE, &fields, b"")
    };
    for (key, unique) in [("order-7", "false"), ("user-9", "false"), ("UK1", "true")] {
        let reply = query(&mut client, key, unique);
        assert_eq!(reply.code, 0, "{key}: {:?}", reply.remark);
        assert_eq!(records(&reply.body)[0].body, b"found", "{key}");
        assert!(number(&reply, "indexLastUpdatePhyoffset") > 0);
    }
    assert_eq!(query(&mut client, "order-9", "false").code, 22);
    let offset = u64::from_str_radix(&id[16..], 16).unwrap().to_string();
    let reply = client.call(request::VIEW_MESSAGE_BY_ID, &[("offset", &offset), ("topic", "T")], b"");
    assert_eq!(records(&reply.body)[0].body, b"found");
    for wrong in ["1", "-1", "99999999"] {
        let reply = client.call(request::VIEW_MESSAGE_BY_ID, &[("offset", wrong)], b"");
        assert_eq!(reply.code, 1, "{wrong}");
        assert_eq!(reply.remark.unwrap(), format!("can not find message by the offset, {wrong}"));
    }
}

#[test]
fn an_update_of_the_configuration_acts_and_is_kept() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    create(&mut client, "T", "4", "4", "6");
    let version = |client: &mut Client| {
        client.call(request::GET_BROKER_CONFIG, &[], b"").field("version").unwrap().to_owned()
    };
    let before = version(&mut client);
    let reply = client.call(request::UPDATE_BROKER_CONFIG, &[], b"brokerPermission=2\nunknownKey=1\n");
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    assert_eq!(Pull::of("T", "g").by(&mut client).code, 16, "it acts at once");
    assert_ne!(version(&mut client), before);
    let text = client.call(request::GET_BROKER_CONFIG, &[], b"");
    let text = String::from_utf8(text.body.to_vec()).unwrap();
    assert!(text.lines().any(|line| line == "brokerPermission=2"));

    let long = format!("brokerPermission=6\n# {}", "x".repeat(1 << 20));
    for (body, code) in [
        ("brokerConfigPath=/x\n", 16),
        ("brokerPermission=many\n", 1),
        ("brokerRole=SLAVE\n", 1),
        (&*long, 1),
    ] {
        let reply = client.call(request::UPDATE_BROKER_CONFIG, &[], body.as_bytes());
        assert_eq!(reply.code, code, "{}: {:?}", &body[..20.min(body.len())], reply.remark);
    }
    assert_eq!(Pull::of("T", "g").by(&mut client).code, 16, "nothing of these is applied");
}

#[test]
fn runtime_information_has_all_keys_of_java() {
    let broker = TestBroker::start();
    let mut client = broker.client();
    Send::to("T").ok(&mut client);
    let reply = client.call(request::GET_BROKER_RUNTIME_INFO, &[], b"");
    let table = json::from_slice::<KvTable>(&reply.body).unwrap().table;
    for key in JAVA_RUNTIME_KEYS {
        assert!(table.contains_key(*key), "{key} is missing");
    }
    assert!(table.keys().any(|key| key.starts_with("commitLogDiskRatio_")));
    assert_eq!(table["brokerVersionDesc"], "V5_5_0");
    assert_eq!(table["putMessageTimesTotal"], "1");
    // Tools split these at blanks and read each part as a number.
    for key in ["putTps", "getFoundTps", "getMissTps", "getTotalTps", "getTransferredTps"] {
        let parts: Vec<f64> = table[key].split(' ').map(|part| part.parse().unwrap()).collect();
        assert_eq!(parts.len(), 3, "{key}");
    }
}

/// From `mqadmin brokerStatus` of 5.5.0.
const JAVA_RUNTIME_KEYS: &[&str] = &[
    "EndTransactionQueueSize",
    "EndTransactionThreadPoolQueueCapacity",
    "ackThreadPoolQueueCapacity",
    "ackThreadPoolQueueHeadWaitTimeMills",
    "ackThreadPoolQueueSize",
    "bootTimestamp",
    "brokerActive",
    "brokerVersionDesc",
    "commitLogDirCapacity",
    "commitLogDiskRatio",
    "commitLogMaxOffset",
    "commitLogMinOffset",
    "consumeQueueDiskRatio",
    "dispatchBehindBytes",
    "dispatchMaxBuffer",
    "earliestMessageTimeStamp",
    "getFoundTps",
    "getMessageEntireTimeMax",
    "getMissTps",
    "getTotalTps",
    "getTransferredTps",
    "litePullThreadPoolQueueCapacity",
    "litePullThreadPoolQueueHeadWaitTimeMills",
    "litePullThreadPoolQueueSize",
    "msgGetTotalTodayMorning",
    "msgGetTotalTodayNow",
    "msgGetTotalYesterdayMorning",
    "msgPutTotalTodayMorning",
    "msgPutTotalTodayNow",
    "msgPutTotalYesterdayMorning",
    "pageCacheLockTimeMills",
    "pullThreadPoolQueueCapacity",
    "pullThreadPoolQueueHeadWaitTimeMills",
    "pullThreadPoolQueueSize",
    "putLatency99",
    "putLatency999",
    "putMessageAverageSize",
    "putMessageDistributeTime",
    "putMessageEntireTimeMax",
    "putMessageFailedTimes",
    "putMessageSizeTotal",
    "putMessageTimesTotal",
    "putTps",
    "queryThreadPoolQueueCapacity",
    "queryThreadPoolQueueHeadWaitTimeMills",
    "queryThreadPoolQueueSize",
    "remainHowManyDataToFlush",
    "remainTransientStoreBufferNumbs",
    "runtime",
    "sendThreadPoolQueueCapacity",
    "sendThreadPoolQueueHeadWaitTimeMills",
    "sendThreadPoolQueueSize",
    "startAcceptSendRequestTimeStamp",
    "timerCongestNum",
    "timerDequeueTps",
    "timerEnqueueTps",
    "timerOffsetBehind",
    "timerReadBehind",
];
