//! The command line: what can be asked, and how `--help` explains it.
//!
//! Options that Java's scripts have keep their letters and long names. Every other setting is a key of the
//! configuration and goes through `--set`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ferromq_config::source::Assignment;

/// Apache RocketMQ as one program: name server, broker and tools.
#[derive(Debug, Parser)]
#[command(name = "ferromq", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  ferromq up                                  a name server and a broker, data in ./ferromq-data
  ferromq up --data-dir /var/lib/ferromq      the same, data there
  ferromq namesrv -c namesrv.conf             only a name server, from RocketMQ's own file
  ferromq broker -c broker.conf -n ns:9876    only a broker, from RocketMQ's own file
  ferromq broker -c broker.conf --print-config   what would be in force, and why
  ferromq store check ~/store                 whether a stopped store is sound
  ferromq bench send --namesrv 127.0.0.1:9876 how fast it is here

Any RocketMQ client connects to a name server at port 9876; `ferromq up` prints the address.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Up(Up),
    Namesrv(Namesrv),
    Broker(Broker),
    /// Looks at the files of a stopped store, or repairs them.
    #[command(subcommand)]
    Store(Store),
    /// Puts load on a server and measures it.
    #[command(subcommand)]
    Bench(ferromq_bench::Command),
}

/// Starts a name server and a broker in one process.
///
/// Without a file: broker broker-a of DefaultCluster, topics are created by sending, data in ./ferromq-data.
/// With -c: RocketMQ's defaults for everything the file does not say. Ctrl-C stops it cleanly, a second one at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ferromq up
  ferromq up --data-dir /var/lib/ferromq --set flushDiskType=SYNC_FLUSH
  ferromq up -c /opt/rocketmq/conf/broker.conf --set brokerIP1=203.0.113.7
  ferromq up --namesrv-port 0 --broker-port 0 --ready-json     for scripts: free ports, one line of JSON")]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) configuration: Configuration,
    /// Directory for everything that is kept.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Start the broker only; it needs -n, NAMESRV_ADDR or namesrvAddr then.
    #[arg(long)]
    pub(crate) no_namesrv: bool,
    /// Port of the name server; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 9876, conflicts_with = "no_namesrv")]
    pub(crate) namesrv_port: u16,
    /// Port of the broker (listenPort); 0 takes a free one. The fast port is two below.
    #[arg(long, value_name = "PORT")]
    pub(crate) broker_port: Option<u16>,
    #[command(flatten)]
    pub(crate) printing: Printing,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Starts a broker, as mqbroker does.
///
/// Without a file RocketMQ's defaults hold: data in $HOME/store, port 10911, the host name as broker name.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ferromq broker -c conf/broker.conf -n '192.0.2.1:9876;192.0.2.2:9876'
  ferromq broker -c conf/broker.conf --print-config | grep -v ^built-in")]
pub(crate) struct Broker {
    #[command(flatten)]
    pub(crate) configuration: Configuration,
    /// Directory for everything that is kept.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Port for clients (listenPort); 0 takes a free one.
    #[arg(long, value_name = "PORT")]
    pub(crate) broker_port: Option<u16>,
    #[command(flatten)]
    pub(crate) printing: Printing,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Starts a name server, as mqnamesrv does.
///
/// Without a file RocketMQ's defaults hold: port 9876, settings in $HOME/namesrv.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ferromq namesrv
  ferromq namesrv -c conf/namesrv.conf --set orderMessageEnable=true")]
pub(crate) struct Namesrv {
    #[command(flatten)]
    pub(crate) configuration: Configuration,
    /// Port for brokers and clients (listenPort); 0 takes a free one.
    #[arg(long, value_name = "PORT")]
    pub(crate) namesrv_port: Option<u16>,
    #[command(flatten)]
    pub(crate) printing: Printing,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Where settings come from. Later ones win: built-in, environment, file, command line.
#[derive(Debug, Args)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct Configuration {
    /// RocketMQ's own file: broker.conf or namesrv.conf.
    #[arg(short = 'c', long = "config", alias = "configFile", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Name servers, separated by semicolons [env: NAMESRV_ADDR].
    #[arg(short = 'n', long = "namesrv", alias = "namesrvAddr", value_name = "HOST:PORT;...")]
    pub(crate) name_servers: Option<String>,
    /// Any key of the configuration; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    pub(crate) set: Vec<Assignment>,
    /// Ignore values that do not parse, as RocketMQ does, instead of stopping.
    #[arg(long)]
    pub(crate) lenient_config: bool,
}

/// What to print instead of starting.
#[derive(Debug, Args)]
#[command(next_help_heading = "Print and exit")]
pub(crate) struct Printing {
    /// Print all settings with the source of each value.
    #[arg(long)]
    pub(crate) print_config: bool,
    /// Print all settings as key=value lines.
    #[arg(short = 'p', long, alias = "printConfigItem", conflicts_with = "print_config")]
    pub(crate) print_items: bool,
    /// Print the important settings as key=value lines.
    #[arg(short = 'm', long, alias = "printImportantConfig", conflicts_with_all = ["print_config", "print_items"])]
    pub(crate) print_important: bool,
}

/// What a running server writes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Output {
    /// Write one line of JSON with all addresses when ready, and nothing else to standard output.
    #[arg(long)]
    pub(crate) ready_json: bool,
    /// error, warn, info, debug, trace, or a list such as info,ferromq_store=debug.
    #[arg(long, value_name = "LEVEL", env = "FERROMQ_LOG", default_value = "info")]
    pub(crate) log_level: String,
    /// Form of the log lines.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Which part of `store`.
#[derive(Debug, Subcommand)]
pub(crate) enum Store {
    /// Reads everything and says what is wrong and what a start would do. Changes nothing.
    ///
    /// Exit code 0: sound, or the next start mends it. 2: messages are not where they should be. 3: a broker would not
    /// start.
    Check {
        #[command(flatten)]
        store: StoreDirectory,
    },
    Dump(Dump),
    /// Mends what a start does not mend by itself.
    ///
    /// Queues and index are built anew from the log where they are wrong. Nothing is deleted that a message could be
    /// in: it is moved into DIR/ferromq/removed. Exit codes as of check, for the store afterwards.
    Repair {
        #[command(flatten)]
        store: StoreDirectory,
        /// Mend the log too, although messages leave it.
        #[arg(long)]
        accept_loss: bool,
        /// Build all queues anew, not only those that are wrong.
        #[arg(long)]
        rebuild_queues: bool,
        /// Build the index anew even if it is right.
        #[arg(long)]
        rebuild_index: bool,
    },
}

/// Prints what the files hold. Changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ferromq store dump ~/store                              files, queues, index
  ferromq store dump ~/store records --from 0 --count 5   the first messages without their bodies
  ferromq store dump ~/store --json entries --topic orders --queue 0")]
pub(crate) struct Dump {
    #[command(flatten)]
    pub(crate) store: StoreDirectory,
    #[command(subcommand)]
    pub(crate) part: Option<DumpPart>,
}

/// What to print; an overview without it.
#[derive(Debug, Subcommand)]
pub(crate) enum DumpPart {
    /// Messages of the log without their bodies.
    Records {
        /// Position of a message in the log.
        #[arg(long, default_value_t = 0)]
        from: i64,
        #[arg(long, default_value_t = 100)]
        count: usize,
    },
    /// Entries of one queue.
    Entries {
        #[arg(long)]
        topic: String,
        #[arg(long, default_value_t = 0)]
        queue: i32,
        /// Offset in the queue.
        #[arg(long, default_value_t = 0)]
        from: i64,
        #[arg(long, default_value_t = 100)]
        count: usize,
    },
    /// Keys of one index file.
    Keys {
        /// Name of the file, as the overview shows it.
        #[arg(long)]
        file: String,
        /// Number of the first key.
        #[arg(long, default_value_t = 1)]
        from: u32,
        #[arg(long, default_value_t = 100)]
        count: usize,
    },
    /// The checkpoint, as JSON.
    Checkpoint,
}

/// A store on the disk.
#[derive(Debug, Args)]
pub(crate) struct StoreDirectory {
    /// Root directory of the store (storePathRootDir).
    #[arg(value_name = "DIR")]
    pub(crate) root: PathBuf,
    /// Directory of the commit log, if it is not DIR/commitlog (storePathCommitLog).
    #[arg(long, value_name = "DIR")]
    pub(crate) commit_log: Option<PathBuf>,
    /// Slots of one index file, if they were configured (maxHashSlotNum).
    #[arg(long, value_name = "N")]
    pub(crate) index_slots: Option<u32>,
    /// Entries of one index file, if they were configured (maxIndexNum).
    #[arg(long, value_name = "N")]
    pub(crate) index_entries: Option<u32>,
    /// Print JSON, one value a line, instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

fn assignment(text: &str) -> Result<Assignment, String> {
    let (key, value) = text.split_once('=').ok_or("write key=value")?;
    Ok(Assignment::command_line("--set", key.trim(), value))
}

/// `host:port` of a listening socket as a client on this machine reaches it.
pub(crate) fn local_address(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        std::net::IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}
