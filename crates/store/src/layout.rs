//! Names and places below the store's root directory; the only file that spells them.
//!
//! Everything but `ferromq/` is Java's layout. Java refuses to start over a foreign file in its directories, so
//! whatever is ours, temporary files included, lies in `ferromq/`.

use std::path::{Path, PathBuf};

use ferromq_protocol::types::{PhysicalOffset, QueueId};

/// Digits of a file name that is an offset.
const OFFSET_DIGITS: usize = 20;

/// Where the parts of one store lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
    commit_log: PathBuf,
}

impl Layout {
    /// Places below `root`; the commit log elsewhere if told so.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, commit_log: Option<PathBuf>) -> Self {
        let root = root.into();
        let commit_log = commit_log.unwrap_or_else(|| root.join("commitlog"));
        Self { root, commit_log }
    }

    /// The root itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Segments of the commit log, named by [`offset_name`].
    #[must_use]
    pub fn commit_log(&self) -> &Path {
        &self.commit_log
    }

    /// One directory per topic.
    #[must_use]
    pub fn consume_queues(&self) -> PathBuf {
        self.root.join("consumequeue")
    }

    /// Queues of topics with `queue.type=BatchCQ`, one directory per topic. Java's alone: we leave them as they are.
    #[must_use]
    pub fn batch_queues(&self) -> PathBuf {
        self.root.join("batchconsumequeue")
    }

    /// The files of one queue, named by [`offset_name`].
    #[must_use]
    pub fn consume_queue(&self, topic: &str, queue: QueueId) -> PathBuf {
        self.consume_queues().join(topic).join(queue.to_string())
    }

    /// Files of the key index, named by their time of creation.
    #[must_use]
    pub fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    /// Recovery marks.
    #[must_use]
    pub fn checkpoint(&self) -> PathBuf {
        self.root.join("checkpoint")
    }

    /// Exists while a broker runs, and afterwards unless it stopped cleanly.
    #[must_use]
    pub fn abort(&self) -> PathBuf {
        self.root.join("abort")
    }

    /// Locked while a broker runs.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The broker's tables (topics, groups, offsets).
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.join("config")
    }

    /// What is ours alone.
    #[must_use]
    pub fn ours(&self) -> PathBuf {
        self.root.join("ferromq")
    }

    /// Files on their way to a name; emptied at every start.
    #[must_use]
    pub fn staging(&self) -> PathBuf {
        self.ours().join("tmp")
    }

    /// Says that this directory is ours and which format version wrote it.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.ours().join("identity")
    }

    /// A truncation of the log that has begun and must be finished by the next start.
    #[must_use]
    pub fn truncation(&self) -> PathBuf {
        self.ours().join("truncation")
    }
}

/// Name of a file that begins at `offset` of its sequence of files.
#[must_use]
pub fn offset_name(offset: u64) -> String {
    format!("{offset:0OFFSET_DIGITS$}")
}

/// The offset behind such a name; `None` for every other name.
#[must_use]
pub fn parse_offset_name(name: &str) -> Option<u64> {
    let plain = name.len() == OFFSET_DIGITS && name.bytes().all(|digit| digit.is_ascii_digit());
    let offset: u64 = plain.then(|| name.parse().ok())??;
    i64::try_from(offset).is_ok().then_some(offset)
}

/// The position as Java's signed number.
#[must_use]
pub fn physical(position: u64) -> PhysicalOffset {
    PhysicalOffset(i64::try_from(position).unwrap_or(i64::MAX))
}

/// The position behind Java's number; negative ones are before every file and count as 0.
#[must_use]
pub fn position(physical: PhysicalOffset) -> u64 {
    u64::try_from(physical.0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_names_have_twenty_digits_and_round_trip() {
        assert_eq!(offset_name(0), "00000000000000000000");
        assert_eq!(offset_name(1_073_741_824), "00000000001073741824");
        for offset in [0, 1, 6_000_000, i64::MAX.unsigned_abs()] {
            assert_eq!(parse_offset_name(&offset_name(offset)), Some(offset));
        }
    }

    #[test]
    fn other_names_are_no_offsets() {
        for name in ["", "0", "0000000000000000000", "000000000000000000000", "0000000000000000000x"] {
            assert_eq!(parse_offset_name(name), None, "{name}");
        }
        assert_eq!(parse_offset_name("+0000000000000000001"), None);
        assert_eq!(parse_offset_name("99999999999999999999"), None, "Java reads a signed long");
    }
}
