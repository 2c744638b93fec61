//! What the fuzz targets do with their input, without the fuzzer: tests of the protocol crate run the same functions
//! over the saved corpus.
//!
//! Each function may only panic if a promise is broken. Besides not panicking, most hold that what was read can be
//! written and read again.

use ferromq_protocol::body;
use ferromq_protocol::encode;
use ferromq_protocol::frame::{Encoding, FRAME_LEN_MAX, RawFrame, Split, split};
use ferromq_protocol::header::{HeaderDecoder, HeaderRef, scan_agrees_with_parser};
use ferromq_protocol::json::{self, Value};
use ferromq_protocol::msg_id::OffsetMsgId;
use ferromq_protocol::properties::Properties;
use ferromq_protocol::record::{self, PropertyCrc};
use ferromq_protocol::{batch, properties_text, request, response};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A target: its name, which is also that of its corpus, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("frame", frame),
    ("header", header),
    ("properties", properties),
    ("record", record),
    ("batch", batch),
    ("json", json),
    ("properties_text", properties_text),
];

/// A stream of frames: each is split off and its header read.
pub fn frame(mut stream: &[u8]) {
    let mut decoder = HeaderDecoder::new();
    while let Ok(Split::Frame { frame, consumed }) = split(stream) {
        assert!(consumed >= 8 && consumed <= stream.len() && consumed <= FRAME_LEN_MAX);
        assert_eq!(frame.header.len() + frame.body.len() + 8, consumed);
        assert!(matches!(split(&stream[..consumed - 1]), Ok(Split::Incomplete { .. })));
        if let Ok(header) = decoder.decode(frame) {
            written_again(&header, frame.body);
        }
        stream = &stream[consumed..];
    }
    if let Ok(Split::Incomplete { at_least }) = split(stream) {
        assert!(at_least > stream.len());
    }
}

/// A header in either encoding, the first byte choosing.
pub fn header(bytes: &[u8]) {
    let Some((choice, header)) = bytes.split_first() else { return };
    let encoding = if choice % 2 == 0 { Encoding::Json } else { Encoding::Binary };
    if let (Encoding::Json, Ok(text)) = (encoding, std::str::from_utf8(header)) {
        assert!(scan_agrees_with_parser(text));
    }
    let mut decoder = HeaderDecoder::new();
    if let Ok(header) = decoder.decode(RawFrame { encoding, header, body: b"" }) {
        written_again(&header, b"");
        let _ = header.read::<request::SendMessageV2>();
        let _ = header.read::<request::PullMessage>();
        let _ = header.read::<request::RegisterBroker>();
        let _ = header.read::<response::PopMessage>();
    }
}

/// Writes a header in JSON and reads it again.
fn written_again(header: &HeaderRef<'_>, body: &[u8]) {
    let mut out = Vec::new();
    let mut writer = encode::begin(&mut out, Encoding::Json, header.head, header.remark());
    for (name, value) in header.fields() {
        writer.text(name, value);
    }
    if writer.finish_with(body).is_err() {
        // Escapes can make a header longer than it was.
        assert!(out.is_empty());
        return;
    }
    let Ok(Split::Frame { frame, consumed }) = split(&out) else { panic!("our own frame is none") };
    assert_eq!(consumed, out.len());
    let mut decoder = HeaderDecoder::new();
    let again = decoder.decode(frame).expect("our own header");
    assert_eq!((again.head, again.remark()), (header.head, header.remark()));
    assert!(again.fields().eq(header.fields()));
    assert_eq!(frame.body, body);
}

/// A property string.
pub fn properties(bytes: &[u8]) {
    let given = Properties(bytes);
    let mut copy = Vec::new();
    given.copy_filtered(&mut copy, |_| true);
    assert!(copy.len() <= bytes.len() + 1);
    assert!(Properties(&copy).iter().eq(given.iter()));
    for (name, _) in given {
        if let Ok(name) = std::str::from_utf8(name) {
            assert!(given.contains(name) && given.bytes(name).is_some());
            let _ = OffsetMsgId::parse(name);
        }
    }
}

/// Records one after another.
pub fn record(bytes: &[u8]) {
    for decoded in record::decode_all(bytes) {
        let Ok(decoded) = decoded else { return };
        let _ = decoded.body_crc_matches();
        let _ = decoded.property_crc_matches();
        let mut again = Vec::new();
        record::encode(&mut again, &decoded.parts(), PropertyCrc::Off).expect("parts of a record");
        record::patch_position(&mut again, decoded.physical, decoded.queue_offset, decoded.store_timestamp);
        let reread = record::decode(&again).expect("our own record");
        assert_eq!((reread.parts(), reread.physical), (decoded.parts(), decoded.physical));
        let mut sealed = Vec::new();
        if record::encode(&mut sealed, &decoded.parts(), PropertyCrc::Append).is_ok() {
            record::seal_property_crc(&mut sealed);
            assert_eq!(record::decode(&sealed).expect("our own record").property_crc_matches(), Some(true));
        }
    }
}

/// A batch body.
pub fn batch(bytes: &[u8]) {
    let mut again = Vec::new();
    let mut entries = Vec::new();
    for entry in batch::entries(bytes) {
        let Ok(entry) = entry else { break };
        batch::push(&mut again, &entry).expect("an entry that was read");
        entries.push(entry);
    }
    assert!(again.len() <= bytes.len());
    assert!(batch::entries(&again).map(|entry| entry.expect("our own entry")).eq(entries));
}

/// JSON bodies, each input read as every type.
pub fn json(bytes: &[u8]) {
    fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
        let Ok(value) = json::from_slice::<T>(bytes) else { return };
        // A number that JSON cannot express vanishes the first time; after that nothing may change.
        let written = json::to_vec(&json::from_slice::<T>(&json::to_vec(&value)).expect("our own body"));
        let again = json::from_slice::<T>(&written).expect("our own body");
        assert_eq!(json::to_vec(&again), written);
    }
    read::<Value>(bytes);
    read::<body::HeartbeatData>(bytes);
    read::<body::TopicRouteData>(bytes);
    read::<body::ClusterInfo>(bytes);
    read::<body::TopicConfigAndMappingTable>(bytes);
    read::<body::SubscriptionGroupTable>(bytes);
    read::<body::ConsumerConnection>(bytes);
    read::<body::ConsumeStatsList>(bytes);
    read::<body::TopicStatsTable>(bytes);
    read::<body::ConsumerOffsetTable>(bytes);
    read::<body::ConsumerStatusBody>(bytes);
    read::<body::LockBatchRequest>(bytes);
    read::<body::QueryAssignmentAnswer>(bytes);
    read::<body::MessageRequestModeTable>(bytes);
    read::<body::HaRuntimeInfo>(bytes);
    read::<body::KvTable>(bytes);
    if let Ok(body) = body::RegisterBrokerBody::decode(bytes) {
        assert!(body::RegisterBrokerBody::decode(&body.to_json()).is_ok());
    }
}

/// Java's .properties text.
pub fn properties_text(bytes: &[u8]) {
    let Ok(entries) = properties_text::read(bytes) else { return };
    let mut text = String::new();
    for entry in &entries {
        properties_text::write_escaped(&mut text, &entry.key, &entry.value);
    }
    let again = properties_text::read(text.as_bytes()).expect("our own text");
    let pairs = |entries: Vec<properties_text::Entry>| -> Vec<_> {
        entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
    };
    assert_eq!(pairs(again), pairs(entries));
}
