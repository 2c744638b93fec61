//! Requests in both directions over one connection, and who waits for which reply.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::Context;
use std::time::Duration;

use ferromq_net::caller::{self, ADDRESSES_MAX, Caller, ConnectFailure, NoRequests, RequestError};
use ferromq_net::connection::{Request, Service, Session};
use ferromq_net::limits::{Limiter, Limits};
use ferromq_net::peer::{CallError, Peer};
use ferromq_net::server::Drain;
use ferromq_protocol::encode;
use ferromq_protocol::frame::Encoding;
use ferromq_protocol::header::Head;

use crate::support::{PATIENCE, TestServer, answer, ask, eventually, request};

fn settings(limits: Limits, encoding: Encoding) -> caller::Settings {
    let connect_timeout = Duration::from_secs(3);
    caller::Settings { limiter: Limiter::new(limits), connect_timeout, tls: None, encoding }
}

fn caller() -> Caller {
    Caller::new(settings(Limits::default(), Encoding::Json), Arc::new(NoRequests))
}

fn ask_for(code: i32, body: &[u8]) -> impl Fn(&mut Vec<u8>, Encoding, i32) {
    move |out, encoding, opaque| {
        encode::begin(out, encoding, Head::request(code, opaque), None).finish_with(body).unwrap();
    }
}

fn call_error(error: RequestError) -> CallError {
    match error {
        RequestError::Call { source, .. } => source,
        RequestError::Connect(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn oneway_requests_are_never_answered() {
    let server = TestServer::start();
    let mut client = server.connect().await;
    let mut bytes = Vec::new();
    for code in [ask::ECHO, ask::SIZE, 30_000] {
        encode::begin(&mut bytes, Encoding::Json, Head::oneway(code, 1), None).finish().unwrap();
    }
    bytes.extend(request(Encoding::Json, ask::ECHO, 2, b""));
    client.write(&bytes).await;
    assert_eq!(client.receive().await.opaque, 2);
}

#[tokio::test]
async fn replies_that_nobody_waits_for_are_dropped() {
    let server = TestServer::start();
    let mut client = server.connect().await;
    let mut bytes = Vec::new();
    answer(&mut bytes, Encoding::Json, 5, b"unasked");
    client.write(&bytes).await;
    assert_eq!(client.ask(ask::ECHO, 1, b"").await.opaque, 1);
    assert_eq!(server.limiter.counters.unknown_replies(), 1);
}

#[tokio::test]
async fn the_server_calls_a_client_in_the_encoding_of_its_last_request() {
    let server = TestServer::start();
    let mut client = server.connect().await;
    for encoding in [Encoding::Binary, Encoding::Json] {
        client.write(&request(encoding, ask::ECHO, 1, b"")).await;
        client.receive().await;
        let peer = server.shared.peer();
        let call = tokio::spawn(async move { peer.call(PATIENCE, ask_for(40, b"rebalance")).await });
        let asked = client.receive().await;
        assert_eq!((asked.code, asked.encoding, &asked.body[..]), (40, encoding, &b"rebalance"[..]));
        assert!(!asked.is_response());
        let mut bytes = Vec::new();
        answer(&mut bytes, encoding, asked.opaque, b"done");
        client.write(&bytes).await;
        assert_eq!(&call.await.unwrap().unwrap().body[..], b"done");
    }
    assert_eq!(server.shared.peer().calls_waiting(), 0);
}

#[tokio::test]
async fn calls_end_with_their_timeout_or_their_connection() {
    let server = TestServer::with_limits(Limits { calls: 2, ..Limits::default() });
    let mut client = server.connect().await;
    client.ask(ask::ECHO, 1, b"").await;
    let peer = server.shared.peer();
    let timeout = Duration::from_millis(20);
    assert_eq!(peer.call(timeout, ask_for(40, b"")).await, Err(CallError::Timeout(timeout)));
    assert_eq!(peer.calls_waiting(), 0, "a call that timed out is forgotten");

    let calls: Vec<_> = (0..2)
        .map(|_| {
            let peer = peer.clone();
            tokio::spawn(async move { peer.call(PATIENCE, ask_for(40, b"")).await })
        })
        .collect();
    eventually("both wait", || peer.calls_waiting() == 2).await;
    assert_eq!(peer.call(PATIENCE, ask_for(40, b"")).await, Err(CallError::TooMany(2)));
    drop(client);
    for call in calls {
        assert_eq!(call.await.unwrap(), Err(CallError::Closed));
    }
    eventually("the peer knows", || peer.is_closed()).await;
    assert!(matches!(peer.call(PATIENCE, ask_for(40, b"")).await, Err(CallError::NotSent(_))));
}

#[tokio::test]
async fn many_calls_share_one_connection() {
    let server = TestServer::start();
    let address = server.address().to_string();
    for encoding in [Encoding::Json, Encoding::Binary] {
        let caller = Caller::new(settings(Limits::default(), encoding), Arc::new(NoRequests));
        let before = server.limiter.counters.accepted();
        let calls: Vec<_> = (0..200)
            .map(|n: u32| {
                let (caller, address) = (caller.clone(), address.clone());
                tokio::spawn(async move {
                    let code = if n.is_multiple_of(2) { ask::ECHO_LATER } else { ask::ECHO_ELSEWHERE };
                    let reply =
                        caller.call(&address, PATIENCE, ask_for(code, &n.to_be_bytes())).await.unwrap();
                    assert_eq!((reply.encoding, &reply.body[..]), (encoding, &n.to_be_bytes()[..]));
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        assert_eq!(server.limiter.counters.accepted(), before + 1);
        caller.stop().await;
        let refused = caller.call(&address, PATIENCE, ask_for(ask::ECHO, b"")).await.unwrap_err();
        assert!(matches!(&refused, RequestError::Connect(error) if error.reason == ConnectFailure::Stopped));
    }
    eventually("all are gone", || server.limiter.connections.used() == 0).await;
}

#[tokio::test]
async fn a_lost_connection_is_made_anew_by_the_next_call() {
    let server = TestServer::start();
    let address = server.address().to_string();
    let caller = caller();
    let held = caller.call(&address, PATIENCE, ask_for(ask::HOLD, b""));
    let cut = async {
        eventually("it is held", || server.shared.requests.load(Ordering::SeqCst) == 1).await;
        server.shared.peer().close();
    };
    let (held, ()) = tokio::join!(held, cut);
    assert_eq!(call_error(held.unwrap_err()), CallError::Closed);
    caller.call(&address, PATIENCE, ask_for(ask::ECHO, b"")).await.unwrap();
    assert_eq!(server.limiter.counters.accepted(), 2);
}

#[tokio::test]
async fn addresses_where_nobody_is_are_forgotten_when_there_are_many() {
    let server = TestServer::start();
    let address = server.address().to_string();
    let caller = caller();
    caller.call(&address, PATIENCE, ask_for(ask::ECHO, b"")).await.unwrap();
    for number in 0..ADDRESSES_MAX + 10 {
        let nobody = format!("127.1.{}.{}:1", number / 250, number % 250 + 1);
        caller.call(&nobody, PATIENCE, ask_for(ask::ECHO, b"")).await.unwrap_err();
        assert!(caller.addresses() <= ADDRESSES_MAX);
    }
    assert!(caller.addresses() <= 12, "{} after the others were forgotten", caller.addresses());
    caller.call(&address, PATIENCE, ask_for(ask::ECHO, b"")).await.unwrap();
    assert_eq!(server.limiter.counters.accepted(), 1, "a connection that lives is kept");
}

#[tokio::test]
async fn nobody_at_the_address_is_an_error_for_all_who_wait() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let caller = caller();
    let calls = (0..10).map(|_| {
        let (caller, unused) = (caller.clone(), unused.clone());
        tokio::spawn(
            async move { caller.call(&unused, PATIENCE, ask_for(ask::ECHO, b"")).await.unwrap_err() },
        )
    });
    for call in calls.collect::<Vec<_>>() {
        let RequestError::Connect(error) = call.await.unwrap() else { panic!("connected to nobody") };
        assert_eq!(error.address, unused);
        assert!(matches!(
            error.reason,
            ConnectFailure::Socket { kind: std::io::ErrorKind::ConnectionRefused, .. }
        ));
    }
    for address in ["localhost", "no-such-host.invalid:1", ""] {
        let error = caller.call(address, PATIENCE, ask_for(ask::ECHO, b"")).await.unwrap_err();
        assert!(
            matches!(&error, RequestError::Connect(error) if error.reason == ConnectFailure::Unresolved),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_call_without_a_reply_times_out_and_keeps_the_connection() {
    let server = TestServer::start();
    let address = server.address().to_string();
    let caller = caller();
    let timeout = Duration::from_millis(30);
    let error = caller.call(&address, timeout, ask_for(ask::HOLD, b"")).await.unwrap_err();
    assert!(matches!(call_error(error), CallError::Timeout(_)));
    caller.call(&address, PATIENCE, ask_for(ask::ECHO, b"")).await.unwrap();
    assert_eq!(server.limiter.counters.accepted(), 1);
    // The late reply finds nobody and harms nobody.
    server.shared.release();
    caller.call(&address, PATIENCE, ask_for(ask::ECHO, b"")).await.unwrap();
}

/// Counts what the server asks, as a client counts "consumer ids changed".
#[derive(Clone, Default)]
struct Counting(Arc<AtomicI32>);

impl Service for Counting {
    type Session = Counting;

    fn open(&self, _peer: &Arc<Peer>) -> Counting {
        self.clone()
    }
}

impl Session for Counting {
    fn request(&mut self, request: Request<'_>, out: &mut Vec<u8>) {
        self.0.fetch_add(request.header.code, Ordering::SeqCst);
        if !request.header.is_oneway() {
            answer(out, request.header.encoding, request.header.opaque, b"noted");
        }
    }

    fn end_of_read(&mut self, _out: &mut Vec<u8>) {}

    fn poll(&mut self, _cx: &mut Context<'_>, _out: &mut Vec<u8>) {}

    fn saturated(&self) -> bool {
        false
    }

    fn closed(&mut self) {}
}

#[tokio::test]
async fn the_other_side_may_ask_over_our_connection() {
    let server = TestServer::start();
    let asked = Counting::default();
    let caller = Caller::new(settings(Limits::default(), Encoding::Json), Arc::new(asked.clone()));
    caller.call(&server.address().to_string(), PATIENCE, ask_for(ask::ECHO, b"")).await.unwrap();
    let peer = server.shared.peer();
    let reply = peer.call(PATIENCE, ask_for(40, b"")).await.unwrap();
    assert_eq!(&reply.body[..], b"noted");
    peer.oneway(|out, encoding, opaque| {
        encode::begin(out, encoding, Head::oneway(2, opaque), None).finish().unwrap();
    })
    .unwrap();
    eventually("the oneway request arrives", || asked.0.load(Ordering::SeqCst) == 42).await;
}

#[tokio::test]
async fn a_caller_without_a_service_knows_no_request() {
    let server = TestServer::start();
    let caller = caller();
    caller.call(&server.address().to_string(), PATIENCE, ask_for(ask::ECHO, b"")).await.unwrap();
    let reply = server.shared.peer().call(PATIENCE, ask_for(307, b"")).await.unwrap();
    assert_eq!((reply.code, reply.remark.as_deref()), (3, Some(" request type 307 not supported")));
}

#[tokio::test]
async fn a_caller_that_is_sent_away_repeats_its_call_elsewhere() {
    let first = TestServer::start();
    let address = first.address();
    let caller = caller();
    let call = || {
        let (caller, address) = (caller.clone(), address.to_string());
        async move { caller.call(&address, PATIENCE, ask_for(ask::ECHO, b"hello")).await }
    };
    call().await.unwrap();
    let limiter = first.limiter.clone();
    let stopping = tokio::spawn(first.server.stop(Drain { send_away: Some(PATIENCE), patience: PATIENCE }));
    // Another process takes the address over as soon as the first has stopped listening.
    let second = loop {
        match std::panic::catch_unwind(|| {
            TestServer::listening(&address.to_string(), Limits::default(), Default::default())
        }) {
            Ok(second) => break second,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    assert_eq!(&call().await.unwrap().body[..], b"hello");
    assert_eq!(limiter.counters.sent_away(), 1);
    assert_eq!(second.shared.requests.load(Ordering::SeqCst), 1);
    caller.stop().await;
    assert_eq!(stopping.await.unwrap(), 0);
}
