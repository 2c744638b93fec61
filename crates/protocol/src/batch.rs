//! The body of a batched send: entries one after another (`MessageDecoder.encodeMessages`).
//!
//! | size | field |
//! |---|---|
//! | 4 | entry length, this field included; ignored when reading |
//! | 4 | magic code, written 0; ignored |
//! | 4 | body CRC, written 0; ignored |
//! | 4 | flag |
//! | 4 + n | body |
//! | 2 + p | properties |
//!
//! Topic, queue, born host and time, and sysFlag are those of the request.

use thiserror::Error;

const FIXED_LEN: usize = 22;

/// One message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The user's flag.
    pub flag: i32,
    /// The body.
    pub body: &'a [u8],
    /// The property string, see [`crate::properties`].
    pub properties: &'a [u8],
}

/// The batch is cut short or a length inside it is impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("malformed batch: entry {index} at byte {at}")]
pub struct BatchError {
    /// Number of the bad entry, from 0.
    pub index: usize,
    /// Byte at which it starts.
    pub at: usize,
}

/// Iterates over the entries of `body`; nothing follows an error.
#[must_use]
pub fn entries(body: &[u8]) -> Entries<'_> {
    Entries { body, at: 0, index: 0 }
}

/// Iterator of [`entries`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    body: &'a [u8],
    at: usize,
    index: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.body.get(self.at..).filter(|rest| !rest.is_empty())?;
        Some(if let Some((entry, len)) = read(rest) {
            self.at += len;
            self.index += 1;
            Ok(entry)
        } else {
            let error = BatchError { index: self.index, at: self.at };
            self.at = self.body.len();
            Err(error)
        })
    }
}

fn read(bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    let rest = bytes.get(12..)?;
    let (flag, rest) = rest.split_first_chunk::<4>()?;
    let (body_len, rest) = rest.split_first_chunk::<4>()?;
    let (body, rest) = rest.split_at_checked(usize::try_from(i32::from_be_bytes(*body_len)).ok()?)?;
    let (properties_len, rest) = rest.split_first_chunk::<2>()?;
    let properties_len = usize::try_from(i16::from_be_bytes(*properties_len)).ok()?;
    let properties = rest.get(..properties_len)?;
    let entry = Entry { flag: i32::from_be_bytes(*flag), body, properties };
    Some((entry, FIXED_LEN + body.len() + properties.len()))
}

/// The entry does not fit its length fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a batch entry with a body of {body_len} and properties of {properties_len} bytes cannot be encoded")]
pub struct EntryTooLong {
    /// Body length, bytes.
    pub body_len: usize,
    /// Length of the property string, bytes.
    pub properties_len: usize,
}

/// Appends one entry to a batch.
///
/// # Errors
/// Leaves `out` alone if body or properties are too long for their length fields.
pub fn push(out: &mut Vec<u8>, entry: &Entry<'_>) -> Result<(), EntryTooLong> {
    let too_long = EntryTooLong { body_len: entry.body.len(), properties_len: entry.properties.len() };
    let properties_len = i16::try_from(entry.properties.len()).map_err(|_| too_long)?;
    let len = i32::try_from(FIXED_LEN + entry.body.len() + entry.properties.len()).map_err(|_| too_long)?;
    let body_len = i32::try_from(entry.body.len()).map_err(|_| too_long)?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&entry.flag.to_be_bytes());
    out.extend_from_slice(&body_len.to_be_bytes());
    out.extend_from_slice(entry.body);
    out.extend_from_slice(&properties_len.to_be_bytes());
    out.extend_from_slice(entry.properties);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entry_made_by_java() {
        // body `hello`, TAGS=TagA, from the 5.5 classes.
        let java = b"\0\0\0\x25\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05hello\0\x0aTAGS\x01TagA\x02";
        let entry = Entry { flag: 0, body: b"hello", properties: b"TAGS\x01TagA\x02" };
        assert_eq!(entries(java).collect::<Vec<_>>(), [Ok(entry)]);
        let mut out = Vec::new();
        push(&mut out, &entry).unwrap();
        assert_eq!(out, java);
    }

    #[test]
    fn length_magic_and_crc_are_not_looked_at() {
        let mut out = Vec::new();
        push(&mut out, &Entry { flag: 7, body: b"x", properties: b"" }).unwrap();
        out[..12].fill(0xff);
        assert_eq!(entries(&out).next(), Some(Ok(Entry { flag: 7, body: b"x", properties: b"" })));
    }

    #[test]
    fn rejects_negative_and_overlong_lengths() {
        let mut out = Vec::new();
        push(&mut out, &Entry { flag: 0, body: b"x", properties: b"p" }).unwrap();
        let first_len = out.len();
        push(&mut out, &Entry { flag: 0, body: b"yy", properties: b"p" }).unwrap();
        for bad in [-1i32, 1000, i32::MAX] {
            let mut bytes = out.clone();
            bytes[first_len + 16..first_len + 20].copy_from_slice(&bad.to_be_bytes());
            let read: Vec<_> = entries(&bytes).collect();
            assert_eq!(read.len(), 2);
            assert_eq!(read[1], Err(BatchError { index: 1, at: first_len }));
        }
        let long = vec![b'p'; 32_768];
        let entry = Entry { flag: 0, body: b"", properties: &long };
        assert!(push(&mut out, &entry).is_err());
    }

    proptest! {
        #[test]
        fn roundtrip_batch(parts in prop::collection::vec((any::<i32>(), prop::collection::vec(any::<u8>(), 0..40), "[a-z]{0,9}"), 0..6)) {
            let mut out = Vec::new();
            for (flag, body, properties) in &parts {
                push(&mut out, &Entry { flag: *flag, body, properties: properties.as_bytes() }).unwrap();
            }
            let read: Result<Vec<_>, _> = entries(&out).collect();
            let read = read.unwrap();
            prop_assert_eq!(read.len(), parts.len());
            for (entry, (flag, body, properties)) in read.iter().zip(&parts) {
                prop_assert_eq!(*entry, Entry { flag: *flag, body, properties: properties.as_bytes() });
            }
            // Cut anywhere inside the last entry, the batch is malformed; what came before is still read.
            if let Some(last) = parts.last() {
                let last_len = FIXED_LEN + last.1.len() + last.2.len();
                for cut in 1..last_len {
                    let read: Vec<_> = entries(&out[..out.len() - cut]).collect();
                    prop_assert_eq!(read.iter().filter(|entry| entry.is_err()).count(), 1);
                    prop_assert_eq!(read.len(), parts.len());
                }
            }
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(entries(&bytes).count() <= bytes.len() / FIXED_LEN + 1);
        }
    }
}
