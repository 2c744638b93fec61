//! Store times of messages, read from the log. May wait for the disk.

use ferromq_protocol::record;
use ferromq_protocol::types::{QueueId, QueueOffset, TimestampMs};
use ferromq_store::queue::{Boundary, EntriesError, Entry, StoreTimes, Wait};
use ferromq_store::{ReadError, Store};

/// When the message at an offset of a queue was stored; `None` if it is not there.
pub(crate) fn at_offset(
    store: &Store,
    topic: &str,
    queue_id: QueueId,
    offset: QueueOffset,
) -> Result<Option<TimestampMs>, ReadError> {
    let Some(queue) = store.find_queue(topic, queue_id) else { return Ok(None) };
    if offset < queue.min_offset() || offset >= queue.max_offset() {
        return Ok(None);
    }
    let mut entries = Vec::new();
    match queue.entries(offset, 1, Wait::Allowed, &mut entries) {
        Ok(()) => {}
        Err(EntriesError::Gone) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    Ok(entries.first().and_then(|entry| of_entry(store, entry, &mut Vec::new())))
}

/// The offset that belongs to a time; 0 for a queue that does not exist.
pub(crate) fn offset_by_time(
    store: &Store,
    topic: &str,
    queue_id: QueueId,
    time: TimestampMs,
    boundary: Boundary,
) -> Result<QueueOffset, ReadError> {
    let Some(queue) = store.find_queue(topic, queue_id) else { return Ok(QueueOffset(0)) };
    let mut scratch = Vec::new();
    let mut read = |entry: &Entry| of_entry(store, entry, &mut scratch);
    let times = StoreTimes { log_start: store.min_physical(), read: &mut read };
    Ok(queue.offset_by_time(time, boundary, times)?)
}

fn of_entry(store: &Store, entry: &Entry, scratch: &mut Vec<u8>) -> Option<TimestampMs> {
    scratch.clear();
    // A record that cannot be read has no time; reading it as a message tells why.
    store.record_at(entry.physical, Wait::Allowed, scratch).ok()?;
    record::decode(scratch).ok().map(|record| record.store_timestamp)
}
