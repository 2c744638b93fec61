//! The store as its users see it: opened, started, used, stopped.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use ferromq_protocol::record::PropertyCrc;
use ferromq_protocol::types::{PhysicalOffset, QueueId, QueueOffset, TimestampMs};
use parking_lot::Mutex;
use thiserror::Error;

use crate::append::{Batch, BatchPool, Encoding, KEPT_BATCHES_MAX, KEPT_BYTES_MAX, PortState};
use crate::clock::Clock;
use crate::commit::{CommitWatch, Intake};
use crate::config::StoreConfig;
use crate::confirm::Confirmer;
use crate::disk::{Access, Disk};
use crate::engine::{Counters, Engine, Signals};
use crate::follow::{AppendRawError, TruncateError};
use crate::health::{Health, Trouble};
use crate::layout::{Layout, physical, position};
use crate::log::Log;
use crate::log::ring::Ring;
use crate::log::tail::Tail;
use crate::query::{KeyHits, KeyQuery, QueryError};
use crate::queue::{Boundary, ENTRY_SIZE, EntriesError, Queue, QueueConfig, QueueError, Queues, Wait};
use crate::read::{Plan, ReadError, ReadRequest};
use crate::recover::{OpenError, RecoveryReport, recover};
use crate::replication::{LogListener, Pin, Replication};
use crate::retention::{Retention, RetentionRules};
use crate::running::{Directory, DirectoryError};
use crate::signal::Signal;
use crate::sync::Syncer;
use crate::write_behind::{Checkpointer, WriteBehind};

/// Time and disk of a store.
#[derive(Clone)]
pub struct Environment {
    /// Where files are.
    pub disk: Arc<dyn Disk>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// A store cannot begin to take records.
#[derive(Debug, Error)]
pub enum StartError {
    /// The marks of a running store cannot be written.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A thread cannot be made.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// How a stop went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopReport {
    /// Everything is on the disk and `abort` is gone: the next start has nothing to mend.
    pub clean: bool,
    /// Where the log ends.
    pub end: PhysicalOffset,
}

/// What an operator wants to know.
#[derive(Clone, Debug)]
pub struct StoreStatus {
    /// First position of the log.
    pub min_physical: PhysicalOffset,
    /// Everything before it is visible.
    pub confirmed: PhysicalOffset,
    /// Everything before it was given to the page cache.
    pub written: PhysicalOffset,
    /// Everything before it is on the disk.
    pub durable: PhysicalOffset,
    /// Bytes of log whose queue entries are in memory only.
    pub write_behind_lag: u64,
    /// Bytes submitted and not answered.
    pub pending_bytes: usize,
    /// Limit of the same.
    pub pending_bytes_max: usize,
    /// Batches that are kept for reuse.
    pub idle_batches: usize,
    /// Limit of the same.
    pub idle_batches_max: usize,
    /// Bytes of their buffers.
    pub idle_batch_bytes: usize,
    /// Limit of the same.
    pub idle_batch_bytes_max: usize,
    /// Bytes in memory of the slot table of the newest index file; 0 without an index.
    pub index_slot_bytes: usize,
    /// Limit of the same.
    pub index_slot_bytes_max: usize,
    /// How long the commit under way has taken.
    pub commit_stalled_for: Duration,
    /// Why nothing is acknowledged any more.
    pub poisoned_by: Option<String>,
    /// The disk is too full for new records.
    pub disk_full: bool,
    /// Queue or index entries cannot be written.
    pub queues_behind: bool,
    /// Groups written since the start.
    pub groups: u64,
    /// Records written since the start.
    pub records: u64,
    /// Damaged records met by reads.
    pub corrupt_records: u64,
    /// Damaged records left out of answers.
    pub skipped_records: u64,
    /// Files of the log that were removed because they were old or the disk was full.
    pub removed_segments: u64,
}

/// What a store does on its own, each on a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    /// Commits what connections do not commit themselves, and answers those that wait too long.
    Commit,
    /// Syncs the log and prepares its next file.
    Sync,
    /// Writes queue and index entries.
    WriteBehind,
    /// Syncs queue and index files and writes the checkpoint.
    Checkpoint,
    /// Removes what is old, and watches how full the disks are.
    Clean,
}

impl Loop {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Commit, Self::Sync, Self::WriteBehind, Self::Checkpoint, Self::Clean];

    fn thread_name(self) -> &'static str {
        match self {
            Self::Commit => "store-commit",
            Self::Sync => "store-sync",
            Self::WriteBehind => "store-behind",
            Self::Checkpoint => "store-mark",
            Self::Clean => "store-clean",
        }
    }
}

/// A message store.
///
/// [`Store::open`] recovers, [`Store::start`] begins to take records, [`Store::stop`] ends cleanly. Dropping it without
/// a stop is a crash: threads end, nothing more is written.
pub struct Store {
    core: Arc<Engine>,
    recovery: RecoveryReport,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Store {
    /// Locks the directory, reads what is there and mends what a crash left. Takes no records yet and has no threads.
    ///
    /// # Errors
    /// See [`OpenError`]. What could not be mended is as it was.
    pub fn open(config: StoreConfig, environment: Environment) -> Result<Self, OpenError> {
        let Environment { disk, clock } = environment;
        let mut config = config;
        config.queue_file_size = config.queue_file_size.max(1).next_multiple_of(ENTRY_SIZE as u64);
        let layout = Layout::new(config.root.clone(), config.commit_log.clone());
        let directory = Directory::lock(Arc::clone(&disk), &layout)?;
        let queues = Queues::new(
            &QueueConfig {
                dir: layout.consume_queues(),
                batch_dir: layout.batch_queues(),
                side_dir: layout.ours(),
                file_size: config.queue_file_size,
                open_files_max: config.open_queue_files_max,
                access: Access::ReadWrite,
            },
            Arc::clone(&disk),
        );
        let recovered = recover(&directory, &disk, &layout, &config, queues)?;
        let end = recovered.end;
        let property_crc = if config.append_property_crc { PropertyCrc::Append } else { PropertyCrc::Off };
        let encoding = Arc::new(Encoding {
            segment_size: config.segment_size,
            property_crc,
            index_enabled: config.index_enabled,
            max_message_size: AtomicUsize::new(config.max_message_size),
        });
        let log = Log::new(Arc::clone(&disk), recovered.segments, Ring::new(config.ring_bytes), end);
        let health = Health::default();
        health.set(Trouble::NotLeading, true);
        let core = Engine {
            tail: Mutex::new(Tail::new(
                &log,
                property_crc,
                config.flush_mode == crate::config::FlushMode::Sync,
            )),
            log,
            directory,
            queues: recovered.queues,
            index: recovered.index.map(ArcSwap::from_pointee),
            health,
            pool: BatchPool::new(Arc::clone(&encoding)),
            encoding,
            intake: Intake::new(config.pending_bytes_max),
            commit_watch: CommitWatch::default(),
            unconfirmed: Mutex::new(VecDeque::new()),
            confirmer: Mutex::new(Confirmer::default()),
            syncer: Mutex::new(Syncer::default()),
            write_behind: Mutex::new(WriteBehind::new(clock.elapsed())),
            checkpointer: Mutex::new(Checkpointer::new(recovered.checkpoint, clock.elapsed())),
            checkpointed: AtomicU64::new(end.position),
            flush_distance: AtomicU64::new(config.write_behind_bytes),
            // Entries that recovery put back are in memory only.
            flushed: AtomicU64::new(recovered.report.scanned_from.min(end.position)),
            replication: Replication::new(end.position),
            retention: Retention::new(&config, clock.elapsed()),
            signals: Signals::default(),
            counters: Counters::default(),
            skip_corrupt_records: AtomicBool::new(config.skip_corrupt_records),
            config,
            layout,
            disk,
            clock,
        };
        Ok(Self { core: Arc::new(core), recovery: recovered.report, threads: Mutex::default() })
    }

    /// What [`Store::open`] found and did.
    #[must_use]
    pub fn recovery(&self) -> &RecoveryReport {
        &self.recovery
    }

    /// Marks the store as running, starts the threads and takes records from here on.
    ///
    /// # Errors
    /// See [`StartError`]; no records are taken then.
    pub fn start(&self) -> Result<(), StartError> {
        self.follow()?;
        self.run()?;
        self.lead();
        Ok(())
    }

    /// Marks the store as running. It takes what [`Store::append_raw`] brings, and no records of its own.
    ///
    /// # Errors
    /// The marks cannot be written.
    pub fn follow(&self) -> Result<(), StartError> {
        self.core.directory.mark_running(self.core.log.written().position)?;
        if let Err(error) = self.core.queues.keep_table(self.core.directory.lock_modified()?) {
            tracing::warn!(%error, "cannot keep the table of queues");
        }
        Ok(())
    }

    /// Takes records from here on. The store must have been marked as running.
    pub fn lead(&self) {
        self.core.health.set(Trouble::NotLeading, false);
    }

    /// Takes no records from here on; those that were submitted are answered with [`crate::Outcome::ReadOnly`].
    pub fn stand_down(&self) {
        self.core.health.set(Trouble::NotLeading, true);
    }

    /// Starts the threads. Without them, whoever drives the store calls [`Store::step`].
    fn run(&self) -> Result<(), StartError> {
        let mut threads = self.threads.lock();
        for each in Loop::ALL {
            let core = Arc::clone(&self.core);
            let run = move || {
                while !core.stopping() {
                    let wait = core.step(each);
                    core.signal(each).wait(wait);
                }
            };
            let spawned = std::thread::Builder::new().name(each.thread_name().to_owned()).spawn(run);
            threads.push(spawned.map_err(StartError::Thread)?);
        }
        Ok(())
    }

    /// One round of a loop, for those who run a store without threads. Returns how long it may rest.
    pub fn step(&self, each: Loop) -> Duration {
        self.core.step(each)
    }

    /// Takes no more records, brings everything to the disk and ends the threads.
    pub fn stop(&self) -> StopReport {
        self.stand_down();
        self.join_threads();
        let clean = self.core.finish();
        StopReport { clean, end: physical(self.core.log.written().position) }
    }

    fn join_threads(&self) {
        self.core.signals.stopping.store(true, Ordering::Release);
        for each in Loop::ALL {
            self.core.signal(each).raise();
        }
        for thread in self.threads.lock().drain(..) {
            // A thread that panicked has said so; what it left undone shows in the report of the stop.
            let _ = thread.join();
        }
    }

    /// A new connection's way in.
    #[must_use]
    pub fn port(&self) -> Port {
        Port { core: Arc::clone(&self.core), state: Arc::default() }
    }

    /// Commits what all ports submitted, if this thread may; otherwise somebody else does soon. To be called after
    /// [`Port::submit`]. Returns whether this thread did it: then [`Port::poll_done`] has the answers, in ASYNC mode.
    pub fn commit_inline(&self) -> bool {
        self.core.commit_inline()
    }

    /// The queue, created empty if it does not exist.
    #[must_use]
    pub fn queue(&self, topic: &str, id: QueueId) -> Arc<Queue> {
        self.core.queues.get(topic, id)
    }

    /// The queue, if it exists.
    #[must_use]
    pub fn find_queue(&self, topic: &str, id: QueueId) -> Option<Arc<Queue>> {
        self.core.queues.find(topic, id)
    }

    /// Deletes a topic: its queues and all records in them. A topic of this name that is created afterwards starts at
    /// offset 0. `false` if there was none. Waits for the disk.
    ///
    /// # Errors
    /// See [`Queues::delete_topic`].
    pub fn delete_topic(&self, topic: &str) -> Result<bool, QueueError> {
        let deleted = self.core.queues.delete_topic(topic, || {
            // Whoever gives places to records holds this; what has one is written when it is free.
            let _token = self.core.tail.lock();
            let written = self.core.log.written().position;
            if !self.core.health.has(Trouble::Poisoned) {
                return physical(written);
            }
            // Records that could not be taken back may lie behind, and the next start may find them.
            let size = self.core.log.segments.size();
            physical(written - written % size + size)
        });
        // Somebody may have found the token taken and left his batch to its holder.
        self.core.signals.commit.raise();
        deleted
    }

    /// All queues.
    #[must_use]
    pub fn queues(&self) -> &Queues {
        &self.core.queues
    }

    /// The offset that belongs to a time, within the bounds of the queue. Waits for the disk.
    ///
    /// # Errors
    /// Queue entries cannot be read.
    pub fn offset_by_time(
        &self,
        queue: &Queue,
        time: TimestampMs,
        boundary: Boundary,
    ) -> Result<QueueOffset, EntriesError> {
        self.core.offset_by_time(queue, time, boundary)
    }

    /// When the message at an offset was stored; `None` if there is none or its record cannot be read. Waits for the
    /// disk.
    ///
    /// # Errors
    /// Queue entries cannot be read.
    pub fn store_time(
        &self,
        queue: &Queue,
        offset: QueueOffset,
    ) -> Result<Option<TimestampMs>, EntriesError> {
        self.core.store_time(queue, offset)
    }

    /// When the first message of the log was stored, of whatever topic.
    #[must_use]
    pub fn earliest_store_time(&self) -> Option<TimestampMs> {
        self.core.earliest_store_time()
    }

    /// Changes what may be removed, and when.
    pub fn set_retention(&self, rules: RetentionRules) {
        self.core.set_retention(rules);
    }

    /// Removes what is old enough in the next rounds, whatever the hour.
    pub fn request_cleaning(&self) {
        self.core.request_cleaning();
    }

    /// Where everything lies.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.core.layout
    }

    /// What the store was opened with.
    #[must_use]
    pub fn config(&self) -> &StoreConfig {
        &self.core.config
    }

    /// Answers a read request but for the bytes, into `plan`; see [`crate::read`].
    ///
    /// # Errors
    /// Queue entries cannot be read; with [`Wait::Never`] also when the disk would have to be waited for.
    pub fn plan(
        &self,
        queue: &Arc<Queue>,
        request: &ReadRequest<'_>,
        plan: &mut Plan,
    ) -> Result<(), ReadError> {
        self.core.plan(queue, request, plan)
    }

    /// Appends the planned records to `out`. Damaged ones are an error, or are left out if `skipCorruptRecords` says so.
    ///
    /// # Errors
    /// `out` is as it was before.
    pub fn copy(&self, plan: &Plan, wait: Wait, out: &mut Vec<u8>) -> Result<(), ReadError> {
        self.core.copy(plan, wait, out)
    }

    /// Appends the record at a position to `out`, whoever it belongs to.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] unless a record begins exactly there.
    pub fn record_at(&self, at: PhysicalOffset, wait: Wait, out: &mut Vec<u8>) -> Result<(), ReadError> {
        self.core.record_at(at, wait, out)
    }

    /// Records with a key, newest last; empty without an index. Reads the records, so it may wait for the disk.
    ///
    /// # Errors
    /// The index or a record cannot be read.
    pub fn query(&self, query: &KeyQuery<'_>, out: &mut Vec<u8>) -> Result<KeyHits, QueryError> {
        self.core.query(query, out)
    }

    /// Follows the log as it grows, from here on.
    pub fn listen(&self, listener: Arc<dyn LogListener>) {
        self.core.replication.listen(listener);
    }

    /// Lets records be confirmed up to a position at most; without one, the flush mode alone decides.
    pub fn set_confirm_bound(&self, bound: Option<PhysicalOffset>) {
        self.core.replication.set_bound(bound);
        self.core.confirm();
    }

    /// Waits until the log was written beyond a position, or for the given time. Returns how far it was written.
    #[must_use]
    pub fn wait_beyond(&self, from: PhysicalOffset, timeout: Duration) -> PhysicalOffset {
        let written = || self.core.log.written().position;
        physical(self.core.replication.wait_beyond(position(from), timeout, written))
    }

    /// Appends bytes of the log from `from` on to `out`, at most `max`, as far as it was written; across files, with the
    /// blank ends between them.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] when the log does not reach back so far.
    pub fn read_range(&self, from: PhysicalOffset, max: usize, out: &mut Vec<u8>) -> Result<(), ReadError> {
        self.core.read_range(from, max, out)
    }

    /// Keeps the log from a position on, whatever retention wants, until the pin is dropped.
    #[must_use]
    pub fn pin(&self, from: PhysicalOffset) -> Pin {
        self.core.replication.pin(position(from))
    }

    /// The lowest pinned position.
    #[must_use]
    pub fn retention_floor(&self) -> Option<PhysicalOffset> {
        self.core.replication.floor().map(physical)
    }

    /// Appends whole records, or the blank end of a file, as another store has them at this position. Only while not
    /// leading. They are confirmed as the flush mode and the bound allow.
    ///
    /// # Errors
    /// See [`AppendRawError`].
    pub fn append_raw(&self, at: PhysicalOffset, bytes: &[u8]) -> Result<(), AppendRawError> {
        self.core.append_raw(at, bytes)
    }

    /// Cuts the log, its queues and its index at the start of a record, durably. Only while not leading. Records that
    /// wait for their confirmation there are answered with [`crate::Outcome::Truncated`].
    ///
    /// # Errors
    /// See [`TruncateError`].
    pub fn truncate_to(&self, at: PhysicalOffset) -> Result<(), TruncateError> {
        self.core.truncate_to(at)
    }

    /// First position of the log.
    #[must_use]
    pub fn min_physical(&self) -> PhysicalOffset {
        physical(self.core.log.min_position())
    }

    /// The position behind the last visible record.
    #[must_use]
    pub fn max_physical(&self) -> PhysicalOffset {
        physical(self.core.log.confirmed())
    }

    /// Store time of the last visible record.
    #[must_use]
    pub fn last_store_time(&self) -> TimestampMs {
        self.core.log.dispatched().store_time
    }

    /// Changes `maxMessageSize` for what is encoded from here on.
    pub fn set_max_message_size(&self, bytes: usize) {
        self.core.encoding.max_message_size.store(bytes, Ordering::Relaxed);
    }

    /// Changes `skipCorruptRecords`.
    pub fn set_skip_corrupt_records(&self, skip: bool) {
        self.core.skip_corrupt_records.store(skip, Ordering::Relaxed);
    }

    /// What an operator wants to know.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let core = &self.core;
        let counters = &core.counters;
        let (idle_batches, idle_batch_bytes) = core.pool.idle();
        let index = core.index.as_ref().map(|index| index.load().slot_table_bytes());
        let (index_slot_bytes, index_slot_bytes_max) = index.unwrap_or_default();
        StoreStatus {
            min_physical: self.min_physical(),
            confirmed: self.max_physical(),
            written: physical(core.log.written().position),
            durable: physical(core.log.durable_position()),
            write_behind_lag: core.write_behind_lag(),
            pending_bytes: core.intake.outstanding(),
            pending_bytes_max: core.config.pending_bytes_max,
            idle_batches,
            idle_batches_max: KEPT_BATCHES_MAX,
            idle_batch_bytes,
            idle_batch_bytes_max: KEPT_BATCHES_MAX * KEPT_BYTES_MAX,
            index_slot_bytes,
            index_slot_bytes_max,
            commit_stalled_for: core.commit_stalled_for(),
            poisoned_by: core.health.poisoned_by().map(str::to_owned),
            disk_full: core.health.has(Trouble::DiskFull),
            queues_behind: core.health.has(Trouble::QueuesBehind),
            groups: counters.groups.load(Ordering::Relaxed),
            records: counters.records.load(Ordering::Relaxed),
            corrupt_records: counters.corrupt_records.load(Ordering::Relaxed),
            skipped_records: counters.skipped_records.load(Ordering::Relaxed),
            removed_segments: counters.removed_segments.load(Ordering::Relaxed),
        }
    }

    /// How long the write that is under way has not returned; zero without one.
    #[must_use]
    pub fn commit_stalled_for(&self) -> Duration {
        self.core.commit_stalled_for()
    }

    /// Whether records are taken; if not, [`Store::status`] says why.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.core.health.refusal().is_none()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.join_threads();
    }
}

impl Engine {
    fn stopping(&self) -> bool {
        self.signals.stopping.load(Ordering::Acquire)
    }

    fn step(&self, each: Loop) -> Duration {
        match each {
            Loop::Commit => self.commit_step(),
            Loop::Sync => self.sync_step(),
            Loop::WriteBehind => self.write_behind_step(),
            Loop::Checkpoint => self.checkpoint_step(),
            Loop::Clean => self.clean_step(),
        }
    }

    fn signal(&self, each: Loop) -> &Signal {
        match each {
            Loop::Commit => &self.signals.commit,
            Loop::Sync => &self.signals.sync,
            Loop::WriteBehind => &self.signals.write_behind,
            Loop::Checkpoint => &self.signals.checkpoint,
            Loop::Clean => &self.signals.clean,
        }
    }

    /// Brings everything to the disk after the last record. Returns whether nothing is left to mend.
    fn finish(&self) -> bool {
        self.commit_step();
        let synced = self.sync_now();
        self.confirm();
        if !(synced && self.close_entries()) {
            return false;
        }
        let end = self.log.written().position;
        let complete = self.log.dispatched_position() == end && self.log.durable_position() == end;
        if !complete || self.health.has(Trouble::Poisoned) {
            return false;
        }
        if let Err(error) = self.remove_prepared_files() {
            tracing::warn!(%error, "cannot remove the file prepared for the log");
        }
        match self.directory.mark_stopped() {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "cannot mark the store as stopped cleanly");
                false
            }
        }
    }

    /// Java removes its unused files at a stop, too. One that begins where the log ends stays: when retention has removed
    /// all others, its name is what remembers how far the log has come.
    fn remove_prepared_files(&self) -> io::Result<()> {
        let end = self.log.written().position;
        self.log.segments.remove(|segment| segment.base > end).map(drop)
    }
}

/// A connection's way into the store.
///
/// Batches of one port keep their order. Its owner calls [`Port::poll_done`] after every submit and before it sleeps;
/// it is woken once for each group of the log that answers batches of this port.
pub struct Port {
    core: Arc<Engine>,
    state: Arc<PortState>,
}

impl Port {
    /// An empty batch. Give it back with [`Port::recycle`] once its answers were read, or drop it.
    #[must_use]
    pub fn batch(&self) -> Box<Batch> {
        self.core.pool.take()
    }

    /// Puts a batch on the list of what is to be committed. The answers come through [`Port::poll_done`].
    ///
    /// # Errors
    /// Gives the batch back when too many bytes wait already: the store is busy.
    pub fn submit(&self, mut batch: Box<Batch>) -> Result<(), Box<Batch>> {
        if batch.is_empty() {
            self.core.pool.give_back(batch);
            return Ok(());
        }
        batch.port = Some(Arc::clone(&self.state));
        // Its owner is awake and will ask.
        self.state.forget_waker();
        self.core.intake.push(batch)
    }

    /// The next batch that has its answers. Registers the waker when there is none.
    pub fn poll_done(&self, context: &Context<'_>) -> Poll<Box<Batch>> {
        self.state.poll_done(context)
    }

    /// Takes back the memory of a batch whose answers were read.
    pub fn recycle(&self, batch: Box<Batch>) {
        self.core.pool.give_back(batch);
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        for batch in self.state.close() {
            self.core.pool.give_back(batch);
        }
    }
}
