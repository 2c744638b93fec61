//! Time that passes when it is told to.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use ferromq_protocol::types::TimestampMs;
use ferromq_store::clock::Clock;

/// A settable clock.
#[derive(Debug)]
pub struct SimClock {
    now_ms: AtomicI64,
    elapsed_us: AtomicU64,
}

impl Default for SimClock {
    fn default() -> Self {
        Self { now_ms: AtomicI64::new(1_700_000_000_000), elapsed_us: AtomicU64::new(1_000_000) }
    }
}

impl SimClock {
    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let us = u64::try_from(by.as_micros()).unwrap_or(0);
        let before = self.elapsed_us.fetch_add(us, Ordering::Relaxed);
        let ms = (before + us) / 1000 - before / 1000;
        self.now_ms.fetch_add(i64::try_from(ms).unwrap_or(0), Ordering::Relaxed);
    }

    /// Sets the wall clock back; the time that passed does not change.
    pub fn step_back(&self, by_ms: i64) {
        self.now_ms.fetch_sub(by_ms, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(self.now_ms.load(Ordering::Relaxed))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.elapsed_us.load(Ordering::Relaxed))
    }
}
