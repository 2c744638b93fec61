//! What a queue costs that nobody writes, reads or waits for: 100,000 of them are the usual, a million must be possible.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ferromq_protocol::types::{PhysicalOffset, QueueId, QueueOffset};
use ferromq_store::disk::{Access, RealDisk};
use ferromq_store::queue::{Entry, Notify, QueueConfig, Queues, TagFilter, Woken};

/// Counts the bytes that are in use.
struct Counting;

static IN_USE: AtomicU64 = AtomicU64::new(0);

#[expect(unsafe_code, reason = "an allocator can only be written with it; it passes everything on")]
// SAFETY: every call goes to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn in_use() -> u64 {
    IN_USE.load(Ordering::Relaxed)
}

/// Bytes per queue of 100,000 that were used and are idle again.
fn bytes_per_queue(queues_per_topic: i32) -> u64 {
    const QUEUES: i32 = 100_000;
    let root = tempfile::tempdir().unwrap();
    let before = in_use();
    let queues = Queues::new(&config(root.path(), 64), Arc::new(RealDisk::default()));
    for topic in 0..QUEUES / queues_per_topic {
        let name = format!("topic-of-orders-{topic:06}");
        for id in 0..queues_per_topic {
            let _ = queues.get(&name, QueueId(id));
        }
    }
    let count = u64::try_from(QUEUES).unwrap();
    assert_eq!(queues.count() as u64, count);
    (in_use() - before) / count
}

#[test]
fn an_idle_queue_costs_at_most_200_bytes() {
    for queues_per_topic in [8, 4, 1] {
        let bytes = bytes_per_queue(queues_per_topic);
        println!("{queues_per_topic} queues per topic: {bytes} bytes each");
        assert!(bytes <= 200, "{bytes} bytes with {queues_per_topic} queues per topic");
    }
    a_queue_that_was_busy_becomes_idle_again();
    a_waiter_costs_at_most_400_bytes();
}

struct Nobody;

impl Notify for Nobody {
    fn notify(&self, _: u64) {}
}

fn a_waiter_costs_at_most_400_bytes() {
    const WAITERS: u64 = 100_000;
    let root = tempfile::tempdir().unwrap();
    let queues = Queues::new(&config(root.path(), 64), Arc::new(RealDisk::default()));
    let target: Arc<dyn Notify> = Arc::new(Nobody);
    // Alone on its queue is the worst; most share one.
    let queues: Vec<_> =
        (0..WAITERS).map(|i| queues.get("held", QueueId(i32::try_from(i).unwrap()))).collect();
    let mut held = Vec::with_capacity(queues.len());
    let filter = TagFilter::Hashes([1, 2].into());
    let before = in_use();
    held.extend(
        queues
            .iter()
            .map(|queue| queue.watch(queue.max_offset(), filter.clone(), Arc::clone(&target), 1).unwrap()),
    );
    let bytes = (in_use() - before) / WAITERS;
    println!("a waiter alone on its queue: {bytes} bytes");
    assert!(bytes <= 400, "{bytes} bytes");
    drop(held);
    assert!(in_use() < before, "and nothing once it has gone");
}

fn config(root: &Path, open_files_max: usize) -> QueueConfig {
    QueueConfig {
        dir: root.join("consumequeue"),
        batch_dir: root.join("batchconsumequeue"),
        side_dir: root.join("ferromq"),
        file_size: 6_000_000,
        open_files_max,
        access: Access::ReadWrite,
    }
}

fn a_queue_that_was_busy_becomes_idle_again() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("ferromq/tmp")).unwrap();
    let queues = Queues::new(&config(root.path(), 1), Arc::new(RealDisk::default()));
    let queue = queues.get("busy", QueueId(0));
    let other = queues.get("other", QueueId(0));
    let use_it = |from: i64| {
        for i in from..from + 1_000 {
            let entry = Entry { physical: PhysicalOffset(i * 10), size: 10, tag_code: 0 };
            queue.push(QueueOffset(i), entry, &mut Woken::default()).unwrap();
        }
        drop(queue.watch(queue.max_offset(), TagFilter::All, Arc::new(Nobody), 1).unwrap());
        queues.flush().unwrap();
        queues.sync().unwrap();
        // Takes the one descriptor that may stay open.
        let entry = Entry { physical: PhysicalOffset(from), size: 1, tag_code: 0 };
        other.push(QueueOffset(from / 1_000), entry, &mut Woken::default()).unwrap();
        queues.flush().unwrap();
        queues.sync().unwrap();
    };
    use_it(0);
    let before = in_use();
    use_it(1_000);
    let after = in_use();
    assert!(after <= before, "{} bytes more than before", after.saturating_sub(before));
}
