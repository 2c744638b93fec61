//! The recovery marks of a store: Java's `checkpoint` file, 4096 bytes, zero padded.
//!
//! | offset | field |
//! |---|---|
//! | 0 | store time of the last record below the durable position |
//! | 8 | store time of the last record whose queue entries are durable |
//! | 16 | end time of the last full and synced index file |
//! | 24 | durable position of the leader, kept as found |
//! | 32 | confirmed position of a replicated store, otherwise 0 |
//! | 40 | L: a position such that the queue entries of all records below it are durable |
//!
//! Whoever writes captures L and the times first, then writes and syncs what they promise, then writes this file:
//! Java rebuilds queues from L on only, and silently puts an entry in the wrong place when one below is missing.
//! A crash may mix old and new fields, so each one has to hold on its own; none ever goes back while the store runs.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferromq_protocol::types::{PhysicalOffset, TimestampMs};

use crate::disk::{Access, Disk, DiskFile, Fill};

/// Length of the file.
pub const CHECKPOINT_LEN: usize = 4096;
const FIELDS: usize = 6;

/// The six fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct StoreCheckpoint {
    /// `physicMsgTimestamp`.
    pub log_time: TimestampMs,
    /// `logicsMsgTimestamp`.
    pub queue_time: TimestampMs,
    /// `indexMsgTimestamp`.
    pub index_time: TimestampMs,
    /// `masterFlushedOffset`.
    pub leader_durable: PhysicalOffset,
    /// `confirmPhyOffset`.
    pub confirmed: PhysicalOffset,
    /// `logicsPhysicalOffset`: L.
    pub queue_position: PhysicalOffset,
}

impl StoreCheckpoint {
    /// The first bytes of the file; zeros follow.
    #[must_use]
    pub fn encode(&self) -> [u8; FIELDS * 8] {
        let fields = [
            self.log_time.0,
            self.queue_time.0,
            self.index_time.0,
            self.leader_durable.0,
            self.confirmed.0,
            self.queue_position.0,
        ];
        let mut bytes = [0; FIELDS * 8];
        for (place, field) in bytes.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        bytes
    }

    /// Reads the fields; what a short file lacks is 0, which every field may always be.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let field = |index: usize| {
            let bytes = bytes.get(index * 8..)?.first_chunk::<8>()?;
            Some(i64::from_be_bytes(*bytes))
        };
        let field = |index| field(index).unwrap_or(0);
        Self {
            log_time: TimestampMs(field(0)),
            queue_time: TimestampMs(field(1)),
            index_time: TimestampMs(field(2)),
            leader_durable: PhysicalOffset(field(3)),
            confirmed: PhysicalOffset(field(4)),
            queue_position: PhysicalOffset(field(5)),
        }
    }

    /// Each field as far as either side has come.
    #[must_use]
    fn advanced_to(&self, next: &Self) -> Self {
        Self {
            log_time: self.log_time.max(next.log_time),
            queue_time: self.queue_time.max(next.queue_time),
            index_time: self.index_time.max(next.index_time),
            leader_durable: self.leader_durable.max(next.leader_durable),
            confirmed: self.confirmed.max(next.confirmed),
            queue_position: self.queue_position.max(next.queue_position),
        }
    }
}

/// The file, and what it says.
pub struct CheckpointFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    staging: PathBuf,
    file: Option<Arc<dyn DiskFile>>,
    current: StoreCheckpoint,
}

impl CheckpointFile {
    /// Reads the file; an absent one says 0 everywhere.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn load(disk: Arc<dyn Disk>, path: &Path, staging: &Path) -> io::Result<Self> {
        let mut checkpoint = Self {
            path: path.to_owned(),
            staging: staging.to_owned(),
            file: None,
            current: StoreCheckpoint::default(),
            disk,
        };
        if checkpoint.disk.metadata(path)?.is_some() {
            let file = checkpoint.disk.open(path, Access::ReadWrite)?;
            let mut bytes = [0; FIELDS * 8];
            let read = file.read_at(&mut bytes, 0)?;
            checkpoint.current = StoreCheckpoint::decode(&bytes[..read]);
            checkpoint.file = Some(file);
        }
        Ok(checkpoint)
    }

    /// What a file says; an absent one says 0 everywhere.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn read(disk: &dyn Disk, path: &Path) -> io::Result<StoreCheckpoint> {
        if disk.metadata(path)?.is_none() {
            return Ok(StoreCheckpoint::default());
        }
        let mut bytes = [0; FIELDS * 8];
        let read = disk.open(path, Access::Read)?.read_at(&mut bytes, 0)?;
        Ok(StoreCheckpoint::decode(&bytes[..read]))
    }

    /// What the file says.
    #[must_use]
    pub fn current(&self) -> StoreCheckpoint {
        self.current
    }

    /// Writes and syncs the fields that advanced; older values are left as they are. Everything they promise must be
    /// durable already.
    ///
    /// # Errors
    /// The file may then hold old and new fields in any mixture, all of them true.
    pub fn advance(&mut self, next: &StoreCheckpoint) -> io::Result<()> {
        self.write(&self.current.advanced_to(next))
    }

    /// Writes and syncs the fields as given, also where they go back: recovery and truncation shortened the log.
    ///
    /// # Errors
    /// As [`CheckpointFile::advance`].
    pub fn write(&mut self, fields: &StoreCheckpoint) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => self.create()?,
        };
        file.write_at(&[IoSlice::new(&fields.encode())], 0)?;
        file.sync_data()?;
        self.current = *fields;
        Ok(())
    }

    fn create(&mut self) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.create(&self.path, CHECKPOINT_LEN as u64, Fill::Reserved, &self.staging)?;
        self.disk.sync_dir(self.path.parent().unwrap_or(Path::new(".")))?;
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn example() -> StoreCheckpoint {
        StoreCheckpoint {
            log_time: TimestampMs(1_700_000_000_001),
            queue_time: TimestampMs(1_700_000_000_002),
            index_time: TimestampMs(3),
            leader_durable: PhysicalOffset(4),
            confirmed: PhysicalOffset(5),
            queue_position: PhysicalOffset(6),
        }
    }

    fn load(dir: &tempfile::TempDir) -> CheckpointFile {
        CheckpointFile::load(Arc::new(RealDisk::default()), &dir.path().join("checkpoint"), dir.path())
            .unwrap()
    }

    #[test]
    fn fields_lie_where_java_puts_them() {
        let bytes = example().encode();
        let at = |offset: usize| i64::from_be_bytes(bytes[offset..offset + 8].try_into().unwrap());
        let found: Vec<i64> = [0, 8, 16, 24, 32, 40].map(at).to_vec();
        assert_eq!(found, [1_700_000_000_001, 1_700_000_000_002, 3, 4, 5, 6]);
        assert_eq!(StoreCheckpoint::decode(&bytes), example());
    }

    #[test]
    fn a_short_file_says_zero_where_it_ends() {
        // Older versions know five fields.
        let before_5_5 = StoreCheckpoint { queue_position: PhysicalOffset(0), ..example() };
        assert_eq!(StoreCheckpoint::decode(&example().encode()[..40]), before_5_5);
        assert_eq!(StoreCheckpoint::decode(&[]), StoreCheckpoint::default());
    }

    #[test]
    fn the_file_has_javas_length_and_survives_a_reload() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(&dir).current(), StoreCheckpoint::default());
        load(&dir).advance(&example()).unwrap();
        assert_eq!(std::fs::read(dir.path().join("checkpoint")).unwrap().len(), CHECKPOINT_LEN);
        assert_eq!(load(&dir).current(), example());
    }

    #[test]
    fn advancing_never_takes_a_field_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = load(&dir);
        file.advance(&example()).unwrap();
        let mixed = StoreCheckpoint {
            log_time: TimestampMs(1),
            queue_position: PhysicalOffset(700),
            ..StoreCheckpoint::default()
        };
        file.advance(&mixed).unwrap();
        let expected = StoreCheckpoint { queue_position: PhysicalOffset(700), ..example() };
        assert_eq!(file.current(), expected);
        assert_eq!(load(&dir).current(), expected);
        file.write(&example()).unwrap();
        assert_eq!(load(&dir).current(), example());
    }
}
