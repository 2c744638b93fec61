//! Makes sure that nothing of a cut end of the log comes back.

use std::io;

use super::segment::{Segment, Segments};
use crate::disk::{Disk, chunk_len, erase, next_uncached_data};

/// What was erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Erased {
    /// Bytes that were not zero.
    pub(crate) bytes: u64,
    /// Files removed.
    pub(crate) files: usize,
}

/// Zeroes the rest of the file that holds `end` and removes the files behind it, all of it durably.
pub(crate) fn erase_behind(disk: &dyn Disk, segments: &Segments, end: u64) -> io::Result<Erased> {
    let mut erased = Erased::default();
    // The newest file goes first, so that a crash in between leaves no gap; and files go before the zeros come, so that
    // a next one never follows an end that looks as if nothing but its blank was lost.
    for segment in segments.list().iter().rev().take_while(|segment| segment.base > end) {
        let mut at = segment.base;
        while let Some((from, to)) = first_non_zero(disk, segment, at)? {
            erased.bytes += to - from;
            at = to;
        }
        erased.files += segments.remove(|other| other.base == segment.base)?.len();
    }
    if let Some(segment) = segments.find(end) {
        let file = segment.file(disk)?;
        let bytes = erase(file, end - segment.base, segment.len)?;
        if bytes > 0 {
            file.sync_data()?;
        }
        erased.bytes += bytes;
    }
    Ok(erased)
}

/// The first stretch of the segment from `from` on whose ends are not zero; long ones come in pieces.
pub(crate) fn first_non_zero(
    disk: &dyn Disk,
    segment: &Segment,
    from: u64,
) -> io::Result<Option<(u64, u64)>> {
    let file = segment.file(disk)?;
    let mut buffer = Vec::new();
    let mut at = from - segment.base;
    while let Some(data) = next_uncached_data(file, at, segment.len)? {
        at = data;
        buffer.resize(chunk_len(at, segment.len), 0);
        let read = file.read_at(&mut buffer, at)?;
        if read == 0 {
            return Ok(None);
        }
        if let Some(first) = buffer[..read].iter().position(|byte| *byte != 0) {
            let last = buffer[..read].iter().rposition(|byte| *byte != 0).unwrap_or(first);
            let start = segment.base + at;
            return Ok(Some((start + first as u64, start + last as u64 + 1)));
        }
        at += read as u64;
    }
    Ok(None)
}
