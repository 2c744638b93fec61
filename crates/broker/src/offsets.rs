//! How far each group has read each queue.
//!
//! Commits change memory; the file follows every few seconds, so after a crash an offset may be older than the last
//! commit but never newer. A commit may go backwards: clients rewind, and only they know why. Keys in the file are
//! `topic@group`; a key with more parts (broadcast positions of Java) is kept as group text and never interpreted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

/// Distinct queues kept per topic and group; a client that commits more is refused.
pub const QUEUES_MAX: usize = 65_536;

/// Reading progress of one group in one topic, by queue.
#[derive(Debug, Default)]
struct Progress {
    /// What the group said it finished: the next offset to consume.
    committed: BTreeMap<i32, i64>,
    /// What the group was last told to read next. Not read back from the file.
    pulled: BTreeMap<i32, i64>,
}

type Topics = FxHashMap<Box<str>, Mutex<Progress>>;

/// Progress of all groups.
#[derive(Debug, Default)]
pub struct Offsets {
    groups: RwLock<FxHashMap<Box<str>, Topics>>,
    /// Commits since the start; tells whether the file is behind.
    commits: AtomicU64,
}

/// More queues than a topic can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {QUEUES_MAX} queues of one topic and group have offsets")]
pub struct TooManyQueues;

impl Offsets {
    /// The group will go on at `offset`.
    pub fn commit(&self, group: &str, topic: &str, queue_id: i32, offset: i64) -> Result<(), TooManyQueues> {
        self.change(group, topic, |progress| {
            if progress.committed.len() >= QUEUES_MAX && !progress.committed.contains_key(&queue_id) {
                return Err(TooManyQueues);
            }
            progress.committed.insert(queue_id, offset);
            Ok(())
        })?;
        self.commits.fetch_add(1, Relaxed);
        Ok(())
    }

    /// A pull told the group to go on at `offset`.
    pub fn pulled(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        self.change(group, topic, |progress| {
            if progress.pulled.len() < QUEUES_MAX || progress.pulled.contains_key(&queue_id) {
                progress.pulled.insert(queue_id, offset);
            }
        });
    }

    fn change<T>(&self, group: &str, topic: &str, change: impl FnOnce(&mut Progress) -> T) -> T {
        if let Some(progress) = self.groups.read().get(group).and_then(|topics| topics.get(topic)) {
            return change(&mut progress.lock());
        }
        let mut groups = self.groups.write();
        let topics = match groups.get_mut(group) {
            Some(topics) => topics,
            None => groups.entry(group.into()).or_default(),
        };
        change(topics.entry(topic.into()).or_default().get_mut())
    }

    /// Where the group will go on, if it ever committed.
    #[must_use]
    pub fn committed(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.groups.read().get(group)?.get(topic)?.lock().committed.get(&queue_id).copied()
    }

    /// Where the last pull told the group to go on.
    #[must_use]
    pub fn last_pulled(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.groups.read().get(group)?.get(topic)?.lock().pulled.get(&queue_id).copied()
    }

    /// Topics in which the group committed anything.
    #[must_use]
    pub fn topics_of(&self, group: &str) -> Vec<Box<str>> {
        self.groups.read().get(group).map_or_else(Vec::new, |topics| {
            topics.iter().filter(|(_, p)| !p.lock().committed.is_empty()).map(|(t, _)| t.clone()).collect()
        })
    }

    /// Groups that committed anything in the topic.
    #[must_use]
    pub fn groups_of(&self, topic: &str) -> Vec<Box<str>> {
        let groups = self.groups.read();
        let reads = |topics: &Topics| topics.get(topic).is_some_and(|p| !p.lock().committed.is_empty());
        groups.iter().filter(|(_, topics)| reads(topics)).map(|(group, _)| group.clone()).collect()
    }

    /// Drops all progress in a topic.
    pub fn forget_topic(&self, topic: &str) {
        let mut forgotten = false;
        self.groups.write().retain(|_, topics| {
            forgotten |= topics.remove(topic).is_some();
            !topics.is_empty()
        });
        if forgotten {
            self.commits.fetch_add(1, Relaxed);
        }
    }

    /// Drops all progress of a group.
    pub fn forget_group(&self, group: &str) {
        if self.groups.write().remove(group).is_some() {
            self.commits.fetch_add(1, Relaxed);
        }
    }

    /// Number of changes so far; the file is behind when this has grown since it was written.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.commits.load(Relaxed)
    }

    /// Everything committed and pulled, for the file: `visit(topic, group, committed, pulled)`. No order is promised.
    pub fn for_each(&self, mut visit: impl FnMut(&str, &str, &BTreeMap<i32, i64>, &BTreeMap<i32, i64>)) {
        for (group, topics) in self.groups.read().iter() {
            for (topic, progress) in topics {
                let progress = progress.lock();
                visit(topic, group, &progress.committed, &progress.pulled);
            }
        }
    }

    /// Takes back offsets beyond the end of their queue. After a power cut the log may have lost its tail while the
    /// file kept the offset: left alone, the group would step over the messages stored next. `max_offset` answers
    /// `None` for queues it does not know, whose offsets stay. Returns how many were taken back.
    pub fn clamp(&self, max_offset: impl Fn(&str, i32) -> Option<i64>) -> usize {
        let mut clamped = 0;
        for topics in self.groups.read().values() {
            for (topic, progress) in topics {
                for (queue_id, offset) in &mut progress.lock().committed {
                    if let Some(max) = max_offset(topic, *queue_id)
                        && *offset > max
                    {
                        *offset = max;
                        clamped += 1;
                    }
                }
            }
        }
        if clamped > 0 {
            self.commits.fetch_add(1, Relaxed);
        }
        clamped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_may_go_backwards() {
        let offsets = Offsets::default();
        offsets.commit("g", "T", 0, 100).unwrap();
        offsets.commit("g", "T", 0, 40).unwrap();
        assert_eq!(offsets.committed("g", "T", 0), Some(40));
        assert_eq!(offsets.committed("g", "T", 1), None);
        assert_eq!(offsets.committed("h", "T", 0), None);
    }

    #[test]
    fn a_pull_is_not_a_commit() {
        let offsets = Offsets::default();
        offsets.pulled("g", "T", 0, 32);
        assert_eq!(offsets.last_pulled("g", "T", 0), Some(32));
        assert_eq!(offsets.committed("g", "T", 0), None);
        assert!(offsets.topics_of("g").is_empty() && offsets.groups_of("T").is_empty());
        assert_eq!(offsets.commits(), 0, "the file is not behind because of it");
    }

    #[test]
    fn topics_and_groups_are_forgotten_together_with_their_progress() {
        let offsets = Offsets::default();
        for (group, topic) in [("g", "T"), ("g", "U"), ("h", "T")] {
            offsets.commit(group, topic, 0, 1).unwrap();
        }
        offsets.forget_topic("T");
        assert_eq!(offsets.topics_of("g"), ["U".into()]);
        assert!(offsets.groups_of("T").is_empty());
        offsets.forget_group("g");
        assert_eq!(offsets.committed("g", "U", 0), None);
        assert_eq!(offsets.commits(), 5);
    }

    #[test]
    fn offsets_beyond_a_cut_log_are_taken_back_and_others_stay() {
        let offsets = Offsets::default();
        offsets.commit("g", "T", 0, 100).unwrap();
        offsets.commit("g", "T", 1, 7).unwrap();
        offsets.commit("g", "unknown", 0, 9).unwrap();
        assert_eq!(offsets.clamp(|topic, _| (topic == "T").then_some(90)), 1);
        assert_eq!(offsets.committed("g", "T", 0), Some(90));
        assert_eq!(offsets.committed("g", "T", 1), Some(7));
        assert_eq!(offsets.committed("g", "unknown", 0), Some(9));
    }

    #[test]
    fn one_client_cannot_fill_memory_with_queue_numbers() {
        let offsets = Offsets::default();
        for queue_id in 0..i32::try_from(QUEUES_MAX).unwrap() {
            offsets.commit("g", "T", queue_id, 1).unwrap();
        }
        assert_eq!(offsets.commit("g", "T", -1, 1), Err(TooManyQueues));
        assert_eq!(offsets.commit("g", "T", 5, 2), Ok(()), "known queues go on");
    }
}
