//! A client program and its dialogue with the driver.
//!
//! Lines on its standard output: `POINT what` asks for something to be done to the servers, the program waits for a line
//! on its standard input; `INFO …` is passed on; the last line is `PASS …` or `FAIL … why`. The rest goes to its log.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Runs it to its end; `at_point` does what the program asks for. Fails unless the program says PASS in time.
pub fn run(
    mut command: Command,
    log: &Path,
    patience: Duration,
    mut at_point: impl FnMut(&str) -> Result<()>,
) -> Result<Vec<String>> {
    let errors = File::options().create(true).append(true).open(log)?;
    let mut output = errors.try_clone()?;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .with_context(|| format!("start {command:?}"))?;
    let mut input = child.stdin.take().context("a pipe to the program")?;
    let stdout = child.stdout.take().context("a pipe from the program")?;
    let (sender, lines) = channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(|line| line.ok()) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });

    let end = Instant::now() + patience;
    let mut notes = Vec::new();
    let verdict = loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                writeln!(output, "{line}")?;
                if let Some(what) = line.strip_prefix("POINT ") {
                    if let Err(failure) = at_point(what).and_then(|()| Ok(writeln!(input, "done")?)) {
                        break Err(failure.context(format!("at point {what}")));
                    }
                } else if let Some(note) = line.strip_prefix("INFO ") {
                    notes.push(note.to_owned());
                } else if line.starts_with("PASS") {
                    break Ok(());
                } else if let Some(why) = line.strip_prefix("FAIL ") {
                    // Some clients put whole messages into their exceptions.
                    let why: String = why.chars().take(600).collect();
                    break Err(anyhow::anyhow!("{why} (log: {})", log.display()));
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                break Err(anyhow::anyhow!("no verdict within {patience:?} (log: {})", log.display()));
            }
            Err(RecvTimeoutError::Disconnected) => {
                break Err(anyhow::anyhow!("ended without a verdict (log: {})", log.display()));
            }
        }
    };
    if verdict.is_ok() {
        let status = wait(&mut child, Duration::from_secs(30))?;
        if !status {
            bail!("said PASS and then failed (log: {})", log.display());
        }
    } else {
        child.kill().ok();
        child.wait()?;
    }
    reader.join().ok();
    verdict.map(|()| notes)
}

fn wait(child: &mut std::process::Child, patience: Duration) -> Result<bool> {
    let end = Instant::now() + patience;
    while Instant::now() < end {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}
