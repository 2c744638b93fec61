//! Topics, groups and offsets as files: `topics.json`, `subscriptionGroup.json`, `consumerOffset.json`, in Java's form.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ferromq_protocol::body::{
    ConsumerOffsetTable, DataVersion, SubscriptionGroupTable, TopicConfig, TopicConfigTable,
};
use ferromq_protocol::json::{self, Form, Rendered};
use ferromq_store::clock::Clock;
use ferromq_store::disk::Disk;
use ferromq_store::layout::Layout;
use ferromq_store::state_file::{StateFile, StateFileError};
use serde::Serialize;

use super::{Change, File, Metadata, PersistError, Versions, WriteFile};
use crate::groups::{self, Group, Groups};
use crate::offsets::Offsets;
use crate::topics::{BuiltIn, Topic, Topics};

/// What the files held.
#[derive(Debug, Default)]
pub struct Loaded {
    /// `topics.json`.
    pub topics: Topics,
    /// `subscriptionGroup.json`.
    pub groups: Groups,
    /// `consumerOffset.json`.
    pub offsets: Offsets,
    /// Versions of the three.
    pub versions: Versions,
}

/// The files of one broker.
pub struct StateFiles {
    topics: StateFile,
    groups: StateFile,
    offsets: StateFile,
}

impl StateFiles {
    /// Those in the `config` directory of a store.
    #[must_use]
    pub fn new(disk: &Arc<dyn Disk>, layout: &Layout) -> Self {
        let file = |file: File| StateFile::new(Arc::clone(disk), layout, file.name());
        Self { topics: file(File::Topics), groups: file(File::Groups), offsets: file(File::Offsets) }
    }

    /// Reads all of them. What is built in exists whether a file says so or not; what a file says of it wins.
    ///
    /// # Errors
    /// When a file cannot be read, or neither it nor its backup can be understood.
    pub fn load(&self, built_in: &BuiltIn<'_>, clock: &dyn Clock) -> Result<Loaded, StateFileError> {
        let loaded = Loaded::default();
        for topic in built_in.topics() {
            loaded.topics.put(Arc::new(topic));
        }
        let file =
            self.topics.load(clock, json::from_slice::<TopicConfigTable>)?.into_option().unwrap_or_default();
        for (name, config) in file.topic_config_table {
            loaded.topics.put(Arc::new(Topic { name: name.into(), ..Topic::from(config) }));
        }
        let topics = file.data_version;

        for name in groups::BUILT_IN {
            loaded.groups.put(Arc::new(groups::with_defaults(name)));
        }
        let file = self
            .groups
            .load(clock, json::from_slice::<SubscriptionGroupTable>)?
            .into_option()
            .unwrap_or_default();
        for (name, config) in file.subscription_group_table {
            loaded.groups.put(Arc::new(Group { group_name: name, ..config }));
        }
        let forbidden = file.forbidden_table.into_iter().map(|(group, topics)| {
            (group.into_boxed_str(), topics.into_iter().map(|(topic, bits)| (topic.into(), bits)).collect())
        });
        loaded.groups.set_forbidden(forbidden.collect());
        let groups = file.data_version;

        let file = self
            .offsets
            .load(clock, json::from_slice::<ConsumerOffsetTable>)?
            .into_option()
            .unwrap_or_default();
        for (key, queues) in file.offset_table {
            let Some((topic, group)) = key.split_once('@') else {
                tracing::warn!(key, "offsets without a group are left out");
                continue;
            };
            for (queue_id, offset) in queues {
                // A file with more queues than a topic can have is cut rather than refused.
                let _ = loaded.offsets.commit(group, topic, queue_id, offset);
            }
        }
        let versions = Versions { topics, groups, offsets: file.data_version };
        Ok(Loaded { versions, ..loaded })
    }

    /// What replaces the files.
    #[must_use]
    pub fn into_writer(self) -> WriteFile {
        Box::new(move |file, text| {
            match file {
                File::Topics => &self.topics,
                File::Groups => &self.groups,
                File::Offsets => &self.offsets,
            }
            .save(text)
        })
    }
}

/// What the writer keeps from one write to the next.
#[derive(Default)]
pub(super) struct Kept {
    /// `topics.json` as it is, its topics as text: of ten thousand only those that change are rendered. Absent before
    /// the first write, and after one that failed.
    topics: Option<TopicConfigTable<Rendered>>,
    /// How long that text was.
    topics_bytes: usize,
}

/// What one write has to write.
pub(super) struct Batch {
    topics: BTreeMap<Box<str>, Option<Arc<Topic>>>,
    groups: BTreeMap<Box<str>, Option<Arc<Group>>>,
    topic_changes: i64,
    group_changes: i64,
    /// Topics and groups whose offsets go with them.
    forgotten_topics: BTreeSet<Box<str>>,
    forgotten_groups: BTreeSet<Box<str>>,
    offsets_due: bool,
}

impl Batch {
    pub(super) fn of(changes: &[Change<'static>], offsets_due: bool) -> Self {
        let mut batch = Self {
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            topic_changes: 0,
            group_changes: 0,
            forgotten_topics: BTreeSet::new(),
            forgotten_groups: BTreeSet::new(),
            offsets_due,
        };
        for change in changes {
            match change {
                Change::PutTopic(topic) => {
                    batch.topics.insert(topic.name.clone(), Some(Arc::clone(topic)));
                    batch.topic_changes += 1;
                }
                Change::DeleteTopic(topic) => {
                    batch.topics.insert(topic.clone(), None);
                    batch.topic_changes += 1;
                    batch.forgotten_topics.insert(topic.clone());
                }
                Change::TouchTopics => batch.topic_changes += 1,
                Change::PutGroup(group) => {
                    batch.groups.insert(group.group_name.as_str().into(), Some(Arc::clone(group)));
                    batch.group_changes += 1;
                }
                Change::DeleteGroup { group, with_offsets } => {
                    batch.groups.insert(group.clone(), None);
                    batch.group_changes += 1;
                    if *with_offsets {
                        batch.forgotten_groups.insert(group.clone());
                    }
                }
                Change::CommitOffset { .. } => {}
            }
        }
        batch
    }

    /// Versions once this is written.
    pub(super) fn versions(&self, before: Versions, offset_steps: i64, now: i64) -> Versions {
        let after = |version: DataVersion, changes: i64| match changes {
            0 => version,
            _ => DataVersion { counter: version.counter + changes - 1, ..version }.next(now),
        };
        Versions {
            topics: after(before.topics, self.topic_changes),
            groups: after(before.groups, self.group_changes),
            offsets: after(before.offsets, offset_steps),
        }
    }

    pub(super) fn writes_offsets(&self) -> bool {
        self.offsets_due || !self.forgotten_topics.is_empty() || !self.forgotten_groups.is_empty()
    }

    /// Writes the files that the changes touch. Offsets go first: a deleted topic must not come back with them, while
    /// a topic without its offsets harms nobody.
    pub(super) fn write(
        &self,
        metadata: &Metadata,
        versions: &Versions,
        kept: &mut Kept,
    ) -> Result<(), PersistError> {
        let save = |file, text: &[u8]| {
            (metadata.write)(file, text).map_err(|error| PersistError::Write(Arc::new(error)))
        };
        if self.writes_offsets() {
            save(File::Offsets, &self.offsets_text(metadata, versions.offsets))?;
        }
        if self.topic_changes > 0 {
            let mut topics = kept.topics.take().unwrap_or_else(|| present_topics(metadata));
            self.change_topics(&mut topics);
            topics.data_version = versions.topics;
            // A little more than the last time, so that megabytes are not moved to make room.
            let mut text = Vec::with_capacity(kept.topics_bytes + kept.topics_bytes / 16);
            json::write(&mut text, &topics, Form::File);
            save(File::Topics, &text)?;
            kept.topics_bytes = text.len();
            kept.topics = Some(topics);
        }
        if self.group_changes > 0 {
            save(File::Groups, &self.groups_text(metadata, versions.groups))?;
        }
        Ok(())
    }

    fn change_topics(&self, file: &mut TopicConfigTable<Rendered>) {
        for (name, change) in &self.topics {
            match change {
                Some(topic) => file.topic_config_table.insert(name.to_string(), rendered(topic)),
                None => file.topic_config_table.remove(&**name),
            };
        }
    }

    fn groups_text(&self, metadata: &Metadata, data_version: DataVersion) -> Vec<u8> {
        let present = metadata.groups.all();
        let groups = merged(present.iter().map(|group| (group.group_name.as_str(), group)), &self.groups);
        let forbidden = metadata
            .groups
            .forbidden()
            .into_iter()
            .filter(|(group, _)| self.groups.get(group).is_none_or(Option::is_some));
        text(&SubscriptionGroupTable {
            data_version,
            forbidden_table: forbidden
                .map(|(group, topics)| {
                    (group.into(), topics.into_iter().map(|(topic, bits)| (topic.into(), bits)).collect())
                })
                .collect(),
            subscription_group_table: groups
                .into_iter()
                .map(|(name, group)| (name.into(), Group::clone(group)))
                .collect(),
        })
    }

    fn offsets_text(&self, metadata: &Metadata, data_version: DataVersion) -> Vec<u8> {
        let (mut offset_table, mut pull_offset_table) = (BTreeMap::new(), BTreeMap::new());
        let mut topics_of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        metadata.offsets.for_each(|topic, group, committed, pulled| {
            if self.forgotten_topics.contains(topic) || self.forgotten_groups.contains(group) {
                return;
            }
            let key = format!("{topic}@{group}");
            if !pulled.is_empty() {
                pull_offset_table.insert(key.clone(), pulled.clone());
            }
            if !committed.is_empty() {
                topics_of.entry(group.into()).or_default().insert(topic.into());
                offset_table.insert(key, committed.clone());
            }
        });
        let topics_of = topics_of.into_iter().map(|(group, topics)| (group, topics.into_iter().collect()));
        // Java reads back the version and the committed offsets only, and so do we.
        let file = ConsumerOffsetTable {
            data_version,
            group_topic_map: Some(topics_of.collect()),
            offset_table,
            pull_offset_table: Some(pull_offset_table),
        };
        text(&file)
    }
}

fn present_topics(metadata: &Metadata) -> TopicConfigTable<Rendered> {
    let present = metadata.topics.all();
    TopicConfigTable {
        topic_config_table: present.iter().map(|topic| (topic.name.to_string(), rendered(topic))).collect(),
        data_version: DataVersion::default(),
    }
}

fn rendered(topic: &Topic) -> Rendered {
    // Within the table, which is within the file.
    Rendered::new(&TopicConfig::from(topic), Form::File, 2)
}

/// What is present with the changes on top.
fn merged<'a, T>(
    present: impl Iterator<Item = (&'a str, &'a Arc<T>)>,
    changes: &'a BTreeMap<Box<str>, Option<Arc<T>>>,
) -> BTreeMap<&'a str, &'a Arc<T>> {
    let mut all: BTreeMap<&str, &Arc<T>> = present.collect();
    for (name, change) in changes {
        match change {
            Some(value) => all.insert(name, value),
            None => all.remove(&**name),
        };
    }
    all
}

fn text(value: &impl Serialize) -> Vec<u8> {
    let mut text = Vec::new();
    json::write(&mut text, value, Form::File);
    text
}
