//! What runs for every message: reading a send request, encoding its record, writing its response, and the same for a
//! pull. After the buffers have grown once, none of it may allocate.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use ferromq_protocol::code::request as code;
use ferromq_protocol::encode;
use ferromq_protocol::frame::{Split, split};
use ferromq_protocol::header::{Head, HeaderDecoder};
use ferromq_protocol::msg_id::OffsetMsgId;
use ferromq_protocol::properties::{self, Properties, name};
use ferromq_protocol::record::{self, Parts, PropertyCrc};
use ferromq_protocol::types::{BrokerId, Host, PhysicalOffset, QueueOffset, TimestampMs};
use ferromq_protocol::{java, request, response};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[expect(unsafe_code, reason = "counting allocations takes an allocator")]
// SAFETY: every call goes to the system allocator unchanged; the counter is a thread-local without destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

/// Buffers of one connection.
#[derive(Default)]
struct Buffers {
    decoder: HeaderDecoder,
    properties: Vec<u8>,
    record: Vec<u8>,
    out: Vec<u8>,
}

/// A send, from the bytes of the request to those of the response.
fn send(frame: &[u8], buffers: &mut Buffers) {
    let Split::Frame { frame, .. } = split(frame).unwrap() else { panic!("incomplete") };
    let header = buffers.decoder.decode(frame).unwrap();
    let send: request::SendMessageV2 = header.read().unwrap();
    let given = Properties(send.properties.unwrap_or_default().as_bytes());
    black_box(java::hash_code(given.get(name::TAGS).unwrap_or_default()));

    buffers.properties.clear();
    given.copy_filtered(&mut buffers.properties, |name| name != b"WAIT");
    properties::push(&mut buffers.properties, name::CLUSTER, "DefaultCluster");

    let store_host = Host { ip: [10, 0, 0, 1].into(), port: 10911 };
    let parts = Parts {
        topic: send.topic,
        queue_id: send.queue_id,
        flag: send.flag,
        sys_flag: send.sys_flag,
        born_timestamp: send.born_timestamp,
        born_host: store_host,
        store_host,
        reconsume_times: 0,
        prepared_transaction_offset: PhysicalOffset(0),
        body: frame.body,
        properties: &buffers.properties,
    };
    buffers.record.clear();
    record::encode(&mut buffers.record, &parts, PropertyCrc::Append).unwrap();
    record::patch_position(&mut buffers.record, PhysicalOffset(7), QueueOffset(5), TimestampMs(1));
    record::seal_property_crc(&mut buffers.record);
    black_box(record::decode(&buffers.record).unwrap());

    buffers.out.clear();
    let id = OffsetMsgId { store_host, physical: PhysicalOffset(7) }.text();
    let mut writer = encode::begin(&mut buffers.out, header.encoding, Head::response(0, header.opaque), None);
    writer.header(&response::SendMessage {
        msg_id: id.as_str(),
        queue_id: send.queue_id,
        queue_offset: QueueOffset(5),
        transaction_id: given.get(name::UNIQUE_KEY),
        batch_uniq_id: None,
        recall_handle: None,
    });
    writer.text("MSG_REGION", "DefaultRegion");
    writer.boolean("TRACE_ON", true);
    writer.finish().unwrap();
}

fn pull(frame: &[u8], buffers: &mut Buffers) {
    let Split::Frame { frame, .. } = split(frame).unwrap() else { panic!("incomplete") };
    let header = buffers.decoder.decode(frame).unwrap();
    let pull: request::PullMessage = header.read().unwrap();
    buffers.out.clear();
    let mut writer =
        encode::begin(&mut buffers.out, header.encoding, Head::response(0, header.opaque), Some("FOUND"));
    writer.header(&response::PullMessage {
        suggest_which_broker_id: BrokerId(0),
        next_begin_offset: pull.queue_offset.plus(1),
        min_offset: QueueOffset(0),
        max_offset: QueueOffset(10),
        offset_delta: None,
        topic_sys_flag: Some(0),
        group_sys_flag: Some(0),
        forbidden_type: None,
    });
    let mut body = writer.body();
    body.buffer().extend_from_slice(&buffers.record);
    body.finish().unwrap();
}

#[test]
fn sends_and_pulls_do_not_allocate() {
    let recorded = support::recorded();
    let (mut sends, mut pulls) = (0, 0);
    let mut buffers = Buffers::default();
    // The first pass grows the buffers, the second one must find them large enough.
    for pass in 0..2 {
        for recorded in recorded.iter().filter(|recorded| !recorded.frame.is_response()) {
            let work: fn(&[u8], &mut Buffers) = match recorded.request_code {
                code::SEND_MESSAGE_V2 => send,
                code::PULL_MESSAGE | code::LITE_PULL_MESSAGE => pull,
                _ => continue,
            };
            let count = allocations(|| work(&recorded.bytes, &mut buffers));
            if pass == 1 {
                assert_eq!(count, 0, "{}: {:?}", recorded.scenario, recorded.frame);
                *(if recorded.request_code == code::SEND_MESSAGE_V2 { &mut sends } else { &mut pulls }) += 1;
            }
        }
    }
    assert!(sends > 50 && pulls > 100, "{sends} {pulls}");
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(black_box(Vec::<u8>::with_capacity(10)))), 1);
}
