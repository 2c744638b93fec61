//! Deciding which messages a subscription wants.
//!
//! Pure: expressions in, decisions out. Tag expressions only for now; SQL92 expressions are recognised by their
//! type and refused by the broker.

pub mod tag;

pub use tag::{TagExpression, TagParseError};

/// How an expression is to be read, as clients name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpressionType<'a> {
    /// `TAG`, and what clients mean by sending nothing.
    Tag,
    /// Anything else, by its name: `SQL92`, or a language nobody knows.
    Other(&'a str),
}

impl<'a> ExpressionType<'a> {
    /// An absent or empty type means tags.
    #[must_use]
    pub fn of(name: Option<&'a str>) -> Self {
        match name {
            None | Some("" | "TAG") => Self::Tag,
            Some(other) => Self::Other(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_empty_and_tag_mean_tags() {
        for name in [None, Some(""), Some("TAG")] {
            assert_eq!(ExpressionType::of(name), ExpressionType::Tag);
        }
        assert_eq!(ExpressionType::of(Some("SQL92")), ExpressionType::Other("SQL92"));
        assert_eq!(ExpressionType::of(Some("tag")), ExpressionType::Other("tag"), "names are case-sensitive");
    }
}
