//! Frames recorded between Java programs: each is decoded, written again, and means the same; each header fits the
//! typed header declared for its code.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use ferromq_protocol::code::request as code;
use ferromq_protocol::encode;
use ferromq_protocol::frame::{Encoding, Split, split};
use ferromq_protocol::header::{FieldName, FieldSink, Header, HeaderDecoder, OwnedFrame};
use ferromq_protocol::{request, response};

use support::{Recorded, recorded};

fn encoded(frame: &OwnedFrame, encoding: Encoding) -> Vec<u8> {
    let mut out = Vec::new();
    let mut header = encode::begin(&mut out, encoding, frame.head, frame.remark.as_deref());
    for (name, value) in frame.fields() {
        header.text(name, value);
    }
    header.finish_with(&frame.body).unwrap();
    out
}

fn decoded(bytes: &[u8]) -> OwnedFrame {
    let Split::Frame { frame, .. } = split(bytes).unwrap() else { panic!("incomplete") };
    HeaderDecoder::new().decode(frame).unwrap().to_owned(bytes::Bytes::copy_from_slice(frame.body))
}

#[test]
fn frames_keep_their_meaning_in_both_encodings() {
    for Recorded { scenario, frame, .. } in recorded() {
        let json = decoded(&encoded(&frame, Encoding::Json));
        assert_eq!(json, OwnedFrame { encoding: Encoding::Json, ..frame.clone() }, "{scenario}");

        if i16::try_from(frame.code).is_err() {
            continue;
        }
        let binary = decoded(&encoded(&frame, Encoding::Binary));
        let mut expected = OwnedFrame { encoding: Encoding::Binary, ..frame };
        expected.fields.retain(|(_, value)| !value.is_empty());
        expected.remark = expected.remark.filter(|remark| !remark.is_empty());
        assert_eq!(binary, expected, "{scenario}");
    }
}

#[test]
fn what_java_wrote_is_written_the_same_way() {
    let mut equal = 0;
    for Recorded { scenario, bytes, frame, .. } in recorded() {
        let ours = encoded(&frame, frame.encoding);
        if ours == bytes {
            equal += 1;
            continue;
        }
        // Binary fields with an empty value are absent for the reader, and so for us when we write them again.
        if frame.encoding == Encoding::Binary {
            assert_eq!(decoded(&ours), frame, "{scenario}");
            continue;
        }
        // Java writes an empty object for headers without fields, which we leave out.
        let (Split::Frame { frame: ours, .. }, Split::Frame { frame: java, .. }) =
            (split(&ours).unwrap(), split(&bytes).unwrap())
        else {
            panic!("incomplete")
        };
        let text = |header: &[u8]| String::from_utf8(header.to_vec()).unwrap();
        assert_eq!(text(ours.header), text(java.header).replacen("\"extFields\":{},", "", 1), "{scenario}");
        assert_eq!(ours.body, java.body);
    }
    assert!(equal > 2500, "{equal}");
}

/// Collects fields as they would be written.
#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl FieldSink for Fields {
    fn text(&mut self, name: FieldName, value: &str) {
        self.0.insert(name.as_str(), value.to_owned());
    }

    fn integer(&mut self, name: FieldName, value: i64) {
        self.0.insert(name.as_str(), value.to_string());
    }

    fn boolean(&mut self, name: FieldName, value: bool) {
        self.0.insert(name.as_str(), value.to_string());
    }
}

/// What clients and brokers add to any header.
const BESIDE: [&str; 6] =
    ["ReqT", "bname", "MSG_REGION", "TRACE_ON", "IS_SUPPORT_HEART_BEAT_V2", "IS_SUB_CHANGE"];

/// Reads the frame's fields as `H`, writes them again, and compares.
fn check<'a, H: Header<'a>>(frame: &'a OwnedFrame) {
    let header: H = frame.read().unwrap_or_else(|error| panic!("{}: {error}: {frame:?}", H::JAVA));
    let mut written = Fields::default();
    header.encode(&mut written);
    for (name, value) in frame.fields() {
        if H::FIELDS.iter().any(|(known, _)| *known == name) {
            match written.0.remove(name) {
                Some(ours) => assert_eq!(ours, value, "{}.{name}", H::JAVA),
                None => assert_eq!(value, "", "{}.{name}", H::JAVA),
            }
        } else {
            assert!(BESIDE.contains(&name), "{} does not know {name}", H::JAVA);
        }
    }
    for (name, value) in &written.0 {
        // Only defaults may be added: written where Java leaves the field out.
        assert!(!H::FIELDS.contains(&(name, true)), "{}.{name}={value} was not there", H::JAVA);
    }
}

/// Requests without a header of their own.
fn check_none(request_code: i32, frame: &OwnedFrame) {
    for (name, _) in frame.fields() {
        assert!(BESIDE.contains(&name), "request {request_code}, code {}: unexpected {name}", frame.code);
    }
}

fn check_request(frame: &OwnedFrame) {
    match frame.code {
        code::SEND_MESSAGE_V2 | code::SEND_BATCH_MESSAGE | code::SEND_REPLY_MESSAGE_V2 => {
            check::<request::SendMessageV2>(frame);
        }
        code::PULL_MESSAGE | code::LITE_PULL_MESSAGE => check::<request::PullMessage>(frame),
        code::QUERY_MESSAGE => check::<request::QueryMessage>(frame),
        code::QUERY_CONSUMER_OFFSET => check::<request::QueryConsumerOffset>(frame),
        code::UPDATE_CONSUMER_OFFSET => check::<request::UpdateConsumerOffset>(frame),
        code::UPDATE_AND_CREATE_TOPIC => check::<request::CreateTopic>(frame),
        code::GET_ALL_TOPIC_CONFIG => check::<request::GetAllTopicConfig>(frame),
        code::SEARCH_OFFSET_BY_TIMESTAMP => check::<request::SearchOffset>(frame),
        code::GET_MAX_OFFSET => check::<request::GetMaxOffset>(frame),
        code::GET_MIN_OFFSET => check::<request::GetMinOffset>(frame),
        code::GET_EARLIEST_MSG_STORETIME => check::<request::GetEarliestMsgStoretime>(frame),
        code::VIEW_MESSAGE_BY_ID => check::<request::ViewMessage>(frame),
        code::UNREGISTER_CLIENT => check::<request::UnregisterClient>(frame),
        code::CONSUMER_SEND_MSG_BACK => check::<request::ConsumerSendMsgBack>(frame),
        code::END_TRANSACTION => check::<request::EndTransaction>(frame),
        code::GET_CONSUMER_LIST_BY_GROUP => check::<request::GetConsumerListByGroup>(frame),
        code::CHECK_TRANSACTION_STATE => check::<request::CheckTransactionState>(frame),
        code::NOTIFY_CONSUMER_IDS_CHANGED => check::<request::NotifyConsumerIdsChanged>(frame),
        code::PUT_KV_CONFIG => check::<request::PutKvConfig>(frame),
        code::GET_KV_CONFIG => check::<request::GetKvConfig>(frame),
        code::DELETE_KV_CONFIG => check::<request::DeleteKvConfig>(frame),
        code::REGISTER_BROKER => check::<request::RegisterBroker>(frame),
        code::UNREGISTER_BROKER => check::<request::UnregisterBroker>(frame),
        code::GET_ROUTEINFO_BY_TOPIC => check::<request::GetRouteInfo>(frame),
        code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => check::<request::GetAllSubscriptionGroup>(frame),
        code::GET_TOPIC_STATS_INFO => check::<request::GetTopicStatsInfo>(frame),
        code::GET_CONSUMER_CONNECTION_LIST => check::<request::GetConsumerConnectionList>(frame),
        code::GET_PRODUCER_CONNECTION_LIST => check::<request::GetProducerConnectionList>(frame),
        code::WIPE_WRITE_PERM_OF_BROKER => check::<request::WipeWritePermOfBroker>(frame),
        code::ADD_WRITE_PERM_OF_BROKER => check::<request::AddWritePermOfBroker>(frame),
        code::DELETE_SUBSCRIPTIONGROUP => check::<request::DeleteSubscriptionGroup>(frame),
        code::GET_CONSUME_STATS => check::<request::GetConsumeStats>(frame),
        code::DELETE_TOPIC_IN_BROKER => check::<request::DeleteTopic>(frame),
        code::DELETE_TOPIC_IN_NAMESRV => check::<request::DeleteTopicFromNamesrv>(frame),
        code::INVOKE_BROKER_TO_RESET_OFFSET => check::<request::ResetOffset>(frame),
        code::QUERY_TOPIC_CONSUME_BY_WHO => check::<request::QueryTopicConsumeByWho>(frame),
        code::GET_CONSUMER_RUNNING_INFO => check::<request::GetConsumerRunningInfo>(frame),
        code::VIEW_BROKER_STATS_DATA => check::<request::ViewBrokerStatsData>(frame),
        code::GET_BROKER_CONSUME_STATS => check::<request::GetConsumeStatsInBroker>(frame),
        code::QUERY_CONSUME_QUEUE => check::<request::QueryConsumeQueue>(frame),
        code::PUSH_REPLY_MESSAGE_TO_CLIENT => check::<request::ReplyMessage>(frame),
        code::GET_TOPIC_CONFIG => check::<request::GetTopicConfig>(frame),
        code::RECALL_MESSAGE => check::<request::RecallMessage>(frame),
        // 3442 is what Java's binary headers make of 200050.
        code::POP_MESSAGE | 3442 => check::<request::PopMessage>(frame),
        code::ACK_MESSAGE => check::<request::AckMessage>(frame),
        code::CHANGE_MESSAGE_INVISIBLETIME => check::<request::ChangeInvisibleTime>(frame),
        _ => check_none(frame.code, frame),
    }
}

fn check_response(request_code: i32, frame: &OwnedFrame) {
    match (request_code, frame.code) {
        (code::SEND_MESSAGE_V2 | code::SEND_BATCH_MESSAGE | code::SEND_REPLY_MESSAGE_V2, 0) => {
            check::<response::SendMessage>(frame);
            assert_eq!(frame.field("MSG_REGION"), Some("DefaultRegion"));
            assert_eq!(frame.field("TRACE_ON"), Some("true"));
        }
        (code::PULL_MESSAGE | code::LITE_PULL_MESSAGE, 0 | 19 | 20 | 21) => {
            check::<response::PullMessage>(frame);
        }
        (code::QUERY_MESSAGE, _) => check::<response::QueryMessage>(frame),
        (
            code::QUERY_CONSUMER_OFFSET
            | code::SEARCH_OFFSET_BY_TIMESTAMP
            | code::GET_MAX_OFFSET
            | code::GET_MIN_OFFSET,
            0,
        ) => check::<response::Offset>(frame),
        (code::GET_EARLIEST_MSG_STORETIME, 0) => check::<response::GetEarliestMsgStoretime>(frame),
        (code::GET_BROKER_CONFIG, 0) => check::<response::GetBrokerConfig>(frame),
        (code::GET_ALL_TOPIC_CONFIG, 0) => check::<response::GetAllTopicConfig>(frame),
        (code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, 0) => check::<response::GetAllSubscriptionGroup>(frame),
        (code::GET_KV_CONFIG, 0) => check::<response::GetKvConfig>(frame),
        (code::REGISTER_BROKER, 0) => check::<response::RegisterBroker>(frame),
        (code::WIPE_WRITE_PERM_OF_BROKER, 0) => check::<response::WipeWritePermOfBroker>(frame),
        (code::ADD_WRITE_PERM_OF_BROKER, 0) => check::<response::AddWritePermOfBroker>(frame),
        (code::RECALL_MESSAGE, 0) => check::<response::RecallMessage>(frame),
        (code::POP_MESSAGE, 0 | 210) => check::<response::PopMessage>(frame),
        (code::CHANGE_MESSAGE_INVISIBLETIME, 0) => check::<response::ChangeInvisibleTime>(frame),
        // Answers to requests that were too long to be kept.
        (-1, _) => {}
        _ => check_none(request_code, frame),
    }
}

#[test]
fn headers_fit_their_declaration() {
    let mut requests = BTreeSet::new();
    let mut responses = BTreeSet::new();
    for Recorded { frame, request_code, .. } in recorded() {
        if frame.is_response() {
            responses.insert((request_code, frame.code));
            check_response(request_code, &frame);
        } else {
            requests.insert(frame.code);
            // One recorded send has no fields at all, on purpose.
            if frame.code != code::SEND_MESSAGE {
                check_request(&frame);
            }
        }
    }
    assert!(requests.len() > 60 && responses.len() > 60, "{} {}", requests.len(), responses.len());
}
