//! Frame headers: one reusable decoder for both encodings, a borrowed and an owned form.
//!
//! Reading a header allocates nothing in the steady state: fields are ranges of the header bytes or, when they had
//! escapes, of the decoder's scratch buffer. JSON as clients write it is scanned by hand; anything else goes through
//! the tolerant parser, and tests hold that both give the same.

pub(crate) mod binary;
pub(crate) mod declare;
pub(crate) mod json;

use bytes::Bytes;
use thiserror::Error;

pub use self::declare::{FieldError, FieldName, FieldSink, Header};
use crate::frame::{Encoding, RawFrame};
use crate::json::text::Piece;
use crate::version;

/// Bit of `flag`: this is a response.
pub const FLAG_RESPONSE: i32 = 1;
/// Bit of `flag`: no response is wanted.
pub const FLAG_ONEWAY: i32 = 2;

/// Buffers that grew beyond this are given back after the frame that needed them.
const KEPT_CAPACITY: usize = 64 * 1024;

/// Implementation language of the sender (`LanguageCode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Language {
    Java = 0,
    Cpp = 1,
    DotNet = 2,
    Python = 3,
    Delphi = 4,
    Erlang = 5,
    Ruby = 6,
    /// Also any name or number we do not know.
    #[default]
    Other = 7,
    Http = 8,
    Go = 9,
    Php = 10,
    Oms = 11,
    Rust = 12,
    NodeJs = 13,
}

impl Language {
    const TABLE: [(Language, &'static str); 14] = [
        (Language::Java, "JAVA"),
        (Language::Cpp, "CPP"),
        (Language::DotNet, "DOTNET"),
        (Language::Python, "PYTHON"),
        (Language::Delphi, "DELPHI"),
        (Language::Erlang, "ERLANG"),
        (Language::Ruby, "RUBY"),
        (Language::Other, "OTHER"),
        (Language::Http, "HTTP"),
        (Language::Go, "GO"),
        (Language::Php, "PHP"),
        (Language::Oms, "OMS"),
        (Language::Rust, "RUST"),
        (Language::NodeJs, "NODE_JS"),
    ];

    /// Java's enum name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::TABLE[self as usize].1
    }

    /// By enum name.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self::TABLE.iter().find(|(_, known)| *known == name).map_or(Self::Other, |(language, _)| *language)
    }

    /// By number.
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        Self::TABLE.get(usize::from(code)).map_or(Self::Other, |(language, _)| *language)
    }
}

/// The fixed part of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Head {
    /// Request or response code.
    pub code: i32,
    /// Language of the sender.
    pub language: Language,
    /// Version of the sender, see [`version`].
    pub version: i32,
    /// Matches a response to its request, per connection and direction.
    pub opaque: i32,
    /// Bits [`FLAG_RESPONSE`] and [`FLAG_ONEWAY`].
    pub flag: i32,
}

impl Head {
    /// A request in our version. We say Java, since old clients know no other server.
    #[must_use]
    pub fn request(code: i32, opaque: i32) -> Self {
        Self { code, language: Language::Java, version: version::CURRENT, opaque, flag: 0 }
    }

    /// A request that wants no response.
    #[must_use]
    pub fn oneway(code: i32, opaque: i32) -> Self {
        Self { flag: FLAG_ONEWAY, ..Self::request(code, opaque) }
    }

    /// A response to the request with this `opaque`.
    #[must_use]
    pub fn response(code: i32, opaque: i32) -> Self {
        Self { flag: FLAG_RESPONSE, ..Self::request(code, opaque) }
    }

    /// Whether this is a response.
    #[must_use]
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether no response is wanted.
    #[must_use]
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }
}

/// The header cannot be read; the connection must be closed without an answer, as Java does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Not a JSON object, even tolerantly read.
    #[error("JSON header: {what} at byte {at}")]
    Json {
        /// Byte of the header.
        at: usize,
        /// What was wrong there.
        what: &'static str,
    },
    /// A number of the fixed part is no 32-bit integer.
    #[error("JSON header: field {0} is not an integer")]
    Number(&'static str),
    /// A length leads out of its section.
    #[error("binary header: {what} at byte {at}")]
    Binary {
        /// Byte of the header.
        at: usize,
        /// What was wrong there.
        what: &'static str,
    },
}

/// Decodes headers; keeps its buffers between frames. One per connection.
#[derive(Debug, Default)]
pub struct HeaderDecoder {
    /// Strings that had escapes, and everything of a binary header.
    scratch: String,
    /// The header itself where it was not UTF-8 and had to be mended.
    mended: String,
    fields: Vec<(Piece, Piece)>,
}

impl HeaderDecoder {
    /// A decoder without buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes the header of `frame`.
    ///
    /// # Errors
    /// If it cannot be read; the connection must then be closed.
    pub fn decode<'a>(&'a mut self, frame: RawFrame<'a>) -> Result<HeaderRef<'a>, HeaderError> {
        self.clear();
        match frame.encoding {
            Encoding::Json => {
                let text = match std::str::from_utf8(frame.header) {
                    Ok(text) => text,
                    Err(_) => {
                        self.mended.push_str(&String::from_utf8_lossy(frame.header));
                        &self.mended
                    }
                };
                let decoded = json::decode(text, &mut self.scratch, &mut self.fields)?;
                Ok(HeaderRef {
                    head: decoded.head,
                    encoding: frame.encoding,
                    remark: decoded.remark,
                    text,
                    scratch: &self.scratch,
                    fields: &self.fields,
                })
            }
            Encoding::Binary => {
                let decoded = binary::decode(frame.header, &mut self.scratch, &mut self.fields)?;
                Ok(HeaderRef {
                    head: decoded.head,
                    encoding: frame.encoding,
                    remark: decoded.remark,
                    text: "",
                    scratch: &self.scratch,
                    fields: &self.fields,
                })
            }
        }
    }

    fn clear(&mut self) {
        self.scratch.clear();
        self.mended.clear();
        self.fields.clear();
        self.scratch.shrink_to(KEPT_CAPACITY);
        self.mended.shrink_to(KEPT_CAPACITY);
        self.fields.shrink_to(KEPT_CAPACITY / size_of::<(Piece, Piece)>());
    }
}

/// For the fuzz target: false if the scan reads this JSON header and the parser reads something else.
#[doc(hidden)]
#[must_use]
pub fn scan_agrees_with_parser(text: &str) -> bool {
    type Codec = fn(&str, &mut String, &mut Vec<(Piece, Piece)>) -> Option<Decoded>;
    let read = |codec: Codec| {
        let (mut scratch, mut fields) = (String::new(), Vec::new());
        let decoded = codec(text, &mut scratch, &mut fields)?;
        let resolve = |piece: Piece| piece.resolve(text, &scratch).to_owned();
        let fields: Vec<_> = fields.iter().map(|&(name, value)| (resolve(name), resolve(value))).collect();
        Some((decoded.head, decoded.remark.map(resolve), fields))
    };
    let scanned = read(json::scan);
    scanned.is_none() || scanned == read(|text, scratch, fields| json::parse(text, scratch, fields).ok())
}

/// What either codec found; strings are pieces of the header text or of the scratch buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) head: Head,
    pub(crate) remark: Option<Piece>,
}

/// A decoded header; its strings live in the read buffer and in the decoder.
#[derive(Clone, Copy, Debug)]
pub struct HeaderRef<'a> {
    /// The fixed part.
    pub head: Head,
    /// How the header was written; a response should be written the same way.
    pub encoding: Encoding,
    remark: Option<Piece>,
    text: &'a str,
    scratch: &'a str,
    fields: &'a [(Piece, Piece)],
}

impl std::ops::Deref for HeaderRef<'_> {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.head
    }
}

impl<'a> HeaderRef<'a> {
    fn resolve(&self, piece: Piece) -> &'a str {
        piece.resolve(self.text, self.scratch)
    }

    /// The remark, if there is one.
    #[must_use]
    pub fn remark(&self) -> Option<&'a str> {
        self.remark.map(|remark| self.resolve(remark))
    }

    /// The ext fields in the order they came; equal names may repeat, the last one counts.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let header = *self;
        header.fields.iter().map(move |&(name, value)| (header.resolve(name), header.resolve(value)))
    }

    /// The value of one ext field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'a str> {
        let found = self.fields.iter().rev().find(|(key, _)| self.resolve(*key) == name);
        found.map(|&(_, value)| self.resolve(value))
    }

    /// Reads the ext fields as the typed header `H`.
    ///
    /// # Errors
    /// If a required field is missing or, in the headers where Java refuses that, a number cannot be read.
    pub fn read<H: Header<'a>>(&self) -> Result<H, FieldError> {
        H::decode(self.fields())
    }

    /// Copies header and body out of the read buffer.
    #[must_use]
    pub fn to_owned(&self, body: Bytes) -> OwnedFrame {
        OwnedFrame {
            head: self.head,
            encoding: self.encoding,
            remark: self.remark().map(str::to_owned),
            fields: self.fields().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body,
        }
    }
}

/// A frame that outlives the read buffer.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct OwnedFrame {
    /// The fixed part of the header.
    pub head: Head,
    /// How the header was written.
    pub encoding: Encoding,
    /// The remark, if there is one.
    pub remark: Option<String>,
    /// The ext fields in the order they came.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl std::ops::Deref for OwnedFrame {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.head
    }
}

impl OwnedFrame {
    /// The ext fields in the order they came; equal names may repeat, the last one counts.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of one ext field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Reads the ext fields as the typed header `H`.
    ///
    /// # Errors
    /// As [`HeaderRef::read`].
    pub fn read<'a, H: Header<'a>>(&'a self) -> Result<H, FieldError> {
        H::decode(self.fields())
    }
}

#[cfg(test)]
mod tests;
