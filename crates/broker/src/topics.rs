//! Topics: their settings, the built-in ones, and how a send creates one.
//!
//! The table holds what is on disk: a topic appears here only after the file that contains it was written (see
//! [`crate::metadata`]). Lookups take a short read lock; sessions keep what they found and ask again when
//! [`Topics::generation`] has moved on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ferromq_protocol::body::{TopicConfig, TopicFilterType, perm, topic_sys_flag};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use crate::attributes::{self, Attributes};
use crate::names;

/// True if permission bits allow reading.
#[must_use]
pub fn is_readable(bits: i32) -> bool {
    bits & perm::READ != 0
}

/// True if permission bits allow writing.
#[must_use]
pub fn is_writable(bits: i32) -> bool {
    bits & perm::WRITE != 0
}

/// Settings of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Name.
    pub name: Box<str>,
    /// Queues that consumers read.
    pub read_queues: i32,
    /// Queues that producers write.
    pub write_queues: i32,
    /// See [`perm`].
    pub perm: i32,
    /// Tags of a message are several (`MULTI_TAG`).
    pub multi_tag: bool,
    /// See [`topic_sys_flag`].
    pub sys_flag: i32,
    /// Producers and consumers care for order.
    pub order: bool,
    /// Further settings by bare key.
    pub attributes: Attributes,
}

impl Topic {
    /// A topic with this many queues that may be read and written.
    #[must_use]
    pub fn new(name: &str, queues: i32) -> Self {
        Self {
            name: name.into(),
            read_queues: queues,
            write_queues: queues,
            perm: perm::READ | perm::WRITE,
            multi_tag: false,
            sys_flag: 0,
            order: false,
            attributes: Attributes::new(),
        }
    }

    /// One more than the largest queue number that exists for reading or writing.
    #[must_use]
    pub fn queues(&self) -> i32 {
        self.read_queues.max(self.write_queues)
    }

    /// What this topic asks for that does not exist here, if anything. Such a topic may come with a store that Java
    /// wrote; it is kept, but neither sent to nor read.
    #[must_use]
    pub fn unsupported(&self) -> Option<UnsupportedTopic> {
        let is = |key, value| self.attributes.get(key).is_some_and(|set| set == value);
        if is(attributes::QUEUE_TYPE, "BatchCQ") {
            Some(UnsupportedTopic::BatchQueue)
        } else if is(attributes::CLEANUP_POLICY, "COMPACTION") {
            Some(UnsupportedTopic::Compaction)
        } else {
            None
        }
    }

    /// The queue for messages of this priority.
    #[must_use]
    pub fn queue_of_priority(&self, priority: i32) -> i32 {
        priority.min(self.write_queues - 1).max(0)
    }

    fn filter_type(&self) -> TopicFilterType {
        if self.multi_tag { TopicFilterType::MultiTag } else { TopicFilterType::SingleTag }
    }
}

impl From<TopicConfig> for Topic {
    fn from(config: TopicConfig) -> Self {
        Self {
            name: config.topic_name.into(),
            read_queues: config.read_queue_nums,
            write_queues: config.write_queue_nums,
            perm: config.perm,
            multi_tag: config.topic_filter_type == TopicFilterType::MultiTag,
            sys_flag: config.topic_sys_flag,
            order: config.order,
            attributes: config.attributes,
        }
    }
}

impl From<&Topic> for TopicConfig {
    fn from(topic: &Topic) -> Self {
        Self {
            topic_name: topic.name.to_string(),
            read_queue_nums: topic.read_queues,
            write_queue_nums: topic.write_queues,
            perm: topic.perm,
            topic_filter_type: topic.filter_type(),
            topic_sys_flag: topic.sys_flag,
            order: topic.order,
            attributes: topic.attributes.clone(),
            mapping_detail: None,
        }
    }
}

impl std::fmt::Display for Topic {
    /// As Java prints a `TopicConfig` into remarks.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bit = |bit, letter| if self.perm & bit != 0 { letter } else { '-' };
        let attributes: Vec<String> =
            self.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
        write!(
            f,
            "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={}{}{}, topicFilterType={}, \
             topicSysFlag={}, order={}, attributes={{{}}}]",
            self.name,
            self.read_queues,
            self.write_queues,
            bit(perm::READ, 'R'),
            bit(perm::WRITE, 'W'),
            bit(perm::INHERIT, 'X'),
            self.filter_type().name(),
            self.sys_flag,
            self.order,
            attributes.join(", "),
        )
    }
}

/// Kinds of topics that this broker does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedTopic {
    /// `queue.type=BatchCQ`.
    #[error("topics with queue.type=BatchCQ (batch consume queues) are not supported yet")]
    BatchQueue,
    /// `cleanup.policy=COMPACTION`.
    #[error("topics with cleanup.policy=COMPACTION (compaction) are not supported yet")]
    Compaction,
}

/// What decides which topics exist from the start.
#[derive(Clone, Debug)]
pub struct BuiltIn<'a> {
    /// Cluster name; a topic of that name exists.
    pub cluster: &'a str,
    /// Broker name; a topic of that name exists.
    pub broker_name: &'a str,
    /// Whether sends may create topics, hence whether their template exists.
    pub auto_create: bool,
    /// Queues of the template.
    pub default_queues: i32,
    /// Whether the cluster's topic may be read and written.
    pub cluster_topic: bool,
    /// Whether the broker's topic may be read and written.
    pub broker_topic: bool,
    /// Topic for message traces, if this broker has one.
    pub trace_topic: Option<&'a str>,
    /// Queues of the topic that Java's pop consumption keeps its state in.
    pub revive_queues: i32,
    /// Whether the topic of timer messages exists.
    pub timer_topic: bool,
}

impl BuiltIn<'_> {
    /// The topics, in Java's order. The file's settings win over these.
    #[must_use]
    pub fn topics(&self) -> Vec<Topic> {
        let with_perm = |name: &str, queues, perm| Topic { perm, ..Topic::new(name, queues) };
        let read_write = perm::READ | perm::WRITE;
        let optional = |enabled| if enabled { perm::INHERIT | read_write } else { perm::INHERIT };
        let mut topics = vec![Topic::new("SELF_TEST_TOPIC", 1)];
        if self.auto_create {
            let perm = perm::INHERIT | read_write;
            topics.push(with_perm(names::AUTO_CREATE_TOPIC, self.default_queues, perm));
        }
        topics.push(Topic::new("BenchmarkTest", 1024));
        topics.push(with_perm(self.cluster, 16, optional(self.cluster_topic)));
        topics.push(with_perm(self.broker_name, 1, optional(self.broker_topic)));
        topics.push(Topic::new("OFFSET_MOVED_EVENT", 1));
        topics.push(Topic::new("SCHEDULE_TOPIC_XXXX", 18));
        topics.extend(self.trace_topic.map(|name| Topic::new(name, 1)));
        topics.push(Topic::new(&format!("{}_REPLY_TOPIC", self.cluster), 1));
        topics.push(Topic::new(&format!("rmq_sys_REVIVE_LOG_{}", self.cluster), self.revive_queues));
        let members = format!("rmq_sys_SYNC_BROKER_MEMBER_{}", self.broker_name);
        topics.push(with_perm(&members, 1, perm::INHERIT));
        for name in [
            "RMQ_SYS_TRANS_HALF_TOPIC",
            "RMQ_SYS_TRANS_OP_HALF_TOPIC",
            "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC",
            "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC",
        ] {
            topics.push(Topic::new(name, 1));
        }
        if self.timer_topic {
            topics.push(Topic::new("rmq_sys_wheel_timer", 1));
        }
        topics
    }
}

/// The topic that a send to `name` creates, if its template allows it. `template` is the topic that the client named,
/// as it exists on this broker.
#[must_use]
pub fn created_by_send(
    name: &str,
    template: Option<&Topic>,
    auto_create: bool,
    queues_wanted: i32,
    unit_mode: bool,
) -> Option<Topic> {
    let template = template?;
    // With automatic creation off the general template gives nothing away; others a client may still name.
    if template.perm & perm::INHERIT == 0 || (&*template.name == names::AUTO_CREATE_TOPIC && !auto_create) {
        return None;
    }
    Some(Topic {
        perm: template.perm & !perm::INHERIT,
        multi_tag: template.multi_tag,
        sys_flag: flag_of_unit(unit_mode, names::is_retry(name)),
        ..Topic::new(name, queues_wanted.min(template.write_queues).max(0))
    })
}

/// The flag of a topic that a client in unit mode brings into being.
#[must_use]
pub fn flag_of_unit(unit_mode: bool, is_retry: bool) -> i32 {
    match (unit_mode, is_retry) {
        (false, _) => 0,
        (true, true) => topic_sys_flag::UNIT_SUB,
        (true, false) => topic_sys_flag::UNIT,
    }
}

/// All topics of this broker.
#[derive(Debug, Default)]
pub struct Topics {
    table: RwLock<FxHashMap<Box<str>, Arc<Topic>>>,
    generation: AtomicU64,
}

impl Topics {
    /// Grows with every change, so that who keeps a topic knows when to look again.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The topic, if it exists.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Arc<Topic>> {
        self.table.read().get(name).cloned()
    }

    /// True if the topic exists and is marked as ordered.
    #[must_use]
    pub fn is_ordered(&self, name: &str) -> bool {
        self.table.read().get(name).is_some_and(|topic| topic.order)
    }

    /// All topics, sorted by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Topic>> {
        let mut topics: Vec<Arc<Topic>> = self.table.read().values().cloned().collect();
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        topics
    }

    /// Number of topics.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.read().len()
    }

    /// True before the built-in topics are there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a topic in place; only [`crate::metadata`] calls this, after the file was written.
    pub(crate) fn put(&self, topic: Arc<Topic>) {
        self.table.write().insert(topic.name.clone(), topic);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Makes everybody look again who keeps a topic.
    pub(crate) fn touch(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Takes a topic away; only [`crate::metadata`] calls this, after the file was written.
    pub(crate) fn remove(&self, name: &str) {
        self.table.write().remove(name);
        self.generation.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built_in() -> BuiltIn<'static> {
        BuiltIn {
            cluster: "DefaultCluster",
            broker_name: "broker-a",
            auto_create: true,
            default_queues: 8,
            cluster_topic: true,
            broker_topic: true,
            trace_topic: None,
            revive_queues: 8,
            timer_topic: true,
        }
    }

    fn template(perm: i32) -> Topic {
        Topic { perm, multi_tag: true, ..Topic::new("TBW102", 8) }
    }

    #[test]
    fn built_in_topics_are_those_of_java() {
        let listed: Vec<String> = built_in()
            .topics()
            .iter()
            .map(|t| format!("{} {}/{} {}", t.name, t.read_queues, t.write_queues, t.perm))
            .collect();
        assert_eq!(
            listed,
            [
                "SELF_TEST_TOPIC 1/1 6",
                "TBW102 8/8 7",
                "BenchmarkTest 1024/1024 6",
                "DefaultCluster 16/16 7",
                "broker-a 1/1 7",
                "OFFSET_MOVED_EVENT 1/1 6",
                "SCHEDULE_TOPIC_XXXX 18/18 6",
                "DefaultCluster_REPLY_TOPIC 1/1 6",
                "rmq_sys_REVIVE_LOG_DefaultCluster 8/8 6",
                "rmq_sys_SYNC_BROKER_MEMBER_broker-a 1/1 1",
                "RMQ_SYS_TRANS_HALF_TOPIC 1/1 6",
                "RMQ_SYS_TRANS_OP_HALF_TOPIC 1/1 6",
                "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC 1/1 6",
                "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC 1/1 6",
                "rmq_sys_wheel_timer 1/1 6",
            ]
        );
        let bare = BuiltIn {
            auto_create: false,
            cluster_topic: false,
            broker_topic: false,
            trace_topic: Some("RMQ_SYS_TRACE_TOPIC"),
            timer_topic: false,
            ..built_in()
        };
        let topics = bare.topics();
        let perm = |name: &str| topics.iter().find(|t| &*t.name == name).map(|t| t.perm);
        assert_eq!(perm("TBW102"), None);
        assert_eq!(perm("DefaultCluster"), Some(1));
        assert_eq!(perm("broker-a"), Some(1));
        assert_eq!(perm("RMQ_SYS_TRACE_TOPIC"), Some(6));
        assert_eq!(perm("rmq_sys_wheel_timer"), None);
    }

    #[test]
    fn a_send_creates_by_its_template() {
        let created = |wanted| created_by_send("T", Some(&template(7)), true, wanted, false);
        let topic = created(4).unwrap();
        assert_eq!((topic.read_queues, topic.write_queues, topic.perm), (4, 4, 6));
        assert!(topic.multi_tag, "the filter type is copied");
        assert_eq!(created(100).unwrap().write_queues, 8, "never more than the template has");
        assert_eq!(created(-3).unwrap().write_queues, 0);
    }

    #[test]
    fn a_send_creates_nothing_without_an_inheriting_template() {
        assert_eq!(created_by_send("T", None, true, 4, false), None);
        assert_eq!(created_by_send("T", Some(&template(6)), true, 4, false), None);
        assert_eq!(created_by_send("T", Some(&template(7)), false, 4, false), None);
        let cluster = Topic { name: "DefaultCluster".into(), ..template(7) };
        assert!(created_by_send("T", Some(&cluster), false, 4, false).is_some(), "another template");
    }

    #[test]
    fn unit_mode_marks_the_topic() {
        let flag = |name: &str| created_by_send(name, Some(&template(7)), true, 4, true).unwrap().sys_flag;
        assert_eq!(flag("T"), topic_sys_flag::UNIT);
        assert_eq!(flag("%RETRY%g"), topic_sys_flag::UNIT_SUB);
    }

    #[test]
    fn topics_of_kinds_we_lack_say_which() {
        let with = |key: &str, value: &str| {
            let mut topic = Topic::new("T", 1);
            topic.attributes.insert(key.into(), value.into());
            topic.unsupported()
        };
        assert_eq!(with("queue.type", "BatchCQ"), Some(UnsupportedTopic::BatchQueue));
        assert_eq!(with("cleanup.policy", "COMPACTION"), Some(UnsupportedTopic::Compaction));
        assert_eq!(with("queue.type", "SimpleCQ"), None);
        assert_eq!(with("cleanup.policy", "DELETE"), None);
        assert_eq!(with("message.type", "FIFO"), None);
    }

    #[test]
    fn remarks_show_a_topic_as_java_does() {
        let mut topic = Topic::new("T", 4);
        topic.attributes.insert("message.type".into(), "FIFO".into());
        assert_eq!(
            topic.to_string(),
            "TopicConfig [topicName=T, readQueueNums=4, writeQueueNums=4, perm=RW-, topicFilterType=SINGLE_TAG, \
             topicSysFlag=0, order=false, attributes={message.type=FIFO}]"
        );
    }
}
