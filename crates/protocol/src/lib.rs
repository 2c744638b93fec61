//! Bytes to values and back: frames, headers, bodies, message records of the RocketMQ remoting protocol.
//!
//! Nothing here waits, reads a clock, or touches a socket or a file. No input makes it panic, loop, or allocate
//! more than a small multiple of the input's size.
//!
//! On the wire: [`frame`] cuts the stream, [`header`] reads a header, [`encode`] writes frames.
//! In the log: [`record`] holds one stored message, whose [`properties`] and [`sys_flag`] have their own modules;
//! [`batch`] is the body of a batched send.

pub mod batch;
pub mod body;
pub mod code;
pub mod encode;
pub mod frame;
pub mod header;
pub mod java;
pub mod json;
pub mod msg_id;
pub mod properties;
pub mod properties_text;
pub mod record;
pub mod request;
pub mod response;
pub mod sys_flag;
pub mod types;
pub mod version;
