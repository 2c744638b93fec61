//! What clients see: send, pull, offsets, consumer groups, topics, admin requests.

pub mod attributes;
pub mod clients;
pub mod groups;
pub mod metadata;
pub mod names;
pub mod offsets;
pub mod queue_locks;
pub mod stats;
pub mod topics;
