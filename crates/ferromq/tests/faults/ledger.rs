//! What clients know: what they sent, what was acknowledged, what they read. After every start the broker is held
//! against it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

use ferromq_protocol::code::{request, response};
use ferromq_protocol::header::OwnedFrame;

use crate::random::Random;
use crate::wire::{Connection, Pull, number, records, remark};

/// Says which message it is, and what has to be in it.
pub(crate) type Id = u64;

/// Topics are created anew under their old name; each life has a number.
pub(crate) type Life = u64;

/// A message as its sender knows it. The life is that in which it was sent: it cannot be in an earlier one.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) id: Id,
    pub(crate) topic: String,
    pub(crate) queue: i32,
    pub(crate) life: Life,
}

/// Where a client was told, or saw, that a message is. It cannot be in a later life than the one given.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) id: Id,
    pub(crate) topic: String,
    pub(crate) queue: i32,
    pub(crate) offset: i64,
    pub(crate) physical: Option<i64>,
    pub(crate) life: Life,
}

/// A topic, as far as its administrator knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicState {
    Absent,
    /// Being created when the broker died.
    Creating,
    Present {
        queues: i32,
    },
    /// Being deleted when the broker died.
    Deleting,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Topic {
    pub(crate) state: TopicState,
    pub(crate) life: Life,
}

/// Offsets of one group in one queue.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Committed {
    /// The highest that was ever sent to be committed.
    pub(crate) sent: i64,
    /// The last that was acknowledged.
    pub(crate) acknowledged: i64,
    /// What the broker said after its last start: it was on the disk.
    pub(crate) kept: i64,
}

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) sent: HashMap<Id, Sent>,
    pub(crate) known: Vec<Known>,
    /// Messages that the broker said it did not take.
    pub(crate) refused: HashSet<Id>,
    pub(crate) topics: BTreeMap<String, Topic>,
    /// Whether a group must be there, must not, or may (`None`).
    pub(crate) groups: BTreeMap<String, Option<bool>>,
    pub(crate) offsets: BTreeMap<(String, String, i32), Committed>,
}

impl Ledger {
    /// Asks the broker for everything and panics at the first thing that is wrong. Returns the number of messages.
    pub(crate) fn check(&mut self, connection: &mut Connection) -> usize {
        self.check_topics(connection);
        let found = self.check_messages(connection);
        self.check_groups(connection);
        self.check_offsets(connection);
        found
    }

    fn check_topics(&mut self, connection: &mut Connection) {
        for (name, topic) in &mut self.topics {
            let reply = connection.call(request::GET_TOPIC_CONFIG, &[("topic", name)], b"").unwrap();
            let found = match reply.code {
                response::SUCCESS => Some(write_queues(&reply)),
                response::TOPIC_NOT_EXIST => None,
                code => panic!("{name}: {code} {}", remark(&reply)),
            };
            match topic.state {
                TopicState::Absent => assert_eq!(found, None, "deleted topic {name} is back"),
                TopicState::Present { queues } => assert_eq!(found, Some(queues), "{name}"),
                TopicState::Creating => {
                    topic.state = found.map_or(TopicState::Absent, |queues| TopicState::Present { queues });
                }
                // What an administrator does whose command failed; it must bring the topic to its end.
                TopicState::Deleting => {
                    let deleted = delete_topic(connection, name).unwrap();
                    assert_eq!(deleted.code, response::SUCCESS, "{name}: {}", remark(&deleted));
                    topic.state = TopicState::Absent;
                }
            }
        }
    }

    fn check_messages(&self, connection: &mut Connection) -> usize {
        let mut seen = HashSet::new();
        let mut places: HashMap<(&str, i32), Vec<(Id, i64)>> = HashMap::new();
        for (name, topic) in &self.topics {
            let TopicState::Present { queues } = topic.state else { continue };
            for queue in 0..queues {
                let found = self.read_queue(connection, name, queue, topic.life);
                for (id, _) in &found {
                    assert!(seen.insert(*id), "message {id:#x} is there twice, again in {name}/{queue}");
                }
                places.insert((name, queue), found);
            }
        }
        for known in &self.known {
            let topic = self.topics[&known.topic];
            if !matches!(topic.state, TopicState::Present { .. }) || topic.life != known.life {
                continue;
            }
            // It may still belong to the life before if it was sent then and acknowledged now.
            if self.sent[&known.id].life != known.life {
                continue;
            }
            let place = &places[&(known.topic.as_str(), known.queue)];
            let at = usize::try_from(known.offset).unwrap();
            let found = place.get(at).unwrap_or_else(|| {
                panic!("lost: {known:?}; the queue ends at {}", place.len());
            });
            assert_eq!(found.0, known.id, "another message at the place of {known:?}");
            if let Some(physical) = known.physical {
                assert_eq!(found.1, physical, "{known:?}");
            }
        }
        seen.len()
    }

    /// All messages of a queue from offset 0 on, each as it was sent: id and position.
    fn read_queue(&self, connection: &mut Connection, topic: &str, queue: i32, life: Life) -> Vec<(Id, i64)> {
        let max = self.max_offset(connection, topic, queue);
        let mut found = Vec::new();
        while found.len() < usize::try_from(max).unwrap() {
            let reply = connection.pull(&Pull::of(topic, queue, found.len() as i64)).unwrap();
            assert_eq!(reply.code, response::SUCCESS, "{topic}/{queue} at {}: {reply:?}", found.len());
            for record in records(&reply.body) {
                let place = format!("{topic}/{queue} at {}", found.len());
                assert_eq!((record.topic, record.queue_id.0), (topic, queue), "{place}");
                assert_eq!(record.queue_offset.0, found.len() as i64, "{place}: offsets have a gap");
                let id = id_of(record.body).unwrap_or_else(|| panic!("{place}: never sent so"));
                assert!(!self.refused.contains(&id), "{place}: it was refused, and is there");
                let sent = self.sent.get(&id).unwrap_or_else(|| panic!("{place}: never sent"));
                assert_eq!((sent.topic.as_str(), sent.queue), (topic, queue), "{place}");
                assert!(sent.life <= life, "{place}: sent in a later life");
                found.push((id, record.physical.0));
            }
        }
        assert_eq!(found.len(), usize::try_from(max).unwrap(), "{topic}/{queue}: more than its maximum says");
        for known in self.known.iter().filter(|known| known.topic == topic && known.queue == queue) {
            let late = known.life < life && found.iter().any(|(id, _)| *id == known.id);
            assert!(!late, "{known:?} came back in life {life}");
        }
        found
    }

    fn max_offset(&self, connection: &mut Connection, topic: &str, queue: i32) -> i64 {
        let fields = [("topic", topic), ("queueId", &queue.to_string())];
        let reply = connection.call(request::GET_MAX_OFFSET, &fields, b"").unwrap();
        assert_eq!(reply.code, response::SUCCESS, "{}", remark(&reply));
        number(&reply, "offset")
    }

    fn check_groups(&mut self, connection: &mut Connection) {
        for (group, state) in &mut self.groups {
            let fields = [("group", group.as_str())];
            let reply = connection.call(request::GET_SUBSCRIPTIONGROUP_CONFIG, &fields, b"").unwrap();
            let found = reply.code == response::SUCCESS;
            assert!(found || reply.code == response::SUBSCRIPTION_GROUP_NOT_EXIST, "{}", remark(&reply));
            assert_eq!(*state.get_or_insert(found), found, "group {group}");
        }
    }

    fn check_offsets(&mut self, connection: &mut Connection) {
        for ((group, topic, queue), committed) in &mut self.offsets {
            let found = committed_offset(connection, group, topic, *queue).unwrap();
            let name = format!("{group} in {topic}/{queue}: {committed:?}");
            assert!(found <= committed.sent, "{name}: the broker says {found}, beyond what was committed");
            assert!(found >= committed.kept, "{name}: the broker says {found}, it has gone back");
            committed.kept = found;
            // What was lost with the process need not come back with the next one.
            committed.acknowledged = found;
        }
    }

    /// After a clean stop nothing is missing from the offsets.
    pub(crate) fn check_offsets_are_complete(&self, connection: &mut Connection) {
        for ((group, topic, queue), committed) in &self.offsets {
            let found = committed_offset(connection, group, topic, *queue).unwrap();
            let name = format!("{group} in {topic}/{queue}: {committed:?}");
            assert!(found >= committed.acknowledged, "{name}: the broker says {found}");
        }
    }

    /// Finds some messages that are there by their key.
    pub(crate) fn check_index(&self, connection: &mut Connection, samples: usize, random: &mut Random) {
        let lives = |known: &&Known| {
            let topic = self.topics[&known.topic];
            matches!(topic.state, TopicState::Present { .. })
                && topic.life == known.life
                && self.sent[&known.id].life == known.life
        };
        let known: Vec<&Known> = self.known.iter().filter(lives).collect();
        for _ in 0..samples.min(known.len()) {
            let known = random.one_of(&known);
            let key = key_of(known.id);
            let fields = [
                ("topic", known.topic.as_str()),
                ("key", &key),
                ("maxNum", "32"),
                ("beginTimestamp", "0"),
                ("endTimestamp", "9223372036854775807"),
            ];
            let reply = connection.call(request::QUERY_MESSAGE, &fields, b"").unwrap();
            assert_eq!(reply.code, response::SUCCESS, "by key {key}: {}", remark(&reply));
            let found = records(&reply.body).iter().any(|record| id_of(record.body) == Some(known.id));
            assert!(found, "the index does not know {known:?}");
        }
    }
}

pub(crate) fn committed_offset(
    connection: &mut Connection,
    group: &str,
    topic: &str,
    queue: i32,
) -> io::Result<i64> {
    let fields = [
        ("consumerGroup", group),
        ("topic", topic),
        ("queueId", &queue.to_string()),
        ("setZeroIfNotFound", "false"),
    ];
    let reply = connection.call(request::QUERY_CONSUMER_OFFSET, &fields, b"")?;
    match reply.code {
        response::SUCCESS => Ok(number(&reply, "offset")),
        response::QUERY_NOT_FOUND => Ok(0),
        code => panic!("{code} {}", remark(&reply)),
    }
}

fn write_queues(reply: &OwnedFrame) -> i32 {
    let config: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    i32::try_from(config["writeQueueNums"].as_i64().unwrap()).unwrap()
}

pub(crate) fn create_topic(connection: &mut Connection, name: &str, queues: i32) -> io::Result<OwnedFrame> {
    let queues = queues.to_string();
    let fields =
        [("topic", name), ("readQueueNums", &queues), ("writeQueueNums", queues.as_str()), ("perm", "6")];
    connection.call(request::UPDATE_AND_CREATE_TOPIC, &fields, b"")
}

pub(crate) fn create_group(connection: &mut Connection, group: &str) -> io::Result<OwnedFrame> {
    let body = serde_json::json!({ "groupName": group }).to_string();
    let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
    connection.call(code, &[], body.as_bytes())
}

pub(crate) fn delete_topic(connection: &mut Connection, name: &str) -> io::Result<OwnedFrame> {
    connection.call(request::DELETE_TOPIC_IN_BROKER, &[("topic", name)], b"")
}

/// The body of a message: its id, its length, and bytes that follow from both.
pub(crate) fn body_of(id: Id, len: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(len + 20);
    body.extend_from_slice(&id.to_be_bytes());
    body.extend_from_slice(&(len as u64).to_be_bytes());
    let mut random = Random::new(id ^ (len as u64) << 32);
    while body.len() < len {
        body.extend_from_slice(&random.next().to_be_bytes());
    }
    body
}

/// The id of a message whose body is as it was sent.
pub(crate) fn id_of(body: &[u8]) -> Option<Id> {
    let (id, rest) = body.split_first_chunk()?;
    let (len, _) = rest.split_first_chunk()?;
    let (id, len) = (u64::from_be_bytes(*id), u64::from_be_bytes(*len));
    let is_as_sent = body.len() as u64 <= len + 20 && body_of(id, usize::try_from(len).ok()?) == body;
    is_as_sent.then_some(id)
}

pub(crate) fn key_of(id: Id) -> String {
    format!("k{id:x}")
}
