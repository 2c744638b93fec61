//! Runs unmodified RocketMQ programs against servers, Java's or ours.
//!
//! A [`server`] is a name server or broker process of either make, started on free ports from the same properties file;
//! a [`program`] is a client program (Java, Go) that prints `PASS` or `FAIL` and may ask for something to be done to the
//! servers meanwhile; a scenario of the [`suite`] puts them together. The same scenario runs against both makes, so what
//! is expected of us was seen at Java first. [`toolchain`] fetches everything before the first scenario; after that
//! nothing leaves the loopback interface. Every wait is bounded, and every process ends with the value that owns it.

pub mod mqadmin;
pub mod ports;
pub mod process;
pub mod program;
pub mod retention;
pub mod roundtrip;
pub mod rows;
pub mod server;
pub mod suite;
pub mod toolchain;
pub mod wire;
