//! System calls and allocations per message of our broker. Both are counted from outside and slow it down, so they are
//! measured apart from everything else.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::workloads::{WORKLOADS, Workload};
use super::{Bench, Contestant};

/// What one load costs per message.
pub(crate) struct Cost {
    pub(crate) load: &'static str,
    /// System calls in all, then the most frequent ones; absent without strace.
    pub(crate) system_calls: Option<(f64, Vec<(String, f64)>)>,
    /// Absent without valgrind.
    pub(crate) allocations: Option<f64>,
}

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Cost>> {
    let mut costs = Vec::new();
    for load in &WORKLOADS {
        let system_calls = if installed("strace") { Some(system_calls(bench, load)?) } else { None };
        let allocations = if installed("valgrind") { Some(allocations(bench, load)?) } else { None };
        println!("{}: {system_calls:?} system calls, {allocations:?} allocations per message", load.name);
        costs.push(Cost { load: load.name, system_calls, allocations });
    }
    Ok(costs)
}

fn installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Under `strace -c`, attached while the load runs.
fn system_calls(bench: &Bench, load: &Workload) -> Result<(f64, Vec<(String, f64)>)> {
    let running = bench.start(Contestant::Ferromq, load.sync)?;
    let out = bench.dir.join("strace.txt");
    // The load goes on for longer than strace watches, so what it counts per message is counted under load alone.
    let mut strace = Command::new("timeout")
        .args([
            "--signal=INT",
            "5",
            "strace",
            "-f",
            "-c",
            "-U",
            "calls,name",
            "-p",
            &running.pid.to_string(),
            "-o",
        ])
        .arg(&out)
        .stderr(Stdio::null())
        .spawn()
        .context("start strace")?;
    let arguments: Vec<&str> = load.arguments.iter().copied().chain(["--topic", "traced"]).collect();
    let result = bench.raw(&arguments, &running, 1, 3)?;
    strace.wait()?;
    running.stop()?;
    let calls = parse_strace(&fs::read_to_string(&out)?);
    let total: f64 = calls.iter().map(|(_, count)| count).sum();
    // The rate of the measured seconds is that of all seconds that were watched.
    let messages = 5.0 * result["messages_per_s"].as_f64().context("messages_per_s")?;
    let mut per_message: Vec<(String, f64)> =
        calls.into_iter().map(|(name, count)| (name, count / messages)).collect();
    per_message.sort_by(|a, b| b.1.total_cmp(&a.1));
    per_message.truncate(5);
    Ok((total / messages, per_message))
}

/// Lines of `strace -c -U calls,name`: a count and a name.
fn parse_strace(text: &str) -> Vec<(String, f64)> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (count, name) = (words.next()?.parse().ok()?, words.next()?);
            (name != "total").then(|| (name.to_owned(), count))
        })
        .collect()
}

/// Under callgrind, which counts calls of the allocator exactly. Two runs of different length tell what a message costs
/// from what a start costs.
fn allocations(bench: &Bench, load: &Workload) -> Result<f64> {
    let short = counted(bench, load, 3)?;
    let long = counted(bench, load, 12)?;
    Ok((long.0 - short.0) / (long.1 - short.1))
}

/// Allocations and messages of one run.
fn counted(bench: &Bench, load: &Workload, seconds: u32) -> Result<(f64, f64)> {
    let out = bench.dir.join("callgrind.out");
    let wrapper = ["valgrind", "--tool=callgrind", "--quiet", "--compress-strings=no", "--compress-pos=no"];
    let mut wrapper: Vec<String> = wrapper.map(str::to_owned).to_vec();
    wrapper.push(format!("--callgrind-out-file={}", out.display()));
    let running = bench.start_under(&wrapper, load.sync)?;
    let arguments: Vec<&str> = load.arguments.iter().copied().chain(["--topic", "counted"]).collect();
    let result = bench.raw(&arguments, &running, 0, seconds)?;
    running.stop()?;
    let profile = fs::read_to_string(&out).with_context(|| out.display().to_string())?;
    let calls = allocator_calls(&profile);
    Ok((calls.values().sum(), result["messages"].as_f64().context("messages")?))
}

/// Calls of the functions through which Rust allocates, from a profile of callgrind: `cfn=NAME` and then `calls=COUNT …`.
fn allocator_calls(profile: &str) -> BTreeMap<&str, f64> {
    const ALLOCATING: [&str; 4] =
        ["mi_malloc_aligned", "mi_zalloc_aligned", "mi_realloc_aligned", "mi_malloc"];
    let mut calls = BTreeMap::new();
    let mut callee = None;
    for line in profile.lines() {
        if let Some(name) = line.strip_prefix("cfn=") {
            callee = ALLOCATING.into_iter().find(|known| *known == name);
        } else if let Some(rest) = line.strip_prefix("calls=")
            && let Some(name) = callee.take()
        {
            let count: f64 = rest.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
            *calls.entry(name).or_insert(0.0) += count;
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_strace_are_read() {
        let text = "    calls syscall\n--------- ----------------\n   120 pwrite64\n    40 sendto\n--------- ---\n   160 total\n";
        assert_eq!(parse_strace(text), [("pwrite64".to_owned(), 120.0), ("sendto".to_owned(), 40.0)]);
    }

    #[test]
    fn calls_of_the_allocator_are_summed() {
        let profile = "fn=a\n1 2\ncfn=mi_malloc_aligned\ncalls=3 10\n1 9\ncfn=b\ncalls=7 1\nfn=c\ncfn=mi_malloc_aligned\ncalls=2 1\n";
        assert_eq!(allocator_calls(profile), BTreeMap::from([("mi_malloc_aligned", 5.0)]));
    }
}
