//! Name servers and routes: what is asked, what is remembered, what happens when something is away.

use std::time::Duration;

use ferromq_client::{Client, ClientConfig, Message, NameServerError, ProducerOptions, RouteError};
use ferromq_protocol::code::{request, response};

use crate::fake::{Fake, Fault};

#[tokio::test]
async fn another_name_server_is_asked_when_one_is_gone_and_then_kept() {
    let (fake, second) = (Fake::start("a").await, Fake::start("b").await);
    fake.route("T", &[(&fake, 1)]);
    fake.route("U", &[(&fake, 1)]);
    // Nothing listens on a port that was just given back.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let list = format!("{gone};{}", fake.address());
    let client = Client::start(ClientConfig::new(list)).await.unwrap();
    client.route("T").await.unwrap();
    assert_eq!(client.admin().name_servers()[0], fake.address());
    client.route("U").await.unwrap();
    assert!(second.requests(request::GET_ROUTEINFO_BY_TOPIC).is_empty());
}

#[tokio::test]
async fn a_name_server_that_fails_is_passed_over_but_one_that_knows_nothing_is_believed() {
    let (a, b) = (Fake::start("a").await, Fake::start("b").await);
    b.route("T", &[(&b, 1)]);
    let client = Client::start(ClientConfig::new(a.address())).await.unwrap();
    let error = client.route("T").await.unwrap_err();
    assert_eq!(error, RouteError::NoRoute { topic: "T".to_owned() });

    a.route("T", &[(&a, 1)]);
    let both = Client::start(ClientConfig::new(format!("{};{}", a.address(), b.address()))).await.unwrap();
    for fake in [&a, &b] {
        fake.fault(request::GET_ROUTEINFO_BY_TOPIC, Fault::Answer(response::SYSTEM_ERROR, "no"));
    }
    let error = both.route("T").await.unwrap_err();
    assert!(matches!(error, RouteError::Call(ref error) if error.code() == Some(1)), "{error}");
    both.route("T").await.unwrap();
}

#[tokio::test]
async fn without_any_address_nothing_starts() {
    let config = ClientConfig { name_servers: Some(" ; ".to_owned()), ..ClientConfig::default() };
    assert_eq!(Client::start(config).await.unwrap_err(), NameServerError::NotSet);
}

#[tokio::test]
async fn host_names_are_resolved() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    let config = ClientConfig::new(format!("localhost:{}", fake.addr.port()));
    Client::start(config).await.unwrap().route("T").await.unwrap();
}

#[tokio::test]
async fn routes_are_refreshed_and_survive_an_outage() {
    let (name_server, a, b) = (Fake::start("ns").await, Fake::start("a").await, Fake::start("b").await);
    name_server.route("T", &[(&a, 1)]);
    let client = name_server.client_with(|config| config.route_refresh = Duration::from_millis(20)).await;
    let producer = client.producer("PID", ProducerOptions::default()).unwrap();
    producer.send(&Message::new("T", "x")).await.unwrap();

    for _ in 0..3 {
        name_server.fault(request::GET_ROUTEINFO_BY_TOPIC, Fault::Answer(response::TOPIC_NOT_EXIST, "away"));
    }
    let asked = name_server.requests(request::GET_ROUTEINFO_BY_TOPIC).len();
    name_server.wait_for(request::GET_ROUTEINFO_BY_TOPIC, asked + 3).await;
    producer.send(&Message::new("T", "x")).await.unwrap();

    name_server.route("T", &[(&b, 1)]);
    let asked = name_server.requests(request::GET_ROUTEINFO_BY_TOPIC).len();
    // The second request after the change is sent only when the answer to the first has been taken in.
    name_server.wait_for(request::GET_ROUTEINFO_BY_TOPIC, asked + 2).await;
    let receipt = producer.send(&Message::new("T", "x")).await.unwrap();
    assert_eq!(&*receipt.queue.broker_name, "b");
}

#[tokio::test]
async fn many_who_need_a_route_ask_once() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 4)]);
    let client = fake.client().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let client = client.clone();
        tasks.spawn(async move { client.route("T").await.unwrap() });
    }
    tasks.join_all().await;
    assert_eq!(fake.requests(request::GET_ROUTEINFO_BY_TOPIC).len(), 1);
}
