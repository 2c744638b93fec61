//! Numbers that must not be swapped by accident. All travel as signed Java integers.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($repr:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $repr);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl From<$repr> for $name {
            fn from(value: $repr) -> Self {
                Self(value)
            }
        }

        impl From<$name> for $repr {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

number!(
    /// Byte position in the commit log, over all its files. Negative only on the wire.
    PhysicalOffset(i64)
);
number!(
    /// Index of an entry in its consume queue; what clients call the queue offset.
    QueueOffset(i64)
);
number!(
    /// Number of a queue within its topic. Negative on the wire means "any".
    QueueId(i32)
);
number!(
    /// Member number within a broker name; 0 leads in classic replication.
    BrokerId(i64)
);
number!(
    /// Milliseconds since the Unix epoch, UTC.
    TimestampMs(i64)
);

impl PhysicalOffset {
    /// The position `len` bytes further on.
    #[must_use]
    pub fn plus(self, len: u64) -> Self {
        Self(self.0.saturating_add(i64::try_from(len).unwrap_or(i64::MAX)))
    }
}

impl QueueOffset {
    /// The offset `count` entries further on.
    #[must_use]
    pub fn plus(self, count: i64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

/// Address in a record or a message id. The port takes four bytes there and may hold what no socket has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// IPv4 or IPv6 address; decides whether the field takes 8 or 20 bytes.
    pub ip: IpAddr,
    /// The port.
    pub port: i32,
}

impl Host {
    /// The address as a socket has it, unless the port is out of range.
    #[must_use]
    pub fn socket_addr(self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.ip, u16::try_from(self.port).ok()?))
    }
}

impl From<SocketAddr> for Host {
    fn from(address: SocketAddr) -> Self {
        Self { ip: address.ip(), port: i32::from(address.port()) }
    }
}

/// `ip:port`, without brackets around an IPv6 address, as Java prints it.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.ip, self.port)
    }
}
