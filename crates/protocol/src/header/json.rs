//! The JSON header: a scan for what clients write, the tolerant parser for everything else.

use super::{Decoded, Head, HeaderError, Language};
use crate::json::lexer::{Lexer, SyntaxError, Token};
use crate::json::text::{Piece, find_special, read_string};

/// What a header without a field means: Java's command object starts as Java's.
const DEFAULT_HEAD: Head = Head { code: 0, language: Language::Java, version: 0, opaque: 0, flag: 0 };

/// Decodes a header: the scan if it can, else the parser.
pub(crate) fn decode(
    text: &str,
    scratch: &mut String,
    fields: &mut Vec<(Piece, Piece)>,
) -> Result<Decoded, HeaderError> {
    if let Some(decoded) = scan(text, scratch, fields) {
        return Ok(decoded);
    }
    scratch.clear();
    fields.clear();
    parse(text, scratch, fields)
}

/// Reads what Java and Go clients write: compact, known keys, plain integers, strings, ext fields that are strings.
/// `None` means "ask [`parse`]", never "broken".
pub(crate) fn scan(text: &str, scratch: &mut String, fields: &mut Vec<(Piece, Piece)>) -> Option<Decoded> {
    let mut scan = Scan { text, bytes: text.as_bytes(), at: 0 };
    let mut head = DEFAULT_HEAD;
    let mut remark = None;
    scan.expect(*b"{")?;
    if scan.expect(*b"}").is_none() {
        loop {
            scan.expect(*b"\"")?;
            let key = scan.plain_string()?;
            scan.expect(*b":")?;
            match key {
                b"code" => head.code = scan.integer()?,
                b"version" => head.version = scan.integer()?,
                b"opaque" => head.opaque = scan.integer()?,
                b"flag" => head.flag = scan.integer()?,
                b"language" => {
                    scan.expect(*b"\"")?;
                    head.language = Language::from_name(std::str::from_utf8(scan.plain_string()?).ok()?);
                }
                b"remark" => {
                    scan.expect(*b"\"")?;
                    remark = Some(scan.string(scratch)?);
                }
                b"serializeTypeCurrentRPC" => {
                    scan.expect(*b"\"")?;
                    scan.plain_string()?;
                }
                b"extFields" => scan.ext_fields(scratch, fields)?,
                _ => return None,
            }
            if scan.expect(*b",").is_none() {
                break;
            }
        }
        scan.expect(*b"}")?;
    }
    (scan.at == scan.bytes.len()).then_some(Decoded { head, remark })
}

struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    /// Steps over exactly these bytes, if they are next.
    #[inline]
    fn expect<const N: usize>(&mut self, bytes: [u8; N]) -> Option<()> {
        let next = self.bytes.get(self.at..)?.first_chunk::<N>()?;
        (*next == bytes).then(|| self.at += N)
    }

    /// A string without escapes, from behind its opening quote to behind its closing one.
    #[inline]
    fn plain_string(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        let end = find_special(self.bytes, start).filter(|&end| self.bytes[end] == b'"')?;
        self.at = end + 1;
        self.bytes.get(start..end)
    }

    /// Any string, from behind its opening quote to behind its closing one.
    #[inline(always)]
    fn string(&mut self, scratch: &mut String) -> Option<Piece> {
        let start = self.at;
        let end = find_special(self.bytes, start)?;
        if self.bytes[end] == b'"' {
            self.at = end + 1;
            return Some(Piece::source(start, end));
        }
        self.escaped_string(scratch)
    }

    #[cold]
    fn escaped_string(&mut self, scratch: &mut String) -> Option<Piece> {
        let (piece, next) = read_string(self.text, self.at, b'"', scratch).ok()?;
        self.at = next;
        Some(piece)
    }

    /// Name of an ext field, and what leads to its value.
    #[inline]
    fn name(&mut self, scratch: &mut String) -> Option<Piece> {
        // Sends have one-letter names.
        if let Some(&[letter, b'"', b':', b'"']) = self.bytes.get(self.at..)?.first_chunk::<4>()
            && letter.is_ascii_alphanumeric()
        {
            let name = Piece::source(self.at, self.at + 1);
            self.at += 4;
            return Some(name);
        }
        let name = self.string(scratch)?;
        self.expect(*b":\"")?;
        Some(name)
    }

    /// At most nine digits, so that nothing overflows; longer ones go to the parser.
    #[inline]
    fn integer(&mut self) -> Option<i32> {
        let negative = self.expect(*b"-").is_some();
        let digits = self.bytes.get(self.at..)?;
        let mut value = 0i32;
        let mut len = 0;
        while let Some(digit) =
            digits.get(len).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10)
        {
            if len == 9 {
                return None;
            }
            value = value * 10 + i32::from(digit);
            len += 1;
        }
        if len == 0 {
            return None;
        }
        self.at += len;
        // `12e3`, `1.5` and the like are refused by the caller, which wants a comma or a brace.
        Some(if negative { -value } else { value })
    }

    #[inline]
    fn ext_fields(&mut self, scratch: &mut String, fields: &mut Vec<(Piece, Piece)>) -> Option<()> {
        fields.clear();
        self.expect(*b"{")?;
        if self.expect(*b"}").is_some() {
            return Some(());
        }
        self.expect(*b"\"")?;
        loop {
            let name = self.name(scratch)?;
            fields.push((name, self.string(scratch)?));
            if self.expect(*b",\"").is_none() {
                return self.expect(*b"}");
            }
        }
    }
}

/// Reads any header that Java's parsers read, and some more.
pub(crate) fn parse(
    text: &str,
    scratch: &mut String,
    fields: &mut Vec<(Piece, Piece)>,
) -> Result<Decoded, HeaderError> {
    let mut head = DEFAULT_HEAD;
    let mut remark = None;
    let mut lexer = Lexer::new(text);
    lexer.expect(b'{', "object expected")?;
    while !lexer.end_of_list(b'}') {
        let key = lexer.token(scratch)?;
        let key = text_of(key, scratch).ok_or_else(|| lexer.error("key expected"))?;
        let key = key.resolve(text, scratch).to_owned();
        lexer.expect(b':', "colon expected")?;
        match key.as_str() {
            "code" => head.code = integer(&mut lexer, scratch, "code")?.unwrap_or(0),
            "version" => head.version = integer(&mut lexer, scratch, "version")?.unwrap_or(0),
            "opaque" => head.opaque = integer(&mut lexer, scratch, "opaque")?.unwrap_or(0),
            "flag" => head.flag = integer(&mut lexer, scratch, "flag")?.unwrap_or(0),
            "language" => {
                head.language = match text_value(&mut lexer, scratch)? {
                    Some(piece) => Language::from_name(piece.resolve(text, scratch)),
                    None => Language::Other,
                };
            }
            "remark" => remark = text_value(&mut lexer, scratch)?,
            "extFields" => ext_fields(&mut lexer, scratch, fields)?,
            _ => lexer.skip_value()?,
        }
    }
    if !lexer.at_end() {
        return Err(lexer.error("text after the header").into());
    }
    Ok(Decoded { head, remark })
}

impl From<SyntaxError> for HeaderError {
    fn from(SyntaxError { at, what }: SyntaxError) -> Self {
        Self::Json { at, what }
    }
}

/// Any scalar as text; `None` for null, objects and arrays.
fn text_of(token: Token<'_>, scratch: &mut String) -> Option<Piece> {
    let mut push = |text: &str| {
        let start = scratch.len();
        scratch.push_str(text);
        Some(Piece::scratch(start, scratch.len()))
    };
    match token {
        Token::Text(piece) => Some(piece),
        Token::Number(text) | Token::Word(text) => push(text),
        Token::True => push("true"),
        Token::False => push("false"),
        Token::Null | Token::ObjectStart | Token::ArrayStart => None,
    }
}

/// A value as text; null, and objects and arrays that are stepped over, count as absent.
fn text_value(lexer: &mut Lexer<'_>, scratch: &mut String) -> Result<Option<Piece>, SyntaxError> {
    if matches!(lexer.peek(), Some(b'{' | b'[')) {
        lexer.skip_value()?;
        return Ok(None);
    }
    let token = lexer.token(scratch)?;
    Ok(text_of(token, scratch))
}

fn integer(
    lexer: &mut Lexer<'_>,
    scratch: &mut String,
    name: &'static str,
) -> Result<Option<i32>, HeaderError> {
    let Some(piece) = text_value(lexer, scratch)? else { return Ok(None) };
    let text = piece.resolve(lexer.text(), scratch);
    text.parse().map(Some).map_err(|_| HeaderError::Number(name))
}

fn ext_fields(
    lexer: &mut Lexer<'_>,
    scratch: &mut String,
    fields: &mut Vec<(Piece, Piece)>,
) -> Result<(), HeaderError> {
    fields.clear();
    if lexer.peek() != Some(b'{') {
        // Java writes null for "no fields"; anything else is no field either.
        return Ok(lexer.skip_value()?);
    }
    lexer.expect(b'{', "object expected")?;
    while !lexer.end_of_list(b'}') {
        let token = lexer.token(scratch)?;
        let name = text_of(token, scratch).ok_or_else(|| lexer.error("key expected"))?;
        lexer.expect(b':', "colon expected")?;
        if let Some(value) = text_value(lexer, scratch)? {
            fields.push((name, value));
        }
    }
    Ok(())
}
