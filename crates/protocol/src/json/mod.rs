//! JSON as Java writes and reads it (fastjson 1 and 2), which is not quite JSON.

pub(crate) mod lexer;
pub(crate) mod text;
