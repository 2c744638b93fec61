//! Layout of an index file: header, slot table, entries.
//!
//! Header, 40 bytes:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | store time of the first message |
//! | 8 | 8 | store time of the last message |
//! | 16 | 8 | physical offset of the first message |
//! | 24 | 8 | physical offset of the last message |
//! | 32 | 4 | slots in use |
//! | 36 | 4 | entries, counting the unused entry 0 |
//!
//! Slots follow, 4 bytes each: number of the newest entry of the slot's chain, 0 for none. Then the entries:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | hash of the key |
//! | 4 | 8 | physical offset of the message |
//! | 12 | 4 | store time in seconds since that of the first message |
//! | 16 | 4 | the previous entry of the chain, 0 for none |
//!
//! The numbers of slots and entries are configuration; a file does not say with which it was written.

use ferromq_protocol::types::{PhysicalOffset, TimestampMs};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Bytes of the header.
pub(crate) const HEADER_SIZE: usize = 40;
/// Bytes of an entry.
pub(crate) const ENTRY_SIZE: usize = 20;
/// Bytes of a slot.
pub(crate) const SLOT_SIZE: usize = 4;

/// The index counts in seconds.
pub(crate) const MS_PER_SECOND: i64 = 1_000;

/// Numbers of slots and entries of every file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// `maxHashSlotNum`.
    pub slots: u32,
    /// `maxIndexNum`. One less fits, because entry 0 stays unused.
    pub entries: u32,
}

impl Shape {
    /// Length of a file.
    #[must_use]
    pub fn file_len(self) -> u64 {
        self.entry_at(self.entries)
    }

    pub(crate) fn slot_of(self, hash: u32) -> u32 {
        hash % self.slots.max(1)
    }

    pub(crate) fn slot_at(self, slot: u32) -> u64 {
        HEADER_SIZE as u64 + u64::from(slot) * SLOT_SIZE as u64
    }

    pub(crate) fn entry_at(self, number: u32) -> u64 {
        self.slot_at(self.slots) + u64::from(number) * ENTRY_SIZE as u64
    }
}

/// The header of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Store time of the first message.
    pub begin_time: TimestampMs,
    /// Store time of the last message.
    pub end_time: TimestampMs,
    /// Position of the first message.
    pub begin_physical: PhysicalOffset,
    /// Position of the last message.
    pub end_physical: PhysicalOffset,
    /// Slots that have a chain.
    pub used_slots: u32,
    /// Number of the next entry; 1 in an empty file.
    pub count: u32,
}

impl Header {
    /// Of the first file of an index.
    pub(crate) const EMPTY: Self = Self {
        begin_time: TimestampMs(0),
        end_time: TimestampMs(0),
        begin_physical: PhysicalOffset(0),
        end_physical: PhysicalOffset(0),
        used_slots: 0,
        count: 1,
    };

    /// Of the file that follows a full one: Java lets it begin where the last one ended.
    pub(crate) fn following(self) -> Self {
        Self {
            begin_time: self.end_time,
            end_time: self.end_time,
            begin_physical: self.end_physical,
            end_physical: self.end_physical,
            ..Self::EMPTY
        }
    }

    /// The bytes on disk.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        bytes[0..8].copy_from_slice(&self.begin_time.0.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.end_time.0.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.begin_physical.0.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.end_physical.0.to_be_bytes());
        bytes[32..36].copy_from_slice(&self.used_slots.to_be_bytes());
        bytes[36..40].copy_from_slice(&self.count.to_be_bytes());
        bytes
    }

    /// Reads what [`Header::encode`] wrote. A count that is not positive is that of an empty file.
    #[must_use]
    pub fn decode(bytes: &[u8; HEADER_SIZE]) -> Self {
        let (longs, _) = bytes.as_chunks::<8>();
        let long = |index: usize| i64::from_be_bytes(longs[index]);
        let (ints, _) = bytes.as_chunks::<4>();
        let int = |index: usize| i32::from_be_bytes(ints[index]);
        Self {
            begin_time: TimestampMs(long(0)),
            end_time: TimestampMs(long(1)),
            begin_physical: PhysicalOffset(long(2)),
            end_physical: PhysicalOffset(long(3)),
            used_slots: u32::try_from(int(8)).unwrap_or(0),
            count: u32::try_from(int(9)).unwrap_or(0).max(1),
        }
    }
}

/// One key of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// Hash of the key.
    pub hash: u32,
    /// Position of the message.
    pub physical: PhysicalOffset,
    /// Seconds between the first message of the file and this one.
    pub seconds: i32,
    /// The entry before this one in the chain of its slot, 0 for none.
    pub previous: u32,
}

impl KeyEntry {
    /// The bytes on disk.
    #[must_use]
    pub fn encode(&self) -> [u8; ENTRY_SIZE] {
        let mut bytes = [0; ENTRY_SIZE];
        bytes[0..4].copy_from_slice(&self.hash.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.physical.0.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.seconds.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.previous.to_be_bytes());
        bytes
    }

    /// Reads what [`KeyEntry::encode`] wrote; a negative link ends the chain.
    #[must_use]
    pub fn decode(bytes: &[u8; ENTRY_SIZE]) -> Self {
        let [h0, h1, h2, h3, p0, p1, p2, p3, p4, p5, p6, p7, s0, s1, s2, s3, l0, l1, l2, l3] = *bytes;
        Self {
            hash: u32::from_be_bytes([h0, h1, h2, h3]),
            physical: PhysicalOffset(i64::from_be_bytes([p0, p1, p2, p3, p4, p5, p6, p7])),
            seconds: i32::from_be_bytes([s0, s1, s2, s3]),
            previous: link(i32::from_be_bytes([l0, l1, l2, l3])),
        }
    }
}

/// A stored link: what Java treats as "none" is 0.
pub(crate) fn link(stored: i32) -> u32 {
    u32::try_from(stored).unwrap_or(0)
}

/// Seconds from `begin` to `time` as Java stores them.
pub(crate) fn seconds_since(begin: TimestampMs, time: TimestampMs) -> i32 {
    if begin.0 <= 0 {
        return 0;
    }
    i32::try_from((time.0.saturating_sub(begin.0) / MS_PER_SECOND).max(0)).unwrap_or(i32::MAX)
}

/// Name of a file created at this time: local time, 17 digits. Names sort by age, so a clock or a time zone that moved
/// back does not put the new file before `last`.
pub(crate) fn name(created: TimestampMs, zone: &TimeZone, last: Option<&str>) -> String {
    let moment = Timestamp::from_millisecond(created.0).unwrap_or(Timestamp::UNIX_EPOCH);
    let name = moment.to_zoned_datetime(zone.clone()).strftime("%Y%m%d%H%M%S%3f").to_string();
    match last.and_then(|last| last.parse::<u64>().ok()) {
        Some(last) if name.parse::<u64>().is_ok_and(|name| name <= last) => format!("{:017}", last + 1),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_shape_has_javas_length() {
        assert_eq!(Shape { slots: 5_000_000, entries: 20_000_000 }.file_len(), 420_000_040);
    }

    #[test]
    fn header_and_entry_round_trip() {
        let header = Header {
            begin_time: TimestampMs(1),
            end_time: TimestampMs(2),
            begin_physical: PhysicalOffset(3),
            end_physical: PhysicalOffset(i64::MAX),
            used_slots: 5,
            count: 6,
        };
        assert_eq!(Header::decode(&header.encode()), header);
        let entry = KeyEntry { hash: 1, physical: PhysicalOffset(2), seconds: 3, previous: 4 };
        assert_eq!(KeyEntry::decode(&entry.encode()), entry);
    }

    #[test]
    fn counts_and_links_that_are_not_positive_mean_nothing() {
        let mut bytes = Header::EMPTY.encode();
        bytes[36..40].fill(0xff);
        assert_eq!(Header::decode(&bytes).count, 1);
        let mut bytes = [0; ENTRY_SIZE];
        bytes[16..20].fill(0xff);
        assert_eq!(KeyEntry::decode(&bytes).previous, 0);
    }

    #[test]
    fn seconds_are_clamped_as_java_does() {
        let at = TimestampMs;
        assert_eq!(seconds_since(at(0), at(9_000)), 0, "no first message yet");
        assert_eq!(seconds_since(at(1_000), at(4_999)), 3);
        assert_eq!(seconds_since(at(5_000), at(1_000)), 0);
        assert_eq!(seconds_since(at(1), at(i64::MAX)), i32::MAX);
    }

    #[test]
    fn names_are_local_time_and_never_go_back() {
        let utc = TimeZone::UTC;
        let tokyo = TimeZone::fixed(jiff::tz::offset(9));
        let created = TimestampMs(1_795_232_057_286);
        assert_eq!(name(created, &utc, None), "20261121033417286");
        assert_eq!(name(created, &tokyo, None), "20261121123417286");
        assert_eq!(name(created, &utc, Some("20261121033417285")), "20261121033417286");
        assert_eq!(name(created, &utc, Some("20261121123417286")), "20261121123417287");
    }
}
