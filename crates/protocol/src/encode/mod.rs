//! Writes frames into a caller's buffer: head, ext fields, body, in this order, without allocating.
//!
//! [`begin`] appends the start of a frame, [`HeaderWriter`] takes the ext fields, [`BodyWriter`] lets the caller append
//! the body to the same buffer. Lengths are patched at the end. A frame that would exceed the protocol's limit is
//! taken back whole, so that the buffer never holds half a frame.
//!
//! ```
//! use ferromq_protocol::{encode, frame::Encoding, header::Head};
//!
//! let mut out = Vec::new();
//! let mut header = encode::begin(&mut out, Encoding::Json, Head::response(0, 7), None);
//! header.integer("offset", 5);
//! header.finish_with(b"body").unwrap();
//! assert!(out.ends_with(b"body"));
//! ```

mod sent;

use thiserror::Error;

pub use self::sent::{Sent, sent};
use crate::frame::{Encoding, FRAME_LEN_MAX, PREFIX_LEN};
use crate::header::{FieldName, FieldSink, Head, Header};
use crate::json::text;

/// The frame exceeds what a peer accepts; nothing of it is left in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a frame of {len} bytes exceeds the limit of {FRAME_LEN_MAX}")]
pub struct FrameTooLong {
    /// Length the frame would have had, its length field included.
    pub len: usize,
}

/// Starts a frame at the end of `out`.
pub fn begin<'a>(
    out: &'a mut Vec<u8>,
    encoding: Encoding,
    head: Head,
    remark: Option<&'a str>,
) -> HeaderWriter<'a> {
    let start = out.len();
    out.reserve(512);
    out.extend_from_slice(&[0; PREFIX_LEN]);
    let mut writer = HeaderWriter { out, start, encoding, head, remark, ext_at: 0, value_at: 0 };
    match encoding {
        Encoding::Json => {
            writer.out.extend_from_slice(b"{\"code\":");
            writer.push_integer(i64::from(head.code));
            writer.out.push(b',');
        }
        Encoding::Binary => {
            // Codes and versions beyond 16 bits lose their upper half, as with Java.
            writer.out.extend_from_slice(&low_half(head.code));
            writer.out.push(head.language as u8);
            writer.out.extend_from_slice(&low_half(head.version));
            writer.out.extend_from_slice(&head.opaque.to_be_bytes());
            writer.out.extend_from_slice(&head.flag.to_be_bytes());
            let remark = remark.unwrap_or_default();
            writer.out.extend_from_slice(&length(remark.len()));
            writer.out.extend_from_slice(remark.as_bytes());
            writer.ext_at = writer.out.len();
            writer.out.extend_from_slice(&[0; 4]);
        }
    }
    writer
}

fn low_half(number: i32) -> [u8; 2] {
    let [_, _, high, low] = number.to_be_bytes();
    [high, low]
}

/// A length field. What does not fit is far beyond the frame limit, which is checked at the end.
fn length(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes()
}

/// Takes the ext fields of a frame. Dropping it without finishing leaves garbage in the buffer.
#[derive(Debug)]
#[must_use = "the frame is not complete"]
pub struct HeaderWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    encoding: Encoding,
    head: Head,
    remark: Option<&'a str>,
    /// Where the ext section begins; 0 while a JSON header has none.
    ext_at: usize,
    /// Where the value of the current binary field begins.
    value_at: usize,
}

impl<'a> HeaderWriter<'a> {
    /// All fields of a typed header.
    pub fn header<'h>(&mut self, header: &impl Header<'h>) {
        header.encode(self);
    }

    /// A text field.
    pub fn text(&mut self, name: &str, value: &str) {
        if self.open(name) {
            self.push_text(value);
            self.close_field();
        }
    }

    /// A number, in decimal.
    pub fn integer(&mut self, name: &str, value: i64) {
        if self.open(name) {
            self.push_integer(value);
            self.close_field();
        }
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, name: &str, value: bool) {
        self.text(name, if value { "true" } else { "false" });
    }

    /// A value that `write` appends piece by piece. It must append UTF-8 that JSON need not escape: ids, digits,
    /// commas.
    pub fn plain_with(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        if self.open(name) {
            write(self.out);
            self.close_field();
        }
    }

    /// Starts a field of any name; false if the name cannot be written.
    fn open(&mut self, name: &str) -> bool {
        match self.encoding {
            Encoding::Json => {
                self.separate();
                text::push_quoted(self.out, name);
                self.out.extend_from_slice(b":\"");
            }
            // A relayed field may have any name; one that cannot be written cannot be meant for anybody.
            Encoding::Binary if i16::try_from(name.len()).is_err() => return false,
            Encoding::Binary => self.open_binary(name),
        }
        true
    }

    /// Starts a declared field.
    #[inline]
    fn open_declared(&mut self, name: FieldName) {
        match self.encoding {
            Encoding::Json => {
                self.separate();
                self.out.extend_from_slice(name.json_key().as_bytes());
            }
            Encoding::Binary => self.open_binary(name.as_str()),
        }
    }

    #[inline]
    fn separate(&mut self) {
        if self.ext_at == 0 {
            self.ext_at = self.out.len();
            self.out.extend_from_slice(b"\"extFields\":{");
        } else {
            self.out.push(b',');
        }
    }

    #[inline]
    fn open_binary(&mut self, name: &str) {
        let [_, _, high, low] = length(name.len());
        self.out.extend_from_slice(&[high, low]);
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(&[0; 4]);
        self.value_at = self.out.len();
    }

    #[inline]
    fn push_text(&mut self, value: &str) {
        match self.encoding {
            Encoding::Json => text::push_escaped(self.out, value),
            Encoding::Binary => self.out.extend_from_slice(value.as_bytes()),
        }
    }

    /// Ends the field that was started last.
    #[inline]
    fn close_field(&mut self) {
        match self.encoding {
            Encoding::Json => self.out.push(b'"'),
            Encoding::Binary => {
                let value_len = length(self.out.len() - self.value_at);
                self.out[self.value_at - 4..self.value_at].copy_from_slice(&value_len);
            }
        }
    }

    #[inline]
    fn push_integer(&mut self, value: i64) {
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// Ends the header and goes on to the body.
    pub fn body(mut self) -> BodyWriter<'a> {
        self.close();
        BodyWriter { out: self.out, start: self.start }
    }

    /// Ends a frame without a body. Returns its length.
    ///
    /// # Errors
    /// If the frame is too long.
    pub fn finish(self) -> Result<usize, FrameTooLong> {
        self.body().finish()
    }

    /// Ends a frame with this body. Returns its length.
    ///
    /// # Errors
    /// If the frame is too long.
    pub fn finish_with(self, body: &[u8]) -> Result<usize, FrameTooLong> {
        let writer = self.body();
        writer.out.extend_from_slice(body);
        writer.finish()
    }

    fn close(&mut self) {
        match self.encoding {
            Encoding::Json => {
                // Alphabetical like Java's, whose parser is fastest that way.
                self.out.extend_from_slice(if self.ext_at == 0 { b"\"flag\":" } else { b"},\"flag\":" });
                self.push_integer(i64::from(self.head.flag));
                self.out.extend_from_slice(b",\"language\":\"");
                self.out.extend_from_slice(self.head.language.name().as_bytes());
                self.out.extend_from_slice(b"\",\"opaque\":");
                self.push_integer(i64::from(self.head.opaque));
                if let Some(remark) = self.remark {
                    self.out.extend_from_slice(b",\"remark\":");
                    text::push_quoted(self.out, remark);
                }
                self.out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
                self.push_integer(i64::from(self.head.version));
                self.out.push(b'}');
            }
            Encoding::Binary => {
                let ext_len = length(self.out.len() - self.ext_at - 4);
                self.out[self.ext_at..self.ext_at + 4].copy_from_slice(&ext_len);
            }
        }
        let header_len = self.out.len() - self.start - PREFIX_LEN;
        mark_header(self.out, self.start, self.encoding, header_len);
    }
}

/// Writes encoding and header length. A header beyond 24 bits makes the frame too long as well, which is found later.
fn mark_header(out: &mut [u8], start: usize, encoding: Encoding, header_len: usize) {
    let mut mark = length(header_len);
    mark[0] = encoding as u8;
    out[start + 4..start + 8].copy_from_slice(&mark);
}

/// Writes the length of the frame that begins at `start`, or takes it back if it is too long.
fn mark_frame(out: &mut Vec<u8>, start: usize) -> Result<usize, FrameTooLong> {
    let len = out.len() - start;
    if len > FRAME_LEN_MAX {
        out.truncate(start);
        return Err(FrameTooLong { len });
    }
    out[start..start + 4].copy_from_slice(&length(len - 4));
    Ok(len)
}

impl FieldSink for HeaderWriter<'_> {
    fn text(&mut self, name: FieldName, value: &str) {
        self.open_declared(name);
        self.push_text(value);
        self.close_field();
    }

    fn integer(&mut self, name: FieldName, value: i64) {
        self.open_declared(name);
        self.push_integer(value);
        self.close_field();
    }

    fn boolean(&mut self, name: FieldName, value: bool) {
        FieldSink::text(self, name, if value { "true" } else { "false" });
    }
}

/// The body of a frame: whatever is appended to [`BodyWriter::buffer`] before [`BodyWriter::finish`].
#[derive(Debug)]
#[must_use = "the frame is not complete"]
pub struct BodyWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl BodyWriter<'_> {
    /// The buffer that holds the frame so far; only append to it.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Ends the frame. Returns its length.
    ///
    /// # Errors
    /// If the frame is too long; it is taken back.
    pub fn finish(self) -> Result<usize, FrameTooLong> {
        mark_frame(self.out, self.start)
    }

    /// Takes the whole frame back, as if it had never been begun.
    pub fn cancel(self) {
        self.out.truncate(self.start);
    }
}
