//! The real binary under what brokers meet: killed processes, full disks, bad input, overload, a second process.
//!
//! Everything goes through the wire, the file system and signals; nothing of the product runs in the test's process
//! but the codec.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails the test")]

#[path = "../common/mod.rs"]
mod common;
mod footprint;
mod full_disk;
mod kill;
mod ledger;
mod lock;
mod overload;
mod process;
mod random;
mod scale;
mod small_disk;
mod wire;
