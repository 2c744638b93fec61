//! From the pending list into the log: who commits, when, and what waits for its confirmation.
//!
//! Connections push their batches and then ask to commit. Whoever finds the token free commits everything that is
//! pending, his own and what others push meanwhile; whoever does not find it free goes on, because the holder looks
//! again after letting go. After a slow write and for large groups the commit thread does it instead. A write ends in the
//! page cache; the wait for the disk in SYNC mode is the sync thread's.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::append::{Batch, BatchRecord, Outcome, Progress, Stored};
use crate::config::FlushMode;
use crate::engine::{Engine, to_ms};
use crate::log::Mark;
use crate::log::tail::{Committed, Surroundings, Tail};

/// A connection commits at most so many pending bytes itself.
const INLINE_BYTES_MAX: usize = 2 << 20;
/// A connection looks so many times for what others pushed before it leaves the rest to the commit thread.
const INLINE_ROUNDS: usize = 4;
/// A write that took longer than this held a thread that has connections to serve ...
const SLOW_WRITE: Duration = Duration::from_millis(5);
/// ... so for this long only the commit thread writes.
const INLINE_PAUSE: Duration = Duration::from_secs(1);
/// Queue and index files may lag behind the log by so many bytes.
pub(crate) const WRITE_BEHIND_BYTES_MAX: u64 = 64 << 20;
/// The commit thread looks at this interval although nobody told it to.
const IDLE_WAIT: Duration = Duration::from_secs(1);

/// Batches waiting for the token, and the byte budget of everything submitted and not yet answered.
#[derive(Debug)]
pub(crate) struct Intake {
    pending: Mutex<VecDeque<Box<Batch>>>,
    outstanding: AtomicUsize,
    max: usize,
}

impl Intake {
    pub(crate) fn new(max: usize) -> Self {
        Self { pending: Mutex::default(), outstanding: AtomicUsize::new(0), max }
    }

    /// Takes a batch if the budget allows; a batch larger than the whole budget is taken alone.
    pub(crate) fn push(&self, mut batch: Box<Batch>) -> Result<(), Box<Batch>> {
        let len = batch.bytes.len();
        let before = self.outstanding.fetch_add(len, Ordering::AcqRel);
        if before > 0 && before.saturating_add(len) > self.max {
            self.outstanding.fetch_sub(len, Ordering::AcqRel);
            return Err(batch);
        }
        batch.budget = len;
        self.pending.lock().push_back(batch);
        Ok(())
    }

    fn take(&self, into: &mut VecDeque<Box<Batch>>) {
        let mut pending = self.pending.lock();
        if into.is_empty() {
            std::mem::swap(&mut *pending, into);
        } else {
            into.append(&mut pending);
        }
    }

    fn is_empty(&self) -> bool {
        self.pending.lock().is_empty()
    }

    pub(crate) fn release(&self, batch: &mut Batch) {
        self.outstanding.fetch_sub(std::mem::take(&mut batch.budget), Ordering::AcqRel);
    }

    /// Bytes submitted and not yet answered.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Acquire)
    }
}

/// Something in the log that is not confirmed yet.
pub(crate) struct Unconfirmed {
    /// Confirmed once the position it depends on has passed this.
    pub(crate) end: Mark,
    written_at: Duration,
    /// `None` for the blank end of a file.
    pub(crate) batch: Option<Box<Batch>>,
    answered_late: bool,
}

impl Unconfirmed {
    pub(crate) fn new(end: Mark, written_at: Duration, batch: Option<Box<Batch>>) -> Self {
        Self { end, written_at, batch, answered_late: false }
    }
}

/// When commits started and how they went.
#[derive(Debug, Default)]
pub(crate) struct CommitWatch {
    /// Milliseconds; 0 when nobody commits.
    began_ms: AtomicU64,
    inline_paused_until_ms: AtomicU64,
}

impl Engine {
    /// Commits what is pending, if this thread may. Returns whether it did; otherwise somebody else does.
    pub(crate) fn commit_inline(&self) -> bool {
        let paused = self.commit_watch.inline_paused_until_ms.load(Ordering::Relaxed);
        let allowed = self.intake.outstanding() <= INLINE_BYTES_MAX
            && (paused == 0 || to_ms(self.clock.elapsed()) >= paused);
        // Refusing takes no time, and after a stop nobody else would do it.
        let allowed = allowed || self.health.refusal().is_some();
        if !allowed {
            self.signals.commit.raise();
            return false;
        }
        self.commit_pending(INLINE_ROUNDS)
    }

    /// One round of the commit thread. Returns how long it may sleep.
    pub(crate) fn commit_step(&self) -> Duration {
        self.commit_pending(usize::MAX);
        self.answer_late()
    }

    fn commit_pending(&self, rounds: usize) -> bool {
        for _ in 0..rounds {
            // Somebody else holds the token. He looks for our batches after he has let go of it.
            let Some(mut tail) = self.tail.try_lock() else { return false };
            self.commit_watch.began_ms.store(to_ms(self.clock.elapsed()).max(1), Ordering::Relaxed);
            self.intake.take(&mut tail.work);
            let blocked = self.commit_work(&mut tail);
            self.commit_watch.began_ms.store(0, Ordering::Relaxed);
            drop(tail);
            if blocked || self.intake.is_empty() {
                return true;
            }
        }
        self.signals.commit.raise();
        true
    }

    /// Puts the batches of the token's holder into the log. Returns whether some must wait for the write-behind.
    fn commit_work(&self, tail: &mut Tail) -> bool {
        let sealed = |group: &crate::log::tail::SealedGroup<'_>| self.tell_sealed(group);
        loop {
            if let Some(outcome) = self.health.refusal() {
                tail.refuse_all(outcome);
            } else if !tail.work.is_empty() && self.write_behind_lag() > WRITE_BEHIND_BYTES_MAX {
                self.signals.write_behind.raise();
                return true;
            }
            let began = self.clock.elapsed();
            let around =
                Surroundings { log: &self.log, now: self.clock.now(), elapsed: began, sealed: &sealed };
            let committed = tail.commit_group(&around);
            let took = self.clock.elapsed().saturating_sub(began);
            if took > SLOW_WRITE {
                let until = to_ms(began + took + INLINE_PAUSE);
                self.commit_watch.inline_paused_until_ms.store(until, Ordering::Relaxed);
            }
            let finished = self.hand_over(tail, began, matches!(committed, Committed::Written));
            match committed {
                Committed::Written => self.await_confirmation(),
                Committed::Refused => self.confirm(),
                Committed::Idle if finished => self.confirm(),
                Committed::Idle => return false,
                Committed::Broken(error) => {
                    self.poison(format!("a failed write of the log could not be undone: {error}"));
                }
            }
        }
    }

    /// Moves what is finished from the token's holder to those who wait for confirmation; whether there was anything.
    fn hand_over(&self, tail: &mut Tail, now: Duration, wrote: bool) -> bool {
        let mut moved = false;
        while let Some(mut batch) = tail.take_finished() {
            let early = self.answer_unwaiting(&mut batch);
            let port = batch.port.clone();
            let mut unconfirmed = self.unconfirmed.lock();
            // Its own end, and not how far the log was written: the next batch may be partly in the log already.
            let end = batch.end().or(unconfirmed.back().map(|last| last.end));
            let end = end.unwrap_or_else(|| self.log.dispatched());
            unconfirmed.push_back(Unconfirmed::new(end, now, Some(batch)));
            drop(unconfirmed);
            if let Some((early, port)) = early.zip(port) {
                self.deliver_now(early, &port);
            }
            moved = true;
        }
        // A blank end is confirmed with whatever follows; on its own only when no batch is half way.
        if wrote && !moved && !tail.is_within_batch() {
            let end = self.log.written();
            let mut unconfirmed = self.unconfirmed.lock();
            let known = unconfirmed.back().map_or(self.log.confirmed(), |last| last.end.position);
            if end.position > known {
                unconfirmed.push_back(Unconfirmed {
                    end,
                    written_at: now,
                    batch: None,
                    answered_late: false,
                });
                moved = true;
            }
        }
        moved
    }

    pub(crate) fn await_confirmation(&self) {
        match self.config.flush_mode {
            FlushMode::Async => {
                self.wake_resting_syncer();
                self.confirm();
            }
            FlushMode::Sync => self.signals.sync.raise(),
        }
    }

    /// In SYNC mode, answers those records of a written batch whose senders do not wait for the disk.
    fn answer_unwaiting(&self, batch: &mut Batch) -> Option<Box<Batch>> {
        if self.config.flush_mode == FlushMode::Async || batch.records.iter().all(|record| record.wait) {
            return None;
        }
        self.answer_early(batch, |record, stored| {
            (!record.wait).then(|| {
                record.progress = Progress::Answered(stored);
                Outcome::Confirmed(stored)
            })
        })
    }

    /// A batch with the answers of those records for which there is one now, ahead of the rest. Whoever gives an answer
    /// notes in the record's progress that it was given.
    pub(crate) fn answer_early(
        &self,
        batch: &mut Batch,
        mut answer: impl FnMut(&mut BatchRecord, Stored) -> Option<Outcome>,
    ) -> Option<Box<Batch>> {
        let mut early = self.pool.take();
        for record in &mut batch.records {
            let tag = record.tag;
            match record.progress {
                Progress::Assigned(stored) => {
                    early.answers.extend(answer(record, stored).map(|outcome| (tag, outcome)));
                }
                Progress::Answered(stored) => {
                    // Asked all the same: it may have to be withdrawn.
                    let _ = answer(record, stored);
                }
                Progress::Encoded | Progress::Refused(_) | Progress::Withdrawn => {}
            }
        }
        if early.answers.is_empty() {
            self.pool.give_back(early);
            return None;
        }
        Some(early)
    }

    /// Answers records that waited longer for the disk than their senders do. Returns when to look again.
    fn answer_late(&self) -> Duration {
        let patience = self.config.sync_flush_timeout;
        if self.config.flush_mode == FlushMode::Async {
            return IDLE_WAIT;
        }
        let now = self.clock.elapsed();
        let mut next = IDLE_WAIT;
        let mut late = Vec::new();
        for entry in self.unconfirmed.lock().iter_mut().filter(|entry| !entry.answered_late) {
            let waited = now.saturating_sub(entry.written_at);
            if waited < patience {
                next = next.min(patience - waited);
                break;
            }
            entry.answered_late = true;
            let Some(batch) = &mut entry.batch else { continue };
            let port = batch.port.clone();
            let early = self.answer_early(batch, |record, stored| {
                record.progress = Progress::Answered(stored);
                Some(Outcome::TimedOut(stored))
            });
            late.extend(early.zip(port));
        }
        for (batch, port) in late {
            self.deliver_now(batch, &port);
        }
        next
    }

    pub(crate) fn deliver_now(&self, batch: Box<Batch>, port: &crate::append::PortState) {
        match port.deliver(batch) {
            Ok(Some(waker)) => waker.wake(),
            Ok(None) => {}
            Err(batch) => self.pool.give_back(batch),
        }
    }

    /// How long the present commit has been going on: a disk that stalls shows here first.
    pub(crate) fn commit_stalled_for(&self) -> Duration {
        match self.commit_watch.began_ms.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            began => self.clock.elapsed().saturating_sub(Duration::from_millis(began)),
        }
    }

    /// Nothing is acknowledged from here on; everything unconfirmed is answered accordingly.
    pub(crate) fn poison(&self, cause: String) {
        self.health.poison(cause);
        self.confirm();
        self.signals.commit.raise();
        self.signals.write_behind.raise();
    }
}
