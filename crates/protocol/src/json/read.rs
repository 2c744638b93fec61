//! Reading Java's JSON: a tolerant serde deserializer.

use std::fmt::Display;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use thiserror::Error;

use super::lexer::{Lexer, SyntaxError, Token};
use super::text::Piece;

/// Deepest nesting that is read; what Java writes stays below ten.
const DEPTH_MAX: u32 = 32;
/// What is built may take this many times the text's length, plus [`BUDGET_BASE`], in list elements and map entries.
/// Texts with content need less than three times; only floods of tiny elements need more.
const BUDGET_FACTOR: usize = 16;
const BUDGET_BASE: usize = 64 * 1024;

/// The text is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what} at byte {at}")]
pub struct Error {
    /// Byte at which reading stopped.
    pub at: usize,
    /// What was wrong there.
    pub what: String,
}

impl de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self { at: 0, what: message.to_string() }
    }
}

impl From<SyntaxError> for Error {
    fn from(SyntaxError { at, what }: SyntaxError) -> Self {
        Self { at, what: what.to_owned() }
    }
}

/// Reads one value; only white space and comments may follow it. Bytes that are not UTF-8 become U+FFFD.
///
/// # Errors
/// If the text is broken even tolerantly read, nested too deeply, or of another shape than `T`.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let text = String::from_utf8_lossy(bytes);
    let mut reader = Reader {
        lexer: Lexer::new(&text),
        scratch: String::new(),
        depth: 0,
        budget: text.len().saturating_mul(BUDGET_FACTOR).saturating_add(BUDGET_BASE),
    };
    let value = T::deserialize(&mut reader).map_err(|error| reader.located(error))?;
    if !reader.lexer.at_end() {
        return Err(reader.lexer.error("text after the value").into());
    }
    Ok(value)
}

struct Reader<'t> {
    lexer: Lexer<'t>,
    /// Text of the current token, if it had to be unescaped.
    scratch: String,
    depth: u32,
    budget: usize,
}

impl<'t> Reader<'t> {
    fn token(&mut self) -> Result<Token<'t>, Error> {
        self.scratch.clear();
        Ok(self.lexer.token(&mut self.scratch)?)
    }

    fn piece(&self, piece: Piece) -> &str {
        piece.resolve(self.lexer.text(), &self.scratch)
    }

    fn error(&self, what: &'static str) -> Error {
        self.lexer.error(what).into()
    }

    /// Fills in the place where serde does not know it.
    fn located(&self, mut error: Error) -> Error {
        if error.at == 0 {
            error.at = self.lexer.error("").at;
        }
        error
    }

    fn enter(&mut self) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(self.error("nested too deeply")) } else { Ok(()) }
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Error> {
        self.budget = self
            .budget
            .checked_sub(bytes)
            .ok_or_else(|| self.error("too many elements for so little text"))?;
        Ok(())
    }

    /// Whether the next value is null; it is consumed then.
    fn eat_null(&mut self) -> Result<bool, Error> {
        if !matches!(self.lexer.peek(), Some(b'n' | b'N' | b'u')) {
            return Ok(false);
        }
        let before = self.lexer.clone();
        let is_null = self.token()? == Token::Null;
        if !is_null {
            self.lexer = before;
        }
        Ok(is_null)
    }

    /// Steps over members whose value is null: they count as missing.
    fn skip_null_members(&mut self) -> Result<(), Error> {
        loop {
            let before = self.lexer.clone();
            self.lexer.skip_value()?;
            self.lexer.expect(b':', "colon expected")?;
            if !self.eat_null()? {
                self.lexer = before;
                return Ok(());
            }
            while self.lexer.eat(b',') {}
            if self.lexer.peek() == Some(b'}') {
                return Ok(());
            }
        }
    }

    fn list<'de, V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        self.enter()?;
        let mut elements = Elements { reader: self, ended: false };
        let value = visitor.visit_seq(&mut elements)?;
        elements.skip_rest()?;
        self.depth -= 1;
        Ok(value)
    }

    fn object<'de, V: Visitor<'de>>(&mut self, visitor: V, charged: bool) -> Result<V::Value, Error> {
        self.enter()?;
        let mut members = Members { reader: self, charged, ended: false };
        let value = visitor.visit_map(&mut members)?;
        members.skip_rest()?;
        self.depth -= 1;
        Ok(value)
    }

    /// A scalar as text, or an object or list as it is written; `None` for null.
    fn text<'de, V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        if let Some(b'{' | b'[') = self.lexer.peek() {
            let start = self.lexer.error("").at;
            self.lexer.skip_value()?;
            let end = self.lexer.error("").at;
            return visitor.visit_str(self.lexer.text().get(start..end).unwrap_or_default());
        }
        match self.token()? {
            Token::Text(piece) => visitor.visit_str(self.piece(piece)),
            Token::Number(text) | Token::Word(text) => visitor.visit_str(text),
            Token::True => visitor.visit_str("true"),
            Token::False => visitor.visit_str("false"),
            Token::Null | Token::ObjectStart | Token::ArrayStart => visitor.visit_str(""),
        }
    }

    /// A number, in whatever dress: bare, quoted, boolean, empty or null for 0.
    fn number<'de, V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        match self.token()? {
            Token::Number(text) => self.parsed(text, visitor),
            Token::Text(piece) => {
                let text = self.piece(piece).trim();
                if text.is_empty() || text == "null" {
                    visitor.visit_i64(0)
                } else {
                    self.parsed(text, visitor)
                }
            }
            Token::True => visitor.visit_i64(1),
            Token::False | Token::Null => visitor.visit_i64(0),
            Token::Word(_) | Token::ObjectStart | Token::ArrayStart => Err(self.error("number expected")),
        }
    }

    fn parsed<'de, V: Visitor<'de>>(&self, text: &str, visitor: V) -> Result<V::Value, Error> {
        if let Ok(value) = text.parse::<i64>() {
            visitor.visit_i64(value)
        } else if let Ok(value) = text.parse::<u64>() {
            visitor.visit_u64(value)
        } else if let Ok(value) = text.parse::<f64>() {
            visitor.visit_f64(value)
        } else {
            Err(self.error("number expected"))
        }
    }
}

struct Elements<'r, 't> {
    reader: &'r mut Reader<'t>,
    ended: bool,
}

impl Elements<'_, '_> {
    fn at_end(&mut self) -> Result<bool, Error> {
        loop {
            self.ended = self.ended || self.reader.lexer.end_of_list(b']');
            if self.ended || !self.reader.eat_null()? {
                return Ok(self.ended);
            }
        }
    }

    fn skip_rest(&mut self) -> Result<(), Error> {
        while !self.at_end()? {
            self.reader.lexer.skip_value()?;
        }
        Ok(())
    }
}

impl<'de> SeqAccess<'de> for &mut Elements<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if self.at_end()? {
            return Ok(None);
        }
        self.reader.charge(size_of::<T::Value>())?;
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

struct Members<'r, 't> {
    reader: &'r mut Reader<'t>,
    /// The members are entries of a map, which takes memory for each; a struct has its place already.
    charged: bool,
    ended: bool,
}

impl Members<'_, '_> {
    fn at_end(&mut self) -> Result<bool, Error> {
        self.ended = self.ended || self.reader.lexer.end_of_list(b'}');
        if !self.ended {
            self.reader.skip_null_members()?;
            self.ended = self.reader.lexer.end_of_list(b'}');
        }
        Ok(self.ended)
    }

    fn skip_rest(&mut self) -> Result<(), Error> {
        while !self.at_end()? {
            self.reader.lexer.skip_value()?;
            self.reader.lexer.expect(b':', "colon expected")?;
            self.reader.lexer.skip_value()?;
        }
        Ok(())
    }
}

impl<'de> MapAccess<'de> for &mut Members<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if self.at_end()? {
            return Ok(None);
        }
        if self.charged {
            self.reader.charge(size_of::<K::Value>())?;
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        self.reader.lexer.expect(b':', "colon expected")?;
        if self.charged {
            self.reader.charge(size_of::<V::Value>())?;
        }
        seed.deserialize(&mut *self.reader)
    }
}

macro_rules! numbers {
    ($($method:ident)+) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
                self.number(visitor)
            }
        )+
    };
}

macro_rules! texts {
    ($($method:ident)+) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
                self.text(visitor)
            }
        )+
    };
}

impl<'de> Deserializer<'de> for &mut Reader<'_> {
    type Error = Error;

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_f32 deserialize_f64
    }

    texts! {
        deserialize_char deserialize_str deserialize_string deserialize_identifier
        deserialize_bytes deserialize_byte_buf
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.token()? {
            Token::Text(piece) => visitor.visit_str(self.piece(piece)),
            Token::Word(text) => visitor.visit_str(text),
            Token::Number(text) => self.parsed(text, visitor),
            Token::True => visitor.visit_bool(true),
            Token::False => visitor.visit_bool(false),
            Token::Null => visitor.visit_unit(),
            Token::ObjectStart => self.object(visitor, true),
            Token::ArrayStart => self.list(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = match self.token()? {
            Token::True => true,
            Token::False | Token::Null => false,
            Token::Number(text) => text != "0",
            Token::Text(piece) => matches!(self.piece(piece), "true" | "TRUE" | "True" | "1" | "Y" | "y"),
            Token::Word(_) | Token::ObjectStart | Token::ArrayStart => {
                return Err(self.error("boolean expected"));
            }
        };
        visitor.visit_bool(value)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.eat_null()? { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.lexer.skip_value()?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut token = self.token()?;
        if matches!(token, Token::Word("Set" | "TreeSet")) {
            // How fastjson 1 writes sets when told to note classes.
            token = self.token()?;
        }
        match token {
            Token::ArrayStart => self.list(visitor),
            Token::Null => visitor.visit_seq(NoElements),
            _ => Err(self.error("list expected")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.token()? {
            Token::ObjectStart => self.object(visitor, true),
            Token::Null => visitor.visit_map(NoElements),
            _ => Err(self.error("object expected")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.token()? {
            Token::ObjectStart => self.object(visitor, false),
            Token::Null => visitor.visit_map(NoElements),
            _ => Err(self.error("object expected")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.token()? {
            Token::Text(piece) => visitor.visit_enum(self.piece(piece).into_deserializer()),
            Token::Word(text) => visitor.visit_enum(text.into_deserializer()),
            _ => Err(self.error("name expected")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.lexer.skip_value()?;
        visitor.visit_unit()
    }
}

/// Null where a list or an object is expected.
struct NoElements;

impl<'de> SeqAccess<'de> for NoElements {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, _seed: T) -> Result<Option<T::Value>, Error> {
        Ok(None)
    }
}

impl<'de> MapAccess<'de> for NoElements {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, _seed: K) -> Result<Option<K::Value>, Error> {
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, _seed: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("no value"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::super::Value;
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Body {
        name: String,
        count: i32,
        big: i64,
        rate: f64,
        flag: bool,
        list: Vec<i64>,
        by_number: BTreeMap<i32, String>,
        by_object: BTreeMap<Queue, i64>,
        inner: Option<Box<Body>>,
    }

    #[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Queue {
        queue_id: i32,
    }

    fn read(text: &str) -> Result<Body, Error> {
        from_slice(text.as_bytes())
    }

    #[test]
    fn javas_keys_are_read() {
        let body =
            read(r#"{"byNumber":{0:"a","1":"b"},"byObject":{{"queueId":0}:5,{"queueId":1}:6}}"#).unwrap();
        assert_eq!(body.by_number, BTreeMap::from([(0, "a".to_owned()), (1, "b".to_owned())]));
        assert_eq!(body.by_object, BTreeMap::from([(Queue { queue_id: 0 }, 5), (Queue { queue_id: 1 }, 6)]));
    }

    #[test]
    fn numbers_and_texts_stand_in_for_each_other() {
        let body = read(
            r#"{"name":17,"count":"5","big":"-9223372036854775808","rate":"1.5","flag":"true","list":["1",2]}"#,
        );
        let expected = Body {
            name: "17".to_owned(),
            count: 5,
            big: i64::MIN,
            rate: 1.5,
            flag: true,
            list: vec![1, 2],
            ..Body::default()
        };
        assert_eq!(body.unwrap(), expected);
        assert_eq!(read(r#"{"count":""}"#).unwrap().count, 0);
        assert_eq!(read(r#"{"rate":3}"#).unwrap().rate, 3.0);
        assert_eq!(read(r#"{"name":{"a":[1]}}"#).unwrap().name, r#"{"a":[1]}"#);
    }

    #[test]
    fn nulls_count_as_missing() {
        let text = r#"{"name":null,"count":null,"list":null,"byNumber":null,"inner":null,"flag":null,"big":7,"x":null}"#;
        assert_eq!(read(text).unwrap(), Body { big: 7, ..Body::default() });
        assert_eq!(
            read(r#"{"list":[null,1,null],"byNumber":{0:null,1:"b",2:null}}"#).unwrap(),
            Body { list: vec![1], by_number: BTreeMap::from([(1, "b".to_owned())]), ..Body::default() }
        );
        assert_eq!(read("null").unwrap(), Body::default());
    }

    #[test]
    fn hand_edited_files_are_read() {
        let text =
            "// a note\n{ 'name' : 'it''s', /* x */ count:5, \"unknown\":{a:[1,2,],}, 'list':[1,,2,],}\n";
        assert!(read(text).is_err());
        let text =
            "// a note\n{ 'name' : 'it\\'s', /* x */ count:5, \"unknown\":{a:[1,2,],}, 'list':[1,,2,],}\n";
        let body = read(text).unwrap();
        assert_eq!((body.name.as_str(), body.count, &body.list[..]), ("it's", 5, &[1, 2][..]));
    }

    #[test]
    fn rejects_what_is_cut_short_or_of_another_shape() {
        for text in [
            "",
            "{",
            r#"{"name"}"#,
            r#"{"name":"a""#,
            r#"{"count":"x"}"#,
            r#"{"count":2147483648}"#,
            r#"{"list":{}}"#,
            "[]",
            "{}x",
            r#"{"list":[1"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}{{}}{}", r#"{"inner":"#.repeat(depth), "}".repeat(depth));
        assert!(read(&nested(30)).is_ok());
        assert!(read(&nested(100)).is_err());
        let lists = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(from_slice::<Value>(lists(30).as_bytes()).is_ok());
        assert!(from_slice::<Value>(lists(1_000_000).as_bytes()).is_err());
        // What is ignored is stepped over without recursion.
        assert!(read(&format!(r#"{{"unknown":{}}}"#, lists(1_000_000))).is_ok());
    }

    #[test]
    fn floods_of_tiny_elements_are_refused() {
        let flood = format!("[{}]", "{},".repeat(1_000_000));
        assert!(from_slice::<Vec<Body>>(flood.as_bytes()).is_err());
        let numbers = format!("[{}]", "1,".repeat(1_000_000));
        assert_eq!(from_slice::<Vec<i64>>(numbers.as_bytes()).unwrap().len(), 1_000_000);
    }
}
