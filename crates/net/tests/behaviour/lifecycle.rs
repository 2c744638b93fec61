//! How connections are admitted, how long they last, and how a server stops.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ferromq_net::limits::Limits;
use ferromq_net::server::{Drain, Listener};
use ferromq_net::tls::ServerTls;
use ferromq_protocol::encode;
use ferromq_protocol::frame::Encoding;
use ferromq_protocol::header::Head;

use crate::support::{Client, PATIENCE, TestServer, ask, eventually, request};

fn request_of_version(version: i32, opaque: i32) -> Vec<u8> {
    let mut out = Vec::new();
    let head = Head { version, ..Head::request(ask::ECHO, opaque) };
    encode::begin(&mut out, Encoding::Json, head, None).finish_with(b"hello").unwrap();
    out
}

#[tokio::test]
async fn idle_connections_are_closed_and_busy_ones_are_not() {
    let idle = Duration::from_millis(300);
    let server = TestServer::with_limits(Limits { idle, ..Limits::default() });
    let mut silent = server.connect().await;
    let mut once = server.connect().await;
    once.ask(ask::ECHO, 1, b"").await;
    let mut busy = server.connect().await;
    let begin = std::time::Instant::now();
    while begin.elapsed() < 3 * idle {
        busy.ask(ask::ECHO, 1, b"").await;
        tokio::time::sleep(idle / 10).await;
    }
    assert!(silent.is_cut_off().await, "it never said a word");
    assert!(once.is_cut_off().await, "it fell silent");
    assert_eq!(server.limiter.counters.idle_closed(), 2);
    assert_eq!(busy.ask(ask::ECHO, 2, b"").await.opaque, 2);
}

#[tokio::test]
async fn what_is_sent_to_a_silent_client_keeps_it_alive() {
    let idle = Duration::from_millis(300);
    let server = TestServer::with_limits(Limits { idle, ..Limits::default() });
    let mut client = server.connect().await;
    client.ask(ask::ECHO, 1, b"").await;
    let begin = std::time::Instant::now();
    while begin.elapsed() < 3 * idle {
        server.shared.peer().send(request(Encoding::Json, 40, 1, b"")).unwrap();
        client.receive().await;
        tokio::time::sleep(idle / 10).await;
    }
    assert_eq!(server.limiter.counters.idle_closed(), 0);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let server = TestServer::with_limits(Limits { connections: 2, ..Limits::default() });
    let mut first = server.connect().await;
    let mut second = server.connect().await;
    first.ask(ask::ECHO, 1, b"").await;
    second.ask(ask::ECHO, 1, b"").await;
    assert!(server.connect().await.is_cut_off().await);
    assert_eq!((server.limiter.connections.used(), server.limiter.connections.refused()), (2, 1));
    first.ask(ask::ECHO, 2, b"").await;
    drop(second);
    eventually("there is room again", || server.limiter.connections.used() == 1).await;
    server.connect().await.ask(ask::ECHO, 1, b"").await;
}

#[tokio::test]
async fn ipv6_and_ipv4_clients_reach_one_dual_stack_listener() {
    let server = TestServer::listening("[::]:0", Limits::default(), ServerTls::default());
    let port = server.address().port();
    for host in ["127.0.0.1", "::1"] {
        let ip: std::net::IpAddr = host.parse().unwrap();
        let stream = tokio::net::TcpStream::connect((ip, port)).await.unwrap();
        let own = stream.local_addr().unwrap();
        let mut client = Client::new(stream);
        client.ask(ask::ECHO, 1, b"").await;
        let peer = server.shared.peer();
        assert_eq!((peer.remote(), peer.local().ip()), (own, ip), "IPv4 is shown as IPv4");
        assert_eq!(peer.client(), own);
    }
}

#[tokio::test]
async fn a_taken_address_is_an_error_that_names_it() {
    let taken = Listener::bind("127.0.0.1:0".parse().unwrap(), 16).unwrap();
    let error = Listener::bind(taken.local_addr(), 16).unwrap_err();
    assert!(error.is_taken());
    assert!(error.to_string().contains(&taken.local_addr().to_string()));
}

#[tokio::test]
async fn the_session_is_told_once_that_its_connection_is_gone() {
    let server = TestServer::start();
    for count in 1..=3 {
        let mut client = server.connect().await;
        client.ask(ask::ECHO, 1, b"").await;
        drop(client);
        eventually("it is told", || server.shared.closed.load(Ordering::SeqCst) == count).await;
    }
    assert!(server.server.peers().is_empty());
    // A connection without a byte never had a session.
    drop(server.connect().await);
    eventually("it is gone", || server.limiter.connections.used() == 0).await;
    assert_eq!(server.shared.closed.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn stopping_waits_for_answers_and_accepts_nobody() {
    let server = TestServer::start();
    let shared = server.shared.clone();
    let address = server.address();
    let mut client = server.connect().await;
    let mut silent = server.connect().await;
    let mut idle = server.connect().await;
    idle.ask(ask::ECHO, 1, b"").await;
    client.write(&request(Encoding::Json, ask::HOLD, 7, b"promised")).await;
    eventually("it is held", || shared.requests.load(Ordering::SeqCst) == 2).await;
    let stopping = tokio::spawn(server.stop());
    assert!(idle.is_cut_off().await);
    assert!(silent.is_cut_off().await);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    assert!(!stopping.is_finished(), "an answer is due");
    // What comes now is not taken any more.
    client.write(&request(Encoding::Json, ask::ECHO, 8, b"too late")).await;
    shared.release();
    assert_eq!(client.receive().await.opaque, 7);
    assert!(client.is_cut_off().await);
    assert_eq!(stopping.await.unwrap(), 0);
}

#[tokio::test]
async fn stopping_cuts_off_what_does_not_end() {
    let server = TestServer::start();
    let shared = server.shared.clone();
    let mut client = server.connect().await;
    client.write(&request(Encoding::Json, ask::HOLD, 7, b"")).await;
    eventually("it is held", || shared.requests.load(Ordering::SeqCst) == 1).await;
    let drain = Drain { send_away: None, patience: Duration::from_millis(50) };
    assert_eq!(server.server.stop(drain).await, 1);
    assert!(client.is_cut_off().await);
    assert_eq!(shared.closed.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_dropped_server_cuts_everything_off() {
    let server = TestServer::start();
    let limiter = server.limiter.clone();
    let mut client = server.connect().await;
    client.ask(ask::ECHO, 1, b"").await;
    drop(server);
    assert!(client.is_cut_off().await);
    eventually("all places are free", || limiter.connections.used() == 0).await;
}

#[tokio::test]
async fn only_clients_that_understand_it_are_sent_away() {
    let server = TestServer::start();
    let (shared, limiter) = (server.shared.clone(), server.limiter.clone());
    let mut client = server.connect().await;
    client.ask(ask::ECHO, 1, b"").await;
    let drain = Drain { send_away: Some(PATIENCE), patience: PATIENCE };
    let stopping = tokio::spawn(server.server.stop(drain));
    // Requests go on being served until the order has arrived.
    let away = loop {
        client.write(&request_of_version(476, 2)).await;
        let reply = client.receive().await;
        if reply.code != 0 {
            break reply;
        }
    };
    assert_eq!((away.code, away.opaque, away.remark.as_deref()), (1500, 2, Some("please go away")));
    client.write(&request_of_version(475, 3)).await;
    assert_eq!(client.receive().await.code, 0, "5.3.1 and older are served");

    let before = shared.requests.load(Ordering::SeqCst);
    let mut oneway = Vec::new();
    encode::begin(&mut oneway, Encoding::Json, Head::oneway(ask::ECHO, 4), None).finish().unwrap();
    client.write(&oneway).await;
    eventually("oneway requests are served", || shared.requests.load(Ordering::SeqCst) == before + 1).await;

    assert_eq!(limiter.counters.sent_away(), 1);
    drop(client);
    assert_eq!(stopping.await.unwrap(), 0, "it ends when the last client is gone");
}

#[tokio::test]
async fn a_proxy_in_front_says_where_the_client_is() {
    let server = TestServer::start();
    let mut client = server.connect().await;
    let preamble = b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 10911\r\n";
    let bytes = [&preamble[..], &request(Encoding::Json, ask::ECHO, 1, b"hello")].concat();
    // In pieces, because a proxy owes nobody a single packet.
    for piece in bytes.chunks(7) {
        client.write(piece).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(&client.receive().await.body[..], b"hello");
    let peer = server.shared.peer();
    assert_eq!(peer.client(), "192.0.2.7:51234".parse().unwrap());
    assert_eq!(peer.remote(), client.stream.local_addr().unwrap());
}

#[tokio::test]
async fn a_preamble_that_does_not_end_is_given_up() {
    let limits = Limits { handshake: Duration::from_millis(100), ..Limits::default() };
    let server = TestServer::with_limits(limits);
    let mut client = server.connect().await;
    client.write(b"PROXY TCP4 ").await;
    assert!(client.is_cut_off().await);
    assert_eq!(server.limiter.counters.too_slow_closed(), 1);
}
