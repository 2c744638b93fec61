//! Typed headers: every header is declared once, in a table of fields, from which reading and writing follow.
//!
//! A field is required or has a default. When it is missing, Java only logs and fails later, usually with a
//! NullPointerException; we say which required field is missing. A number that cannot be read counts as missing,
//! except in the headers declared `strict`, where Java fails as well (its fast codecs).

use thiserror::Error;

use crate::types::{BrokerId, PhysicalOffset, QueueId, QueueOffset, TimestampMs};

/// Why ext fields are not the header that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FieldError {
    /// A field without which the request means nothing.
    #[error("the custom field <{field}> is null")]
    Missing {
        /// Name on the wire.
        field: &'static str,
    },
    /// The value is no number of its type.
    #[error("For input string: \"{value}\"")]
    Number {
        /// Name on the wire.
        field: &'static str,
        /// What was there instead.
        value: String,
    },
}

/// Name of a declared field, ready to be written in either encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldName {
    /// The name with what JSON puts around it: `"name":"`.
    json: &'static str,
}

impl FieldName {
    /// `json` is the name in quotes, colon, quote.
    pub(crate) const fn new(json: &'static str) -> Self {
        assert!(json.len() > 4);
        Self { json }
    }

    /// The name.
    #[must_use]
    #[inline]
    pub fn as_str(self) -> &'static str {
        &self.json[1..self.json.len() - 3]
    }

    /// The name as a JSON key, up to and including the quote that opens its value.
    #[inline]
    pub(crate) fn json_key(self) -> &'static str {
        self.json
    }
}

/// Takes the fields of a typed header, in whatever form they are to be written.
pub trait FieldSink {
    /// A text field.
    fn text(&mut self, name: FieldName, value: &str);
    /// A number.
    fn integer(&mut self, name: FieldName, value: i64);
    /// `true` or `false`.
    fn boolean(&mut self, name: FieldName, value: bool);
}

/// A typed header.
pub trait Header<'a>: Sized {
    /// Java's class.
    const JAVA: &'static str;
    /// The fields: name on the wire and whether it is required.
    const FIELDS: &'static [(&'static str, bool)];

    /// Reads the header from ext fields, in one pass; the last of equal names counts, unknown names do not.
    ///
    /// # Errors
    /// See [`FieldError`].
    fn decode(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, FieldError>;

    /// Writes all fields that have a value.
    fn encode(&self, sink: &mut impl FieldSink);
}

/// A type that a field can have.
pub(crate) trait FieldValue<'a>: Sized {
    /// `None` if the text is no value of this type.
    fn parse(text: &'a str) -> Option<Self>;
    /// Writes the value, or nothing if there is none.
    fn write(&self, name: FieldName, sink: &mut impl FieldSink);
}

impl<'a> FieldValue<'a> for &'a str {
    #[inline]
    fn parse(text: &'a str) -> Option<Self> {
        Some(text)
    }

    #[inline]
    fn write(&self, name: FieldName, sink: &mut impl FieldSink) {
        sink.text(name, self);
    }
}

/// `Boolean.parseBoolean`: anything but "true" is false.
impl FieldValue<'_> for bool {
    #[inline]
    fn parse(text: &str) -> Option<Self> {
        Some(text.eq_ignore_ascii_case("true"))
    }

    #[inline]
    fn write(&self, name: FieldName, sink: &mut impl FieldSink) {
        sink.boolean(name, *self);
    }
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $type:ty as $repr:ty;)+) => {
        $(
            impl FieldValue<'_> for $type {
                #[inline]
                fn parse(text: &str) -> Option<Self> {
                    text.parse::<$repr>().ok().map(Into::into)
                }

                #[inline]
                fn write(&self, name: FieldName, sink: &mut impl FieldSink) {
                    sink.integer(name, i64::from(<$repr>::from(*self)));
                }
            }
        )+
    };
}

numbers! {
    i32 as i32;
    i64 as i64;
    QueueId as i32;
    BrokerId as i64;
    QueueOffset as i64;
    PhysicalOffset as i64;
    TimestampMs as i64;
}

/// An optional field. Empty text counts as none: binary headers cannot tell the two apart.
impl<'a, T: FieldValue<'a>> FieldValue<'a> for Option<T> {
    #[inline]
    fn parse(text: &'a str) -> Option<Self> {
        if text.is_empty() { Some(None) } else { T::parse(text).map(Some) }
    }

    #[inline]
    fn write(&self, name: FieldName, sink: &mut impl FieldSink) {
        if let Some(value) = self {
            value.write(name, sink);
        }
    }
}

/// Declares typed headers. Each is a struct whose fields carry their wire name and how a missing one is treated:
///
/// ```text
/// headers! {
///     /// What it is for.
///     pub struct Name<'a>: "JavaClass" [strict] {
///         /// What it means.
///         group: &'a str = "consumerGroup" required,
///         queue_id: QueueId = "queueId" or QueueId(-1),
///         limit: Option<i32> = "maxMsgBytes" or None,
///     }
/// }
/// ```
macro_rules! headers {
    ($(
        $(#[$doc:meta])*
        pub struct $name:ident $(<$life:lifetime>)? : $java:literal $($strict:ident)? {
            $(
                $(#[$field_doc:meta])*
                $field:ident : $type:ty = $wire:literal $kind:ident $(($default:expr))?,
            )*
        }
    )+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct $name $(<$life>)? {
                $($(#[$field_doc])* pub $field: $type,)*
            }

            $crate::header::declare::headers! { @impl
                $name $(<$life>)? : $java $($strict)? {
                    $($field : $type = $wire $kind $(($default))?,)*
                }
            }
        )+

        /// All headers of this module, for the comparison with Java's classes.
        #[cfg(test)]
        pub(crate) const DECLARED: &[(&str, &[(&str, bool)])] =
            &[$((<$name as $crate::header::Header>::JAVA, <$name as $crate::header::Header>::FIELDS),)+];
    };

    // A header without text has no lifetime of its own; any will do.
    (@impl $name:ident : $($rest:tt)*) => {
        $crate::header::declare::headers! { @impl_for $name, 'a : $($rest)* }
    };
    (@impl $name:ident <$life:lifetime> : $($rest:tt)*) => {
        $crate::header::declare::headers! { @impl_for $name<$life>, $life : $($rest)* }
    };
    (@impl_for $self:ty, $life:lifetime : $java:literal $($strict:ident)? {
        $($field:ident : $type:ty = $wire:literal $kind:ident $(($default:expr))?,)*
    }) => {
    impl<$life> $crate::header::Header<$life> for $self {
        const JAVA: &'static str = $java;
        const FIELDS: &'static [(&'static str, bool)] =
            &[$(($wire, $crate::header::declare::headers!(@required $kind)),)*];

        #[inline]
        #[allow(unused_mut, unused_variables, reason = "a header may have no fields")]
        fn decode(
            fields: impl Iterator<Item = (&$life str, &$life str)>,
        ) -> Result<Self, $crate::header::FieldError> {
            // Matching bytes against constants compiles to a decision tree over length and content.
            #[allow(non_upper_case_globals, reason = "named after the fields")]
            mod wire {
                $(pub(super) const $field: &[u8] = $wire.as_bytes();)*
            }
            const STRICT: bool = $crate::header::declare::headers!(@is_strict $($strict)?);
            $(let mut $field: Option<$type> = None;)*
            for (name, value) in fields {
                match name.as_bytes() {
                    $(wire::$field => {
                        $field = <$type as $crate::header::declare::FieldValue<'_>>::parse(value);
                        if STRICT && $field.is_none() {
                            return Err($crate::header::FieldError::Number {
                                field: $wire,
                                value: value.to_owned(),
                            });
                        }
                    })*
                    _ => {}
                }
            }
            Ok(Self {
                $($field: match $field {
                    Some(value) => value,
                    None => $crate::header::declare::headers!(@missing $kind $wire $(($default))?),
                },)*
            })
        }

        #[inline]
        #[allow(unused_variables, reason = "a header may have no fields")]
        fn encode(&self, sink: &mut impl $crate::header::FieldSink) {
            $($crate::header::declare::FieldValue::write(
                &self.$field,
                const { $crate::header::declare::FieldName::new(concat!("\"", $wire, "\":\"")) },
                sink,
            );)*
        }
    }
    };

    (@required required) => { true };
    (@required or) => { false };
    (@missing required $wire:literal) => {
        return Err($crate::header::FieldError::Missing { field: $wire })
    };
    (@missing or $wire:literal ($default:expr)) => { $default };
    (@is_strict) => { false };
    (@is_strict strict) => { true };
}
pub(crate) use headers;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request;
    use crate::response;

    fn read<'a, H: Header<'a>>(fields: &[(&'a str, &'a str)]) -> Result<H, FieldError> {
        H::decode(fields.iter().copied())
    }

    const SEND: [(&str, &str); 5] =
        [("b", "TopicA"), ("e", "-1"), ("f", "0"), ("g", "1700000000000"), ("h", "+7")];

    #[test]
    fn what_only_matters_later_may_be_missing() {
        let send: request::SendMessageV2 = read(&SEND).unwrap();
        assert_eq!((send.topic, send.queue_id, send.flag), ("TopicA", QueueId(-1), 7));
        assert_eq!((send.producer_group, send.default_topic_queue_nums), ("", 4));
        assert_eq!((send.properties, send.batch, send.reconsume_times), (None, None, None));
    }

    #[test]
    fn a_missing_required_field_is_named() {
        for (at, (name, _)) in SEND.iter().enumerate() {
            let mut fields = SEND.to_vec();
            fields.remove(at);
            assert_eq!(read::<request::SendMessageV2>(&fields), Err(FieldError::Missing { field: name }));
        }
        assert_eq!(
            read::<request::GetMaxOffset>(&[("topic", "t")]).unwrap_err().to_string(),
            "the custom field <queueId> is null"
        );
    }

    #[test]
    fn a_number_that_is_none_fails_where_java_fails() {
        // Fast codecs: an error, also for an optional field.
        let fields = [SEND.as_slice(), &[("j", "many")]].concat();
        let error = read::<request::SendMessageV2>(&fields).unwrap_err();
        assert_eq!(error, FieldError::Number { field: "j", value: "many".to_owned() });
        assert_eq!(error.to_string(), "For input string: \"many\"");
        for number in ["", " 1", "1 ", "0x1", "2147483648", "1.0"] {
            let fields = [SEND.as_slice(), &[("e", number)]].concat();
            assert!(
                matches!(read::<request::SendMessageV2>(&fields), Err(FieldError::Number { .. })),
                "{number:?}"
            );
        }
        // Elsewhere it counts as missing.
        let reset = read::<request::ResetOffset>(&[
            ("group", "g"),
            ("topic", "t"),
            ("queueId", "x"),
            ("timestamp", "-1"),
        ]);
        assert_eq!(reset.unwrap().queue_id, QueueId(-1));
        assert_eq!(
            read::<request::GetMinOffset>(&[("topic", "t"), ("queueId", "x")]),
            Err(FieldError::Missing { field: "queueId" })
        );
    }

    #[test]
    fn booleans_are_true_or_not() {
        for (text, expected) in [("true", true), ("TRUE", true), ("1", false), ("", false), ("yes", false)] {
            let running = read::<request::GetConsumerRunningInfo>(&[
                ("consumerGroup", "g"),
                ("clientId", "c"),
                ("jstackEnable", text),
            ]);
            assert_eq!(running.unwrap().jstack_enable, expected, "{text:?}");
        }
    }

    #[test]
    fn the_last_of_equal_names_counts_and_case_matters() {
        let max: request::GetMaxOffset =
            read(&[("topic", "a"), ("Topic", "x"), ("queueId", "1"), ("topic", "b"), ("unknown", "y")])
                .unwrap();
        assert_eq!((max.topic, max.queue_id, max.committed), ("b", QueueId(1), true));
    }

    #[test]
    fn empty_optional_text_is_none() {
        let header = read::<request::DeleteTopicFromNamesrv>(&[("topic", "t"), ("clusterName", "")]).unwrap();
        assert_eq!(header.cluster_name, None);
        assert_eq!(read::<response::GetKvConfig>(&[]).unwrap().value, None);
    }
}
