//! When to stop: the first signal asks for a clean stop, the second one ends the process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT (Ctrl-C) and SIGHUP.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl StopSignals {
    /// From now on signals are seen here. Must be called within a tokio runtime.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one and returns its name and number.
    pub(crate) async fn next(&mut self) -> (&'static str, u8) {
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", 15),
            _ = self.interrupt.recv() => ("SIGINT", 2),
            _ = self.hang_up.recv() => ("SIGHUP", 1),
        }
    }

    /// Ends the process at the next signal, whatever else is going on.
    pub(crate) fn end_process_at_the_next(mut self) {
        tokio::spawn(async move {
            let (name, number) = self.next().await;
            tracing::warn!(signal = name, "stopped at once; the next start recovers what was not finished");
            std::process::exit(128 + i32::from(number));
        });
    }
}
