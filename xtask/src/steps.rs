//! Steps of a task, their counts, and the table at the end.
//!
//! A step that fails does not stop the task: one run shows everything that is wrong.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

/// What came of a step.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// What could not be run here, with the reason.
    pub(crate) skipped: Vec<String>,
}

struct Row {
    name: String,
    counts: Counts,
    seconds: u64,
}

pub(crate) struct Steps {
    rows: Vec<Row>,
    /// Tests that cannot run here append `name<TAB>reason` to this file; its path is in FERROMQ_SKIPPED_TESTS.
    skip_log: PathBuf,
}

impl Steps {
    pub(crate) fn new() -> Result<Self> {
        let skip_log = crate::target("skipped-tests.tsv")?;
        std::fs::create_dir_all(skip_log.parent().context("target has a parent")?)?;
        std::fs::write(&skip_log, "")?;
        Ok(Self { rows: Vec::new(), skip_log })
    }

    /// Runs a step that counts for itself.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<Counts>) {
        println!("\n== {name}");
        let start = Instant::now();
        let counts = step().unwrap_or_else(|why| {
            println!("{name} failed: {why:#}");
            Counts { failed: 1, ..Counts::default() }
        });
        self.rows.push(Row { name: name.to_owned(), counts, seconds: start.elapsed().as_secs() });
    }

    /// Runs a command that passes or fails as a whole.
    pub(crate) fn command(&mut self, name: &str, command: &mut Command) {
        self.run(name, || {
            let status = in_root(command)?.status().with_context(|| format!("run {command:?}"))?;
            ensure!(status.success(), "{command:?}: {status}");
            Ok(Counts { passed: 1, ..Counts::default() })
        });
    }

    /// Runs `cargo test` and counts the tests; its output is passed on as it comes.
    pub(crate) fn tests(&mut self, name: &str, command: &mut Command) {
        let skip_log = self.skip_log.clone();
        self.run(name, || {
            let command = in_root(command)?.env("FERROMQ_SKIPPED_TESTS", &skip_log).stdout(Stdio::piped());
            let mut child = command.spawn().with_context(|| format!("run {command:?}"))?;
            let mut counts = Counts::default();
            for line in BufReader::new(child.stdout.take().context("a pipe from cargo")?).lines() {
                let line = line?;
                println!("{line}");
                count(&line, &mut counts);
            }
            if !child.wait()?.success() && counts.failed == 0 {
                counts.failed = 1;
            }
            for line in std::fs::read_to_string(&skip_log)?.lines() {
                counts.skipped.push(line.replacen('\t', ": ", 1));
                counts.passed = counts.passed.saturating_sub(1);
            }
            std::fs::write(&skip_log, "")?;
            Ok(counts)
        });
    }

    /// Notes a step that cannot be run here.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        let counts = Counts { skipped: vec![format!("{name}: {why}")], ..Counts::default() };
        self.rows.push(Row { name: name.to_owned(), counts, seconds: 0 });
    }

    /// Prints the table; fails if anything failed, or was skipped and may not be.
    pub(crate) fn finish(self, may_skip: impl Fn(&str) -> bool) -> Result<()> {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        println!("\n{:width$}  {:>6}  {:>6}  {:>7}  {:>6}", "step", "run", "failed", "skipped", "s");
        let (mut passed, mut failed, mut skipped) = (0, 0, Vec::new());
        for Row { name, counts, seconds } in self.rows {
            let run = counts.passed + counts.failed;
            println!(
                "{name:width$}  {run:>6}  {:>6}  {:>7}  {seconds:>6}",
                counts.failed,
                counts.skipped.len()
            );
            passed += counts.passed;
            failed += counts.failed;
            skipped.extend(counts.skipped);
        }
        for what in &skipped {
            println!("skipped {what}");
        }
        let forbidden: Vec<&String> = skipped.iter().filter(|what| !may_skip(what)).collect();
        println!("\n{passed} passed, {failed} failed, {} skipped", skipped.len());
        ensure!(failed == 0, "{failed} failed");
        ensure!(forbidden.is_empty(), "skipped, which is not allowed here: {forbidden:?}");
        Ok(())
    }
}

fn in_root(command: &mut Command) -> Result<&mut Command> {
    Ok(command.current_dir(crate::root()?).stdin(Stdio::null()))
}

/// Adds a line such as `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; …`.
fn count(line: &str, counts: &mut Counts) {
    let Some(rest) = line.strip_prefix("test result: ") else { return };
    for part in rest.split(['.', ';']) {
        let mut words = part.split_whitespace();
        let (Some(number), Some(what)) =
            (words.next().and_then(|word| word.parse::<u64>().ok()), words.next())
        else {
            continue;
        };
        match what {
            "passed" => counts.passed += number,
            "failed" => counts.failed += number,
            "ignored" if number > 0 => counts.skipped.push(format!("{number} ignored tests")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_cargo_are_counted() {
        let mut counts = Counts::default();
        for line in [
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.00s",
            "test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
            "test wire::result ... ok",
        ] {
            count(line, &mut counts);
        }
        assert_eq!((counts.passed, counts.failed), (14, 3));
        assert_eq!(counts.skipped, ["1 ignored tests"]);
    }

    #[test]
    fn a_failure_and_a_forbidden_skip_fail_the_task() {
        let steps = |failed, skipped: &[&str]| {
            let skipped = skipped.iter().map(|what| (*what).to_owned()).collect();
            let counts = Counts { passed: 1, failed, skipped };
            let row = Row { name: "x".to_owned(), counts, seconds: 0 };
            Steps { rows: vec![row], skip_log: PathBuf::new() }
        };
        let mounts = |what: &str| what.contains("mount");
        assert!(steps(0, &[]).finish(mounts).is_ok());
        assert!(steps(1, &[]).finish(mounts).is_err());
        assert!(steps(0, &["a: no mount"]).finish(mounts).is_ok());
        assert!(steps(0, &["b: no JDK"]).finish(mounts).is_err());
    }
}
