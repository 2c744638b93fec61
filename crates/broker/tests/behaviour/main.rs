//! What clients see of a broker, through real connections.

mod admin;
mod clients;
mod offsets;
mod pull;
mod refusals;
mod rows;
mod send;
mod support;
