//! Brokers are there as long as their connection and their reports last.

use std::time::{Duration, Instant};

use ferromq_protocol::header::OwnedFrame;

use crate::support::{PATIENCE, TestServer, eventually, meaning, outcome};

fn names_broker(reply: &OwnedFrame, name: &str) -> bool {
    meaning(&reply.body).unwrap().get("brokerAddrTable").unwrap().get(name).is_some()
}

#[tokio::test]
async fn a_broker_whose_connection_is_gone_is_gone_at_once() {
    let server = TestServer::start(&[]);
    let mut broker = server.connect().await;
    let mut other = server.connect().await;
    broker.register("broker-a", &["T", "U"]).await;
    other.register("broker-b", &["T", "V"]).await;
    let mut client = server.connect().await;
    assert!(names_broker(&client.ask(106, &[], b"").await, "broker-a"));
    let begin = Instant::now();
    drop(broker);
    eventually(&mut client, 106, |reply| !names_broker(reply, "broker-a")).await;
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    assert_eq!(client.ask(105, &[("topic", "U")], b"").await.code, 17);
    assert_eq!(client.ask(105, &[("topic", "T")], b"").await.code, 0, "the other broker still serves it");
}

#[tokio::test]
async fn a_broker_that_does_not_report_is_dropped_and_disconnected() {
    let server = TestServer::start(&[("scanNotActiveBrokerInterval", "20")]);
    let mut silent = server.connect().await;
    let mut alive = server.connect().await;
    silent.register_with("broker-a", &["T", "U"], &[("heartbeatTimeoutMillis", "200")]).await;
    alive.register_with("broker-b", &["T", "U"], &[("heartbeatTimeoutMillis", "200")]).await;
    let mut client = server.connect().await;
    let member =
        [("clusterName", "DefaultCluster"), ("brokerAddr", "broker-b:10911"), ("brokerName", "broker-b")];
    let begin = Instant::now();
    while names_broker(&client.ask(106, &[], b"").await, "broker-a") {
        assert!(begin.elapsed() < PATIENCE, "never dropped");
        assert_eq!(outcome(&alive.ask(904, &member, b"").await), (0, None));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(begin.elapsed() >= Duration::from_millis(150), "not before its time was over");
    assert!(names_broker(&client.ask(106, &[], b"").await, "broker-b"));
    assert!(silent.try_receive().await.is_none(), "its connection is closed");
}

#[tokio::test]
async fn asking_for_the_version_is_a_report_too() {
    let server = TestServer::start(&[]);
    let mut broker = server.connect().await;
    let member = [
        ("clusterName", "DefaultCluster"),
        ("brokerAddr", "broker-a:10911"),
        ("brokerName", "broker-a"),
        ("brokerId", "0"),
    ];
    let version = br#"{"counter":1,"stateVersion":0,"timestamp":0}"#;
    let reply = broker.ask(322, &member, version).await;
    assert_eq!((reply.field("changed"), reply.body.len()), (Some("true"), 0), "nothing is known of it");
    broker.register("broker-a", &["T", "U"]).await;
    let reply = broker.ask(322, &member, version).await;
    assert_eq!(reply.field("changed"), Some("false"));
    assert_eq!(meaning(&reply.body), meaning(version));
    let reply = broker.ask(322, &member, br#"{"counter":2,"stateVersion":0,"timestamp":0}"#).await;
    assert_eq!(reply.field("changed"), Some("true"));
    let reply = broker.ask(322, &member, b"").await;
    assert_eq!(reply.field("changed"), Some("true"), "without a version nothing can be equal");
}

#[tokio::test]
async fn a_broker_that_says_goodbye_is_gone_with_its_topics() {
    let server = TestServer::start(&[]);
    let mut broker = server.connect().await;
    broker.register("broker-a", &["T", "U"]).await;
    let departure = [
        ("clusterName", "DefaultCluster"),
        ("brokerAddr", "broker-a:10911"),
        ("brokerName", "broker-a"),
        ("brokerId", "0"),
    ];
    assert_eq!(outcome(&broker.ask(104, &departure, b"").await), (0, None));
    assert!(!names_broker(&broker.ask(106, &[], b"").await, "broker-a"));
    assert_eq!(broker.ask(105, &[("topic", "T")], b"").await.code, 17);
    assert_eq!(outcome(&broker.ask(104, &departure, b"").await), (0, None), "twice is no error");
}

#[tokio::test]
async fn brokers_are_told_of_a_new_smallest_id() {
    let server = TestServer::start(&[("notifyMinBrokerIdChanged", "true")]);
    // The brokers listen where they say they do, and are told there.
    let mut listeners = Vec::new();
    let mut addresses = Vec::new();
    for _ in 0..2 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.push(listener.local_addr().unwrap().to_string());
        listeners.push(listener);
    }
    let mut leader = server.connect().await;
    let mut follower = server.connect().await;
    for (broker, id) in [(&mut leader, "0"), (&mut follower, "1")] {
        let address = &addresses[id.parse::<usize>().unwrap()];
        let more = [("brokerId", id), ("brokerAddr", address.as_str()), ("enableActingMaster", "true")];
        broker.register_with("broker-a", &["T", "U"], &more).await;
    }
    drop(leader);
    let told = async {
        let (mut stream, _) = listeners[1].accept().await.unwrap();
        let mut length = [0; 4];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut length).await.unwrap();
        let mut bytes = length.to_vec();
        bytes.resize(4 + u32::from_be_bytes(length) as usize, 0);
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut bytes[4..]).await.unwrap();
        bytes
    };
    let bytes = tokio::time::timeout(PATIENCE, told).await.expect("nobody was told");
    let Ok(ferromq_protocol::frame::Split::Frame { frame, .. }) = ferromq_protocol::frame::split(&bytes)
    else {
        panic!("no frame")
    };
    let mut decoder = ferromq_protocol::header::HeaderDecoder::new();
    let notice = decoder.decode(frame).unwrap();
    assert_eq!((notice.code, notice.is_oneway()), (905, true));
    assert_eq!(notice.field("minBrokerId"), Some("1"));
    assert_eq!(notice.field("minBrokerAddr"), Some(addresses[1].as_str()));
    assert_eq!(notice.field("offlineBrokerAddr"), Some(addresses[0].as_str()));
    assert_eq!(notice.field("haBrokerAddr"), None);
}
