//! The inside of JSON strings: finding their end, undoing and making escapes.

use std::ops::Range;

/// Position of the first `"` or `\` at or after `at`.
///
/// Most strings of a header are shorter than sixteen bytes, so this looks at eight bytes at a time without any setup.
#[inline]
pub(crate) fn find_special(bytes: &[u8], at: usize) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // Sets the high bit of every zero byte; bits above the lowest zero byte may be wrong, which does not matter.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut at = at;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let found = zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    let tail = bytes.get(at..)?;
    tail.iter().position(|byte| matches!(byte, b'"' | b'\\')).map(|offset| at + offset)
}

/// Why an escape cannot be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadEscape;

/// Undoes the escape whose backslash is at `at`, appends the character to `out` and returns where the text goes on.
/// A surrogate without its other half becomes U+FFFD.
pub(crate) fn unescape(text: &str, at: usize, out: &mut String) -> Result<usize, BadEscape> {
    let bytes = text.as_bytes();
    let kind = *bytes.get(at + 1).ok_or(BadEscape)?;
    let simple = match kind {
        b'"' | b'\\' | b'/' | b'\'' => char::from(kind),
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' | b'F' => '\u{c}',
        b'v' => '\u{b}',
        b'0'..=b'7' => char::from(kind - b'0'),
        b'x' => {
            let code = hex(bytes, at + 2, 2)?;
            out.push(char::from_u32(code).ok_or(BadEscape)?);
            return Ok(at + 4);
        }
        b'u' => {
            let code = hex(bytes, at + 2, 4)?;
            let next = at + 6;
            if let Some(character) = char::from_u32(code) {
                out.push(character);
                return Ok(next);
            }
            let low =
                if bytes.get(next..next + 2) == Some(br"\u") { hex(bytes, next + 2, 4).ok() } else { None };
            let pair = low.filter(|low| code < 0xdc00 && (0xdc00..0xe000).contains(low));
            let whole =
                pair.and_then(|low| char::from_u32(0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)));
            out.push(whole.unwrap_or(char::REPLACEMENT_CHARACTER));
            return Ok(if whole.is_some() { next + 6 } else { next });
        }
        _ => return Err(BadEscape),
    };
    out.push(simple);
    Ok(at + 2)
}

fn hex(bytes: &[u8], at: usize, digits: usize) -> Result<u32, BadEscape> {
    let mut code = 0;
    for &digit in bytes.get(at..at + digits).ok_or(BadEscape)? {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return Err(BadEscape),
        };
        code = code << 4 | u32::from(value);
    }
    Ok(code)
}

/// Appends `text` between quotes to `out`, escaping what must be; everything else, non-ASCII included, goes as it is.
pub(crate) fn push_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text);
    out.push(b'"');
}

/// [`push_quoted`] without the quotes.
#[inline]
pub(crate) fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(at) = find_escape(rest) {
        out.extend_from_slice(&rest[..at]);
        push_escape(out, rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Position of the first byte that must be escaped.
#[inline]
fn find_escape(bytes: &[u8]) -> Option<usize> {
    let must_escape = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    // Whole chunks first, without a branch per byte; most texts have nothing to escape.
    let mut at = 0;
    for chunk in bytes.chunks_exact(16) {
        if chunk.iter().fold(false, |found, &byte| found | must_escape(byte)) {
            break;
        }
        at += 16;
    }
    bytes[at..].iter().position(|&byte| must_escape(byte)).map(|offset| at + offset)
}

#[cold]
fn push_escape(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    let short = match byte {
        b'\n' => b'n',
        b'\t' => b't',
        b'\r' => b'r',
        8 => b'b',
        12 => b'f',
        b'"' | b'\\' => byte,
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Where a string lies: in the source text, if it needs no unescaping, or in a scratch buffer.
///
/// One word, because headers have dozens of these and a pair in memory costs a stalled load each: the start in the
/// lower half, the end in the upper one, whose highest bit tells that the scratch buffer is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece(u64);

const IN_SCRATCH: u64 = 1 << 63;
const POSITION_MAX: u64 = (1 << 31) - 1;

impl Piece {
    /// A range of the source text. Texts are far shorter than 2 GiB; what lies beyond reads as empty.
    #[inline]
    pub(crate) fn source(start: usize, end: usize) -> Self {
        Self((start as u64).min(POSITION_MAX) | (end as u64).min(POSITION_MAX) << 32)
    }

    /// A range of the scratch buffer.
    #[inline]
    pub(crate) fn scratch(start: usize, end: usize) -> Self {
        Self(Self::source(start, end).0 | IN_SCRATCH)
    }

    /// The text, given the source and the scratch buffer the piece was read with.
    #[inline]
    pub(crate) fn resolve<'a>(self, source: &'a str, scratch: &'a str) -> &'a str {
        let text = if self.0 & IN_SCRATCH == 0 { source } else { scratch };
        let (start, end) = (self.0 & POSITION_MAX, self.0 >> 32 & POSITION_MAX);
        // Positions came from `usize` values, so the casts lose nothing.
        text.get(start as usize..end as usize).unwrap_or_default()
    }
}

/// Reads a string from just behind its opening quote `quote`. Returns the string and where the text goes on.
/// Escapes are undone into `scratch`; a string without any is only located.
#[inline]
pub(crate) fn read_string(
    text: &str,
    at: usize,
    quote: u8,
    scratch: &mut String,
) -> Result<(Piece, usize), BadString> {
    let bytes = text.as_bytes();
    let start = at;
    let mut run = start..next_special(bytes, start, quote)?;
    if bytes[run.end] == quote {
        return Ok((Piece::source(start, run.end), run.end + 1));
    }
    let scratch_start = scratch.len();
    loop {
        scratch.push_str(slice(text, run.clone()));
        if bytes[run.end] == quote {
            return Ok((Piece::scratch(scratch_start, scratch.len()), run.end + 1));
        }
        // By far the most common: the separators of properties.
        let next = if let Some(b"\\u0001") = bytes.get(run.end..run.end + 6) {
            scratch.push('\u{1}');
            run.end + 6
        } else if let Some(b"\\u0002") = bytes.get(run.end..run.end + 6) {
            scratch.push('\u{2}');
            run.end + 6
        } else {
            unescape(text, run.end, scratch).map_err(|BadEscape| BadString { at: run.end })?
        };
        run = next..next_special(bytes, next, quote)?;
    }
}

/// A string without an end or with an impossible escape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadString {
    pub(crate) at: usize,
}

#[inline]
fn next_special(bytes: &[u8], at: usize, quote: u8) -> Result<usize, BadString> {
    let found = if quote == b'"' {
        find_special(bytes, at)
    } else {
        let is_special = |byte: &u8| *byte == quote || *byte == b'\\';
        bytes.get(at..).and_then(|rest| rest.iter().position(is_special)).map(|offset| at + offset)
    };
    found.ok_or(BadString { at })
}

/// A range whose ends lie beside ASCII characters, so that it cannot split one.
fn slice(text: &str, range: Range<usize>) -> &str {
    text.get(range).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<String, BadString> {
        let mut scratch = String::new();
        let (piece, end) = read_string(text, 0, b'"', &mut scratch)?;
        assert_eq!(text.as_bytes()[end - 1], b'"');
        Ok(piece.resolve(text, &scratch).to_owned())
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(read(r#"TAGS\u0001TagA\u0002" "#).unwrap(), "TAGS\u{1}TagA\u{2}");
        assert_eq!(read(r#"\"\\\/\b\f\n\r\t\'\x41\0""#).unwrap(), "\"\\/\u{8}\u{c}\n\r\t'A\0");
        assert_eq!(read(r#"\u6807\uD83D\uDE00""#).unwrap(), "标😀");
        // Raw control characters were accepted by fastjson.
        assert_eq!(read("a\u{1}\n\"").unwrap(), "a\u{1}\n");
    }

    #[test]
    fn half_surrogates_become_replacement_characters() {
        assert_eq!(read(r#"\uD83Dx""#).unwrap(), "\u{fffd}x");
        assert_eq!(read(r#"\uDE00""#).unwrap(), "\u{fffd}");
        assert_eq!(read(r#"\uD83D\u0041""#).unwrap(), "\u{fffd}A");
        assert_eq!(read(r#"\uD83D\uD83D\uDE00""#).unwrap(), "\u{fffd}😀");
    }

    #[test]
    fn rejects_unfinished_strings() {
        for text in ["", "abc", r"a\", r#"a\""#, r#"\q""#, r#"\u00""#, r#"\u00g0""#, r"\u", r#"\x4""#] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn roundtrip_quoted(text in ".{0,40}|[\u{0}-\u{30}\\\\]{0,20}") {
            let mut out = Vec::new();
            push_quoted(&mut out, &text);
            let quoted = String::from_utf8(out).unwrap();
            prop_assert_eq!(read(&quoted[1..]).unwrap(), text);
        }

        #[test]
        fn special_is_found_like_a_plain_search(bytes in prop::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), any::<u8>()], 0..40), at in 0usize..50) {
            let plain = (at..bytes.len()).find(|&at| matches!(bytes[at], b'"' | b'\\'));
            prop_assert_eq!(find_special(&bytes, at), plain);
        }
    }
}
