//! Frames arrive in any pieces and in any number; broken ones cost their own connection only.

use std::sync::atomic::Ordering;

use crate::support::{self, TestServer, ask, request};
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
