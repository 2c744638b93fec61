//! Message ids: the position-derived `offsetMsgId` and the producer-made `UNIQ_KEY`.
//!
//! Both are upper-case hex. An offsetMsgId is the store host (4 or 16 address bytes, 4 bytes port) and the physical
//! offset (8 bytes): 32 or 56 digits. A unique key has the same lengths: address, process id (2 bytes), class loader
//! hash (4), milliseconds since the month began (4), counter (2).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::types::{Host, PhysicalOffset, TimestampMs};

const TEXT_LEN_V4: usize = 32;
const TEXT_LEN_V6: usize = 56;
/// Bytes after the address, in both kinds of id.
const TAIL_LEN: usize = 12;

/// An id as text, without allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IdText {
    digits: [u8; TEXT_LEN_V6],
    len: u8,
}

impl IdText {
    fn new(ip: IpAddr, tail: [u8; TAIL_LEN]) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::from_parts(&ip.octets(), &tail),
            IpAddr::V6(ip) => Self::from_parts(&ip.octets(), &tail),
        }
    }

    fn from_parts(address: &[u8], tail: &[u8]) -> Self {
        const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
        let mut text = Self { digits: [b'0'; TEXT_LEN_V6], len: 0 };
        let (of_address, of_tail) = text.digits.split_at_mut(2 * address.len());
        for (digits, bytes) in [(of_address, address), (of_tail, tail)] {
            for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
                pair[0] = DIGITS[usize::from(byte >> 4)];
                pair[1] = DIGITS[usize::from(byte & 15)];
                text.len += 2;
            }
        }
        text
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The digits.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.digits[..usize::from(self.len)]
    }
}

impl fmt::Display for IdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for IdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a message lies: the id by which tools and transactions find it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetMsgId {
    /// Address of the broker as stored in the record.
    pub store_host: Host,
    /// Position of the record.
    pub physical: PhysicalOffset,
}

impl OffsetMsgId {
    /// The id as text.
    #[must_use]
    pub fn text(&self) -> IdText {
        let mut tail = [0; TAIL_LEN];
        tail[..4].copy_from_slice(&self.store_host.port.to_be_bytes());
        tail[4..].copy_from_slice(&self.physical.0.to_be_bytes());
        IdText::new(self.store_host.ip, tail)
    }

    /// Reads an id of 32 (IPv4) or 56 (IPv6) hex digits of either case; anything else is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0u8; TEXT_LEN_V6 / 2];
        let len = text.len() / 2;
        if text.len() != TEXT_LEN_V4 && text.len() != TEXT_LEN_V6 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit =
                |at: usize| char::from(pair[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            *byte = digit(0)? << 4 | digit(1)?;
        }
        let bytes = &bytes[..len];
        let (address, tail) = bytes.split_at(len - TAIL_LEN);
        let ip = if let Ok(octets) = <[u8; 4]>::try_from(address) {
            IpAddr::V4(Ipv4Addr::from(octets))
        } else {
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?))
        };
        let (port, physical) = tail.split_first_chunk::<4>()?;
        Some(Self {
            store_host: Host { ip, port: i32::from_be_bytes(*port) },
            physical: PhysicalOffset(i64::from_be_bytes(physical.try_into().ok()?)),
        })
    }
}

/// Makes unique keys, as a producer does (`MessageClientIDSetter`). Shared by all threads of a process.
#[derive(Debug)]
pub struct UniqueKeys {
    ip: IpAddr,
    process: u16,
    instance: u32,
    counter: AtomicU16,
}

impl UniqueKeys {
    /// `instance` tells several makers of one process apart; Java puts its class loader's hash there.
    #[must_use]
    pub fn new(ip: IpAddr, process: u16, instance: u32) -> Self {
        Self { ip, process, instance, counter: AtomicU16::new(0) }
    }

    /// The next key. `now` may be any clock; keys are unique as long as no more than 65,536 are made per millisecond.
    pub fn next(&self, now: TimestampMs) -> IdText {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        let mut tail = [0; TAIL_LEN];
        tail[..2].copy_from_slice(&self.process.to_be_bytes());
        tail[2..6].copy_from_slice(&self.instance.to_be_bytes());
        tail[6..10].copy_from_slice(&ms_of_month(now).to_be_bytes());
        tail[10..].copy_from_slice(&counter.to_be_bytes());
        IdText::new(self.ip, tail)
    }
}

/// Milliseconds since the month of `now` began, in UTC. Java takes the local month; nobody reads the value back.
fn ms_of_month(now: TimestampMs) -> u32 {
    const DAY_MS: i64 = 86_400_000;
    // Day of month from days since 1970-01-01 in the proleptic Gregorian calendar, counted in 400-year eras that
    // begin on March 1st, so that the leap day comes last (the usual civil-from-days arithmetic).
    let day_of_era = (now.0.div_euclid(DAY_MS) + 719_468).rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5;
    u32::try_from(day * DAY_MS + now.0.rem_euclid(DAY_MS)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn id_made_by_java() {
        let id = OffsetMsgId {
            store_host: Host { ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), port: 10911 },
            physical: PhysicalOffset(1024),
        };
        assert_eq!(id.text().as_str(), "0A00000100002A9F0000000000000400");
        assert_eq!(OffsetMsgId::parse("0A00000100002A9F0000000000000400"), Some(id));
        assert_eq!(OffsetMsgId::parse("0a00000100002a9f0000000000000400"), Some(id));
    }

    #[test]
    fn rejects_what_is_no_id() {
        for text in [
            "",
            "0A",
            "0A00000100002A9F000000000000040",
            "0A00000100002A9F000000000000040G",
            "ä".repeat(16).as_str(),
        ] {
            assert_eq!(OffsetMsgId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn month_arithmetic() {
        // 2023-11-14T22:13:20Z: 13 whole days and 80,000 s into November.
        assert_eq!(ms_of_month(TimestampMs(1_700_000_000_000)), 13 * 86_400_000 + 80_000_000);
        assert_eq!(ms_of_month(TimestampMs(0)), 0);
        // 2024-02-29T23:59:59.999Z, then March begins.
        assert_eq!(ms_of_month(TimestampMs(1_709_251_199_999)), 29 * 86_400_000 - 1);
        assert_eq!(ms_of_month(TimestampMs(1_709_251_200_000)), 0);
        // 2024-12-31T00:00:00Z and the new year.
        assert_eq!(ms_of_month(TimestampMs(1_735_603_200_000)), 30 * 86_400_000);
        assert_eq!(ms_of_month(TimestampMs(1_735_689_600_000)), 0);
    }

    #[test]
    fn unique_keys_differ_and_have_the_usual_shape() {
        let keys = UniqueKeys::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)), 0x0d1a, 0x18b4_aac2);
        let first = keys.next(TimestampMs(0));
        assert_eq!(first.as_str(), "0A0000070D1A18B4AAC2000000000000");
        assert_ne!(first, keys.next(TimestampMs(0)));
        let v6 = UniqueKeys::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 1, 2).next(TimestampMs(5));
        assert_eq!(v6.as_str().len(), 56);
    }

    proptest! {
        #[test]
        fn roundtrip_offset_msg_id(ip in any::<IpAddr>(), port in any::<i32>(), physical in any::<i64>()) {
            let id = OffsetMsgId { store_host: Host { ip, port }, physical: PhysicalOffset(physical) };
            prop_assert_eq!(OffsetMsgId::parse(id.text().as_str()), Some(id));
        }

        #[test]
        fn any_text_can_be_tried(text in ".{0,60}") {
            let _ = OffsetMsgId::parse(&text);
        }
    }
}
