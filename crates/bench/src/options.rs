//! Command line of `ferromq bench`. Options that several loads share are groups here, so that they mean
//! and say the same everywhere.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};

/// Where the load goes.
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("broker").args(["addr", "namesrv"]).required(true).multiple(true)))]
pub struct Target {
    /// Address of the broker. Without it the broker is found through --namesrv.
    #[arg(long, value_name = "HOST:PORT")]
    pub addr: Option<String>,
    /// Name servers that know the broker, separated by ';'.
    #[arg(long, value_name = "HOST:PORT", env = "NAMESRV_ADDR")]
    pub namesrv: Option<String>,
    /// Which broker to use when the name server knows several; also sent in every request, as clients do.
    #[arg(long, default_value = "broker-a")]
    pub broker_name: String,
    /// Topic to use; it is created with --queues queues.
    #[arg(long, default_value = "bench")]
    pub topic: String,
    /// Number of queues of the topic.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub queues: u32,
    /// Do not create or change the topic first.
    #[arg(long)]
    pub no_create: bool,
}

/// How long, and what is watched meanwhile.
#[derive(Debug, Clone, Args)]
pub struct Timing {
    /// Measured time in seconds.
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    pub seconds: f64,
    /// Seconds of the same load before the measurement starts.
    #[arg(long, default_value_t = 2.0, value_parser = not_negative)]
    pub warmup: f64,
    /// Server process whose CPU time and memory are read from /proc over the measured time; may be
    /// repeated, the sum counts.
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub pid: Vec<u32>,
    /// Form of the result on standard output. Progress goes to standard error.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

/// Sends messages and waits for the answers.
///
/// Without --rate every connection keeps --in-flight requests outstanding, and latency counts from the
/// moment a request is written. With --rate requests fall due at even distances whether or not the
/// server keeps up, and latency counts from the moment a request was due. A server that stalls is then
/// charged for every message that had to wait (no coordinated omission).
#[derive(Debug, Clone, Args)]
pub struct Send {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub timing: Timing,
    /// Connections to the broker.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub connections: u32,
    /// Requests that one connection has outstanding at most.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub in_flight: u32,
    /// Bytes of a message body.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    pub size: u32,
    /// Messages per second over all connections; latency then counts from the moment a message was due.
    #[arg(long, value_name = "PER_SECOND", value_parser = positive)]
    pub rate: Option<f64>,
    /// Generator threads; connections and rate are shared out among them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
}

/// Pulls messages as fast as the server gives them; latency is the time of one pull.
///
/// Every connection goes round all queues, from --from to the end and again from there. A topic with
/// too few messages is filled first.
#[derive(Debug, Clone, Args)]
pub struct Pull {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub timing: Timing,
    /// Connections to the broker.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub connections: u32,
    /// Pulls that one connection has outstanding at most.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub in_flight: u32,
    /// Messages asked for with one pull.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub batch: u32,
    /// Queue offset to start from in every queue; without it the smallest one.
    #[arg(long, value_name = "OFFSET")]
    pub from: Option<i64>,
    /// Messages that all queues together must hold from there on; what is missing is sent before the
    /// measurement.
    #[arg(long, value_name = "MESSAGES", default_value_t = 40_000)]
    pub fill: u64,
    /// Bytes of a message body when the topic has to be filled.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    pub size: u32,
    /// Generator threads; connections are shared out among them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
}

/// Sends at a rate and receives everything by long polling; latency is the time from send to receipt.
///
/// Messages fall due at even distances whether or not the server keeps up, and latency counts from the
/// moment a message was due until its bytes are read by the consumer (no coordinated omission).
/// Producers and consumers live in this one process and thread, so one clock tells both times.
#[derive(Debug, Clone, Args)]
pub struct EndToEnd {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub timing: Timing,
    /// Producer connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// Consumer connections; the queues are shared out among them, each queue has one outstanding pull.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub consumers: u32,
    /// Sends that one producer connection has outstanding at most.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub in_flight: u32,
    /// Bytes of a message body.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(32..=4_194_304))]
    pub size: u32,
    /// Messages per second over all producer connections.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 2000.0, value_parser = positive)]
    pub rate: f64,
}

/// Appends to a file and calls fdatasync after each: what the disk allows a broker with SYNC_FLUSH.
#[derive(Debug, Clone, Args)]
pub struct Fsync {
    /// Directory on the disk to measure; the file in it has no name and leaves nothing behind.
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// Bytes of one append (a stored message of 1 KB takes about 1.1 KB).
    #[arg(long, default_value_t = 1126, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub size: u32,
    /// How the file is made before the appends.
    #[arg(long, value_enum, default_value_t = Prepare::ZeroFilled)]
    pub prepare: Prepare,
    /// Size of the file in MiB; when it is full a new one is prepared, outside the measurement.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub file_mib: u32,
    /// Measured time in seconds.
    #[arg(long, default_value_t = 5.0, value_parser = positive)]
    pub seconds: f64,
    /// Seconds of appends before the measurement starts.
    #[arg(long, default_value_t = 1.0, value_parser = not_negative)]
    pub warmup: f64,
    /// Form of the result on standard output.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Prepare {
    /// Starts empty and grows with every append.
    Empty,
    /// Space is reserved, the blocks are unwritten: each append changes metadata as well.
    Preallocated,
    /// Space is reserved and written with zeros: an append overwrites, no metadata changes.
    ZeroFilled,
}

/// The null broker: answers as a broker does but keeps only the last bytes sent. No broker can be
/// faster on this machine.
///
/// It answers sends, gives out queue offsets, wakes held pulls and answers pulls with copies of the
/// last message. Nothing is stored, nothing is checked, held pulls never time out. It understands what
/// `ferromq bench` sends (JSON headers), not what other clients may send.
#[derive(Debug, Clone, Args)]
pub struct Null {
    /// Address to listen on; port 0 chooses a free one, which is printed.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:10911")]
    pub listen: String,
    /// Worker threads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub workers: u32,
    /// Append every read batch to a file in this directory and call fdatasync before answering.
    #[arg(long, value_name = "DIR")]
    pub sync: Option<PathBuf>,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 && number <= 1e9 => Ok(number),
        _ => Err("a number above 0 is needed".to_owned()),
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && (0.0..=1e9).contains(&number) => Ok(number),
        _ => Err("a number of at least 0 is needed".to_owned()),
    }
}
