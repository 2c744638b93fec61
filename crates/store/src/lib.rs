//! Everything on disk: commit log, consume queues, key index, checkpoint, retention, recovery.
//!
//! Threads and plain objects with a `step`; no async runtime, no network, no notion of clients.

pub mod clock;
pub mod disk;
pub mod dispatch;
pub mod queue;
