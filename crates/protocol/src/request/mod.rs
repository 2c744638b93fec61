//! Headers of requests, by area.

mod pull;
mod send;

pub use self::pull::*;
pub use self::send::*;
