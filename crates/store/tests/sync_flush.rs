//! What SYNC_FLUSH costs: one `fdatasync` for everything that was written since the last, into files that do not grow.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::watched_disk::{Watch, WatchedDisk, is_log};
use common::{commit, config, done, parts, queue, real, stored};
use ferromq_store::layout::offset_name;
use ferromq_store::{Environment, FlushMode, Loop, Store, StoreConfig};

const CONNECTIONS: usize = 8;
const RECORDS: usize = 25;

/// Calls that concern files of the log.
#[derive(Default)]
struct LogCalls {
    syncs: AtomicU64,
    resizes: AtomicU64,
}

impl Watch for LogCalls {
    fn syncs(&self, path: &Path) {
        self.syncs.fetch_add(is_log(path).into(), Ordering::Relaxed);
    }

    fn resizes(&self, path: &Path) {
        self.resizes.fetch_add(is_log(path).into(), Ordering::Relaxed);
    }
}

#[test]
fn a_commit_group_costs_one_sync_of_a_file_that_keeps_its_length() {
    let root = tempfile::tempdir().unwrap();
    let sync = StoreConfig {
        flush_mode: FlushMode::Sync,
        segment_size: 32 << 20,
        queue_file_size: 600_000,
        ..config(root.path())
    };
    let calls = Arc::new(LogCalls::default());
    let environment = Environment { disk: Arc::new(WatchedDisk::new(Arc::clone(&calls))), ..real() };
    // No threads: a round of the loop that syncs is what follows a group.
    let store = Store::open(sync, environment).unwrap();
    store.follow().unwrap();
    store.lead();
    let ports: Vec<_> = (0..CONNECTIONS).map(|_| store.port()).collect();
    let orders = queue(&store, "orders", 0);
    let submit = || {
        for port in &ports {
            let mut batch = port.batch();
            for tag in 0..RECORDS {
                batch.push(&parts(&orders, &[7; 1_000], b"TAGS\x01TagA\x02", tag as u64)).unwrap();
            }
            port.submit(batch).unwrap();
        }
        commit(&store);
    };
    let confirmed = || {
        let answers = ports.iter().map(|port| {
            let batch = done(port);
            let answers = batch.answers().len();
            for (_, outcome) in batch.answers() {
                stored(outcome);
            }
            port.recycle(batch);
            answers
        });
        answers.sum::<usize>()
    };
    // The first group makes the file.
    submit();
    store.step(Loop::Sync);
    assert_eq!(confirmed(), CONNECTIONS * RECORDS);

    let file = store.layout().commit_log().join(offset_name(0));
    let (before, groups) = (calls.syncs.load(Ordering::Relaxed), store.status().groups);
    for written in 1..=50 {
        submit();
        store.step(Loop::Sync);
        assert_eq!(confirmed(), CONNECTIONS * RECORDS, "one round confirms all of the group");
        assert_eq!(calls.syncs.load(Ordering::Relaxed) - before, written);
        assert_eq!(store.status().groups - groups, written, "what all connections brought is one group");
        assert_eq!(std::fs::metadata(&file).unwrap().len(), 32 << 20);
    }
    // Groups that were written while a sync was under way share the next.
    let before = calls.syncs.load(Ordering::Relaxed);
    for _ in 0..5 {
        submit();
    }
    store.step(Loop::Sync);
    assert_eq!((0..5).map(|_| confirmed()).sum::<usize>(), 5 * CONNECTIONS * RECORDS);
    assert_eq!(calls.syncs.load(Ordering::Relaxed) - before, 1);
    // With nothing written there is nothing to sync.
    store.step(Loop::Sync);
    assert_eq!(calls.syncs.load(Ordering::Relaxed) - before, 1);
    assert_eq!(calls.resizes.load(Ordering::Relaxed), 0);
}
