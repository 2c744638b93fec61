//! Locks that let one client of a group consume a queue in order.
//!
//! A lock belongs to a client id, not to a connection: it lasts a fixed time from the last renewal, survives the
//! client's disconnection and is not kept over restarts. Plain state; `now` is an argument.

use std::time::Duration;

use ferromq_protocol::body::MessageQueue;
use rustc_hash::FxHashMap;

/// Locks of all groups together; beyond, new ones are refused as if somebody held them.
pub const LOCKS_MAX: usize = 1_000_000;

#[derive(Debug)]
struct Lock {
    client_id: Box<str>,
    renewed: Duration,
}

impl Lock {
    fn has_expired(&self, now: Duration, lifetime: Duration) -> bool {
        now.saturating_sub(self.renewed) > lifetime
    }
}

/// All locks of this broker, by group and queue.
#[derive(Debug)]
pub struct QueueLocks {
    /// How long a lock holds without being renewed. Clients renew every 20 s and give up after 30 s.
    lifetime: Duration,
    groups: FxHashMap<Box<str>, FxHashMap<MessageQueue, Lock>>,
    locks: usize,
    locks_max: usize,
}

impl QueueLocks {
    /// No locks yet; each will last `lifetime` from its last renewal.
    #[must_use]
    pub fn new(lifetime: Duration) -> Self {
        Self { lifetime, groups: FxHashMap::default(), locks: 0, locks_max: LOCKS_MAX }
    }

    /// Locks or renews what this client may have and returns it. `now` counts from any fixed moment.
    pub fn lock(
        &mut self,
        group: &str,
        client_id: &str,
        queues: Vec<MessageQueue>,
        now: Duration,
    ) -> Vec<MessageQueue> {
        if queues.is_empty() {
            return queues;
        }
        let locks = match self.groups.get_mut(group) {
            Some(locks) => locks,
            None => self.groups.entry(group.into()).or_default(),
        };
        let mut held = Vec::with_capacity(queues.len());
        for queue in queues {
            match locks.get_mut(&queue) {
                Some(lock) if *lock.client_id == *client_id => lock.renewed = now,
                Some(lock) if lock.has_expired(now, self.lifetime) => {
                    *lock = Lock { client_id: client_id.into(), renewed: now };
                }
                Some(_) => continue,
                None if self.locks >= self.locks_max => continue,
                None => {
                    self.locks += 1;
                    locks.insert(queue.clone(), Lock { client_id: client_id.into(), renewed: now });
                }
            }
            held.push(queue);
        }
        if locks.is_empty() {
            self.groups.remove(group);
        }
        held
    }

    /// Releases those of the queues that this client holds.
    pub fn unlock(&mut self, group: &str, client_id: &str, queues: &[MessageQueue]) {
        let Some(locks) = self.groups.get_mut(group) else { return };
        for queue in queues {
            if locks.get(queue).is_some_and(|lock| *lock.client_id == *client_id) {
                locks.remove(queue);
                self.locks -= 1;
            }
        }
        if locks.is_empty() {
            self.groups.remove(group);
        }
    }

    /// True while any queue of the group is held by anybody.
    #[must_use]
    pub fn is_held(&self, group: &str, now: Duration) -> bool {
        self.groups
            .get(group)
            .is_some_and(|locks| locks.values().any(|lock| !lock.has_expired(now, self.lifetime)))
    }

    /// Forgets expired locks, so that groups which are gone cost nothing. Called now and then.
    pub fn expire(&mut self, now: Duration) {
        let lifetime = self.lifetime;
        self.groups.retain(|_, locks| {
            locks.retain(|_, lock| !lock.has_expired(now, lifetime));
            !locks.is_empty()
        });
        self.locks = self.groups.values().map(FxHashMap::len).sum();
    }

    /// Number of locks, expired ones included until [`Self::expire`] runs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.locks
    }

    /// True if nobody ever locked anything, or all was released.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(60);

    fn queue(queue_id: i32) -> MessageQueue {
        MessageQueue { topic: "T".into(), broker_name: "broker-a".into(), queue_id }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_held_queue_is_refused_to_others_and_renewed_for_its_holder() {
        let mut locks = QueueLocks::new(LIFETIME);
        assert_eq!(locks.lock("g", "a", vec![queue(0), queue(1)], at(0)), [queue(0), queue(1)]);
        assert_eq!(locks.lock("g", "b", vec![queue(1), queue(2)], at(1)), [queue(2)]);
        assert_eq!(locks.lock("g", "a", vec![queue(0)], at(50)), [queue(0)]);
        assert_eq!(locks.lock("g", "b", vec![queue(0)], at(110)), [], "renewed at 50 s");
        assert_eq!(locks.lock("other", "b", vec![queue(0)], at(110)), [queue(0)], "groups do not meet");
    }

    #[test]
    fn beyond_the_limit_nothing_is_granted_and_nothing_is_kept() {
        let mut locks = QueueLocks { locks_max: 2, ..QueueLocks::new(LIFETIME) };
        assert_eq!(locks.lock("g", "a", vec![queue(0), queue(1), queue(2)], at(0)), [queue(0), queue(1)]);
        assert_eq!(locks.lock("h", "a", vec![queue(0)], at(0)), []);
        assert_eq!((locks.len(), locks.groups.len()), (2, 1));
        assert_eq!(locks.lock("g", "a", vec![queue(0)], at(1)), [queue(0)], "renewed all the same");
        locks.unlock("g", "a", &[queue(1)]);
        assert_eq!(locks.lock("h", "a", vec![queue(0)], at(1)), [queue(0)]);
    }

    #[test]
    fn an_expired_lock_is_taken_over_exactly_after_its_lifetime() {
        let mut locks = QueueLocks::new(LIFETIME);
        locks.lock("g", "a", vec![queue(0)], at(0));
        assert_eq!(locks.lock("g", "b", vec![queue(0)], LIFETIME), []);
        let after = LIFETIME + Duration::from_millis(1);
        assert_eq!(locks.lock("g", "b", vec![queue(0)], after), [queue(0)]);
        assert_eq!(locks.lock("g", "a", vec![queue(0)], after), []);
    }

    #[test]
    fn only_the_holder_unlocks() {
        let mut locks = QueueLocks::new(LIFETIME);
        locks.lock("g", "a", vec![queue(0), queue(1)], at(0));
        locks.unlock("g", "b", &[queue(0)]);
        assert_eq!(locks.lock("g", "b", vec![queue(0)], at(1)), []);
        assert_eq!(locks.len(), 2);
        locks.unlock("g", "a", &[queue(0)]);
        assert_eq!(locks.len(), 1);
        assert_eq!(locks.lock("g", "b", vec![queue(0)], at(1)), [queue(0)]);
    }

    #[test]
    fn a_group_is_held_until_its_last_lock_expires() {
        let mut locks = QueueLocks::new(LIFETIME);
        assert!(!locks.is_held("g", at(0)));
        locks.lock("g", "a", vec![queue(0)], at(0));
        locks.lock("g", "a", vec![queue(1)], at(30));
        assert!(locks.is_held("g", at(90)));
        assert!(!locks.is_held("g", at(91)));
    }

    #[test]
    fn expired_locks_cost_nothing() {
        let mut locks = QueueLocks::new(LIFETIME);
        for n in 0..1_000 {
            locks.lock(&format!("g{n}"), "a", vec![queue(0)], at(0));
        }
        locks.expire(at(60));
        assert_eq!(locks.len(), 1_000);
        locks.expire(at(61));
        assert!(locks.is_empty());
    }
}
