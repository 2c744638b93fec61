//! What the server and the caller promise, over real sockets on loopback.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
#![allow(unreachable_pub, reason = "one binary, many modules")]

mod backpressure;
mod frames;
mod lifecycle;
mod replies;
mod support;
mod tls;
