//! Single requests and what Java 5.5.0 answered to them, in `tests/rows.json`.
//!
//! The answers were recorded by `cargo xtask record rows`, which also says how the file is written. Where a row says
//! that we differ on purpose, only our code is compared. Where Java's remark is the text of an exception, ours has to
//! say something, but something else.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use ferromq_protocol::code::request;
use ferromq_protocol::header::OwnedFrame;
use serde_json::Value;

use crate::support::{Client, TestBroker};

#[test]
fn answers_are_those_of_java() {
    let groups: Vec<Value> = serde_json::from_str(include_str!("../rows.json")).unwrap();
    let mut compared = 0;
    let mut differences = Vec::new();
    for group in &groups {
        let settings: Vec<(&str, &str)> = group["broker"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str().unwrap()))
            .collect();
        let broker = TestBroker::with(&settings);
        let mut client = broker.client();
        let mut earlier = BTreeMap::new();
        for row in group["rows"].as_array().unwrap().iter().filter(|row| row["to"] == "broker") {
            let name = row["name"].as_str().unwrap();
            let answer = play(&mut client, row, &broker.address().to_string(), &earlier);
            if let Some(difference) = difference(row, &answer, &broker, &client) {
                differences.push(format!("{} / {name}: {difference}", group["name"]));
            }
            compared += 1;
            earlier.insert(name.to_owned(), answer);
            // The connection stays usable.
            client.call(request::GET_MAX_OFFSET, &[("topic", "SELF_TEST_TOPIC"), ("queueId", "0")], b"");
        }
    }
    assert!(
        differences.is_empty(),
        "{} of {compared} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
    assert!(compared > 200, "only {compared} rows were compared");
}

type Earlier = BTreeMap<String, OwnedFrame>;

fn play(client: &mut Client, row: &Value, broker: &str, earlier: &Earlier) -> OwnedFrame {
    let fields: Vec<(String, String)> = row["ext"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), filled(value.as_str().unwrap(), broker, earlier)))
        .collect();
    let fields: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let body = match (row["body"].as_str(), row["body_base64"].as_str()) {
        (Some(text), _) => filled(text, broker, earlier).into_bytes(),
        (_, Some(text)) => decode_base64(text),
        _ => Vec::new(),
    };
    client.call(i32::try_from(row["code"].as_i64().unwrap()).unwrap(), &fields, &body)
}

/// Replaces what stands in braces; braces that are no placeholder (JSON bodies) stay.
fn filled(text: &str, broker: &str, earlier: &Earlier) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        out.push_str(before);
        let value = behind
            .split_once('}')
            .and_then(|(inside, after)| placeholder(inside, broker, earlier).map(|value| (value, after)));
        match value {
            Some((value, after)) => {
                out.push_str(&value);
                rest = after;
            }
            None => {
                out.push('{');
                rest = behind;
            }
        }
    }
    out + rest
}

fn placeholder(inside: &str, broker: &str, earlier: &Earlier) -> Option<String> {
    if inside.contains(['{', '"']) {
        return None;
    }
    if inside == "broker" {
        return Some(broker.to_owned());
    }
    if inside == "now" {
        return Some(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().to_string());
    }
    if let Some((what, times)) = inside.rsplit_once('*') {
        return Some(what.repeat(times.parse().ok()?));
    }
    let (row, field) = inside.rsplit_once('.')?;
    let answer = earlier.get(row)?;
    if field == "offset" {
        let id = answer.field("msgId").unwrap();
        return Some(u64::from_str_radix(&id[id.len() - 16..], 16).unwrap().to_string());
    }
    Some(answer.field(field).unwrap().to_owned())
}

fn decode_base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("{other} is no digit of base 64"),
    };
    let mut out = Vec::new();
    for chunk in text.as_bytes().chunks(4) {
        let digits: Vec<u32> = chunk.iter().filter(|byte| **byte != b'=').map(|byte| digit(*byte)).collect();
        let bits = digits.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - digits.len()));
        out.extend_from_slice(&bits.to_be_bytes()[1..digits.len()]);
    }
    out
}

/// What is wrong with an answer, if anything.
fn difference(row: &Value, answer: &OwnedFrame, broker: &TestBroker, client: &Client) -> Option<String> {
    if let Some(code) = row["differs"]["code"].as_i64() {
        return (i64::from(answer.code) != code)
            .then(|| format!("code {} instead of our {code} ({:?})", answer.code, answer.remark));
    }
    let masked = |text: &str| {
        let text = text.replace(&broker.address().to_string(), "{broker}");
        text.replace(&client.local().to_string(), "{client}")
    };
    let expect = &row["expect"];
    if expect["code"] != answer.code {
        return Some(format!("code {} ({:?}) instead of {}", answer.code, answer.remark, expect["code"]));
    }
    let remark = answer.remark.as_deref().map(masked);
    let expected = expect["remark"].as_str();
    if expected.is_some_and(|text| text.contains("Exception") || text.starts_with("Cannot invoke")) {
        if remark.is_none_or(|remark| remark.is_empty()) {
            return Some("no remark where Java shows an exception".into());
        }
    } else if remark.as_deref() != expected {
        return Some(format!("remark {remark:?} instead of {expected:?}"));
    }
    if expect["body"] == answer.body.is_empty() {
        return Some(format!("a body of {} bytes", answer.body.len()));
    }
    let fields = expect["ext"].as_object()?;
    for (name, value) in fields {
        match answer.field(name) {
            None => return Some(format!("field {name} is missing")),
            Some(ours) if value != "*" && value.as_str() != Some(&masked(ours)) => {
                return Some(format!("field {name} is {ours} instead of {value}"));
            }
            Some(_) => {}
        }
    }
    let extra = answer.fields().find(|(name, _)| !fields.contains_key(*name));
    extra.map(|(name, _)| format!("field {name} is too much"))
}
