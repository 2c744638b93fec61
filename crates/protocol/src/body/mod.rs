//! JSON bodies of requests and responses, and the JSON files of the broker: one type serves wire and disk.
//!
//! Types are plain data. Members stand in the order Java writes them (alphabetical by its names); missing ones have
//! Java's defaults, unknown ones are dropped. [`crate::json`] does reading and writing.

mod client;
mod ha;
mod heartbeat;
mod list;
mod offset;
mod queue;
mod register;
mod route;
mod stats;
mod subscription;
mod topic;

pub use self::client::*;
pub use self::ha::*;
pub use self::heartbeat::*;
pub use self::list::*;
pub use self::offset::*;
pub use self::queue::*;
pub use self::register::*;
pub use self::route::*;
pub use self::stats::*;
pub use self::subscription::*;
pub use self::topic::*;

use serde::{Deserialize, Serialize};

/// An enum whose values travel by name. A name we do not know is read as the default.
macro_rules! names {
    ($(
        $(#[$doc:meta])*
        pub enum $type:ident or $default:ident {
            $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)+
        }
    )+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
            pub enum $type {
                $($(#[$variant_doc])* $variant,)+
            }

            impl $type {
                /// Java's name.
                #[must_use]
                pub fn name(self) -> &'static str {
                    match self {
                        $(Self::$variant => $name,)+
                    }
                }

                /// By Java's name; `None` if there is no such value.
                #[must_use]
                pub fn from_name(name: &str) -> Option<Self> {
                    match name {
                        $($name => Some(Self::$variant),)+
                        _ => None,
                    }
                }
            }

            impl Default for $type {
                fn default() -> Self {
                    Self::$default
                }
            }

            impl serde::Serialize for $type {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.serialize_str(self.name())
                }
            }

            impl<'de> serde::Deserialize<'de> for $type {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let name = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
                    Ok(Self::from_name(&name).unwrap_or_default())
                }
            }
        )+
    };
}
pub(crate) use names;

/// Tells whether two tables are the same (`DataVersion`): equal only if all three numbers are. Ordered by state
/// version, then counter, then timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DataVersion {
    /// Changes so far.
    pub counter: i64,
    /// Leadership epoch; 0 without replication.
    pub state_version: i64,
    /// Time of the last change, milliseconds since the epoch.
    pub timestamp: i64,
}

impl DataVersion {
    /// The version after one more change, made at `now_ms`.
    #[must_use]
    pub fn next(self, now_ms: i64) -> Self {
        Self { counter: self.counter.saturating_add(1), timestamp: now_ms, ..self }
    }
}

impl PartialOrd for DataVersion {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DataVersion {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |version: &Self| (version.state_version, version.counter, version.timestamp);
        key(self).cmp(&key(other))
    }
}
