//! When messages were stored, and which message was stored when.

use ferromq_protocol::record;
use ferromq_protocol::types::{PhysicalOffset, QueueOffset, TimestampMs};

use crate::engine::Engine;
use crate::layout::physical;
use crate::queue::{Boundary, EntriesError, Entry, Queue, StoreTimes, Wait};

impl Engine {
    /// See [`crate::Store::offset_by_time`].
    pub(crate) fn offset_by_time(
        &self,
        queue: &Queue,
        time: TimestampMs,
        boundary: Boundary,
    ) -> Result<QueueOffset, EntriesError> {
        let mut read = |entry: &Entry| self.store_time_of(entry);
        let log_start = physical(self.log.min_position());
        queue.offset_by_time(time, boundary, StoreTimes { log_start, read: &mut read })
    }

    /// See [`crate::Store::store_time`].
    pub(crate) fn store_time(
        &self,
        queue: &Queue,
        offset: QueueOffset,
    ) -> Result<Option<TimestampMs>, EntriesError> {
        if offset < queue.min_offset() {
            return Ok(None);
        }
        match queue.entry(offset) {
            Ok(entry) => Ok(entry.and_then(|entry| self.store_time_of(&entry))),
            Err(EntriesError::Gone) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// See [`crate::Store::earliest_store_time`].
    pub(crate) fn earliest_store_time(&self) -> Option<TimestampMs> {
        self.head_at(physical(self.log.min_position())).map(|head| head.store_timestamp)
    }

    fn store_time_of(&self, entry: &Entry) -> Option<TimestampMs> {
        let head = self.head_at(entry.physical).filter(|head| head.total_size == entry.size)?;
        Some(head.store_timestamp)
    }

    /// The beginning of the record at a position; `None` if there is none that can be read.
    fn head_at(&self, at: PhysicalOffset) -> Option<record::Head> {
        let mut bytes = Vec::with_capacity(record::HEAD_LEN);
        self.read_bytes(at, record::HEAD_LEN, Wait::Allowed, &mut bytes).ok()?;
        record::head(bytes.first_chunk()?).filter(|head| head.physical == at)
    }
}
