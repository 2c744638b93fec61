//! The HAProxy PROXY preamble, text (v1) and binary (v2), as a pure parser.
//!
//! Its first byte (`P` or CR) cannot begin a frame or a TLS record, so a plain client never waits for more bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const V1_PREFIX: &[u8] = b"PROXY ";
const V1_BYTES_MAX: usize = 107;
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED_BYTES: usize = 16;
/// Room for addresses, and for type-length-values as generous as proxies send them.
const V2_VARIABLE_BYTES_MAX: usize = 4096;

/// What the proxy said about the connection it forwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxied {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// Type-length-values of version 2, as sent.
    pub extras: Vec<(u8, Vec<u8>)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Preamble {
    /// More bytes are needed to decide or to finish.
    Incomplete,
    /// These bytes belong to the client.
    Absent,
    Present {
        consumed: usize,
        /// `None` for the proxy's own connections (health checks).
        proxied: Option<Proxied>,
    },
    Malformed,
}

pub(crate) fn parse(bytes: &[u8]) -> Preamble {
    let starts_like = |magic: &[u8]| bytes.iter().zip(magic).all(|(have, want)| have == want);
    if bytes.is_empty() {
        Preamble::Incomplete
    } else if starts_like(V1_PREFIX) {
        parse_v1(bytes)
    } else if starts_like(V2_SIGNATURE) {
        parse_v2(bytes)
    } else {
        Preamble::Absent
    }
}

fn parse_v1(bytes: &[u8]) -> Preamble {
    let window = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < V1_BYTES_MAX { Preamble::Incomplete } else { Preamble::Malformed };
    };
    let Ok(line) = std::str::from_utf8(&window[..end]) else { return Preamble::Malformed };
    let words: Vec<&str> = line.split(' ').collect();
    let proxied = match words[..] {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", family @ ("TCP4" | "TCP6"), source, destination, source_port, destination_port] => {
            let address = |ip: &str, port: &str| {
                let ip: IpAddr = ip.parse().ok()?;
                let fits = ip.is_ipv4() == (family == "TCP4");
                fits.then_some(SocketAddr::new(ip, port.parse().ok()?))
            };
            match (address(source, source_port), address(destination, destination_port)) {
                (Some(source), Some(destination)) => {
                    Some(Proxied { source, destination, extras: Vec::new() })
                }
                _ => return Preamble::Malformed,
            }
        }
        _ => return Preamble::Malformed,
    };
    Preamble::Present { consumed: end + 2, proxied }
}

fn parse_v2(bytes: &[u8]) -> Preamble {
    let Some((fixed, rest)) = bytes.split_at_checked(V2_FIXED_BYTES) else { return Preamble::Incomplete };
    let (version_command, family) = (fixed[12], fixed[13]);
    let variable_len = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if version_command >> 4 != 2 || variable_len > V2_VARIABLE_BYTES_MAX {
        return Preamble::Malformed;
    }
    let Some(variable) = rest.get(..variable_len) else { return Preamble::Incomplete };
    let consumed = V2_FIXED_BYTES + variable_len;
    let proxied = match version_command & 0x0f {
        0 => None,
        1 => match parse_v2_addresses(family, variable) {
            Ok(proxied) => proxied,
            Err(Malformed) => return Preamble::Malformed,
        },
        _ => return Preamble::Malformed,
    };
    Preamble::Present { consumed, proxied }
}

struct Malformed;

fn parse_v2_addresses(family: u8, variable: &[u8]) -> Result<Option<Proxied>, Malformed> {
    let (source, destination, rest) = match family {
        0x11 => {
            let (addresses, rest) = variable.split_first_chunk::<12>().ok_or(Malformed)?;
            let ip = |at: usize| {
                Ipv4Addr::new(addresses[at], addresses[at + 1], addresses[at + 2], addresses[at + 3]).into()
            };
            let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
            (SocketAddr::new(ip(0), port(8)), SocketAddr::new(ip(4), port(10)), rest)
        }
        0x21 => {
            let (addresses, rest) = variable.split_first_chunk::<36>().ok_or(Malformed)?;
            let ip = |at: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&addresses[at..at + 16]);
                Ipv6Addr::from(octets).into()
            };
            let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
            (SocketAddr::new(ip(0), port(32)), SocketAddr::new(ip(16), port(34)), rest)
        }
        // Unix sockets, datagrams and "unspecified": a proxied connection whose addresses mean nothing to us.
        _ => return Ok(None),
    };
    Ok(Some(Proxied { source, destination, extras: parse_v2_extras(rest)? }))
}

fn parse_v2_extras(mut rest: &[u8]) -> Result<Vec<(u8, Vec<u8>)>, Malformed> {
    let mut extras = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk::<3>() {
        let len = usize::from(u16::from_be_bytes([head[1], head[2]]));
        let (value, tail) = tail.split_at_checked(len).ok_or(Malformed)?;
        extras.push((head[0], value.to_vec()));
        rest = tail;
    }
    if rest.is_empty() { Ok(extras) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(version_command: u8, family: u8, variable: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([version_command, family]);
        bytes.extend((variable.len() as u16).to_be_bytes());
        bytes.extend(variable);
        bytes
    }

    fn assert_every_prefix_is_incomplete(bytes: &[u8], consumed: usize) {
        for len in 0..consumed {
            assert_eq!(parse(&bytes[..len]), Preamble::Incomplete, "{len} bytes");
        }
    }

    #[test]
    fn text_form_names_the_client() {
        let bytes = b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 10911\r\n\0\0\0\x40";
        let Preamble::Present { consumed, proxied: Some(proxied) } = parse(bytes) else {
            panic!("not recognised")
        };
        assert_eq!(&bytes[consumed..], b"\0\0\0\x40");
        assert_eq!(proxied.source, "192.0.2.7:51234".parse().unwrap());
        assert_eq!(proxied.destination, "198.51.100.1:10911".parse().unwrap());
        assert_every_prefix_is_incomplete(bytes, consumed);
    }

    #[test]
    fn text_form_of_health_checks_has_no_addresses() {
        let bytes = b"PROXY UNKNOWN\r\n";
        assert_eq!(parse(bytes), Preamble::Present { consumed: bytes.len(), proxied: None });
    }

    #[test]
    fn binary_form_carries_addresses_and_extras() {
        let mut variable = vec![192, 0, 2, 7, 198, 51, 100, 1, 0xc8, 0x22, 0x2a, 0x9f];
        variable.extend([0x02, 0, 4]);
        variable.extend(b"host");
        let bytes = v2(0x21, 0x11, &variable);
        let Preamble::Present { consumed, proxied: Some(proxied) } = parse(&bytes) else {
            panic!("not recognised")
        };
        assert_eq!(consumed, bytes.len());
        assert_eq!(proxied.source, "192.0.2.7:51234".parse().unwrap());
        assert_eq!(proxied.extras, [(0x02, b"host".to_vec())]);
        assert_every_prefix_is_incomplete(&bytes, consumed);
    }

    #[test]
    fn binary_form_knows_ipv6_and_local_connections() {
        let source: Ipv6Addr = "2001:db8::7".parse().unwrap();
        let destination: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let variable =
            [&source.octets()[..], &destination.octets(), &51234u16.to_be_bytes(), &10911u16.to_be_bytes()]
                .concat();
        let Preamble::Present { proxied: Some(proxied), .. } = parse(&v2(0x21, 0x21, &variable)) else {
            panic!("not recognised")
        };
        assert_eq!(proxied.source, "[2001:db8::7]:51234".parse().unwrap());
        assert_eq!(parse(&v2(0x20, 0, &[])), Preamble::Present { consumed: 16, proxied: None });
    }

    #[test]
    fn rejects_what_only_looks_like_a_preamble() {
        for text in [
            "PROXY TCP4 192.0.2.7 198.51.100.1 51234\r\n",
            "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 51234 99999\r\n",
            "PROXY HTTP\r\n",
        ] {
            assert_eq!(parse(text.as_bytes()), Preamble::Malformed, "{text}");
        }
        let endless = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
        assert_eq!(parse(&endless), Preamble::Malformed);
        assert_eq!(parse(&v2(0x31, 0x11, &[0; 12])), Preamble::Malformed);
        assert_eq!(parse(&v2(0x21, 0x11, &[0; 11])), Preamble::Malformed);
        assert_eq!(parse(&v2(0x21, 0x11, &[0; 14])), Preamble::Malformed);
        let mut absurd = v2(0x21, 0x11, &[]);
        absurd[14] = 0xff;
        assert_eq!(parse(&absurd), Preamble::Malformed);
    }

    #[test]
    fn frames_and_tls_records_are_left_alone() {
        assert_eq!(parse(&[0]), Preamble::Absent);
        assert_eq!(parse(&[0x16]), Preamble::Absent);
        assert_eq!(parse(b"PING"), Preamble::Absent);
    }
}
