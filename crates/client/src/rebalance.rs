//! Which queues a member of a group gets. Every member computes it alone, from the same sorted lists,
//! so all must agree to the letter.

/// The strategy `AVG`: consecutive queues, the first members get one more where it does not come out
/// even. `queues` and `members` must be sorted; a member that is not in the list gets nothing.
pub fn average<'a, Q>(queues: &'a [Q], members: &[String], own: &str) -> &'a [Q] {
    let Some(index) = members.iter().position(|member| member == own) else { return &[] };
    let share = queues.len() / members.len();
    let rest = queues.len() % members.len();
    let start = index * share + index.min(rest);
    let len = share + usize::from(index < rest);
    &queues[start..start + len]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule as Java spells it out (`AllocateMessageQueueAveragely`), for comparison.
    fn java(queues: usize, members: usize, index: usize) -> Vec<usize> {
        let rest = queues % members;
        let size = if queues <= members {
            1
        } else if rest > 0 && index < rest {
            queues / members + 1
        } else {
            queues / members
        };
        let start = if rest > 0 && index < rest { index * size } else { index * size + rest };
        (start..queues.min(start + size)).collect()
    }

    #[test]
    fn every_queue_has_one_owner_and_the_owner_is_javas() {
        for queue_count in 0..20 {
            for member_count in 1..12 {
                let queues: Vec<usize> = (0..queue_count).collect();
                let members: Vec<String> = (0..member_count).map(|member| format!("m{member:02}")).collect();
                let mut all = Vec::new();
                for (index, member) in members.iter().enumerate() {
                    let own = average(&queues, &members, member);
                    assert_eq!(
                        own,
                        java(queue_count, member_count, index),
                        "{queue_count} {member_count} {index}"
                    );
                    all.extend_from_slice(own);
                }
                assert_eq!(all, queues);
            }
        }
    }

    #[test]
    fn a_member_that_the_broker_does_not_list_gets_nothing() {
        assert!(average(&[1, 2, 3], &["a".to_owned()], "b").is_empty());
        assert!(average::<i32>(&[], &["a".to_owned()], "a").is_empty());
        assert!(average(&[1], &[], "a").is_empty());
    }
}
