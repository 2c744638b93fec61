//! The known key that a misspelt one most likely meant.

use crate::table::Table;

/// The nearest key by edit distance without regard to case, if it is near enough to be worth naming.
pub(crate) fn nearest(table: &Table, unknown: &str) -> Option<&'static str> {
    let wanted = unknown.to_ascii_lowercase();
    let near_enough = (wanted.chars().count() / 4).clamp(1, 4);
    table
        .keys()
        .map(|key| {
            let name = key.name.to_ascii_lowercase();
            // A name that was not written to its end.
            let begun = wanted.len() >= 8 && name.starts_with(&wanted) && name != wanted;
            (if begun { 1 } else { distance(&wanted, &name) }, key.name)
        })
        .min()
        .filter(|(distance, _)| *distance <= near_enough)
        .map(|(_, name)| name)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    // Three rows of the usual matrix: the swap looks back two.
    let mut before = Vec::new();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    let mut last_a = None;
    for (i, ca) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let mut best = (previous[j] + usize::from(ca != *cb)).min(previous[j + 1] + 1).min(row[j] + 1);
            if j > 0 && last_a == Some(*cb) && b[j - 1] == ca {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut previous, row);
        last_a = Some(ca);
    }
    previous[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_single_slips() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "ab", 2),
            ("brokername", "brokername", 0),
            ("brokernmae", "brokername", 1),
            ("brokename", "brokername", 1),
            ("brokerrname", "brokername", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn slips_find_the_key_and_strangers_find_nothing() {
        for (unknown, expected) in [
            ("brokerNmae", Some("brokerName")),
            ("brokerip1", Some("brokerIP1")),
            ("namesrvAdr", Some("namesrvAddr")),
            ("flushDiskTyp", Some("flushDiskType")),
            ("mappedFileSizeConsumerQueue", Some("mappedFileSizeConsumeQueue")),
            ("autoCreateTopic", Some("autoCreateTopicEnable")),
            ("colour", None),
            ("Licensed", None),
            ("", None),
        ] {
            assert_eq!(nearest(Table::broker(), unknown), expected, "{unknown}");
        }
    }
}
