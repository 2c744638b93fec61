//! The address this machine gives to others when `brokerIP1` is not set.
//!
//! The choice is Java's (`NetworkUtil`), so that a broker keeps its registered address when it moves between the two.
//! Clients of this process do not depend on it: they get the address they came through.

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

/// Addresses of the interfaces that count: up, no loopback, no bridge, no alias, not point-to-point; in system order.
pub(crate) fn candidates() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces
        .into_iter()
        .filter(|interface| {
            !interface.is_loopback()
                && !interface.is_p2p()
                && interface.oper_status != if_addrs::IfOperStatus::Down
                && !interface.name.contains(':')
                && !Path::new("/sys/class/net").join(&interface.name).join("bridge").exists()
        })
        .map(|interface| interface.ip())
        .collect()
}

/// First public IPv4, else the last IPv4, else the first global IPv6, else the first IPv6.
pub(crate) fn choose(candidates: &[IpAddr]) -> Option<IpAddr> {
    let v4 = || candidates.iter().filter_map(|ip| if let IpAddr::V4(ip) = ip { Some(*ip) } else { None });
    let v6 = || candidates.iter().filter_map(|ip| if let IpAddr::V6(ip) = ip { Some(*ip) } else { None });
    v4().find(|ip| !ip.is_private())
        .or_else(|| v4().next_back())
        .map(IpAddr::V4)
        .or_else(|| v6().find(|ip| !is_internal(*ip)).or_else(|| v6().next()).map(IpAddr::V6))
}

fn is_internal(ip: Ipv6Addr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || ip.is_unicast_link_local() || ip.is_unique_local()
}

/// As it stands before `:port`: IPv6 in brackets, an IPv4 address in IPv6 clothes without them.
pub fn host_text(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// Why an address helps nobody on another machine, if so.
pub fn unreachable_because(ip: IpAddr) -> Option<&'static str> {
    match ip.to_canonical() {
        ip if ip.is_loopback() => Some("it is a loopback address"),
        ip if ip.is_unspecified() => Some("it is not the address of one machine"),
        IpAddr::V4(ip) if ip.is_link_local() => Some("it is valid on one network link only"),
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some("it is valid on one network link only"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(candidates: &[&str]) -> Option<String> {
        let candidates: Vec<IpAddr> = candidates.iter().map(|ip| ip.parse().unwrap()).collect();
        choose(&candidates).map(host_text)
    }

    #[test]
    fn a_public_ipv4_wins_then_the_last_private_one() {
        assert_eq!(chosen(&["10.0.0.1", "192.0.2.7", "192.0.2.8"]).as_deref(), Some("192.0.2.7"));
        assert_eq!(chosen(&["10.0.0.1", "172.16.3.4", "192.168.0.2"]).as_deref(), Some("192.168.0.2"));
        assert_eq!(chosen(&["2001:db8::1", "10.0.0.1"]).as_deref(), Some("10.0.0.1"));
    }

    #[test]
    fn ipv6_is_written_in_brackets_and_link_local_comes_last() {
        assert_eq!(chosen(&["fe80::1", "2001:db8::1"]).as_deref(), Some("[2001:db8::1]"));
        assert_eq!(chosen(&["fe80::1", "fd00::1"]).as_deref(), Some("[fe80::1]"));
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn mapped_ipv4_is_written_as_ipv4() {
        assert_eq!(host_text("::ffff:192.0.2.1".parse().unwrap()), "192.0.2.1");
    }

    #[test]
    fn addresses_that_do_not_leave_the_machine_are_known() {
        for ip in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "169.254.1.1", "fe80::1"] {
            assert!(unreachable_because(ip.parse().unwrap()).is_some(), "{ip}");
        }
        for ip in ["10.0.0.1", "192.0.2.1", "2001:db8::1"] {
            assert_eq!(unreachable_because(ip.parse().unwrap()), None, "{ip}");
        }
    }
}
