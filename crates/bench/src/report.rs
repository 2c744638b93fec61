//! Showing results: the progress line while a load runs, the table or the JSON object at its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use comfy_table::{Table, presets};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::measure::{Clock, Outcome, Window};
use crate::options::Output;
use crate::process::Spent;

/// One line on standard error; nothing when that is not a terminal.
pub(crate) struct Progress<'a> {
    bar: ProgressBar,
    title: String,
    window: Window,
    counters: &'a [Arc<AtomicU64>],
    last: (u64, u64),
}

impl<'a> Progress<'a> {
    pub(crate) fn new(title: &str, window: Window, counters: &'a [Arc<AtomicU64>]) -> Progress<'a> {
        let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        Progress {
            bar: ProgressBar::new_spinner().with_style(style),
            title: title.to_owned(),
            window,
            counters,
            last: (0, 0),
        }
    }

    /// Shows progress until the time has come or `stopped` says that waiting makes no sense any more.
    pub(crate) fn until(&mut self, clock: Clock, end: u64, stopped: impl Fn() -> bool) {
        while clock.now() < end && !stopped() {
            let now = clock.now();
            if now >= self.last.0 + 200_000_000 {
                self.show(now);
            }
            thread::sleep(
                Duration::from_nanos(end.saturating_sub(clock.now())).min(Duration::from_millis(100)),
            );
        }
    }

    fn show(&mut self, now: u64) {
        let count: u64 = self.counters.iter().map(|counter| counter.load(Ordering::Relaxed)).sum();
        let elapsed = Duration::from_nanos(now - self.last.0).as_secs_f64();
        let rate = Approximate(count - self.last.1).per(elapsed);
        let phase = if now < self.window.start { "warm-up" } else { "measuring" };
        let left = Duration::from_nanos(self.window.end.saturating_sub(now)).as_secs_f64();
        self.bar.set_message(format!("{}: {phase}, {left:.0} s left, {rate:.0} messages/s", self.title));
        self.bar.tick();
        self.last = (now, count);
    }

    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// A count on its way to a rate; 52 bits are precise enough for that.
pub(crate) struct Approximate(pub(crate) u64);

impl Approximate {
    pub(crate) fn per(self, divisor: f64) -> f64 {
        if divisor > 0.0 { self.float() / divisor } else { 0.0 }
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate shown with a few digits")]
    pub(crate) fn float(self) -> f64 {
        self.0 as f64
    }
}

/// Latencies in nanoseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) samples: u64,
    pub(crate) mean: f64,
    pub(crate) min: u64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p99_9: u64,
    pub(crate) max: u64,
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Latency {
        Latency {
            samples: histogram.len(),
            mean: histogram.mean(),
            min: histogram.min(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p99_9: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }
}

/// Everything a run says; the names are the keys of `--output json`.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) workload: String,
    pub(crate) seconds: f64,
    pub(crate) messages: u64,
    pub(crate) messages_per_s: f64,
    /// What `latency_ns` is the time of.
    pub(crate) latency_of: &'static str,
    pub(crate) latency_ns: Latency,
    pub(crate) server: Option<Server>,
    /// CPU time of the generator itself per message.
    pub(crate) generator_cpu_us_per_message: f64,
    pub(crate) errors: Vec<ErrorCount>,
    /// Requests without an answer, or messages sent and never received.
    pub(crate) missing: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Server {
    pub(crate) cpu_us_per_message: f64,
    /// 1.0 is one core fully used.
    pub(crate) cores: f64,
    #[serde(flatten)]
    pub(crate) spent: Spent,
}

#[derive(Debug, Serialize)]
pub(crate) struct ErrorCount {
    pub(crate) code: i32,
    pub(crate) count: u64,
    pub(crate) example: String,
}

/// The result of `bench fsync`.
#[derive(Debug, Serialize)]
pub(crate) struct FsyncSummary {
    pub(crate) size: u32,
    pub(crate) prepare: String,
    pub(crate) appends: u64,
    pub(crate) appends_per_s: f64,
    pub(crate) latency_ns: Latency,
}

impl FsyncSummary {
    pub(crate) fn print(&self, output: Output) -> anyhow::Result<()> {
        let mut table = ResultTable::new();
        table.row("workload", format!("append {} B and fdatasync, file {}", self.size, self.prepare));
        table.row("throughput", format!("{:.0} appends/s", self.appends_per_s));
        table.latency("append", &self.latency_ns);
        print(self, &table, output)
    }
}

impl Summary {
    pub(crate) fn of(workload: String, latency_of: &'static str, outcome: Outcome) -> Summary {
        let Outcome { tally, server, generator } = outcome;
        let seconds = tally.window.seconds();
        let messages = Approximate(tally.messages.max(1)).float();
        let per_message = |spent: &Spent| spent.cpu_s() * 1e6 / messages;
        Summary {
            workload,
            seconds,
            messages: tally.messages,
            messages_per_s: Approximate(tally.messages).per(seconds),
            latency_of,
            latency_ns: Latency::of(&tally.latency),
            server: server.map(|spent| Server {
                cpu_us_per_message: per_message(&spent),
                cores: spent.cpu_s() / seconds,
                spent,
            }),
            generator_cpu_us_per_message: per_message(&generator),
            errors: tally
                .errors
                .into_iter()
                .map(|(code, failures)| ErrorCount { code, count: failures.count, example: failures.example })
                .collect(),
            missing: tally.missing,
        }
    }

    pub(crate) fn print(&self, output: Output) -> anyhow::Result<()> {
        let mut table = ResultTable::new();
        table.row("workload", self.workload.clone());
        table.row("messages", format!("{} in {:.1} s", self.messages, self.seconds));
        table.row("throughput", format!("{:.0} messages/s", self.messages_per_s));
        table.latency(self.latency_of, &self.latency_ns);
        if let Some(Server { cpu_us_per_message, cores, spent }) = &self.server {
            let user_share = if spent.cpu_s() > 0.0 { 100.0 * spent.user_s / spent.cpu_s() } else { 0.0 };
            table.row(
                "server CPU",
                format!("{cpu_us_per_message:.2} µs/message ({cores:.2} cores, {user_share:.0} % user)"),
            );
            table.row(
                "server memory",
                format!("{} MiB resident, at most {} MiB", spent.rss_bytes >> 20, spent.rss_max_bytes >> 20),
            );
        }
        table.row("generator CPU", format!("{:.2} µs/message", self.generator_cpu_us_per_message));
        for error in &self.errors {
            table.row(&format!("error {}", error.code), format!("{} times: {}", error.count, error.example));
        }
        if self.errors.is_empty() {
            table.row("errors", "none".to_owned());
        }
        if self.missing > 0 {
            table.row("missing", self.missing.to_string());
        }
        print(self, &table, output)
    }
}

fn print(result: &impl Serialize, table: &ResultTable, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => println!("{}", serde_json::to_string(result)?),
        Output::Table => println!("{}", table.0),
    }
    Ok(())
}

/// Names on the left, values on the right.
struct ResultTable(Table);

impl ResultTable {
    fn new() -> ResultTable {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        ResultTable(table)
    }

    fn row(&mut self, name: &str, value: String) {
        self.0.add_row([name.to_owned(), value]);
    }

    fn latency(&mut self, of: &str, latency: &Latency) {
        self.row(&format!("{of} mean"), format!("{:.1} µs", latency.mean / 1e3));
        let quantiles = [
            ("p50", latency.p50),
            ("p90", latency.p90),
            ("p99", latency.p99),
            ("p99.9", latency.p99_9),
            ("max", latency.max),
        ];
        for (name, value) in quantiles {
            self.row(&format!("{of} {name}"), format!("{:.1} µs", Approximate(value).float() / 1e3));
        }
    }
}
