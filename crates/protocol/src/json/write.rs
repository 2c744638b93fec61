//! Writing Java's JSON: a serde serializer.

use std::fmt::Display;

use serde::Serialize;
use serde::ser;

use super::text::push_quoted;

/// Which of Java's shapes to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Form {
    /// On the wire: compact, integer keys bare, objects as keys.
    #[default]
    Wire,
    /// Compact and valid JSON (`BrowserCompatible`): integer keys quoted. For route answers to new clients.
    Strict,
    /// In files: indented by tabs, integer keys bare, lists of numbers on one line.
    File,
}

/// `value` as Java writes it on the wire.
#[must_use]
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, value, Form::Wire);
    out
}

/// Appends `value` to `out`.
///
/// # Panics
/// If a hand-written `Serialize` of the value fails; derived ones and those of this crate never do.
pub fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T, form: Form) {
    value
        .serialize(&mut Writer { out, form, depth: 0, wrote_none: false })
        .expect("invariant: plain data always serializes");
}

/// A value that is text already, as it looks inside of a larger one. It is kept by who writes a large table again and
/// again of which little changes. Only the writer of this module can write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered(Box<[u8]>);

impl Rendered {
    /// The text of `value` in a place where `depth` objects and lists are open around it.
    ///
    /// # Panics
    /// As [`write()`].
    #[must_use]
    pub fn new<T: Serialize + ?Sized>(value: &T, form: Form, depth: usize) -> Self {
        let mut text = Vec::new();
        value
            .serialize(&mut Writer { out: &mut text, form, depth, wrote_none: false })
            .expect("invariant: plain data always serializes");
        Self(text.into())
    }
}

impl Serialize for Rendered {
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    form: Form,
    depth: usize,
    /// The last value written was none; its member is then taken back.
    wrote_none: bool,
}

/// What only a foreign `Serialize` could raise.
#[derive(Debug)]
struct Refused(String);

impl Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl Writer<'_> {
    fn integer(&mut self, value: impl itoa::Integer) {
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    fn line(&mut self, depth: usize) {
        if self.form == Form::File {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + depth, b'\t');
        }
    }

    fn open(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.depth += 1;
    }

    /// Closes an object or list, on a line of its own if the last element was.
    fn close(&mut self, bracket: u8, own_line: bool) {
        self.depth -= 1;
        if own_line {
            self.line(self.depth);
        }
        self.out.push(bracket);
        self.wrote_none = false;
    }
}

/// An object or list being written.
struct Members<'w, 'a> {
    writer: &'w mut Writer<'a>,
    empty: bool,
    own_line: bool,
    bracket: u8,
    /// Where the current member starts, separator included.
    member_at: usize,
}

impl<'w, 'a> Members<'w, 'a> {
    fn object(writer: &'w mut Writer<'a>) -> Self {
        writer.open(b'{');
        Self { writer, empty: true, own_line: true, bracket: b'}', member_at: 0 }
    }

    fn list(writer: &'w mut Writer<'a>) -> Self {
        writer.open(b'[');
        Self { writer, empty: true, own_line: true, bracket: b']', member_at: 0 }
    }

    fn separate(&mut self) {
        self.member_at = self.writer.out.len();
        if !self.empty {
            self.writer.out.push(b',');
        }
        self.writer.line(self.writer.depth);
    }

    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        self.separate();
        let start = self.writer.out.len();
        key.serialize(&mut *self.writer)?;
        let quoted = matches!(self.writer.out.get(start), Some(b'"' | b'{' | b'['));
        if self.writer.form == Form::Strict && !quoted {
            self.writer.out.insert(start, b'"');
            self.writer.out.push(b'"');
        }
        self.writer.out.push(b':');
        Ok(())
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.writer.wrote_none = false;
        value.serialize(&mut *self.writer)?;
        if std::mem::take(&mut self.writer.wrote_none) {
            self.writer.out.truncate(self.member_at);
        } else {
            self.empty = false;
        }
        Ok(())
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.separate();
        let start = self.writer.out.len();
        value.serialize(&mut *self.writer)?;
        self.writer.wrote_none = false;
        if matches!(self.writer.out.get(start), Some(b'-' | b'0'..=b'9')) {
            // Numbers stay on the line of their list.
            let separator_end = self.member_at + usize::from(!self.empty);
            self.writer.out.drain(separator_end..start);
            self.own_line = false;
        }
        self.empty = false;
        Ok(())
    }

    fn finish(self) {
        self.writer.close(self.bracket, self.own_line && !self.empty);
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty,)+) => {
        $(
            fn $method(self, value: $type) -> Result<(), Refused> {
                self.integer(value);
                Ok(())
            }
        )+
    };
}

impl<'w, 'a> ser::Serializer for &'w mut Writer<'a> {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Members<'w, 'a>;
    type SerializeTuple = Members<'w, 'a>;
    type SerializeTupleStruct = Members<'w, 'a>;
    type SerializeTupleVariant = ser::Impossible<(), Refused>;
    type SerializeMap = Members<'w, 'a>;
    type SerializeStruct = Members<'w, 'a>;
    type SerializeStructVariant = ser::Impossible<(), Refused>;

    integers! {
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
    }

    fn serialize_bool(self, value: bool) -> Result<(), Refused> {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), Refused> {
        self.serialize_f64(f64::from(value))
    }

    /// Always with a decimal point or an exponent; what JSON cannot express becomes none.
    fn serialize_f64(self, value: f64) -> Result<(), Refused> {
        if !value.is_finite() {
            return self.serialize_none();
        }
        self.out.extend_from_slice(format!("{value:?}").as_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Refused> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Refused> {
        push_quoted(self.out, value);
        Ok(())
    }

    /// Nothing of Java's is bytes: what comes here is [`Rendered`].
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Refused> {
        self.out.extend_from_slice(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Refused> {
        self.out.extend_from_slice(b"null");
        self.wrote_none = true;
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Refused> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Refused> {
        self.serialize_none()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Refused> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<(), Refused> {
        Err(ser::Error::custom(ENUM_WITH_DATA))
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Members<'w, 'a>, Refused> {
        Ok(Members::list(self))
    }

    fn serialize_tuple(self, _len: usize) -> Result<Members<'w, 'a>, Refused> {
        Ok(Members::list(self))
    }

    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<Members<'w, 'a>, Refused> {
        Ok(Members::list(self))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleVariant, Refused> {
        Err(ser::Error::custom(ENUM_WITH_DATA))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Members<'w, 'a>, Refused> {
        Ok(Members::object(self))
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Members<'w, 'a>, Refused> {
        Ok(Members::object(self))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeStructVariant, Refused> {
        Err(ser::Error::custom(ENUM_WITH_DATA))
    }
}

macro_rules! members {
    ($($trait:ident: $method:ident,)+) => {
        $(
            impl ser::$trait for Members<'_, '_> {
                type Ok = ();
                type Error = Refused;

                fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
                    self.element(value)
                }

                fn end(self) -> Result<(), Refused> {
                    self.finish();
                    Ok(())
                }
            }
        )+
    };
}

members! {
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
}

impl ser::SerializeMap for Members<'_, '_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.value(value)
    }

    fn end(self) -> Result<(), Refused> {
        self.finish();
        Ok(())
    }
}

impl ser::SerializeStruct for Members<'_, '_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        self.key(key)?;
        self.value(value)
    }

    fn end(self) -> Result<(), Refused> {
        self.finish();
        Ok(())
    }
}

const ENUM_WITH_DATA: &str = "an enum with data has no shape in Java";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
    #[serde(rename_all = "camelCase")]
    struct Queue {
        broker_name: &'static str,
        queue_id: i32,
    }

    #[derive(Serialize)]
    struct Body {
        absent: Option<i32>,
        by_number: BTreeMap<i64, &'static str>,
        by_object: BTreeMap<Queue, Option<i64>>,
        empty: BTreeMap<i32, i32>,
        list: Vec<&'static str>,
        nested: Option<Box<Body>>,
        numbers: Vec<i64>,
        rate: f64,
        text: &'static str,
    }

    fn body() -> Body {
        Body {
            absent: None,
            by_number: BTreeMap::from([(0, "a"), (-1, "b")]),
            by_object: BTreeMap::from([
                (Queue { broker_name: "b", queue_id: 0 }, Some(5)),
                (Queue { broker_name: "b", queue_id: 1 }, None),
            ]),
            empty: BTreeMap::new(),
            list: vec!["x", "y"],
            nested: None,
            numbers: vec![1, 2],
            rate: 0.0,
            text: "a\"\u{1}ä",
        }
    }

    fn written(form: Form) -> String {
        let mut out = b"kept:".to_vec();
        write(&mut out, &body(), form);
        String::from_utf8(out).unwrap().strip_prefix("kept:").unwrap().to_owned()
    }

    #[test]
    fn a_rendered_value_looks_as_if_it_were_written_in_its_place() {
        for form in [Form::Wire, Form::Strict, Form::File] {
            let (mut whole, mut with_rendered) = (Vec::new(), Vec::new());
            write(&mut whole, &BTreeMap::from([("a", body()), ("b", body())]), form);
            let rendered = || Rendered::new(&body(), form, 1);
            write(&mut with_rendered, &BTreeMap::from([("a", rendered()), ("b", rendered())]), form);
            assert_eq!(String::from_utf8(with_rendered), String::from_utf8(whole));
        }
    }

    #[test]
    fn wire_form_has_bare_and_object_keys() {
        assert_eq!(
            written(Form::Wire),
            r#"{"by_number":{-1:"b",0:"a"},"by_object":{{"brokerName":"b","queueId":0}:5},"empty":{},"list":["x","y"],"numbers":[1,2],"rate":0.0,"text":"a\"\u0001ä"}"#
        );
    }

    #[test]
    fn strict_form_quotes_integer_keys() {
        assert!(written(Form::Strict).contains(r#""by_number":{"-1":"b","0":"a"},"#));
    }

    #[test]
    fn file_form_is_indented_like_javas() {
        let text = written(Form::File);
        assert!(
            text.starts_with("{\n\t\"by_number\":{\n\t\t-1:\"b\",\n\t\t0:\"a\"\n\t},\n\t\"by_object\""),
            "{text}"
        );
        assert!(
            text.ends_with("\"empty\":{},\n\t\"list\":[\n\t\t\"x\",\n\t\t\"y\"\n\t],\n\t\"numbers\":[1,2],\n\t\"rate\":0.0,\n\t\"text\":\"a\\\"\\u0001ä\"\n}"),
            "{text}"
        );
    }

    #[test]
    fn nothing_but_none_leaves_an_empty_object() {
        let none: BTreeMap<&str, Option<i32>> = BTreeMap::from([("a", None), ("b", None)]);
        let mut out = Vec::new();
        write(&mut out, &none, Form::File);
        assert_eq!(out, b"{}");
        assert_eq!(to_vec(&BTreeMap::from([("outer", &none)])), br#"{"outer":{}}"#);
        assert_eq!(to_vec(&vec![None, Some(1)]), b"[null,1]");
    }
}
