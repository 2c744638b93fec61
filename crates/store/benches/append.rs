//! Nanoseconds from the bytes of a message to its confirmation, on the disk of `$TMPDIR`. `cargo bench -p ferromq-store`.
//!
//! One thread sends and commits, as a connection does; the loops of the store run beside it. Each line is the best of
//! several rounds, since other programs only ever make it slower.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench stops where a test would fail")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use ferromq_protocol::types::{Host, PhysicalOffset, QueueId, TimestampMs};
use ferromq_store::clock::SystemClock;
use ferromq_store::disk::RealDisk;
use ferromq_store::{Environment, FlushMode, Outcome, RecordParts, Store, StoreConfig};

const HOST: Host = Host { ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), port: 10911 };
const PROPERTIES: &[u8] =
    b"KEYS\x01key-0000017\x02UNIQ_KEY\x01AC11000100002A139B5F5A5B00000000\x02TAGS\x01TagA\x02";
const QUEUES: u64 = 8;

struct Bell(SyncSender<()>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        // One ring is enough.
        let _ = self.0.try_send(());
    }
}

fn bench(mode: FlushMode, per_batch: u64, body: &[u8], batches: u64) {
    const ROUNDS: usize = 5;
    let root = tempfile::tempdir().unwrap();
    let config = StoreConfig { flush_mode: mode, segment_size: 256 << 20, ..StoreConfig::at(root.path()) };
    let environment =
        Environment { disk: Arc::new(RealDisk::default()), clock: Arc::new(SystemClock::default()) };
    let store = Store::open(config, environment).unwrap();
    store.start().unwrap();
    let port = store.port();
    let queues: Vec<_> = (0..8).map(|id| store.queue("orders", QueueId(id))).collect();
    let (sender, bell): (_, Receiver<()>) = mpsc::sync_channel(1);
    let waker = Waker::from(Arc::new(Bell(sender)));
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..batches {
            let mut batch = port.batch();
            for tag in 0..per_batch {
                let parts = RecordParts {
                    queue: &queues[usize::try_from(tag % QUEUES).unwrap()],
                    flag: 0,
                    sys_flag: 0,
                    born_timestamp: TimestampMs(1_700_000_000_000),
                    born_host: HOST,
                    store_host: HOST,
                    reconsume_times: 0,
                    prepared_transaction_offset: PhysicalOffset(0),
                    body,
                    properties: PROPERTIES,
                    wait: true,
                    tag,
                };
                batch.push(&parts).unwrap();
            }
            port.submit(batch).unwrap();
            store.commit_inline();
            let batch = loop {
                match port.poll_done(&Context::from_waker(&waker)) {
                    Poll::Ready(batch) => break batch,
                    Poll::Pending => bell.recv().unwrap(),
                }
            };
            assert!(batch.answers().iter().all(|(_, outcome)| matches!(outcome, Outcome::Confirmed(_))));
            port.recycle(batch);
        }
        let records = u32::try_from(batches * per_batch).unwrap();
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(records));
    }
    println!("{mode:?}, {:>5} B, {per_batch:>3} per batch {best:12.0} ns per record", body.len());
    assert!(store.stop().clean);
}

fn main() {
    // `cargo test --benches` asks for a list; there is nothing to test here.
    if std::env::args().any(|arg| arg == "--test" || arg == "--list") {
        return;
    }
    let (small, usual) = ([7; 128], [7; 1_024]);
    bench(FlushMode::Async, 1, &usual, 20_000);
    bench(FlushMode::Async, 64, &usual, 1_000);
    bench(FlushMode::Async, 64, &small, 2_000);
    bench(FlushMode::Sync, 1, &usual, 300);
    bench(FlushMode::Sync, 64, &usual, 100);
}
