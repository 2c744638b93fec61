//! Project tasks. `cargo xtask test` is what CI runs; without an argument the tasks are listed.

mod compare;
mod interop;
mod java;
mod soak;
mod steps;
mod test;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
usage: cargo xtask TASK

  test [--quick]
        all tests, those on the official clients included; --quick leaves out what needs a JDK or Go
  interop [--server java|ferromq] [--at-once N] [--keep] [--list] [WORD...]
        the programs on the official clients, those whose name has one of the words; logs and stores
        of those that fail stay in target/interop, with --keep all do
  soak [WORD...]
        what takes hours: a million seeds, 100,000 queues, ten seeds of every round trip, cargo-deny
  compare [--rounds N] [--seconds N] [--dir DIR] [--only WORD] [--skip WORD] [--dry-run]
        Java, FerroMQ and the null broker under the same loads; writes docs/performance.md;
        WORD is part of a load's name, or footprint, cold or costs, and then nothing is written
  record mqadmin | record rows [WORD]
        store what Java RocketMQ answers, for the comparison with ours
  java fetch
        download Java RocketMQ and compile the programs into the cache
  java start DIR [--heap MIB] [KEY=VALUE...]
        start a Java name server and broker, with broker keys; prints their addresses and process ids
  java stop DIR
        stop what `java start DIR` started";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((task, rest)) = arguments.split_first() else {
        println!("{USAGE}");
        return Ok(());
    };
    match task.as_str() {
        "test" => test::task(rest),
        "interop" => interop::task(rest),
        "soak" => soak::task(rest),
        "compare" => compare::task(rest),
        "record" => interop::record(rest),
        "java" => java::task(rest),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        other => bail!("no task {other}\n\n{USAGE}"),
    }
}

/// The root of the repository.
fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().context("xtask is inside the repository")?.to_owned())
}

/// Where tests leave logs and stores.
fn target(name: &str) -> Result<PathBuf> {
    let base = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().map(|r| r.join("target")), |dir| Ok(dir.into()))?;
    Ok(base.join(name))
}

/// Takes `--name value` out of the arguments.
fn option(arguments: &mut Vec<String>, name: &str) -> Result<Option<String>> {
    let Some(at) = arguments.iter().position(|argument| argument == name) else { return Ok(None) };
    if at + 1 >= arguments.len() {
        bail!("{name} needs a value");
    }
    arguments.remove(at);
    Ok(Some(arguments.remove(at)))
}

/// Takes `--name` out of the arguments.
fn flag(arguments: &mut Vec<String>, name: &str) -> bool {
    let before = arguments.len();
    arguments.retain(|argument| argument != name);
    arguments.len() < before
}
