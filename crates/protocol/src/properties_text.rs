//! Java's `.properties` text: configuration files and the bodies of codes 25, 26, 318 and 319.
//!
//! Reads what `java.util.Properties.load` reads from bytes: ISO-8859-1 with `\uXXXX`, `#` and `!` comments, `=`, `:`
//! or blanks between key and value, `\` at the end of a line to continue it, trailing blanks kept as part of the
//! value. Two forms are written: [`write_escaped`] for files, which reads back equal, and [`write_plain`] for answers
//! on the wire, which Java sends without escapes.
//!
//! Every input gives entries or [`MalformedEscape`]; memory stays in proportion to the input.

use std::fmt::Write as _;

/// One `key = value` of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Escapes resolved.
    pub key: String,
    /// Escapes resolved; trailing blanks are kept, as Java keeps them.
    pub value: String,
    /// Line on which the key stands, counted from 1.
    pub line: usize,
}

/// `\u` without four hexadecimal digits. Java refuses the whole text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: \\u must be followed by four hexadecimal digits")]
pub struct MalformedEscape {
    /// Line on which the entry starts, counted from 1.
    pub line: usize,
}

/// All entries in the order of the text. A key may come twice; for Java the last one counts.
pub fn read(text: &[u8]) -> Result<Vec<Entry>, MalformedEscape> {
    let mut entries = Vec::new();
    let mut lines = LogicalLines { text, position: 0, line: 1 };
    let mut content = Vec::new();
    while let Some(line) = lines.next_into(&mut content) {
        let (key, value) = split(&content);
        let unescaped = |part| unescape(part).ok_or(MalformedEscape { line });
        entries.push(Entry { key: unescaped(key)?, value: unescaped(value)?, line });
    }
    Ok(entries)
}

/// Appends `key=value\n` so that [`read`] and Java read the same key and value back.
pub fn write_escaped(out: &mut String, key: &str, value: &str) {
    for c in key.chars() {
        escape(out, c, matches!(c, ' ' | '=' | ':' | '#' | '!'));
    }
    out.push('=');
    for (index, c) in value.chars().enumerate() {
        // Only blanks at the front would be lost.
        escape(out, c, index == 0 && c == ' ');
    }
    out.push('\n');
}

/// Appends `key=value\n` as it is, the form of Java's `MixAll.properties2String`.
pub fn write_plain(out: &mut String, key: &str, value: &str) {
    out.push_str(key);
    out.push('=');
    out.push_str(value);
    out.push('\n');
}

fn escape(out: &mut String, c: char, special_here: bool) {
    match c {
        '\\' => out.push_str("\\\\"),
        '\t' => out.push_str("\\t"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\u{c}' => out.push_str("\\f"),
        ' '..='~' => {
            if special_here {
                out.push('\\');
            }
            out.push(c);
        }
        _ => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04X}").expect("invariant: writing to a String succeeds");
            }
        }
    }
}

/// Joins continued lines and drops comments and empty lines.
struct LogicalLines<'a> {
    text: &'a [u8],
    position: usize,
    line: usize,
}

impl LogicalLines<'_> {
    /// Puts the next line that counts into `content` and returns its number.
    fn next_into(&mut self, content: &mut Vec<u8>) -> Option<usize> {
        content.clear();
        let mut started = self.line;
        let mut after_backslash = false;
        loop {
            // A line that was nothing but a backslash so far may still turn into a comment or end empty.
            if content.is_empty() && !after_backslash {
                self.skip_blanks();
                started = self.line;
                if matches!(self.text.get(self.position), Some(b'#' | b'!')) {
                    self.skip_to_line_end();
                }
                if self.skip_line_end() {
                    continue;
                }
            }
            let Some(&byte) = self.text.get(self.position) else { break };
            if !is_line_end(byte) {
                after_backslash = byte == b'\\' && !after_backslash;
                content.push(byte);
                self.position += 1;
                continue;
            }
            let last = self.position + 1 == self.text.len();
            self.skip_line_end();
            if !after_backslash {
                return Some(started);
            }
            if last {
                break;
            }
            content.pop();
            after_backslash = false;
            self.skip_blanks();
        }
        // A backslash at the very end makes an entry even if nothing else is there; so it is in Java.
        let counts = !content.is_empty();
        if after_backslash {
            content.pop();
        }
        counts.then_some(started)
    }

    fn skip_to_line_end(&mut self) {
        while self.text.get(self.position).is_some_and(|byte| !is_line_end(*byte)) {
            self.position += 1;
        }
    }

    fn skip_blanks(&mut self) {
        while self.text.get(self.position).is_some_and(|byte| is_blank(*byte)) {
            self.position += 1;
        }
    }

    /// Steps over LF, CR or CR LF; false if none is here.
    fn skip_line_end(&mut self) -> bool {
        let rest = &self.text[self.position..];
        let length = match rest {
            [b'\r', b'\n', ..] => 2,
            [b'\r' | b'\n', ..] => 1,
            _ => return false,
        };
        self.position += length;
        self.line += 1;
        true
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\x0c')
}

/// Cuts at the first unescaped `=`, `:` or blank; blanks around one separator belong to neither side.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let mut after_backslash = false;
    let mut end = line.len();
    for (index, &byte) in line.iter().enumerate() {
        if !after_backslash && (matches!(byte, b'=' | b':') || is_blank(byte)) {
            end = index;
            break;
        }
        after_backslash = byte == b'\\' && !after_backslash;
    }
    let (key, rest) = line.split_at(end);
    let rest = without_leading_blanks(rest);
    let value = match rest {
        [b'=' | b':', value @ ..] => without_leading_blanks(value),
        value => value,
    };
    (key, value)
}

fn without_leading_blanks(bytes: &[u8]) -> &[u8] {
    let blanks = bytes.iter().take_while(|byte| is_blank(**byte)).count();
    &bytes[blanks..]
}

/// Resolves escapes; `None` for a broken `\u`. Surrogates without their other half become U+FFFD.
fn unescape(bytes: &[u8]) -> Option<String> {
    if !bytes.contains(&b'\\') {
        return Some(bytes.iter().map(|byte| char::from(*byte)).collect());
    }
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            units.push(u16::from(*first));
            continue;
        }
        let [escaped, tail @ ..] = rest else { break };
        rest = tail;
        units.push(match escaped {
            b't' => u16::from(b'\t'),
            b'n' => u16::from(b'\n'),
            b'r' => u16::from(b'\r'),
            b'f' => 0x0c,
            b'u' => {
                let (digits, tail) = rest.split_at_checked(4)?;
                rest = tail;
                // `from_str_radix` would also take a sign.
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            other => u16::from(*other),
        });
    }
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &[u8]) -> Vec<(String, String)> {
        read(text).unwrap().into_iter().map(|entry| (entry.key, entry.value)).collect()
    }

    type Case = (&'static [u8], &'static [(&'static str, &'static str)]);

    /// Input and the entries that `java.util.Properties.load` (JDK 17) finds in it.
    #[test]
    fn reads_what_java_reads() {
        let cases: &[Case] = &[
            (b"a=1", &[("a", "1")]),
            (b"a = 1 \n", &[("a", "1 ")]),
            (b"a\t:\t1\r\nb 2\rc", &[("a", "1"), ("b", "2"), ("c", "")]),
            (b"a==1", &[("a", "=1")]),
            (b"a = = 1", &[("a", "= 1")]),
            (b"a : = 1", &[("a", "= 1")]),
            (b"# a=1\n  ! b=2\n c=3", &[("c", "3")]),
            (b"# a=1 \\\nb=2", &[("b", "2")]),
            (b"a=1\\\n   2\\\r\n\t3", &[("a", "123")]),
            (b"a=1\\\\\nb=2", &[("a", "1\\"), ("b", "2")]),
            (b"a=1\\\\\\\nb=2", &[("a", "1\\b=2")]),
            (b"a=1\\", &[("a", "1")]),
            (b"a=1\\\n#b=2", &[("a", "1#b=2")]),
            (b"a\\ b\\=c\\:d=e", &[("a b=c:d", "e")]),
            (b"a=\\t\\n\\r\\f\\q\\\\", &[("a", "\t\n\r\u{c}q\\")]),
            (b"a=\\u0041\\u00e9\\u4e2d", &[("a", "A\u{e9}\u{4e2d}")]),
            (b"a=\\uD83D\\uDE00", &[("a", "\u{1f600}")]),
            (b"a=\xe9", &[("a", "\u{e9}")]),
            (b"=1\n:2", &[("", "1"), ("", "2")]),
            (b"<!-- a=1 -->", &[("<!--", "a=1 -->")]),
            (b"\n\n \n\\\nx=1", &[("x", "1")]),
            (b"\\\n#x=1\n\\", &[("", "")]),
            (b"", &[]),
            (b"a=b#c!d", &[("a", "b#c!d")]),
            (b"a=1\x0cb", &[("a", "1\u{c}b")]),
        ];
        for (text, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            assert_eq!(pairs(text), expected, "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn broken_unicode_escape_names_the_line() {
        for text in ["x=1\n\na=\\u12", "x=1\n\na=\\u12g4", "x=1\n\na\\u+123=1"] {
            assert_eq!(read(text.as_bytes()), Err(MalformedEscape { line: 3 }), "{text}");
        }
    }

    #[test]
    fn lines_are_counted_where_the_key_stands() {
        let lines: Vec<_> =
            read(b"\r\n# c\r\na=1\\\r\n2\n\rb=1").unwrap().into_iter().map(|entry| entry.line).collect();
        assert_eq!(lines, [3, 6]);
    }

    proptest! {
        #[test]
        fn roundtrip_escaped(entries in prop::collection::vec((".*", ".*"), 0..8)) {
            let mut text = String::new();
            for (key, value) in &entries {
                write_escaped(&mut text, key, value);
            }
            prop_assert!(text.is_ascii());
            prop_assert_eq!(pairs(text.as_bytes()), entries);
        }

        #[test]
        fn any_bytes_give_entries_or_a_broken_escape(text in prop::collection::vec(any::<u8>(), 0..256)) {
            if let Ok(entries) = read(&text) {
                let lines = text.iter().filter(|byte| is_line_end(**byte)).count() + 1;
                prop_assert!(entries.len() <= lines);
                prop_assert!(entries.iter().all(|entry| entry.line <= lines));
            }
        }
    }
}
