//! What the server and the caller promise, over real sockets on loopback.
#![allow(unreachable_pub, reason = "one binary, many modules")]

mod frames;
mod support;
