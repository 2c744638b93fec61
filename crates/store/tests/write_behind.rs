//! When queue entries go to their files: less often while each queue has few.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod common;

use std::time::Duration;

use common::{config, real, send};
use ferromq_protocol::types::QueueId;
use ferromq_store::{Loop, Store, StoreConfig};

const DUE_BYTES: u64 = 64 << 10;

/// Sends a record of about 1 KiB to each of the queues in turn, with a look of the write-behind after every one, until
/// what is in memory only has been written. Returns how many bytes of log that took.
fn bytes_until_flush(store: &Store, queues: i32, from: i32) -> u64 {
    let body = [b'x'; 900];
    let mut most = 0;
    for id in (0..queues).cycle().skip(from as usize).take(1_000) {
        send(store, &store.queue("Topic", QueueId(id)), &[&body]);
        store.step(Loop::WriteBehind);
        let lag = store.status().write_behind_lag;
        if lag < most {
            return most;
        }
        most = lag;
    }
    panic!("nothing was written after {most} bytes of log");
}

#[test]
fn entries_that_are_spread_over_many_queues_are_written_less_often() {
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        write_behind_bytes: DUE_BYTES,
        write_behind_interval: Duration::from_secs(3600),
        ..config(directory.path())
    };
    let store = Store::open(config, real()).unwrap();
    store.follow().unwrap();
    store.lead();

    let at_first = bytes_until_flush(&store, 500, 0);
    assert!(
        (DUE_BYTES - 2_048..DUE_BYTES).contains(&at_first),
        "{at_first}: nothing is known of the queues yet"
    );
    let spread = bytes_until_flush(&store, 500, 100);
    assert!((3 * DUE_BYTES - 2_048..3 * DUE_BYTES).contains(&spread), "{spread}");
    bytes_until_flush(&store, 1, 0);
    let dense = bytes_until_flush(&store, 1, 0);
    assert!((DUE_BYTES - 2_048..DUE_BYTES).contains(&dense), "{dense}");
}
