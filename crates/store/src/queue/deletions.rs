//! Topics that were deleted while records of theirs are still in the log.
//!
//! The log outlives a topic: replaying it after a crash would bring the topic back, and if a topic of the same name was
//! created meanwhile, mix its messages with the old ones. So a deletion is noted, and synced, before the first file
//! goes: records of the topic below the noted position belong to nobody.
//!
//! `<root>/ferromq/deleted-topics`, one line each: position, space, topic. A line is appended and synced; lines whose
//! records have left the log are dropped by rewriting the file. A torn last line was never acknowledged.

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

use ferromq_protocol::types::PhysicalOffset;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::QueueError;
use super::files::Files;
use crate::disk::{Access, Disk};

const NAME: &str = "deleted-topics";

/// The deletions that replaying the log has to respect.
pub(super) struct Deletions {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    staging: PathBuf,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    before: FxHashMap<String, PhysicalOffset>,
    /// Bytes of whole lines in the file.
    len: u64,
    /// Lines in the file; more than `before` has when a topic was deleted repeatedly.
    lines: usize,
}

impl Deletions {
    pub(super) fn new(files: &Files) -> Self {
        Self {
            disk: Arc::clone(&files.disk),
            path: files.side_dir.join(NAME),
            staging: files.staging.join(NAME),
            known: Mutex::default(),
        }
    }

    /// Reads the file; an absent one is empty.
    pub(super) fn load(&self) -> Result<(), QueueError> {
        let text = match self.disk.open(&self.path, Access::Read) {
            Ok(file) => {
                let len = file.len().map_err(QueueError::io("measure", &self.path))?;
                let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
                let read = file.read_at(&mut bytes, 0).map_err(QueueError::io("read", &self.path))?;
                bytes.truncate(read);
                bytes
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(QueueError::io("open", &self.path)(error)),
        };
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let mut known = Known { len: whole as u64, ..Known::default() };
        for line in text[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            known.lines += 1;
            let parsed = str::from_utf8(line).ok().and_then(|line| {
                let (position, topic) = line.split_once(' ')?;
                Some((topic.to_owned(), PhysicalOffset(position.parse().ok()?)))
            });
            match parsed {
                Some((topic, position)) => known.add(topic, position),
                None => {
                    tracing::warn!(path = %self.path.display(), "unreadable line in the list of deleted topics")
                }
            }
        }
        *self.known.lock() = known;
        Ok(())
    }

    /// Whether a record of this topic at this position belongs to a deleted one.
    pub(super) fn covers(&self, topic: &str, physical: PhysicalOffset) -> bool {
        self.known.lock().before.get(topic).is_some_and(|before| physical < *before)
    }

    /// Topics with a deletion.
    pub(super) fn topics(&self) -> Vec<String> {
        self.known.lock().before.keys().cloned().collect()
    }

    /// Records of this topic before this position belong to a deleted one.
    pub(super) fn before(&self, topic: &str) -> PhysicalOffset {
        self.known.lock().before.get(topic).copied().unwrap_or_default()
    }

    /// Notes a deletion; durable when it returns.
    pub(super) fn note(&self, topic: &str, before: PhysicalOffset) -> Result<(), QueueError> {
        let mut known = self.known.lock();
        let line = format!("{before} {topic}\n");
        if known.len == 0 {
            let earlier = known.before.get(topic).copied();
            known.add(topic.to_owned(), before);
            let noted = self.rewrite(&mut known);
            if noted.is_err() {
                // Or the next rewrite would note what was reported as failed.
                match earlier {
                    Some(earlier) => known.before.insert(topic.to_owned(), earlier),
                    None => known.before.remove(topic),
                };
            }
            return noted;
        }
        let file =
            self.disk.open(&self.path, Access::ReadWrite).map_err(QueueError::io("open", &self.path))?;
        file.write_at(&[IoSlice::new(line.as_bytes())], known.len)
            .map_err(QueueError::io("write", &self.path))?;
        file.sync_data().map_err(QueueError::io("sync", &self.path))?;
        known.len += line.len() as u64;
        known.lines += 1;
        known.add(topic.to_owned(), before);
        Ok(())
    }

    /// Writes the file anew, durably: after a crash what was read may be in the page cache alone, and a topic that is
    /// given up for it must not come back.
    pub(super) fn renew(&self) -> Result<(), QueueError> {
        let mut known = self.known.lock();
        if known.before.is_empty() { Ok(()) } else { self.rewrite(&mut known) }
    }

    /// The log ends at `end`: a deletion that was noted behind it covered records that are gone, and must not cover those
    /// that take their place.
    pub(super) fn limit(&self, end: PhysicalOffset) -> Result<(), QueueError> {
        let mut known = self.known.lock();
        if known.before.values().all(|before| *before <= end) {
            return Ok(());
        }
        for before in known.before.values_mut() {
            *before = end.min(*before);
        }
        self.rewrite(&mut known)
    }

    /// Forgets deletions whose records are all gone from a log that starts at `min`, once that halves the file.
    pub(super) fn prune(&self, min: PhysicalOffset) -> Result<(), QueueError> {
        let mut known = self.known.lock();
        let live = known.before.values().filter(|before| **before > min).count();
        if known.lines == 0 || known.lines < 2 * live {
            return Ok(());
        }
        known.before.retain(|_, before| *before > min);
        self.rewrite(&mut known)
    }

    /// Replaces the file by what is known.
    fn rewrite(&self, known: &mut Known) -> Result<(), QueueError> {
        // Should this fail half way, nobody knows where a line could be appended: the next one is a rewrite again.
        known.len = 0;
        let text: String = known.before.iter().map(|(topic, before)| format!("{before} {topic}\n")).collect();
        let file = self.disk.create_small(&self.staging).map_err(QueueError::io("create", &self.staging))?;
        file.write_at(&[IoSlice::new(text.as_bytes())], 0).map_err(QueueError::io("write", &self.staging))?;
        file.sync_data().map_err(QueueError::io("sync", &self.staging))?;
        self.disk.rename(&self.staging, &self.path).map_err(QueueError::io("rename", &self.staging))?;
        if let Some(dir) = self.path.parent() {
            self.disk.sync_dir(dir).map_err(QueueError::io("sync", dir))?;
        }
        known.len = text.len() as u64;
        known.lines = known.before.len();
        Ok(())
    }
}

impl Known {
    fn add(&mut self, topic: String, position: PhysicalOffset) {
        let before = self.before.entry(topic).or_insert(position);
        *before = position.max(*before);
    }
}
