//! Nanoseconds of what runs for every message. `cargo bench -p ferromq-protocol`.
//!
//! Each line is the best of many short rounds, since other programs only ever make it slower.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench stops where a test would fail")]

use std::hint::black_box;
use std::time::Instant;

use ferromq_protocol::frame::{Encoding, RawFrame};
use ferromq_protocol::header::{Head, HeaderDecoder};
use ferromq_protocol::msg_id::OffsetMsgId;
use ferromq_protocol::record::{self, Parts, PropertyCrc};
use ferromq_protocol::types::{BrokerId, Host, PhysicalOffset, QueueId, QueueOffset, TimestampMs};
use ferromq_protocol::{encode, request, response};

/// As the Java client 5.5.0 sends it.
const SEND_HEADER: &str = r#"{"code":310,"extFields":{"a":"PID_bench","b":"BenchTopic","c":"TBW102","d":"4","e":"1","f":"0","g":"1795233438930","h":"0","i":"KEYS\u0001key-0000017\u0002UNIQ_KEY\u0001FD0000000000000000000000000000021EF94E0E2F2A67D874D200AB\u0002WAIT\u0001true\u0002TAGS\u0001TagA","j":"0","k":"false","m":"false","n":"broker-a"},"flag":0,"language":"JAVA","opaque":18935,"serializeTypeCurrentRPC":"JSON","version":513}"#;
const PULL_HEADER: &str = r#"{"code":11,"extFields":{"queueId":"3","maxMsgBytes":"2147483647","maxMsgNums":"32","sysFlag":"3","suspendTimeoutMillis":"15000","commitOffset":"17340","bname":"broker-a","topic":"BenchTopic","queueOffset":"17372","expressionType":"TAG","subVersion":"1795233389735","consumerGroup":"GID_bench"},"flag":0,"language":"JAVA","opaque":18935,"serializeTypeCurrentRPC":"JSON","version":513}"#;
const UNIQUE_KEY: &str = "FD0000000000000000000000000000021EF94E0E2F2A67D874D200AB";

fn bench(name: &str, mut work: impl FnMut()) {
    const ROUNDS: u32 = 500;
    const ITERATIONS: u32 = 500;
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..ITERATIONS {
            work();
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(ITERATIONS));
    }
    println!("{name:<44} {best:8.1} ns");
}

fn main() {
    // `cargo test --benches` asks for a list; there is nothing to test here.
    if std::env::args().any(|arg| arg == "--test" || arg == "--list") {
        return;
    }
    let store_host = Host { ip: [10, 0, 0, 1].into(), port: 10911 };
    let json =
        |header: &'static str| RawFrame { encoding: Encoding::Json, header: header.as_bytes(), body: b"" };
    let mut decoder = HeaderDecoder::new();
    let mut binary_header = Vec::new();
    {
        let header = decoder.decode(json(SEND_HEADER)).unwrap();
        let mut writer = encode::begin(&mut binary_header, Encoding::Binary, header.head, None);
        for (name, value) in header.fields() {
            writer.text(name, value);
        }
        writer.finish().unwrap();
        binary_header.drain(..8);
    }

    bench("decode JSON header of a send", || {
        black_box(decoder.decode(black_box(json(SEND_HEADER))).unwrap().opaque);
    });
    bench("decode JSON header of a send, and type it", || {
        let header = decoder.decode(black_box(json(SEND_HEADER))).unwrap();
        black_box(header.read::<request::SendMessageV2>().unwrap());
    });
    bench("decode binary header of a send, and type it", || {
        let frame = RawFrame { encoding: Encoding::Binary, header: &binary_header, body: b"" };
        let header = decoder.decode(black_box(frame)).unwrap();
        black_box(header.read::<request::SendMessageV2>().unwrap());
    });
    bench("decode JSON header of a pull, and type it", || {
        let header = decoder.decode(black_box(json(PULL_HEADER))).unwrap();
        black_box(header.read::<request::PullMessage>().unwrap());
    });

    let mut out = Vec::with_capacity(64 * 1024);
    for encoding in [Encoding::Json, Encoding::Binary] {
        let physical = [PhysicalOffset(1_234_567)];
        bench(&format!("encode send response, {encoding:?}"), || {
            out.clear();
            let sent = encode::Sent {
                code: 0,
                opaque: black_box(77),
                region: "DefaultRegion",
                trace_on: true,
                store_host,
                physical: black_box(&physical),
                queue_id: QueueId(1),
                queue_offset: QueueOffset(black_box(6)),
                unique_key: Some(UNIQUE_KEY),
            };
            encode::sent(&mut out, encoding, &sent).unwrap();
            black_box(out.len());
        });
        bench(&format!("the same through its declared header, {encoding:?}"), || {
            out.clear();
            let id = OffsetMsgId { store_host, physical: PhysicalOffset(black_box(1_234_567)) }.text();
            let mut writer = encode::begin(&mut out, encoding, Head::response(0, black_box(77)), None);
            writer.header(&response::SendMessage {
                msg_id: id.as_str(),
                queue_id: QueueId(1),
                queue_offset: QueueOffset(black_box(6)),
                transaction_id: Some(UNIQUE_KEY),
                batch_uniq_id: None,
                recall_handle: None,
            });
            writer.text("MSG_REGION", "DefaultRegion");
            writer.boolean("TRACE_ON", true);
            writer.finish().unwrap();
            black_box(out.len());
        });
    }
    bench("encode pull response without its body", || {
        out.clear();
        let mut writer =
            encode::begin(&mut out, Encoding::Json, Head::response(0, black_box(77)), Some("FOUND"));
        writer.header(&response::PullMessage {
            suggest_which_broker_id: BrokerId(0),
            next_begin_offset: QueueOffset(black_box(17_404)),
            min_offset: QueueOffset(0),
            max_offset: QueueOffset(17_500),
            offset_delta: None,
            topic_sys_flag: Some(0),
            group_sys_flag: Some(0),
            forbidden_type: None,
        });
        writer.finish().unwrap();
        black_box(out.len());
    });

    let body = vec![b'x'; 1024];
    let parts = Parts {
        topic: "BenchTopic",
        queue_id: QueueId(1),
        flag: 0,
        sys_flag: 0,
        born_timestamp: TimestampMs(1_795_233_438_930),
        born_host: Host { port: 40_000, ..store_host },
        store_host,
        reconsume_times: 0,
        prepared_transaction_offset: PhysicalOffset(0),
        body: &body,
        properties: b"KEYS\x01key-0000017\x02TAGS\x01TagA\x02CLUSTER\x01DefaultCluster\x02MSG_REGION\x01DefaultRegion\x02TRACE_ON\x01true\x02",
    };
    bench("encode and place a record with 1 KB of body", || {
        out.clear();
        record::encode(&mut out, black_box(&parts), PropertyCrc::Off).unwrap();
        record::patch_position(&mut out, PhysicalOffset(7), QueueOffset(5), TimestampMs(1));
        black_box(out.len());
    });
    bench("decode that record", || {
        black_box(record::decode(black_box(&out)).unwrap());
    });
    bench("decode that record and check its body", || {
        black_box(record::decode(black_box(&out)).unwrap().body_crc_matches());
    });
}
