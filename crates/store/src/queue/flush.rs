//! Write-behind: entries from memory into the queue files.
//!
//! One flush runs at a time, on the write-behind thread; retention and the deletion of topics take the same turn, so
//! that files of an old and a new topic of one name never meet. Entries stay readable from memory until they are
//! written, and after an error until a later flush succeeds.

use std::sync::Arc;

use super::entry::{ENTRY_SIZE, Entry};
use super::{NO_FILE, Queue, QueueError};

/// What a flush did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Queues that had something to write.
    pub queues: u64,
    /// Entries written, without blanks before the first one of a queue.
    pub entries: u64,
}

/// Blanks are written in pieces of this many bytes.
const BLANK_CHUNK: usize = 400 * ENTRY_SIZE;

/// The buffer that one flush uses for all its queues.
#[derive(Default)]
pub(super) struct FlushBuffer(Vec<u8>);

impl Queue {
    /// Writes what is in memory. The caller holds the turn to change files.
    pub(super) fn flush(self: &Arc<Self>, buffer: &mut FlushBuffer) -> Result<u64, QueueError> {
        let mut written = 0;
        loop {
            // One file at a time, so that after an error it is known what is written.
            let (number, index_in_file, count, first_file) = {
                let mut tail = self.tail.lock();
                let pending = tail.pending();
                if pending.is_empty() || self.is_deleted() {
                    if let Some(hot) = tail.hot.as_mut() {
                        hot.listed = false;
                        hot.pending = Vec::new();
                    }
                    tail.release_if_idle();
                    return Ok(written);
                }
                let first = self.max_offset().0 - tail.pending_len();
                let (number, index_in_file) = self.place(first);
                let room = usize::try_from(self.files().entries_per_file() - index_in_file).unwrap_or(0);
                let count = pending.len().min(room);
                buffer.0.clear();
                for entry in &pending[..count] {
                    buffer.0.extend_from_slice(&entry.encode());
                }
                (number, index_in_file, count, tail.first_file)
            };
            let file = if index_in_file == 0 || first_file == NO_FILE {
                let file = self.files().create(self, number)?;
                if first_file == NO_FILE {
                    self.fill_before_first(number, &file, index_in_file)?;
                }
                file
            } else {
                self.files().open(self, number)?
            };
            let at = u64::try_from(index_in_file).unwrap_or(0) * ENTRY_SIZE as u64;
            self.files().write(self, number, &file, &buffer.0, at)?;

            let mut tail = self.tail.lock();
            if tail.first_file == NO_FILE {
                tail.first_file = number;
            }
            let hot = tail.heat();
            hot.pending.drain(..count);
            written += count as u64;
        }
    }

    /// The first file of a queue that starts in the middle: Java stops reading a file at the first zero entry, so
    /// everything before the first message is blank instead.
    pub(super) fn fill_before_first(
        self: &Arc<Self>,
        number: u32,
        file: &Arc<dyn crate::disk::DiskFile>,
        count: i64,
    ) -> Result<(), QueueError> {
        let blanks: Vec<u8> = Entry::BLANK.encode().into_iter().cycle().take(BLANK_CHUNK).collect();
        let end = usize::try_from(count).unwrap_or(0) * ENTRY_SIZE;
        let mut at = 0;
        while at < end {
            let len = (end - at).min(BLANK_CHUNK);
            self.files().write(self, number, file, &blanks[..len], at as u64)?;
            at += len;
        }
        Ok(())
    }

    /// File of an entry, and its index within the file.
    pub(super) fn place(&self, offset: i64) -> (u32, i64) {
        let per_file = self.files().entries_per_file();
        (u32::try_from(offset / per_file).unwrap_or(NO_FILE), offset % per_file)
    }
}
