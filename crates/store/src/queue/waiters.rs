//! Those who wait for the next message of a queue.
//!
//! A waiter hangs on its queue and is told by the step that makes an entry visible: nothing scans, and a message with
//! another tag wakes nobody. Registering and publishing both happen under the lock of the queue's tail, so that
//! "nothing new yet" and "told of everything from here on" cannot fall apart.

use std::sync::Arc;

use ferromq_protocol::types::QueueOffset;
use slab::Slab;

use super::Queue;

/// Which entries concern a reader, judged by tag code alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagFilter {
    /// Every entry.
    All,
    /// Entries whose tag hash is one of these. Java compares the lower 32 bits of the tag code, so do we.
    Hashes(Arc<[i32]>),
}

impl TagFilter {
    /// Whether an entry with this tag code may concern the reader. Different tags with one hash pass both; the
    /// client looks at the tag itself.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "Java's Long.intValue()")]
    pub fn matches(&self, tag_code: i64) -> bool {
        match self {
            Self::All => true,
            Self::Hashes(hashes) => hashes.contains(&(tag_code as i32)),
        }
    }
}

/// Where a waiter is told. One value serves all waiters of a connection.
pub trait Notify: Send + Sync {
    /// A message that `token` waited for became visible, or its queue was deleted. Called once for a token at most,
    /// from the thread that confirmed the message: only note it and wake somebody.
    fn notify(&self, token: u64);
}

struct Waiter {
    /// Tells this registration from an earlier one in the same place.
    serial: u64,
    filter: TagFilter,
    target: Arc<dyn Notify>,
    token: u64,
}

/// The waiters of one queue.
#[derive(Default)]
pub(super) struct Waiters {
    slots: Slab<Waiter>,
    registered: u64,
}

impl Waiters {
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    fn insert(&mut self, filter: TagFilter, target: Arc<dyn Notify>, token: u64) -> (usize, u64) {
        self.registered += 1;
        let serial = self.registered;
        (self.slots.insert(Waiter { serial, filter, target, token }), serial)
    }

    fn remove(&mut self, key: usize, serial: u64) {
        if self.slots.get(key).is_some_and(|waiter| waiter.serial == serial) {
            self.slots.remove(key);
        }
    }

    /// Moves those whom this tag code concerns into `woken`.
    pub(super) fn take_matching(&mut self, tag_code: i64, woken: &mut Woken) {
        self.slots.retain(|_, waiter| {
            let concerned = waiter.filter.matches(tag_code);
            if concerned {
                woken.0.push((Arc::clone(&waiter.target), waiter.token));
            }
            !concerned
        });
    }

    /// Moves all into `woken`.
    pub(super) fn take_all(&mut self, woken: &mut Woken) {
        woken.0.extend(self.slots.drain().map(|waiter| (waiter.target, waiter.token)));
    }
}

/// Waiters that are due to be told, collected while a group of entries is published.
///
/// Told after the whole group is visible, so that a reader finds all of it with one read.
#[derive(Default)]
pub struct Woken(Vec<(Arc<dyn Notify>, u64)>);

impl Woken {
    /// Tells everyone collected. Keeps the memory for the next group.
    pub fn notify(&mut self) {
        for (target, token) in self.0.drain(..) {
            target.notify(token);
        }
    }

    /// Whether nobody is to be told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A registration with a queue. Dropping it withdraws the waiter.
///
/// A message that becomes visible at the moment of the drop may still be told.
#[must_use = "dropping it withdraws the waiter"]
pub struct Watch {
    queue: Arc<Queue>,
    key: usize,
    serial: u64,
}

impl Watch {
    /// The queue that is watched.
    #[must_use]
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut tail = self.queue.tail.lock();
        if let Some(hot) = tail.hot.as_mut() {
            hot.waiters.remove(self.key, self.serial);
            tail.release_if_idle();
        }
    }
}

impl Queue {
    /// Registers a waiter for entries at and after `from` that pass the filter. `None` if there is an entry at or
    /// after `from` already (read first) or the queue was deleted.
    pub fn watch(
        self: &Arc<Self>,
        from: QueueOffset,
        filter: TagFilter,
        target: Arc<dyn Notify>,
        token: u64,
    ) -> Option<Watch> {
        let mut tail = self.tail.lock();
        if self.is_deleted() || self.max_offset() > from {
            return None;
        }
        let (key, serial) = tail.heat().waiters.insert(filter, target, token);
        Some(Watch { queue: Arc::clone(self), key, serial })
    }

    /// Number of waiters.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.tail.lock().hot.as_ref().map_or(0, |hot| hot.waiters.len())
    }
}
