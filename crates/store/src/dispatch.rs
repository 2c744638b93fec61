//! What a record adds to its queue and to the key index.
//!
//! Pure, and the only place that knows: the send path and recovery call the same functions, so that what is rebuilt
//! after a crash equals what was there. Everything follows from the record, nothing from the clock (a replica derives
//! the same).

use ferromq_protocol::java::{Hasher, hash_code_lossy};
use ferromq_protocol::properties::{Properties, name};
use ferromq_protocol::sys_flag;
use ferromq_protocol::types::TimestampMs;

/// Topic in which Java keeps messages with a delay level until they are due, one queue per level.
pub const DELAY_LEVEL_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";

/// What is worth remembering of a topic: the hash of `topic#`, with which every key of the index begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicHash {
    prefix: Hasher,
    delay_levels: bool,
}

impl TopicHash {
    /// Of this topic.
    #[must_use]
    pub fn new(topic: &str) -> Self {
        Self::with_prefix(Self::prefix(topic), topic)
    }

    /// The hash alone, for whoever remembers the topic anyway.
    pub(crate) fn prefix(topic: &str) -> Hasher {
        let mut prefix = Hasher::new();
        prefix.write(topic);
        prefix.write("#");
        prefix
    }

    pub(crate) fn with_prefix(prefix: Hasher, topic: &str) -> Self {
        Self { prefix, delay_levels: topic == DELAY_LEVEL_TOPIC }
    }

    /// Hash under which the index keeps a key (`UNIQ_KEY` or one of `KEYS`) of this topic.
    #[must_use]
    pub fn key(self, key: &str) -> u32 {
        self.key_of(key.as_bytes())
    }

    fn key_of(self, key: &[u8]) -> u32 {
        let mut hasher = self.prefix;
        hasher.write_lossy(key);
        index_hash(hasher)
    }

    /// Hash under which the index keeps a tag of this topic. RocketMQ before 5.4 does not write these.
    #[must_use]
    pub fn tag(self, tag: &str) -> u32 {
        self.tag_of(tag.as_bytes())
    }

    fn tag_of(self, tag: &[u8]) -> u32 {
        let mut hasher = self.prefix;
        hasher.write("T#");
        hasher.write_lossy(tag);
        index_hash(hasher)
    }
}

/// The absolute value of Java's hash; 0 for the one that has none.
fn index_hash(hasher: Hasher) -> u32 {
    hasher.finish().checked_abs().unwrap_or(0).unsigned_abs()
}

/// Tag code of a queue entry, as far as it follows from the properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// Hash of the whole `TAGS` property, 0 without.
    Hash(i32),
    /// Delivery time by this level, counted from the time of storing.
    DelayLevel(i32),
}

impl Tag {
    /// The tag code of a record stored at this time.
    #[must_use]
    pub fn code(self, stored: TimestampMs, levels: &DelayLevels) -> i64 {
        match self {
            Self::Hash(hash) => i64::from(hash),
            Self::DelayLevel(level) => stored.0.saturating_add(levels.delay_ms(level)),
        }
    }
}

/// Whether a record gets an entry in the queue it names. Prepared and rolled-back ones do not (a half message is stored
/// as an ordinary one), and batches within batch queues have files of their own, as all records of such topics.
#[must_use]
pub fn has_queue_entry(flags: i32) -> bool {
    sys_flag::has_queue_entry(flags) && flags & sys_flag::INNER_BATCH == 0
}

/// Derives the tag of a record and appends the hashes of its keys to `keys`, in Java's order.
pub fn derive(topic: TopicHash, flags: i32, properties: Properties<'_>, keys: &mut Vec<u32>) -> Tag {
    let (mut unique, mut user, mut tag, mut delay) = (None, None, None, None);
    for (property, value) in properties {
        if property == name::UNIQUE_KEY.as_bytes() {
            unique = Some(value);
        } else if property == name::KEYS.as_bytes() {
            user = Some(value);
        } else if property == name::TAGS.as_bytes() {
            tag = Some(value);
        } else if topic.delay_levels && property == name::DELAY.as_bytes() {
            delay = Some(value);
        }
    }
    if sys_flag::transaction(flags) != sys_flag::TRANSACTION_ROLLBACK {
        if let Some(unique) = unique {
            keys.push(topic.key_of(unique));
        }
        if let Some(user) = user {
            let user = user.split(|&byte| byte == b' ').filter(|key| !key.is_empty());
            keys.extend(user.map(|key| topic.key_of(key)));
        }
        if let Some(tag) = tag {
            keys.push(topic.tag_of(tag));
        }
    }
    match delay.and_then(|level| std::str::from_utf8(level).ok()?.parse().ok()) {
        Some(level) if level > 0 => Tag::DelayLevel(level),
        _ => Tag::Hash(tag.map_or(0, hash_code_lossy)),
    }
}

/// The delays that levels stand for (`messageDelayLevel`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayLevels {
    delays_ms: Vec<i64>,
}

/// A `messageDelayLevel` that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no delay: a number followed by s, m, h or d")]
pub struct DelayLevelError(String);

impl Default for DelayLevels {
    fn default() -> Self {
        let minute = 60_000;
        let hour = 60 * minute;
        let short = [1_000, 5_000, 10_000, 30_000];
        let minutes = (1..=10).chain([20, 30]).map(|minutes| minutes * minute);
        Self { delays_ms: short.into_iter().chain(minutes).chain([hour, 2 * hour]).collect() }
    }
}

impl DelayLevels {
    /// Parses Java's form, for example `1s 5s 10m 2h`.
    ///
    /// # Errors
    /// Names the part that is no delay.
    pub fn parse(text: &str) -> Result<Self, DelayLevelError> {
        let delay = |part: &str| {
            let unit_ms = match part.chars().next_back()? {
                's' => 1_000,
                'm' => 60_000,
                'h' => 3_600_000,
                'd' => 86_400_000,
                _ => return None,
            };
            let number: i64 = part[..part.len() - 1].parse().ok().filter(|number| *number >= 0)?;
            number.checked_mul(unit_ms)
        };
        let parts = text.split(' ').filter(|part| !part.is_empty());
        let delays_ms = parts.map(|part| delay(part).ok_or_else(|| DelayLevelError(part.to_owned())));
        Ok(Self { delays_ms: delays_ms.collect::<Result<_, _>>()? })
    }

    /// Delay of a level; levels above the last one are the last one.
    fn delay_ms(&self, level: i32) -> i64 {
        let last = self.delays_ms.len();
        let place = usize::try_from(level).unwrap_or(0).min(last);
        // Java adds a second for a level it does not know.
        place.checked_sub(1).and_then(|index| self.delays_ms.get(index)).copied().unwrap_or(1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derived(topic: &str, flags: i32, properties: &str) -> (Tag, Vec<u32>) {
        let bytes = properties.replace('=', "\u{1}").replace(';', "\u{2}");
        let mut keys = Vec::new();
        let tag = derive(TopicHash::new(topic), flags, Properties(bytes.as_bytes()), &mut keys);
        (tag, keys)
    }

    fn hash(text: &str) -> u32 {
        ferromq_protocol::java::hash_code(text).unsigned_abs()
    }

    #[test]
    fn keys_are_the_unique_key_the_user_keys_and_the_tag() {
        let (tag, keys) = derived("TopicA", 0, "TAGS=TagT;KEYS=k0  kk0;UNIQ_KEY=AC1100;");
        assert_eq!(tag, Tag::Hash(0x0027_A81A));
        assert_eq!(keys, ["TopicA#AC1100", "TopicA#k0", "TopicA#kk0", "TopicA#T#TagT"].map(hash));
    }

    #[test]
    fn a_record_without_properties_has_tag_code_zero_and_no_keys() {
        assert_eq!(derived("TopicA", 0, ""), (Tag::Hash(0), vec![]));
    }

    #[test]
    fn a_rolled_back_record_is_not_indexed_a_prepared_one_is() {
        assert_eq!(derived("t", sys_flag::TRANSACTION_ROLLBACK, "UNIQ_KEY=a;TAGS=b;").1, Vec::<u32>::new());
        assert_eq!(derived("t", sys_flag::TRANSACTION_PREPARED, "UNIQ_KEY=a;").1, [hash("t#a")]);
    }

    #[test]
    fn the_hash_without_an_absolute_value_counts_as_zero() {
        // "polygenelubricants" hashes to i32::MIN; a prefix that hashes to 0 keeps it.
        let topic = TopicHash { prefix: Hasher::new(), delay_levels: false };
        assert_eq!(topic.key("polygenelubricants"), 0);
    }

    #[test]
    fn the_tag_code_of_a_delayed_message_is_its_delivery_time() {
        let levels = DelayLevels::default();
        let code = |topic, properties| derived(topic, 0, properties).0.code(TimestampMs(5_000_000), &levels);
        assert_eq!(code(DELAY_LEVEL_TOPIC, "TAGS=TagT;DELAY=3;"), 5_010_000);
        assert_eq!(code(DELAY_LEVEL_TOPIC, "DELAY=18;"), 5_000_000 + 7_200_000);
        assert_eq!(code(DELAY_LEVEL_TOPIC, "DELAY=99;"), 5_000_000 + 7_200_000, "capped");
        assert_eq!(code(DELAY_LEVEL_TOPIC, "TAGS=TagT;DELAY=0;"), 0x0027_A81A);
        assert_eq!(code(DELAY_LEVEL_TOPIC, "TAGS=TagT;DELAY=x;"), 0x0027_A81A);
        assert_eq!(code("TopicA", "TAGS=TagT;DELAY=3;"), 0x0027_A81A, "only in the topic of levels");
    }

    #[test]
    fn delay_levels_parse_as_java_writes_them() {
        let default = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";
        assert_eq!(DelayLevels::parse(default), Ok(DelayLevels::default()));
        assert_eq!(DelayLevels::parse("1d").unwrap().delay_ms(1), 86_400_000);
        assert_eq!(DelayLevels::parse("1s 2x"), Err(DelayLevelError("2x".into())));
        assert_eq!(DelayLevels::parse("").unwrap().delay_ms(1), 1_000);
    }

    #[test]
    fn a_negative_tag_hash_is_sign_extended() {
        assert_eq!(Tag::Hash(-1).code(TimestampMs(0), &DelayLevels::default()), -1);
    }

    #[test]
    fn records_of_batch_queues_get_no_ordinary_entry() {
        assert!(has_queue_entry(0) && has_queue_entry(sys_flag::TRANSACTION_COMMIT));
        assert!(!has_queue_entry(sys_flag::TRANSACTION_PREPARED));
        assert!(!has_queue_entry(sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP));
    }
}
