//! The broker of the same process, as each client can reach it.
//!
//! A broker whose address nobody configured registers one that it chose among those of the machine, and a client on
//! another network may not be able to use that one. But the client has just reached this process, and the broker of
//! this process listens on every address: so the client is told the address it came through. What is stored stays as
//! it was registered.

use std::net::IpAddr;

use ferromq_config::address::host_text;
use ferromq_protocol::body::BrokerData;

/// A broker in the same process that listens on every address of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnBroker {
    /// Its broker name.
    pub name: String,
    /// Host part of the address that it registers.
    pub host: String,
}

impl OwnBroker {
    /// Shows this broker among `brokers` at `reached`, the address through which the client came.
    pub(crate) fn show<'a>(&self, brokers: impl IntoIterator<Item = &'a mut BrokerData>, reached: IpAddr) {
        let own = brokers.into_iter().filter(|broker| broker.broker_name == self.name);
        for address in own.flat_map(|broker| broker.broker_addrs.values_mut()) {
            if let Some(shown) = self.as_reached(address, reached) {
                *address = shown;
            }
        }
    }

    /// Another form of an address, if it is this broker's.
    pub(crate) fn as_reached(&self, address: &str, reached: IpAddr) -> Option<String> {
        // An address of one network link is not complete without the name of the client's interface.
        if matches!(reached.to_canonical(), IpAddr::V6(ip) if ip.is_unicast_link_local()) {
            return None;
        }
        let (host, port) = address.rsplit_once(':')?;
        (host == self.host).then(|| format!("{}:{port}", host_text(reached)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str, address: &str, reached: &str) -> String {
        let own = OwnBroker { name: "broker-a".to_owned(), host: "192.0.2.2".to_owned() };
        let addresses = [(0, address.to_owned())].into();
        let mut broker =
            BrokerData { broker_name: name.to_owned(), broker_addrs: addresses, ..BrokerData::default() };
        own.show([&mut broker], reached.parse().unwrap());
        broker.broker_addrs.remove(&0).unwrap()
    }

    #[test]
    fn the_client_is_told_the_address_it_came_through() {
        assert_eq!(shown("broker-a", "192.0.2.2:10911", "10.0.0.1"), "10.0.0.1:10911");
        assert_eq!(shown("broker-a", "192.0.2.2:10911", "::ffff:10.0.0.1"), "10.0.0.1:10911");
        assert_eq!(shown("broker-a", "192.0.2.2:10911", "2001:db8::1"), "[2001:db8::1]:10911");
        assert_eq!(shown("broker-a", "192.0.2.2:10911", "127.0.0.1"), "127.0.0.1:10911");
    }

    #[test]
    fn other_brokers_stay_where_they_are() {
        assert_eq!(shown("broker-b", "192.0.2.2:20911", "10.0.0.1"), "192.0.2.2:20911");
        assert_eq!(shown("broker-a", "192.0.2.3:10911", "10.0.0.1"), "192.0.2.3:10911");
    }

    #[test]
    fn an_address_of_one_link_is_of_no_use_to_others() {
        assert_eq!(shown("broker-a", "192.0.2.2:10911", "fe80::1"), "192.0.2.2:10911");
    }
}
