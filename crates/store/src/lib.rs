//! Everything on disk: commit log, consume queues, key index, checkpoint, retention, recovery.
//!
//! Threads and plain objects with a `step`; no async runtime, no network, no notion of clients.
//!
//! The way of a record: a connection encodes it into a [`Batch`] and submits that through its [`Port`] (`append`);
//! whoever holds the commit token gives it a place and writes it (`commit`, `log::tail`); the sync thread brings it to
//! the disk (`sync`); once the flush mode is satisfied it becomes visible in its queue and the answer goes back
//! (`confirm`). Entries of queues and index reach their files later (`write_behind`); a start derives what is missing
//! from the log (`recover`). Consumers read through [`Store::plan`] and [`Store::copy`] (`read`).

mod append;
pub mod checkpoint;
pub mod clock;
mod commit;
mod config;
mod confirm;
pub mod disk;
pub mod dispatch;
mod engine;
mod follow;
mod health;
pub mod index;
pub mod layout;
mod log;
pub mod offline;
pub mod query;
pub mod queue;
pub mod read;
mod recover;
pub mod replication;
pub mod retention;
mod running;
mod signal;
pub mod state_file;
mod store;
mod store_times;
mod sync;
mod write_behind;

pub use append::{Batch, Outcome, RecordError, RecordParts, Stored};
pub use config::{FlushMode, StoreConfig};
pub use follow::{AppendRawError, TruncateError};
pub use log::scan::End;
pub use read::{Plan, ReadError, ReadLimits, ReadRequest, ReadStatus};
pub use recover::{OpenError, RecoveryReport};
pub use running::DirectoryError;
pub use store::{Environment, Loop, Port, StartError, StopReport, Store, StoreStatus};
