//! Reading entries by offset: from the files, then from memory.

use std::path::PathBuf;

use ferromq_protocol::types::{PhysicalOffset, QueueOffset};

use super::entry::{ENTRY_SIZE, Entry};
use super::{NO_FILE, Queue, QueueError};

/// Whether a read may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Answer from memory and the page cache or not at all: the caller must not block.
    Never,
    /// Wait as long as it takes.
    Allowed,
}

/// Why entries cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EntriesError {
    /// The disk would have to be waited for: read again with [`Wait::Allowed`] on a thread that may block.
    #[error("the entries are not in memory")]
    WouldBlock,
    /// The entries were removed by retention or with their topic: look at the minimum offset again.
    #[error("the entries were removed")]
    Gone,
    /// Bytes of a queue file are no entry. `ferromq store check` tells more, `repair` rebuilds the queue.
    #[error("{} has no entry at index {index} (queue offset {offset})", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Entry within the file.
        index: i64,
        /// The queue offset asked for.
        offset: QueueOffset,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] QueueError),
}

/// Bytes read at once: enough for a common pull, small enough for the stack.
const CHUNK: usize = 200 * ENTRY_SIZE;

impl Queue {
    /// Appends up to `max` entries from `from` on to `out`: fewer only at the end of the queue, none at or behind it.
    ///
    /// # Errors
    /// See [`EntriesError`]. What was read before the error is in `out`.
    pub fn entries(
        &self,
        from: QueueOffset,
        max: usize,
        wait: Wait,
        out: &mut Vec<Entry>,
    ) -> Result<(), EntriesError> {
        let mut at = from.0.max(0);
        let mut left = max;
        while left > 0 {
            let in_files = {
                let tail = self.tail.lock();
                let end = self.max_offset().0;
                if at >= end {
                    return Ok(());
                }
                let pending = tail.pending();
                let first_pending = end - tail.pending_len();
                if at >= first_pending {
                    let skip = usize::try_from(at - first_pending).unwrap_or(usize::MAX);
                    out.extend(pending.iter().skip(skip).take(left));
                    return Ok(());
                }
                if tail.first_file == NO_FILE || self.place(at).0 < tail.first_file {
                    return Err(EntriesError::Gone);
                }
                first_pending - at
            };
            let count = left.min(usize::try_from(in_files).unwrap_or(usize::MAX));
            let read = self.read_file(at, count, wait, out)?;
            at += i64::try_from(read).unwrap_or(0);
            left -= read;
        }
        Ok(())
    }

    /// Reads written entries of one file, at most a chunk; at least one.
    fn read_file(
        &self,
        at: i64,
        count: usize,
        wait: Wait,
        out: &mut Vec<Entry>,
    ) -> Result<usize, EntriesError> {
        let files = self.files();
        let (number, index) = self.place(at);
        let room = usize::try_from(files.entries_per_file() - index).unwrap_or(0);
        let count = count.min(room).min(CHUNK / ENTRY_SIZE);
        let mut buffer = [0; CHUNK];
        let bytes = &mut buffer[..count * ENTRY_SIZE];
        let position = u64::try_from(index).unwrap_or(0) * ENTRY_SIZE as u64;

        let io = |error| QueueError::io("read", &files.path(self, number))(error);
        let read = match wait {
            Wait::Never => {
                let file = files.opened(self, number).ok_or(EntriesError::WouldBlock)?;
                file.read_cached_at(bytes, position).map_err(io)?.ok_or(EntriesError::WouldBlock)?
            }
            Wait::Allowed => {
                let file = files.open(self, number).map_err(|error| {
                    if error.is_not_found() && !self.has_file(number) {
                        EntriesError::Gone
                    } else {
                        EntriesError::Disk(error)
                    }
                })?;
                file.read_at(bytes, position).map_err(io)?
            }
        };
        let whole = read / ENTRY_SIZE;
        let (entries, _) = bytes[..whole * ENTRY_SIZE].as_chunks::<ENTRY_SIZE>();
        for (i, raw) in entries.iter().enumerate() {
            let entry = Entry::decode(raw);
            if !entry.is_written() {
                return Err(self.corrupt(at + i64::try_from(i).unwrap_or(0)));
            }
            out.push(entry);
        }
        if whole == 0 {
            // The file is shorter than its name promises.
            return Err(self.corrupt(at));
        }
        Ok(whole)
    }

    fn corrupt(&self, offset: i64) -> EntriesError {
        let (number, index) = self.place(offset);
        EntriesError::Corrupt { path: self.files().path(self, number), index, offset: QueueOffset(offset) }
    }

    /// One entry, waiting for the disk if need be; `None` at or behind the end.
    ///
    /// # Errors
    /// See [`EntriesError`].
    pub fn entry(&self, offset: QueueOffset) -> Result<Option<Entry>, EntriesError> {
        let mut out = Vec::with_capacity(1);
        self.entries(offset, 1, Wait::Allowed, &mut out)?;
        Ok(out.pop())
    }

    /// The first offset in `[from, to)` whose message lies at or after `physical`, with its entry; `None` if there is
    /// none. Messages of a queue lie in the log in the order of their offsets; blanks between them count for nothing.
    ///
    /// # Errors
    /// See [`EntriesError`].
    pub fn first_at_or_after(
        &self,
        physical: PhysicalOffset,
        from: QueueOffset,
        to: QueueOffset,
    ) -> Result<Option<(QueueOffset, Entry)>, EntriesError> {
        let (mut low, mut high) = (from.0, to.0);
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.next_message(middle, high)? {
                Some((offset, entry)) if entry.physical < physical => low = offset + 1,
                Some((offset, entry)) => {
                    found = Some((QueueOffset(offset), entry));
                    high = middle;
                }
                None => high = middle,
            }
        }
        Ok(found)
    }

    /// The first entry in `[from, to)` that is no blank.
    fn next_message(&self, from: i64, to: i64) -> Result<Option<(i64, Entry)>, EntriesError> {
        let mut entries = Vec::with_capacity(1);
        let mut at = from;
        let mut want = 1;
        while at < to {
            entries.clear();
            let count = usize::try_from(to - at).unwrap_or(usize::MAX).min(want);
            self.entries(QueueOffset(at), count, Wait::Allowed, &mut entries)?;
            if entries.is_empty() {
                return Ok(None);
            }
            for (i, entry) in (0..).zip(&entries) {
                if entry.is_message() {
                    return Ok(Some((at + i, *entry)));
                }
            }
            at += i64::try_from(entries.len()).unwrap_or(1);
            want = CHUNK / ENTRY_SIZE;
        }
        Ok(None)
    }
}
