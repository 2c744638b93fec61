//! What brokers, clients and tools see of a name server, over real sockets on loopback.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
#![allow(unreachable_pub, reason = "one binary, many modules")]

mod golden;
mod liveness;
mod questions;
mod settings;
mod support;
