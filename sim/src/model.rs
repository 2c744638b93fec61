//! What the world knows about every record it sent, and what has to be true of a store that comes back.
//!
//! The rules, in the words of the durability contract: who got an answer in SYNC mode keeps his record whatever happens;
//! in ASYNC mode it survives the death of the process, and a power cut if a completed flush had covered it. What a start
//! has shown once stays for good, because it is on the disk before the first answer. What was refused, and what a start
//! has cut away, never appears. Queues are dense, and every record is there once, at the offset that was promised.

use std::collections::BTreeMap;

use ferromq_protocol::types::{PhysicalOffset, QueueOffset};
use ferromq_store::{FlushMode, Outcome, Stored};

use crate::disk::Crash;

/// A queue of the simulation.
pub type QueueKey = (String, i32);

/// What became of a record, as far as its sender and the consumers know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No answer yet.
    Waiting,
    /// Answered as stored; `waited` for the disk.
    Acked {
        /// Its place.
        stored: Stored,
        /// Whether the answer was to wait for the disk.
        waited: bool,
    },
    /// Answered as stored but not confirmed in time.
    TimedOut(Stored),
    /// Answered as not stored: must never appear.
    Refused(Outcome),
    /// The store gave up on it: may or may not be there.
    Unknown,
    /// A start has shown it: must stay.
    Kept(Stored),
    /// A start came without it: must not come back.
    Gone,
    /// Its topic was deleted: must not come back.
    Deleted,
    /// Its topic may have been deleted: a start will tell.
    InDoubt,
    /// Retention has removed it or will; nobody minds if it shows up once more.
    Expired,
}

/// A record that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Where to.
    pub queue: QueueKey,
    /// What became of it.
    pub fate: Fate,
    /// A consumer has seen it.
    pub seen: bool,
    /// Its topic was deleted, for certain or not; the record itself stays in the log.
    pub orphaned: bool,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The number in its body.
    pub id: u64,
    /// Queue it was read from.
    pub queue: QueueKey,
    /// Its place.
    pub stored: Stored,
    /// Bytes of the record.
    pub len: u64,
}

/// Everything that was sent. The number of a record is its index.
#[derive(Debug, Default)]
pub struct Model {
    /// By number.
    pub sent: Vec<Sent>,
    /// Lengths of records whose place is known.
    lens: BTreeMap<u64, u64>,
    /// The highest durable position that the store has told.
    pub durable: u64,
}

fn position(physical: PhysicalOffset) -> u64 {
    u64::try_from(physical.0).unwrap_or(0)
}

impl Model {
    /// Notes a record that is about to be sent.
    pub fn send(&mut self, queue: QueueKey) -> u64 {
        self.sent.push(Sent { queue, fate: Fate::Waiting, seen: false, orphaned: false });
        self.sent.len() as u64 - 1
    }

    /// Notes how long a record is.
    pub fn set_len(&mut self, id: u64, len: u64) {
        self.lens.insert(id, len);
    }

    fn sent_mut(&mut self, id: u64) -> Result<&mut Sent, String> {
        let index = usize::try_from(id).unwrap_or(usize::MAX);
        self.sent.get_mut(index).ok_or_else(|| format!("record {id} was never sent"))
    }

    /// Notes an answer.
    ///
    /// # Errors
    /// A second answer for the same record.
    pub fn answer(&mut self, id: u64, outcome: Outcome, waited: bool) -> Result<(), String> {
        let sent = self.sent_mut(id)?;
        if matches!(sent.fate, Fate::Deleted | Fate::InDoubt | Fate::Expired) {
            return Ok(());
        }
        if sent.fate != Fate::Waiting {
            return Err(format!("record {id} is {:?} and is answered again: {outcome:?}", sent.fate));
        }
        sent.fate = match outcome {
            Outcome::Confirmed(stored) => Fate::Acked { stored, waited },
            Outcome::TimedOut(stored) => Fate::TimedOut(stored),
            Outcome::Poisoned => Fate::Unknown,
            other => Fate::Refused(other),
        };
        Ok(())
    }

    /// Notes that a consumer saw a record.
    ///
    /// # Errors
    /// It must not be visible, or not there.
    pub fn see(&mut self, found: &Found) -> Result<(), String> {
        let sent = self.sent_mut(found.id)?;
        if sent.queue != found.queue {
            return Err(format!("record {} of {:?} was read from {:?}", found.id, sent.queue, found.queue));
        }
        match sent.fate {
            Fate::Refused(_) | Fate::Gone | Fate::Deleted => {
                return Err(format!(
                    "record {} is {:?} and was read at {:?}",
                    found.id, sent.fate, found.stored
                ));
            }
            Fate::Acked { stored, .. } | Fate::TimedOut(stored) | Fate::Kept(stored)
                if stored != found.stored =>
            {
                return Err(format!("record {} was promised {stored:?}, read {:?}", found.id, found.stored));
            }
            _ => {}
        }
        sent.seen = true;
        Ok(())
    }

    /// Notes that a topic was deleted, or that this was begun and may have happened.
    pub fn delete_topic(&mut self, topic: &str, certain: bool) {
        for sent in self.sent.iter_mut().filter(|sent| sent.queue.0 == topic) {
            if !matches!(sent.fate, Fate::Refused(_) | Fate::Gone | Fate::Deleted) {
                sent.fate = if certain { Fate::Deleted } else { Fate::InDoubt };
                sent.orphaned = true;
            }
        }
    }

    /// Notes that retention may have removed everything before a position.
    pub fn remove_before(&mut self, position_of_log: u64) {
        for sent in &mut self.sent {
            if let Fate::Acked { stored, .. } | Fate::TimedOut(stored) | Fate::Kept(stored) = sent.fate
                && position(stored.physical) < position_of_log
            {
                sent.fate = Fate::Expired;
                sent.orphaned = true;
            }
        }
    }

    /// Compares what a start shows with what was promised, and takes it as the truth from here on.
    ///
    /// # Errors
    /// A promise was broken.
    pub fn recovered(
        &mut self,
        found: &[Found],
        starts: &BTreeMap<QueueKey, QueueOffset>,
        how: Option<Crash>,
        mode: FlushMode,
        end: u64,
    ) -> Result<(), String> {
        let mut there: BTreeMap<u64, &Found> = BTreeMap::new();
        let mut next: BTreeMap<&QueueKey, QueueOffset> = BTreeMap::new();
        for record in found {
            self.see(record)?;
            if let Some(other) = there.insert(record.id, record) {
                return Err(format!("record {} is there twice: {other:?} and {record:?}", record.id));
            }
            let start = starts.get(&record.queue).copied().unwrap_or_default();
            let expected = next.entry(&record.queue).or_insert(start);
            if record.stored.queue_offset != *expected {
                return Err(format!(
                    "{:?} is not dense: expected {expected}, found {record:?}",
                    record.queue
                ));
            }
            *expected = expected.plus(1);
        }
        let durable = self.durable;
        for (id, sent) in (0_u64..).zip(&mut self.sent) {
            if let Some(found) = there.get(&id) {
                if sent.fate != Fate::Expired {
                    sent.fate = Fate::Kept(found.stored);
                }
                continue;
            }
            let len = self.lens.get(&id).copied().unwrap_or(0);
            let place = match sent.fate {
                Fate::Acked { stored, .. } | Fate::TimedOut(stored) | Fate::Kept(stored) => Some(stored),
                _ => None,
            };
            let flushed = place.is_some_and(|stored| position(stored.physical) + len <= durable);
            let promised = match (sent.fate, how) {
                (Fate::Kept(_), _) => true,
                (Fate::Acked { .. } | Fate::TimedOut(_), None | Some(Crash::Kill)) => true,
                (Fate::Acked { waited, .. }, Some(Crash::PowerCut)) => {
                    flushed || (mode == FlushMode::Sync && (waited || sent.seen))
                }
                (Fate::TimedOut(_), Some(Crash::PowerCut)) => {
                    flushed || (mode == FlushMode::Sync && sent.seen)
                }
                (Fate::Waiting | Fate::Unknown, Some(Crash::PowerCut)) => {
                    mode == FlushMode::Sync && sent.seen
                }
                _ => false,
            };
            if promised {
                return Err(format!("record {id} is lost after {how:?}, durable was {durable}: {sent:?}"));
            }
            if place.is_some_and(|stored| position(stored.physical) < end) {
                return Err(format!(
                    "record {id} is missing in front of others, the log ends at {end}: {sent:?}"
                ));
            }
            if !matches!(sent.fate, Fate::Deleted | Fate::Expired) {
                sent.fate = Fate::Gone;
            }
            sent.seen = false;
        }
        self.durable = end;
        Ok(())
    }

    /// Records that are in the log for certain, with their lengths: what a checkpoint may promise.
    pub fn placed(&self) -> impl Iterator<Item = (&Sent, Stored, u64)> {
        (0_u64..).zip(&self.sent).filter_map(|(id, sent)| match sent.fate {
            Fate::Acked { stored, .. } | Fate::TimedOut(stored) | Fate::Kept(stored) => {
                Some((sent, stored, self.lens.get(&id).copied().unwrap_or(0)))
            }
            _ => None,
        })
    }
}
