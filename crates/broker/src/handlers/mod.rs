//! What the broker does for each request, one file per family.

pub(crate) mod admin;
pub(crate) mod heartbeat;
pub(crate) mod locks;
pub(crate) mod offsets;
pub(crate) mod pull;
pub(crate) mod query;
pub(crate) mod relay;
pub(crate) mod send;
pub(crate) mod times;
