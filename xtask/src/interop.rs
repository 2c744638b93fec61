//! `cargo xtask interop`: the scenarios on the official clients.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use ferromq_interop::server::Make;
use ferromq_interop::suite::{self, Outcome, Place, Suite, Verdict};
use ferromq_interop::toolchain::Toolchain;

use crate::steps::Counts;
use crate::test::cargo;
use ferromq_interop::{mqadmin, rows};

/// `cargo xtask record`: what Java answers, for the comparison with ours.
pub(crate) fn record(arguments: &[String]) -> Result<()> {
    let tools = Toolchain::new(&crate::root()?, None)?;
    tools.fetch()?;
    let place = Place::fresh(&tools, Make::Java, &crate::target("interop/record")?)?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["mqadmin"] => mqadmin::record(&place),
        ["rows"] => rows::record(&place, tools.root(), ""),
        ["rows", word] => rows::record(&place, tools.root(), word),
        _ => bail!("{}", crate::USAGE),
    }
}

pub(crate) fn task(arguments: &[String]) -> Result<()> {
    let mut words = arguments.to_vec();
    let make = match crate::option(&mut words, "--server")?.as_deref() {
        None | Some("ferromq") => Make::Ferromq,
        Some("java") => Make::Java,
        Some(other) => bail!("--server {other}: neither java nor ferromq"),
    };
    let at_once =
        crate::option(&mut words, "--at-once")?.map_or(Ok(3), |text| text.parse()).context("--at-once")?;
    let list = crate::flag(&mut words, "--list");
    let keep = crate::flag(&mut words, "--keep");
    let mut scenarios = suite::all();
    scenarios.retain(|scenario| {
        words.is_empty() || words.iter().any(|word| scenario.name.contains(word.as_str()))
    });
    if list {
        scenarios.iter().for_each(|scenario| println!("{}", scenario.name));
        return Ok(());
    }
    let binary = if make == Make::Ferromq { Some(release_binary()?) } else { None };
    let tools = Toolchain::new(&crate::root()?, binary)?;
    tools.fetch()?;
    let suite = Suite { tools: &tools, make, at_once, dir: crate::target("interop")?, keep };
    let outcomes = suite.run(scenarios)?;
    let failed = counts(&outcomes).failed;
    ensure!(failed == 0, "{failed} of {} scenarios failed", outcomes.len());
    Ok(())
}

pub(crate) fn counts(outcomes: &[Outcome]) -> Counts {
    let mut counts = Counts::default();
    for outcome in outcomes {
        match &outcome.verdict {
            Verdict::Passed => counts.passed += 1,
            Verdict::Failed(_) => counts.failed += 1,
            Verdict::Skipped(why) => counts.skipped.push(format!("{}: {why}", outcome.name)),
        }
    }
    counts
}

/// Builds the binary as users run it, or takes the one that `FERROMQ_BIN` names.
pub(crate) fn release_binary() -> Result<PathBuf> {
    if std::env::var_os("FERROMQ_BIN").is_none() {
        let built =
            cargo(&["build", "--release", "--package", "ferromq"]).current_dir(crate::root()?).status()?;
        ensure!(built.success(), "cargo build --release: {built}");
    }
    release_binary_path()
}

/// Where [`release_binary`] puts it.
pub(crate) fn release_binary_path() -> Result<PathBuf> {
    std::env::var_os("FERROMQ_BIN").map_or_else(|| crate::target("release/ferromq"), |path| Ok(path.into()))
}
