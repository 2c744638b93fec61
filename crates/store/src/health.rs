//! Whether the store takes records, and why not.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::append::Outcome;

/// A reason to refuse records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Trouble {
    /// A sync failed, or a failed write could not be undone. Never cleared while the process lives.
    Poisoned = 1,
    /// The store follows another one, was not started yet, or is being stopped.
    NotLeading = 2,
    /// The disk is fuller than the warning level.
    DiskFull = 4,
    /// Queue or index entries cannot be written and their memory is used up.
    QueuesBehind = 8,
}

/// The reasons at this moment.
#[derive(Debug, Default)]
pub(crate) struct Health {
    troubles: AtomicU32,
    poisoned_by: OnceLock<String>,
}

impl Health {
    pub(crate) fn has(&self, trouble: Trouble) -> bool {
        self.troubles.load(Ordering::Acquire) & trouble as u32 != 0
    }

    /// Sets or clears; returns whether that changed anything.
    pub(crate) fn set(&self, trouble: Trouble, on: bool) -> bool {
        let bit = trouble as u32;
        let before = if on {
            self.troubles.fetch_or(bit, Ordering::AcqRel)
        } else {
            self.troubles.fetch_and(!bit, Ordering::AcqRel)
        };
        (before & bit != 0) != on
    }

    /// Stops all acknowledgements for good.
    pub(crate) fn poison(&self, cause: String) {
        if self.set(Trouble::Poisoned, true) {
            tracing::error!(cause, "the store acknowledges nothing any more until it is restarted");
            let _ = self.poisoned_by.set(cause);
        }
    }

    pub(crate) fn poisoned_by(&self) -> Option<&str> {
        self.poisoned_by.get().map(String::as_str)
    }

    /// What a record submitted now would be answered; `None` if it is taken.
    pub(crate) fn refusal(&self) -> Option<Outcome> {
        let troubles = self.troubles.load(Ordering::Acquire);
        let has = |trouble| troubles & trouble as u32 != 0;
        if troubles == 0 {
            None
        } else if has(Trouble::Poisoned) {
            Some(Outcome::Poisoned)
        } else if has(Trouble::NotLeading) {
            Some(Outcome::ReadOnly)
        } else {
            Some(Outcome::NoSpace)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_trouble_is_answered_and_clearing_one_leaves_the_others() {
        let health = Health::default();
        assert_eq!(health.refusal(), None);
        assert!(health.set(Trouble::DiskFull, true));
        assert!(!health.set(Trouble::DiskFull, true), "nothing changed");
        assert_eq!(health.refusal(), Some(Outcome::NoSpace));
        health.set(Trouble::NotLeading, true);
        assert_eq!(health.refusal(), Some(Outcome::ReadOnly));
        health.poison("EIO".to_owned());
        health.poison("later".to_owned());
        assert_eq!(health.refusal(), Some(Outcome::Poisoned));
        assert_eq!(health.poisoned_by(), Some("EIO"));
        health.set(Trouble::NotLeading, false);
        health.set(Trouble::DiskFull, false);
        assert_eq!(health.refusal(), Some(Outcome::Poisoned));
    }
}
