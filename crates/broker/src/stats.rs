//! What went through this broker, in the windows that `statsAll`, `clusterList` and `brokerStatus` show.
//!
//! Counting is an atomic addition on a handle that the caller keeps; [`Stats::sample`] runs every
//! [`SAMPLE_INTERVAL`] and is the only loop. Window shapes are Java's: seven samples 10 s apart for the minute, seven
//! 10 min apart for the hour, twenty-five an hour apart for the day. Topics and groups get an entry with their first
//! message and lose it when they are deleted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

/// Distance of the finest samples.
pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);

const MINUTE_SAMPLES: usize = 7;
const HOUR_SAMPLES: usize = 7;
const DAY_SAMPLES: usize = 25;
const TICKS_PER_HOUR_SAMPLE: u64 = 60;
const TICKS_PER_DAY_SAMPLE: u64 = 360;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sample {
    at: Duration,
    sum: u64,
    times: u64,
}

/// One window's figures, as request 315 answers them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Growth within the window.
    pub sum: u64,
    /// Growth per second.
    pub tps: f64,
    /// Growth per counted event.
    pub average: f64,
}

/// The three windows of one counter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Windows {
    /// About the last minute.
    pub minute: Figures,
    /// About the last hour.
    pub hour: Figures,
    /// About the last day.
    pub day: Figures,
}

#[derive(Debug, Default)]
struct History {
    minute: Vec<Sample>,
    hour: Vec<Sample>,
    day: Vec<Sample>,
}

fn keep(samples: &mut Vec<Sample>, sample: Sample, limit: usize) {
    if samples.len() == limit {
        samples.remove(0);
    }
    samples.push(sample);
}

fn figures(samples: &[Sample]) -> Figures {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Figures::default() };
    let sum = last.sum.saturating_sub(first.sum);
    let times = last.times.saturating_sub(first.times);
    let seconds = last.at.saturating_sub(first.at).as_secs_f64();
    Figures {
        sum,
        tps: if seconds > 0.0 { as_f64(sum) / seconds } else { 0.0 },
        average: if times > 0 { as_f64(sum) / as_f64(times) } else { 0.0 },
    }
}

#[expect(clippy::cast_precision_loss, reason = "statistics for people")]
fn as_f64(value: u64) -> f64 {
    value as f64
}

/// Something that only grows, with its recent past.
#[derive(Debug, Default)]
pub struct Counter {
    sum: AtomicU64,
    times: AtomicU64,
    history: Mutex<History>,
}

impl Counter {
    fn starting_at(now: Duration) -> Self {
        let counter = Self::default();
        counter.sample(now, 0);
        counter
    }

    /// Counts `times` events worth `value` together.
    pub fn add(&self, value: u64, times: u64) {
        self.sum.fetch_add(value, Relaxed);
        self.times.fetch_add(times, Relaxed);
    }

    /// Everything counted so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.sum.load(Relaxed)
    }

    fn sample(&self, now: Duration, tick: u64) {
        let sample = Sample { at: now, sum: self.sum.load(Relaxed), times: self.times.load(Relaxed) };
        let mut history = self.history.lock();
        keep(&mut history.minute, sample, MINUTE_SAMPLES);
        if tick.is_multiple_of(TICKS_PER_HOUR_SAMPLE) || history.hour.is_empty() {
            keep(&mut history.hour, sample, HOUR_SAMPLES);
        }
        if tick.is_multiple_of(TICKS_PER_DAY_SAMPLE) || history.day.is_empty() {
            keep(&mut history.day, sample, DAY_SAMPLES);
        }
    }

    /// The windows as last sampled.
    #[must_use]
    pub fn windows(&self) -> Windows {
        let history = self.history.lock();
        Windows { minute: figures(&history.minute), hour: figures(&history.hour), day: figures(&history.day) }
    }
}

/// Growth per second over the last 10 s, minute and ten minutes, up to the moment of asking.
#[derive(Debug, Default)]
pub struct Rates {
    total: AtomicU64,
    past: Mutex<Vec<Sample>>,
}

/// Samples that the longest of the three rates needs.
const RATE_SAMPLES: usize = 61;

impl Rates {
    /// Counts.
    pub fn add(&self, value: u64) {
        self.total.fetch_add(value, Relaxed);
    }

    /// Everything counted so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    fn sample(&self, now: Duration) {
        keep(&mut self.past.lock(), Sample { at: now, sum: self.total(), times: 0 }, RATE_SAMPLES);
    }

    /// The three rates; 0 for a window that this broker has not lived through.
    #[must_use]
    pub fn per_second(&self, now: Duration) -> [f64; 3] {
        let past = self.past.lock();
        [10, 60, 600].map(|seconds| {
            let from = now.checked_sub(Duration::from_secs(seconds));
            let start = from.and_then(|from| past.iter().rev().find(|sample| sample.at <= from));
            start.map_or(0.0, |start| {
                as_f64(self.total() - start.sum) / (now - start.at).as_secs_f64().max(0.001)
            })
        })
    }
}

/// Upper ends of the classes that Java counts put times in, in milliseconds, with their names.
const PUT_TIME_CLASSES: [(u64, &str); 13] = [
    (1, "[<=0ms]"),
    (10, "[0~10ms]"),
    (50, "[10~50ms]"),
    (100, "[50~100ms]"),
    (200, "[100~200ms]"),
    (500, "[200~500ms]"),
    (1_000, "[500ms~1s]"),
    (2_000, "[1~2s]"),
    (3_000, "[2~3s]"),
    (4_000, "[3~4s]"),
    (5_000, "[4~5s]"),
    (10_000, "[5~10s]"),
    (u64::MAX, "[10s~]"),
];

/// How long puts took, in Java's classes.
#[derive(Debug, Default)]
pub struct PutTimes([AtomicU64; PUT_TIME_CLASSES.len()]);

/// The class of a put time.
#[must_use]
pub fn put_time_class(took: Duration) -> usize {
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    PUT_TIME_CLASSES.iter().position(|(end, _)| ms < *end).unwrap_or(PUT_TIME_CLASSES.len() - 1)
}

/// Counts of put times by class, summed up before they reach the shared counters.
pub type PutTimeSums = [u64; PUT_TIME_CLASSES.len()];

impl PutTimes {
    /// Counts messages by their class.
    pub fn add(&self, sums: &PutTimeSums) {
        for (class, sum) in self.0.iter().zip(sums) {
            if *sum > 0 {
                class.fetch_add(*sum, Relaxed);
            }
        }
    }

    /// All classes in Java's text; `None` before the first message.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let counts: PutTimeSums = std::array::from_fn(|class| self.0[class].load(Relaxed));
        let classes = PUT_TIME_CLASSES.iter().zip(counts);
        (counts.iter().any(|count| *count > 0))
            .then(|| classes.map(|((_, name), count)| format!("{name}:{count} ")).collect())
    }

    /// The lower end of the class in which the quantile lies, in milliseconds.
    #[must_use]
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        let counts: PutTimeSums = std::array::from_fn(|class| self.0[class].load(Relaxed));
        let wanted = as_f64(counts.iter().sum()) * quantile;
        let mut seen = 0;
        for (class, count) in counts.iter().enumerate() {
            seen += count;
            if as_f64(seen) >= wanted {
                return class.checked_sub(1).map_or(0.0, |below| as_f64(PUT_TIME_CLASSES[below].0));
            }
        }
        0.0
    }
}

/// What was stored in one topic.
#[derive(Debug)]
pub struct TopicStats {
    /// Messages stored.
    pub put_count: Counter,
    /// Bytes stored.
    pub put_bytes: Counter,
}

/// What one group was given of one topic.
#[derive(Debug)]
pub struct DeliveryStats {
    /// Messages handed out.
    pub get_count: Counter,
    /// Bytes handed out.
    pub get_bytes: Counter,
}

/// Totals of the whole broker.
#[derive(Debug, Default)]
pub struct Totals {
    /// Messages stored.
    pub puts: Rates,
    /// Their records' bytes.
    pub put_bytes: AtomicU64,
    /// Sends that the store refused.
    pub put_failures: AtomicU64,
    /// How long they took from receipt to confirmation.
    pub put_times: PutTimes,
    /// Slowest send so far, from receipt to confirmation, in milliseconds.
    pub put_slowest_ms: AtomicU64,
    /// Pulls that found messages.
    pub found: Rates,
    /// Pulls that found none.
    pub missed: Rates,
    /// Messages handed out.
    pub transferred: Rates,
    /// Messages stored, those in system topics not counted.
    pub user_puts: AtomicU64,
    /// Messages handed out, those of system topics not counted.
    pub user_gets: AtomicU64,
    /// Slowest pull so far (not counting holds), in milliseconds.
    pub get_slowest_ms: AtomicU64,
}

/// The user totals as they stood at the last two midnights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mornings {
    /// Stored until yesterday's midnight.
    pub puts_yesterday: u64,
    /// Stored until today's midnight.
    pub puts_today: u64,
    /// Handed out until yesterday's midnight.
    pub gets_yesterday: u64,
    /// Handed out until today's midnight.
    pub gets_today: u64,
}

/// By group.
type DeliveriesOfTopic = FxHashMap<Box<str>, Arc<DeliveryStats>>;

/// All statistics of this broker.
#[derive(Debug, Default)]
pub struct Stats {
    /// Broker-wide figures.
    pub totals: Totals,
    topics: RwLock<FxHashMap<Box<str>, Arc<TopicStats>>>,
    /// By topic, then by group.
    deliveries: RwLock<FxHashMap<Box<str>, DeliveriesOfTopic>>,
    mornings: Mutex<Mornings>,
    ticks: AtomicU64,
}

impl Stats {
    /// The counters of a topic, created on first use.
    #[must_use]
    pub fn topic(&self, topic: &str, now: Duration) -> Arc<TopicStats> {
        if let Some(stats) = self.topics.read().get(topic) {
            return Arc::clone(stats);
        }
        let mut topics = self.topics.write();
        let stats = topics.entry(topic.into()).or_insert_with(|| {
            Arc::new(TopicStats {
                put_count: Counter::starting_at(now),
                put_bytes: Counter::starting_at(now),
            })
        });
        Arc::clone(stats)
    }

    /// The counters of a topic, if anything was ever stored in it.
    #[must_use]
    pub fn find_topic(&self, topic: &str) -> Option<Arc<TopicStats>> {
        self.topics.read().get(topic).cloned()
    }

    /// Counts messages handed to a group.
    pub fn delivered(&self, topic: &str, group: &str, messages: u64, bytes: u64, now: Duration) {
        let stats = self.find_delivery(topic, group).unwrap_or_else(|| {
            let mut deliveries = self.deliveries.write();
            let groups = deliveries.entry(topic.into()).or_default();
            let stats = groups.entry(group.into()).or_insert_with(|| {
                Arc::new(DeliveryStats {
                    get_count: Counter::starting_at(now),
                    get_bytes: Counter::starting_at(now),
                })
            });
            Arc::clone(stats)
        });
        stats.get_count.add(messages, 1);
        stats.get_bytes.add(bytes, 1);
    }

    /// The counters of a topic and group, if the group was ever given anything of it.
    #[must_use]
    pub fn find_delivery(&self, topic: &str, group: &str) -> Option<Arc<DeliveryStats>> {
        self.deliveries.read().get(topic)?.get(group).cloned()
    }

    /// Takes a sample of everything; called every [`SAMPLE_INTERVAL`].
    pub fn sample(&self, now: Duration) {
        let tick = self.ticks.fetch_add(1, Relaxed) + 1;
        for stats in self.topics.read().values() {
            stats.put_count.sample(now, tick);
            stats.put_bytes.sample(now, tick);
        }
        for stats in self.deliveries.read().values().flat_map(FxHashMap::values) {
            stats.get_count.sample(now, tick);
            stats.get_bytes.sample(now, tick);
        }
        for rates in [&self.totals.puts, &self.totals.found, &self.totals.missed, &self.totals.transferred] {
            rates.sample(now);
        }
    }

    /// A local midnight passed.
    pub fn day_began(&self) {
        let mut mornings = self.mornings.lock();
        *mornings = Mornings {
            puts_yesterday: mornings.puts_today,
            puts_today: self.totals.user_puts.load(Relaxed),
            gets_yesterday: mornings.gets_today,
            gets_today: self.totals.user_gets.load(Relaxed),
        };
    }

    /// The totals at the last two midnights.
    #[must_use]
    pub fn mornings(&self) -> Mornings {
        *self.mornings.lock()
    }

    /// Forgets a deleted topic.
    pub fn forget_topic(&self, topic: &str) {
        self.topics.write().remove(topic);
        self.deliveries.write().remove(topic);
    }

    /// Forgets a deleted group.
    pub fn forget_group(&self, group: &str) {
        self.deliveries.write().retain(|_, groups| {
            groups.remove(group);
            !groups.is_empty()
        });
    }

    /// The windows behind request 315; `None` where nothing was counted under that name and key. `cluster` is the key
    /// of the broker-wide counters.
    #[must_use]
    pub fn view(&self, name: &str, key: &str, cluster: &str) -> Option<Windows> {
        let topic = |pick: fn(&TopicStats) -> &Counter| self.find_topic(key).map(|t| pick(&t).windows());
        let delivery = |pick: fn(&DeliveryStats) -> &Counter| {
            let (topic, group) = key.split_once('@')?;
            self.find_delivery(topic, group).map(|d| pick(&d).windows())
        };
        match name {
            "TOPIC_PUT_NUMS" => topic(|t| &t.put_count),
            "TOPIC_PUT_SIZE" => topic(|t| &t.put_bytes),
            "GROUP_GET_NUMS" => delivery(|d| &d.get_count),
            "GROUP_GET_SIZE" => delivery(|d| &d.get_bytes),
            "BROKER_PUT_NUMS" if key == cluster => Some(rate_windows(&self.totals.puts)),
            "BROKER_GET_NUMS" if key == cluster => Some(rate_windows(&self.totals.transferred)),
            _ => None,
        }
    }
}

/// Broker-wide totals keep ten minutes only; the longer windows show what there is.
fn rate_windows(rates: &Rates) -> Windows {
    let past = rates.past.lock();
    let minute = figures(&past[past.len().saturating_sub(MINUTE_SAMPLES)..]);
    let all = figures(&past);
    Windows { minute, hour: all, day: all }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_minute_of_load_shows_the_senders_rate() {
        let stats = Stats::default();
        let topic = stats.topic("T", at(0));
        for tick in 1..=6 {
            topic.put_count.add(1_000, 1_000);
            topic.put_bytes.add(250_000, 1_000);
            stats.sample(at(tick * 10));
        }
        let windows = stats.view("TOPIC_PUT_NUMS", "T", "c").unwrap();
        assert_eq!(windows.minute, Figures { sum: 6_000, tps: 100.0, average: 1.0 });
        let bytes = stats.view("TOPIC_PUT_SIZE", "T", "c").unwrap();
        assert!((bytes.minute.average - 250.0).abs() < f64::EPSILON);
    }

    #[test]
    fn the_minute_window_forgets_after_six_intervals() {
        let stats = Stats::default();
        stats.topic("T", at(0)).put_count.add(60, 60);
        for tick in 1..=7 {
            stats.sample(at(tick * 10));
        }
        let windows = stats.view("TOPIC_PUT_NUMS", "T", "c").unwrap();
        assert_eq!(windows.minute, Figures::default());
        stats.topic("T", at(70)).put_count.add(10, 10);
        for tick in 8..=60 {
            stats.sample(at(tick * 10));
        }
        assert_eq!(stats.view("TOPIC_PUT_NUMS", "T", "c").unwrap().hour.sum, 70, "ten minutes on");
    }

    #[test]
    fn the_day_window_takes_a_sample_an_hour() {
        let stats = Stats::default();
        let topic = stats.topic("T", at(0));
        for tick in 1..=(360 * 30) {
            topic.put_count.add(1, 1);
            stats.sample(at(tick * 10));
        }
        let day = stats.view("TOPIC_PUT_NUMS", "T", "c").unwrap().day;
        assert_eq!(day.sum, 360 * 24);
    }

    #[test]
    fn unknown_names_and_keys_are_not_zeros() {
        let stats = Stats::default();
        assert_eq!(stats.view("TOPIC_PUT_NUMS", "T", "c"), None);
        assert_eq!(stats.view("GROUP_GET_NUMS", "T@g", "c"), None);
        assert_eq!(stats.view("NO_SUCH", "T", "c"), None);
        assert!(stats.view("BROKER_PUT_NUMS", "c", "c").is_some());
        stats.delivered("T", "g", 3, 300, at(0));
        assert!(stats.view("GROUP_GET_SIZE", "T@g", "c").is_some());
        assert_eq!(stats.view("GROUP_GET_SIZE", "T", "c"), None);
    }

    #[test]
    fn deleted_topics_and_groups_are_forgotten() {
        let stats = Stats::default();
        let _ = stats.topic("T", at(0));
        stats.delivered("T", "g", 1, 1, at(0));
        stats.delivered("U", "g", 1, 1, at(0));
        stats.delivered("U", "h", 1, 1, at(0));
        stats.forget_topic("T");
        assert!(stats.find_topic("T").is_none() && stats.find_delivery("T", "g").is_none());
        stats.forget_group("g");
        assert!(stats.find_delivery("U", "g").is_none() && stats.find_delivery("U", "h").is_some());
    }

    #[test]
    fn rates_are_live_between_samples() {
        let stats = Stats::default();
        stats.sample(at(10));
        stats.totals.puts.add(500);
        assert_eq!(stats.totals.puts.per_second(at(15)), [0.0; 3], "no window has passed yet");
        assert_eq!(stats.totals.puts.per_second(at(20)), [50.0, 0.0, 0.0]);
        stats.sample(at(20));
        stats.totals.puts.add(100);
        assert_eq!(stats.totals.puts.per_second(at(30))[0], 10.0);
        assert_eq!(stats.totals.puts.per_second(at(70))[1], 10.0);
    }

    #[test]
    fn put_times_are_counted_in_javas_classes() {
        let times = PutTimes::default();
        assert_eq!(times.text(), None);
        let mut sums = PutTimeSums::default();
        for (ms, messages) in [(0, 990), (7, 9), (700, 1)] {
            sums[put_time_class(Duration::from_millis(ms))] += messages;
        }
        sums[put_time_class(Duration::from_secs(3_600))] += 1;
        times.add(&sums);
        assert_eq!(
            times.text().unwrap(),
            "[<=0ms]:990 [0~10ms]:9 [10~50ms]:0 [50~100ms]:0 [100~200ms]:0 [200~500ms]:0 [500ms~1s]:1 [1~2s]:0 \
             [2~3s]:0 [3~4s]:0 [4~5s]:0 [5~10s]:0 [10s~]:1 "
        );
        assert_eq!(times.quantile_ms(0.5), 0.0);
        assert_eq!(times.quantile_ms(0.995), 1.0);
        assert_eq!(times.quantile_ms(1.0), 10_000.0);
    }

    #[test]
    fn mornings_move_on_at_midnight() {
        let stats = Stats::default();
        stats.totals.user_puts.store(5, Relaxed);
        stats.day_began();
        stats.totals.user_puts.store(9, Relaxed);
        stats.day_began();
        assert_eq!(
            stats.mornings(),
            Mornings { puts_yesterday: 5, puts_today: 9, gets_yesterday: 0, gets_today: 0 }
        );
    }
}
