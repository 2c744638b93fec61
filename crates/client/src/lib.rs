//! Native client of the remoting protocol: producers, consumers and admin calls.
//!
//! [`Client`] is what they share: it knows the name servers, keeps routes fresh, holds one connection
//! per broker and sends heartbeats. From it come [`Producer`], [`PullConsumer`], [`PushConsumer`] and
//! [`Admin`]. There is no global state; several clients in one process are independent.
//!
//! Behaviour and defaults are those of the official clients. On purpose different: no HTTP address
//! server is asked unless configured; answers that say "busy" are waited for before the next attempt;
//! offsets are sent when they have changed.

mod admin;
mod client;
mod compress;
mod error;
mod members;
mod message;
mod name_servers;
mod producer;
mod pull;
mod push;
mod rebalance;
mod routes;
mod subscription;

pub use admin::{Admin, FoundMessages, GroupOffsets};
pub use client::{Client, ClientConfig};
pub use compress::BadBody;
pub use error::{CallError, ClientError, Refused, RouteError};
pub use message::{InvalidMessage, Message, MessageQueue, ReceivedMessage};
pub use name_servers::{AddressServer, NameServerError};
pub use producer::{Producer, ProducerOptions, SendError, SendReceipt, SendStatus};
pub use pull::{PullAnswer, PullConsumer, PullError, PullRequest, PullStatus};
pub use push::{ConsumeFrom, ConsumeResult, PushConsumer, PushOptions, StartError};
pub use rebalance::average;
pub use routes::Route;
pub use subscription::Subscription;
