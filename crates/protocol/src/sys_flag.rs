//! Bits of a message's `sysFlag` (`MessageSysFlag`) and of a pull request's `sysFlag` (`PullSysFlag`).

/// The body is compressed; [`compression`] says how.
pub const COMPRESSED: i32 = 0x1;
/// The message carries several tags; has no effect on the tags code.
pub const MULTI_TAGS: i32 = 0x2;
/// Mask of the transaction bits; no bit set means no transaction.
pub const TRANSACTION_MASK: i32 = 0xc;
/// Half message.
pub const TRANSACTION_PREPARED: i32 = 0x4;
/// Committed transaction.
pub const TRANSACTION_COMMIT: i32 = 0x8;
/// Rolled back transaction.
pub const TRANSACTION_ROLLBACK: i32 = 0xc;
/// The born host takes 20 bytes.
pub const BORN_HOST_V6: i32 = 0x10;
/// The store host takes 20 bytes.
pub const STORE_HOST_V6: i32 = 0x20;
/// The body is a batch that the client unwraps.
pub const NEED_UNWRAP: i32 = 0x40;
/// One record holding a batch.
pub const INNER_BATCH: i32 = 0x80;
/// Mask of the compression type.
pub const COMPRESSION_MASK: i32 = 0x700;

/// How a compressed body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1950 stream; type 0 (old clients) and 3.
    Zlib,
    /// LZ4 frame.
    Lz4,
    /// Zstandard frame.
    Zstd,
}

/// The compression of the body, `None` if it is not compressed or of an unknown type.
#[must_use]
pub fn compression(sys_flag: i32) -> Option<Compression> {
    if sys_flag & COMPRESSED == 0 {
        return None;
    }
    match (sys_flag & COMPRESSION_MASK) >> 8 {
        0 | 3 => Some(Compression::Zlib),
        1 => Some(Compression::Lz4),
        2 => Some(Compression::Zstd),
        _ => None,
    }
}

/// The transaction bits.
#[must_use]
pub fn transaction(sys_flag: i32) -> i32 {
    sys_flag & TRANSACTION_MASK
}

/// Whether a record with these bits takes a place in its consume queue: neither prepared nor rolled back.
#[must_use]
pub fn has_queue_entry(sys_flag: i32) -> bool {
    !matches!(transaction(sys_flag), TRANSACTION_PREPARED | TRANSACTION_ROLLBACK)
}

/// Bits of a pull request.
pub mod pull {
    /// `commitOffset` of the request is to be committed.
    pub const COMMIT_OFFSET: i32 = 0x1;
    /// The request may be held until messages come.
    pub const SUSPEND: i32 = 0x2;
    /// `subscription` and `expressionType` of the request are to be used.
    pub const SUBSCRIPTION: i32 = 0x4;
    /// Filter class; obsolete.
    pub const CLASS_FILTER: i32 = 0x8;
    /// The request comes from a lite pull consumer.
    pub const LITE_PULL: i32 = 0x10;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_types() {
        assert_eq!(compression(0x300), None);
        assert_eq!(compression(0x1), Some(Compression::Zlib));
        assert_eq!(compression(0x101), Some(Compression::Lz4));
        assert_eq!(compression(0x201), Some(Compression::Zstd));
        assert_eq!(compression(0x301), Some(Compression::Zlib));
        assert_eq!(compression(0x401), None);
    }

    #[test]
    fn half_and_rolled_back_messages_have_no_queue_entry() {
        assert!(has_queue_entry(0));
        assert!(has_queue_entry(TRANSACTION_COMMIT));
        assert!(!has_queue_entry(TRANSACTION_PREPARED));
        assert!(!has_queue_entry(TRANSACTION_ROLLBACK));
    }
}
