//! `ferromq bench`: load over the remoting protocol, against FerroMQ, Java RocketMQ or the null broker.
//!
//! The generator usually shares the machine with the server it measures, so it has to be much cheaper
//! than any server: one thread with its own readiness loop (`engine`), requests copied from ready-made
//! frames and patched (`wire`), responses scanned for code and opaque only, one histogram per thread.
//! It sends byte for byte what the Java 5.5.0 client sends; a test compares with recorded frames.
//!
//! `send`, `pull` and `e2e` are loads on the same engine; `fsync` measures the disk alone; `null` is a
//! broker that does nothing, the ceiling.

mod end_to_end;
mod engine;
mod fsync;
mod measure;
mod null;
mod options;
mod process;
mod pull;
mod report;
mod send;
mod target;
#[cfg(test)]
mod tests;
mod wire;

use clap::Subcommand;

pub use options::{EndToEnd, Fsync, Null, Output, Prepare, Pull, Send, Target, Timing};

/// What `ferromq bench` can do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    Send(Send),
    Pull(Pull),
    #[command(name = "e2e")]
    EndToEnd(EndToEnd),
    Fsync(Fsync),
    Null(Null),
}

/// Runs one command to its end; `Null` ends only with the process. Starts its own threads, so it must
/// not be called from inside a runtime.
pub fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Send(options) => send::measure(options)?.print(options.timing.output),
        Command::Pull(options) => pull::measure(options)?.print(options.timing.output),
        Command::EndToEnd(options) => end_to_end::measure(options)?.print(options.timing.output),
        Command::Fsync(options) => fsync::measure(options)?.print(options.output),
        Command::Null(options) => null::run(options),
    }
}
