//! The bytes of the load: requests exactly as the Java 5.5.0 client writes them, copied from ready-made
//! frames and patched, and a scan of responses that looks only for what a load needs.
//!
//! This imitates one client's text on purpose (order of fields included) instead of using the codec of
//! `protocol`: the cost of a request here is one copy. A test compares it with frames recorded from the
//! Java client.

use std::ops::Range;

use anyhow::bail;
use ferromq_protocol::frame::{self, Encoding, Split};
use memchr::memmem;

/// Requests of this crate have nine-digit opaques, so they can be patched in place and never collide
/// with the ids of a server's own requests.
pub(crate) const OPAQUE_MIN: i32 = 100_000_000;
const OPAQUE_DIGITS: usize = 9;
const MILLIS_DIGITS: usize = 13;
const KEY_DIGITS: usize = 10;
const UNIQUE_DIGITS: usize = 32;

/// Producer group that sends.
pub(crate) const PRODUCER_GROUP: &str = "PID_bench";
/// Consumer group that pulls.
pub(crate) const CONSUMER_GROUP: &str = "GID_bench";
/// Ordinal of 5.5.0 in Java's list of versions.
const VERSION: &str = "513";

/// Field of a pull answer that says where to go on.
pub(crate) const NEXT_BEGIN_OFFSET: &[u8] = br#""nextBeginOffset":""#;

/// Begin of a stored message, version 1 and 2 of its layout.
pub(crate) const MAGIC_V1: u32 = 0xdaa3_20a7;
const MAGIC_V2: u32 = 0xdaa3_20ab;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Text of a frame under construction that remembers where its changing parts lie.
struct Template {
    bytes: Vec<u8>,
}

impl Template {
    fn new() -> Template {
        Template { bytes: vec![0; frame::PREFIX_LEN] }
    }

    fn text(&mut self, text: &str) -> &mut Template {
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    /// `text` as the inside of a JSON string.
    fn escaped(&mut self, text: &str) -> &mut Template {
        let quoted = serde_json::Value::from(text).to_string();
        self.text(quoted.get(1..quoted.len() - 1).unwrap_or_default())
    }

    /// Room for `len` bytes that change; returns where they are.
    fn room(&mut self, len: usize) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.resize(start + len, b'0');
        start..start + len
    }

    fn tail(&mut self) -> Range<usize> {
        self.text(r#"},"flag":0,"language":"JAVA","opaque":"#);
        let opaque = self.room(OPAQUE_DIGITS);
        self.text(r#","serializeTypeCurrentRPC":"JSON","version":"#).text(VERSION).text("}");
        opaque
    }
}

/// Fills in the two length fields of the frame that starts at `start` and whose header ends at `header_end`.
pub(crate) fn patch_lengths(out: &mut [u8], start: usize, header_end: usize) {
    let follows = u32::try_from(out.len() - start - 4).expect("a frame is far below 4 GiB");
    let header = u32::try_from(header_end - start - frame::PREFIX_LEN).expect("a frame is far below 4 GiB");
    out[start..start + 4].copy_from_slice(&follows.to_be_bytes());
    out[start + 4..start + 8].copy_from_slice(&header.to_be_bytes());
}

fn decimal(mut number: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = HEX[(number % 10) as usize];
        number /= 10;
    }
}

fn hexadecimal(mut number: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = HEX[(number & 0xf) as usize];
        number >>= 4;
    }
}

/// One ready-made SEND_MESSAGE_V2 frame; the places are relative to its first byte.
struct SendFrame {
    bytes: Vec<u8>,
    queue: Range<usize>,
    born: Range<usize>,
    key: Range<usize>,
    unique: Range<usize>,
    opaque: Range<usize>,
    body: usize,
}

impl SendFrame {
    fn new(topic: &str, broker_name: &str, queue_digits: usize, body: &[u8]) -> SendFrame {
        let mut header = Template::new();
        header
            .text(r#"{"code":310,"extFields":{"a":""#)
            .text(PRODUCER_GROUP)
            .text(r#"","b":""#)
            .escaped(topic);
        header.text(r#"","c":"TBW102","d":"4","e":""#);
        let queue = header.room(queue_digits);
        header.text(r#"","f":"0","g":""#);
        let born = header.room(MILLIS_DIGITS);
        header.text(r#"","h":"0","i":"KEYS\u0001k"#);
        let key = header.room(KEY_DIGITS);
        header.text(r"\u0002UNIQ_KEY\u0001");
        let unique = header.room(UNIQUE_DIGITS);
        header
            .text(r#"\u0002WAIT\u0001true\u0002TAGS\u0001TagA\u0002","j":"0","k":"false","m":"false","n":""#);
        header.escaped(broker_name).text("\"");
        let opaque = header.tail();
        let mut bytes = header.bytes;
        let header_end = bytes.len();
        bytes.extend_from_slice(body);
        patch_lengths(&mut bytes, 0, header_end);
        SendFrame { bytes, queue, born, key, unique, opaque, body: header_end }
    }
}

/// Writes SEND_MESSAGE_V2 requests with a new key and a new unique id each.
pub(crate) struct SendFrames {
    /// One frame per number of digits of a queue id.
    by_queue_digits: Vec<SendFrame>,
    sequence: u64,
    unix_ms: u64,
    born: [u8; MILLIS_DIGITS],
    /// Address, process, salt, time and counter, as a client composes it; time and counter change.
    unique: [u8; UNIQUE_DIGITS],
}

impl SendFrames {
    /// `salt` keeps the ids of generators apart that run in one process.
    pub(crate) fn new(topic: &str, broker_name: &str, queues: u32, body: &[u8], salt: u32) -> SendFrames {
        let most_digits = queues.saturating_sub(1).checked_ilog10().unwrap_or(0) as usize + 1;
        let by_queue_digits =
            (1..=most_digits).map(|digits| SendFrame::new(topic, broker_name, digits, body)).collect();
        let mut unique = [b'0'; UNIQUE_DIGITS];
        hexadecimal(0x7f00_0001, &mut unique[0..8]);
        hexadecimal(u64::from(std::process::id()), &mut unique[8..12]);
        hexadecimal(u64::from(salt), &mut unique[12..20]);
        SendFrames {
            by_queue_digits,
            sequence: u64::from(salt) << 20,
            unix_ms: 0,
            born: [b'0'; MILLIS_DIGITS],
            unique,
        }
    }

    /// Appends one request to `out` and returns where its body starts there.
    pub(crate) fn write(&mut self, queue: u32, opaque: i32, unix_ms: u64, out: &mut Vec<u8>) -> usize {
        if unix_ms != self.unix_ms {
            self.unix_ms = unix_ms;
            decimal(unix_ms, &mut self.born);
            hexadecimal(unix_ms, &mut self.unique[20..28]);
        }
        self.sequence += 1;
        hexadecimal(self.sequence, &mut self.unique[28..32]);

        let digits = queue.checked_ilog10().unwrap_or(0) as usize + 1;
        let frame = &self.by_queue_digits[digits - 1];
        let start = out.len();
        out.extend_from_slice(&frame.bytes);
        let copy = &mut out[start..];
        decimal(u64::from(queue), &mut copy[frame.queue.clone()]);
        copy[frame.born.clone()].copy_from_slice(&self.born);
        decimal(self.sequence, &mut copy[frame.key.clone()]);
        copy[frame.unique.clone()].copy_from_slice(&self.unique);
        decimal(u64::from(opaque.unsigned_abs()), &mut copy[frame.opaque.clone()]);
        start + frame.body
    }
}

/// Writes PULL_MESSAGE requests of a push consumer: its subscription is known from the heartbeat.
pub(crate) struct PullFrames {
    /// The header between its changing parts: queue id, flags, queue offset, opaque.
    pieces: [Vec<u8>; 5],
}

/// Whether an empty queue holds a pull until a message comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenEmpty {
    Hold,
    Answer,
}

impl PullFrames {
    pub(crate) fn new(topic: &str, broker_name: &str, batch: u32, subscription_version: u64) -> PullFrames {
        let piece = |build: &dyn Fn(&mut Template)| {
            let mut template = Template { bytes: Vec::new() };
            build(&mut template);
            template.bytes
        };
        let pieces = [
            piece(&|text| {
                text.text(r#"{"code":11,"extFields":{"queueId":""#);
            }),
            piece(&|text| {
                text.text(r#"","maxMsgBytes":"262144","maxMsgNums":""#)
                    .text(&batch.to_string())
                    .text(r#"","sysFlag":""#);
            }),
            piece(&|text| {
                text.text(r#"","suspendTimeoutMillis":"15000","commitOffset":"0","bname":""#)
                    .escaped(broker_name);
                text.text(r#"","topic":""#).escaped(topic).text(r#"","queueOffset":""#);
            }),
            piece(&|text| {
                text.text(r#"","expressionType":"TAG","subVersion":""#)
                    .text(&subscription_version.to_string());
                text.text(r#"","consumerGroup":""#).text(CONSUMER_GROUP);
                text.text(r#""},"flag":0,"language":"JAVA","opaque":"#);
            }),
            piece(&|text| {
                text.text(r#","serializeTypeCurrentRPC":"JSON","version":"#).text(VERSION).text("}");
            }),
        ];
        PullFrames { pieces }
    }

    /// Appends one request to `out`.
    pub(crate) fn write(
        &self,
        queue: u32,
        offset: i64,
        when_empty: WhenEmpty,
        opaque: i32,
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        let mut digits = itoa::Buffer::new();
        let suspend = match when_empty {
            WhenEmpty::Hold => "2",
            WhenEmpty::Answer => "0",
        };
        out.extend_from_slice(&[0; frame::PREFIX_LEN]);
        out.extend_from_slice(&self.pieces[0]);
        out.extend_from_slice(digits.format(queue).as_bytes());
        out.extend_from_slice(&self.pieces[1]);
        out.extend_from_slice(suspend.as_bytes());
        out.extend_from_slice(&self.pieces[2]);
        out.extend_from_slice(digits.format(offset).as_bytes());
        out.extend_from_slice(&self.pieces[3]);
        out.extend_from_slice(digits.format(opaque).as_bytes());
        out.extend_from_slice(&self.pieces[4]);
        let header_end = out.len();
        patch_lengths(out, start, header_end);
    }
}

/// A frame as far as a load looks at it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scanned<'a> {
    pub(crate) code: i32,
    pub(crate) opaque: i32,
    pub(crate) is_response: bool,
    pub(crate) header: &'a [u8],
    pub(crate) body: &'a [u8],
}

/// Takes one frame from the front of `buffer`: the frame and its length, or nothing yet.
pub(crate) fn take(buffer: &[u8]) -> anyhow::Result<Option<(Scanned<'_>, usize)>> {
    let (frame, consumed) = match frame::split(buffer)? {
        Split::Incomplete { .. } => return Ok(None),
        Split::Frame { frame, consumed } => (frame, consumed),
    };
    if frame.encoding != Encoding::Json {
        bail!("the peer answered with a binary header, which the load generator does not read");
    }
    let header = frame.header;
    let code = match header.strip_prefix(br#"{"code":0,"#) {
        Some(_) => Some(0),
        None => number_after(header, br#""code":"#).map(|(code, _)| code),
    };
    // Java writes the fields in alphabetical order, so the opaque is found from the flag on; other
    // orders cost a second search. Quotes inside a JSON string are escaped, so neither name can be
    // found in one.
    let scanned = number_after(header, br#""flag":"#).and_then(|(flag, rest)| {
        let (opaque, _) =
            number_after(rest, br#""opaque":"#).or_else(|| number_after(header, br#""opaque":"#))?;
        Some(Scanned { code: code?, opaque, is_response: flag & 1 == 1, header, body: frame.body })
    });
    match scanned {
        Some(scanned) => Ok(Some((scanned, consumed))),
        None => bail!("a header without code, flag or opaque: {}", String::from_utf8_lossy(header)),
    }
}

/// The number behind `name`, and the bytes behind that.
fn number_after<'a>(header: &'a [u8], name: &[u8]) -> Option<(i32, &'a [u8])> {
    let rest = header.get(memmem::find(header, name)? + name.len()..)?;
    let (number, len) = leading_number(rest)?;
    Some((i32::try_from(number).ok()?, &rest[len..]))
}

fn leading_number(text: &[u8]) -> Option<(i64, usize)> {
    let negative = text.first() == Some(&b'-');
    let mut number: i64 = 0;
    let mut len = usize::from(negative);
    while let Some(digit @ b'0'..=b'9') = text.get(len) {
        number = number.checked_mul(10)?.checked_add(i64::from(digit - b'0'))?;
        len += 1;
    }
    (len > usize::from(negative)).then_some((if negative { -number } else { number }, len))
}

/// The number in the text field whose name, quotes, colon and opening quote are `name`.
pub(crate) fn field(header: &[u8], name: &[u8]) -> Option<i64> {
    let rest = header.get(memmem::find(header, name)? + name.len()..)?;
    leading_number(rest).map(|(number, _)| number)
}

/// The remark of a failed response, for showing.
pub(crate) fn remark(header: &[u8]) -> String {
    let parsed: Result<serde_json::Value, _> = serde_json::from_slice(header);
    let remark = parsed.ok().and_then(|header| header.get("remark")?.as_str().map(str::to_owned));
    remark.unwrap_or_else(|| "no remark".to_owned())
}

/// The stored messages of a pull body, by their bodies; stops with an error where the bytes are not a record.
pub(crate) fn records(mut bytes: &[u8]) -> impl Iterator<Item = anyhow::Result<&[u8]>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let Some((body, len)) = record(bytes) else {
            let rest = bytes.len();
            bytes = &[];
            return Some(Err(anyhow::anyhow!("{rest} bytes of a pull answer are not stored messages")));
        };
        bytes = &bytes[len..];
        Some(Ok(body))
    })
}

/// The body of the record at the front of `bytes`, and the length of the record.
fn record(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let number = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..at + 4)?.first_chunk::<4>()?));
    let len = number(0)? as usize;
    if !matches!(number(4)?, MAGIC_V1 | MAGIC_V2) || len < 91 {
        return None;
    }
    // Born host and store host take 12 bytes more each when they are IPv6.
    let sys_flag = number(36)?;
    let body_len_at = 84 + 12 * ((sys_flag >> 4 & 1) + (sys_flag >> 5 & 1)) as usize;
    let body_len = number(body_len_at)? as usize;
    let record = bytes.get(..len)?;
    Some((record.get(body_len_at + 4..)?.get(..body_len)?, len))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// The header of the first request with this code that a Java client sent in a recorded scenario.
    fn recorded(scenario: &str, code: &str) -> String {
        let golden = include_bytes!("../../protocol/tests/golden/frames-5.5.0.zlib");
        let mut all = Vec::new();
        flate2::read::ZlibDecoder::new(&golden[..]).read_to_end(&mut all).unwrap();
        let mut rest = &all[..];
        while let Some(line_len) = rest.iter().position(|byte| *byte == b'\n') {
            let line = std::str::from_utf8(&rest[..line_len]).unwrap();
            let end = line_len + 1 + line.rsplit(' ').next().unwrap().parse::<usize>().unwrap();
            let Split::Frame { frame, .. } = frame::split(&rest[line_len + 1..end]).unwrap() else {
                panic!()
            };
            if line.starts_with(scenario)
                && frame.header.starts_with(format!("{{\"code\":{code},").as_bytes())
            {
                return String::from_utf8(frame.header.to_vec()).unwrap();
            }
            rest = &rest[end..];
        }
        panic!("no request {code} in {scenario}");
    }

    /// The header with every value of these fields left out, texts and numbers alike.
    fn without_values(header: &str, fields: &[&str]) -> String {
        let mut header = header.to_owned();
        for field in fields {
            let name = format!("\"{field}\":");
            let start = header.find(&name).unwrap_or_else(|| panic!("no {field} in {header}")) + name.len();
            let end = match header[start..].strip_prefix('"') {
                Some(text) => start + text.find('"').unwrap() + 2,
                None => start + header[start..].find([',', '}']).unwrap(),
            };
            header.replace_range(start..end, "");
        }
        header
    }

    /// The property text of a send, name by name, as it is escaped in the header.
    fn properties(header: &str) -> Vec<(&str, &str)> {
        let text = header.split_once(r#""i":""#).unwrap().1.split_once('"').unwrap().0;
        let entries = text.strip_suffix(r"\u0002").unwrap().split(r"\u0002");
        entries.map(|entry| entry.split_once(r"\u0001").unwrap()).collect()
    }

    fn only_frame(bytes: &[u8]) -> (&str, &[u8]) {
        let Split::Frame { frame, consumed } = frame::split(bytes).unwrap() else { panic!("incomplete") };
        assert_eq!(consumed, bytes.len());
        (std::str::from_utf8(frame.header).unwrap(), frame.body)
    }

    fn unique_key(header: &str) -> &str {
        header.split_once(r"UNIQ_KEY\u0001").unwrap().1.split_once('\\').unwrap().0
    }

    #[test]
    fn a_send_is_what_the_java_client_sends() {
        let mut frames = SendFrames::new("bench", "broker-a", 8, b"hello", 0);
        let mut out = Vec::new();
        let body_at = frames.write(1, OPAQUE_MIN + 405, 1_795_233_324_658, &mut out);
        let (header, body) = only_frame(&out);
        assert_eq!(body, b"hello");
        assert_eq!(&out[body_at..], b"hello");

        let recorded = recorded("producer-sync-json", "310");
        let changing = ["a", "b", "e", "g", "i", "opaque"];
        assert_eq!(without_values(header, &changing), without_values(&recorded, &changing));
        for value in [r#""b":"bench""#, r#""e":"1""#, r#""g":"1795233324658""#, r#""opaque":100000405,"#] {
            assert!(header.contains(value), "{value} in {header}");
        }

        // The recorded program adds a property of its own, which the client puts first.
        let mut theirs = properties(&recorded);
        assert_eq!(theirs.remove(0), ("app", "golden"));
        let ours = properties(header);
        let names = |properties: &[(&str, &str)]| -> Vec<String> {
            properties.iter().map(|(name, _)| (*name).to_owned()).collect()
        };
        assert_eq!(names(&ours), names(&theirs));
        assert_eq!(ours[2..], theirs[2..], "WAIT and TAGS");
        let unique = unique_key(header);
        assert!(unique.len() == 32 && unique.bytes().all(|digit| HEX.contains(&digit)), "{unique}");
    }

    #[test]
    fn every_send_has_its_own_unique_id_and_key() {
        let mut frames = SendFrames::new("bench", "broker-a", 8, b"x", 3);
        let mut seen = std::collections::HashSet::new();
        for message in 0..1_000 {
            let mut out = Vec::new();
            frames.write(message % 8, OPAQUE_MIN, 1_795_233_324_658 + u64::from(message) / 100, &mut out);
            let (header, _) = only_frame(&out);
            assert!(seen.insert(unique_key(header).to_owned()));
            assert!(seen.insert(header.split_once(r"KEYS\u0001").unwrap().1[..11].to_owned()));
        }
    }

    #[test]
    fn queue_ids_of_any_width_are_written_without_leading_zeros() {
        let mut frames = SendFrames::new("bench", "broker-a", 100_000, b"x", 0);
        for queue in [0, 9, 10, 99, 100, 9_999, 10_000, 99_999] {
            let mut out = Vec::new();
            frames.write(queue, OPAQUE_MIN, 1_795_233_324_658, &mut out);
            let (header, _) = only_frame(&out);
            assert!(header.contains(&format!(r#""e":"{queue}","f""#)), "{header}");
        }
    }

    #[test]
    fn names_are_escaped() {
        let mut out = Vec::new();
        SendFrames::new("a\"b", "c\\d", 1, b"x", 0).write(0, OPAQUE_MIN, 1, &mut out);
        let (header, _) = only_frame(&out);
        let parsed: serde_json::Value = serde_json::from_str(header).unwrap();
        assert_eq!(parsed["extFields"]["b"], "a\"b");
        assert_eq!(parsed["extFields"]["n"], "c\\d");
    }

    #[test]
    fn a_pull_is_what_the_java_client_sends() {
        let mut out = Vec::new();
        PullFrames::new("bench", "broker-a", 32, 1_795_233_365_361).write(
            1,
            4711,
            WhenEmpty::Hold,
            OPAQUE_MIN + 772,
            &mut out,
        );
        let (header, body) = only_frame(&out);
        assert!(body.is_empty());
        let changing = ["queueId", "topic", "queueOffset", "subVersion", "consumerGroup", "opaque"];
        let recorded = recorded("consumer-broadcast-json", "11");
        assert_eq!(without_values(header, &changing), without_values(&recorded, &changing));
        for value in [r#""queueId":"1""#, r#""queueOffset":"4711""#, r#""subVersion":"1795233365361""#] {
            assert!(header.contains(value), "{value} in {header}");
        }
    }

    fn framed(header: &str, body: &[u8]) -> Vec<u8> {
        let mut out = vec![0; frame::PREFIX_LEN];
        out.extend_from_slice(header.as_bytes());
        let header_end = out.len();
        out.extend_from_slice(body);
        patch_lengths(&mut out, 0, header_end);
        out
    }

    #[test]
    fn responses_are_scanned_in_javas_order_and_in_any_other() {
        let java = r#"{"code":0,"extFields":{"queueId":"1","queueOffset":"12"},"flag":1,"language":"JAVA","opaque":100000001,"version":513}"#;
        let other = r#"{"opaque":100000001,"version":1,"flag":1,"remark":"\"opaque\":5","extFields":{"queueOffset":"12"},"code":14}"#;
        for (header, code) in [(java, 0), (other, 14)] {
            let bytes = framed(header, b"body");
            let (scanned, consumed) = take(&bytes).unwrap().unwrap();
            assert_eq!((scanned.code, scanned.opaque, scanned.is_response), (code, OPAQUE_MIN + 1, true));
            assert_eq!(scanned.body, b"body");
            assert_eq!(field(scanned.header, br#""queueOffset":""#), Some(12));
            assert_eq!(consumed, bytes.len());
            assert!(take(&bytes[..consumed - 1]).unwrap().is_none());
        }
    }

    #[test]
    fn a_request_of_the_server_is_not_taken_for_a_response() {
        let bytes = framed(
            r#"{"code":40,"extFields":{"consumerGroup":"g"},"flag":2,"language":"JAVA","opaque":862,"version":513}"#,
            b"",
        );
        let (scanned, _) = take(&bytes).unwrap().unwrap();
        assert!(!scanned.is_response);
    }

    #[test]
    fn rejects_headers_without_the_needed_fields() {
        assert!(take(&framed(r#"{"code":0,"flag":1}"#, b"")).is_err());
        assert!(take(&framed(r#"{"flag":1,"opaque":1}"#, b"")).is_err());
        assert!(take(&[0xff; 8]).is_err());
    }

    /// The stored message of the protocol's test vectors: topic TopicA, body `hello`.
    fn stored(body: &[u8], sys_flag: u32) -> Vec<u8> {
        let host = |v6: bool| vec![1; if v6 { 20 } else { 8 }];
        let mut out = vec![0; 36];
        out[4..8].copy_from_slice(&0xdaa3_20a7_u32.to_be_bytes());
        out.extend_from_slice(&sys_flag.to_be_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend(host(sys_flag & 0x10 != 0));
        out.extend_from_slice(&[0; 8]);
        out.extend(host(sys_flag & 0x20 != 0));
        out.extend_from_slice(&[0; 12]);
        out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        out.extend_from_slice(body);
        out.extend_from_slice(b"\x06TopicA\x00\x00");
        let len = u32::try_from(out.len()).unwrap();
        out[0..4].copy_from_slice(&len.to_be_bytes());
        out
    }

    #[test]
    fn stored_messages_are_walked_with_both_host_sizes() {
        let mut bytes = stored(b"one", 0);
        bytes.extend(stored(b"two", 0x30));
        bytes.extend(stored(b"three", 0x10));
        let bodies: Vec<&[u8]> = records(&bytes).map(Result::unwrap).collect();
        assert_eq!(bodies, [&b"one"[..], b"two", b"three"]);
    }

    #[test]
    fn rejects_what_is_not_a_stored_message() {
        let mut bytes = stored(b"one", 0);
        let whole = bytes.len();
        bytes.extend_from_slice(&[0; 100]);
        let found: Vec<bool> = records(&bytes).map(|record| record.is_ok()).collect();
        assert_eq!(found, [true, false]);
        assert!(records(&bytes[..whole - 1]).next().unwrap().is_err());
    }
}
