//! Numbers and times as Java's tools print them; people and scripts read these texts.

use ferromq_protocol::types::TimestampMs;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `2026-11-21 03:20:24,209`, in local time (`UtilAll.timeMillisToHumanString2`).
#[must_use]
pub fn date_time(at: TimestampMs) -> String {
    let Ok(timestamp) = Timestamp::from_millisecond(at.0) else { return at.to_string() };
    let local = timestamp.to_zoned_datetime(TimeZone::system());
    let millis = at.0.rem_euclid(1000);
    format!("{},{millis:03}", local.strftime("%Y-%m-%d %H:%M:%S"))
}

/// `0 B`, `1.5 KiB`, `2.0 GiB`: base 1024, one decimal, no decimals for plain bytes.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one decimal for people")]
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `[ 0 days, 1 hours, 2 minutes, 3 seconds ]`.
#[must_use]
pub fn run_time(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    format!("[ {days} days, {hours} hours, {} minutes, {} seconds ]", seconds / 60 % 60, seconds % 60)
}

/// A `double` in Java's text: always with a fraction.
#[must_use]
pub fn double(value: f64) -> String {
    if value.is_finite() { format!("{value:?}") } else { "0.0".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_counts_have_binary_units_and_one_decimal() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (2 << 30, "2.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn run_times_count_days_hours_minutes_and_seconds() {
        assert_eq!(run_time(39), "[ 0 days, 0 hours, 0 minutes, 39 seconds ]");
        assert_eq!(run_time(90_061), "[ 1 days, 1 hours, 1 minutes, 1 seconds ]");
    }

    #[test]
    fn doubles_always_have_a_fraction() {
        assert_eq!(double(0.0), "0.0");
        assert_eq!(double(1.25), "1.25");
        assert_eq!(double(f64::NAN), "0.0");
    }

    #[test]
    fn times_have_milliseconds_behind_a_comma() {
        let text = date_time(TimestampMs(1_795_231_224_209));
        assert!(text.ends_with(",209") && text.len() == 23, "{text}");
    }
}
