//! Wakes a loop that sleeps. Cheap when it does not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// A wake-up that is remembered until the next wait.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    raised: AtomicBool,
    sleeping: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// Ends the present wait, or else the next one.
    pub(crate) fn raise(&self) {
        if self.raised.swap(true, Ordering::AcqRel) {
            return;
        }
        if *self.sleeping.lock() {
            self.changed.notify_one();
        }
    }

    /// Sleeps until raised or until `timeout` has passed; takes the signal back.
    pub(crate) fn wait(&self, timeout: Duration) {
        if !self.raised.swap(false, Ordering::AcqRel) && !timeout.is_zero() {
            let mut sleeping = self.sleeping.lock();
            // Raised before the lock: nobody will notify.
            if !self.raised.load(Ordering::Acquire) {
                *sleeping = true;
                self.changed.wait_for(&mut sleeping, timeout);
                *sleeping = false;
            }
            drop(sleeping);
            self.raised.swap(false, Ordering::AcqRel);
        }
    }
}
