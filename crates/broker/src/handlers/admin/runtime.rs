//! How the broker is doing: codes 28 and 315.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use ferromq_net::peer::Peer;
use ferromq_protocol::body::{BrokerStatsData, BrokerStatsItem, KvTable};
use ferromq_protocol::header::OwnedFrame;
use ferromq_protocol::request::ViewBrokerStatsData;
use ferromq_protocol::types::PhysicalOffset;
use ferromq_protocol::{json, version};

use crate::background;
use crate::broker::Broker;
use crate::clients;
use crate::handlers::send;
use crate::holds;
use crate::java_text;
use crate::queue_locks;
use crate::requests::Caller;
use crate::response::{Answer, RequestError};
use crate::stats::Figures;

/// VIEW_BROKER_STATS_DATA (315). Tools rely on an error where nothing was counted.
pub(crate) fn view_stats(
    broker: &Broker,
    _peer: &Peer,
    asked: &ViewBrokerStatsData<'_>,
) -> Result<Answer, RequestError> {
    let (name, key) = (asked.stats_name, asked.stats_key);
    let windows = broker
        .stats
        .view(name, key, &broker.identity.cluster)
        .ok_or_else(|| RequestError::Failed(format!("The stats <{name}> <{key}> not exist")))?;
    Ok(Answer::with_body(json::to_vec(&BrokerStatsData {
        stats_day: item(windows.day),
        stats_hour: item(windows.hour),
        stats_minute: item(windows.minute),
    })))
}

fn item(figures: Figures) -> BrokerStatsItem {
    BrokerStatsItem {
        avgpt: figures.average,
        sum: i64::try_from(figures.sum).unwrap_or(i64::MAX),
        tps: figures.tps,
    }
}

/// GET_BROKER_RUNTIME_INFO (28): Java's keys, whether what they tell of exists here or not, and some of ours.
pub(crate) fn info(caller: &Caller, _frame: &OwnedFrame) -> Result<Answer, RequestError> {
    let broker = &caller.broker;
    let mut table = BTreeMap::new();
    tell_of_store(broker, &mut table);
    tell_of_traffic(broker, &mut table);
    tell_of_waiting(broker, &mut table);
    let mut put = |key: &str, value: &str| table.insert(key.to_owned(), value.to_owned());
    put("brokerActive", "true");
    put("brokerVersionDesc", &version::describe(version::CURRENT));
    put("bootTimestamp", &broker.identity.started.to_string());
    put("startAcceptSendRequestTimeStamp", &broker.config().live.accept_sends_from.to_string());
    let seconds = broker.now().0.saturating_sub(broker.identity.started.0) / 1000;
    put("runtime", &java_text::run_time(u64::try_from(seconds).unwrap_or(0)));
    for (key, value) in [
        // Delays and timers do not exist here yet.
        ("timerReadBehind", "0"),
        ("timerOffsetBehind", "0"),
        ("timerCongestNum", "0"),
        ("timerEnqueueTps", "0.0"),
        ("timerDequeueTps", "0.0"),
        // Nor does a second buffer in front of the page cache; this is what Java says without one.
        ("remainTransientStoreBufferNumbs", "2147483647"),
        ("dispatchMaxBuffer", "0"),
    ] {
        put(key, value);
    }
    Ok(Answer::with_body(json::to_vec(&KvTable { table })))
}

type Table = BTreeMap<String, String>;

fn tell_of_store(broker: &Broker, table: &mut Table) {
    let status = broker.store.status();
    let layout = broker.store.layout();
    let mut put = |key: &str, value: String| table.insert(key.to_owned(), value);
    let behind = |ahead: PhysicalOffset, back: PhysicalOffset| ahead.0.saturating_sub(back.0).max(0);
    put("commitLogMinOffset", status.min_physical.to_string());
    put("commitLogMaxOffset", status.confirmed.to_string());
    put("dispatchBehindBytes", behind(status.written, status.confirmed).to_string());
    let unsynced = u64::try_from(behind(status.written, status.durable)).unwrap_or(0);
    put("remainHowManyDataToFlush", java_text::bytes(unsynced));
    put("pageCacheLockTimeMills", status.commit_stalled_for.as_millis().to_string());
    let earliest = broker.store.earliest_store_time();
    put("earliestMessageTimeStamp", earliest.map_or(-1, |time| time.0).to_string());

    let ratio = |path: &Path| broker.disk_ratio(path).map_or_else(|| "-1".into(), java_text::double);
    put("commitLogDiskRatio", ratio(layout.commit_log()));
    put(&format!("commitLogDiskRatio_{}", layout.commit_log().display()), ratio(layout.commit_log()));
    put("consumeQueueDiskRatio", ratio(&layout.consume_queues()));
    if let Some(space) = broker.disk_space(layout.root()) {
        let (total, free) = (java_text::bytes(space.total), java_text::bytes(space.available));
        put("commitLogDirCapacity", format!("Total : {total}, Free : {free}."));
    }
    put("ferromqPoisoned", status.poisoned_by.clone().unwrap_or_else(|| "false".into()));
    put("ferromqCorruptRecords", status.corrupt_records.to_string());
    put("ferromqSkippedRecords", status.skipped_records.to_string());
    put("ferromqWriteBehindBytes", status.write_behind_lag.to_string());
    put("ferromqPendingBytes", status.pending_bytes.to_string());
    put("ferromqPendingBytesMax", status.pending_bytes_max.to_string());
    put("ferromqIdleBatches", status.idle_batches.to_string());
    put("ferromqIdleBatchesMax", status.idle_batches_max.to_string());
    put("ferromqIdleBatchBytes", status.idle_batch_bytes.to_string());
    put("ferromqIdleBatchBytesMax", status.idle_batch_bytes_max.to_string());
    put("ferromqIndexSlotBytes", status.index_slot_bytes.to_string());
    put("ferromqIndexSlotBytesMax", status.index_slot_bytes_max.to_string());
}

fn tell_of_traffic(broker: &Broker, table: &mut Table) {
    let (totals, now) = (&broker.stats.totals, broker.elapsed());
    let mut put = |key: &str, value: String| table.insert(key.to_owned(), value);
    let three = |rates: [f64; 3]| rates.map(java_text::double).join(" ");
    let sum = |a: [f64; 3], b: [f64; 3]| [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
    let (found, missed) = (totals.found.per_second(now), totals.missed.per_second(now));
    put("putTps", three(totals.puts.per_second(now)));
    put("getFoundTps", three(found));
    put("getMissTps", three(missed));
    put("getTotalTps", three(sum(found, missed)));
    put("getTransferredTps", three(totals.transferred.per_second(now)));

    let (messages, bytes) = (totals.puts.total(), totals.put_bytes.load(Relaxed));
    put("putMessageTimesTotal", messages.max(1).to_string());
    put("putMessageFailedTimes", totals.put_failures.load(Relaxed).to_string());
    put("putMessageSizeTotal", bytes.to_string());
    #[expect(clippy::cast_precision_loss, reason = "an average for people")]
    let average = bytes as f64 / messages.max(1) as f64;
    put("putMessageAverageSize", java_text::double(average));
    put("putMessageEntireTimeMax", totals.put_slowest_ms.load(Relaxed).to_string());
    put("getMessageEntireTimeMax", totals.get_slowest_ms.load(Relaxed).to_string());
    put("putMessageDistributeTime", totals.put_times.text().unwrap_or_else(|| "null".into()));
    put("putLatency99", format!("{:.2}", totals.put_times.quantile_ms(0.99)));
    put("putLatency999", format!("{:.2}", totals.put_times.quantile_ms(0.999)));

    let mornings = broker.stats.mornings();
    put("msgPutTotalYesterdayMorning", mornings.puts_yesterday.to_string());
    put("msgPutTotalTodayMorning", mornings.puts_today.to_string());
    put("msgPutTotalTodayNow", totals.user_puts.load(Relaxed).to_string());
    put("msgGetTotalYesterdayMorning", mornings.gets_yesterday.to_string());
    put("msgGetTotalTodayMorning", mornings.gets_today.to_string());
    put("msgGetTotalTodayNow", totals.user_gets.load(Relaxed).to_string());
}

/// Java's queues in front of its thread pools, as far as something here corresponds; the others are empty.
fn tell_of_waiting(broker: &Broker, table: &mut Table) {
    let mut put = |key: &str, value: usize| table.insert(key.to_owned(), value.to_string());
    for (pool, capacity) in
        [("send", 10_000), ("pull", 100_000), ("litePull", 100_000), ("query", 20_000), ("ack", 100_000)]
    {
        put(&format!("{pool}ThreadPoolQueueSize"), 0);
        put(&format!("{pool}ThreadPoolQueueCapacity"), capacity);
        put(&format!("{pool}ThreadPoolQueueHeadWaitTimeMills"), 0);
    }
    put("queryThreadPoolQueueSize", broker.background.waiting());
    put("queryThreadPoolQueueCapacity", background::WAITING_MAX);
    put("EndTransactionQueueSize", 0);
    put("EndTransactionThreadPoolQueueCapacity", 100_000);
    for (name, budget) in [
        ("Connections", &broker.limiter.connections),
        ("UnreadBytes", &broker.limiter.unread),
        ("UnsentBytes", &broker.limiter.unsent),
    ] {
        let number = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        put(&format!("ferromq{name}"), number(budget.used()));
        put(&format!("ferromq{name}Max"), number(budget.limit()));
    }
    put("ferromqHeldPulls", broker.holds.now());
    put("ferromqHeldPullsMax", holds::HOLDS_MAX);
    put("ferromqHeldPullBytes", broker.holds.bytes());
    put("ferromqHeldPullBytesMax", holds::HOLD_BYTES_MAX);
    put("ferromqInFlightBytes", broker.background.held().now());
    put("ferromqInFlightBytesMax", background::HELD_BYTES_MAX);
    put("ferromqClientConnections", broker.clients.connections());
    put("ferromqRegisteredBytes", broker.clients.bytes());
    put("ferromqRegisteredBytesMax", clients::REGISTERED_BYTES_MAX);
    put("ferromqQueueLocks", broker.queue_locks.lock().len());
    put("ferromqQueueLocksMax", queue_locks::LOCKS_MAX);
    put("ferromqUnansweredSendsPerConnectionMax", send::UNANSWERED_MAX);
    put("ferromqUnansweredSendBytesPerConnectionMax", send::UNANSWERED_BYTES_MAX);
}
