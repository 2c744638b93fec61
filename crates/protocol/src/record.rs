//! One stored message, as it lies in the commit log and travels in pull, pop and query answers (`MessageDecoder`,
//! `MessageExtEncoder`). Big-endian throughout; B and T are 8 for an IPv4 host, 20 for IPv6.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | total size |
//! | 4 | 4 | magic: v1 `DAA320A7`, v2 `DAA320AB`; a blank file end has `CBD43194` |
//! | 8 | 4 | CRC-32 of the body as stored, `& 7FFFFFFF` |
//! | 12 | 4 | queue id |
//! | 16 | 4 | flag |
//! | 20 | 8 | queue offset; 0 for prepared and rolled back transactions |
//! | 28 | 8 | physical offset |
//! | 36 | 4 | sysFlag |
//! | 40 | 8 | born timestamp |
//! | 48 | B | born host: address, 4-byte port |
//! | 48+B | 8 | store timestamp |
//! | 56+B | T | store host |
//! | 56+B+T | 4 | reconsume times |
//! | 60+B+T | 8 | prepared transaction offset |
//! | 68+B+T | 4+n | body |
//! | … | 1+t or 2+t | topic; v1 has a one-byte length (≤ 127), v2 two bytes |
//! | … | 2+p | properties, signed length |
//!
//! A record is encoded in its final layout before its place is known; [`patch_position`] then writes what depends on
//! the place, and [`seal_property_crc`] the checksum over it if the store wants one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use crate::properties::{self, Properties};
use crate::types::{Host, PhysicalOffset, QueueId, QueueOffset, TimestampMs};
use crate::{java, sys_flag};

/// Magic code of a v1 record.
pub const MAGIC_V1: i32 = 0xDAA3_20A7_u32.cast_signed();
/// Magic code of a v2 record.
pub const MAGIC_V2: i32 = 0xDAA3_20AB_u32.cast_signed();
/// Magic code of a blank file end.
pub const MAGIC_BLANK: i32 = 0xCBD4_3194_u32.cast_signed();

/// Bytes at the start that tell what follows: total size and magic code. Also the shortest blank.
pub const PEEK_LEN: usize = 8;
/// Longest topic of a v1 record, UTF-16 units for the choice of the version and bytes for the length field.
pub const TOPIC_LEN_MAX_V1: usize = 127;
/// Length of the checksum entry at the end of the properties: `__CRC32#`, separator, 10 digits, separator.
pub const PROPERTY_CRC_LEN: usize = 20;

const QUEUE_OFFSET_AT: usize = 20;
const PHYSICAL_AT: usize = 28;
const SYS_FLAG_AT: usize = 36;
const BORN_HOST_AT: usize = 48;
const PROPERTY_CRC_DIGITS: usize = 10;

const _: () = assert!(properties::name::CRC32.len() + 1 + PROPERTY_CRC_DIGITS + 1 == PROPERTY_CRC_LEN);

/// What a record is made of, without its place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// Topic the record is stored under.
    pub topic: &'a str,
    /// Queue within the topic.
    pub queue_id: QueueId,
    /// The user's flag.
    pub flag: i32,
    /// Bits of [`sys_flag`]. The two host bits are set from the hosts, whatever they are here.
    pub sys_flag: i32,
    /// Clock of the producer.
    pub born_timestamp: TimestampMs,
    /// Address of the producer.
    pub born_host: Host,
    /// Address of the broker.
    pub store_host: Host,
    /// Times the message was consumed again.
    pub reconsume_times: i32,
    /// Position of the half message of a committed one, else 0.
    pub prepared_transaction_offset: PhysicalOffset,
    /// Body as stored, possibly compressed.
    pub body: &'a [u8],
    /// Property string as stored.
    pub properties: &'a [u8],
}

/// What [`encode`] appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Length of the record, bytes.
    pub len: usize,
}

/// The parts do not fit the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// Topic longer than a record can hold.
    #[error("topic of {0} bytes cannot be stored")]
    Topic(usize),
    /// Property string longer than [`properties::LEN_MAX`], the checksum entry counted.
    #[error("properties of {0} bytes cannot be stored")]
    Properties(usize),
    /// Body so long that the record's length does not fit its field.
    #[error("body of {0} bytes cannot be stored")]
    Body(usize),
}

/// Whether a record carries a checksum in its properties (`enabledAppendPropCRC`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PropertyCrc {
    /// Properties are stored as given.
    #[default]
    Off,
    /// A checksum entry is appended, and one in the given properties removed.
    Append,
}

/// Appends the record of `parts` to `out`. Queue offset, physical offset and store timestamp are 0 and the checksum
/// entry is unset until [`patch_position`] and [`seal_property_crc`].
///
/// # Errors
/// Leaves `out` alone if a part is too long.
pub fn encode(
    out: &mut Vec<u8>,
    parts: &Parts<'_>,
    property_crc: PropertyCrc,
) -> Result<Encoded, EncodeError> {
    let start = out.len();
    let v2 = parts.topic.len() > TOPIC_LEN_MAX_V1 || java::length(parts.topic) > TOPIC_LEN_MAX_V1;
    let topic_len = i16::try_from(parts.topic.len()).map_err(|_| EncodeError::Topic(parts.topic.len()))?;
    let body_len = i32::try_from(parts.body.len()).map_err(|_| EncodeError::Body(parts.body.len()))?;
    out.reserve(192 + parts.body.len() + parts.topic.len() + parts.properties.len());

    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(if v2 { MAGIC_V2 } else { MAGIC_V1 }).to_be_bytes());
    out.extend_from_slice(&body_crc(parts.body).to_be_bytes());
    out.extend_from_slice(&parts.queue_id.0.to_be_bytes());
    out.extend_from_slice(&parts.flag.to_be_bytes());
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(&host_bits(parts).to_be_bytes());
    out.extend_from_slice(&parts.born_timestamp.0.to_be_bytes());
    push_host(out, parts.born_host);
    out.extend_from_slice(&[0; 8]);
    push_host(out, parts.store_host);
    out.extend_from_slice(&parts.reconsume_times.to_be_bytes());
    out.extend_from_slice(&parts.prepared_transaction_offset.0.to_be_bytes());
    out.extend_from_slice(&body_len.to_be_bytes());
    out.extend_from_slice(parts.body);
    let topic_len = topic_len.to_be_bytes();
    out.extend_from_slice(if v2 { &topic_len[..] } else { &topic_len[1..] });
    out.extend_from_slice(parts.topic.as_bytes());
    let properties_at = out.len() + 2;
    out.extend_from_slice(&[0; 2]);
    match property_crc {
        PropertyCrc::Off => out.extend_from_slice(parts.properties),
        PropertyCrc::Append => push_properties_with_crc(out, parts.properties, properties_at),
    }

    let properties_len = out.len() - properties_at;
    let len = out.len() - start;
    let lengths = i16::try_from(properties_len)
        .map_err(|_| EncodeError::Properties(properties_len))
        .and_then(|properties| {
            Ok((properties, i32::try_from(len).map_err(|_| EncodeError::Body(parts.body.len()))?))
        });
    match lengths {
        Ok((properties_len, total)) => {
            out[properties_at - 2..properties_at].copy_from_slice(&properties_len.to_be_bytes());
            out[start..start + 4].copy_from_slice(&total.to_be_bytes());
            Ok(Encoded { len })
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

fn host_bits(parts: &Parts<'_>) -> i32 {
    let bit = |host: Host, bit| if host.ip.is_ipv6() { bit } else { 0 };
    parts.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6)
        | bit(parts.born_host, sys_flag::BORN_HOST_V6)
        | bit(parts.store_host, sys_flag::STORE_HOST_V6)
}

fn push_host(out: &mut Vec<u8>, host: Host) {
    match host.ip {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&host.port.to_be_bytes());
}

fn push_properties_with_crc(out: &mut Vec<u8>, given: &[u8], properties_at: usize) {
    let crc_name = properties::name::CRC32;
    if Properties(given).contains(crc_name) {
        Properties(given).copy_filtered(out, |name| name != crc_name.as_bytes());
    } else {
        out.extend_from_slice(given);
    }
    if out.len() > properties_at {
        properties::end_entry(out);
    }
    properties::push(out, crc_name, "0000000000");
}

/// CRC-32 (IEEE) of `body`, masked to 31 bits.
#[must_use]
pub fn body_crc(body: &[u8]) -> i32 {
    (crc32fast::hash(body) & 0x7fff_ffff).cast_signed()
}

/// Writes what depends on the place of an encoded record: physical offset, queue offset and store timestamp.
/// Records that take no place in their queue (prepared, rolled back) keep queue offset 0.
///
/// # Panics
/// If `record` is shorter than the fixed part of what [`encode`] wrote.
pub fn patch_position(
    record: &mut [u8],
    physical: PhysicalOffset,
    queue_offset: QueueOffset,
    store_timestamp: TimestampMs,
) {
    let flags = i32::from_be_bytes([
        record[SYS_FLAG_AT],
        record[SYS_FLAG_AT + 1],
        record[SYS_FLAG_AT + 2],
        record[SYS_FLAG_AT + 3],
    ]);
    let queue_offset = if sys_flag::has_queue_entry(flags) { queue_offset.0 } else { 0 };
    record[QUEUE_OFFSET_AT..QUEUE_OFFSET_AT + 8].copy_from_slice(&queue_offset.to_be_bytes());
    record[PHYSICAL_AT..PHYSICAL_AT + 8].copy_from_slice(&physical.0.to_be_bytes());
    let store_timestamp_at = BORN_HOST_AT + host_len(flags, sys_flag::BORN_HOST_V6);
    record[store_timestamp_at..store_timestamp_at + 8].copy_from_slice(&store_timestamp.0.to_be_bytes());
}

fn host_len(flags: i32, v6_bit: i32) -> usize {
    if flags & v6_bit == 0 { 8 } else { 20 }
}

/// Writes the checksum of a record encoded with [`PropertyCrc::Append`]; call it after [`patch_position`].
///
/// # Panics
/// If `record` is shorter than the checksum entry.
pub fn seal_property_crc(record: &mut [u8]) {
    let covered = record.len() - PROPERTY_CRC_LEN;
    let digits = property_crc_digits(&record[..covered]);
    let end = record.len() - 1;
    record[end - PROPERTY_CRC_DIGITS..end].copy_from_slice(&digits);
}

/// The decimal digits of the checksum, least significant first, padded with zeros.
fn property_crc_digits(covered: &[u8]) -> [u8; PROPERTY_CRC_DIGITS] {
    let mut rest = body_crc(covered).cast_unsigned();
    [(); PROPERTY_CRC_DIGITS].map(|()| {
        let digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        digit
    })
}

/// The eight bytes of a blank that fills a segment from here on, for `remaining` bytes.
#[must_use]
pub fn encode_blank(remaining: u32) -> [u8; PEEK_LEN] {
    let mut bytes = [0; PEEK_LEN];
    bytes[..4].copy_from_slice(&remaining.to_be_bytes());
    bytes[4..].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
    bytes
}

/// The first eight bytes at a position of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peek {
    /// Announced length; nothing is known about it yet.
    pub total_size: i32,
    /// Magic code.
    pub magic: i32,
}

impl Peek {
    /// A record, of either version.
    #[must_use]
    pub fn is_record(self) -> bool {
        matches!(self.magic, MAGIC_V1 | MAGIC_V2)
    }

    /// A blank that reaches to the end of its segment.
    #[must_use]
    pub fn is_blank(self) -> bool {
        self.magic == MAGIC_BLANK
    }
}

/// Reads length and magic code; `None` if `bytes` is shorter than [`PEEK_LEN`].
#[must_use]
pub fn peek(bytes: &[u8]) -> Option<Peek> {
    let (total_size, rest) = bytes.split_first_chunk::<4>()?;
    let (magic, _) = rest.split_first_chunk::<4>()?;
    Some(Peek { total_size: i32::from_be_bytes(*total_size), magic: i32::from_be_bytes(*magic) })
}

/// Why bytes are not a record. None of these is about checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The bytes end before the record does.
    #[error("a record of {needed} bytes, only {available} are there")]
    Incomplete {
        /// Bytes wanted, as far as known.
        needed: usize,
        /// Bytes given.
        available: usize,
    },
    /// Neither magic code of a record; a blank file end ends up here too.
    #[error("magic code {0:08x} is not a record's")]
    Magic(i32),
    /// The announced length is not that of the parts.
    #[error("record announces {total_size} bytes, its parts take {computed}")]
    Length {
        /// The length field.
        total_size: i32,
        /// Length of the parts as far as they could be read.
        computed: usize,
    },
    /// A length inside the record is negative.
    #[error("negative {0} length")]
    Negative(&'static str),
    /// The topic is not UTF-8, which no writer produces.
    #[error("topic is not UTF-8")]
    Topic,
}

/// A decoded record; body, topic and properties point into its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The whole record.
    pub bytes: &'a [u8],
    /// Magic code: [`MAGIC_V1`] or [`MAGIC_V2`].
    pub magic: i32,
    /// Checksum of the body as stored.
    pub body_crc: i32,
    /// Queue within the topic.
    pub queue_id: QueueId,
    /// The user's flag.
    pub flag: i32,
    /// Place in the queue.
    pub queue_offset: QueueOffset,
    /// Place in the log.
    pub physical: PhysicalOffset,
    /// Bits of [`sys_flag`].
    pub sys_flag: i32,
    /// Clock of the producer.
    pub born_timestamp: TimestampMs,
    /// Address of the producer.
    pub born_host: Host,
    /// Clock of the broker at the append.
    pub store_timestamp: TimestampMs,
    /// Address of the broker.
    pub store_host: Host,
    /// Times the message was consumed again.
    pub reconsume_times: i32,
    /// Position of the half message of a committed one, else 0.
    pub prepared_transaction_offset: PhysicalOffset,
    /// Body as stored, possibly compressed.
    pub body: &'a [u8],
    /// Topic.
    pub topic: &'a str,
    /// Property string.
    pub properties: Properties<'a>,
}

impl Record<'_> {
    /// Whether the body has the checksum stored with it. Java verifies only non-empty bodies; so does this.
    #[must_use]
    pub fn body_crc_matches(&self) -> bool {
        self.body.is_empty() || body_crc(self.body) == self.body_crc
    }

    /// Whether the checksum entry at the end of the properties fits the record; `None` without such an entry.
    #[must_use]
    pub fn property_crc_matches(&self) -> Option<bool> {
        let entry = self.properties.0.last_chunk::<PROPERTY_CRC_LEN>()?;
        let digits = entry
            .strip_prefix(properties::name::CRC32.as_bytes())?
            .strip_prefix(&[properties::NAME_SEPARATOR])?
            .strip_suffix(&[properties::ENTRY_SEPARATOR])?;
        let covered = self.bytes.len() - PROPERTY_CRC_LEN;
        Some(digits == property_crc_digits(&self.bytes[..covered]))
    }

    /// The parts the record was made of.
    #[must_use]
    pub fn parts(&self) -> Parts<'_> {
        Parts {
            topic: self.topic,
            queue_id: self.queue_id,
            flag: self.flag,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_timestamp,
            born_host: self.born_host,
            store_host: self.store_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
            body: self.body,
            properties: self.properties.0,
        }
    }
}

/// Bytes of a record in which [`head`] finds all it tells. Every record is longer.
pub const HEAD_LEN: usize = BORN_HOST_AT + 20 + 8;

/// The parts of a record that have a place of their own, up to the store time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Length of the whole record.
    pub total_size: i32,
    /// Queue within the topic.
    pub queue_id: QueueId,
    /// Place in the queue.
    pub queue_offset: QueueOffset,
    /// Place in the log.
    pub physical: PhysicalOffset,
    /// Clock of the broker at the append.
    pub store_timestamp: TimestampMs,
}

/// Reads the beginning of a record; `None` if it is none.
#[must_use]
pub fn head(bytes: &[u8; HEAD_LEN]) -> Option<Head> {
    let Peek { total_size, .. } = peek(bytes).filter(|peek| peek.is_record())?;
    let int = |at: usize| bytes[at..].first_chunk().map(|raw| i32::from_be_bytes(*raw));
    let long = |at: usize| bytes[at..].first_chunk().map(|raw| i64::from_be_bytes(*raw));
    let born_host_len = host_len(int(SYS_FLAG_AT)?, sys_flag::BORN_HOST_V6);
    Some(Head {
        total_size,
        queue_id: QueueId(int(12)?),
        queue_offset: QueueOffset(long(QUEUE_OFFSET_AT)?),
        physical: PhysicalOffset(long(PHYSICAL_AT)?),
        store_timestamp: TimestampMs(long(BORN_HOST_AT + born_host_len)?),
    })
}

/// Decodes the record at the start of `bytes`; what follows it is not looked at. Checks that the parts add up to the
/// announced length, but no checksum.
///
/// # Errors
/// See [`RecordError`].
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, RecordError> {
    let available = bytes.len();
    let Peek { total_size, magic } =
        peek(bytes).ok_or(RecordError::Incomplete { needed: PEEK_LEN, available })?;
    if !matches!(magic, MAGIC_V1 | MAGIC_V2) {
        return Err(RecordError::Magic(magic));
    }
    let needed = usize::try_from(total_size).map_err(|_| RecordError::Negative("record"))?;
    let bytes = bytes.get(..needed).ok_or(RecordError::Incomplete { needed, available })?;
    if bytes.len() < PEEK_LEN {
        return Err(RecordError::Length { total_size, computed: PEEK_LEN });
    }
    let mut parts = Cursor { bytes, at: PEEK_LEN, total_size };
    let body_crc = parts.int()?;
    let queue_id = QueueId(parts.int()?);
    let flag = parts.int()?;
    let queue_offset = QueueOffset(parts.long()?);
    let physical = PhysicalOffset(parts.long()?);
    let sys_flag = parts.int()?;
    let born_timestamp = TimestampMs(parts.long()?);
    let born_host = parts.host(sys_flag & sys_flag::BORN_HOST_V6 != 0)?;
    let store_timestamp = TimestampMs(parts.long()?);
    let store_host = parts.host(sys_flag & sys_flag::STORE_HOST_V6 != 0)?;
    let reconsume_times = parts.int()?;
    let prepared_transaction_offset = PhysicalOffset(parts.long()?);
    let body_len = usize::try_from(parts.int()?).map_err(|_| RecordError::Negative("body"))?;
    let body = parts.slice(body_len)?;
    let topic_len = if magic == MAGIC_V1 {
        // The byte is signed for Java readers, which then fail.
        i16::from(i8::from_be_bytes(parts.chunk()?))
    } else {
        i16::from_be_bytes(parts.chunk()?)
    };
    let topic = parts.slice(usize::try_from(topic_len).map_err(|_| RecordError::Negative("topic"))?)?;
    let properties_len = i16::from_be_bytes(parts.chunk()?);
    let properties =
        parts.slice(usize::try_from(properties_len).map_err(|_| RecordError::Negative("properties"))?)?;
    if parts.at != bytes.len() {
        return Err(RecordError::Length { total_size, computed: parts.at });
    }
    Ok(Record {
        bytes,
        magic,
        body_crc,
        queue_id,
        flag,
        queue_offset,
        physical,
        sys_flag,
        born_timestamp,
        born_host,
        store_timestamp,
        store_host,
        reconsume_times,
        prepared_transaction_offset,
        body,
        topic: std::str::from_utf8(topic).map_err(|_| RecordError::Topic)?,
        properties: Properties(properties),
    })
}

/// The records in `bytes`, one after another, as pull, pop and query answers carry them; nothing follows an error.
pub fn decode_all(bytes: &[u8]) -> impl Iterator<Item = Result<Record<'_>, RecordError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        (!rest.is_empty()).then(|| {
            let record = decode(rest);
            rest = record.as_ref().map_or(&[][..], |record| &rest[record.bytes.len()..]);
            record
        })
    })
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    total_size: i32,
}

impl<'a> Cursor<'a> {
    fn slice(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let computed = self.at.saturating_add(len);
        let slice = self.bytes.get(self.at..computed);
        self.at = computed;
        slice.ok_or(RecordError::Length { total_size: self.total_size, computed })
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let mut chunk = [0; N];
        chunk.copy_from_slice(self.slice(N)?);
        Ok(chunk)
    }

    fn int(&mut self) -> Result<i32, RecordError> {
        Ok(i32::from_be_bytes(self.chunk()?))
    }

    fn long(&mut self) -> Result<i64, RecordError> {
        Ok(i64::from_be_bytes(self.chunk()?))
    }

    fn host(&mut self, v6: bool) -> Result<Host, RecordError> {
        let ip = if v6 {
            IpAddr::V6(Ipv6Addr::from(self.chunk::<16>()?))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.chunk::<4>()?))
        };
        Ok(Host { ip, port: self.int()? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn v4(last: u8, port: i32) -> Host {
        Host { ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), port }
    }

    fn example() -> Parts<'static> {
        Parts {
            topic: "TopicA",
            queue_id: QueueId(1),
            flag: 0,
            sys_flag: 0,
            born_timestamp: TimestampMs(1_700_000_000_000),
            born_host: v4(7, 5000),
            store_host: v4(1, 10911),
            reconsume_times: 0,
            prepared_transaction_offset: PhysicalOffset(0),
            body: b"hello",
            properties: b"TAGS\x01TagA\x02",
        }
    }

    fn encoded(parts: &Parts<'_>, property_crc: PropertyCrc) -> Vec<u8> {
        let mut out = Vec::new();
        let len = encode(&mut out, parts, property_crc).unwrap().len;
        assert_eq!(len, out.len());
        out
    }

    #[test]
    fn record_made_by_java() {
        let java =
            hex("00000070 daa320a7 3610a686 00000001 00000000 0000000000000005 0000000000000400 00000000
            0000018bcfe56800 0a000007 00001388 0000018bcfe56801 0a000001 00002a9f 00000000 0000000000000000
            00000005 68656c6c6f 06 546f70696341 000a 54414753 01 54616741 02");
        let mut ours = encoded(&example(), PropertyCrc::Off);
        patch_position(&mut ours, PhysicalOffset(1024), QueueOffset(5), TimestampMs(1_700_000_000_001));
        assert_eq!(ours, java);

        let record = decode(&java).unwrap();
        assert_eq!(record.parts(), example());
        assert_eq!(record.physical, PhysicalOffset(1024));
        assert_eq!(record.queue_offset, QueueOffset(5));
        assert_eq!(record.store_timestamp, TimestampMs(1_700_000_000_001));
        assert_eq!(record.body_crc, 907_060_870);
        assert!(record.body_crc_matches());
        assert_eq!(record.property_crc_matches(), None);
    }

    #[test]
    fn the_head_says_what_the_whole_record_says() {
        let v6 = Host { ip: "::1".parse().unwrap(), port: 5000 };
        for born_host in [v4(7, 5000), v6] {
            let mut bytes = encoded(&Parts { born_host, ..example() }, PropertyCrc::Off);
            patch_position(&mut bytes, PhysicalOffset(700), QueueOffset(5), TimestampMs(9_000));
            let record = decode(&bytes).unwrap();
            let found = head(bytes.first_chunk().unwrap()).unwrap();
            assert_eq!(found.total_size, i32::try_from(bytes.len()).unwrap());
            assert_eq!((found.queue_id, found.queue_offset), (record.queue_id, record.queue_offset));
            assert_eq!((found.physical, found.store_timestamp), (PhysicalOffset(700), TimestampMs(9_000)));
        }
        assert_eq!(head(&[0; HEAD_LEN]), None);
    }

    #[test]
    fn host_bits_follow_the_hosts() {
        let v6 = Host { ip: IpAddr::V6(Ipv6Addr::LOCALHOST), port: 1 };
        for (born, store, bits) in
            [(v4(1, 1), v6, 0x20), (v6, v4(1, 1), 0x10), (v6, v6, 0x30), (v4(1, 1), v4(1, 1), 0)]
        {
            let parts = Parts { born_host: born, store_host: store, sys_flag: 0x431, ..example() };
            let mut bytes = encoded(&parts, PropertyCrc::Off);
            patch_position(&mut bytes, PhysicalOffset(9), QueueOffset(8), TimestampMs(7));
            let record = decode(&bytes).unwrap();
            assert_eq!(record.sys_flag, 0x401 | bits);
            assert_eq!((record.born_host, record.store_host), (born, store));
            assert_eq!(record.store_timestamp, TimestampMs(7));
            assert_eq!(record.physical, PhysicalOffset(9));
        }
    }

    #[test]
    fn long_topics_take_the_second_version() {
        let at_limit = "t".repeat(127);
        let over = "t".repeat(128);
        // 64 characters, 128 bytes: Java would write a length byte that it cannot read.
        let wide = "ä".repeat(64);
        for (topic, magic) in [(&at_limit, MAGIC_V1), (&over, MAGIC_V2), (&wide, MAGIC_V2)] {
            let bytes = encoded(&Parts { topic, ..example() }, PropertyCrc::Off);
            let record = decode(&bytes).unwrap();
            assert_eq!(record.magic, magic);
            assert_eq!(record.topic, topic);
        }
    }

    #[test]
    fn prepared_and_rolled_back_records_have_queue_offset_0() {
        for (bits, expected) in [
            (0, 5),
            (sys_flag::TRANSACTION_PREPARED, 0),
            (sys_flag::TRANSACTION_COMMIT, 5),
            (sys_flag::TRANSACTION_ROLLBACK, 0),
        ] {
            let mut bytes = encoded(&Parts { sys_flag: bits, ..example() }, PropertyCrc::Off);
            patch_position(&mut bytes, PhysicalOffset(1), QueueOffset(5), TimestampMs(1));
            assert_eq!(decode(&bytes).unwrap().queue_offset, QueueOffset(expected));
        }
    }

    #[test]
    fn rejects_parts_that_do_not_fit() {
        let mut out = b"kept".to_vec();
        let long = vec![b'x'; 32_768];
        assert_eq!(
            encode(&mut out, &Parts { properties: &long, ..example() }, PropertyCrc::Off),
            Err(EncodeError::Properties(32_768))
        );
        // 20 bytes of checksum and one separator count as well.
        assert_eq!(
            encode(&mut out, &Parts { properties: &long[..32_747], ..example() }, PropertyCrc::Append),
            Err(EncodeError::Properties(32_768))
        );
        let topic = "t".repeat(32_768);
        assert_eq!(
            encode(&mut out, &Parts { topic: &topic, ..example() }, PropertyCrc::Off),
            Err(EncodeError::Topic(32_768))
        );
        assert_eq!(out, b"kept");
        assert!(
            encode(&mut out, &Parts { properties: &long[..32_767], ..example() }, PropertyCrc::Off).is_ok()
        );
    }

    #[test]
    fn property_crc_is_appended_and_checked() {
        let client = b"__CRC32#\x010123456789\x02KEYS\x01k";
        for (given, stored) in [
            (&b""[..], &b""[..]),
            (b"A\x011", b"A\x011\x02"),
            (b"A\x011\x02", b"A\x011\x02"),
            (client, b"KEYS\x01k\x02"),
        ] {
            let mut bytes = encoded(&Parts { properties: given, ..example() }, PropertyCrc::Append);
            patch_position(&mut bytes, PhysicalOffset(77), QueueOffset(3), TimestampMs(5));
            assert_eq!(decode(&bytes).unwrap().property_crc_matches(), Some(false));
            seal_property_crc(&mut bytes);
            let record = decode(&bytes).unwrap();
            assert_eq!(record.property_crc_matches(), Some(true));
            assert_eq!(&record.properties.0[..record.properties.0.len() - PROPERTY_CRC_LEN], stored);
            // Unlike the body's checksum it covers the position.
            bytes[PHYSICAL_AT + 7] ^= 1;
            assert_eq!(decode(&bytes).unwrap().property_crc_matches(), Some(false));
        }
    }

    #[test]
    fn property_crc_digits_run_backwards() {
        // Find the digits for a known checksum by their arithmetic: 907060870 is the CRC of `hello`.
        assert_eq!(&property_crc_digits(b"hello"), b"0780607090");
    }

    #[test]
    fn every_cut_is_incomplete_and_every_wrong_length_is_found() {
        let bytes = encoded(&example(), PropertyCrc::Off);
        for len in 0..bytes.len() {
            assert!(matches!(decode(&bytes[..len]), Err(RecordError::Incomplete { .. })), "{len}");
        }
        for delta in [-1i32, 1] {
            let mut wrong = bytes.clone();
            wrong.push(0);
            let total = i32::try_from(bytes.len()).unwrap() + delta;
            wrong[..4].copy_from_slice(&total.to_be_bytes());
            assert!(matches!(decode(&wrong), Err(RecordError::Length { .. })), "{delta}");
        }
    }

    #[test]
    fn rejects_negative_lengths_and_foreign_magic() {
        let bytes = encoded(&example(), PropertyCrc::Off);
        let with = |at: usize, value: &[u8]| {
            let mut bytes = bytes.clone();
            bytes[at..at + value.len()].copy_from_slice(value);
            bytes
        };
        assert_eq!(decode(&with(0, &[0xff; 4])), Err(RecordError::Negative("record")));
        assert_eq!(decode(&with(84, &[0xff; 4])), Err(RecordError::Negative("body")));
        assert_eq!(decode(&with(93, &[0xff])), Err(RecordError::Negative("topic")));
        assert_eq!(decode(&with(100, &[0xff; 2])), Err(RecordError::Negative("properties")));
        assert_eq!(decode(&with(94, &[0xff])), Err(RecordError::Topic));
        assert_eq!(decode(&encode_blank(100)), Err(RecordError::Magic(MAGIC_BLANK)));
        assert!(peek(&encode_blank(100)).unwrap().is_blank());
        assert_eq!(decode(&[0; 200]), Err(RecordError::Magic(0)));
    }

    #[test]
    fn a_pull_body_is_read_to_its_end_or_first_fault() {
        let one = encoded(&example(), PropertyCrc::Off);
        let mut body = [one.clone(), one.clone()].concat();
        assert_eq!(decode_all(&body).filter(Result::is_ok).count(), 2);
        body.extend_from_slice(&one[..20]);
        let read: Vec<_> = decode_all(&body).collect();
        assert_eq!(read.len(), 3);
        assert!(read[2].is_err());
    }

    prop_compose! {
        fn host()(ip in any::<IpAddr>(), port in any::<i32>()) -> Host {
            Host { ip, port }
        }
    }

    proptest! {
        #[test]
        fn roundtrip_record(
            topic in "[a-zA-Z%_-]{0,140}|[äß]{0,100}",
            numbers in any::<(i32, i32, i32, i64, i32, i64)>(),
            hosts in (host(), host()),
            body in prop::collection::vec(any::<u8>(), 0..64),
            properties in prop::collection::vec(any::<u8>(), 0..64),
            place in any::<(i64, i64, i64)>(),
            append in any::<bool>(),
        ) {
            let parts = Parts {
                topic: &topic,
                queue_id: QueueId(numbers.0),
                flag: numbers.1,
                sys_flag: numbers.2,
                born_timestamp: TimestampMs(numbers.3),
                born_host: hosts.0,
                store_host: hosts.1,
                reconsume_times: numbers.4,
                prepared_transaction_offset: PhysicalOffset(numbers.5),
                body: &body,
                properties: &properties,
            };
            let crc = if append { PropertyCrc::Append } else { PropertyCrc::Off };
            let mut bytes = encoded(&parts, crc);
            patch_position(&mut bytes, PhysicalOffset(place.0), QueueOffset(place.1), TimestampMs(place.2));
            if append {
                seal_property_crc(&mut bytes);
            }
            let record = decode(&bytes).unwrap();
            let expected = Parts { sys_flag: host_bits(&parts), ..parts };
            if append {
                prop_assert_eq!(record.property_crc_matches(), Some(true));
                prop_assert_eq!(Parts { properties: &properties, ..record.parts() }, expected);
            } else {
                prop_assert_eq!(record.parts(), expected);
            }
            prop_assert_eq!((record.physical.0, record.store_timestamp.0), (place.0, place.2));
            prop_assert!(record.body_crc_matches());
        }

        #[test]
        fn any_bytes_can_be_decoded(mut bytes in prop::collection::vec(any::<u8>(), 0..300), flip in any::<(u16, u8)>()) {
            let _ = decode(&bytes);
            let mut valid = encoded(&example(), PropertyCrc::Off);
            let at = usize::from(flip.0) % valid.len();
            valid[at] = flip.1;
            let _ = decode(&valid);
            valid.append(&mut bytes);
            let _ = decode_all(&valid).count();
        }
    }
}
