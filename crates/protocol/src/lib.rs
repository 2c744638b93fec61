//! Bytes to values and back: frames, headers, bodies, message records of the RocketMQ remoting protocol.
//!
//! Nothing here waits, reads a clock, or touches a socket or a file. No input makes it panic, loop, or allocate
//! more than a small multiple of the input's size.

pub mod properties_text;
pub mod types;
