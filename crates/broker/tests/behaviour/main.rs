//! What clients see of a broker, through real connections.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
#![allow(unreachable_pub, reason = "one binary, many modules")]

mod admin;
mod bad_input;
mod clients;
mod golden;
mod limits;
mod offsets;
mod pull;
mod refusals;
mod registration;
mod rows;
mod send;
mod slow_disk;
mod support;
#[path = "../../../store/tests/common/watched_disk.rs"]
mod watched_disk;
