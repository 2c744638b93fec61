//! Codes, remarks and forms of the answers that clients and tools get.

use ferromq_protocol::record::body_crc;
use ferromq_protocol::version::V4_9_4;

use crate::support::{TestServer, meaning, outcome, registration};

const NO_ROUTE: &str = "No topic route info in name server for the topic: N\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

#[tokio::test]
async fn routes_are_strict_json_only_for_clients_that_read_it() {
    let server = TestServer::start(&[]);
    let mut client = server.connect().await;
    client.register("broker-a", &["T", "U"]).await;
    let topic = ("topic", "T");
    let text = |frame: &ferromq_protocol::header::OwnedFrame| String::from_utf8(frame.body.to_vec()).unwrap();
    let old = text(&client.ask_as(V4_9_4 - 1, 105, &[topic], b"").await);
    assert!(old.contains(r#""brokerAddrs":{0:"broker-a:10911"}"#), "{old}");
    let new = text(&client.ask_as(V4_9_4, 105, &[topic], b"").await);
    assert!(new.contains(r#""brokerAddrs":{"0":"broker-a:10911"}"#), "{new}");
    let asked = text(&client.ask_as(1, 105, &[topic, ("acceptStandardJsonOnly", "true")], b"").await);
    assert_eq!(asked, new);
    assert_eq!(
        new,
        concat!(
            r#"{"brokerDatas":[{"brokerAddrs":{"0":"broker-a:10911"},"brokerName":"broker-a","#,
            r#""cluster":"DefaultCluster","enableActingMaster":false}],"filterServerTable":{},"#,
            r#""queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":16,"topicSysFlag":0,"#,
            r#""writeQueueNums":16}]}"#
        )
    );
    let info = text(&client.ask_as(V4_9_4, 106, &[], b"").await);
    assert!(info.contains(r#""brokerAddrs":{0:"broker-a:10911"}"#), "the cluster info never is: {info}");
}

#[tokio::test]
async fn refusals_have_javas_codes_and_remarks() {
    let server = TestServer::start(&[]);
    let mut client = server.connect().await;
    client.register("broker-a", &["T", "U"]).await;
    assert_eq!(outcome(&client.ask(105, &[("topic", "N")], b"").await), (17, Some(NO_ROUTE)));
    assert_eq!(outcome(&client.ask(9999, &[], b"").await), (3, Some(" request type 9999 not supported")));
    assert_eq!(outcome(&client.ask(10, &[], b"").await), (3, Some(" request type 10 not supported")));
    let (code, remark) = (1, Some("the custom field <topic> is null"));
    assert_eq!(outcome(&client.ask(105, &[], b"").await), (code, remark));
    let body = registration(&["A"]).to_json();
    let fields = [
        ("brokerName", "broker-b"),
        ("brokerAddr", "b:1"),
        ("clusterName", "c"),
        ("haServerAddr", ""),
        ("brokerId", "0"),
    ];
    assert_eq!(outcome(&client.ask(103, &fields, &body).await), (0, None), "Java refuses one topic");
    let body = registration(&["A", "B"]).to_json();
    let with_crc = |crc: i32| crc.to_string();
    let wrong = with_crc(body_crc(&body) ^ 1);
    let fields_with = |crc| fields.iter().copied().chain([("bodyCrc32", crc)]).collect::<Vec<_>>();
    assert_eq!(outcome(&client.ask(103, &fields_with(&wrong), &body).await), (1, Some("crc32 not match")));
    let right = with_crc(body_crc(&body));
    assert_eq!(outcome(&client.ask(103, &fields_with(&right), &body).await), (0, None));
    for broken in [&b"{"[..], b"\x78\x9cnonsense", b"[]"] {
        let reply = client.ask(103, &fields, broken).await;
        assert_eq!(reply.code, 1, "{broken:?}: {reply:?}");
        assert!(reply.remark.unwrap().contains("RegisterBrokerBody"));
    }
    assert_eq!(
        outcome(&client.ask(101, &[("namespace", "n"), ("key", "k")], b"").await),
        (22, Some("No config item, Namespace: n Key: k"))
    );
    assert_eq!(
        outcome(&client.ask(219, &[("namespace", "n")], b"").await),
        (22, Some("No config item, Namespace: n"))
    );
    assert_eq!(
        outcome(&client.ask(100, &[("namespace", "n"), ("value", "v")], b"").await),
        (1, Some("namespace or key is null"))
    );
}

#[tokio::test]
async fn registrations_are_read_in_both_forms_whatever_they_claim() {
    let server = TestServer::start(&[]);
    let mut client = server.connect().await;
    let body = registration(&["A", "B", "C"]);
    for (name, bytes, claim) in [
        ("broker-json", body.to_json(), "false"),
        ("broker-zlib", body.to_compressed(), "false"),
        ("broker-true", body.to_compressed(), "true"),
        ("broker-none", Vec::new(), "false"),
    ] {
        let address = format!("{name}:1");
        let fields = [
            ("brokerName", name),
            ("brokerAddr", &address),
            ("clusterName", "c"),
            ("haServerAddr", ""),
            ("brokerId", "0"),
            ("compressed", claim),
        ];
        assert_eq!(outcome(&client.ask(103, &fields, &bytes).await), (0, None), "{name}");
    }
    let route = meaning(&client.ask(105, &[("topic", "A")], b"").await.body).unwrap();
    let ferromq_protocol::json::Value::List(queues) = route.get("queueDatas").unwrap() else {
        panic!("no list")
    };
    assert_eq!(queues.len(), 3);
}

#[tokio::test]
async fn ten_thousand_topics_are_registered_at_once() {
    let server = TestServer::start(&[]);
    let mut broker = server.connect().await;
    let topics: Vec<String> = (0..10_000).map(|n| format!("Topic{n:06}")).collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    for _ in 0..2 {
        assert_eq!(broker.register("broker-a", &topics).await.code, 0);
    }
    let list = broker.ask(206, &[], b"").await;
    let ferromq_protocol::json::Value::List(listed) =
        meaning(&list.body).unwrap().get("topicList").unwrap().clone()
    else {
        panic!("no list")
    };
    assert_eq!(listed.len(), 10_000);
}

#[tokio::test]
async fn a_follower_finds_its_leader_in_the_answer() {
    let server = TestServer::start(&[]);
    let mut leader = server.connect().await;
    let mut follower = server.connect().await;
    let reply = leader.register("broker-a", &["T", "U"]).await;
    assert!(reply.fields.is_empty(), "{:?}", reply.fields);
    let reply = follower.register_with("broker-a", &[], &[("brokerId", "1"), ("brokerAddr", "f:1")]).await;
    assert_eq!(reply.field("masterAddr"), Some("broker-a:10911"));
    assert_eq!(reply.field("haServerAddr"), Some("ha:10912"));
    let group =
        follower.ask(901, &[("clusterName", "DefaultCluster"), ("brokerName", "broker-a")], b"").await;
    assert_eq!(
        String::from_utf8(group.body.to_vec()).unwrap(),
        r#"{"brokerMemberGroup":{"brokerAddrs":{0:"broker-a:10911",1:"f:1"},"brokerName":"broker-a","cluster":"DefaultCluster"}}"#
    );
    let group = follower.ask(901, &[("clusterName", "c"), ("brokerName", "nobody")], b"").await;
    assert_eq!(
        meaning(&group.body),
        meaning(br#"{"brokerMemberGroup":{"brokerAddrs":{},"brokerName":"nobody","cluster":"c"}}"#)
    );
}

#[tokio::test]
async fn permissions_topics_and_lists_are_changed_and_listed() {
    let server = TestServer::start(&[]);
    let mut client = server.connect().await;
    client.register("broker-a", &["T", "U"]).await;
    assert_eq!(client.ask(205, &[("brokerName", "broker-a")], b"").await.field("wipeTopicCount"), Some("2"));
    let perm = |body: &[u8]| {
        let text = String::from_utf8(body.to_vec()).unwrap();
        text.split_once(r#""perm":"#).unwrap().1.chars().next().unwrap()
    };
    assert_eq!(perm(&client.ask(105, &[("topic", "T")], b"").await.body), '4');
    assert_eq!(client.ask(327, &[("brokerName", "broker-a")], b"").await.field("addTopicCount"), Some("2"));
    assert_eq!(perm(&client.ask(105, &[("topic", "T")], b"").await.body), '6');

    let queues = br#"{"queueDatas":[{"brokerName":"broker-a","perm":2,"readQueueNums":1,"topicSysFlag":1,"writeQueueNums":1}]}"#;
    assert_eq!(outcome(&client.ask(217, &[("topic", "New")], queues).await), (0, None));
    assert_eq!(perm(&client.ask(105, &[("topic", "New")], b"").await.body), '2');
    assert_eq!(outcome(&client.ask(217, &[("topic", "New")], b"").await), (0, None));

    let list = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
    assert_eq!(list(&client.ask(206, &[], b"").await.body), r#"{"topicList":["New","T","U"]}"#);
    assert_eq!(list(&client.ask(311, &[], b"").await.body), r#"{"topicList":["New"]}"#);
    assert_eq!(list(&client.ask(312, &[], b"").await.body), r#"{"topicList":[]}"#);
    assert_eq!(list(&client.ask(313, &[], b"").await.body), r#"{"topicList":[]}"#);
    assert_eq!(
        list(&client.ask(224, &[("cluster", "DefaultCluster")], b"").await.body),
        r#"{"topicList":["New","T","U"]}"#
    );
    assert_eq!(list(&client.ask(224, &[("cluster", "x")], b"").await.body), r#"{"topicList":[]}"#);
    assert_eq!(
        list(&client.ask(304, &[], b"").await.body),
        r#"{"brokerAddr":"broker-a:10911","topicList":["DefaultCluster","broker-a"]}"#
    );
    assert_eq!(outcome(&client.ask(216, &[("topic", "New"), ("clusterName", "x")], b"").await), (0, None));
    assert_eq!(client.ask(105, &[("topic", "New")], b"").await.code, 0);
    assert_eq!(outcome(&client.ask(216, &[("topic", "New")], b"").await), (0, None));
    assert_eq!(client.ask(105, &[("topic", "New")], b"").await.code, 17);
}

#[tokio::test]
async fn lists_can_be_disabled() {
    let server = TestServer::start(&[("enableAllTopicList", "false"), ("enableTopicList", "false")]);
    let mut client = server.connect().await;
    for (code, fields) in [(206, &[][..]), (224, &[("cluster", "c")]), (311, &[]), (312, &[]), (313, &[])] {
        assert_eq!(outcome(&client.ask(code, fields, b"").await), (1, Some("disable")), "{code}");
    }
}

#[tokio::test]
async fn a_name_server_may_wait_before_it_serves_routes() {
    let server = TestServer::start(&[("needWaitForService", "true"), ("waitSecondsForService", "1")]);
    let begin = std::time::Instant::now();
    let mut client = server.connect().await;
    client.register("broker-a", &["T", "U"]).await;
    let mut reply = client.ask(105, &[("topic", "T")], b"").await;
    while outcome(&reply) == (1, Some("name server not ready")) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        reply = client.ask(105, &[("topic", "T")], b"").await;
    }
    assert_eq!(reply.code, 0);
    assert!(begin.elapsed() >= std::time::Duration::from_millis(900), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn zones_keep_clients_near() {
    let server = TestServer::start(&[]);
    let mut client = server.connect().await;
    for (name, zone) in [("broker-a", "East"), ("broker-b", "West")] {
        client.register_with(name, &["T", "U"], &[("__ZONE_NAME", zone)]).await;
    }
    // A group without a leader is kept wherever it is.
    let follower = [("brokerId", "1"), ("__ZONE_NAME", "West")];
    client.register_with("broker-d", &["T", "U"], &follower).await;
    let names = |body: &[u8]| {
        let text = String::from_utf8(body.to_vec()).unwrap();
        ["broker-a", "broker-b", "broker-d"]
            .map(|name| text.matches(&format!(r#""brokerName":"{name}""#)).count())
    };
    let zoned = [("topic", "T"), ("__ZONE_MODE", "true"), ("__ZONE_NAME", "east")];
    assert_eq!(names(&client.ask(105, &zoned, b"").await.body), [2, 0, 2]);
    let not_zoned = [("topic", "T"), ("__ZONE_MODE", "false"), ("__ZONE_NAME", "east")];
    assert_eq!(names(&client.ask(105, &not_zoned, b"").await.body), [2, 2, 2]);
}

#[tokio::test]
async fn an_acting_master_is_shown_where_it_is_supported() {
    for (supported, expected) in
        [("true", r#"{"0":"broker-a:10911"}"#), ("false", r#"{"1":"broker-a:10911"}"#)]
    {
        let server = TestServer::start(&[("supportActingMaster", supported)]);
        let mut client = server.connect().await;
        let follower = [("brokerId", "1"), ("enableActingMaster", "true")];
        client.register_with("broker-a", &["T", "U"], &follower).await;
        let route = client.ask(105, &[("topic", "T")], b"").await;
        let text = String::from_utf8(route.body.to_vec()).unwrap();
        assert!(text.contains(&format!(r#""brokerAddrs":{expected}"#)), "{text}");
    }
}

#[tokio::test]
async fn oneway_requests_are_done_and_not_answered() {
    let server = TestServer::start(&[]);
    let mut client = server.connect().await;
    client.register("broker-a", &["T", "U"]).await;
    let mut bytes = Vec::new();
    let head = ferromq_protocol::header::Head::oneway(216, 77);
    let mut header =
        ferromq_protocol::encode::begin(&mut bytes, ferromq_protocol::frame::Encoding::Json, head, None);
    header.text("topic", "T");
    header.finish().unwrap();
    client.send(&bytes).await;
    // `ask` checks that the next answer is its own.
    assert_eq!(client.ask(105, &[("topic", "T")], b"").await.code, 17);
}
