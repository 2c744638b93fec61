//! The `ferromq` binary: arguments, configuration, log, signals, exit codes. It decides nothing about messages.

mod args;
mod configure;
mod failure;
mod logging;
mod owner;
mod process;
mod ready;
mod signals;
mod store;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use ferromq_config::host::Host;

use crate::args::{Cli, Command};
use crate::configure::UpConfig;
use crate::failure::{Failure, exit};
use crate::process::Servers;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no failures; clap knows which stream each belongs to.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match run(&cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "{failure}");
            ExitCode::from(failure.exit_code)
        }
    }
}

fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Up(args) => up(args),
        Command::Namesrv(args) => namesrv(args),
        Command::Broker(args) => broker(args),
        Command::Store(command) => store::run(command),
        Command::Bench(command) => Ok(ferromq_bench::run(command)?),
    }
}

fn up(args: &args::Up) -> Result<(), Failure> {
    let host = Host::detect();
    let config = configure::up(args, &host)?;
    let printed = configure::printed(&args.printing, &config.broker.settings);
    let printed_too =
        config.namesrv.as_ref().and_then(|namesrv| configure::printed(&args.printing, &namesrv.settings));
    if let Some(broker) = printed {
        print(&format!("# Broker\n{broker}"));
        print(&printed_too.map(|namesrv| format!("\n# Name server\n{namesrv}")).unwrap_or_default());
        return Ok(());
    }
    let UpConfig { broker, namesrv } = config;
    process::run(Servers { namesrv, namesrv_file: None, broker: Some(broker) }, &host, &args.output)
}

fn namesrv(args: &args::Namesrv) -> Result<(), Failure> {
    let host = Host::detect();
    let config = configure::namesrv(args, &host)?;
    if let Some(text) = configure::printed(&args.printing, &config.settings) {
        print(&text);
        return Ok(());
    }
    let namesrv_file = args.configuration.file.clone();
    process::run(Servers { namesrv: Some(config), namesrv_file, broker: None }, &host, &args.output)
}

fn broker(args: &args::Broker) -> Result<(), Failure> {
    let host = Host::detect();
    let config = configure::broker(args, &host)?;
    if let Some(text) = configure::printed(&args.printing, &config.settings) {
        print(&text);
        return Ok(());
    }
    process::run(Servers { namesrv: None, namesrv_file: None, broker: Some(config) }, &host, &args.output)
}

/// A reader that goes away early, as `head` does, is no failure.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
