//! What clients see: send, pull, offsets, consumer groups, topics, admin requests.

pub mod attributes;
pub mod background;
pub mod broker;
pub mod clients;
mod creation;
pub mod groups;
mod handlers;
pub mod holds;
mod housekeeping;
pub mod java_text;
pub mod metadata;
pub mod names;
pub mod offsets;
pub mod queue_locks;
pub mod registration;
pub mod requests;
pub mod response;
pub mod server;
mod stall;
pub mod stats;
pub mod topics;
