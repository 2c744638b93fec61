//! The text of docs/performance.md that is made of figures.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::cold::Cold;
use super::footprint::Figure;
use super::internals::Cost;
use super::machine::{self, FileSystem};
use super::workloads::{Bar, Figures, Medians, Workload};
use super::{Bench, JAVA_HEAP_MIB};

const BEGIN: &str = "<!-- begin: written by cargo xtask compare -->";
const END: &str = "<!-- end: written by cargo xtask compare -->";

pub(crate) fn text(
    bench: &Bench,
    disk: &FileSystem,
    rounds: u32,
    medians: &[(&Workload, Medians)],
    footprint: Option<&Vec<Figure>>,
    cold: Option<&Cold>,
    costs: &[Cost],
) -> String {
    let mut out = String::new();
    let line = &mut |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!(
        "Machine: {}. Disk: {} on {} ({}).",
        machine::machine(),
        disk.kind,
        disk.device,
        disk.options
    ));
    line(format!(
        "FerroMQ at commit {}, {}; Java RocketMQ 5.5.0 on {}, {JAVA_HEAP_MIB} MiB heap.",
        machine::first_line("git", &["rev-parse", "--short", "HEAD"]),
        machine::first_line("rustc", &["--version"]),
        machine::first_line("java", &["-version"]),
    ));
    line(format!(
        "Load generator beside the server, 8 queues, 1 KB unless said otherwise; medians of {rounds} rounds of {} s.",
        bench.seconds
    ));
    line(String::new());
    line("| Load | Figure | Java | FerroMQ | null | FerroMQ / Java | Bar | Met |".to_owned());
    line("|---|---|---:|---:|---:|---:|---|---|".to_owned());
    for (load, medians) in medians {
        for bar in load.bars {
            let (name, show) = figure(*bar);
            let judged = bar.judge(load, medians);
            let ratio = value(*bar, &medians.ours) / value(*bar, &medians.java);
            let null =
                if matches!(bar, Bar::Cpu { .. }) { String::new() } else { show(value(*bar, &medians.null)) };
            line(format!(
                "| {} | {name} | {} | {} | {null} | {ratio:.2} | {} | {} |",
                load.name,
                show(value(*bar, &medians.java)),
                show(value(*bar, &medians.ours)),
                judged.bar,
                yes(judged.met),
            ));
        }
    }
    if let Some(fsync) = medians.iter().find_map(|(_, medians)| medians.fsync) {
        line(String::new());
        line(format!(
            "A bare append with `fdatasync` on this disk: mean {:.3} ms, p99 {:.3} ms.",
            fsync.mean_ms, fsync.p99_ms
        ));
    }
    if let Some(figures) = footprint {
        line(String::new());
        line("| Footprint | FerroMQ | Bar | Met |".to_owned());
        line("|---|---:|---|---|".to_owned());
        for Figure { what, value, bar, met } in figures {
            line(format!("| {what} | {value} | {bar} | {} |", yes(*met)));
        }
    }
    if !costs.is_empty() {
        line(String::new());
        line(
            "| Load | System calls per message of ours (under strace) | Allocations per message |".to_owned(),
        );
        line("|---|---|---:|".to_owned());
        for cost in costs {
            let calls = cost.system_calls.as_ref().map_or("not counted".to_owned(), |(total, most)| {
                let most: Vec<String> =
                    most.iter().map(|(name, count)| format!("{name} {count:.3}")).collect();
                format!("{total:.3}: {}", most.join(", "))
            });
            let allocations =
                cost.allocations.map_or("not counted".to_owned(), |count| format!("{count:.3}"));
            line(format!("| {} | {calls} | {allocations} |", cost.load));
        }
    }
    if let Some(cold) = cold {
        line(String::new());
        line(format!(
            "Producers at 20,000/s, p99: {:.3} ms alone, {:.3} ms while a consumer drains an old backlog; bar ≤ 1.2 × + 0.3 ms: {}.",
            cold.alone_ms,
            cold.with_consumer_ms,
            if cold.met() { "met" } else { "not met" },
        ));
    }
    out
}

fn yes(met: bool) -> &'static str {
    if met { "yes" } else { "**no**" }
}

/// How the figure behind a bar is called and shown.
fn figure(bar: Bar) -> (String, fn(f64) -> String) {
    match bar {
        Bar::Throughput { .. } => ("messages/s".to_owned(), |value| format!("{value:.0}")),
        Bar::Cpu { .. } => ("server CPU per message".to_owned(), |value| format!("{value:.2} µs")),
        Bar::Latency { what, .. } | Bar::AgainstFsync { what, .. } => {
            (what.name().to_owned(), |value| format!("{value:.3} ms"))
        }
    }
}

fn value(bar: Bar, figures: &Figures) -> f64 {
    match bar {
        Bar::Throughput { .. } => figures.per_second,
        Bar::Cpu { .. } => figures.cpu_us.unwrap_or(f64::NAN),
        Bar::Latency { what, .. } | Bar::AgainstFsync { what, .. } => figures.latency(what),
    }
}

/// Replaces what stands between the marks; a file without them gets both at its end.
pub(crate) fn store(path: &Path, text: &str) -> Result<()> {
    let before = if path.exists() { fs::read_to_string(path)? } else { "# Performance\n".to_owned() };
    fs::create_dir_all(path.parent().context("a file in a folder")?)?;
    fs::write(path, replaced(&before, text)).with_context(|| path.display().to_string())
}

fn replaced(before: &str, text: &str) -> String {
    let mut out = String::new();
    let (head, tail) = match (before.find(BEGIN), before.find(END)) {
        (Some(begin), Some(end)) if begin < end => (&before[..begin], &before[end + END.len()..]),
        _ => (before, "\n"),
    };
    out.push_str(head.trim_end());
    write!(out, "\n\n{BEGIN}\n\n{}\n\n{END}", text.trim()).expect("a string takes everything");
    out.push_str(tail);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marked_part_is_replaced() {
        let first = replaced("# Performance\n\nby hand\n", "one");
        assert!(first.starts_with("# Performance\n\nby hand\n\n<!-- begin") && first.contains("\none\n"));
        let with_tail = first + "\nmore by hand\n";
        let second = replaced(&with_tail, "two");
        assert!(second.contains("\ntwo\n") && !second.contains("\none\n"));
        assert!(second.contains("by hand\n") && second.ends_with("\nmore by hand\n"));
        assert_eq!(replaced(&second, "two"), second);
    }
}
