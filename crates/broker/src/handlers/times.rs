//! Store times of messages, by topic and queue. May wait for the disk.

use ferromq_protocol::types::{QueueId, QueueOffset, TimestampMs};
use ferromq_store::Store;
use ferromq_store::queue::{Boundary, EntriesError};

/// When the message at an offset of a queue was stored; `None` if it is not there.
pub(crate) fn at_offset(
    store: &Store,
    topic: &str,
    queue_id: QueueId,
    offset: QueueOffset,
) -> Result<Option<TimestampMs>, EntriesError> {
    let queue = store.find_queue(topic, queue_id);
    queue.map_or(Ok(None), |queue| store.store_time(&queue, offset))
}

/// The offset that belongs to a time; 0 for a queue that does not exist.
pub(crate) fn offset_by_time(
    store: &Store,
    topic: &str,
    queue_id: QueueId,
    time: TimestampMs,
    boundary: Boundary,
) -> Result<QueueOffset, EntriesError> {
    let queue = store.find_queue(topic, queue_id);
    queue.map_or(Ok(QueueOffset(0)), |queue| store.offset_by_time(&queue, time, boundary))
}
