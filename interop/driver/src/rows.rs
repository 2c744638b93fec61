//! Single requests and what Java answers to them: codes, remarks, fields.
//!
//! The rows are a JSON file: an array of groups, each for a server with some configuration:
//! `{"name", "broker": {key: value}, "rows": [row]}`. A row is a request and the answer to it:
//! `{"name", "to": "broker"|"namesrv", "code", "ext": {…}, "body" | "body_base64", "expect": {"code", "remark", "ext", "body"}}`.
//! The rows of a group are sent in order, to a fresh store, over one connection per server, which must stay usable.
//!
//! In strings of a request, `{broker}` and `{namesrv}` are the addresses, `{now}` the time in milliseconds, `{x*5}` stands
//! for `xxxxx`, `{row.field}` for a field of an earlier answer and `{row.offset}` for the log position in its `msgId`.
//! In an expected answer `*` is any value, the fields named in `any` differ from run to run, `body` says whether there
//! is one, and `{broker}`, `{namesrv}`, `{client}` are the addresses. Where Java's remark is the text of an exception,
//! ours says something else, but something. `differs` is for what ours answers otherwise on purpose: `{"code", "because"}`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use crate::server::{BrokerSetup, Make, Server};
use crate::suite::Place;
use crate::wire::{Answer, Connection};

/// Beside the test of the broker that plays the same rows without a process.
pub const FILE: &str = "crates/broker/tests/rows.json";

/// Fields that carry ids and times.
const VOLATILE: [&str; 5] =
    ["msgId", "transactionId", "timestamp", "indexLastUpdateTimestamp", "indexLastUpdatePhyoffset"];

/// Answers on requests that may wait for a suspended pull, which Java ends up to 5 s late.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Plays all groups and compares with the recorded answers.
pub fn check(place: &Place<'_>, root: &Path) -> Result<Vec<String>> {
    let groups: Vec<Value> = serde_json::from_slice(&std::fs::read(root.join(FILE))?)?;
    let mut differences = Vec::new();
    let mut count = 0;
    for group in &groups {
        let rows = rows(group)?;
        let answers = play(place, group)?;
        for (row, answer) in rows.iter().zip(&answers) {
            count += 1;
            if let Some(difference) = difference(row, answer, place.make) {
                differences.push(format!("{} / {}: {difference}", text(group, "name")?, text(row, "name")?));
            }
        }
    }
    ensure!(
        differences.is_empty(),
        "{} of {count} answers differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
    Ok(vec![format!("{count} answers as Java's")])
}

/// Plays the groups whose name has the word against Java and stores its answers.
pub fn record(place: &Place<'_>, root: &Path, word: &str) -> Result<()> {
    ensure!(place.make == Make::Java, "only Java's answers are recorded");
    let path = root.join(FILE);
    let mut groups: Vec<Value> = serde_json::from_slice(&std::fs::read(&path)?)?;
    for group in &mut groups {
        if !text(group, "name")?.contains(word) {
            continue;
        }
        let answers = play(place, group)?;
        for (row, answer) in group["rows"].as_array_mut().context("rows")?.iter_mut().zip(answers) {
            let any: Vec<Value> = row["any"].as_array().cloned().unwrap_or_default();
            let mut ext = Map::new();
            for (name, value) in answer.ext {
                let volatile =
                    VOLATILE.contains(&name.as_str()) || any.iter().any(|field| field == name.as_str());
                ext.insert(name, if volatile { json!("*") } else { json!(value) });
            }
            row["expect"] = json!({"code": answer.code, "remark": answer.remark, "ext": ext, "body": !answer.body.is_empty()});
        }
    }
    std::fs::write(path, one_row_a_line(&groups)?)?;
    Ok(())
}

/// Readable differences need one row a line.
fn one_row_a_line(groups: &[Value]) -> Result<String> {
    let mut out = String::from("[");
    for (number, group) in groups.iter().enumerate() {
        out.push_str(if number == 0 { "\n" } else { ",\n" });
        let (name, broker) = (&group["name"], &group["broker"]);
        out.push_str(&format!("{{\"name\": {name}, \"broker\": {broker}, \"rows\": ["));
        for (number, row) in rows(group)?.iter().enumerate() {
            out.push_str(if number == 0 { "\n  " } else { ",\n  " });
            out.push_str(&serde_json::to_string(row)?);
        }
        out.push_str("\n]}");
    }
    out.push_str("\n]\n");
    Ok(out)
}

fn rows(group: &Value) -> Result<&Vec<Value>> {
    group["rows"].as_array().context("a group without rows")
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("no {key} in {value}"))
}

/// Sends the rows of a group to servers of their own; the answers have placeholders for addresses.
fn play(place: &Place<'_>, group: &Value) -> Result<Vec<Answer>> {
    let name = text(group, "name")?;
    let dir = place.path(&name.replace(' ', "-"));
    let mut namesrv = Server::namesrv(place.make, &dir.join("namesrv"))?;
    namesrv.start(place.tools)?;
    let mut setup = BrokerSetup::new(&[namesrv.address()]);
    for (key, value) in group["broker"].as_object().context("broker keys")? {
        setup = setup.with(key, value.as_str().context("the value of a broker key")?);
    }
    let mut broker = Server::broker(place.make, &dir.join("broker"), setup)?;
    broker.start(place.tools)?;
    let addresses = [("{broker}", broker.address()), ("{namesrv}", namesrv.address())];

    let mut to_broker = Connection::open(&broker.address(), TIMEOUT)?;
    let mut to_namesrv = Connection::open(&namesrv.address(), TIMEOUT)?;
    let mut earlier: BTreeMap<String, Answer> = BTreeMap::new();
    let mut answers = Vec::new();
    for row in rows(group)? {
        let connection = if row["to"] == "namesrv" { &mut to_namesrv } else { &mut to_broker };
        let mut answer = send(connection, row, &addresses, &earlier)
            .with_context(|| format!("{name} / {}", row["name"]))?;
        connection
            .call(if row["to"] == "namesrv" { 106 } else { 30 }, &probe(), &[])
            .with_context(|| format!("the connection after {name} / {}", row["name"]))?;
        earlier.insert(text(row, "name")?.to_owned(), answer.clone());
        let client = format!("127.0.0.1:{}", connection.local_port()?);
        let masked = |text: &str| {
            let text =
                addresses.iter().fold(text.to_owned(), |text, (mark, address)| text.replace(address, mark));
            text.replace(&client, "{client}")
        };
        answer.remark = answer.remark.as_deref().map(masked);
        answer.ext.values_mut().for_each(|value| *value = masked(value));
        answers.push(answer);
    }
    to_namesrv.call(106, &BTreeMap::new(), &[])?;
    broker.stop()?;
    namesrv.stop()?;
    Ok(answers)
}

fn probe() -> BTreeMap<String, String> {
    crate::wire::fields([("topic", "SELF_TEST_TOPIC"), ("queueId", "0")])
}

fn send(
    connection: &mut Connection,
    row: &Value,
    addresses: &[(&str, String)],
    earlier: &BTreeMap<String, Answer>,
) -> Result<Answer> {
    let fill = |text: &str| filled(text, addresses, earlier);
    let mut ext = BTreeMap::new();
    for (name, value) in row["ext"].as_object().into_iter().flatten() {
        ext.insert(name.clone(), fill(value.as_str().with_context(|| format!("ext {name} is not text"))?)?);
    }
    let body = match (row["body"].as_str(), row["body_base64"].as_str()) {
        (Some(text), None) => fill(text)?.into_bytes(),
        (None, Some(text)) => BASE64_STANDARD.decode(text)?,
        (None, None) => Vec::new(),
        (Some(_), Some(_)) => bail!("two bodies"),
    };
    connection.call(row["code"].as_i64().context("code")?, &ext, &body)
}

/// Replaces what stands in braces; braces that are no placeholder (JSON bodies) stay.
fn filled(text: &str, addresses: &[(&str, String)], earlier: &BTreeMap<String, Answer>) -> Result<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        let inside = rest.find('}').map(|close| &rest[1..close]);
        match inside.map(|inside| placeholder(inside, addresses, earlier)).transpose()?.flatten() {
            Some(value) => {
                out.push_str(&value);
                rest = &rest[inside.map_or(0, str::len) + 2..];
            }
            None => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn placeholder(
    inside: &str,
    addresses: &[(&str, String)],
    earlier: &BTreeMap<String, Answer>,
) -> Result<Option<String>> {
    if inside.contains(['{', '"']) {
        return Ok(None);
    }
    if let Some((_, address)) = addresses.iter().find(|(mark, _)| *mark == format!("{{{inside}}}")) {
        return Ok(Some(address.clone()));
    }
    if inside == "now" {
        return Ok(Some(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis().to_string()));
    }
    if let Some((what, times)) = inside.rsplit_once('*')
        && let Ok(times) = times.parse()
    {
        return Ok(Some(what.repeat(times)));
    }
    if let Some((row, field)) = inside.rsplit_once('.')
        && let Some(answer) = earlier.get(row)
    {
        if field == "offset" {
            let id = answer.ext.get("msgId").with_context(|| format!("{row} has no msgId"))?;
            let digits = id.len().checked_sub(16).and_then(|at| id.get(at..)).context("a short msgId")?;
            return Ok(Some(u64::from_str_radix(digits, 16)?.to_string()));
        }
        return Ok(Some(answer.ext.get(field).with_context(|| format!("{row} has no {field}"))?.clone()));
    }
    Ok(None)
}

/// Remarks that Java makes of an exception nobody expected.
fn is_exception(remark: &str) -> bool {
    remark.contains("Exception") || remark.starts_with("Cannot invoke")
}

/// What is wrong with an answer, if anything.
fn difference(row: &Value, answer: &Answer, make: Make) -> Option<String> {
    if make == Make::Ferromq
        && let Some(code) = row["differs"]["code"].as_i64()
    {
        return (answer.code != code)
            .then(|| format!("code {} instead of our {code} ({:?})", answer.code, answer.remark));
    }
    let expect = &row["expect"];
    if expect["code"] != json!(answer.code) {
        return Some(format!("code {} ({:?}) instead of {}", answer.code, answer.remark, expect["code"]));
    }
    let exception = expect["remark"].as_str().is_some_and(is_exception);
    if exception && make == Make::Ferromq {
        if answer.remark.as_deref().is_none_or(str::is_empty) {
            return Some("no remark where Java shows an exception".to_owned());
        }
    } else if expect["remark"] != json!(answer.remark) {
        return Some(format!("remark {:?} instead of {}", answer.remark, expect["remark"]));
    }
    if expect["body"] != json!(!answer.body.is_empty()) {
        return Some(format!("a body of {} bytes", answer.body.len()));
    }
    let fields = expect["ext"].as_object()?;
    for (name, value) in fields {
        match answer.ext.get(name) {
            None => return Some(format!("field {name} is missing")),
            Some(ours) if value != "*" && value != ours.as_str() => {
                return Some(format!("field {name} is {ours} instead of {value}"));
            }
            Some(_) => {}
        }
    }
    answer.ext.keys().find(|name| !fields.contains_key(*name)).map(|name| format!("field {name} is too much"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(ext: &[(&str, &str)]) -> Answer {
        Answer { code: 0, remark: None, ext: crate::wire::fields(ext.iter().copied()), body: Vec::new() }
    }

    #[test]
    fn placeholders_are_filled_and_json_stays() {
        let addresses = [("{broker}", "1.2.3.4:5".to_owned())];
        let earlier = BTreeMap::from([(
            "first".to_owned(),
            answer(&[("msgId", "7F0000010000123400000000000000FF"), ("queueId", "3")]),
        )]);
        let fill = |text| filled(text, &addresses, &earlier).unwrap();
        assert_eq!(fill("{\"a\":{broker}}"), "{\"a\":1.2.3.4:5}");
        assert_eq!(fill("{ab*3}|{first.queueId}|{first.offset}"), "ababab|3|255");
        assert_eq!(fill("{\"name\":\"{g*3}\"}"), "{\"name\":\"ggg\"}");
        assert_eq!(fill("{unknown} {"), "{unknown} {");
    }

    #[test]
    fn a_difference_is_seen_in_code_remark_and_fields() {
        let row = json!({"expect": {"code": 0, "remark": null, "ext": {"queueId": "1", "msgId": "*"}, "body": false}});
        let check = |answer: &Answer| difference(&row, answer, Make::Java);
        assert_eq!(check(&answer(&[("queueId", "1"), ("msgId", "x")])), None);
        assert!(check(&answer(&[("queueId", "2"), ("msgId", "x")])).unwrap().contains("queueId"));
        assert!(check(&answer(&[("queueId", "1")])).unwrap().contains("msgId is missing"));
        assert!(
            check(&answer(&[("queueId", "1"), ("msgId", "x"), ("more", "")])).unwrap().contains("too much")
        );
        assert!(check(&Answer { code: 1, ..answer(&[]) }).unwrap().contains("code 1"));
        assert!(check(&Answer { remark: Some("why".to_owned()), ..answer(&[]) }).unwrap().contains("why"));
    }

    #[test]
    fn an_exception_is_not_imitated() {
        let row = json!({"expect": {"code": 1, "remark": "java.lang.NullPointerException: x", "ext": {}, "body": false}});
        let ours =
            |remark: Option<&str>| Answer { code: 1, remark: remark.map(str::to_owned), ..answer(&[]) };
        assert_eq!(difference(&row, &ours(Some("field topic is missing")), Make::Ferromq), None);
        assert!(difference(&row, &ours(None), Make::Ferromq).is_some());
        assert!(difference(&row, &ours(Some("field topic is missing")), Make::Java).is_some());
    }

    #[test]
    fn what_ours_answers_on_purpose_is_checked_instead() {
        let row =
            json!({"differs": {"code": 13}, "expect": {"code": 0, "remark": null, "ext": {}, "body": false}});
        assert_eq!(difference(&row, &Answer { code: 13, ..answer(&[]) }, Make::Ferromq), None);
        assert!(difference(&row, &answer(&[]), Make::Ferromq).is_some());
        assert_eq!(difference(&row, &answer(&[]), Make::Java), None);
    }
}
