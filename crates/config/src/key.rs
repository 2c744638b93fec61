//! One configuration key: its Java name, type, default, and what this version does with it.
//!
//! Keys are constants in the tables of [`crate::table`]; nothing else describes them. The builders below are `const`
//! so that a row reads as one line: name and default, what happens, one sentence.

use std::fmt;

use crate::host::Host;

/// A row of a table.
#[derive(Clone, Debug)]
pub struct Key {
    /// Java's name, byte for byte; our own keys are named in the same manner.
    pub name: &'static str,
    /// Other names for the same value.
    pub aliases: &'static [&'static str],
    /// What a value must look like.
    pub value_type: ValueType,
    /// Value when no source names the key.
    pub default: Default,
    /// What this version does with the key.
    pub kind: Kind,
    /// True if a change through updateBrokerConfig or updateNamesrvConfig acts at once.
    pub reloadable: bool,
    /// Marked important in Java: what `mqbroker -m` prints.
    pub important: bool,
    /// Never shown: passwords.
    pub secret: bool,
    /// Environment variable that sets it.
    pub environment: Option<&'static str>,
    /// One sentence. Of an irrelevant key: why. Of an unsupported key: what it would have meant.
    pub about: &'static str,
}

/// What a value must look like. Widths are Java's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueType {
    /// `true` or `false` in any case.
    Bool,
    /// 32 bits, within bounds.
    Int { min: i32, max: i32 },
    /// 64 bits, within bounds.
    Long { min: i64, max: i64 },
    /// Java's double.
    Double,
    /// Any text.
    Text,
    /// One of these names.
    Choice(&'static [&'static str]),
}

/// The value of a key that nobody set.
#[derive(Clone, Copy)]
pub enum Default {
    /// Java's null: absent from reports.
    Unset,
    /// Written in the table.
    Bool(bool),
    /// Written in the table.
    Number(i64),
    /// Written in the table.
    Double(f64),
    /// Written in the table.
    Text(&'static str),
    /// Depends on this machine: processor count, host name, home directory, addresses.
    OfHost(fn(&Host) -> String),
}

/// What this version does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It acts as in Java.
    Honoured,
    /// It has nothing to act on here; setting it gives one info line.
    Irrelevant,
    /// It only tunes something this version does not have; setting it gives one info line.
    Tunes(Feature),
    /// Any value but the default would change safety, security, visibility or files, and stops the start.
    Unsupported,
}

/// What this version does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it; `Display` has the words for users")]
pub enum Feature {
    AccessControl,
    BatchDelete,
    BatchQueues,
    ColdReadControl,
    Compaction,
    Controller,
    DelayedMessages,
    DLedger,
    ExpiredQueueCleaning,
    LightQueues,
    LiteTopics,
    Metrics,
    OffsetReset,
    Pop,
    Proxy,
    Recall,
    Replication,
    RequestReply,
    RocksDb,
    ServerSideAssignment,
    SharedPartition,
    SlowConsumerGuard,
    Sql92,
    Statistics,
    StaticTopics,
    Transactions,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AccessControl => "authentication and authorization",
            Self::BatchDelete => "deletion of topics and groups by list",
            Self::BatchQueues => "batch consume queues",
            Self::ColdReadControl => "flow control of cold reads",
            Self::Compaction => "compacted topics",
            Self::Controller => "the controller",
            Self::DelayedMessages => "delayed messages and timers",
            Self::DLedger => "the DLedger commit log",
            Self::ExpiredQueueCleaning => "cleaning of expired consume queues on request",
            Self::LightQueues => "light message queues",
            Self::LiteTopics => "lite topics",
            Self::Metrics => "the metrics exporter",
            Self::OffsetReset => "offset reset by the broker",
            Self::Pop => "pop consumption",
            Self::Proxy => "the proxy",
            Self::Recall => "message recall",
            Self::Replication => "replication",
            Self::RequestReply => "request-reply",
            Self::RocksDb => "storage in RocksDB",
            Self::ServerSideAssignment => "queue assignment by the broker",
            Self::SharedPartition => "sharing of a disk partition between brokers",
            Self::SlowConsumerGuard => "switching off of slow consumers",
            Self::Sql92 => "SQL92 filtering",
            Self::Statistics => "statistics per topic and group",
            Self::StaticTopics => "static topics",
            Self::Transactions => "transactions",
        })
    }
}

impl Key {
    const fn new(name: &'static str, value_type: ValueType, default: Default) -> Self {
        Self {
            name,
            aliases: &[],
            value_type,
            default,
            kind: Kind::Honoured,
            reloadable: false,
            important: false,
            secret: false,
            environment: None,
            about: "",
        }
    }

    pub(crate) const fn bool(name: &'static str, default: bool) -> Self {
        Self::new(name, ValueType::Bool, Default::Bool(default))
    }

    pub(crate) const fn int(name: &'static str, default: i32) -> Self {
        Self::new(name, ValueType::Int { min: i32::MIN, max: i32::MAX }, Default::Number(default as i64))
    }

    pub(crate) const fn long(name: &'static str, default: i64) -> Self {
        Self::new(name, ValueType::Long { min: i64::MIN, max: i64::MAX }, Default::Number(default))
    }

    pub(crate) const fn double(name: &'static str, default: f64) -> Self {
        Self::new(name, ValueType::Double, Default::Double(default))
    }

    pub(crate) const fn text(name: &'static str, default: &'static str) -> Self {
        Self::new(name, ValueType::Text, Default::Text(default))
    }

    pub(crate) const fn choice(name: &'static str, choices: &'static [&'static str]) -> Self {
        Self::new(name, ValueType::Choice(choices), Default::Text(choices[0]))
    }

    /// A text that is null in Java until it is set.
    pub(crate) const fn unset(name: &'static str) -> Self {
        Self::new(name, ValueType::Text, Default::Unset)
    }

    pub(crate) const fn of_host(mut self, default: fn(&Host) -> String) -> Self {
        self.default = Default::OfHost(default);
        self
    }

    /// Smallest and largest value.
    pub(crate) const fn within(mut self, least: i64, most: i64) -> Self {
        self.value_type = match self.value_type {
            ValueType::Int { .. } => ValueType::Int { min: clamped(least), max: clamped(most) },
            ValueType::Long { .. } => ValueType::Long { min: least, max: most },
            other => other,
        };
        self
    }

    /// Shorthand for the many counts, sizes and times that must be positive.
    pub(crate) const fn positive(self) -> Self {
        self.within(1, i64::MAX)
    }

    pub(crate) const fn not_negative(self) -> Self {
        self.within(0, i64::MAX)
    }

    pub(crate) const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    pub(crate) const fn env(mut self, variable: &'static str) -> Self {
        self.environment = Some(variable);
        self
    }

    pub(crate) const fn important(mut self) -> Self {
        self.important = true;
        self
    }

    pub(crate) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    pub(crate) const fn reloadable(mut self) -> Self {
        self.reloadable = true;
        self
    }

    pub(crate) const fn honoured(mut self, about: &'static str) -> Self {
        self.kind = Kind::Honoured;
        self.about = about;
        self
    }

    pub(crate) const fn irrelevant(mut self, reason: &'static str) -> Self {
        self.kind = Kind::Irrelevant;
        self.about = reason;
        self
    }

    pub(crate) const fn tunes(mut self, feature: Feature) -> Self {
        self.kind = Kind::Tunes(feature);
        self
    }

    pub(crate) const fn unsupported(mut self, would_have_meant: &'static str) -> Self {
        self.kind = Kind::Unsupported;
        self.about = would_have_meant;
        self
    }

    /// The value nobody had to set, as text; `None` is Java's null.
    pub fn default_text(&self, host: &Host) -> Option<String> {
        match self.default {
            Default::Unset => None,
            Default::Bool(value) => Some(value.to_string()),
            Default::Number(value) => Some(value.to_string()),
            // Java prints a double with at least one decimal, as `Debug` does.
            Default::Double(value) => Some(format!("{value:?}")),
            Default::Text(value) => Some(value.to_owned()),
            Default::OfHost(value) => Some(value(host)),
        }
    }

    /// True if the default is the same on every machine.
    pub fn default_is_fixed(&self) -> bool {
        !matches!(self.default, Default::OfHost(_))
    }

    /// Checks a trimmed value and brings it into the form that is reported.
    pub fn parse(&self, text: &str) -> Result<String, Expected> {
        let parsed = match self.value_type {
            ValueType::Bool => {
                ["true", "false"].into_iter().find(|word| text.eq_ignore_ascii_case(word)).map(str::to_owned)
            }
            ValueType::Int { min, max } => java_integer(text)
                .filter(|n| (i64::from(min)..=i64::from(max)).contains(n))
                .map(|n| n.to_string()),
            ValueType::Long { min, max } => {
                java_integer(text).filter(|n| (min..=max).contains(n)).map(|n| n.to_string())
            }
            ValueType::Double => text.parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| format!("{n:?}")),
            ValueType::Text => Some(text.to_owned()),
            ValueType::Choice(names) => {
                names.iter().find(|name| **name == text).map(|name| (*name).to_owned())
            }
        };
        parsed.ok_or(Expected(self.value_type))
    }

    /// As Java takes a value: only texts are trimmed, and a boolean is true or it is false.
    pub(crate) fn parse_as_java(&self, text: &str) -> Result<String, Expected> {
        match self.value_type {
            ValueType::Bool => Ok(text.eq_ignore_ascii_case("true").to_string()),
            ValueType::Int { .. } | ValueType::Long { .. } => self.parse(text),
            ValueType::Double | ValueType::Text | ValueType::Choice(_) => self.parse(text.trim()),
        }
    }
}

/// `Integer.parseInt` and `Long.parseLong`: decimal digits with an optional sign.
fn java_integer(text: &str) -> Option<i64> {
    text.parse().ok()
}

const fn clamped(value: i64) -> i32 {
    if value > i32::MAX as i64 {
        i32::MAX
    } else if value < i32::MIN as i64 {
        i32::MIN
    } else {
        value as i32
    }
}

/// What a value should have looked like; displays as the end of a sentence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected(ValueType);

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ValueType::Bool => f.write_str("write true or false"),
            ValueType::Int { min, max } => write_bounds(f, min.into(), max.into()),
            ValueType::Long { min, max } => write_bounds(f, min, max),
            ValueType::Double => f.write_str("write a number such as 10.0"),
            ValueType::Text => f.write_str("write a text"),
            ValueType::Choice(names) => write!(f, "write {}", names.join(" or ")),
        }
    }
}

fn write_bounds(f: &mut fmt::Formatter<'_>, min: i64, max: i64) -> fmt::Result {
    write!(f, "write a whole number from {min} to {max}, digits only")
}

impl fmt::Debug for Default {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => f.write_str("Unset"),
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Double(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
            Self::OfHost(_) => f.write_str("OfHost"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_java_reads_them_after_trimming() {
        let int = Key::int("a", 0);
        assert_eq!(int.parse("+7").as_deref(), Ok("7"));
        assert_eq!(int.parse("-7").as_deref(), Ok("-7"));
        for wrong in ["", "1k", "1_000", "0x10", "1.0", "2147483648", "7 8"] {
            assert!(int.parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Key::long("a", 0).parse("2147483648").as_deref(), Ok("2147483648"));
        assert_eq!(Key::bool("a", false).parse("TRUE").as_deref(), Ok("true"));
        for wrong in ["yes", "1", "on", ""] {
            assert!(Key::bool("a", false).parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Key::double("a", 0.0).parse("8000").as_deref(), Ok("8000.0"));
        assert!(Key::double("a", 0.0).parse("NaN").is_err());
        let choice = Key::choice("a", &["ASYNC_FLUSH", "SYNC_FLUSH"]);
        assert_eq!(choice.parse("SYNC_FLUSH").as_deref(), Ok("SYNC_FLUSH"));
        assert!(choice.parse("sync_flush").is_err(), "Java's enum names are case-sensitive");
    }

    #[test]
    fn bounds_are_part_of_the_message() {
        let error = Key::int("a", 0).within(0, 65_535).parse("70000").unwrap_err();
        assert_eq!(error.to_string(), "write a whole number from 0 to 65535, digits only");
    }
}
