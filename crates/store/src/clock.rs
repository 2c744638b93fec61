//! Time as an argument: the real clock in production, a settable one in tests.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferromq_protocol::types::TimestampMs;

/// Source of time for everything that reaches the disk or decides about files.
pub trait Clock: Send + Sync + 'static {
    /// Wall clock. May step backwards; whoever needs monotone values takes the maximum itself.
    fn now(&self) -> TimestampMs;
    /// Time since an arbitrary start, never going backwards.
    fn elapsed(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    started: std::time::Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { started: std::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> TimestampMs {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        TimestampMs(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}
