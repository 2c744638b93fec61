//! All queues of a store by topic.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ferromq_protocol::types::{PhysicalOffset, QueueId};
use parking_lot::{Mutex, RwLock};

use super::deletions::Deletions;
use super::files::{Files, QueueConfig};
use super::flush::{FlushBuffer, Flushed};
use super::{Queue, QueueError, Topic, Woken};
use crate::disk::Disk;
use crate::dispatch::TopicHash;

/// The queues of a store.
///
/// Finding is a look-up under a shared lock. Whoever changes files (flush, retention, deletion of topics) takes turns.
pub struct Queues {
    pub(super) files: Arc<Files>,
    pub(super) deletions: Deletions,
    batch_dir: PathBuf,
    batch_topics: RwLock<HashSet<String>>,
    topics: RwLock<Topics>,
    /// Queues with something behind their end, and the offset where that ends, until recovery erases it.
    pub(super) leftovers: Mutex<Vec<(Arc<Queue>, i64)>>,
    /// Held by whoever changes files.
    pub(super) turn: Mutex<FlushBuffer>,
}

/// Walked in the same order in every run, so that a simulation can be repeated.
type Topics = HashMap<TopicName, Box<[Arc<Queue>]>, BuildHasherDefault<DefaultHasher>>;

/// A topic under its name. The key shares the text with the topic's queues.
struct TopicName(Arc<Topic>);

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0.name
    }
}

impl Hash for TopicName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

impl PartialEq for TopicName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for TopicName {}

impl Queues {
    /// No queue yet; touches no file.
    #[must_use]
    pub fn new(config: &QueueConfig, disk: Arc<dyn Disk>) -> Self {
        let files = Arc::new(Files::new(config, disk));
        Self {
            deletions: Deletions::new(&files),
            files,
            batch_dir: config.batch_dir.clone(),
            batch_topics: RwLock::default(),
            topics: RwLock::default(),
            leftovers: Mutex::default(),
            turn: Mutex::default(),
        }
    }

    /// Reads which topics a replay must pass over: those that were deleted while records of theirs are still in the
    /// log, and those whose queues are of Java's batch kind (if there were ordinary queues of them too, Java would not
    /// start). To be called before loading.
    ///
    /// # Errors
    /// The list or the directory cannot be read.
    pub fn load_exclusions(&self) -> Result<(), QueueError> {
        let dir = &self.batch_dir;
        let topics = self.files.disk.list(dir).map_err(QueueError::io("list", dir))?;
        *self.batch_topics.write() =
            topics.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name).collect();
        self.files.open_file_system()?;
        self.deletions.load()
    }

    /// Whether the queues of a topic are of Java's batch kind, which are not for us to write or to read.
    #[must_use]
    pub fn is_batch_topic(&self, topic: &str) -> bool {
        self.batch_topics.read().contains(topic)
    }

    /// Whether the record of this topic at this position belongs to a deleted topic: it must not be dispatched again.
    #[must_use]
    pub fn is_dead(&self, topic: &str, physical: PhysicalOffset) -> bool {
        self.deletions.covers(topic, physical)
    }

    /// The queue if it exists.
    #[must_use]
    pub fn find(&self, topic: &str, id: QueueId) -> Option<Arc<Queue>> {
        let topics = self.topics.read();
        let queues = topics.get(topic)?;
        let place = queues.binary_search_by_key(&id, |queue| queue.id()).ok()?;
        queues.get(place).cloned()
    }

    /// The queue, created empty if it does not exist. Nothing appears on disk before its first entry is flushed.
    #[must_use]
    pub fn get(&self, topic: &str, id: QueueId) -> Arc<Queue> {
        if let Some(queue) = self.find(topic, id) {
            return queue;
        }
        let mut topics = self.topics.write();
        if let Some(queues) = topics.get_mut(topic) {
            return match queues.binary_search_by_key(&id, |queue| queue.id()) {
                Ok(place) => Arc::clone(&queues[place]),
                Err(place) => {
                    let queue = Arc::new(Queue::new(Arc::clone(&queues[0].topic), id));
                    let mut longer = std::mem::take(queues).into_vec();
                    longer.reserve_exact(1);
                    longer.insert(place, Arc::clone(&queue));
                    *queues = longer.into_boxed_slice();
                    queue
                }
            };
        }
        let shared = Arc::new(Topic {
            name: topic.into(),
            key_prefix: TopicHash::prefix(topic),
            files: Arc::clone(&self.files),
            deleted: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        });
        let queue = Arc::new(Queue::new(Arc::clone(&shared), id));
        topics.insert(TopicName(shared), Box::new([Arc::clone(&queue)]));
        queue
    }

    /// The queues of a topic in the order of their numbers.
    #[must_use]
    pub fn of_topic(&self, topic: &str) -> Vec<Arc<Queue>> {
        self.topics.read().get(topic).map_or_else(Vec::new, |queues| queues.to_vec())
    }

    /// All queues, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Queue>> {
        let topics = self.topics.read();
        let mut all = Vec::with_capacity(topics.values().map(|queues| queues.len()).sum());
        all.extend(topics.values().flat_map(|queues| queues.iter()).cloned());
        all
    }

    /// Names of all topics that have a queue, in no order.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        self.topics.read().keys().map(|topic| topic.0.name.to_string()).collect()
    }

    /// Number of queues.
    #[must_use]
    pub fn count(&self) -> usize {
        self.topics.read().values().map(|queues| queues.len()).sum()
    }

    /// Makes the queues of a topic empty and tells everyone who waits for them. They keep their place in the
    /// table until [`Queues::forget_topic`], so that the name is not used anew meanwhile.
    pub(super) fn drop_queues(queues: &[Arc<Queue>]) {
        let mut woken = Woken::default();
        if let Some(queue) = queues.first() {
            queue.topic.deleted.store(true, Ordering::Release);
        }
        for queue in queues {
            // A push that began before sees its entry dropped here; later ones see the mark.
            let mut tail = queue.tail.lock();
            if let Some(hot) = tail.hot.as_mut() {
                hot.waiters.take_all(&mut woken);
                hot.pending = Vec::new();
            }
            tail.release_if_idle();
            queue.min.store(queue.max.load(Ordering::Relaxed), Ordering::Release);
        }
        woken.notify();
    }

    /// Takes a queue that has no files out of the table.
    pub(super) fn forget_queue(&self, queue: &Arc<Queue>) {
        let mut topics = self.topics.write();
        if let Some(queues) = topics.get_mut(queue.topic()) {
            *queues = queues.iter().filter(|other| !Arc::ptr_eq(other, queue)).cloned().collect();
            if queues.is_empty() {
                topics.remove(queue.topic());
            }
        }
    }

    /// Frees the name of a topic whose queues are gone.
    pub(super) fn forget_topic(&self, topic: &str) {
        self.topics.write().remove(topic);
    }

    /// Writes to the files what was pushed before the call, and some of what is pushed meanwhile.
    ///
    /// # Errors
    /// The first failure. What could not be written stays readable in memory and is tried again by the next flush;
    /// the caller watches that the log does not run away from the queue files.
    pub fn flush(&self) -> Result<Flushed, QueueError> {
        let mut buffer = self.turn.lock();
        let dirty = std::mem::take(&mut *self.files.dirty.lock());
        let mut flushed = Flushed::default();
        for (i, queue) in dirty.iter().enumerate() {
            match queue.flush(&mut buffer) {
                Ok(entries) => {
                    flushed.queues += u64::from(entries > 0);
                    flushed.entries += entries;
                }
                Err(error) => {
                    // Every one of them is still marked as listed.
                    self.files.dirty.lock().extend_from_slice(&dirty[i..]);
                    return Err(error);
                }
            }
        }
        Ok(flushed)
    }

    /// Makes durable what earlier flushes wrote: files and directories.
    ///
    /// # Errors
    /// A failed sync leaves unknown what is on the disk. The store must stop acknowledging.
    pub fn sync(&self) -> Result<(), QueueError> {
        self.files.sync()
    }

    /// Queues with entries in memory only.
    #[must_use]
    pub fn unflushed(&self) -> usize {
        self.files.dirty.lock().len()
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        // Queues on these lists hold the lists.
        self.files.dirty.lock().clear();
        self.files.forget_unsynced();
    }
}
