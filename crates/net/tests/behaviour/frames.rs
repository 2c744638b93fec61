//! Frames arrive in any pieces and in any number; broken ones cost their own connection only.

use std::sync::atomic::Ordering;

use crate::support::{self, TestServer, ask, request};
use ferromq_net::limits::TURN_BYTES;
use ferromq_protocol::frame::{Encoding, FRAME_LEN_MAX};

#[tokio::test]
async fn a_request_is_answered_in_its_own_encoding() {
    let server = TestServer::start();
    for encoding in [Encoding::Json, Encoding::Binary] {
        let mut client = server.connect().await;
        client.write(&request(encoding, ask::ECHO, -7, b"hello")).await;
        let reply = client.receive().await;
        assert_eq!((reply.encoding, reply.opaque, &reply.body[..]), (encoding, -7, &b"hello"[..]));
    }
    assert_eq!(server.stop().await, 0);
}

#[tokio::test]
async fn a_frame_may_be_cut_at_every_byte() {
    let server = TestServer::start();
    let mut client = server.connect().await;
    let mut sent = 0;
    for encoding in [Encoding::Json, Encoding::Binary] {
        let two =
            [request(encoding, ask::ECHO, 1, b"first"), request(encoding, ask::ECHO, 2, b"second")].concat();
        for cut in 1..two.len() {
            client.write(&two[..cut]).await;
            sent += cut as u64;
            // The pieces must not meet in the kernel.
            support::eventually("the first piece is read", || server.received_bytes() == sent).await;
            client.write(&two[cut..]).await;
            assert_eq!(&client.receive().await.body[..], b"first", "cut at {cut}");
            assert_eq!(&client.receive().await.body[..], b"second", "cut at {cut}");
            sent += (two.len() - cut) as u64;
        }
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_in_few_reads() {
    let server = TestServer::start();
    let mut client = server.connect().await;
    let mut bytes = Vec::new();
    for opaque in 0..2000 {
        bytes.extend(request(Encoding::Json, ask::ECHO, opaque, &[b'b'; 100]));
    }
    client.write(&bytes).await;
    for opaque in 0..2000 {
        assert_eq!(client.receive().await.opaque, opaque);
    }
    let reads = server.shared.reads.load(Ordering::SeqCst);
    assert!(reads < 200, "{reads} reads for 2000 requests");
}

#[tokio::test]
async fn answers_may_come_from_later_turns_and_other_tasks() {
    let server = TestServer::start();
    let mut client = server.connect().await;
    let mut bytes = Vec::new();
    for opaque in 0..100 {
        bytes.extend(request(Encoding::Json, ask::ECHO_LATER, opaque, b"later"));
        bytes.extend(request(Encoding::Json, ask::ECHO_ELSEWHERE, 1000 + opaque, b"elsewhere"));
    }
    client.write(&bytes).await;
    let mut opaques = Vec::new();
    for _ in 0..200 {
        opaques.push(client.receive().await.opaque);
    }
    opaques.sort_unstable();
    assert_eq!(opaques, (0..100).chain(1000..1100).collect::<Vec<_>>());
}

#[tokio::test]
async fn large_frames_pass_up_to_the_limit() {
    let server = TestServer::start();
    let mut client = server.connect().await;
    let overhead = request(Encoding::Json, ask::ECHO, 1, b"").len();
    for len in [16 * 1024, 128 * 1024 - overhead, 128 * 1024, 1024 * 1024 + 1, FRAME_LEN_MAX - overhead] {
        let body = vec![b'b'; len];
        let bytes =
            [request(Encoding::Json, ask::ECHO, 1, &body), request(Encoding::Json, ask::ECHO, 2, b"next")]
                .concat();
        let (mut from, mut to) = tokio::io::split(client.stream);
        let writer = tokio::spawn(async move {
            tokio::io::AsyncWriteExt::write_all(&mut to, &bytes).await.unwrap();
            to
        });
        let mut reader = support::Client::new(tokio::io::join(&mut from, tokio::io::sink()));
        assert!(reader.receive().await.body == body, "{len} bytes");
        assert_eq!(&reader.receive().await.body[..], b"next");
        client = support::Client::new(from.unsplit(writer.await.unwrap()));
    }
    assert_eq!(server.stop().await, 0);
}

#[tokio::test]
async fn a_broken_frame_costs_only_its_own_connection() {
    let server = TestServer::start();
    let mut bystander = server.connect().await;
    assert_eq!(&bystander.ask(ask::ECHO, 1, b"before").await.body[..], b"before");
    let broken: [&[u8]; 7] = [
        &[0xff, 0xff, 0xff, 0xff],
        &[0, 0, 0, 3, 0, 0, 0],
        &(FRAME_LEN_MAX as u32 - 3).to_be_bytes(),
        &[0, 0, 0, 8, 9, 0, 0, 2, b'{', b'}', 0, 0],
        &[0, 0, 0, 8, 0, 0, 0, 9, b'{', b'}', 0, 0],
        &[0, 0, 0, 8, 0, 0, 0, 4, b'{', b'{', b'{', b'{'],
        b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n",
    ];
    for (count, bytes) in broken.into_iter().enumerate() {
        let mut client = server.connect().await;
        client.write(bytes).await;
        assert!(client.is_cut_off().await, "{bytes:?}");
        support::eventually("it is counted", || {
            server.limiter.counters.malformed_closed() == count as u64 + 1
        })
        .await;
    }
    assert_eq!(&bystander.ask(ask::ECHO, 2, b"after").await.body[..], b"after");
    assert_eq!(server.limiter.connections.used(), 1);
}

#[tokio::test]
async fn requests_before_a_broken_frame_are_still_answered() {
    let server = TestServer::start();
    let mut client = server.connect().await;
    client.write(&request(Encoding::Json, ask::ECHO, 1, b"good")).await;
    assert_eq!(&client.receive().await.body[..], b"good");
    client.write(&[0xff; 64]).await;
    assert!(client.is_cut_off().await);
    support::eventually("the session is told", || server.shared.closed.load(Ordering::SeqCst) == 1).await;
}

/// A small generator of numbers that look random; the same seed gives the same ones.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[tokio::test]
async fn any_mixture_of_sizes_and_pieces_comes_through() {
    for seed in 1..=8 {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let server = TestServer::start();
        let mut client = server.connect().await;
        let mut bytes = Vec::new();
        let mut bodies = Vec::new();
        for opaque in 0..60 {
            let len = match numbers.below(4) {
                0 => numbers.below(100),
                1 => numbers.below(20_000),
                2 => 128 * 1024 - 200 + numbers.below(400),
                _ => numbers.below(600_000),
            };
            let body = vec![opaque as u8; len];
            let code = if numbers.below(2) == 0 { ask::ECHO } else { ask::ECHO_LATER };
            bytes.extend(request(Encoding::Json, code, opaque, &body));
            bodies.push(body);
        }
        let (mut from, mut to) = tokio::io::split(client.stream);
        let writer = tokio::spawn(async move {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let longest = [10, 5_000, 300_000][numbers.below(3)];
                let piece;
                (piece, rest) = rest.split_at(rest.len().min(1 + numbers.below(longest)));
                tokio::io::AsyncWriteExt::write_all(&mut to, piece).await.unwrap();
                if numbers.below(3) == 0 {
                    tokio::task::yield_now().await;
                }
            }
            to
        });
        client = {
            let mut reader = support::Client::new(tokio::io::join(&mut from, tokio::io::sink()));
            for _ in 0..bodies.len() {
                let reply = reader.receive().await;
                assert!(reply.body == bodies[reply.opaque as usize], "seed {seed}, request {}", reply.opaque);
                bodies[reply.opaque as usize] = b"answered".to_vec();
            }
            support::Client::new(from.unsplit(writer.await.unwrap()))
        };
        drop(client);
        assert_eq!(server.limiter.unsent.used(), 0);
    }
}

#[test]
fn a_client_that_never_pauses_does_not_starve_the_others() {
    // As in production, the runtime looks for new events between turns, not only when it has nothing to do.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().event_interval(1).build().unwrap();
    runtime.block_on(async {
        let server = TestServer::start();
        let mut greedy = server.connect().await;
        greedy.ask(ask::ECHO, 1, b"").await;
        let mut oneway = Vec::new();
        let head = ferromq_protocol::header::Head::oneway(ask::ECHO, 1);
        ferromq_protocol::encode::begin(&mut oneway, Encoding::Json, head, None)
            .finish_with(&[0; 50])
            .unwrap();
        let per_turn = (TURN_BYTES / oneway.len()) as u64;
        let flood = tokio::spawn(async move {
            let oneway = oneway.repeat(10_000);
            loop {
                greedy.write(&oneway).await;
            }
        });
        let mut modest = server.connect().await;
        for opaque in 0..30 {
            let before = server.shared.requests.load(Ordering::SeqCst);
            modest.ask(ask::ECHO, opaque, b"").await;
            let between = server.shared.requests.load(Ordering::SeqCst) - before;
            assert!(between < 4 * per_turn, "{between} requests came first, {per_turn} in one turn");
        }
        flood.abort();
    });
}
