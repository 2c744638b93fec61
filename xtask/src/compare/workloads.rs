//! The loads that are compared, and what is asked of ours in each.

/// One load of `ferromq bench`.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// What comes after `ferromq bench`; target and timing are added.
    pub(crate) arguments: &'static [&'static str],
    /// SYNC_FLUSH at the brokers.
    pub(crate) sync: bool,
    /// Java 5.5.0 on the machine the bars were made for: server CPU per message in µs. Bars on CPU move with it.
    pub(crate) java_cpu_us: Option<f64>,
    pub(crate) bars: &'static [Bar],
}

/// What ours has to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    /// Messages per second: so many times Java's, or this share of the null broker's, whichever is lower.
    Throughput { times_java: f64, of_null: f64 },
    /// Server CPU per message in µs.
    Cpu { at_most_us: f64 },
    /// A latency in ms, or 1.5 times the null broker's, whichever is higher.
    Latency { what: Latency, at_most_ms: f64 },
    /// A latency against that of a bare append with `fdatasync`: so many times that, and so many ms.
    AgainstFsync { what: Latency, times: f64, plus_ms: f64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Latency {
    Mean,
    P50,
    P99,
    P999,
}

impl Latency {
    /// Its key in the output of the bench.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::P999 => "p99_9",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::P999 => "p99.9",
            other => other.key(),
        }
    }
}

const fn faster(times_java: f64) -> Bar {
    Bar::Throughput { times_java, of_null: 0.85 }
}

const fn cpu(at_most_us: f64) -> Bar {
    Bar::Cpu { at_most_us }
}

const fn latency(what: Latency, at_most_ms: f64) -> Bar {
    Bar::Latency { what, at_most_ms }
}

pub(crate) const WORKLOADS: [Workload; 9] = [
    Workload {
        name: "send, 1 connection, 64 in flight",
        arguments: &["send", "--connections", "1", "--in-flight", "64"],
        sync: false,
        java_cpu_us: Some(39.0),
        bars: &[faster(7.0), cpu(4.0), latency(Latency::P99, 1.0)],
    },
    Workload {
        name: "send, 64 connections, 1 in flight",
        arguments: &["send", "--connections", "64", "--in-flight", "1"],
        sync: false,
        java_cpu_us: Some(67.0),
        bars: &[faster(3.5), cpu(11.0), latency(Latency::P99, 2.5)],
    },
    Workload {
        name: "send, 1 connection, 1 in flight",
        arguments: &["send", "--connections", "1", "--in-flight", "1"],
        sync: false,
        java_cpu_us: Some(113.0),
        bars: &[faster(3.3), cpu(18.0), latency(Latency::Mean, 0.045), latency(Latency::P999, 0.3)],
    },
    Workload {
        name: "send 128 B, 1 connection, 256 in flight",
        arguments: &["send", "--connections", "1", "--in-flight", "256", "--size", "128"],
        sync: false,
        java_cpu_us: Some(26.0),
        bars: &[faster(9.0), cpu(2.0)],
    },
    Workload {
        name: "pull, hot, 32 per pull, 2 connections",
        arguments: &["pull", "--connections", "2", "--batch", "32"],
        sync: false,
        java_cpu_us: Some(6.0),
        bars: &[Bar::Throughput { times_java: 5.0, of_null: 0.8 }, cpu(1.0)],
    },
    Workload {
        name: "end to end at 2,000/s, long polling",
        arguments: &["e2e", "--rate", "2000"],
        sync: false,
        java_cpu_us: Some(305.0),
        bars: &[cpu(60.0), latency(Latency::P50, 0.2), latency(Latency::P99, 0.6)],
    },
    Workload {
        name: "SYNC_FLUSH, 1 connection, 64 in flight",
        arguments: &["send", "--connections", "1", "--in-flight", "64"],
        sync: true,
        java_cpu_us: Some(57.0),
        bars: &[faster(5.0), cpu(6.0), Bar::AgainstFsync { what: Latency::P99, times: 3.0, plus_ms: 1.0 }],
    },
    Workload {
        name: "SYNC_FLUSH, 64 connections, 1 in flight",
        arguments: &["send", "--connections", "64", "--in-flight", "1"],
        sync: true,
        java_cpu_us: Some(90.0),
        bars: &[faster(2.5), cpu(20.0)],
    },
    Workload {
        name: "SYNC_FLUSH, 1 connection, 1 in flight",
        arguments: &["send", "--connections", "1", "--in-flight", "1"],
        sync: true,
        java_cpu_us: None,
        bars: &[faster(9.0), Bar::AgainstFsync { what: Latency::Mean, times: 1.5, plus_ms: 0.06 }],
    },
];

/// What was measured in one run of the bench.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    pub(crate) cpu_us: Option<f64>,
    pub(crate) mean_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) rss_mib: Option<f64>,
}

impl Figures {
    pub(crate) fn latency(&self, what: Latency) -> f64 {
        match what {
            Latency::Mean => self.mean_ms,
            Latency::P50 => self.p50_ms,
            Latency::P99 => self.p99_ms,
            Latency::P999 => self.p999_ms,
        }
    }

    /// Of each figure the median of all runs.
    pub(crate) fn medians(runs: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(runs.iter().map(figure).collect());
        let optional = |figure: fn(&Self) -> Option<f64>| {
            let values: Vec<f64> = runs.iter().filter_map(figure).collect();
            (!values.is_empty()).then(|| median(values))
        };
        Self {
            per_second: of(|run| run.per_second),
            cpu_us: optional(|run| run.cpu_us),
            mean_ms: of(|run| run.mean_ms),
            p50_ms: of(|run| run.p50_ms),
            p99_ms: of(|run| run.p99_ms),
            p999_ms: of(|run| run.p999_ms),
            rss_mib: optional(|run| run.rss_mib),
        }
    }
}

/// The middle value; of an even number the lower of the two.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// A bar held against the medians.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judgement {
    /// The bar in words.
    pub(crate) bar: String,
    pub(crate) met: bool,
}

/// The medians of everybody in one load.
pub(crate) struct Medians {
    pub(crate) java: Figures,
    pub(crate) ours: Figures,
    pub(crate) null: Figures,
    /// A bare append with `fdatasync`, where it matters.
    pub(crate) fsync: Option<Figures>,
}

impl Bar {
    pub(crate) fn judge(self, workload: &Workload, medians: &Medians) -> Judgement {
        let Medians { java, ours, null, fsync } = medians;
        match self {
            Self::Throughput { times_java, of_null } => {
                let needed = (times_java * java.per_second).min(of_null * null.per_second);
                let bar = format!("≥ {times_java} × Java or {of_null} × null: {needed:.0}/s");
                Judgement { bar, met: ours.per_second >= needed }
            }
            Self::Cpu { at_most_us } => {
                let scale = match (java.cpu_us, workload.java_cpu_us) {
                    (Some(now), Some(then)) if (now / then - 1.0).abs() > 0.15 => now / then,
                    _ => 1.0,
                };
                let scaled = at_most_us * scale;
                let note = if scale == 1.0 {
                    String::new()
                } else {
                    format!(" ({at_most_us} × {scale:.2}, as Java's)")
                };
                Judgement {
                    bar: format!("≤ {scaled:.1} µs{note}"),
                    met: ours.cpu_us.is_some_and(|cpu| cpu <= scaled),
                }
            }
            Self::Latency { what, at_most_ms } => {
                let needed = at_most_ms.max(1.5 * null.latency(what));
                let bar = format!("≤ {at_most_ms} ms or 1.5 × null: {needed:.3} ms");
                Judgement { bar, met: ours.latency(what) <= needed }
            }
            Self::AgainstFsync { what, times, plus_ms } => {
                let needed = fsync.map_or(f64::NAN, |fsync| times * fsync.latency(what) + plus_ms);
                let bar = format!("≤ {times} × fsync + {plus_ms} ms: {needed:.3} ms");
                Judgement { bar, met: ours.latency(what) <= needed }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(per_second: f64, cpu_us: f64, p99_ms: f64) -> Figures {
        Figures { per_second, cpu_us: Some(cpu_us), p99_ms, ..Figures::default() }
    }

    fn medians(ours: Figures) -> Medians {
        Medians { java: figures(40_000.0, 39.0, 6.0), ours, null: figures(300_000.0, 1.0, 0.4), fsync: None }
    }

    #[test]
    fn throughput_has_to_reach_the_lower_of_both() {
        let met = |per_second| faster(7.0).judge(&WORKLOADS[0], &medians(figures(per_second, 1.0, 1.0))).met;
        assert!(met(256_000.0));
        assert!(!met(254_000.0));
    }

    #[test]
    fn the_bar_on_cpu_moves_with_java_only_beyond_15_percent() {
        let met = |java_cpu, ours_cpu| {
            let mut medians = medians(figures(1.0, ours_cpu, 1.0));
            medians.java.cpu_us = Some(java_cpu);
            cpu(4.0).judge(&WORKLOADS[0], &medians).met
        };
        assert!(met(44.0, 4.0) && !met(44.0, 4.1));
        assert!(met(78.0, 8.0) && !met(78.0, 8.1));
        assert!(met(19.5, 2.0) && !met(19.5, 2.1));
    }

    #[test]
    fn a_latency_may_be_what_the_null_broker_allows() {
        let met = |p99| latency(Latency::P99, 0.5).judge(&WORKLOADS[0], &medians(figures(1.0, 1.0, p99))).met;
        assert!(met(0.6) && !met(0.61));
    }

    #[test]
    fn a_missing_fsync_figure_meets_nothing() {
        let bar = Bar::AgainstFsync { what: Latency::P99, times: 3.0, plus_ms: 1.0 };
        assert!(!bar.judge(&WORKLOADS[6], &medians(figures(1.0, 1.0, 0.0))).met);
    }

    #[test]
    fn the_median_is_a_value_that_was_seen() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.0);
        assert!(median(vec![]).is_nan());
    }
}
