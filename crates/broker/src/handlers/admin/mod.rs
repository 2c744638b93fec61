//! Requests of tools: what exists, how it is set, how it is doing.

pub(crate) mod config;
pub(crate) mod connections;
pub(crate) mod consume_stats;
pub(crate) mod groups;
pub(crate) mod runtime;
pub(crate) mod topics;
