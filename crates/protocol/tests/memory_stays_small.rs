//! Inputs made to be small on the wire and large in memory: what a reader holds at its peak must stay a small multiple
//! of the input.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy does not take for tests"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::io::Write;

use ferromq_protocol::body::{self, RegisterBrokerBody};
use ferromq_protocol::frame::{Encoding, FrameError, RawFrame, split};
use ferromq_protocol::header::HeaderDecoder;
use ferromq_protocol::json::{self, Value};
use ferromq_protocol::properties::Properties;
use ferromq_protocol::{batch, properties_text, record};
use serde::de::DeserializeOwned;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Measuring;

fn grow(bytes: isize) {
    let live = LIVE.with(|live| {
        live.set(live.get() + bytes);
        live.get()
    });
    PEAK.with(|peak| peak.set(peak.get().max(live)));
}

#[expect(unsafe_code, reason = "measuring memory takes an allocator")]
// SAFETY: every call goes to the system allocator unchanged; the counters are thread-locals without destructors.
unsafe impl GlobalAlloc for Measuring {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size().cast_signed());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        grow(-layout.size().cast_signed());
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Old and new block may exist side by side while the contents move.
        grow(new_size.cast_signed());
        grow(-layout.size().cast_signed());
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Measuring = Measuring;

/// Bytes held at the peak of `work`.
fn peak(work: impl FnOnce()) -> usize {
    let before = LIVE.with(Cell::get);
    PEAK.with(|peak| peak.set(before));
    work();
    usize::try_from(PEAK.with(Cell::get) - before).unwrap()
}

const BASE: usize = 256 * 1024;

fn assert_small(what: &str, input: &[u8], factor: usize, work: impl FnOnce()) {
    let peak = peak(work);
    assert!(peak <= factor * input.len() + BASE, "{what}: {peak} bytes for an input of {}", input.len());
}

const FLOOD: usize = 100_000;

#[test]
fn headers() {
    let floods = [
        format!("{{\"extFields\":{{{}}}}}", "\"\":\"\",".repeat(FLOOD)),
        format!("{{\"extFields\":{{{}\"a\":\"b\"}}}}", "\"\":\"\",".repeat(FLOOD)),
        format!("{{\"extFields\":{{{}}}}}", "a:1,".repeat(FLOOD)),
        format!("{{\"x\":{}", "[{".repeat(FLOOD)),
        format!("{{\"remark\":\"{}\"}}", "\\u0001".repeat(FLOOD)),
    ];
    for flood in &floods {
        let frame = RawFrame { encoding: Encoding::Json, header: flood.as_bytes(), body: b"" };
        assert_small(&flood[..40], flood.as_bytes(), 24, || {
            let _ = black_box(HeaderDecoder::new().decode(frame));
        });
    }
    // Not UTF-8: every byte grows to three.
    let broken = [b"{\"remark\":\"".as_slice(), &vec![0xff; FLOOD], b"\"}"].concat();
    let frame = RawFrame { encoding: Encoding::Json, header: &broken, body: b"" };
    assert_small("not UTF-8", &broken, 24, || {
        let _ = black_box(HeaderDecoder::new().decode(frame));
    });

    let mut binary = vec![0; 21];
    let fields = b"\0\x01a\0\0\0\x01b".repeat(FLOOD);
    binary[17..].copy_from_slice(&u32::try_from(fields.len()).unwrap().to_be_bytes());
    binary.extend(fields);
    let frame = RawFrame { encoding: Encoding::Binary, header: &binary, body: b"" };
    assert_small("binary", &binary, 24, || {
        let mut decoder = HeaderDecoder::new();
        assert_eq!(decoder.decode(frame).unwrap().fields().count(), FLOOD);
    });
}

#[test]
fn a_decoder_gives_back_what_one_huge_header_took() {
    let huge = format!("{{\"extFields\":{{\"a\":\"{}\"}}}}", "\\n".repeat(1_000_000));
    let mut decoder = HeaderDecoder::new();
    let before = LIVE.with(Cell::get);
    let _ =
        decoder.decode(RawFrame { encoding: Encoding::Json, header: huge.as_bytes(), body: b"" }).unwrap();
    assert!(LIVE.with(Cell::get) - before > 900_000);
    let _ = decoder.decode(RawFrame { encoding: Encoding::Json, header: b"{}", body: b"" }).unwrap();
    assert!(LIVE.with(Cell::get) - before < 200_000);
}

#[test]
fn lengths_that_nothing_follows() {
    for length in [0x7fff_ffff_u32, 0x0100_0000, 0xffff_ffff] {
        let bytes = length.to_be_bytes();
        assert_small("frame", &bytes, 1, || {
            assert!(matches!(split(&bytes), Err(FrameError::TooLong(_) | FrameError::Length(_))));
        });
        let mut bytes = vec![0; 100];
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        bytes[4..8].copy_from_slice(&record::MAGIC_V1.to_be_bytes());
        assert_small("record", &bytes, 1, || assert!(record::decode(&bytes).is_err()));
        bytes[16..20].copy_from_slice(&length.to_be_bytes());
        assert_small("batch", &bytes, 1, || assert!(batch::entries(&bytes).any(|entry| entry.is_err())));
    }
}

#[test]
fn properties_in_both_senses() {
    let flood = b"a\x01b\x02".repeat(FLOOD);
    assert_small("message properties", &flood, 1, || {
        assert_eq!(Properties(&flood).iter().count(), FLOOD);
    });
    for flood in
        [b"a\n".repeat(FLOOD), b"a=\\u0001\n".repeat(FLOOD), b"\\\n".repeat(FLOOD), b"\xff".repeat(FLOOD)]
    {
        // An entry holds two strings; lines of two bytes are the worst case.
        assert_small("properties text", &flood, 96, || {
            let _ = black_box(properties_text::read(&flood));
        });
    }
}

fn json_floods<T: DeserializeOwned>(members: &[&str]) {
    let of = |element: &str| element.repeat(FLOOD);
    let mut floods = vec![format!("[{}]", of("{},")), of("["), of("{\"a\":"), format!("\"{}\"", of("\\n"))];
    for member in members {
        for element in ["{},", "[],", "\"\",", "0,", "{\"a\":0},", "null,", "0:0,", "{}:0,", "\"a\":{},"] {
            floods.push(format!("{{\"{member}\":[{}]}}", of(element)));
            floods.push(format!("{{\"{member}\":{{{}}}}}", of(element)));
        }
        let numbered: String = (0..FLOOD).map(|number| format!("\"{number:x}\":{{}},")).collect();
        floods.push(format!("{{\"{member}\":{{{numbered}}}}}"));
    }
    for flood in &floods {
        assert_small(std::any::type_name::<T>(), flood.as_bytes(), 64, || {
            let _ = black_box(json::from_slice::<T>(flood.as_bytes()));
        });
    }
}

#[test]
fn json_bodies() {
    json_floods::<Value>(&["a"]);
    json_floods::<body::HeartbeatData>(&["consumerDataSet", "producerDataSet", "clientID"]);
    json_floods::<body::SubscriptionGroupTable>(&["subscriptionGroupTable", "forbiddenTable"]);
    json_floods::<body::TopicConfigTable>(&["topicConfigTable"]);
    json_floods::<body::TopicStatsTable>(&["offsetTable"]);
    json_floods::<body::ConsumerOffsetTable>(&["offsetTable", "groupTopicMap"]);
    json_floods::<body::TopicRouteData>(&["brokerDatas", "topicQueueMappingByBroker"]);
}

#[test]
fn compressed_registrations() {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(b"\0\0\0\x02{}\x7f\xff\xff\xff").unwrap();
    for number in 0..400_000 {
        encoder.write_all(b"\0\0\0\x1b").unwrap();
        encoder
            .write_all(format!("{number:08x} 1 1 6 SINGLE_TAG").get(..27).unwrap_or_default().as_bytes())
            .unwrap();
    }
    let bomb = encoder.finish().unwrap();
    // The limit on inflation is 100 with 1 MiB to begin with, and a topic takes up to ten times its text.
    let limit = bomb.len() * 100 * 10 + 10 * 1024 * 1024;
    let held = peak(|| assert!(RegisterBrokerBody::decode(&bomb).is_err()));
    assert!(held < limit, "{held} bytes for {}", bomb.len());
    let zeros = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(b"\0\0\0\x02{}\0\0\0\x01\x7f\xff\xff\xff").unwrap();
        encoder.write_all(&vec![0; 10 * 1024 * 1024]).unwrap();
        encoder.finish().unwrap()
    };
    let held = peak(|| assert!(RegisterBrokerBody::decode(&zeros).is_err()));
    assert!(held < zeros.len() * 300 + 1024 * 1024, "{held} bytes for {}", zeros.len());
}
