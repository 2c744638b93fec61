//! What a broker does by the clock: samples, expiries, the file of offsets. Nothing here is on the way of a message.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::broker::Broker;
use crate::stats::SAMPLE_INTERVAL;

/// Between two looks at clients and locks (`ClientHousekeepingService`).
const EXPIRY_INTERVAL: Duration = Duration::from_secs(10);

/// Runs until the broker stops.
pub(crate) async fn run(broker: Arc<Broker>, mut stopping: watch::Receiver<bool>) {
    let every = |period: Duration| {
        let mut interval = interval_at(Instant::now() + period, period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    };
    let mut samples = every(SAMPLE_INTERVAL);
    let mut expiries = every(EXPIRY_INTERVAL);
    let mut offsets = every(broker.config().clients.offset_flush_interval.max(Duration::from_millis(100)));
    let mut today = local_date();
    broker.stats.sample(broker.elapsed());
    loop {
        tokio::select! {
            _ = stopping.changed() => return,
            _ = offsets.tick() => broker.metadata.flush_offsets(),
            _ = samples.tick() => {
                broker.stats.sample(broker.elapsed());
                let date = local_date();
                if date != today {
                    today = date;
                    broker.stats.day_began();
                }
            }
            _ = expiries.tick() => {
                broker.close_silent_clients();
                broker.queue_locks.lock().expire(broker.elapsed());
                tracing::debug!(
                    holds = broker.holds.now(),
                    clients = broker.clients.connections(),
                    background = broker.background.waiting(),
                    puts = broker.stats.totals.user_puts.load(Relaxed),
                    "housekeeping",
                );
            }
        }
    }
}

fn local_date() -> Date {
    Timestamp::now().to_zoned_datetime(TimeZone::system()).date()
}
