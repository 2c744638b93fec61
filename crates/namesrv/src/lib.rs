//! The name server: which brokers there are and who serves which queues.
//!
//! - [`routes`] is the registry itself, a plain struct; [`kv`] the settings that it keeps for others.
//! - [`requests`] has the one table from request code to function, and the session that runs it.
//! - [`own_broker`] shows the broker of the same process at the address a client came through.
//! - [`server`] builds everything, serves, and looks for brokers that fell silent.
//!
//! What always holds: name servers know nothing of each other; nothing but the key-value settings and the
//! configuration is on disk; a broker whose connection is gone is gone at once.

pub mod kv;
pub mod own_broker;
pub mod requests;
pub mod routes;
pub mod server;
