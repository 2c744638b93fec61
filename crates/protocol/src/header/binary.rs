//! The ROCKETMQ header (`RocketMQSerializable`).
//!
//! | size | field |
//! |---|---|
//! | 2 | code, signed: larger codes arrive truncated, as with Java |
//! | 1 | language |
//! | 2 | version |
//! | 4 | opaque |
//! | 4 | flag |
//! | 4 + n | remark; length 0 stands for none |
//! | 4 + n | ext fields: repeated 2-byte key length, key, 4-byte value length, value |
//!
//! An empty value arrives as null, that is, absent; so does anything with an empty key.

use super::{Decoded, Head, HeaderError, Language};
use crate::json::text::Piece;

pub(crate) fn decode(
    header: &[u8],
    scratch: &mut String,
    fields: &mut Vec<(Piece, Piece)>,
) -> Result<Decoded, HeaderError> {
    let mut reader = Reader { bytes: header, at: 0 };
    let code = i32::from(i16::from_be_bytes(reader.chunk("code")?));
    let [language] = reader.chunk("language")?;
    let version = i32::from(i16::from_be_bytes(reader.chunk("version")?));
    let opaque = i32::from_be_bytes(reader.chunk("opaque")?);
    let flag = i32::from_be_bytes(reader.chunk("flag")?);
    let remark = reader.long_string("remark length")?;
    let remark = (!remark.is_empty()).then(|| push(scratch, remark));
    let ext = reader.long_string("length of the ext fields")?;
    let mut ext = Reader { bytes: ext, at: 0 };
    while ext.at < ext.bytes.len() {
        let key_len = i16::from_be_bytes(ext.chunk("key length")?);
        let key = ext.slice(usize::try_from(key_len).ok(), "key length")?;
        let value = ext.long_string("value length")?;
        if !key.is_empty() && !value.is_empty() {
            let key = push(scratch, key);
            fields.push((key, push(scratch, value)));
        }
    }
    let head = Head { code, language: Language::from_code(language), version, opaque, flag };
    Ok(Decoded { head, remark })
}

fn push(scratch: &mut String, bytes: &[u8]) -> Piece {
    let start = scratch.len();
    match std::str::from_utf8(bytes) {
        Ok(text) => scratch.push_str(text),
        Err(_) => scratch.push_str(&String::from_utf8_lossy(bytes)),
    }
    Piece::scratch(start, scratch.len())
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn slice(&mut self, len: Option<usize>, what: &'static str) -> Result<&'a [u8], HeaderError> {
        let end = len.and_then(|len| self.at.checked_add(len));
        let slice = end.and_then(|end| self.bytes.get(self.at..end));
        let slice = slice.ok_or(HeaderError::Binary { at: self.at, what })?;
        self.at += slice.len();
        Ok(slice)
    }

    fn chunk<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], HeaderError> {
        let mut chunk = [0; N];
        chunk.copy_from_slice(self.slice(Some(N), what)?);
        Ok(chunk)
    }

    /// A string with a four-byte length. What would lead beyond the section is an error.
    fn long_string(&mut self, what: &'static str) -> Result<&'a [u8], HeaderError> {
        let len = i32::from_be_bytes(self.chunk(what)?);
        self.slice(usize::try_from(len).ok(), what)
    }
}
