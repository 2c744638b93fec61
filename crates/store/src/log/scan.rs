//! Reads the log record by record from a position on, and says where and why it ends.
//!
//! Used by recovery, by followers and by the offline tools. What counts as a record is stricter than Java's rule:
//! the stored position must be the real one, and above the last known durable position, where a power cut may have
//! kept any part of any page, the properties must be free of zero bytes and the store time must not go back, because
//! the checksum covers the body alone.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use ferromq_protocol::record::{self, PEEK_LEN, Record, RecordError};
use ferromq_protocol::types::TimestampMs;
use memchr::memchr;

use super::segment::{Segment, Segments};
use crate::disk::Disk;
use crate::layout::physical;

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// What to require of records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScanRules {
    /// Below this position, bodies are compared with their checksum only if `verify_below`.
    pub(crate) strict_from: u64,
    /// See `strict_from`.
    pub(crate) verify_below: bool,
    /// `forceVerifyPropCRC`: a record must carry a fitting checksum of its properties.
    pub(crate) require_property_crc: bool,
    /// `enabledAppendPropCRC`: records of this program carry one, and above the durable position it is compared.
    pub(crate) compare_property_crc: bool,
    /// From here on records were written by this program, whose store times never go back. Java's do when its clock is
    /// set back, so there only a leap is taken for the remains of older bytes.
    pub(crate) ours_from: u64,
}

/// How far store times of records that are not ours may go back.
const FOREIGN_STEP_BACK_MS: i64 = 3_600_000;

/// Why the log ends at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// No file holds the position.
    NoFile,
    /// Zeros, as in a file that was not written so far.
    Zeros,
    /// A cut of the log at this position was begun.
    Cut,
    /// Neither a record nor a blank begins here.
    NoRecord(RecordError),
    /// A blank whose length is not that of the rest of the file.
    BlankLength(i32),
    /// The record says it lies elsewhere.
    WrongPosition(i64),
    /// The body is not what its checksum was made of.
    BodyCrc,
    /// The property checksum is absent or wrong.
    PropertyCrc,
    /// Properties or topic hold a zero byte.
    ZeroByte,
    /// Stored so many milliseconds before the record in front of it.
    TimeWentBack(i64),
    /// Another record of the queue has this offset.
    OffsetTaken(i64),
}

/// What lies at the position of a [`Scan`].
#[derive(Debug)]
pub(crate) enum Scanned<'a> {
    /// A record; the scan now stands behind it.
    Record(Record<'a>),
    /// The blank end of a file; the scan now stands at the start of the next one.
    Blank,
    /// The log ends here; asking again says the same.
    End(End),
}

/// A walk over the log.
pub(crate) struct Scan<'a> {
    disk: &'a dyn Disk,
    segments: &'a Segments,
    rules: ScanRules,
    position: u64,
    last_time: TimestampMs,
    segment: Option<Arc<Segment>>,
    buffer: Vec<u8>,
    /// Position of the first byte in the buffer.
    buffered_from: u64,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(disk: &'a dyn Disk, segments: &'a Segments, position: u64, rules: ScanRules) -> Self {
        Self {
            disk,
            segments,
            rules,
            position,
            last_time: TimestampMs(0),
            segment: None,
            buffer: Vec::new(),
            buffered_from: 0,
        }
    }

    /// Where the scan stands: everything before it was valid.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Store time of the last record.
    pub(crate) fn last_time(&self) -> TimestampMs {
        self.last_time
    }

    /// Looks at the next record, blank or end.
    ///
    /// # Errors
    /// The disk failed; nothing is known about the position.
    pub(crate) fn next_item(&mut self) -> io::Result<Scanned<'_>> {
        let position = self.position;
        if self.segment.as_ref().is_none_or(|segment| segment.end() <= position) {
            self.segment = self.segments.find(position);
            self.buffer.clear();
        }
        let Some(segment) = self.segment.clone() else { return Ok(Scanned::End(End::NoFile)) };
        let left = usize::try_from(segment.end() - position).unwrap_or(usize::MAX);
        let head = self.buffered(&segment, PEEK_LEN.min(left))?;
        let Some(peek) = record::peek(&self.buffer[head.clone()]) else {
            return Ok(Scanned::End(End::NoRecord(RecordError::Incomplete {
                needed: PEEK_LEN,
                available: left,
            })));
        };
        if peek.is_blank() {
            if usize::try_from(peek.total_size) != Ok(left) {
                return Ok(Scanned::End(End::BlankLength(peek.total_size)));
            }
            self.position = segment.end();
            return Ok(Scanned::Blank);
        }
        if !peek.is_record() {
            let zeros = self.buffer[head].iter().all(|byte| *byte == 0);
            let end = if zeros { End::Zeros } else { End::NoRecord(RecordError::Magic(peek.magic)) };
            return Ok(Scanned::End(end));
        }
        let len = match usize::try_from(peek.total_size) {
            Ok(len) if len <= left => len,
            _ => {
                let needed = usize::try_from(peek.total_size).unwrap_or(0);
                let error = RecordError::Incomplete { needed, available: left };
                return Ok(Scanned::End(End::NoRecord(error)));
            }
        };
        let bytes = self.buffered(&segment, len)?;
        match self.check(bytes.clone()) {
            Ok(store_time) => {
                self.position += len as u64;
                self.last_time = store_time;
                // Decoded a second time because the first borrow had to end before the scan moved on.
                match record::decode(&self.buffer[bytes]) {
                    Ok(record) => Ok(Scanned::Record(record)),
                    Err(error) => Ok(Scanned::End(End::NoRecord(error))),
                }
            }
            Err(end) => Ok(Scanned::End(end)),
        }
    }

    fn check(&self, bytes: Range<usize>) -> Result<TimestampMs, End> {
        let record = record::decode(&self.buffer[bytes]).map_err(End::NoRecord)?;
        if record.physical != physical(self.position) {
            return Err(End::WrongPosition(record.physical.0));
        }
        let strict = self.position >= self.rules.strict_from;
        if strict {
            if memchr(0, record.properties.0).is_some() || memchr(0, record.topic.as_bytes()).is_some() {
                return Err(End::ZeroByte);
            }
            let back = self.last_time.0.saturating_sub(record.store_timestamp.0);
            let allowed = if self.position >= self.rules.ours_from { 0 } else { FOREIGN_STEP_BACK_MS };
            if back > allowed {
                return Err(End::TimeWentBack(back));
            }
            if self.rules.compare_property_crc
                && self.position >= self.rules.ours_from
                && record.property_crc_matches() == Some(false)
            {
                return Err(End::PropertyCrc);
            }
        }
        if self.rules.require_property_crc {
            if record.property_crc_matches() != Some(true) {
                return Err(End::PropertyCrc);
            }
        } else if (strict || self.rules.verify_below) && !record.body_crc_matches() {
            return Err(End::BodyCrc);
        }
        Ok(record.store_timestamp)
    }

    /// Makes sure that the next `len` bytes, all in this segment, are buffered, and tells where.
    fn buffered(&mut self, segment: &Segment, len: usize) -> io::Result<Range<usize>> {
        let start = self.position.wrapping_sub(self.buffered_from);
        let start = usize::try_from(start).ok().filter(|start| start + len <= self.buffer.len());
        if let Some(start) = start {
            return Ok(start..start + len);
        }
        let left = usize::try_from(segment.end() - self.position).unwrap_or(usize::MAX);
        self.buffer.resize(len.max(CHUNK).min(left), 0);
        let file = segment.file(self.disk)?;
        let read = file.read_at(&mut self.buffer, self.position - segment.base)?;
        self.buffered_from = self.position;
        if read < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.truncate(read);
        Ok(0..len)
    }
}
