//! Free ports for servers that must come back on the same port after a restart.
//!
//! They are taken from below the range of ephemeral ports: a client that keeps trying to connect to a stopped server on
//! an ephemeral port may be given that very port as its own, connect to itself and block the restart.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// One free port.
pub fn one() -> Result<u16> {
    run(1)
}

/// The listen port of a broker: its neighbours (−2 for the fast port, +1 for HA) are free too.
pub fn broker() -> Result<u16> {
    Ok(run(4)? + 2)
}

/// The first of so many free ports in a row. Processes start at different places, calls never get the same.
fn run(length: u16) -> Result<u16> {
    let spread = u16::try_from(std::process::id() % 1_000).expect("below 1,000") * 12;
    for _ in 0..COUNT / length {
        let at = FIRST + (spread + NEXT.fetch_add(length, Ordering::Relaxed)) % (COUNT - length);
        let free = |port: u16| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
        if (at..at + length).all(free) {
            return Ok(at);
        }
    }
    bail!("no {length} free ports in a row between {FIRST} and {}", FIRST + COUNT)
}

#[cfg(test)]
mod tests {
    #[test]
    fn ports_are_handed_out_once() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..20 {
            let port = super::broker().unwrap();
            assert!((port - 2..=port + 1).all(|p| seen.insert(p)), "{port} overlaps an earlier one");
        }
    }
}
