//! Requests that unmodified Java clients and tools sent to Java's broker, played to ours: the answers have the fields
//! that Java's had. See `crates/protocol/tests/golden/README.txt`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use ferromq_protocol::code::request;
use ferromq_protocol::encode;
use ferromq_protocol::frame::{Split, split};
use ferromq_protocol::header::{HeaderDecoder, OwnedFrame};

use crate::support::{Client, Send, TestBroker};

/// A frame between a client and Java's broker.
struct Recorded {
    connection: String,
    bytes: Vec<u8>,
    frame: OwnedFrame,
    from_client: bool,
}

fn recorded() -> BTreeMap<String, Vec<Recorded>> {
    let mut all = Vec::new();
    let packed = &include_bytes!("../../../protocol/tests/golden/frames-5.5.0.zlib")[..];
    flate2::read::ZlibDecoder::new(packed).read_to_end(&mut all).unwrap();
    let mut rest = &all[..];
    let mut decoder = HeaderDecoder::new();
    let mut scenarios: BTreeMap<String, Vec<Recorded>> = BTreeMap::new();
    while !rest.is_empty() {
        let line_len = rest.iter().position(|byte| *byte == b'\n').unwrap();
        let line = std::str::from_utf8(&rest[..line_len]).unwrap();
        let [scenario, connection, peer, direction, len] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let end = line_len + 1 + len.parse::<usize>().unwrap();
        let bytes = rest[line_len + 1..end].to_vec();
        rest = &rest[end..];
        if peer != "broker" {
            continue;
        }
        let Split::Frame { frame, .. } = split(&bytes).unwrap() else { panic!("{line}: incomplete") };
        let frame = decoder.decode(frame).unwrap().to_owned(bytes::Bytes::copy_from_slice(frame.body));
        let (connection, from_client) = (connection.to_owned(), direction == "c2s");
        let recorded = Recorded { connection, bytes, frame, from_client };
        scenarios.entry(scenario.to_owned()).or_default().push(recorded);
    }
    scenarios
}

fn field_names(frame: &OwnedFrame) -> BTreeSet<String> {
    frame.fields().map(|(name, _)| name.to_owned()).collect()
}

/// Requests of which at least one answer had Java's code and was compared. Of others the recorded ones depend on what
/// Java's store held, or on what is not there yet.
const COMPARED: &[i32] = &[
    10, 11, 12, 14, 15, 17, 21, 25, 26, 28, 29, 30, 31, 32, 34, 35, 38, 41, 42, 200, 201, 202, 203, 208, 215,
    300, 310, 320, 321, 351,
];

#[test]
fn answers_to_recorded_requests_have_the_fields_of_javas() {
    let broker = TestBroker::start();
    let mut compared: BTreeMap<i32, usize> = BTreeMap::new();
    let mut differences = BTreeSet::new();
    for frames in recorded().values() {
        let mut clients: BTreeMap<&str, Client> = BTreeMap::new();
        prepare(&mut broker.client(), frames);
        for asked in frames.iter().filter(|asked| asked.from_client && !asked.frame.is_response()) {
            let client = clients.entry(&asked.connection).or_insert_with(|| broker.client());
            client.raw(&at_once(asked));
            if asked.frame.is_oneway() {
                continue;
            }
            let ours = client.reply(asked.frame.opaque);
            let is_answer = |other: &&Recorded| {
                let is_reply = !other.from_client && other.frame.is_response();
                is_reply && other.connection == asked.connection && other.frame.opaque == asked.frame.opaque
            };
            let javas = frames.iter().find(is_answer).map(|answer| &answer.frame);
            // What is found differs with what is stored; the fields of an answer depend on its code only.
            let Some(javas) = javas.filter(|javas| javas.code == ours.code) else { continue };
            *compared.entry(asked.frame.code).or_default() += 1;
            let (javas, ours) = (field_names(javas), field_names(&ours));
            if javas != ours {
                differences.insert(format!("{}: {javas:?}, ours {ours:?}", asked.frame.code));
            }
        }
    }
    println!("{compared:?}");
    assert!(differences.is_empty(), "{differences:#?}");
    let missing: Vec<&i32> = COMPARED.iter().filter(|code| !compared.contains_key(code)).collect();
    assert!(missing.is_empty(), "nothing was compared of {missing:?}");
}

/// Topics that the recorded requests take for granted, with messages.
fn prepare(client: &mut Client, frames: &[Recorded]) {
    let asked = frames.iter().filter(|recorded| recorded.from_client);
    let topics: BTreeSet<&str> = asked
        .filter_map(|recorded| recorded.frame.field("topic").or_else(|| recorded.frame.field("b")))
        .filter(|topic| !topic.is_empty())
        .collect();
    for topic in topics {
        let fields = [("topic", topic), ("readQueueNums", "8"), ("writeQueueNums", "8"), ("perm", "6")];
        // Names that no topic may have are among them.
        if client.call(request::UPDATE_AND_CREATE_TOPIC, &fields, b"").code != 0 {
            continue;
        }
        for queue in ["0", "1", "2", "3"] {
            Send::to(topic).queue(queue).by(client);
        }
    }
}

/// The request, but a pull that is not held.
fn at_once(asked: &Recorded) -> Vec<u8> {
    if ![request::PULL_MESSAGE, request::LITE_PULL_MESSAGE].contains(&asked.frame.code) {
        return asked.bytes.clone();
    }
    let mut bytes = Vec::new();
    let mut header = encode::begin(&mut bytes, asked.frame.encoding, asked.frame.head, None);
    for (name, value) in asked.frame.fields() {
        header.text(name, if name == "suspendTimeoutMillis" { "0" } else { value });
    }
    header.finish_with(&asked.frame.body).unwrap();
    bytes
}
