//! Headers of requests, by area. A request that is not here has no header of its own.

mod broker;
mod client;
mod group;
mod offset;
mod pop;
mod pull;
mod query;
mod route;
mod send;
mod topic;
mod transaction;

pub use self::broker::*;
pub use self::client::*;
pub use self::group::*;
pub use self::offset::*;
pub use self::pop::*;
pub use self::pull::*;
pub use self::query::*;
pub use self::route::*;
pub use self::send::*;
pub use self::topic::*;
pub use self::transaction::*;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    /// Java's fields of a class: name and whether it is required; own and inherited ones.
    fn java_classes() -> HashMap<&'static str, Vec<(&'static str, bool)>> {
        let list = include_str!("../../tests/golden/headers-5.5.0.txt");
        let mut classes = HashMap::new();
        for line in list.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split_whitespace().filter(|word| *word != "|");
            let class = words.next().unwrap();
            let fields = words.map(|word| (word.split(':').next().unwrap(), word.ends_with('!')));
            classes.insert(class, fields.collect());
        }
        classes
    }

    #[test]
    fn declared_headers_have_javas_fields() {
        let declared = [
            super::broker::DECLARED,
            super::client::DECLARED,
            super::group::DECLARED,
            super::offset::DECLARED,
            super::pop::DECLARED,
            super::pull::DECLARED,
            super::query::DECLARED,
            super::route::DECLARED,
            super::send::DECLARED,
            super::topic::DECLARED,
            super::transaction::DECLARED,
            crate::response::DECLARED,
        ];
        let java = java_classes();
        let inherited = ["ns", "nsd", "bname", "oway", "lo"];
        let mut count = 0;
        for (class, fields) in declared.into_iter().flatten() {
            let java = java.get(class).unwrap_or_else(|| panic!("no class {class}"));
            for &(name, required) in *fields {
                // The only field that clients send beside a class.
                if name == "_UNIQUE_KEY_QUERY" {
                    continue;
                }
                let known = java.iter().find(|(known, _)| *known == name);
                let &(_, required_by_java) = known.unwrap_or_else(|| panic!("{class} has no {name}"));
                assert!(!required || required_by_java, "{class}.{name} is not required by Java");
            }
            for (name, _) in java.iter().filter(|(name, _)| !inherited.contains(name)) {
                assert!(fields.iter().any(|(ours, _)| ours == name), "{class}.{name} is not declared");
            }
            count += 1;
        }
        assert!(count > 70, "{count}");
    }
}
