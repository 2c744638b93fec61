//! Whoever sends more than is answered, or does not read its answers, waits or goes; memory stays bounded.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ferromq_net::limits::{Limits, UNSENT_PAUSE_BYTES};
use ferromq_net::peer::SendError;
use ferromq_protocol::frame::Encoding;

use crate::support::{TestServer, ask, eventually, request, sized_request};

const ANSWER: usize = 100_000;

/// Asks for far more than the kernel's buffers hold, and reads nothing.
async fn ask_without_reading(
    server: &TestServer,
    answers: i32,
) -> crate::support::Client<tokio::net::TcpStream> {
    let mut client = server.connect().await;
    let bytes: Vec<u8> = (0..answers).flat_map(|opaque| sized_request(opaque, ANSWER)).collect();
    client.write(&bytes).await;
    client
}

#[tokio::test]
async fn a_client_that_does_not_read_is_neither_answered_nor_read_further() {
    let server = TestServer::start();
    let _client = ask_without_reading(&server, 1000).await;
    eventually("answers pile up", || server.limiter.unsent.used() > UNSENT_PAUSE_BYTES as u64).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let unsent = server.limiter.unsent.used();
    assert!(unsent <= (2 * UNSENT_PAUSE_BYTES + 2 * ANSWER) as u64, "{unsent} bytes wait");
    assert!(server.shared.requests.load(Ordering::SeqCst) < 500);
    assert_eq!(server.shared.peer().unsent_bytes() as u64, unsent);
    server.shared.peer().close();
    eventually("nothing is held any more", || server.limiter.unsent.used() == 0).await;
}

#[tokio::test]
async fn a_client_that_reads_late_gets_everything() {
    let server = TestServer::start();
    let mut client = ask_without_reading(&server, 1000).await;
    eventually("answers pile up", || server.limiter.unsent.used() > UNSENT_PAUSE_BYTES as u64).await;
    let begin = Instant::now();
    for opaque in 0..1000 {
        let reply = client.receive().await;
        assert_eq!((reply.opaque, reply.body.len()), (opaque, ANSWER));
    }
    // Room must be noticed at once, not by the timer that gives buffers back.
    assert!(begin.elapsed() < Limits::default().spare, "{:?}", begin.elapsed());
    assert_eq!(server.limiter.unsent.used(), 0);
}

#[tokio::test]
async fn a_client_that_never_reads_is_disconnected_after_the_idle_time() {
    let server = TestServer::with_limits(Limits { idle: Duration::from_millis(200), ..Limits::default() });
    let _client = ask_without_reading(&server, 1000).await;
    eventually("it is disconnected", || server.shared.closed.load(Ordering::SeqCst) == 1).await;
    assert_eq!(server.limiter.counters.idle_closed(), 1);
    assert_eq!(server.limiter.unsent.used(), 0);
}

#[tokio::test]
async fn a_client_that_is_sent_more_than_it_reads_is_disconnected() {
    let limit = 4 * 1024 * 1024;
    let server = TestServer::with_limits(Limits { unsent_bytes: limit, ..Limits::default() });
    let mut client = server.connect().await;
    client.ask(ask::ECHO, 1, b"").await;
    let peer = server.shared.peer();
    let refusal = loop {
        if let Err(error) = peer.send(vec![0; ANSWER]) {
            break error;
        }
        assert!(peer.unsent_bytes() <= limit);
        tokio::task::yield_now().await;
    };
    assert_eq!(refusal, SendError::SlowReader);
    assert_eq!(peer.send(vec![0]), Err(SendError::Closed));
    eventually("it is disconnected", || server.shared.closed.load(Ordering::SeqCst) == 1).await;
    assert_eq!(server.limiter.counters.slow_reader_closed(), 1);
    assert_eq!(server.limiter.unsent.used(), 0);
}

#[tokio::test]
async fn unwritten_answers_of_all_clients_together_are_bounded() {
    let total = 3 * 1024 * 1024;
    let server = TestServer::with_limits(Limits { unsent_bytes_total: total, ..Limits::default() });
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(ask_without_reading(&server, 1000).await);
    }
    let counters = &server.limiter.counters;
    eventually("some are disconnected", || counters.slow_reader_closed() > 0).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(server.limiter.unsent.used() <= total);
    assert!(counters.slow_reader_closed() < 8, "those within the limit stay");
    assert!(server.limiter.unsent.refused() > 0);
}

#[tokio::test]
async fn a_saturated_session_gets_no_more_requests() {
    let server = TestServer::start();
    server.shared.hold_max.store(10, Ordering::SeqCst);
    let mut client = server.connect().await;
    let bytes: Vec<u8> =
        (0..1000).flat_map(|n| request(Encoding::Json, ask::HOLD, n, &[b'h'; 100])).collect();
    client.write(&bytes).await;
    eventually("it is saturated", || server.shared.requests.load(Ordering::SeqCst) == 10).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.shared.requests.load(Ordering::SeqCst), 10);
    server.shared.release();
    for opaque in 0..1000 {
        assert_eq!(client.receive().await.opaque, opaque);
    }
}

/// A request of `len` bytes in which a large part of the frame is still missing.
fn cut_request(len: usize) -> (Vec<u8>, Vec<u8>) {
    let mut bytes = request(Encoding::Json, ask::ECHO, 1, &vec![b'b'; len]);
    let rest = bytes.split_off(len / 2);
    (bytes, rest)
}

#[tokio::test]
async fn large_frames_wait_for_each_other_when_they_do_not_fit_together() {
    let limit = 1024 * 1024;
    let server = TestServer::with_limits(Limits { unread_bytes: limit, ..Limits::default() });
    let unread = &server.limiter.unread;
    let (begin, rest) = cut_request(700_000);
    let mut first = server.connect().await;
    first.write(&begin).await;
    eventually("the first is charged for", || unread.used() >= 700_000).await;

    let mut second = server.connect().await;
    second.write(&begin).await;
    eventually("the second does not fit", || unread.refused() > 0).await;
    assert!(unread.used() <= limit);

    let mut small = server.connect().await;
    assert_eq!(small.ask(ask::ECHO, 1, &[b's'; 10_000]).await.body.len(), 10_000);

    let begin = Instant::now();
    first.write(&rest).await;
    assert_eq!(first.receive().await.body.len(), 700_000);
    second.write(&rest).await;
    assert_eq!(second.receive().await.body.len(), 700_000);
    assert!(begin.elapsed() < Limits::default().spare, "waiting ends when there is room, not by a timer");
    drop((first, second, small));
    eventually("all is given back", || unread.used() == 0).await;
}

#[tokio::test]
async fn a_large_frame_that_never_ends_is_given_up() {
    let limits = Limits { frame: Duration::from_millis(200), ..Limits::default() };
    let server = TestServer::with_limits(limits);
    let mut client = server.connect().await;
    client.write(&cut_request(700_000).0).await;
    assert!(client.is_cut_off().await);
    eventually("it is counted", || server.limiter.counters.too_slow_closed() == 1).await;
    assert_eq!(server.limiter.unread.used(), 0);
}

#[tokio::test]
async fn an_announced_length_costs_nothing_before_its_bytes_come() {
    let server = TestServer::start();
    let mut client = server.connect().await;
    // 16 MiB are announced, 20,000 bytes come: the budget is charged, the memory is not there.
    let mut bytes = request(Encoding::Json, ask::ECHO, 1, &vec![b'b'; 16 * 1024 * 1024 - 4096]);
    bytes.truncate(20_000);
    client.write(&bytes).await;
    eventually("it is charged for", || server.limiter.unread.used() > 15 * 1024 * 1024).await;
    drop(client);
    eventually("it is given back", || server.limiter.unread.used() == 0).await;
    // The test holds it, and asking for it makes another one.
    eventually("the room and the session let go", || Arc::strong_count(&server.shared.peer()) == 2).await;
}

#[tokio::test]
async fn a_silent_connection_gives_its_buffers_back() {
    let spare = Duration::from_millis(200);
    let server = TestServer::with_limits(Limits { spare, ..Limits::default() });
    let mut client = server.connect().await;
    client.ask(ask::ECHO, 1, &vec![b'b'; 3_000_000]).await;
    assert!(server.limiter.unread.used() > 3_000_000, "kept for the next large frame");
    client.ask(ask::ECHO, 2, &vec![b'b'; 3_000_000]).await;
    eventually("they are given back", || server.limiter.unread.used() == 0).await;
    assert_eq!(client.ask(ask::ECHO, 3, &vec![b'b'; 3_000_000]).await.opaque, 3);
}
