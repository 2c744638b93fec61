//! How a broker makes itself known to name servers.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use ferromq_protocol::body::{ClusterInfo, TopicRouteData};
use ferromq_protocol::code::request;
use ferromq_protocol::json;

use crate::support::{Client, Send, TestBroker, TestNameServer, eventually};

fn route(client: &mut Client, topic: &str) -> Option<TopicRouteData> {
    let fields = [("topic", topic), ("acceptStandardJsonOnly", "true")];
    let reply = client.call(request::GET_ROUTEINFO_BY_TOPIC, &fields, b"");
    (reply.code == 0).then(|| json::from_slice(&reply.body).unwrap())
}

fn knows_broker(client: &mut Client) -> bool {
    let reply = client.call(request::GET_BROKER_CLUSTER_INFO, &[], b"");
    let info: ClusterInfo = json::from_slice(&reply.body).unwrap();
    info.broker_addr_table.contains_key("broker-a")
}

#[test]
fn a_started_broker_is_known_and_a_stopped_one_is_not() {
    let name_server = TestNameServer::start();
    let broker = TestBroker::with(&[("namesrvAddr", &name_server.address())]);
    let mut client = name_server.client();
    assert!(knows_broker(&mut client), "as soon as it serves");
    assert!(route(&mut client, "TBW102").is_some() && route(&mut client, "SELF_TEST_TOPIC").is_some());
    let address = broker.address().to_string();
    let info = client.call(request::GET_BROKER_CLUSTER_INFO, &[], b"");
    assert!(String::from_utf8_lossy(&info.body).contains(&address));
    broker.stop();
    eventually("the broker is gone", || !knows_broker(&mut client));
}

#[test]
fn a_new_topic_has_a_route_when_its_creation_is_answered() {
    let name_server = TestNameServer::start();
    let broker = TestBroker::with(&[("namesrvAddr", &name_server.address())]);
    let (mut client, mut routes) = (broker.client(), name_server.client());
    let fields = [("topic", "made"), ("readQueueNums", "3"), ("writeQueueNums", "2"), ("perm", "6")];
    assert_eq!(client.call(request::UPDATE_AND_CREATE_TOPIC, &fields, b"").code, 0);
    let made = route(&mut routes, "made").unwrap();
    assert_eq!((made.queue_datas[0].read_queue_nums, made.queue_datas[0].write_queue_nums), (3, 2));
    Send::to("appeared").ok(&mut client);
    assert!(route(&mut routes, "appeared").is_some());
    assert!(route(&mut routes, "TBW102").is_some(), "the others are still there");
}

#[test]
fn all_name_servers_are_told_and_a_dead_one_holds_nobody_up() {
    let (first, second) = (TestNameServer::start(), TestNameServer::start());
    let dead = TcpListener::bind("127.0.0.1:0").unwrap();
    let names = format!("{};{};{}", first.address(), dead.local_addr().unwrap(), second.address());
    let broker = TestBroker::with(&[("namesrvAddr", &names)]);
    Send::to("T").ok(&mut broker.client());
    for name_server in [&first, &second] {
        let mut client = name_server.client();
        eventually("both know the topic", || route(&mut client, "T").is_some());
    }
}

#[test]
fn a_name_server_that_comes_later_is_told_everything() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let names = format!("127.0.0.1:{port}");
    let broker = TestBroker::with(&[("namesrvAddr", &names), ("registerNameServerPeriod", "10000")]);
    Send::to("before").ok(&mut broker.client());
    let name_server = TestNameServer::on(port);
    Send::to("after").ok(&mut broker.client());
    let mut client = name_server.client();
    eventually("it knows both topics", || {
        route(&mut client, "before").is_some() && route(&mut client, "after").is_some()
    });
}

#[test]
fn a_broker_that_may_not_be_written_shows_that_in_its_routes() {
    let name_server = TestNameServer::start();
    let broker = TestBroker::with(&[("namesrvAddr", &name_server.address())]);
    let (mut client, mut routes) = (broker.client(), name_server.client());
    Send::to("T").ok(&mut client);
    assert_eq!(client.call(request::UPDATE_BROKER_CONFIG, &[], b"brokerPermission=4\n").code, 0);
    eventually("the route shows it", || {
        route(&mut routes, "T").is_some_and(|route| route.queue_datas[0].perm == 4)
    });
    assert_eq!(client.call(request::UPDATE_BROKER_CONFIG, &[], b"brokerPermission=6\n").code, 0);
    eventually("and that it is over", || {
        route(&mut routes, "T").is_some_and(|route| route.queue_datas[0].perm == 6)
    });
}

#[test]
fn topics_that_an_administrator_orders_become_ordered() {
    let name_server = TestNameServer::start();
    let broker = TestBroker::with(&[("namesrvAddr", &name_server.address())]);
    let (mut client, mut names) = (broker.client(), name_server.client());
    let order = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "T"), ("value", "broker-a:4")];
    assert_eq!(names.call(request::PUT_KV_CONFIG, &order, b"").code, 0);
    Send::to("T").ok(&mut client);
    Send::to("other").ok(&mut client);
    eventually("the broker knows", || broker.broker().metadata.topics.is_ordered("T"));
    assert!(!broker.broker().metadata.topics.is_ordered("other"));
}

#[test]
fn name_servers_are_found_by_asking_an_http_server() {
    let name_server = TestNameServer::start();
    let page = format!("{};\n ignored", name_server.address());
    let http = TcpListener::bind("127.0.0.1:0").unwrap();
    let domain = http.local_addr().unwrap().to_string();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = http.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut request = Vec::new();
        let mut chunk = [0; 1024];
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let read = stream.read(&mut chunk).unwrap();
            request.extend_from_slice(&chunk[..read]);
        }
        let length = page.len();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}")
            .unwrap();
        String::from_utf8(request).unwrap()
    });
    let _broker = TestBroker::with(&[
        ("fetchNamesrvAddrByAddressServer", "true"),
        ("rmqAddressServerDomain", &domain),
        ("rmqAddressServerSubGroup", "mine"),
    ]);
    assert!(served.join().unwrap().starts_with("GET /rocketmq/mine "));
    assert!(knows_broker(&mut name_server.client()));
}

#[test]
fn a_name_that_stands_for_a_name_server_is_resolved() {
    let name_server = TestNameServer::start();
    let by_name = name_server.address().replace("127.0.0.1", "localhost");
    for look_up in ["false", "true"] {
        let _broker =
            TestBroker::with(&[("namesrvAddr", &by_name), ("fetchNameSrvAddrByDnsLookup", look_up)]);
        assert!(knows_broker(&mut name_server.client()), "{look_up}");
    }
}
