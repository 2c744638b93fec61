//! Java's own requests get Java's answers: see `tests/golden/README.md`.

use std::collections::BTreeSet;
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ferromq_protocol::frame::{Split, split};
use ferromq_protocol::header::{HeaderDecoder, OwnedFrame};
use ferromq_protocol::json::Value;

use crate::support::{Client, TestServer, meaning};

/// The lines of a golden file, words apart.
fn lines(packed: &[u8]) -> Vec<Vec<String>> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    text.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

fn decode(bytes: &[u8]) -> OwnedFrame {
    let Ok(Split::Frame { frame, .. }) = split(bytes) else { panic!("no frame") };
    HeaderDecoder::new().decode(frame).unwrap().to_owned(frame.body.to_vec().into())
}

/// Sends a recorded request; returns it with our answer.
async fn replay(client: &mut Client, request: &str) -> (OwnedFrame, OwnedFrame) {
    let request = STANDARD.decode(request).unwrap();
    client.send(&request).await;
    (decode(&request), client.receive().await)
}

fn field_names(frame: &OwnedFrame) -> BTreeSet<&str> {
    frame.fields().map(|(name, _)| name).collect()
}

/// A whole life of a broker: every answer means what Java's meant.
async fn life_of_a_broker(packed: &[u8]) {
    let server = TestServer::start(&[]);
    let mut broker = server.connect().await;
    let mut tool = server.connect().await;
    let mut order = None;
    for (at, words) in lines(packed).iter().enumerate() {
        let java = decode(&STANDARD.decode(&words[1]).unwrap());
        if let Some(table) = meaning(&java.body).as_ref().and_then(|body| body.get("table"))
            && order.as_ref() != Some(table)
        {
            // Meanwhile a tool had made topics ordered, over another connection.
            put_order(&mut tool, table).await;
            order = Some(table.clone());
        }
        let (request, ours) = replay(&mut broker, &words[0]).await;
        let what = format!("request {at}, code {}", request.code);
        assert_eq!((ours.code, &ours.remark, ours.opaque), (java.code, &java.remark, java.opaque), "{what}");
        assert_eq!((&ours.fields, ours.encoding), (&java.fields, java.encoding), "{what}");
        assert_eq!(meaning(&ours.body), meaning(&java.body), "{what}");
    }
    assert!(order.is_some(), "the order table was among the answers");
    let empty = meaning(br#"{"brokerAddrTable":{},"clusterAddrTable":{}}"#);
    assert_eq!(meaning(&tool.ask(106, &[], b"").await.body), empty, "the broker has unregistered");
}

/// Leaves exactly these entries in the order table.
async fn put_order(tool: &mut Client, table: &Value) {
    let Value::Object(entries) = table else { panic!("no table") };
    let namespace = ("namespace", "ORDER_TOPIC_CONFIG");
    tool.ask(100, &[namespace, ("key", "stale"), ("value", "")], b"").await;
    let known = tool.ask(219, &[namespace], b"").await;
    let known = meaning(&known.body).unwrap();
    let Some(Value::Object(known)) = known.get("table") else { panic!("no table") };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for (key, _) in known {
        tool.ask(102, &[namespace, ("key", &text(key))], b"").await;
    }
    for (key, value) in entries {
        tool.ask(100, &[namespace, ("key", &text(key)), ("value", &text(value))], b"").await;
    }
}

#[tokio::test]
async fn a_broker_with_json_headers_is_answered_as_by_java() {
    life_of_a_broker(include_bytes!("../golden/broker-registration-json.gz")).await;
}

#[tokio::test]
async fn a_broker_with_binary_headers_is_answered_as_by_java() {
    life_of_a_broker(include_bytes!("../golden/broker-registration-rocketmq.gz")).await;
}

#[tokio::test]
async fn questions_are_answered_as_by_java() {
    let server = TestServer::start(&[("rocketmqHome", "/opt/rocketmq")]);
    let mut broker = server.connect().await;
    let registrations = lines(include_bytes!("../golden/broker-registration-json.gz"));
    for words in &registrations {
        if decode(&STANDARD.decode(&words[0]).unwrap()).code != 104 {
            replay(&mut broker, &words[0]).await;
        }
    }
    let mut client = server.connect().await;
    let mut questions = lines(include_bytes!("../golden/questions.gz"));
    // Changes after the questions that they would change the answers of.
    questions
        .sort_by_key(|words| [205, 216, 327].contains(&decode(&STANDARD.decode(&words[1]).unwrap()).code));
    let mut kinds = BTreeSet::new();
    let (mut equal_routes, mut other_routes) = (0, BTreeSet::new());
    for words in questions {
        let question = decode(&STANDARD.decode(&words[1]).unwrap());
        let java = decode(&STANDARD.decode(&words[2]).unwrap());
        if question.code == 101 {
            // Each recording began without settings.
            let fields: Vec<_> = question.fields().collect();
            broker.ask(102, &fields, b"").await;
        }
        let (request, ours) = replay(&mut client, &words[1]).await;
        let what = format!("{}, code {}, {:?}", words[0], request.code, request.fields);
        kinds.insert((request.code, java.code));
        // Topics came and went while the questions were recorded; the routes of those that are there are compared.
        let is_there = request.code != 105 || ours.code == java.code;
        if !is_there {
            continue;
        }
        assert_eq!((ours.code, &ours.remark), (java.code, &java.remark), "{what}");
        assert_eq!(field_names(&ours), field_names(&java), "{what}");
        match request.code {
            105 if java.code != 0 => {}
            105 if meaning(&ours.body) == meaning(&java.body) => equal_routes += 1,
            105 => {
                other_routes.insert(request.field("topic").unwrap().to_owned());
            }
            106 => assert_eq!(meaning(&ours.body), meaning(&java.body), "{what}"),
            319 => {
                let keys = |frame: &OwnedFrame| {
                    let text = String::from_utf8(frame.body.to_vec()).unwrap();
                    text.lines()
                        .filter_map(|line| Some(line.split_once('=')?.0.to_owned()))
                        .collect::<BTreeSet<_>>()
                };
                let missing: Vec<_> = keys(&java).difference(&keys(&ours)).cloned().collect();
                assert!(missing.is_empty(), "{missing:?}");
            }
            _ => assert_eq!(ours.body.is_empty(), java.body.is_empty(), "{what}"),
        }
    }
    assert!(equal_routes >= 80, "only {equal_routes} routes were the same");
    assert_eq!(
        other_routes,
        BTreeSet::from(["fr_made2".to_owned()]),
        "this one was changed between questions"
    );
    for code in [100, 101, 102, 105, 106, 205, 206, 216, 319, 327, 9999] {
        assert!(kinds.iter().any(|(request, _)| *request == code), "nobody asked {code}");
    }
    assert!(
        kinds.contains(&(105, 17)) && kinds.contains(&(101, 22)) && kinds.contains(&(9999, 3)),
        "{kinds:?}"
    );
}
