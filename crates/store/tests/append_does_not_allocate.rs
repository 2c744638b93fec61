//! A record goes from its sender's bytes to its confirmation without an allocation.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use common::{commit, config, parts, queue, real};
use ferromq_store::queue::Queue;
use ferromq_store::{Loop, Outcome, Port, Store, StoreConfig};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts the allocations of each thread.
struct Counting;

#[expect(unsafe_code, reason = "an allocator can only be written with it; it passes everything on")]
// SAFETY: every call goes to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Sends batches of eight records with a tag and two keys; what comes back was confirmed.
fn send(store: &Store, port: &Port, orders: &Arc<Queue>, batches: usize) {
    const PROPERTIES: &[u8] =
        b"KEYS\x01one two\x02UNIQ_KEY\x01AC11000100002A139B5F5A5B00000000\x02TAGS\x01TagA\x02";
    for _ in 0..batches {
        let mut batch = port.batch();
        for tag in 0..8 {
            batch.push(&parts(orders, &[7; 1_000], PROPERTIES, tag)).unwrap();
        }
        port.submit(batch).unwrap();
        commit(store);
        let Poll::Ready(batch) = port.poll_done(&Context::from_waker(Waker::noop())) else {
            panic!("no answer");
        };
        assert!(batch.answers().iter().all(|(_, outcome)| matches!(outcome, Outcome::Confirmed(_))));
        port.recycle(batch);
    }
}

#[test]
fn a_confirmed_record_costs_no_allocation() {
    let root = tempfile::tempdir().unwrap();
    let large = StoreConfig {
        segment_size: 64 << 20,
        queue_file_size: 6_000_000,
        index_slots: 5_000,
        index_entries: 1_000_000,
        ..config(root.path())
    };
    let store = Store::open(large, real()).unwrap();
    store.follow().unwrap();
    store.lead();
    let (port, orders) = (store.port(), queue(&store, "orders", 0));
    // Everything that is kept between batches takes its size; entries of queue and index have gone to their files once.
    for _ in 0..2 {
        send(&store, &port, &orders, 1_000);
        store.step(Loop::WriteBehind);
        store.step(Loop::Sync);
    }

    let before = ALLOCATIONS.get();
    send(&store, &port, &orders, 500);
    let allocations = ALLOCATIONS.get() - before;
    // Entries that wait for the write-behind lie in buffers that double as they grow.
    assert!(allocations <= 40, "{allocations} allocations for 4,000 records");
}
