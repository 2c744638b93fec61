//! What a consumer wants of a topic, and the second check of it that clients make.

use ferromq_protocol::java;
use ferromq_protocol::properties::name;

use crate::message::ReceivedMessage;

/// The expression that takes everything.
pub(crate) const ALL: &str = "*";

/// A subscription by tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub topic: String,
    /// As the user wrote it.
    pub expression: String,
    /// The tags in the expression; none means everything.
    pub tags: Vec<String>,
}

impl Subscription {
    /// Reads an expression like `TagA || TagB`; `*` and nothing take everything.
    pub fn new(topic: impl Into<String>, expression: &str) -> Self {
        let topic = topic.into();
        if expression.is_empty() || expression == ALL {
            return Self { topic, expression: ALL.to_owned(), tags: Vec::new() };
        }
        let mut tags: Vec<String> = Vec::new();
        for tag in expression.split("||").map(str::trim).filter(|tag| !tag.is_empty()) {
            if !tags.iter().any(|known| known == tag) {
                tags.push(tag.to_owned());
            }
        }
        Self { topic, expression: expression.to_owned(), tags }
    }

    /// The hashes that a broker compares.
    pub fn codes(&self) -> Vec<i32> {
        self.tags.iter().map(|tag| java::hash_code(tag)).collect()
    }

    /// Whether the message is wanted. Brokers compare hashes only, so what they send may be something else.
    pub fn wants(&self, message: &ReceivedMessage) -> bool {
        self.wants_tag(message.property(name::TAGS))
    }

    fn wants_tag(&self, tag: Option<&str>) -> bool {
        self.tags.is_empty() || tag.is_some_and(|tag| self.tags.iter().any(|wanted| wanted == tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_a_list_of_tags() {
        let subscription = Subscription::new("T", " TagA||  TagB ||||TagA");
        assert_eq!(subscription.tags, ["TagA", "TagB"]);
        assert_eq!(subscription.codes(), [2_598_919, 2_598_920]);
        assert_eq!(subscription.expression, " TagA||  TagB ||||TagA");
        for everything in ["", "*"] {
            let subscription = Subscription::new("T", everything);
            assert!(subscription.tags.is_empty());
            assert_eq!(subscription.expression, "*");
        }
    }

    #[test]
    fn a_tag_with_the_same_hash_is_not_taken() {
        let subscription = Subscription::new("T", "Aa");
        assert_eq!(java::hash_code("Aa"), java::hash_code("BB"));
        assert!(subscription.wants_tag(Some("Aa")));
        assert!(!subscription.wants_tag(Some("BB")));
        assert!(!subscription.wants_tag(None));
        assert!(Subscription::new("T", "*").wants_tag(None));
    }
}
