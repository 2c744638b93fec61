//! JSON as Java writes and reads it (fastjson 1 and 2), which is not quite JSON, behind serde.
//!
//! Written: compact, members that are none left out, integer map keys bare (`{0:5}`), objects as map keys
//! (`{{"queueId":0}:5}`), because that is what clients in the field split and parse. [`Form`] has the other two
//! shapes: proper JSON for new clients' routes, and the tab-indented form of Java's files.
//!
//! Read: all of that, and numbers as strings, strings as numbers, nulls (which count as missing), unknown members,
//! comments, single quotes, trailing commas. Nesting is bounded, and so is memory: what is built may take a small
//! multiple of the text's length.

pub(crate) mod lexer;
mod read;
pub(crate) mod text;
mod value;
mod write;

pub use self::read::{Error, from_slice};
pub use self::value::Value;
pub use self::write::{Form, Rendered, to_vec, write};
