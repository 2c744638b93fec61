//! Cuts a byte stream into frames.
//!
//! | offset | size | content |
//! |---|---|---|
//! | 0 | 4 | number of bytes that follow: 4 + header + body |
//! | 4 | 1 | encoding of the header: 0 JSON, 1 ROCKETMQ (binary) |
//! | 5 | 3 | header length |
//! | 8 | header length | header |
//! | … | the rest | body, possibly empty |
//!
//! Lengths are judged as soon as they can be read, before anything is waited for or allocated.

use thiserror::Error;

/// Largest frame, its own length field included (Java: `com.rocketmq.remoting.frameMaxLength`).
pub const FRAME_LEN_MAX: usize = 16 * 1024 * 1024;

/// Bytes before the header: the length field, the encoding and the header length.
pub const PREFIX_LEN: usize = 8;

/// How the header of a frame is written (`SerializeType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Encoding {
    /// A JSON object.
    #[default]
    Json = 0,
    /// Java's `RocketMQSerializable`.
    Binary = 1,
}

/// One frame as it lies in the read buffer; the header is not decoded yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFrame<'a> {
    /// How `header` is written.
    pub encoding: Encoding,
    /// Header bytes.
    pub header: &'a [u8],
    /// Body bytes; empty stands for Java's null body.
    pub body: &'a [u8],
}

/// What the front of a read buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split<'a> {
    /// No complete frame yet. The frame ends no earlier than `at_least` bytes from the start of the buffer.
    Incomplete {
        /// Length the buffer must reach before another try can give more.
        at_least: usize,
    },
    /// A complete frame; the next one starts `consumed` bytes further on.
    Frame {
        /// The frame.
        frame: RawFrame<'a>,
        /// Bytes it occupied.
        consumed: usize,
    },
}

/// The stream is broken: nothing after this point can be trusted, the connection must be closed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The length field is negative or cannot even hold the header length.
    #[error("frame length {0} is impossible")]
    Length(i32),
    /// The frame is longer than [`FRAME_LEN_MAX`].
    #[error("frame of {0} bytes exceeds the limit of {FRAME_LEN_MAX}")]
    TooLong(usize),
    /// The header does not fit into its frame.
    #[error("header of {header} bytes in a frame with room for {room}")]
    HeaderTooLong {
        /// Announced header length.
        header: usize,
        /// What the frame leaves for header and body.
        room: usize,
    },
    /// The encoding byte is neither JSON nor ROCKETMQ.
    #[error("unknown header encoding {0}")]
    Encoding(u8),
}

/// Looks for one frame at the start of `buffer`.
///
/// # Errors
/// See [`FrameError`]; all of them end the connection.
pub fn split(buffer: &[u8]) -> Result<Split<'_>, FrameError> {
    let Some((length, rest)) = buffer.split_first_chunk::<4>() else {
        return Ok(Split::Incomplete { at_least: PREFIX_LEN });
    };
    let length = i32::from_be_bytes(*length);
    let follows = match usize::try_from(length) {
        Ok(follows) if follows >= 4 => follows,
        _ => return Err(FrameError::Length(length)),
    };
    let whole = follows + 4;
    if whole > FRAME_LEN_MAX {
        return Err(FrameError::TooLong(whole));
    }
    let Some(([encoding, high, middle, low], rest)) = rest.split_first_chunk::<4>() else {
        return Ok(Split::Incomplete { at_least: whole });
    };
    let encoding = match encoding {
        0 => Encoding::Json,
        1 => Encoding::Binary,
        &other => return Err(FrameError::Encoding(other)),
    };
    let header_len = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
    let room = follows - 4;
    if header_len > room {
        return Err(FrameError::HeaderTooLong { header: header_len, room });
    }
    let Some(content) = rest.get(..room) else {
        return Ok(Split::Incomplete { at_least: whole });
    };
    let (header, body) = content.split_at(header_len);
    Ok(Split::Frame { frame: RawFrame { encoding, header, body }, consumed: whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(encoding: u8, header: &[u8], body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&u32::try_from(4 + header.len() + body.len()).unwrap().to_be_bytes());
        let mut header_len = u32::try_from(header.len()).unwrap().to_be_bytes();
        header_len[0] = encoding;
        out.extend_from_slice(&header_len);
        out.extend_from_slice(header);
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn every_prefix_is_incomplete() {
        let bytes = frame(0, b"{}", b"body");
        for len in 0..bytes.len() {
            let Split::Incomplete { at_least } = split(&bytes[..len]).unwrap() else {
                panic!("a frame out of {len} of {} bytes", bytes.len());
            };
            assert!(at_least > len && at_least <= bytes.len());
        }
    }

    #[test]
    fn two_frames_in_one_buffer() {
        let mut bytes = frame(0, b"{}", b"one");
        let first_len = bytes.len();
        bytes.extend(frame(1, b"xx", b""));
        let Split::Frame { frame, consumed } = split(&bytes).unwrap() else { panic!() };
        assert_eq!((frame.encoding, frame.header, frame.body), (Encoding::Json, &b"{}"[..], &b"one"[..]));
        assert_eq!(consumed, first_len);
        let Split::Frame { frame, consumed } = split(&bytes[consumed..]).unwrap() else { panic!() };
        assert_eq!((frame.encoding, frame.header, frame.body), (Encoding::Binary, &b"xx"[..], &b""[..]));
        assert_eq!(consumed, bytes.len() - first_len);
    }

    #[test]
    fn rejects_absurd_lengths_at_once() {
        assert_eq!(split(&[0xff; 4]), Err(FrameError::Length(-1)));
        assert_eq!(split(&[0, 0, 0, 3]), Err(FrameError::Length(3)));
        assert_eq!(split(&[0x7f, 0xff, 0xff, 0xff]), Err(FrameError::TooLong(0x8000_0003)));
        // The limit counts the length field: 16 MiB - 4 that follow are still allowed.
        assert_eq!(split(&[0, 0xff, 0xff, 0xfd]), Err(FrameError::TooLong(FRAME_LEN_MAX + 1)));
        assert!(split(&[0, 0xff, 0xff, 0xfc]).is_ok());
        assert_eq!(split(&[0, 0, 0, 8, 0, 0, 0, 5]), Err(FrameError::HeaderTooLong { header: 5, room: 4 }));
        assert_eq!(split(&[0, 0, 0, 8, 2, 0, 0, 4]), Err(FrameError::Encoding(2)));
    }
}
