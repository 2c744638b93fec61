//! Topics, groups and offsets: how they change, and when a change counts.
//!
//! A change of topics or groups is a [`Change`], and nothing of it shows before it is on disk: edits are staged one
//! after the other, one thread writes the files they touch, then `Metadata::apply` makes them visible and those who
//! wait are told. Changes staged while a file is being written share the next write, and a write waits a moment for
//! those who are likely to come back with their next change (see `Pace`). When a write fails, the file keeps its old
//! contents, the changes of that write and those staged on top of it are dropped, and everybody who waits for them gets
//! the error.
//!
//! Committed offsets are changes that nobody waits for: they show at once and reach their file within
//! [`OFFSET_FLUSH_INTERVAL`].

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ferromq_protocol::body::DataVersion;
use ferromq_store::clock::Clock;
use ferromq_store::state_file::StateFileError;
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;

use crate::groups::{Group, Groups};
use crate::offsets::{Offsets, TooManyQueues};
use crate::topics::{Topic, Topics};

pub mod files;

/// How far the file of offsets may be behind.
pub const OFFSET_FLUSH_INTERVAL: Duration = Duration::from_secs(5);

/// How long a write waits for company at most.
const COMPANY_WAIT_MAX: Duration = Duration::from_millis(20);

/// Commits after which the version of the offsets counts on, as in Java.
const COMMITS_PER_VERSION: u64 = 500;

/// A change of what the broker knows besides messages.
#[derive(Clone, Debug)]
pub enum Change<'a> {
    /// A topic is created or set anew.
    PutTopic(Arc<Topic>),
    /// A topic goes, and with it all offsets in it.
    DeleteTopic(Box<str>),
    /// No topic changes, but their routes look different: the version counts on.
    TouchTopics,
    /// A group is created or set anew.
    PutGroup(Arc<Group>),
    /// A group goes.
    DeleteGroup {
        /// The group.
        group: Box<str>,
        /// Whether its offsets go too.
        with_offsets: bool,
    },
    /// A group will go on reading at an offset.
    CommitOffset {
        /// The group.
        group: &'a str,
        /// The topic.
        topic: &'a str,
        /// The queue.
        queue_id: i32,
        /// Next offset to read.
        offset: i64,
    },
}

/// The files that hold all this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// `topics.json`.
    Topics,
    /// `subscriptionGroup.json`.
    Groups,
    /// `consumerOffset.json`.
    Offsets,
}

impl File {
    /// Name within the `config` directory.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Topics => "topics.json",
            Self::Groups => "subscriptionGroup.json",
            Self::Offsets => "consumerOffset.json",
        }
    }
}

/// Replaces a file in one step, durably.
pub type WriteFile = Box<dyn Fn(File, &[u8]) -> Result<(), StateFileError> + Send + Sync>;

/// A change did not reach the disk and is not in force.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PersistError {
    /// The file could not be written; it keeps its old contents.
    #[error("not saved and not in force: {0}")]
    Write(Arc<StateFileError>),
    /// The broker is shutting down.
    #[error("the broker is shutting down")]
    Stopping,
}

/// What is kept per file besides the contents.
#[derive(Clone, Copy, Debug, Default)]
pub struct Versions {
    /// Of the topics.
    pub topics: DataVersion,
    /// Of the groups.
    pub groups: DataVersion,
    /// Of the offsets.
    pub offsets: DataVersion,
}

type Waiter = oneshot::Sender<Result<(), PersistError>>;

#[derive(Default)]
struct Staged {
    /// Changes that the writer has taken and not finished.
    writing: Vec<Change<'static>>,
    /// Changes for the next write.
    next: Vec<Change<'static>>,
    writing_waiters: Vec<Waiter>,
    next_waiters: Vec<Waiter>,
    versions: Versions,
    /// The offsets shall be written although no staged change touches them.
    flush_offsets: bool,
    /// [`Offsets::commits`] when their file was last written.
    offsets_written: u64,
    stopping: bool,
}

/// How many wait for a write and how long it takes. Every write replaces a whole file, so who creates topics one after
/// the other on several connections shall share writes, instead of taking turns in two halves: one that waits for the
/// write under way, and one for the next.
#[derive(Default)]
struct Pace {
    /// Those who waited for the last write, and those who came during it.
    waiters: usize,
    /// How long the last write took.
    took: Duration,
}

impl Pace {
    /// True while a write for `waiters` may wait for more, `waited` after it could have begun. What it costs at worst
    /// is small against the write itself.
    fn expects_more(&self, waiters: usize, waited: Duration) -> bool {
        waiters < self.waiters && waited < self.longest_wait()
    }

    fn longest_wait(&self) -> Duration {
        (self.took / 2).min(COMPANY_WAIT_MAX)
    }
}

/// What belongs to the thread that writes.
#[derive(Default)]
struct Writer {
    pace: Pace,
    kept: files::Kept,
}

/// Topics, groups and offsets of this broker.
pub struct Metadata {
    /// The topics in force.
    pub topics: Topics,
    /// The groups in force.
    pub groups: Groups,
    /// How far groups have read.
    pub offsets: Offsets,
    staged: Mutex<Staged>,
    work: Condvar,
    clock: Arc<dyn Clock>,
    write: WriteFile,
}

impl Metadata {
    /// With what was loaded; built-in topics and groups are already in the tables.
    pub fn new(loaded: files::Loaded, clock: Arc<dyn Clock>, write: WriteFile) -> Self {
        let staged = Staged {
            versions: loaded.versions,
            offsets_written: loaded.offsets.commits(),
            ..Staged::default()
        };
        Self {
            topics: loaded.topics,
            groups: loaded.groups,
            offsets: loaded.offsets,
            staged: Mutex::new(staged),
            work: Condvar::new(),
            clock,
            write,
        }
    }

    /// Starts the thread that writes. It ends with [`Self::stop`].
    pub fn start(self: &Arc<Self>) -> io::Result<JoinHandle<()>> {
        let metadata = Arc::clone(self);
        std::thread::Builder::new().name("metadata".into()).spawn(move || {
            let mut writer = Writer::default();
            while metadata.step(&mut writer) {}
        })
    }

    /// Lets the writer finish what is staged, write the offsets and end.
    pub fn stop(&self) {
        self.staged.lock().stopping = true;
        self.work.notify_all();
    }

    /// Begins a change of topics or groups. Edits exclude each other, so what an edit sees stays true until it is
    /// committed.
    #[must_use]
    pub fn edit(&self) -> Edit<'_> {
        Edit { metadata: self, staged: self.staged.lock(), pushed: false }
    }

    /// The versions in force.
    #[must_use]
    pub fn versions(&self) -> Versions {
        self.staged.lock().versions
    }

    /// The group will go on at `offset`.
    pub fn commit_offset(
        &self,
        group: &str,
        topic: &str,
        queue_id: i32,
        offset: i64,
    ) -> Result<(), TooManyQueues> {
        self.apply(&Change::CommitOffset { group, topic, queue_id, offset })
    }

    /// Makes the writer bring the file of offsets up to date, if it is behind.
    pub fn flush_offsets(&self) {
        let mut staged = self.staged.lock();
        if staged.offsets_written != self.offsets.commits() {
            staged.flush_offsets = true;
            self.work.notify_one();
        }
    }

    /// Puts a change into force. Pure in that it depends on nothing but the tables and the change.
    fn apply(&self, change: &Change<'_>) -> Result<(), TooManyQueues> {
        match change {
            Change::PutTopic(topic) => self.topics.put(Arc::clone(topic)),
            Change::DeleteTopic(topic) => {
                self.topics.remove(topic);
                self.offsets.forget_topic(topic);
            }
            Change::TouchTopics => self.topics.touch(),
            Change::PutGroup(group) => self.groups.put(Arc::clone(group)),
            Change::DeleteGroup { group, with_offsets } => {
                self.groups.remove(group);
                if *with_offsets {
                    self.offsets.forget_group(group);
                }
            }
            Change::CommitOffset { group, topic, queue_id, offset } => {
                self.offsets.commit(group, topic, *queue_id, *offset)?;
            }
        }
        Ok(())
    }

    /// Waits for work and does one write. False when there will be no more.
    fn step(&self, writer: &mut Writer) -> bool {
        let mut staged = self.staged.lock();
        while staged.next.is_empty() && !staged.flush_offsets && !staged.stopping {
            self.work.wait(&mut staged);
        }
        if !staged.next.is_empty() {
            let ready = Instant::now();
            while writer.pace.expects_more(staged.next_waiters.len(), ready.elapsed()) && !staged.stopping {
                self.work.wait_until(&mut staged, ready + writer.pace.longest_wait());
            }
        }
        let last = staged.stopping && staged.next.is_empty();
        staged.writing = std::mem::take(&mut staged.next);
        staged.writing_waiters = std::mem::take(&mut staged.next_waiters);
        // Counted before the offsets are looked at: what is committed meanwhile counts as not written.
        let offsets_written = self.offsets.commits();
        let offsets_due = std::mem::take(&mut staged.flush_offsets) || last;
        let offsets_behind = offsets_written != staged.offsets_written;
        let batch = files::Batch::of(&staged.writing, offsets_due && offsets_behind);
        let step = |commits: u64| i64::try_from(commits / COMMITS_PER_VERSION).unwrap_or(0);
        let offset_steps = step(offsets_written) - step(staged.offsets_written);
        let versions = batch.versions(staged.versions, offset_steps, self.clock.now().0);
        drop(staged);

        let start = Instant::now();
        let written = batch.write(self, &versions, &mut writer.kept);
        let took = start.elapsed();

        let mut staged = self.staged.lock();
        let waiters = staged.writing_waiters.len() + staged.next_waiters.len();
        writer.pace = Pace { waiters, took };
        let changes = std::mem::take(&mut staged.writing);
        let mut waiters = std::mem::take(&mut staged.writing_waiters);
        let outcome = match written {
            Ok(()) => {
                for change in &changes {
                    // Offsets are never staged, so nothing here can be refused.
                    let _ = self.apply(change);
                }
                staged.versions = versions;
                if batch.writes_offsets() {
                    staged.offsets_written = offsets_written;
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, changes = changes.len(), "metadata could not be saved");
                staged.next.clear();
                waiters.append(&mut staged.next_waiters);
                Err(error)
            }
        };
        drop(staged);
        for waiter in waiters {
            // Who gave up waiting does not care.
            let _ = waiter.send(outcome.clone());
        }
        !last
    }
}

/// An exclusive look at the tables, staged changes included, and the place to stage more.
pub struct Edit<'a> {
    metadata: &'a Metadata,
    staged: MutexGuard<'a, Staged>,
    pushed: bool,
}

impl Edit<'_> {
    fn changes(&self) -> impl Iterator<Item = &Change<'static>> {
        self.staged.next.iter().rev().chain(self.staged.writing.iter().rev())
    }

    /// The topic as it will be once everything staged is in force.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        for change in self.changes() {
            match change {
                Change::PutTopic(topic) if *topic.name == *name => return Some(Arc::clone(topic)),
                Change::DeleteTopic(deleted) if **deleted == *name => return None,
                _ => {}
            }
        }
        self.metadata.topics.find(name)
    }

    /// The group as it will be once everything staged is in force.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<Arc<Group>> {
        for change in self.changes() {
            match change {
                Change::PutGroup(group) if group.group_name == name => return Some(Arc::clone(group)),
                Change::DeleteGroup { group, .. } if **group == *name => return None,
                _ => {}
            }
        }
        self.metadata.groups.find(name)
    }

    /// Stages a change.
    pub fn push(&mut self, change: Change<'static>) {
        debug_assert!(!matches!(change, Change::CommitOffset { .. }), "offsets are not waited for");
        self.pushed = true;
        // The writer may have looked for the last time.
        if !self.staged.stopping {
            self.staged.next.push(change);
        }
    }

    /// Ends the edit. The future is done when everything staged so far, by this and earlier edits, is in force.
    pub fn commit(mut self) -> impl Future<Output = Result<(), PersistError>> + Send + use<> {
        let waiter = if self.staged.stopping && self.pushed {
            Err(PersistError::Stopping)
        } else if !self.staged.next.is_empty() {
            let (sender, receiver) = oneshot::channel();
            self.staged.next_waiters.push(sender);
            self.metadata.work.notify_one();
            Ok(Some(receiver))
        } else if !self.staged.writing.is_empty() {
            let (sender, receiver) = oneshot::channel();
            self.staged.writing_waiters.push(sender);
            Ok(Some(receiver))
        } else {
            Ok(None)
        };
        drop(self);
        async move {
            match waiter? {
                None => Ok(()),
                Some(receiver) => receiver.await.unwrap_or(Err(PersistError::Stopping)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
