//! Tolerant tokens: what fastjson reads beyond JSON.
//!
//! Accepted besides JSON: comments, single quotes, unquoted names, trailing and repeated commas, raw control
//! characters in strings, a leading `+`. The lexer borrows its text and allocates only what strings with escapes need.

use super::text::{Piece, read_string};

/// The text is not even tolerant JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// Byte at which reading stopped.
    pub(crate) at: usize,
    /// What was wrong there.
    pub(crate) what: &'static str,
}

/// A value or the start of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    Text(Piece),
    /// Digits as written.
    Number(&'a str),
    True,
    False,
    Null,
    ObjectStart,
    ArrayStart,
    /// An unquoted word that is none of the above.
    Word(&'a str),
}

#[derive(Clone, Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) fn error(&self, what: &'static str) -> SyntaxError {
        SyntaxError { at: self.at, what }
    }

    /// The next byte that is neither white space nor comment, without consuming it.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.text.as_bytes().get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' | 0x0c | 0x08 => self.at += 1,
                b'/' => self.comment()?,
                byte => return Some(byte),
            }
        }
    }

    /// Steps over a comment; an unfinished one reaches to the end. A lone slash is left for the parser to refuse.
    fn comment(&mut self) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at + 1..)?;
        let len = match rest.first()? {
            b'/' => memchr::memchr(b'\n', rest)?,
            b'*' => memchr::memmem::find(rest.get(1..)?, b"*/")? + 3,
            _ => return None,
        };
        self.at += 1 + len;
        Some(())
    }

    /// Consumes `byte` if it is next.
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        if next {
            self.at += 1;
        }
        next
    }

    /// Consumes `byte`.
    pub(crate) fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), SyntaxError> {
        if self.eat(byte) { Ok(()) } else { Err(self.error(what)) }
    }

    /// Consumes any number of commas, then tells whether `close` follows, consuming it too.
    pub(crate) fn end_of_list(&mut self, close: u8) -> bool {
        while self.eat(b',') {}
        self.eat(close)
    }

    /// Whether only white space and comments are left.
    pub(crate) fn at_end(&mut self) -> bool {
        self.peek().is_none() && self.text.len() == self.at
    }

    /// Reads a value, or the opening bracket of one.
    pub(crate) fn token(&mut self, scratch: &mut String) -> Result<Token<'a>, SyntaxError> {
        let Some(byte) = self.peek() else { return Err(self.error("value expected")) };
        match byte {
            b'"' | b'\'' => {
                let (piece, next) = read_string(self.text, self.at + 1, byte, scratch)
                    .map_err(|bad| SyntaxError { at: bad.at, what: "bad string" })?;
                self.at = next;
                Ok(Token::Text(piece))
            }
            b'{' => {
                self.at += 1;
                Ok(Token::ObjectStart)
            }
            b'[' => {
                self.at += 1;
                Ok(Token::ArrayStart)
            }
            b'-' | b'+' | b'0'..=b'9' | b'.' => Ok(Token::Number(
                self.run(|byte| matches!(byte, b'-' | b'+' | b'.' | b'0'..=b'9' | b'e' | b'E')),
            )),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' => {
                let word = self.run(|byte| {
                    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'$' | b'-' | b'.' | b'%')
                });
                Ok(match word {
                    "true" | "TRUE" => Token::True,
                    "false" | "FALSE" => Token::False,
                    "null" | "NULL" | "undefined" | "NaN" => Token::Null,
                    word => Token::Word(word),
                })
            }
            _ => Err(self.error("value expected")),
        }
    }

    /// The longest run of ASCII bytes that `accept` takes.
    fn run(&mut self, accept: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let len = rest.bytes().position(|byte| !accept(byte)).unwrap_or(rest.len());
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    /// Steps over one value, however deeply nested, without recursion.
    pub(crate) fn skip_value(&mut self) -> Result<(), SyntaxError> {
        let mut depth = 0u32;
        let mut scratch = String::new();
        loop {
            match self.peek() {
                Some(b'}' | b']') if depth > 0 => {
                    self.at += 1;
                    depth -= 1;
                }
                Some(b',' | b':') if depth > 0 => self.at += 1,
                _ => {
                    scratch.clear();
                    if let Token::ObjectStart | Token::ArrayStart = self.token(&mut scratch)? {
                        depth += 1;
                    }
                }
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// The whole text.
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }
}
