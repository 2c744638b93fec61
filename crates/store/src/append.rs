//! How records enter the store: a connection's [`Port`](crate::Port), the [`Batch`]es it submits, and the answers that
//! come back.
//!
//! A batch is encoded by its connection, outside every lock, in the final layout of the log; the committer patches
//! what depends on the place and writes the batch's own buffer. One batch is one push, one wake-up and one move back,
//! however many records it holds, and its memory is used again: nothing is allocated per record in the steady state.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use ferromq_protocol::properties::Properties;
use ferromq_protocol::record::{self, EncodeError, Parts, PropertyCrc, Record};
use ferromq_protocol::types::{Host, PhysicalOffset, QueueOffset, TimestampMs};
use memchr::memchr;
use parking_lot::Mutex;
use thiserror::Error;

use crate::dispatch::{self, Tag, TopicHash};
use crate::layout::position;
use crate::log::Mark;
use crate::queue::Queue;

/// A blank of this length has to fit behind every record.
pub(crate) const BLANK_LEN: u64 = record::PEEK_LEN as u64;
/// What a record may have beyond the largest body: header, topic and properties.
const OVERHEAD_MAX: usize = 64 << 10;
/// A buffer that grew beyond this is given back to the allocator after use.
pub(crate) const KEPT_BYTES_MAX: usize = 512 << 10;
pub(crate) const KEPT_BATCHES_MAX: usize = 64;

/// What a record is made of.
#[derive(Clone, Copy, Debug)]
pub struct RecordParts<'a> {
    /// Where it goes; names the topic too.
    pub queue: &'a Arc<Queue>,
    /// The user's flag.
    pub flag: i32,
    /// Bits of [`ferromq_protocol::sys_flag`]; those of the hosts are set by the store.
    pub sys_flag: i32,
    /// Clock of the producer.
    pub born_timestamp: TimestampMs,
    /// Address of the producer.
    pub born_host: Host,
    /// Address of this broker, as message ids show it.
    pub store_host: Host,
    /// Times the message was consumed again.
    pub reconsume_times: i32,
    /// Position of the half message of a committed one, else 0.
    pub prepared_transaction_offset: PhysicalOffset,
    /// Body as it is to be stored.
    pub body: &'a [u8],
    /// Property string as it is to be stored.
    pub properties: &'a [u8],
    /// Whether the answer waits for the disk and the replicas (`WAIT`); otherwise it comes once the bytes are written.
    pub wait: bool,
    /// The caller's mark; comes back with the answer.
    pub tag: u64,
}

/// A record that cannot be stored. The batch is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The body is longer than `maxMessageSize`.
    #[error("body of {len} bytes, at most {max} are allowed")]
    BodyTooLong {
        /// Bytes of the body.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The record as a whole is longer than allowed.
    #[error("record of {len} bytes, at most {max} are allowed")]
    RecordTooLong {
        /// Bytes of the record.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The record, or the batch of a client, does not fit into one file of the log.
    #[error("{len} bytes do not fit into one file of {segment_size} bytes")]
    LongerThanFile {
        /// Bytes of the record or the batch.
        len: u64,
        /// Bytes of a file.
        segment_size: u64,
    },
    /// The property string is longer than its length field can say.
    #[error("properties of {len} bytes, at most {max} are allowed")]
    PropertiesTooLong {
        /// Bytes of the properties, the store's own entry included.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The properties hold a zero byte. After a crash it could not be told from a page that was lost, and the record
    /// would be cut off.
    #[error("properties must not contain zero bytes")]
    PropertiesWithZero,
    /// The topic is longer than a record can hold.
    #[error("topic of {len} bytes cannot be stored")]
    TopicTooLong {
        /// Bytes of the topic.
        len: usize,
    },
}

impl From<EncodeError> for RecordError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::Topic(len) => Self::TopicTooLong { len },
            EncodeError::Properties(len) => {
                Self::PropertiesTooLong { len, max: ferromq_protocol::properties::LEN_MAX }
            }
            EncodeError::Body(len) => Self::BodyTooLong { len, max: i32::MAX.cast_unsigned() as usize },
        }
    }
}

/// The place a record got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Position in the log.
    pub physical: PhysicalOffset,
    /// Offset in its queue.
    pub queue_offset: QueueOffset,
    /// When it was stored.
    pub store_timestamp: TimestampMs,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Stored as the flush mode and the role demand; with `wait: false`, written.
    Confirmed(Stored),
    /// Stored, but the disk or the replicas did not answer in time. It may still be confirmed later.
    TimedOut(Stored),
    /// Was written, and taken back when the log was cut at a position before it.
    Truncated,
    /// The store does not take records: it follows another, or is being stopped.
    ReadOnly,
    /// The store failed to sync and acknowledges nothing any more until it is restarted.
    Poisoned,
    /// No room for another file of the log, or for the entries that wait to be written.
    NoSpace,
    /// The disk refused the write; nothing of the group is stored.
    Failed,
    /// The topic was deleted meanwhile.
    TopicDeleted,
}

/// What encoding needs to know; one value for all batches of a store.
#[derive(Debug)]
pub(crate) struct Encoding {
    pub(crate) segment_size: u64,
    pub(crate) property_crc: PropertyCrc,
    pub(crate) index_enabled: bool,
    pub(crate) max_message_size: AtomicUsize,
}

/// Where a record of a batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Encoded,
    Assigned(Stored),
    Refused(Outcome),
    /// Stored, and the caller has its answer already.
    Answered(Stored),
    /// Not stored any more, and the caller has its answer already.
    Withdrawn,
}

impl Progress {
    /// The place, if the record has one.
    pub(crate) fn stored(self) -> Option<Stored> {
        match self {
            Self::Assigned(stored) | Self::Answered(stored) => Some(stored),
            Self::Encoded | Self::Refused(_) | Self::Withdrawn => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct BatchRecord {
    pub(crate) queue: Arc<Queue>,
    /// End of the record's bytes; they start where those of the record before end.
    pub(crate) bytes_end: usize,
    /// End of the record's index keys, likewise.
    pub(crate) keys_end: usize,
    pub(crate) kind: Tag,
    pub(crate) tag: u64,
    pub(crate) progress: Progress,
    /// Records from here on that lie in one file and share one fate; 0 inside such a run.
    pub(crate) run: usize,
    pub(crate) has_queue_entry: bool,
    pub(crate) wait: bool,
}

/// Records on their way into the log, and afterwards their answers. Made by [`Port::batch`](crate::Port::batch).
#[derive(Debug)]
pub struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) records: Vec<BatchRecord>,
    pub(crate) keys: Vec<u32>,
    pub(crate) answers: Vec<(u64, Outcome)>,
    pub(crate) port: Option<Arc<PortState>>,
    /// The first record that has no place yet.
    pub(crate) next: usize,
    /// What this batch holds of the store's byte budget.
    pub(crate) budget: usize,
    encoding: Arc<Encoding>,
    /// The topic encoded last: connections mostly stay with one.
    topic: String,
    topic_hash: TopicHash,
}

impl Batch {
    pub(crate) fn new(encoding: Arc<Encoding>) -> Self {
        Self {
            bytes: Vec::new(),
            records: Vec::new(),
            keys: Vec::new(),
            answers: Vec::new(),
            port: None,
            next: 0,
            budget: 0,
            encoding,
            topic: String::new(),
            topic_hash: TopicHash::new(""),
        }
    }

    /// Encodes one record behind those that are already there.
    ///
    /// # Errors
    /// See [`RecordError`]; the batch is unchanged.
    pub fn push(&mut self, parts: &RecordParts<'_>) -> Result<(), RecordError> {
        let start = self.bytes.len();
        self.encode(parts, 1)?;
        let len = (self.bytes.len() - start) as u64;
        if len + BLANK_LEN > self.encoding.segment_size {
            self.take_back(self.records.len() - 1, start);
            return Err(RecordError::LongerThanFile { len, segment_size: self.encoding.segment_size });
        }
        Ok(())
    }

    /// Encodes a client's batch: its records lie behind one another in one file, and all of them are stored or none.
    ///
    /// # Errors
    /// The first error of an item or of its encoding; the batch is unchanged.
    pub fn push_group<'a, E: From<RecordError>>(
        &mut self,
        group: impl IntoIterator<Item = Result<RecordParts<'a>, E>>,
    ) -> Result<(), E> {
        let (first, start) = (self.records.len(), self.bytes.len());
        let pushed = group.into_iter().try_for_each(|parts| Ok(self.encode(&parts?, 0)?));
        let len = (self.bytes.len() - start) as u64;
        let segment_size = self.encoding.segment_size;
        let fits = pushed.and_then(|()| {
            if len + BLANK_LEN > segment_size {
                return Err(RecordError::LongerThanFile { len, segment_size }.into());
            }
            Ok(())
        });
        if fits.is_err() {
            self.take_back(first, start);
            return fits;
        }
        let run = self.records.len() - first;
        if let Some(record) = self.records.get_mut(first) {
            record.run = run;
        }
        Ok(())
    }

    fn encode(&mut self, parts: &RecordParts<'_>, run: usize) -> Result<(), RecordError> {
        let encoding = &*self.encoding;
        let max = encoding.max_message_size.load(Ordering::Relaxed);
        if parts.body.len() > max {
            return Err(RecordError::BodyTooLong { len: parts.body.len(), max });
        }
        if memchr(0, parts.properties).is_some() {
            return Err(RecordError::PropertiesWithZero);
        }
        let start = self.bytes.len();
        let topic = parts.queue.topic();
        let encoded = record::encode(
            &mut self.bytes,
            &Parts {
                topic,
                queue_id: parts.queue.id(),
                flag: parts.flag,
                sys_flag: parts.sys_flag,
                born_timestamp: parts.born_timestamp,
                born_host: parts.born_host,
                store_host: parts.store_host,
                reconsume_times: parts.reconsume_times,
                prepared_transaction_offset: parts.prepared_transaction_offset,
                body: parts.body,
                properties: parts.properties,
            },
            encoding.property_crc,
        )?;
        let record_max = max.saturating_add(OVERHEAD_MAX);
        if encoded.len > record_max {
            self.bytes.truncate(start);
            return Err(RecordError::RecordTooLong { len: encoded.len, max: record_max });
        }
        if self.topic != topic {
            topic.clone_into(&mut self.topic);
            self.topic_hash = TopicHash::new(topic);
        }
        let keys_start = self.keys.len();
        let properties = Properties(parts.properties);
        let kind = dispatch::derive(self.topic_hash, parts.sys_flag, properties, &mut self.keys);
        if !encoding.index_enabled {
            self.keys.truncate(keys_start);
        }
        self.records.push(BatchRecord {
            queue: Arc::clone(parts.queue),
            bytes_end: self.bytes.len(),
            keys_end: self.keys.len(),
            kind,
            tag: parts.tag,
            progress: Progress::Encoded,
            run,
            has_queue_entry: dispatch::has_queue_entry(parts.sys_flag),
            wait: parts.wait,
        });
        Ok(())
    }

    fn take_back(&mut self, records: usize, bytes: usize) {
        self.records.truncate(records);
        self.bytes.truncate(bytes);
        self.keys.truncate(self.keys_start(records));
    }

    /// Takes over a record that has its place already, from the log of another store.
    pub(crate) fn push_raw(&mut self, record: &Record<'_>, queue: &Arc<Queue>) {
        self.bytes.extend_from_slice(record.bytes);
        if self.topic != record.topic {
            record.topic.clone_into(&mut self.topic);
            self.topic_hash = TopicHash::new(record.topic);
        }
        let keys_start = self.keys.len();
        let kind = dispatch::derive(self.topic_hash, record.sys_flag, record.properties, &mut self.keys);
        if !self.encoding.index_enabled {
            self.keys.truncate(keys_start);
        }
        let stored = Stored {
            physical: record.physical,
            queue_offset: record.queue_offset,
            store_timestamp: record.store_timestamp,
        };
        self.records.push(BatchRecord {
            queue: Arc::clone(queue),
            bytes_end: self.bytes.len(),
            keys_end: self.keys.len(),
            kind,
            tag: 0,
            progress: Progress::Assigned(stored),
            run: 1,
            has_queue_entry: dispatch::has_queue_entry(record.sys_flag) && !queue.is_deleted(),
            wait: true,
        });
        self.next = self.records.len();
    }

    /// Where the bytes of this record begin; also for the one past the last.
    pub(crate) fn bytes_start(&self, record: usize) -> usize {
        record.checked_sub(1).and_then(|before| self.records.get(before)).map_or(0, |before| before.bytes_end)
    }

    pub(crate) fn keys_start(&self, record: usize) -> usize {
        record.checked_sub(1).and_then(|before| self.records.get(before)).map_or(0, |before| before.keys_end)
    }

    /// The position behind the last record that has a place.
    pub(crate) fn end(&self) -> Option<Mark> {
        let last = self.records.iter().rposition(|record| record.progress.stored().is_some())?;
        let stored = self.records[last].progress.stored()?;
        let len = self.bytes_start(last + 1) - self.bytes_start(last);
        Some(Mark { position: position(stored.physical) + len as u64, store_time: stored.store_timestamp })
    }

    /// Records encoded so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing was encoded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes encoded so far.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// What became of the records: the caller's marks with the outcomes, in the order of the records. Records that
    /// were answered early, with another batch, are not among them.
    #[must_use]
    pub fn answers(&self) -> &[(u64, Outcome)] {
        &self.answers
    }

    /// Turns what is known about the records into answers and lets go of their queues.
    pub(crate) fn settle(&mut self) {
        self.answers.extend(self.records.drain(..).filter_map(|record| match record.progress {
            Progress::Assigned(stored) => Some((record.tag, Outcome::Confirmed(stored))),
            Progress::Refused(outcome) => Some((record.tag, outcome)),
            Progress::Answered(_) | Progress::Withdrawn => None,
            Progress::Encoded => Some((record.tag, Outcome::Failed)),
        }));
    }

    /// Makes it like new, with its memory.
    fn reset(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.records.clear();
        self.records.shrink_to(KEPT_BYTES_MAX / size_of::<BatchRecord>());
        self.keys.clear();
        self.answers.clear();
        self.port = None;
        self.next = 0;
        self.budget = 0;
    }
}

/// Batches that are not in use, shared by all connections so that idle ones hold none.
#[derive(Debug)]
pub(crate) struct BatchPool {
    #[expect(clippy::vec_box, reason = "batches travel boxed, and stay so here")]
    idle: Mutex<Vec<Box<Batch>>>,
    encoding: Arc<Encoding>,
}

impl BatchPool {
    pub(crate) fn new(encoding: Arc<Encoding>) -> Self {
        Self { idle: Mutex::default(), encoding }
    }

    pub(crate) fn take(&self) -> Box<Batch> {
        self.idle.lock().pop().unwrap_or_else(|| Box::new(Batch::new(Arc::clone(&self.encoding))))
    }

    /// How many there are, and how large their buffers.
    pub(crate) fn idle(&self) -> (usize, usize) {
        let idle = self.idle.lock();
        (idle.len(), idle.iter().map(|batch| batch.bytes.capacity()).sum())
    }

    pub(crate) fn give_back(&self, mut batch: Box<Batch>) {
        batch.reset();
        let mut idle = self.idle.lock();
        if idle.len() < KEPT_BATCHES_MAX {
            idle.push(batch);
        }
    }
}

/// The store's side of a port.
#[derive(Debug, Default)]
pub(crate) struct PortState {
    inner: Mutex<PortInner>,
}

#[derive(Debug, Default)]
struct PortInner {
    done: VecDeque<Box<Batch>>,
    waker: Option<Waker>,
    closed: bool,
}

impl PortState {
    /// Hands a batch with its answers back. The waker is for the caller to use once it delivered the whole group, so
    /// that a connection is woken once per group; a closed port gives the batch back.
    pub(crate) fn deliver(&self, batch: Box<Batch>) -> Result<Option<Waker>, Box<Batch>> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(batch);
        }
        inner.done.push_back(batch);
        Ok(inner.waker.take())
    }

    pub(crate) fn poll_done(&self, context: &Context<'_>) -> Poll<Box<Batch>> {
        let mut inner = self.inner.lock();
        match inner.done.pop_front() {
            Some(batch) => Poll::Ready(batch),
            None => {
                match &mut inner.waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    none => *none = Some(context.waker().clone()),
                }
                Poll::Pending
            }
        }
    }

    pub(crate) fn forget_waker(&self) {
        self.inner.lock().waker = None;
    }

    pub(crate) fn close(&self) -> VecDeque<Box<Batch>> {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.waker = None;
        std::mem::take(&mut inner.done)
    }
}
