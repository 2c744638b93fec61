//! `cargo xtask soak`: what takes longer than every run may take. What it showed is recorded in docs/.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ferromq_interop::server::Make;
use ferromq_interop::suite::{self, Suite};
use ferromq_interop::toolchain::Toolchain;

use crate::interop;
use crate::steps::Steps;
use crate::test::cargo;

/// Seeds of the simulated disk, where a test takes 10,000 otherwise.
const SEEDS: &str = "1000000";

pub(crate) fn task(arguments: &[String]) -> Result<()> {
    let selected =
        |step: &str| arguments.is_empty() || arguments.iter().any(|word| step.contains(word.as_str()));
    let mut steps = Steps::new()?;
    if selected("dependencies") {
        let deny = tool("cargo-deny", "0.20")?;
        steps.command("dependencies", Command::new(deny).args(["check", "bans", "licenses", "sources"]));
    }
    // Tests with a longer form take it when FERROMQ_SOAK is set; the seeds of the simulation are counted apart.
    if selected("tests") {
        let mut command =
            cargo(&["test", "--workspace", "--release", "--no-fail-fast", "--exclude", "ferromq-sim"]);
        steps.tests("tests", command.env("FERROMQ_SOAK", "1"));
    }
    if selected("simulation") {
        let mut command = cargo(&["test", "--release", "--no-fail-fast", "--package", "ferromq-sim"]);
        steps.tests("simulation", command.env("FERROMQ_SIM_COUNT", SEEDS));
    }
    if selected("round trips") {
        let binary = interop::release_binary()?;
        steps.run("round trips", || {
            let tools = Toolchain::new(&crate::root()?, Some(binary))?;
            tools.fetch()?;
            let suite = Suite {
                tools: &tools,
                make: Make::Ferromq,
                at_once: 4,
                dir: crate::target("soak")?,
                keep: false,
            };
            Ok(interop::counts(&suite.run(suite::long())?))
        });
    }
    steps.finish(|_| false)
}

/// A tool of cargo in the target folder, built there the first time; versions that fit the given one.
fn tool(name: &str, version: &str) -> Result<PathBuf> {
    let root = crate::target("tools")?;
    let program = root.join("bin").join(name);
    if !program.exists() {
        let status = cargo(&["install", name, "--locked", "--version", version, "--root"])
            .arg(&root)
            .status()
            .with_context(|| format!("install {name}"))?;
        ensure!(status.success(), "cargo install {name}: {status}");
    }
    Ok(program)
}
