//! What clients see of a broker, through real connections.

mod refusals;
mod rows;
mod send;
mod support;
