//! CPU time and memory of processes as the kernel counts them, from /proc.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

/// Sums over some processes at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    pub(crate) resident_bytes: u64,
}

/// What processes used between two moments.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spent {
    pub(crate) user_s: f64,
    pub(crate) system_s: f64,
    /// Resident memory at the end, and the most that was seen.
    pub(crate) rss_bytes: u64,
    pub(crate) rss_max_bytes: u64,
}

impl Spent {
    pub(crate) fn between(before: Usage, after: Usage, rss_max_bytes: u64) -> Spent {
        Spent {
            user_s: after.user.saturating_sub(before.user).as_secs_f64(),
            system_s: after.system.saturating_sub(before.system).as_secs_f64(),
            rss_bytes: after.resident_bytes,
            rss_max_bytes: rss_max_bytes.max(after.resident_bytes),
        }
    }

    pub(crate) fn cpu_s(&self) -> f64 {
        self.user_s + self.system_s
    }
}

/// Reads all `pids` and adds them up.
pub(crate) fn usage(pids: &[u32]) -> anyhow::Result<Usage> {
    let mut sum = Usage::default();
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("process {pid} cannot be watched"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))
            .with_context(|| format!("process {pid} cannot be watched"))?;
        let (user, system) =
            cpu_ticks(&stat).with_context(|| format!("/proc/{pid}/stat has an unknown form"))?;
        sum.user += ticks(user);
        sum.system += ticks(system);
        sum.resident_bytes += resident_kib(&status).unwrap_or(0) * 1024;
    }
    Ok(sum)
}

fn ticks(count: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_nanos(count.saturating_mul(1_000_000_000) / per_second)
}

/// Fields 14 and 15. Field 2 is the program name in brackets and may itself hold spaces and brackets,
/// hence the last bracket.
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn resident_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "71 (a) b) c) S 1 71 71 0 -1 4194560 100 0 0 0 1234 567 0 0 20 0 1 0 100 1000 50";
        assert_eq!(cpu_ticks(stat), Some((1234, 567)));
    }

    #[test]
    fn resident_memory_is_read_in_kib() {
        assert_eq!(resident_kib("Name:\tx\nVmRSS:\t   12345 kB\nThreads:\t1\n"), Some(12_345));
        assert_eq!(resident_kib("Name:\tkthread\n"), None);
    }

    #[test]
    fn own_process_can_be_watched_and_a_missing_one_is_named() {
        let usage_now = usage(&[std::process::id()]).unwrap();
        assert!(usage_now.resident_bytes > 0);
        let missing = usage(&[u32::MAX]).unwrap_err();
        assert!(missing.to_string().contains("4294967295"), "{missing}");
    }
}
