//! Names of topics and groups: what is allowed, which topics belong to the system, which derive from a group.
//!
//! The texts are those of Java's `TopicValidator`, because clients and operators read them.

use thiserror::Error;

/// Template of automatically created topics.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Prefix of the topic in which a group's failed deliveries wait for the next attempt.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of the topic that keeps what a group failed to consume for good.
pub const DEAD_LETTER_PREFIX: &str = "%DLQ%";
/// Prefix of topics that are part of the system.
const SYSTEM_PREFIX: &str = "rmq_sys_";

const TOPIC_LENGTH_MAX: usize = 127;
const RETRY_OR_DEAD_LETTER_LENGTH_MAX: usize = 255;
const GROUP_LENGTH_MAX: usize = 120;

/// System topics whose names do not depend on cluster or broker.
const SYSTEM_TOPICS: [&str; 12] = [
    AUTO_CREATE_TOPIC,
    "SCHEDULE_TOPIC_XXXX",
    "BenchmarkTest",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRACE_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
    "CHECKPOINT_TOPIC",
    "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC",
    "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC",
];

/// System topics that only the broker itself writes.
const NOT_SENDABLE: [&str; 8] = [
    "SCHEDULE_TOPIC_XXXX",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
];

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Missing, or white space only.
    #[error("The specified {0} is blank.")]
    Blank(NameOf),
    /// Another character than letters, digits, `%`, `|`, `-`, `_`.
    #[error("The specified {0}: {1}, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")]
    IllegalCharacters(NameOf, String),
    /// Longer than topics or groups may be.
    #[error("The specified {0}: {1}, is longer than {0} max length: {max}", max = .0.length_max())]
    TooLong(NameOf, String),
    /// Longer than even retry and dead letter topics may be.
    #[error(
        "The specified topic is DLQ or Retry topic: {0}, and it's longer than topic max length: {RETRY_OR_DEAD_LETTER_LENGTH_MAX}"
    )]
    DerivedTooLong(String),
}

/// What a name is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameOf {
    /// A topic.
    Topic,
    /// A consumer group.
    Group,
}

impl NameOf {
    fn length_max(self) -> usize {
        match self {
            Self::Topic => TOPIC_LENGTH_MAX,
            Self::Group => GROUP_LENGTH_MAX,
        }
    }
}

impl std::fmt::Display for NameOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Topic => "topic",
            Self::Group => "group",
        })
    }
}

/// Checks the name of a topic that a client wants to create or send to.
pub fn check_topic(name: &str) -> Result<(), NameError> {
    check_characters(NameOf::Topic, name)?;
    if is_retry(name) || is_dead_letter(name) {
        if name.len() > RETRY_OR_DEAD_LETTER_LENGTH_MAX {
            return Err(NameError::DerivedTooLong(name.into()));
        }
    } else if name.len() > TOPIC_LENGTH_MAX {
        return Err(NameError::TooLong(NameOf::Topic, name.into()));
    }
    Ok(())
}

/// Checks the name of a consumer group.
pub fn check_group(name: &str) -> Result<(), NameError> {
    check_characters(NameOf::Group, name)?;
    if name.len() > GROUP_LENGTH_MAX {
        return Err(NameError::TooLong(NameOf::Group, name.into()));
    }
    Ok(())
}

fn check_characters(of: NameOf, name: &str) -> Result<(), NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Blank(of));
    }
    if !name.bytes().all(is_allowed) {
        return Err(NameError::IllegalCharacters(of, name.into()));
    }
    Ok(())
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-')
}

/// True for the retry topic of some group.
#[must_use]
pub fn is_retry(topic: &str) -> bool {
    topic.starts_with(RETRY_PREFIX)
}

/// True for the dead letter topic of some group.
#[must_use]
pub fn is_dead_letter(topic: &str) -> bool {
    topic.starts_with(DEAD_LETTER_PREFIX)
}

/// The retry topic of a group.
#[must_use]
pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

/// True for groups that belong to the system and exist without being created.
#[must_use]
pub fn is_system_group(group: &str) -> bool {
    group.starts_with("CID_RMQ_SYS_")
}

/// True if only the broker itself writes this topic.
#[must_use]
pub fn is_send_forbidden(topic: &str) -> bool {
    NOT_SENDABLE.contains(&topic)
}

/// The system topics of one broker: the fixed ones and those named after its cluster and itself.
#[derive(Debug)]
pub struct SystemTopics {
    named: Vec<Box<str>>,
}

impl SystemTopics {
    /// `registered` are the built-in topics that this broker created under names of its own.
    pub fn new<'a>(registered: impl IntoIterator<Item = &'a str>) -> Self {
        let mut named: Vec<Box<str>> = SYSTEM_TOPICS.map(Box::from).into();
        for topic in registered {
            if !SYSTEM_TOPICS.contains(&topic) {
                named.push(topic.into());
            }
        }
        Self { named }
    }

    /// True if users may neither change nor delete the topic.
    #[must_use]
    pub fn contains(&self, topic: &str) -> bool {
        topic.starts_with(SYSTEM_PREFIX) || self.named.iter().any(|name| &**name == topic)
    }

    /// All of them, for the list that tools ask for.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(|name| &**name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(result: Result<(), NameError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn ordinary_names_pass() {
        for name in ["TopicA", "a", "%RETRY%group", "with-dash_and|pipe", &"x".repeat(127)] {
            assert_eq!(check_topic(name), Ok(()), "{name}");
        }
        assert_eq!(check_group(&"g".repeat(120)), Ok(()));
    }

    #[test]
    fn texts_are_those_of_java() {
        assert_eq!(text(check_topic(" ")), "The specified topic is blank.");
        assert_eq!(
            text(check_topic("a.b")),
            "The specified topic: a.b, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
        );
        let long = "x".repeat(128);
        assert_eq!(
            text(check_topic(&long)),
            format!("The specified topic: {long}, is longer than topic max length: 127")
        );
        let retry = retry_topic(&"x".repeat(250));
        assert_eq!(
            text(check_topic(&retry)),
            format!(
                "The specified topic is DLQ or Retry topic: {retry}, and it's longer than topic max length: 255"
            )
        );
        let group = "g".repeat(121);
        assert_eq!(
            text(check_group(&group)),
            format!("The specified group: {group}, is longer than group max length: 120")
        );
        assert_eq!(
            text(check_group("a+b")),
            "The specified group: a+b, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
        );
    }

    #[test]
    fn every_other_ascii_character_is_illegal() {
        for byte in 0_u8..128 {
            let name = format!("a{}b", byte as char);
            let legal = byte.is_ascii_alphanumeric() || b"%|_-".contains(&byte);
            assert_eq!(check_topic(&name).is_ok(), legal, "{name:?}");
        }
        assert!(check_topic("grüße").is_err());
    }

    #[test]
    fn retry_topics_may_be_longer_than_others() {
        assert_eq!(check_topic(&retry_topic(&"g".repeat(247))), Ok(()));
        assert!(check_topic(&format!("%DLQ%{}", "g".repeat(251))).is_err());
    }

    #[test]
    fn system_topics_are_fixed_registered_or_prefixed() {
        let system = SystemTopics::new(["DefaultCluster", "broker-a", "TBW102"]);
        for topic in ["TBW102", "SELF_TEST_TOPIC", "DefaultCluster", "broker-a", "rmq_sys_anything"] {
            assert!(system.contains(topic), "{topic}");
        }
        assert!(!system.contains("TopicA") && !system.contains("RMQ_SYS_other"));
        assert_eq!(system.iter().filter(|topic| *topic == "TBW102").count(), 1);
    }

    #[test]
    fn templates_and_cluster_topics_may_be_sent_to() {
        assert!(is_send_forbidden("SCHEDULE_TOPIC_XXXX") && is_send_forbidden("SELF_TEST_TOPIC"));
        assert!(!is_send_forbidden("TBW102") && !is_send_forbidden("BenchmarkTest"));
    }
}
