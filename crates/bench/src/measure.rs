//! What a load measured: the window of time that counts, the tally of one generator thread, and the run
//! that starts threads and adds them up.
//!
//! A latency counts when its request became due inside the window, however late it was answered; the
//! throughput counts answers that arrived inside the window. Times are nanoseconds on one monotonic
//! clock that all threads of a run share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use hdrhistogram::Histogram;

use crate::options::Timing;
use crate::process::{self, Spent, Usage};
use crate::report::Progress;

/// Nanoseconds since the run began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    began: Instant,
    /// Wall clock time at `began`, so that a time of day costs no second look at a clock.
    began_unix_ms: u64,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { began: Instant::now(), began_unix_ms: u64::try_from(since_1970.as_millis()).unwrap_or(0) }
    }

    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn unix_ms(&self, at: u64) -> u64 {
        self.began_unix_ms + at / 1_000_000
    }
}

/// The measured stretch of time; before it is warm-up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Window {
    pub(crate) fn after_warmup(now: u64, warmup_s: f64, seconds: f64) -> Window {
        let start = now + nanoseconds(warmup_s);
        Window { start, end: start + nanoseconds(seconds) }
    }

    pub(crate) fn contains(&self, at: u64) -> bool {
        (self.start..self.end).contains(&at)
    }

    /// The same window after a pause that does not count.
    pub(crate) fn shifted_by(self, pause: u64) -> Window {
        Window { start: self.start + pause, end: self.end + pause }
    }

    pub(crate) fn seconds(&self) -> f64 {
        Duration::from_nanos(self.end - self.start).as_secs_f64()
    }
}

fn nanoseconds(seconds: f64) -> u64 {
    u64::try_from(Duration::from_secs_f64(seconds).as_nanos()).unwrap_or(u64::MAX)
}

/// What one generator thread counted.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) window: Window,
    pub(crate) latency: Histogram<u64>,
    /// Messages answered inside the window.
    pub(crate) messages: u64,
    /// Failures inside the window by response code, each with one remark as an example.
    pub(crate) errors: BTreeMap<i32, Failures>,
    /// Requests, or messages, still missing when the run gave up waiting after the window.
    pub(crate) missing: u64,
    /// Read by the progress line; counts warm-up as well.
    progress: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Failures {
    pub(crate) count: u64,
    pub(crate) example: String,
}

impl Tally {
    pub(crate) fn new(window: Window, progress: Arc<AtomicU64>) -> Tally {
        Tally { window, latency: histogram(), messages: 0, errors: BTreeMap::new(), missing: 0, progress }
    }

    /// One latency, of a request that was due at `due` and ended `now`.
    pub(crate) fn observe(&mut self, due: u64, now: u64) {
        if self.window.contains(due) {
            self.latency.saturating_record(now.saturating_sub(due));
        }
    }

    /// `messages` arrived `now`.
    pub(crate) fn arrived(&mut self, messages: u64, now: u64) {
        if self.window.contains(now) {
            self.messages += messages;
        }
        // Only this thread writes, so a load and a store do; an atomic addition would cost more than
        // the rest of this function.
        self.progress.store(self.progress.load(Ordering::Relaxed) + messages, Ordering::Relaxed);
    }

    pub(crate) fn failed(&mut self, code: i32, remark: impl FnOnce() -> String, now: u64) {
        if self.window.contains(now) {
            let failures = self.errors.entry(code).or_default();
            if failures.count == 0 {
                failures.example = remark();
            }
            failures.count += 1;
        }
    }

    fn add(&mut self, other: &Tally) -> anyhow::Result<()> {
        self.latency.add(&other.latency).map_err(|error| anyhow!("histograms do not add up: {error}"))?;
        self.messages += other.messages;
        self.missing += other.missing;
        for (code, failures) in &other.errors {
            let sum = self
                .errors
                .entry(*code)
                .or_insert_with(|| Failures { count: 0, example: failures.example.clone() });
            sum.count += failures.count;
        }
        Ok(())
    }
}

/// Three digits, one nanosecond to one minute; longer times are counted as one minute.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("these bounds are valid")
}

/// The sums of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// The watched server processes, if any.
    pub(crate) server: Option<Spent>,
    /// This process, to show that the generator did not set the limit.
    pub(crate) generator: Spent,
}

/// One generator thread: it gets the clock and an empty tally, and returns the tally when the window is
/// over and its requests are answered.
pub(crate) type Worker = Box<dyn FnOnce(Clock, Tally) -> anyhow::Result<Tally> + Send>;

/// Runs all workers at once and watches the processes at the edges of the window.
pub(crate) fn run(workers: Vec<Worker>, timing: &Timing, title: &str) -> anyhow::Result<Outcome> {
    let own = [std::process::id()];
    process::usage(&timing.pid)?;
    let clock = Clock::start();
    let window = Window::after_warmup(clock.now(), timing.warmup, timing.seconds);
    let counters: Vec<Arc<AtomicU64>> = workers.iter().map(|_| Arc::default()).collect();

    let (tallies, (server, generator)) = thread::scope(|scope| {
        let running: Vec<_> = workers
            .into_iter()
            .zip(&counters)
            .map(|(worker, counter)| {
                let tally = Tally::new(window, Arc::clone(counter));
                scope.spawn(move || worker(clock, tally))
            })
            .collect();

        let mut progress = Progress::new(title, window, &counters);
        let stopped = || running.iter().any(thread::ScopedJoinHandle::is_finished);
        progress.until(clock, window.start, stopped);
        let before = (process::usage(&timing.pid)?, process::usage(&own)?);
        let mut rss_max = 0;
        while clock.now() < window.end && !stopped() {
            progress.until(clock, window.end.min(clock.now() + 500_000_000), stopped);
            rss_max = rss_max.max(process::usage(&timing.pid)?.resident_bytes);
        }
        let after = (process::usage(&timing.pid)?, process::usage(&own)?);
        progress.finish();

        let tallies = running
            .into_iter()
            .map(|worker| worker.join().map_err(|_| anyhow!("a generator thread panicked"))?)
            .collect::<anyhow::Result<Vec<Tally>>>()?;
        let spent = |before: Usage, after: Usage, rss_max| Spent::between(before, after, rss_max);
        anyhow::Ok((tallies, (spent(before.0, after.0, rss_max), spent(before.1, after.1, 0))))
    })?;

    let mut tallies = tallies.into_iter();
    let mut sum = tallies.next().context("a run needs at least one generator thread")?;
    for tally in tallies {
        sum.add(&tally)?;
    }
    Ok(Outcome { tally: sum, server: (!timing.pid.is_empty()).then_some(server), generator })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        Tally::new(Window { start: 100, end: 200 }, Arc::default())
    }

    #[test]
    fn latency_counts_by_due_time_and_throughput_by_arrival() {
        let mut tally = tally();
        tally.observe(99, 150);
        tally.observe(100, 5_000);
        tally.observe(200, 210);
        assert_eq!(tally.latency.len(), 1);
        assert!(tally.latency.max() >= 4_900);

        tally.arrived(1, 99);
        tally.arrived(2, 199);
        tally.arrived(4, 200);
        assert_eq!(tally.messages, 2);
        assert_eq!(tally.progress.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn errors_are_counted_by_code_with_the_first_remark() {
        let mut one = tally();
        one.failed(2, || "busy".to_owned(), 150);
        one.failed(2, || "other".to_owned(), 150);
        one.failed(14, || "outside".to_owned(), 250);
        let mut two = tally();
        two.failed(2, || "third".to_owned(), 150);
        one.add(&two).unwrap();
        assert_eq!(one.errors.len(), 1);
        assert_eq!((one.errors[&2].count, one.errors[&2].example.as_str()), (3, "busy"));
    }

    #[test]
    fn a_latency_beyond_a_minute_is_kept_as_a_minute() {
        let mut tally = tally();
        tally.observe(150, u64::MAX);
        assert_eq!(tally.latency.len(), 1);
    }
}
