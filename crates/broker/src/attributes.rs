//! Attributes of topics and groups: how a request writes them, what may be changed.
//!
//! A request carries keys with a sign, `+key` to set and `-key` to remove; what is stored has bare keys. The error
//! texts are Java's and become the remark of the answer.

use std::collections::BTreeMap;

use thiserror::Error;

/// Stored attributes, by bare key.
pub type Attributes = BTreeMap<String, String>;

/// One attribute as a request wrote it: the key with its sign, and the value (empty for a removal).
pub type SignedAttribute = (String, String);

/// Why attributes are refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AttributeError {
    /// A setting without `+`.
    #[error("add/alter attribute format is wrong: {0}")]
    SettingWithoutSign(String),
    /// A removal without `-`.
    #[error("delete attribute format is wrong: {0}")]
    RemovalWithoutSign(String),
    /// The same signed key twice in the text of a request.
    #[error("key duplication: {0}")]
    RepeatedInText(String),
    /// A bare key that is empty or holds a sign.
    #[error("kv string format wrong.")]
    Key,
    /// The same bare key twice.
    #[error("alter duplication key. key: {0}")]
    Repeated(String),
    /// Neither `+` nor `-` in front of the key.
    #[error("wrong format key: {0}")]
    WithoutSign(String),
    /// A removal while the topic or group is being created.
    #[error("only add attribute is supported while creating topic. key: {0}")]
    RemovalWhileCreating(String),
    /// A removal of what is not there.
    #[error("attempt to delete a nonexistent key: {0}")]
    RemovalOfNothing(String),
    /// No such attribute.
    #[error("unsupported key: {0}")]
    Unsupported(String),
    /// May be set at creation only.
    #[error("attempt to update an unchangeable attribute. key: {0}")]
    Unchangeable(String),
    /// Not one of the words allowed.
    #[error("value is not in set: [{0}]")]
    NotInSet(String),
    /// Not a number between the bounds.
    #[error("value is not in range({min}, {max})")]
    NotInRange {
        /// Smallest allowed.
        min: i64,
        /// Largest allowed.
        max: i64,
    },
    /// Not a number at all.
    #[error("For input string: \"{0}\"")]
    NotANumber(String),
    /// Neither `true` nor `false`.
    #[error("boolean attribute format is wrong.")]
    NotABoolean,
}

/// Reads the text form of a request: `+key=value` and `-key`, separated by commas. What follows a second `=` in one
/// item is lost, as in Java.
pub fn parse(text: &str) -> Result<Vec<SignedAttribute>, AttributeError> {
    let mut attributes: Vec<SignedAttribute> = Vec::new();
    for item in text.split(',').filter(|item| !item.is_empty()) {
        let (key, value) = match item.split_once('=') {
            Some((key, _)) if !key.contains('+') => {
                return Err(AttributeError::SettingWithoutSign(key.into()));
            }
            Some((key, rest)) => (key, rest.split('=').next().unwrap_or_default()),
            None if !item.contains('-') => return Err(AttributeError::RemovalWithoutSign(item.into())),
            None => (item, ""),
        };
        if attributes.iter().any(|(known, _)| known == key) {
            return Err(AttributeError::RepeatedInText(key.into()));
        }
        attributes.push((key.into(), value.into()));
    }
    Ok(attributes)
}

/// What values an attribute takes.
#[derive(Clone, Copy, Debug)]
enum Values {
    OneOf(&'static [&'static str]),
    Within(i64, i64),
    Boolean,
    Text,
}

/// One row of the tables below.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    name: &'static str,
    values: Values,
    changeable: bool,
}

const fn row(name: &'static str, values: Values, changeable: bool) -> Definition {
    Definition { name, values, changeable }
}

/// Key that selects the kind of consume queue.
pub const QUEUE_TYPE: &str = "queue.type";
/// Key that selects how old messages go away.
pub const CLEANUP_POLICY: &str = "cleanup.policy";
/// Key that names the kind of messages a topic takes.
pub const MESSAGE_TYPE: &str = "message.type";

/// Attributes of topics (`TopicAttributes`). Words stand in the order in which Java's remarks list them.
pub const OF_TOPICS: &[Definition] = &[
    row(QUEUE_TYPE, Values::OneOf(&["BatchCQ", "SimpleCQ"]), false),
    row(CLEANUP_POLICY, Values::OneOf(&["DELETE", "COMPACTION"]), false),
    row(
        MESSAGE_TYPE,
        Values::OneOf(&[
            "UNSPECIFIED",
            "MIXED",
            "TRANSACTION",
            "PRIORITY",
            "FIFO",
            "DELAY",
            "LITE",
            "NORMAL",
        ]),
        true,
    ),
    row("reserve.time", Values::Within(-1, i64::MAX), true),
    row("lite.topic.expiration", Values::Within(-1, 43_200), true),
];

/// Attributes of consumer groups (`SubscriptionGroupAttributes`).
pub const OF_GROUPS: &[Definition] = &[
    row("priority.factor", Values::Within(0, 100), true),
    row("lite.bind.topic", Values::Text, true),
    row("lite.sub.model", Values::OneOf(&["Shared", "Exclusive"]), true),
    row("lite.sub.reset.offset.exclusive", Values::Boolean, true),
    row("lite.sub.reset.offset.unsubscribe", Values::Boolean, true),
    row("lite.sub.client.quota", Values::Within(-1, i64::MAX), true),
    row("lite.sub.client.max.event.cnt", Values::Within(10, i64::MAX), true),
    row("lite.sub.wildcard", Values::Text, true),
];

impl Definition {
    fn check(&self, value: &str) -> Result<(), AttributeError> {
        match self.values {
            Values::OneOf(words) if words.contains(&value) => Ok(()),
            Values::OneOf(words) => Err(AttributeError::NotInSet(words.join(", "))),
            Values::Within(min, max) => match value.parse::<i64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(()),
                Ok(_) => Err(AttributeError::NotInRange { min, max }),
                Err(_) => Err(AttributeError::NotANumber(value.into())),
            },
            Values::Boolean if value == "true" || value == "false" => Ok(()),
            Values::Boolean => Err(AttributeError::NotABoolean),
            Values::Text => Ok(()),
        }
    }
}

/// Applies what a request asks for to what is stored; `stored` is `None` while the topic or group is being created.
pub fn alter(
    definitions: &[Definition],
    stored: Option<&Attributes>,
    asked: &[SignedAttribute],
) -> Result<Attributes, AttributeError> {
    let mut altered = stored.cloned().unwrap_or_default();
    let mut seen: Vec<&str> = Vec::new();
    for (signed, value) in asked {
        let sign = signed.chars().next().ok_or(AttributeError::Key)?;
        let key = &signed[sign.len_utf8()..];
        if key.is_empty() || key.contains(['+', '-']) {
            return Err(AttributeError::Key);
        }
        if seen.contains(&key) {
            return Err(AttributeError::Repeated(key.into()));
        }
        seen.push(key);
        let remove = match (sign, stored) {
            ('+', _) => false,
            (_, None) => return Err(AttributeError::RemovalWhileCreating(key.into())),
            ('-', Some(stored)) if !stored.contains_key(key) => {
                return Err(AttributeError::RemovalOfNothing(key.into()));
            }
            ('-', Some(_)) => true,
            (_, Some(_)) => return Err(AttributeError::WithoutSign(key.into())),
        };
        let definition = definitions
            .iter()
            .find(|definition| definition.name == key)
            .ok_or_else(|| AttributeError::Unsupported(key.into()))?;
        if stored.is_some() && !definition.changeable {
            return Err(AttributeError::Unchangeable(key.into()));
        }
        if remove {
            altered.remove(key);
        } else {
            definition.check(value)?;
            altered.insert(key.into(), value.clone());
        }
    }
    Ok(altered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(pairs: &[(&str, &str)]) -> Attributes {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    fn alter_text(current: Option<&Attributes>, text: &str) -> Result<Attributes, String> {
        parse(text).and_then(|asked| alter(OF_TOPICS, current, &asked)).map_err(|error| error.to_string())
    }

    #[test]
    fn creation_takes_settings_only() {
        assert_eq!(
            alter_text(None, "+message.type=FIFO,+cleanup.policy=DELETE"),
            Ok(stored(&[("cleanup.policy", "DELETE"), ("message.type", "FIFO")]))
        );
        assert_eq!(alter_text(None, ""), Ok(Attributes::new()));
        assert_eq!(
            alter_text(None, "-message.type"),
            Err("only add attribute is supported while creating topic. key: message.type".into())
        );
    }

    #[test]
    fn an_update_merges_and_removes() {
        let current = stored(&[("message.type", "FIFO"), ("lite.topic.expiration", "5")]);
        assert_eq!(
            alter_text(Some(&current), "+message.type=DELAY,-lite.topic.expiration"),
            Ok(stored(&[("message.type", "DELAY")]))
        );
        assert_eq!(alter_text(Some(&current), ""), Ok(current));
    }

    #[test]
    fn texts_are_those_of_java() {
        let current = stored(&[("queue.type", "SimpleCQ")]);
        for (text, remark) in [
            ("message.type=FIFO", "add/alter attribute format is wrong: message.type"),
            ("message", "delete attribute format is wrong: message"),
            ("-message.type", "attempt to delete a nonexistent key: message.type"),
            ("a+message.type=FIFO", "kv string format wrong."),
            ("+=x", "kv string format wrong."),
            ("++message.type=FIFO", "kv string format wrong."),
            ("+colour=red", "unsupported key: colour"),
            ("+queue.type=SimpleCQ", "attempt to update an unchangeable attribute. key: queue.type"),
            ("+message.type=FIFO,-message.type", "alter duplication key. key: message.type"),
            ("+message.type=FIFO,+message.type=FIFO", "key duplication: +message.type"),
            ("+lite.topic.expiration=43201", "value is not in range(-1, 43200)"),
            ("+lite.topic.expiration=x", "For input string: \"x\""),
        ] {
            assert_eq!(alter_text(Some(&current), text), Err(remark.into()), "{text}");
        }
    }

    #[test]
    fn a_second_equals_sign_ends_the_value() {
        assert_eq!(alter_text(None, "+message.type=FIFO=x"), Ok(stored(&[("message.type", "FIFO")])));
    }

    #[test]
    fn group_attributes_have_their_own_table() {
        let asked = parse("+priority.factor=7,+lite.sub.reset.offset.exclusive=maybe").unwrap();
        assert_eq!(alter(OF_GROUPS, None, &asked), Err(AttributeError::NotABoolean));
        let asked = parse("+message.type=FIFO").unwrap();
        assert_eq!(alter(OF_GROUPS, None, &asked), Err(AttributeError::Unsupported("message.type".into())));
    }
}
