//! One entry of a consume queue: where a message lies in the commit log and what its tag hashes to.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | physical offset of the record |
//! | 8 | 4 | size of the record |
//! | 12 | 8 | tag code: hash of the tag, or the delivery time in the topic of delay levels |
//!
//! Big-endian and signed, as everything Java writes. Entry `i` of a queue lies at byte `20 * i` over all its files.

use ferromq_protocol::types::PhysicalOffset;

/// Bytes of an entry on disk.
pub const ENTRY_SIZE: usize = 20;

/// One unit of a consume queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Start of the record in the commit log.
    pub physical: PhysicalOffset,
    /// Bytes of the record.
    pub size: i32,
    /// What a pull filters by without reading the record.
    pub tag_code: i64,
}

impl Entry {
    /// Stands where a queue has no message: before the first one of a queue whose older files are gone, and in a gap
    /// that recovery could not fill. Java writes the same bytes and takes them for a message of 2 GiB at position 0;
    /// whoever looks at positions has to leave them out.
    pub const BLANK: Self = Self { physical: PhysicalOffset(0), size: i32::MAX, tag_code: 0 };

    /// Whether this is [`Entry::BLANK`], whatever its tag code.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.physical.0 == 0 && self.size == i32::MAX
    }

    /// Java's test for "something was written here". Holds for blanks too.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.physical.0 >= 0 && self.size > 0
    }

    /// Whether a record belongs to this entry.
    #[must_use]
    pub fn is_message(&self) -> bool {
        self.is_written() && !self.is_blank()
    }

    /// First position behind the record.
    #[must_use]
    pub fn end(&self) -> PhysicalOffset {
        PhysicalOffset(self.physical.0.saturating_add(i64::from(self.size)))
    }

    /// The bytes on disk.
    #[must_use]
    pub fn encode(&self) -> [u8; ENTRY_SIZE] {
        let mut bytes = [0; ENTRY_SIZE];
        bytes[0..8].copy_from_slice(&self.physical.0.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.tag_code.to_be_bytes());
        bytes
    }

    /// Reads what [`Entry::encode`] wrote. Any bytes decode; see [`Entry::is_written`].
    #[must_use]
    pub fn decode(bytes: &[u8; ENTRY_SIZE]) -> Self {
        let [p0, p1, p2, p3, p4, p5, p6, p7, s0, s1, s2, s3, t0, t1, t2, t3, t4, t5, t6, t7] = *bytes;
        Self {
            physical: PhysicalOffset(i64::from_be_bytes([p0, p1, p2, p3, p4, p5, p6, p7])),
            size: i32::from_be_bytes([s0, s1, s2, s3]),
            tag_code: i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_matches_the_bytes_java_writes() {
        let bytes = [
            0, 0, 0, 0, 0, 0, 0x22, 0x9f, 0, 0, 0, 0xfe, 0, 0, 0, 0, 0, 0x27, 0xa8, 0x1a, //
        ];
        let entry = Entry { physical: PhysicalOffset(0x229f), size: 254, tag_code: 0x0027_a81a };
        assert_eq!(Entry::decode(&bytes), entry);
        assert_eq!(entry.encode(), bytes);
    }

    #[test]
    fn negative_tag_codes_round_trip() {
        let entry = Entry { physical: PhysicalOffset(i64::MAX), size: 1, tag_code: -2 };
        assert_eq!(Entry::decode(&entry.encode()), entry);
        assert_eq!(entry.end(), PhysicalOffset(i64::MAX), "a position near the end does not wrap");
    }

    #[test]
    fn a_blank_is_written_but_no_message() {
        assert!(Entry::BLANK.is_written() && !Entry::BLANK.is_message());
        let zero = Entry::decode(&[0; ENTRY_SIZE]);
        assert!(!zero.is_written() && !zero.is_message());
        let first = Entry { physical: PhysicalOffset(0), size: 100, tag_code: 0 };
        assert!(first.is_message(), "a record at position 0 is a message");
    }
}
