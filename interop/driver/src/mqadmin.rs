//! Java's `mqadmin` against either make, compared line by line.
//!
//! The script, the masks and what Java's server let the tool print are in `interop/mqadmin/`. Recording replaces the
//! last; it is only meant for another version of Java or a longer script.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::program;
use crate::server::{Make, Server};
use crate::suite::Place;
use crate::toolchain::JavaClient;

const RECORDED: &str = "mqadmin/java-5.5.0.txt";

/// Plays the session and compares; with `record` it stores what Java printed instead.
pub fn session(place: &Place<'_>, record: bool) -> Result<Vec<String>> {
    ensure!(!record || place.make == Make::Java, "only what Java prints is recorded");
    // The tool compares the address of the broker with the one that a message was stored at, so both have to be given.
    let servers = place.single(|setup| setup)?;
    session_at(place, &servers.namesrv, &servers.broker, record)
}

/// The same at a name server and a broker that may be of different makes.
pub fn session_at(place: &Place<'_>, namesrv: &str, broker: &Server, record: bool) -> Result<Vec<String>> {
    let files = place.tools.interop();
    let classes = place.tools.build_java("mqadmin", JavaClient::V5)?;
    let printed = place.path("printed.txt");
    let mut command = place.tools.java_client(&classes, JavaClient::V5, &place.path("client"));
    command.arg("Session").arg(namesrv).arg(broker.address());
    command.arg(files.join("mqadmin/session.txt")).arg(files.join("mqadmin/masks.txt"));
    command.arg(&printed).arg(broker.store());
    let mut notes = program::run(command, &place.path("client.log"), Duration::from_secs(300), |point| {
        bail!("point {point}")
    })?;
    if record {
        fs::copy(&printed, files.join(RECORDED))?;
        return Ok(notes);
    }
    let differences = compare(&fs::read_to_string(files.join(RECORDED))?, &fs::read_to_string(&printed)?)?;
    ensure!(
        differences.is_empty(),
        "mqadmin prints other lines than with Java's server ({}):\n{}",
        printed.display(),
        differences.join("\n")
    );
    notes.push("every line as with Java's server".to_owned());
    Ok(notes)
}

/// Splits into commands with the lines they printed.
fn sections(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut all: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        if line.starts_with("$ ") {
            all.push((line, Vec::new()));
        } else if let Some((_, lines)) = all.last_mut() {
            lines.push(line);
        }
    }
    all
}

/// What differs. Of a command marked `[keys]`, ours may print more names than Java's but not fewer.
fn compare(recorded: &str, printed: &str) -> Result<Vec<String>> {
    let (recorded, printed) = (sections(recorded), sections(printed));
    ensure!(
        recorded.len() == printed.len(),
        "{} commands recorded, {} played",
        recorded.len(),
        printed.len()
    );
    let mut differences = Vec::new();
    for ((command, expected), (played, actual)) in recorded.iter().zip(&printed) {
        ensure!(command == played, "recorded {command}, played {played}");
        let before = differences.len();
        if command.starts_with("$ [keys]") {
            let names: HashSet<&str> = actual.iter().copied().collect();
            differences.extend(
                expected.iter().filter(|name| !names.contains(*name)).map(|name| format!("  - {name}")),
            );
        } else {
            for at in 0..expected.len().max(actual.len()) {
                let (java, ours) = (expected.get(at), actual.get(at));
                if java != ours {
                    differences.extend(java.map(|line| format!("  - {line}")));
                    differences.extend(ours.map(|line| format!("  + {line}")));
                }
            }
        }
        if differences.len() > before {
            differences.insert(before, (*command).to_owned());
        }
    }
    Ok(differences)
}

/// Records the session against Java.
pub fn record(place: &Place<'_>) -> Result<()> {
    session(place, true).map(drop).context("record the mqadmin session")
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[test]
    fn equal_sessions_have_no_difference() {
        let text = "$ a\none\ntwo\n$ b\n";
        assert!(compare(text, text).unwrap().is_empty());
    }

    #[test]
    fn a_changed_a_missing_and_an_extra_line_are_found() {
        let differences = compare("$ a\none\ntwo\n$ b\nx\n", "$ a\none\nTWO\n$ b\nx\ny\n").unwrap();
        assert_eq!(differences, ["$ a", "  - two", "  + TWO", "$ b", "  + y"]);
    }

    #[test]
    fn of_keys_only_a_missing_one_counts() {
        assert!(compare("$ [keys] a\nx\n", "$ [keys] a\nw\nx\n").unwrap().is_empty());
        assert_eq!(compare("$ [keys] a\nx\n", "$ [keys] a\nw\n").unwrap(), ["$ [keys] a", "  - x"]);
    }

    #[test]
    fn another_script_is_refused() {
        assert!(compare("$ a\n", "$ b\n").is_err());
    }
}
