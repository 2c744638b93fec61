//! `cargo xtask test`: everything that has to hold before a change lands.

use std::process::Command;

use anyhow::{Result, bail, ensure};
use ferromq_interop::server::Make;
use ferromq_interop::suite::{self, Suite};
use ferromq_interop::toolchain::{self, Toolchain};

use crate::interop;
use crate::steps::Steps;

/// Scenarios wait most of the time, so several run at once even on two cores.
const SCENARIOS_AT_ONCE: usize = 4;

pub(crate) fn task(arguments: &[String]) -> Result<()> {
    let mut words = arguments.to_vec();
    let quick = crate::flag(&mut words, "--quick");
    ensure!(words.is_empty(), "cargo xtask test takes only --quick");
    let ci = std::env::var_os("CI").is_some();

    // What is missing is said before twenty minutes of tests, not after.
    let missing = if quick { Vec::new() } else { toolchain::missing() };
    if ci && !missing.is_empty() {
        bail!("not installed: {}", missing.join(", "));
    }
    let mut steps = Steps::new()?;
    steps.command("format", &mut cargo(&["fmt", "--all", "--check"]));
    steps.command(
        "clippy",
        &mut cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]),
    );
    steps.command(
        "documentation",
        // Whoever reads it works on the code, so private items belong to it.
        cargo(&["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    );
    steps.tests("tests", &mut cargo(&["test", "--workspace", "--no-fail-fast"]));
    if !quick {
        if missing.is_empty() {
            clients(&mut steps)?;
        } else {
            steps.skip("interop", &format!("not installed: {}", missing.join(", ")));
        }
    }
    steps.finish(|what| !ci || quick || what.contains("mount") || what.contains("namespace"))
}

/// The scenarios on the official clients; fetching comes first, because the scenarios stay on loopback.
fn clients(steps: &mut Steps) -> Result<()> {
    let tools = Toolchain::new(&crate::root()?, Some(interop::release_binary_path()?))?;
    steps.command("release build", &mut cargo(&["build", "--release", "--package", "ferromq", "--quiet"]));
    let mut fetched = false;
    steps.run("fetch clients", || {
        tools.fetch()?;
        fetched = true;
        Ok(crate::steps::Counts { passed: 1, ..Default::default() })
    });
    if fetched {
        steps.run("interop", || {
            let suite = Suite {
                tools: &tools,
                make: Make::Ferromq,
                at_once: SCENARIOS_AT_ONCE,
                dir: crate::target("interop")?,
                keep: false,
            };
            Ok(interop::counts(&suite.run(suite::all())?))
        });
    }
    Ok(())
}

pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments);
    command
}
