//! What leaves the queues: entries whose records retention removed, and whole topics.

use std::sync::atomic::Ordering;

use ferromq_protocol::types::{PhysicalOffset, QueueOffset};

use super::entry::ENTRY_SIZE;
use super::files::remove_if_present;
use super::{EntriesError, Entry, Lies, NO_FILE, Queue, QueueError, Queues};

impl Queues {
    /// Moves the minimum of every queue behind the messages that lie before `log_start`. To be called at start and
    /// after every removal of log files, before [`Queues::remove_expired`].
    ///
    /// # Errors
    /// The first queue that cannot be read; the others are done nevertheless.
    pub fn raise_min(&self, log_start: PhysicalOffset) -> Result<(), EntriesError> {
        let mut result = Ok(());
        for queue in self.all() {
            if let Err(error) = queue.raise_min(log_start)
                && result.is_ok()
            {
                result = Err(error);
            }
        }
        result
    }

    /// Removes queue files whose messages all lie before `log_start`. The last file of a queue always stays, so that
    /// its maximum survives. Returns how many went.
    ///
    /// # Errors
    /// The first file that cannot be read or removed.
    pub fn remove_expired(&self, log_start: PhysicalOffset) -> Result<u64, EntriesError> {
        let mut removed = 0;
        for queue in self.all() {
            let _turn = self.turn.lock();
            removed += queue.remove_expired(log_start)?;
        }
        self.deletions.prune(log_start)?;
        Ok(removed)
    }

    /// Deletes a topic: its queues, their files, and its records from what a replay of the log would bring back.
    /// Records assigned before this call end up nowhere; a topic of this name that is created afterwards starts at
    /// offset 0. `false` if there are no queues of this topic.
    ///
    /// `assigned` is asked, after the queues have begun to refuse records, for the position behind every record that
    /// was assigned to them; it may wait for the holder of the commit token.
    ///
    /// # Errors
    /// The deletion could not be noted or a file not be removed. The queues refuse records all the same; delete again.
    pub fn delete_topic(
        &self,
        topic: &str,
        assigned: impl FnOnce() -> PhysicalOffset,
    ) -> Result<bool, QueueError> {
        // Whoever creates files takes turns too: those of a new topic cannot meet the old ones.
        let _turn = self.turn.lock();
        let queues = self.of_topic(topic);
        let Some(first) = queues.first() else { return Ok(false) };
        first.topic.closing.store(true, Ordering::Release);
        // Should this fail, the topic stays closed: the next start may find the deletion noted all the same, and would
        // take what was stored since for the end of a queue whose beginning is gone.
        self.deletions.note(topic, assigned())?;
        Self::drop_queues(&queues);
        for queue in &queues {
            queue.remove_all()?;
        }
        let dir = self.files.dir.join(topic);
        if self.files.disk.list(&dir).map_err(QueueError::io("list", &dir))?.is_empty() {
            self.files.remove_dir(&dir)?;
        }
        self.forget_topic(topic);
        Ok(true)
    }
}

impl Queue {
    /// See [`Queues::raise_min`]. Costs no read while the message at the minimum is known to be alive.
    pub(super) fn raise_min(&self, log_start: PhysicalOffset) -> Result<(), EntriesError> {
        let (from, to) = {
            let mut tail = self.tail.lock();
            if tail.min_lies.is_behind(log_start) {
                return Ok(());
            }
            let max = self.max.load(Ordering::Relaxed);
            if tail.end_physical <= log_start {
                self.min.store(max, Ordering::Release);
                tail.min_lies = Lies::NOWHERE;
                return Ok(());
            }
            let min = self.min.load(Ordering::Relaxed);
            let first = match tail.first_file {
                NO_FILE => min,
                number => min.max(i64::from(number) * self.files().entries_per_file()),
            };
            (QueueOffset(first), QueueOffset(max))
        };
        let found = self.first_at_or_after(log_start, from, to)?;
        let mut tail = self.tail.lock();
        if self.is_deleted() {
            return Ok(());
        }
        match found {
            Some((offset, entry)) => {
                self.min.fetch_max(offset.0, Ordering::AcqRel);
                tail.min_lies = Lies::at(entry.physical);
            }
            None => {
                self.min.fetch_max(to.0, Ordering::AcqRel);
                if self.max.load(Ordering::Relaxed) == to.0 {
                    tail.min_lies = Lies::NOWHERE;
                }
            }
        }
        Ok(())
    }

    fn remove_expired(&self, log_start: PhysicalOffset) -> Result<u64, EntriesError> {
        let mut removed = 0;
        loop {
            let (number, last) = {
                let tail = self.tail.lock();
                let written = self.max.load(Ordering::Relaxed) - tail.pending_len();
                if tail.first_file == NO_FILE || written == 0 || self.is_deleted() {
                    return Ok(removed);
                }
                (tail.first_file, self.place(written - 1).0)
            };
            if number >= last {
                return Ok(removed);
            }
            let expired = match self.is_expired(number, log_start) {
                // A table of queues that is older than the last round of retention still names it.
                Err(error) if error.is_not_found() => true,
                result => result?,
            };
            if !expired {
                return Ok(removed);
            }
            // Readers find the entries gone before the file is.
            self.tail.lock().first_file = number + 1;
            self.files().remove(self, number)?;
            removed += 1;
        }
    }

    /// Whether the last message of a full file lies before the start of the log.
    fn is_expired(&self, number: u32, log_start: PhysicalOffset) -> Result<bool, QueueError> {
        let files = self.files();
        let file = files.open(self, number)?;
        let mut bytes = [0; ENTRY_SIZE];
        let read = file
            .read_at(&mut bytes, files.file_size - ENTRY_SIZE as u64)
            .map_err(|error| QueueError::io("read", &files.path(self, number))(error))?;
        let last = Entry::decode(&bytes);
        Ok(read == ENTRY_SIZE && last.is_written() && last.physical < log_start)
    }

    /// Removes every file of a deleted queue and its directory. What is already gone is fine.
    pub(super) fn remove_all(&self) -> Result<(), QueueError> {
        let files = self.files();
        let dir = files.queue_dir(self.topic(), self.id());
        let mut names = files.disk.list(&dir).map_err(QueueError::io("list", &dir))?;
        // The newest first: a crash leaves files that follow each other.
        names.sort_unstable_by(|a, b| b.name.cmp(&a.name));
        let per_file = files.entries_per_file();
        let (first, max) = (self.tail.lock().first_file, self.max.load(Ordering::Relaxed));
        if first != NO_FILE {
            for number in first..=u32::try_from(max / per_file).unwrap_or(first) {
                files.forget(self, number);
            }
        }
        for entry in names.iter().filter(|entry| !entry.is_dir) {
            remove_if_present(files.disk.as_ref(), &dir.join(&entry.name))?;
        }
        let mut tail = self.tail.lock();
        tail.first_file = NO_FILE;
        drop(tail);
        files.remove_dir(&dir)
    }
}
