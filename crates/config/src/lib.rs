//! Configuration: every key RocketMQ has, what it means here, who set it, and the checked sections made of it.
//!
//! Two layers. [`settings::Settings`] is what the sources said, decided key by key against one [`table::Table`] per
//! process. [`broker::BrokerConfig`] and [`namesrv::NamesrvConfig`] are what follows from it: immutable sections with
//! units in their names, one for each component that needs something.
//!
//! What always holds: a configuration that loads is complete and consistent; a key that would have made the server
//! safer, more private or differently laid out than it is stops the load; nothing a file says is ignored in silence.

pub mod address;
pub mod broker;
pub mod host;
pub mod key;
pub mod namesrv;
mod nearest;
pub mod server;
pub mod settings;
pub mod source;
pub mod store;
pub mod table;
