//! The recorded frames of Java, see `golden/README.txt`.

use std::collections::HashMap;
use std::io::Read;

use bytes::Bytes;
use ferromq_protocol::frame::{Split, split};
use ferromq_protocol::header::{HeaderDecoder, OwnedFrame};

/// One frame on its way between two Java programs.
pub(crate) struct Recorded {
    /// Program and header serialisation.
    pub(crate) scenario: String,
    /// The frame.
    #[allow(dead_code, reason = "not every test looks at it")]
    pub(crate) bytes: Vec<u8>,
    /// The frame, decoded.
    pub(crate) frame: OwnedFrame,
    /// Code of the request, for a response too; -1 if the request was not kept.
    pub(crate) request_code: i32,
}

/// All recorded frames, in order.
pub(crate) fn recorded() -> Vec<Recorded> {
    let mut all = Vec::new();
    flate2::read::ZlibDecoder::new(&include_bytes!("../golden/frames-5.5.0.zlib")[..])
        .read_to_end(&mut all)
        .unwrap();
    let mut rest = &all[..];
    let mut decoder = HeaderDecoder::new();
    let mut open = HashMap::new();
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let line_len = rest.iter().position(|&byte| byte == b'\n').unwrap();
        let line = std::str::from_utf8(&rest[..line_len]).unwrap();
        let [scenario, connection, _peer, direction, len] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let end = line_len + 1 + len.parse::<usize>().unwrap();
        let bytes = rest[line_len + 1..end].to_vec();
        rest = &rest[end..];

        let Split::Frame { frame, consumed } = split(&bytes).unwrap() else { panic!("{line}: incomplete") };
        assert_eq!(consumed, bytes.len(), "{line}");
        let frame = decoder.decode(frame).unwrap().to_owned(Bytes::copy_from_slice(frame.body));
        let to_server = direction == "c2s";
        let request_code = if frame.is_response() {
            open.get(&(scenario.to_owned(), connection.to_owned(), !to_server, frame.opaque))
                .copied()
                .unwrap_or(-1)
        } else {
            open.insert((scenario.to_owned(), connection.to_owned(), to_server, frame.opaque), frame.code);
            frame.code
        };
        frames.push(Recorded { scenario: scenario.to_owned(), bytes, frame, request_code });
    }
    frames
}
