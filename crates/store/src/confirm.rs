//! The moment a record becomes visible: queue entries, index keys, waiting readers, answers; in log order.
//!
//! Whoever moves the position that confirmation depends on calls [`Engine::confirm`]; one thread at a time does the work
//! and looks again before it leaves, so nobody waits for it. Answers of a group go to each connection with one wake-up.

use std::task::Waker;

use crate::append::{Batch, Outcome, Progress};
use crate::commit::Unconfirmed;
use crate::config::FlushMode;
use crate::engine::Engine;
use crate::health::Trouble;
use crate::index::IndexKey;
use crate::layout::position;
use crate::log::Mark;
use crate::queue::{Entry, Woken};

/// Batches confirmed in one go.
const CONFIRM_MAX: usize = 256;

/// Memory that is used again from group to group.
#[derive(Default)]
pub(crate) struct Confirmer {
    group: Vec<Unconfirmed>,
    keys: Vec<IndexKey>,
    readers: Woken,
    wakers: Vec<Waker>,
}

impl Engine {
    /// Makes visible what may be.
    pub(crate) fn confirm(&self) {
        loop {
            // Somebody else confirms. He looks for our group after he has let go.
            let Some(mut confirmer) = self.confirmer.try_lock() else { return };
            while self.take_confirmable(&mut confirmer.group) {
                self.confirm_group(&mut confirmer);
            }
            drop(confirmer);
            if !self.has_confirmable() {
                return;
            }
        }
    }

    /// The position up to which the mode lets records be confirmed.
    fn confirm_bound(&self) -> u64 {
        let own = match self.config.flush_mode {
            FlushMode::Async => self.log.written().position,
            FlushMode::Sync => self.log.durable_position(),
        };
        own.min(self.replication.bound())
    }

    fn has_confirmable(&self) -> bool {
        let bound = self.confirm_bound();
        let poisoned = self.health.has(Trouble::Poisoned);
        self.unconfirmed.lock().front().is_some_and(|first| poisoned || first.end.position <= bound)
    }

    fn take_confirmable(&self, group: &mut Vec<Unconfirmed>) -> bool {
        let bound = self.confirm_bound();
        let poisoned = self.health.has(Trouble::Poisoned);
        let mut unconfirmed = self.unconfirmed.lock();
        let ready = unconfirmed
            .iter()
            .take(CONFIRM_MAX)
            .take_while(|entry| poisoned || entry.end.position <= bound)
            .count();
        group.extend(unconfirmed.drain(..ready));
        ready > 0
    }

    fn confirm_group(&self, confirmer: &mut Confirmer) {
        let Confirmer { group, keys, readers, wakers } = confirmer;
        if self.health.has(Trouble::Poisoned) {
            for batch in group.iter_mut().filter_map(|entry| entry.batch.as_mut()) {
                refuse_assigned(batch, Outcome::Poisoned);
            }
        } else if let Some(end) = group.last().map(|last| last.end) {
            self.log.set_confirmed(end.position);
            for batch in group.iter().filter_map(|entry| entry.batch.as_ref()) {
                self.publish(batch, keys, readers);
            }
            if let Some(index) = &self.index {
                index.load().push(keys);
            }
            keys.clear();
            self.log.set_dispatched(end);
            readers.notify();
            self.replication.confirmed(end.position);
            if self.write_behind_is_due() {
                self.signals.write_behind.raise();
            }
        }
        for batch in group.drain(..).filter_map(|entry| entry.batch) {
            wakers.extend(self.answer(batch));
        }
        wakers.drain(..).for_each(Waker::wake);
    }

    /// Gives a batch its answers and hands it back. The waker is used after the whole group.
    pub(crate) fn answer(&self, mut batch: Box<Batch>) -> Option<Waker> {
        batch.settle();
        self.intake.release(&mut batch);
        let delivered = match batch.port.take() {
            Some(port) => port.deliver(batch),
            None => Err(batch),
        };
        delivered.unwrap_or_else(|unwanted| {
            self.pool.give_back(unwanted);
            None
        })
    }

    fn publish(&self, batch: &Batch, keys: &mut Vec<IndexKey>, readers: &mut Woken) {
        for (index, record) in batch.records.iter().enumerate() {
            let Some(stored) = record.progress.stored() else { continue };
            if record.has_queue_entry {
                let size = record.bytes_end - batch.bytes_start(index);
                let entry = Entry {
                    physical: stored.physical,
                    size: i32::try_from(size).unwrap_or(i32::MAX),
                    tag_code: record.kind.code(stored.store_timestamp, &self.config.delay_levels),
                };
                if let Err(error) = record.queue.push(stored.queue_offset, entry, readers) {
                    // Offsets are given out in order by the token's holder, so this is a defect of ours. The record is
                    // in the log; the next start rebuilds the queue from it.
                    tracing::error!(%error, "queue entry refused");
                }
            }
            let hashes = &batch.keys[batch.keys_start(index)..record.keys_end];
            let (physical, store_time) = (stored.physical, stored.store_timestamp);
            keys.extend(hashes.iter().map(|hash| IndexKey { hash: *hash, physical, store_time }));
        }
    }

    /// Answers everything unconfirmed at or behind the cut with `Truncated`, and lets go of it. What lies before the cut
    /// goes on waiting. The caller holds the confirmer, so nothing is being confirmed meanwhile.
    pub(crate) fn withdraw_unconfirmed(&self, cut: Mark, _confirmer: &mut Confirmer) {
        let mut answers = Vec::new();
        let mut unconfirmed = self.unconfirmed.lock();
        while let Some(last) = unconfirmed.back_mut().filter(|last| last.end.position > cut.position) {
            let Some(batch) = &mut last.batch else {
                unconfirmed.pop_back();
                continue;
            };
            let port = batch.port.clone();
            let mut keeps_some = false;
            let early = self.answer_early(batch, |record, stored| {
                let gone = position(stored.physical) >= cut.position;
                keeps_some |= !gone;
                gone.then(|| {
                    record.progress = Progress::Withdrawn;
                    Outcome::Truncated
                })
            });
            answers.extend(early.zip(port));
            if keeps_some {
                last.end = cut;
                break;
            }
            answers.extend(unconfirmed.pop_back().and_then(|last| {
                let mut batch = last.batch?;
                batch.settle();
                self.intake.release(&mut batch);
                let port = batch.port.take()?;
                Some((batch, port))
            }));
        }
        drop(unconfirmed);
        for (batch, port) in answers {
            self.deliver_now(batch, &port);
        }
    }
}

fn refuse_assigned(batch: &mut Batch, outcome: Outcome) {
    for record in &mut batch.records {
        if let Progress::Assigned(_) = record.progress {
            record.progress = Progress::Refused(outcome);
        }
    }
}
