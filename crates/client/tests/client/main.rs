//! The client against a small server of our own, one file per behaviour.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod admin_calls;
mod discovery;
mod fake;
mod group_members;
mod pulling;
mod sending;
