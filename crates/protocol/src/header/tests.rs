//! Headers in both encodings, against bytes from Java and against each other.

use proptest::prelude::*;

use super::*;
use crate::encode;
use crate::frame::{Split, split};

/// Header text as the decoder sees it, in comparable form.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plain {
    head: Head,
    remark: Option<String>,
    fields: Vec<(String, String)>,
}

type Codec = fn(&str, &mut String, &mut Vec<(Piece, Piece)>) -> Result<Decoded, HeaderError>;

fn plain(text: &str, codec: Codec) -> Result<Plain, HeaderError> {
    let (mut scratch, mut fields) = (String::new(), Vec::new());
    let decoded = codec(text, &mut scratch, &mut fields)?;
    let resolve = |piece: Piece| piece.resolve(text, &scratch).to_owned();
    Ok(Plain {
        head: decoded.head,
        remark: decoded.remark.map(resolve),
        fields: fields.iter().map(|&(name, value)| (resolve(name), resolve(value))).collect(),
    })
}

fn scanned(text: &str) -> Option<Plain> {
    let scan: Codec = |text, scratch, fields| {
        json::scan(text, scratch, fields).ok_or(HeaderError::Json { at: 0, what: "not scanned" })
    };
    plain(text, scan).ok()
}

fn parsed(text: &str) -> Result<Plain, HeaderError> {
    plain(text, json::parse)
}

fn decode_frame(bytes: &[u8]) -> OwnedFrame {
    let Split::Frame { frame, consumed } = split(bytes).unwrap() else { panic!("incomplete frame") };
    assert_eq!(consumed, bytes.len());
    let mut decoder = HeaderDecoder::new();
    decoder.decode(frame).unwrap().to_owned(Bytes::copy_from_slice(frame.body))
}

fn encode_frame(frame: &OwnedFrame, encoding: Encoding) -> Vec<u8> {
    let mut out = Vec::new();
    let mut header = encode::begin(&mut out, encoding, frame.head, frame.remark.as_deref());
    for (name, value) in frame.fields() {
        header.text(name, value);
    }
    header.finish_with(&frame.body).unwrap();
    out
}

const ROUTE_REQUEST_JSON: &str = r#"{"code":105,"extFields":{"topic":"TopicA","acceptStandardJsonOnly":"true"},"flag":0,"language":"JAVA","opaque":7,"serializeTypeCurrentRPC":"JSON","version":515}"#;

fn route_request() -> OwnedFrame {
    OwnedFrame {
        head: Head { code: 105, language: Language::Java, version: 515, opaque: 7, flag: 0 },
        encoding: Encoding::Json,
        remark: None,
        fields: vec![
            ("topic".to_owned(), "TopicA".to_owned()),
            ("acceptStandardJsonOnly".to_owned(), "true".to_owned()),
        ],
        body: Bytes::new(),
    }
}

#[test]
fn json_request_made_by_java() {
    let java = [&b"\0\0\0\xa4\0\0\0\xa0"[..], ROUTE_REQUEST_JSON.as_bytes()].concat();
    assert_eq!(decode_frame(&java), route_request());
    assert_eq!(encode_frame(&route_request(), Encoding::Json), java);
}

#[test]
fn binary_request_made_by_java() {
    let java = [
        &b"\0\0\0\x4a\x01\0\0\x46\0\x69\0\x02\x03\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0\x31"[..],
        b"\0\x05topic\0\0\0\x06TopicA\0\x16acceptStandardJsonOnly\0\0\0\x04true",
    ]
    .concat();
    assert_eq!(decode_frame(&java), OwnedFrame { encoding: Encoding::Binary, ..route_request() });
    assert_eq!(encode_frame(&route_request(), Encoding::Binary), java);
}

#[test]
fn binary_pull_response_made_by_java() {
    let java = [
        &b"\0\0\0\x6a\x01\0\0\x66\0\0\0\x02\x03\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\x51"[..],
        b"\0\x14suggestWhichBrokerId\0\0\0\x010\0\x0fnextBeginOffset\0\0\0\x016",
        b"\0\x09maxOffset\0\0\0\x016\0\x09minOffset\0\0\0\x010",
    ]
    .concat();
    let frame = decode_frame(&java);
    assert_eq!(frame.head, Head { code: 0, language: Language::Java, version: 515, opaque: 1, flag: 1 });
    assert_eq!(frame.field("nextBeginOffset"), Some("6"));
    assert_eq!(encode_frame(&frame, Encoding::Binary), java);
}

#[test]
fn error_response_made_by_java() {
    let json = r#"{"code":17,"flag":1,"language":"JAVA","opaque":7,"remark":"No topic","serializeTypeCurrentRPC":"JSON","version":515}"#;
    let header = scanned(json).unwrap();
    assert_eq!(header.remark.as_deref(), Some("No topic"));
    let mut out = Vec::new();
    encode::begin(&mut out, Encoding::Json, header.head, header.remark.as_deref()).finish().unwrap();
    assert_eq!(&out[8..], json.as_bytes());
}

#[test]
fn code_beyond_16_bits_is_truncated_in_binary_headers() {
    let mut out = Vec::new();
    encode::begin(&mut out, Encoding::Binary, Head::request(200_050, 1), None).finish().unwrap();
    assert_eq!(decode_frame(&out).code, 3442);
}

#[test]
fn empty_binary_values_are_absent() {
    let mut frame = route_request();
    frame.fields.push(("k".to_owned(), String::new()));
    assert_eq!(decode_frame(&encode_frame(&frame, Encoding::Binary)).field("k"), None);
    assert_eq!(decode_frame(&encode_frame(&frame, Encoding::Json)).field("k"), Some(""));
}

#[test]
fn what_java_tolerates_is_read() {
    let cases = [
        // Nulls, as C++ and Go clients send them.
        (r#"{"code":1,"remark":null,"extFields":null}"#, None, &[][..]),
        // Values that are not strings.
        (
            r#"{"code":"1","extFields":{"a":1,"b":true,"c":null,"d":-2.5}}"#,
            None,
            &[("a", "1"), ("b", "true"), ("d", "-2.5")],
        ),
        // Unknown keys of any shape.
        (r#"{"x":{"y":[1,{"z":[]}]},"code":1}"#, None, &[]),
        // White space, single quotes, trailing commas, comments, bare keys.
        ("{ 'code' : 1 , /* c */ extFields : { 'a' : 'x' , } , }", None, &[("a", "x")]),
        // Raw control characters.
        (
            "{\"code\":1,\"remark\":\"a\u{1}b\",\"extFields\":{\"i\":\"T\u{1}v\u{2}\"}}",
            Some("a\u{1}b"),
            &[("i", "T\u{1}v\u{2}")],
        ),
        // The last of equal keys counts.
        (r#"{"code":9,"extFields":{"a":"1"},"extFields":{"b":"2"},"code":1}"#, None, &[("b", "2")]),
    ];
    for (text, remark, fields) in cases {
        let header = parsed(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(header.head.code, 1, "{text}");
        assert_eq!(header.remark.as_deref(), remark, "{text}");
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(header.fields, fields, "{text}");
        assert!(scanned(text).is_none_or(|scanned| scanned == header), "{text}");
    }
}

#[test]
fn missing_parts_have_javas_defaults() {
    let header = scanned("{}").unwrap();
    assert_eq!(header.head, Head { code: 0, language: Language::Java, version: 0, opaque: 0, flag: 0 });
    assert_eq!(parsed("{}").unwrap(), header);
    assert_eq!(parsed(r#"{"language":"KLINGON"}"#).unwrap().head.language, Language::Other);
}

#[test]
fn rejects_what_is_no_header() {
    for text in [
        "",
        "[]",
        "{",
        "{\"code\":1",
        "{\"code\":1}x",
        "{\"code\":\"x\"}",
        "{\"code\":2147483648}",
        "{\"a\":\"b}",
        "null",
        "{\"code\"}",
    ] {
        assert!(parsed(text).is_err(), "{text}");
        assert_eq!(scanned(text), None, "{text}");
    }
    let binary = encode_frame(&route_request(), Encoding::Binary);
    let header = &binary[8..];
    for len in 0..header.len() {
        let frame = RawFrame { encoding: Encoding::Binary, header: &header[..len], body: &[] };
        assert!(HeaderDecoder::new().decode(frame).is_err(), "{len}");
    }
    for at in [13, 17, 29] {
        // Negative lengths of remark, ext fields and a value.
        let mut header = header.to_vec();
        header[at] = 0x80;
        let frame = RawFrame { encoding: Encoding::Binary, header: &header, body: &[] };
        assert!(HeaderDecoder::new().decode(frame).is_err(), "{at}");
    }
}

#[test]
fn deep_nesting_is_stepped_over_without_recursion() {
    let deep = format!("{{\"x\":{}1{},\"code\":5}}", "[".repeat(200_000), "]".repeat(200_000));
    assert_eq!(parsed(&deep).unwrap().head.code, 5);
}

#[test]
fn header_that_is_not_utf8_is_mended() {
    let header = b"{\"code\":1,\"extFields\":{\"a\":\"\xff\",\"b\":\"2\"}}";
    let mut decoder = HeaderDecoder::new();
    let frame = RawFrame { encoding: Encoding::Json, header, body: &[] };
    let header = decoder.decode(frame).unwrap();
    assert_eq!(header.field("a"), Some("\u{fffd}"));
    assert_eq!(header.field("b"), Some("2"));
}

#[test]
fn frames_beyond_the_limit_are_taken_back() {
    let mut out = b"before".to_vec();
    let body = vec![0; crate::frame::FRAME_LEN_MAX];
    let error =
        encode::begin(&mut out, Encoding::Json, Head::response(0, 1), None).finish_with(&body).unwrap_err();
    assert!(error.len > crate::frame::FRAME_LEN_MAX);
    // A header that alone is too long, and whose length does not even fit its field.
    let remark = "r".repeat(9 * 1024 * 1024);
    for encoding in [Encoding::Json, Encoding::Binary] {
        let mut writer = encode::begin(&mut out, encoding, Head::response(0, 1), Some(&remark));
        writer.plain_with("a", |out| out.extend_from_slice(remark.as_bytes()));
        assert!(writer.finish().is_err());
    }
    assert_eq!(out, b"before");
}

#[test]
fn cancelled_frame_leaves_nothing() {
    let mut out = b"before".to_vec();
    let mut body = encode::begin(&mut out, Encoding::Binary, Head::response(0, 1), None).body();
    body.buffer().extend_from_slice(b"half a body");
    body.cancel();
    assert_eq!(out, b"before");
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-zA-Z0-9%_-]{0,12}", 1 => "[\u{0}-\u{2f}\\\\]{0,12}", 1 => ".{0,12}"]
}

prop_compose! {
    fn frame()(
        numbers in any::<(i16, i16, i32, i32)>(),
        language in 0u8..14,
        remark in prop::option::of(text()),
        fields in prop::collection::vec((text(), text()), 0..8),
        body in prop::collection::vec(any::<u8>(), 0..20),
    ) -> OwnedFrame {
        OwnedFrame {
            head: Head {
                code: i32::from(numbers.0),
                version: i32::from(numbers.1),
                opaque: numbers.2,
                flag: numbers.3,
                language: Language::from_code(language),
            },
            encoding: Encoding::Json,
            remark,
            fields,
            body: Bytes::from(body),
        }
    }
}

proptest! {
    #[test]
    fn roundtrip_json(frame in frame()) {
        prop_assert_eq!(decode_frame(&encode_frame(&frame, Encoding::Json)), frame);
    }

    #[test]
    fn roundtrip_binary(mut frame in frame()) {
        let bytes = encode_frame(&frame, Encoding::Binary);
        frame.encoding = Encoding::Binary;
        frame.remark = frame.remark.filter(|remark| !remark.is_empty());
        frame.fields.retain(|(name, value)| !name.is_empty() && !value.is_empty());
        prop_assert_eq!(decode_frame(&bytes), frame);
    }

    #[test]
    fn scan_equals_parser_on_our_frames(frame in frame()) {
        let bytes = encode_frame(&frame, Encoding::Json);
        let Split::Frame { frame, .. } = split(&bytes).unwrap() else { panic!() };
        let header = std::str::from_utf8(frame.header).unwrap();
        let scanned = scanned(header);
        // Numbers of more than nine digits are the parser's.
        if let Some(scanned) = scanned {
            prop_assert_eq!(Ok(scanned), parsed(header));
        } else {
            prop_assert!(header.bytes().filter(u8::is_ascii_digit).count() > 9);
        }
    }

    #[test]
    fn scan_equals_parser_on_damaged_frames(frame in frame(), at in any::<prop::sample::Index>(), byte in prop_oneof![Just('"'), Just('\\'), Just('{'), Just('}'), Just(','), Just(':'), Just('1'), Just(' '), any::<char>()]) {
        let bytes = encode_frame(&frame, Encoding::Json);
        let Split::Frame { frame, .. } = split(&bytes).unwrap() else { panic!() };
        let mut header: Vec<char> = std::str::from_utf8(frame.header).unwrap().chars().collect();
        let at = at.index(header.len());
        header[at] = byte;
        let header: String = header.into_iter().collect();
        if let Some(scanned) = scanned(&header) {
            prop_assert_eq!(Ok(scanned), parsed(&header));
        }
    }

    #[test]
    fn any_header_can_be_tried(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for encoding in [Encoding::Json, Encoding::Binary] {
            let _ = HeaderDecoder::new().decode(RawFrame { encoding, header: &bytes, body: &[] });
        }
    }

    #[test]
    fn any_jsonish_header_can_be_tried(text in "[{}\\[\\],:'\"\\\\/*a-c0-2 \u{1}]{0,60}") {
        if let Some(scanned) = scanned(&text) {
            prop_assert_eq!(Ok(scanned), parsed(&text));
        } else {
            let _ = parsed(&text);
        }
    }
}
