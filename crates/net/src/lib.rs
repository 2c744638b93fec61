//! Sockets of the remoting protocol: server, connection, caller, TLS, limits.
//!
//! - [`server`] listens and accepts; [`connection`] is the task of one connection and defines what a
//!   [`Service`](connection::Service) is; [`peer`] is how everyone else reaches it.
//! - [`caller`] keeps outgoing connections, one per address, with the same connection task.
//! - [`limits`] holds every limit with its gauge; [`tls`] and [`proxy_protocol`] decide what comes before the frames.
//!
//! What always holds: nothing is buffered without a bound; a connection that breaks the protocol or does not read its
//! answers loses only itself; nothing is allocated per message on the way from the socket to the session and back.
//! This crate knows no request code but the one with which a stopping server sends its clients away.

pub mod caller;
pub mod connection;
mod inbox;
pub mod limits;
pub mod peer;
pub mod proxy_protocol;
pub mod server;
mod stream;
pub mod tls;
