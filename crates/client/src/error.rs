//! Why a call has no good answer. Every public operation has its own enum where more can go wrong than
//! a call.

use ferromq_net::caller::RequestError;
use ferromq_protocol::code;
use thiserror::Error;

use crate::name_servers::NameServerError;

/// The other side answered, but not with success.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{address} answered with code {code} ({}): {remark}", code::response::name(*code).unwrap_or("unknown"))]
pub struct Refused {
    pub address: String,
    pub code: i32,
    pub remark: String,
}

/// One request and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// There was no answer: no connection, or not in time. Another address may do.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The answer says no; its code tells whether trying again makes sense.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The answer cannot be read: the other side is something else than it should be, or newer than we know.
    #[error("the answer of {address} to request code {code} cannot be read: {reason}")]
    Malformed { address: String, code: i32, reason: String },
    /// The request exceeds what fits into a frame.
    #[error("a request of {0} bytes exceeds the frame limit")]
    TooLong(usize),
}

impl CallError {
    /// The response code, if there was a response.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Refused(refused) => Some(refused.code),
            Self::Request(_) | Self::Malformed { .. } | Self::TooLong(_) => None,
        }
    }
}

/// Why it is not known who serves a topic.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RouteError {
    #[error(transparent)]
    NameServers(#[from] NameServerError),
    /// All name servers know the topic as little as the one that answered.
    #[error("No route info of this topic: {topic}")]
    NoRoute { topic: String },
    /// No name server gave an answer; this is the failure of the last one.
    #[error("the name servers do not answer: {0}")]
    Call(CallError),
    /// The route says nothing of this broker, or nothing of its leader.
    #[error("The broker[{0}] not exist")]
    NoBroker(String),
    /// The topic has no queue that may be used so.
    #[error("topic {topic} has no {kind} queue")]
    NoQueue { topic: String, kind: &'static str },
}

/// An operation on a queue, a group or a broker: first the way there, then the call.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClientError {
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error(transparent)]
    Call(#[from] CallError),
}

impl ClientError {
    /// The response code, if there was a response.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Call(error) => error.code(),
            Self::Route(_) => None,
        }
    }
}
