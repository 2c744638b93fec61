//! Tag expressions: `*`, or tags separated by `||`.
//!
//! A queue entry carries only the Java hash of the message's tag, so a match by hash may be a collision: the client
//! compares the tags themselves again. No false negative is possible.

use ferromq_protocol::java;

/// A parsed tag expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagExpression {
    /// Every message.
    All,
    /// Messages with one of these tags, in the order written, without blanks, possibly repeated. May be empty: then
    /// nothing matches.
    Tags(Vec<Box<str>>),
}

/// The expression holds separators only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("subString split error")]
pub struct TagParseError;

impl TagExpression {
    /// Parses as Java's `FilterAPI` does: nothing, an empty text and `*` match everything; blanks around tags do not
    /// count; empty tags between separators are dropped, but an expression of separators only is an error.
    pub fn parse(expression: Option<&str>) -> Result<Self, TagParseError> {
        let text = match expression {
            None | Some("" | "*") => return Ok(Self::All),
            Some(text) => text,
        };
        let mut pieces: Vec<&str> = text.split("||").collect();
        // Java's `split` forgets trailing empty pieces; if nothing is left it calls the expression wrong.
        while pieces.last().is_some_and(|piece| piece.is_empty()) {
            pieces.pop();
        }
        if pieces.is_empty() {
            return Err(TagParseError);
        }
        let tags = pieces.into_iter().map(java_trim).filter(|tag| !tag.is_empty()).map(Box::from);
        Ok(Self::Tags(tags.collect()))
    }

    /// The hashes that queue entries of wanted messages carry, sorted and each once; `None` if every entry is wanted.
    #[must_use]
    pub fn hashes(&self) -> Option<Vec<i32>> {
        let Self::Tags(tags) = self else { return None };
        let mut hashes: Vec<i32> = tags.iter().map(|tag| java::hash_code(tag)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        Some(hashes)
    }
}

/// Java's `String.trim`: everything up to the blank counts as white space, nothing above it does.
fn java_trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(expression: &str) -> Vec<String> {
        match TagExpression::parse(Some(expression)).unwrap() {
            TagExpression::All => panic!("{expression} matches everything"),
            TagExpression::Tags(tags) => tags.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn nothing_empty_and_star_match_everything() {
        for expression in [None, Some(""), Some("*")] {
            let parsed = TagExpression::parse(expression).unwrap();
            assert_eq!(parsed, TagExpression::All);
            assert_eq!(parsed.hashes(), None);
        }
    }

    #[test]
    fn tags_are_split_and_trimmed_and_empty_ones_dropped() {
        assert_eq!(tags("TagA || TagB"), ["TagA", "TagB"]);
        assert_eq!(tags("||TagA||||TagB||"), ["TagA", "TagB"]);
        assert_eq!(tags(" * "), ["*"], "a star among blanks is a tag named star");
    }

    #[test]
    fn separators_only_are_an_error_but_blanks_between_them_match_nothing() {
        assert_eq!(TagExpression::parse(Some("||")), Err(TagParseError));
        assert_eq!(TagExpression::parse(Some("||||")), Err(TagParseError));
        let blanks = TagExpression::parse(Some(" || ")).unwrap();
        assert_eq!(blanks.hashes(), Some(Vec::new()));
    }

    #[test]
    fn hashes_are_those_of_java_strings() {
        let hashes = |text| TagExpression::parse(Some(text)).unwrap().hashes().unwrap();
        assert_eq!(hashes("TagB||TagA||TagB"), [2_598_919, 2_598_920]);
        assert_eq!(hashes("标签"), [java::hash_code("标签")]);
    }
}
