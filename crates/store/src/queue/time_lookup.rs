//! From a time to an offset.
//!
//! Store times never fall along a queue, so this is a binary search that reads store times from the log. Results are
//! Java's in every corner (`ConsumeQueue.getOffsetInQueueByTime`): it first chooses a file of the queue, then searches
//! within that file only, and what comes out is clamped to the queue's bounds. That matters where times are equal over
//! the end of a file, where nothing is old enough, and where records are gone.

use ferromq_protocol::types::{PhysicalOffset, QueueOffset, TimestampMs};

use super::{EntriesError, Entry, Queue};

/// Which of several messages around a time is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Boundary {
    /// The first message stored at or after the time.
    #[default]
    Lower,
    /// The last message stored at or before the time.
    Upper,
}

/// What the search needs of the log.
pub struct StoreTimes<'a> {
    /// Where the log begins.
    pub log_start: PhysicalOffset,
    /// Store time of the record an entry points at; `None` if it cannot be read.
    pub read: &'a mut dyn FnMut(&Entry) -> Option<TimestampMs>,
}

impl StoreTimes<'_> {
    fn of(&mut self, entry: &Entry) -> Option<TimestampMs> {
        if entry.is_blank() || entry.physical < self.log_start { None } else { (self.read)(entry) }
    }
}

impl Queue {
    /// The offset that belongs to a time: within `[min_offset, max_offset]`, the maximum if everything is older. Waits
    /// for the disk.
    ///
    /// # Errors
    /// Entries cannot be read.
    pub fn offset_by_time(
        &self,
        time: TimestampMs,
        boundary: Boundary,
        mut times: StoreTimes<'_>,
    ) -> Result<QueueOffset, EntriesError> {
        let (min, max) = (self.min_offset().0, self.max_offset().0);
        let per_file = self.files().entries_per_file();
        let mut search = Search { queue: self, time, times: &mut times };
        let found = if max > 0 {
            // Entries before the minimum have no records, or are not even there.
            let files = min.min(max - 1) / per_file..=(max - 1) / per_file;
            let chosen = match boundary {
                Boundary::Lower => search.first_ending_at_or_after(files, max)?,
                Boundary::Upper => search.last_beginning_at_or_before(files, min)?,
            };
            match chosen {
                Some(file) => {
                    let first = file * per_file;
                    search.within(first, min.max(first), (first + per_file).min(max), boundary)?
                }
                None => 0,
            }
        } else {
            0
        };
        Ok(QueueOffset(found.max(min).min(max)))
    }
}

struct Search<'a, 'b> {
    queue: &'a Queue,
    time: TimestampMs,
    times: &'a mut StoreTimes<'b>,
}

type FileRange = std::ops::RangeInclusive<i64>;

impl Search<'_, '_> {
    fn entry(&self, offset: i64) -> Result<Entry, EntriesError> {
        self.queue.entry(QueueOffset(offset))?.ok_or(EntriesError::Gone)
    }

    fn time_at(&mut self, offset: i64) -> Result<Option<TimestampMs>, EntriesError> {
        let entry = self.entry(offset)?;
        Ok(self.times.of(&entry))
    }

    /// The first file whose last message is not too old; the last file in any case.
    fn first_ending_at_or_after(&mut self, files: FileRange, max: i64) -> Result<Option<i64>, EntriesError> {
        let per_file = self.queue.files().entries_per_file();
        let (mut low, mut high) = files.into_inner();
        while low < high {
            let middle = low + (high - low) / 2;
            let last = self.time_at(((middle + 1) * per_file).min(max) - 1)?;
            if last.is_some_and(|last| last >= self.time) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(Some(low))
    }

    /// The last file whose first message is not too young. A first message that is gone counts as old enough.
    fn last_beginning_at_or_before(
        &mut self,
        files: FileRange,
        min: i64,
    ) -> Result<Option<i64>, EntriesError> {
        let per_file = self.queue.files().entries_per_file();
        let (first, last) = files.into_inner();
        let (mut low, mut high) = (first, last + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let begin = middle * per_file;
            let young = begin >= min && self.time_at(begin)?.is_some_and(|begin| begin > self.time);
            if young {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok((low > first).then(|| low - 1))
    }

    /// Searches a file that begins at offset `begin`, in the part `[first, end)` of it.
    fn within(&mut self, begin: i64, first: i64, end: i64, boundary: Boundary) -> Result<i64, EntriesError> {
        if self.time_at(end - 1)?.is_none_or(|last| last < self.time) {
            return Ok(match boundary {
                Boundary::Lower => end,
                Boundary::Upper => end - 1,
            });
        }
        if first < end && self.time_at(first)?.is_some_and(|oldest| oldest > self.time) {
            return Ok(match boundary {
                Boundary::Lower => begin,
                Boundary::Upper => 0,
            });
        }
        let (mut low, mut high) = (first, end - 1);
        let (mut older, mut younger) = (None, None);
        while high >= low {
            let middle = low + (high - low) / 2;
            let entry = self.entry(middle)?;
            if entry.physical < self.times.log_start {
                older = Some(middle);
                low = middle + 1;
                continue;
            }
            match self.times.of(&entry) {
                None => return Ok(0),
                Some(time) if time == self.time => return self.end_of_run(middle, first, end, boundary),
                Some(time) if time > self.time => {
                    younger = Some(middle);
                    high = middle - 1;
                }
                Some(_) => {
                    older = Some(middle);
                    low = middle + 1;
                }
            }
        }
        Ok(match boundary {
            Boundary::Lower => younger.unwrap_or(begin),
            Boundary::Upper => older.unwrap_or(begin),
        })
    }

    /// The outermost message of the same time, towards the boundary.
    fn end_of_run(
        &mut self,
        found: i64,
        first: i64,
        end: i64,
        boundary: Boundary,
    ) -> Result<i64, EntriesError> {
        let mut at = found;
        loop {
            let next = match boundary {
                Boundary::Lower if at > first => at - 1,
                Boundary::Upper if at + 1 < end => at + 1,
                _ => return Ok(at),
            };
            if self.time_at(next)? != Some(self.time) {
                return Ok(at);
            }
            at = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Fixture, entry, fill, push};
    use super::Boundary::{Lower, Upper};
    use super::*;

    /// Messages at `1000 + 10 * (i / 4)`: runs of four with one store time, over files of ten entries.
    fn time_of(entry: &Entry) -> Option<TimestampMs> {
        Some(TimestampMs(1_000 + entry.physical.0 / 400 * 10))
    }

    fn search(queue: &Queue, time: i64, boundary: Boundary, log_start: i64) -> i64 {
        let times = StoreTimes { log_start: PhysicalOffset(log_start), read: &mut time_of };
        queue.offset_by_time(TimestampMs(time), boundary, times).unwrap().0
    }

    #[test]
    fn of_equal_times_the_outermost_is_found() {
        let fixture = Fixture::new();
        let queue = fixture.queue();
        fill(&queue, 0..26);
        fixture.queues.flush().unwrap();
        let both = |time| (search(&queue, time, Lower, 0), search(&queue, time, Upper, 0));
        assert_eq!(both(1_000), (0, 3));
        assert_eq!(both(1_010), (4, 7));
        // 8 to 11 share a time over the end of the first file.
        assert_eq!(both(1_020), (8, 11));
        assert_eq!(both(1_060), (24, 25));
    }

    #[test]
    fn between_two_times_the_boundary_decides() {
        let fixture = Fixture::new();
        let queue = fixture.queue();
        fill(&queue, 0..26);
        let both = |time| (search(&queue, time, Lower, 0), search(&queue, time, Upper, 0));
        assert_eq!(both(1_005), (4, 3));
        assert_eq!(both(1_025), (12, 11));
        assert_eq!(both(1_045), (20, 19), "between two files");
        assert_eq!(both(999), (0, 0), "everything is younger");
        assert_eq!(both(2_000), (26, 25), "everything is older");
    }

    #[test]
    fn an_empty_queue_answers_its_bounds() {
        let fixture = Fixture::new();
        let queue = fixture.queue();
        assert_eq!(search(&queue, 5, Lower, 0), 0);
        fill(&queue, 0..15);
        fixture.queues.flush().unwrap();
        fixture.queues.raise_min(PhysicalOffset(90_000)).unwrap();
        fixture.queues.remove_expired(PhysicalOffset(90_000)).unwrap();
        for boundary in [Lower, Upper] {
            assert_eq!(search(&queue, 1_010, boundary, 90_000), 15, "min == max");
        }
    }

    #[test]
    fn removed_messages_count_as_too_old() {
        let fixture = Fixture::new();
        let queue = fixture.queue();
        fill(&queue, 0..26);
        fixture.queues.flush().unwrap();
        fixture.queues.raise_min(PhysicalOffset(1_400)).unwrap();
        let both = |time| (search(&queue, time, Lower, 1_400), search(&queue, time, Upper, 1_400));
        assert_eq!(both(1_000), (14, 14));
        assert_eq!(both(1_030), (14, 15), "half of the run is gone");
        assert_eq!(both(1_040), (16, 19));
        fixture.queues.remove_expired(PhysicalOffset(1_400)).unwrap();
        assert_eq!(both(1_000), (14, 14));
        assert_eq!(both(1_045), (20, 19));
    }

    #[test]
    fn a_queue_that_starts_in_the_middle_is_searched_from_there() {
        let fixture = Fixture::new();
        let queue = fixture.queue();
        push(&queue, 15, entry(15)).unwrap();
        fill(&queue, 16..30);
        fixture.queues.flush().unwrap();
        assert_eq!(search(&queue, 900, Lower, 0), 15);
        assert_eq!(search(&queue, 900, Upper, 0), 15);
        assert_eq!(search(&queue, 1_030, Lower, 0), 15);
        assert_eq!(search(&queue, 1_055, Upper, 0), 23);
    }

    #[test]
    fn an_unreadable_record_gives_the_minimum() {
        let fixture = Fixture::new();
        let queue = fixture.queue();
        fill(&queue, 0..9);
        let mut read = |entry: &Entry| (entry.physical.0 != 400).then(|| time_of(entry)).flatten();
        let times = StoreTimes { log_start: PhysicalOffset(0), read: &mut read };
        assert_eq!(queue.offset_by_time(TimestampMs(1_015), Lower, times).unwrap().0, 0);
    }
}
