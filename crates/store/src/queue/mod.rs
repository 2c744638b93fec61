//! Consume queues: per topic and queue id the dense sequence of entries that clients read by offset.
//!
//! What always holds:
//! - entry `i` of a queue points at the record of that topic and queue whose queue offset is `i`, or is blank;
//! - an entry becomes visible only through [`Queue::push`], called by the one confirming thread in log order, when the
//!   confirm position has passed its record. Offsets of records that are not confirmed yet are known to
//!   [`Queue::next_offset`] alone, which belongs to whoever holds the commit token;
//! - entries are readable at once (from memory) and reach their file with the next [`Queues::flush`]; what was flushed
//!   is durable after the next [`Queues::sync`]. Nothing here writes the checkpoint;
//! - a queue that nobody writes, reads or waits for is 88 bytes and no descriptor.
//!
//! `entry` has the codec, `files` the descriptors, `flush` the way to the disk, `reader` the way back, `table` the
//! queues by topic, `trim` what retention removes, `recover` the start after a crash, `side_file` the fast start,
//! `deletions` the topics that must not come back from the log.

mod deletions;
mod entry;
mod files;
mod flush;
mod reader;
mod recover;
mod side_file;
mod table;
mod time_lookup;
mod trim;
mod waiters;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use ferromq_protocol::java::Hasher;
use ferromq_protocol::types::{PhysicalOffset, QueueId, QueueOffset};
use parking_lot::Mutex;

pub use self::entry::{ENTRY_SIZE, Entry};
use self::files::Files;
pub use self::files::QueueConfig;
pub use self::flush::Flushed;
pub use self::reader::{EntriesError, Wait};
pub use self::recover::{Claim, Claims, Gap, Load, Loaded, QueueFault, QueueFinding, Replayed};
pub use self::side_file::TableStamp;
pub use self::table::Queues;
pub use self::time_lookup::{Boundary, StoreTimes};
use self::waiters::Waiters;
pub use self::waiters::{Notify, TagFilter, Watch, Woken};
use crate::dispatch::TopicHash;

/// A failure on the files of a queue.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The disk refused. Entries that were to be written stay in memory and are tried again with the next flush.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A queue file does not have the configured size: written under another `mappedFileSizeConsumeQueue`.
    #[error("{} has {found} bytes instead of the configured {expected}", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// The configured length.
        expected: u64,
    },
    /// A name in a queue's directory that no broker writes; neither Java nor we know what to do with it.
    #[error("{} is not a queue file", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A file between others is missing.
    #[error("{} is missing between other files of its queue", path.display())]
    Missing {
        /// The file that should be there.
        path: PathBuf,
    },
}

impl QueueError {
    pub(crate) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether space ran out, as opposed to a disk that fails.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// What the queues of a topic share.
pub(crate) struct Topic {
    name: Box<str>,
    key_prefix: Hasher,
    files: Arc<Files>,
    /// Set when the topic is deleted. A topic of the same name that comes later is another value.
    deleted: AtomicBool,
    /// Set from when a deletion begins: no record gets a place any more, but those that have one still appear, in case
    /// it cannot be noted.
    closing: AtomicBool,
}

/// A queue of a topic.
///
/// Cheap to hold: keep the `Arc` instead of looking it up for every message. A queue whose topic is deleted stays
/// usable as a value, but takes no more entries and has none.
pub struct Queue {
    topic: Arc<Topic>,
    id: QueueId,
    /// Distinguishes queues in the set of open descriptors.
    serial: u32,
    next: AtomicI64,
    max: AtomicI64,
    min: AtomicI64,
    tail: Mutex<Tail>,
}

/// Number of a file that does not exist.
const NO_FILE: u32 = u32::MAX;

/// What pushing, flushing and trimming change together.
struct Tail {
    /// End of the last message's record; 0 when there is none. Blanks do not count.
    end_physical: PhysicalOffset,
    /// Where the message at `min` lies, so that retention need not read it again.
    min_lies: Lies,
    hot: Option<Box<Hot>>,
    /// Number of the oldest file, or `NO_FILE`.
    first_file: u32,
}

/// Exists while a queue has something in memory.
#[derive(Default)]
struct Hot {
    /// The last entries, not yet in a file: they end at `max`.
    pending: Vec<Entry>,
    waiters: Waiters,
    /// Whether the queue is on the list of those to flush.
    listed: bool,
}

/// A position known well enough to say that it is behind another one, in half the space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lies(u32);

impl Lies {
    /// There is no message.
    const NOWHERE: Self = Self(u32::MAX);
    /// Nobody looked yet, or at the very beginning.
    const UNKNOWN: Self = Self(0);
    /// Positions are rounded down to multiples of this.
    const STEP: i64 = 1 << 16;

    fn at(position: PhysicalOffset) -> Self {
        Self(u32::try_from(position.0 / Self::STEP).unwrap_or(0).min(u32::MAX - 1))
    }

    /// Never `true` for a position before `other`.
    fn is_behind(self, other: PhysicalOffset) -> bool {
        self == Self::NOWHERE || (self != Self::UNKNOWN && i64::from(self.0) * Self::STEP >= other.0)
    }
}

impl Tail {
    fn heat(&mut self) -> &mut Hot {
        self.hot.get_or_insert_with(Box::default)
    }

    fn pending(&self) -> &[Entry] {
        self.hot.as_ref().map_or(&[], |hot| &hot.pending)
    }

    fn pending_len(&self) -> i64 {
        i64::try_from(self.pending().len()).unwrap_or(i64::MAX)
    }

    fn release_if_idle(&mut self) {
        if self
            .hot
            .as_ref()
            .is_some_and(|hot| hot.pending.is_empty() && hot.waiters.is_empty() && !hot.listed)
        {
            self.hot = None;
        }
    }
}

/// What [`Queue::push`] did with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is the last entry of the queue now.
    Appended,
    /// It follows a gap: that many blank entries were put before it. Never happens while the log is written by us;
    /// recovery looks for the missing records.
    AfterGap(i64),
    /// The queue had it already.
    Known,
    /// The queue's topic was deleted; nobody can read the entry.
    Deleted,
}

/// An entry that cannot be placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// Its record claims an offset that the queue gave to an earlier record. If the offset is 0 the topic was deleted
    /// and created anew.
    #[error("{topic}-{queue}: the record at {physical} claims offset {offset}, but the queue ends at {max}")]
    Taken {
        /// Topic of the queue.
        topic: String,
        /// Number of the queue.
        queue: QueueId,
        /// Where the record lies.
        physical: PhysicalOffset,
        /// What it claims.
        offset: QueueOffset,
        /// Where the queue ends.
        max: QueueOffset,
    },
    /// More entries are missing before it than may be filled with blanks.
    #[error(
        "{topic}-{queue}: the record at {physical} claims offset {offset}, far beyond the end of the queue at {max}"
    )]
    FarAhead {
        /// Topic of the queue.
        topic: String,
        /// Number of the queue.
        queue: QueueId,
        /// Where the record lies.
        physical: PhysicalOffset,
        /// What it claims.
        offset: QueueOffset,
        /// Where the queue ends.
        max: QueueOffset,
    },
}

/// Gaps up to this many entries are filled; a greater one is no lost page but a damaged record.
const GAP_MAX: i64 = 1 << 20;

impl Queue {
    fn new(topic: Arc<Topic>, id: QueueId) -> Self {
        let serial = topic.files.take_serial();
        Self {
            topic,
            id,
            serial,
            next: AtomicI64::new(0),
            max: AtomicI64::new(0),
            min: AtomicI64::new(0),
            tail: Mutex::new(Tail {
                end_physical: PhysicalOffset(0),
                min_lies: Lies::NOWHERE,
                hot: None,
                first_file: NO_FILE,
            }),
        }
    }

    /// Topic of this queue.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic.name
    }

    /// Beginning of the hashes under which the index keeps keys of this topic.
    #[must_use]
    pub fn topic_hash(&self) -> TopicHash {
        TopicHash::with_prefix(self.topic.key_prefix, self.topic())
    }

    /// Number within the topic.
    #[must_use]
    pub fn id(&self) -> QueueId {
        self.id
    }

    fn serial(&self) -> u32 {
        self.serial
    }

    fn files(&self) -> &Files {
        &self.topic.files
    }

    /// The offset of the next record to be assigned. Ahead of `max_offset` by what is not confirmed yet.
    #[must_use]
    pub fn next_offset(&self) -> QueueOffset {
        QueueOffset(self.next.load(Ordering::Relaxed))
    }

    /// Only for the holder of the commit token: after assigning, and when taking an assignment back.
    pub fn set_next_offset(&self, next: QueueOffset) {
        self.next.store(next.0, Ordering::Relaxed);
    }

    /// One past the last visible entry.
    #[must_use]
    pub fn max_offset(&self) -> QueueOffset {
        QueueOffset(self.max.load(Ordering::Acquire))
    }

    /// The first entry whose record was not removed by retention. Equals `max_offset` when none is left.
    #[must_use]
    pub fn min_offset(&self) -> QueueOffset {
        QueueOffset(self.min.load(Ordering::Acquire))
    }

    /// End of the last record of this queue, 0 when it never had one.
    #[must_use]
    pub fn end_physical(&self) -> PhysicalOffset {
        self.tail.lock().end_physical
    }

    /// Whether the topic was deleted. Records for such a queue are refused.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.topic.deleted.load(Ordering::Acquire)
    }

    /// Whether records for this queue get a place: not once its topic is being deleted.
    #[must_use]
    pub fn takes_records(&self) -> bool {
        !self.is_deleted() && !self.topic.closing.load(Ordering::Acquire)
    }

    /// Makes an entry visible. Only for the confirming thread, in log order.
    ///
    /// Those whom the entry concerns are added to `woken`; the caller tells them once the whole group is visible.
    ///
    /// # Errors
    /// The record claims an offset that cannot be right; the entry is not taken.
    pub fn push(
        self: &Arc<Self>,
        offset: QueueOffset,
        entry: Entry,
        woken: &mut Woken,
    ) -> Result<Pushed, PushError> {
        let mut tail = self.tail.lock();
        if self.is_deleted() {
            return Ok(Pushed::Deleted);
        }
        if entry.end() <= tail.end_physical {
            return Ok(Pushed::Known);
        }
        let max = self.max.load(Ordering::Relaxed);
        let place = if offset.0 == max {
            Pushed::Appended
        } else if offset.0 < max {
            return Err(PushError::Taken {
                topic: self.topic().to_owned(),
                queue: self.id,
                physical: entry.physical,
                offset,
                max: QueueOffset(max),
            });
        } else if max == 0 {
            // The older files of this queue are gone: it starts in the middle.
            Pushed::Appended
        } else if offset.0 - max <= GAP_MAX {
            Pushed::AfterGap(offset.0 - max)
        } else {
            return Err(PushError::FarAhead {
                topic: self.topic().to_owned(),
                queue: self.id,
                physical: entry.physical,
                offset,
                max: QueueOffset(max),
            });
        };
        if self.min.load(Ordering::Relaxed) >= max {
            self.min.store(offset.0, Ordering::Release);
            tail.min_lies = Lies::at(entry.physical);
        }
        tail.end_physical = entry.end();
        let hot = tail.heat();
        if let Pushed::AfterGap(missing) = place {
            hot.pending.extend((0..missing).map(|_| Entry::BLANK));
        }
        hot.pending.push(entry);
        if !hot.listed {
            hot.listed = true;
            self.files().dirty.lock().push(Arc::clone(self));
        }
        if !hot.waiters.is_empty() {
            hot.waiters.take_matching(entry.tag_code, woken);
        }
        self.max.store(offset.0 + 1, Ordering::Release);
        Ok(place)
    }

    /// Whether this file is one of the queue's.
    fn has_file(&self, number: u32) -> bool {
        let first = self.tail.lock().first_file;
        !self.is_deleted() && first != NO_FILE && number >= first
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{} [{}, {})", self.topic(), self.id, self.min_offset(), self.max_offset())
    }
}

#[cfg(test)]
mod tests;

const _: () = assert!(size_of::<Queue>() <= 72 && size_of::<Topic>() <= 32, "idle queues are small");
