//! Version numbers on the wire: ordinals of Java's `MQVersion.Version`.
//!
//! From 4.0.0 on the ordinals are regular: two for every a.b.c with b and c in 0..=9, first the snapshot, then the
//! release. Before that the list has gaps, and 3.0.0 had betas.

use std::fmt::Write as _;

/// The version we speak and send: 5.5.0.
pub const CURRENT: i32 = 513;
/// Larger numbers stand for this one (`HIGHER_VERSION`).
pub const HIGHER: i32 = 612;

/// 4.9.4: from here on clients read route answers as strict JSON.
pub const V4_9_4: i32 = 401;
/// 5.0.0: from here on brokers append topic queue mappings to a compressed registration.
pub const V5_0_0: i32 = 413;
/// 5.3.1: clients above understand GO_AWAY.
pub const V5_3_1: i32 = 475;

const V3_0_1_SNAPSHOT: i32 = 16;
const V3_1_0_SNAPSHOT: i32 = 46;
const V3_3_1_SNAPSHOT: i32 = 86;
const V4_0_0_SNAPSHOT: i32 = 212;
const NAMES_OF_3_0_0: [&str; 16] = [
    "V3_0_0_SNAPSHOT",
    "V3_0_0_ALPHA1",
    "V3_0_0_BETA1",
    "V3_0_0_BETA2",
    "V3_0_0_BETA3",
    "V3_0_0_BETA4",
    "V3_0_0_BETA5",
    "V3_0_0_BETA6_SNAPSHOT",
    "V3_0_0_BETA6",
    "V3_0_0_BETA7_SNAPSHOT",
    "V3_0_0_BETA7",
    "V3_0_0_BETA8_SNAPSHOT",
    "V3_0_0_BETA8",
    "V3_0_0_BETA9_SNAPSHOT",
    "V3_0_0_BETA9",
    "V3_0_0_FINAL",
];

/// `MQVersion.getVersionDesc`: for example `V5_5_0`, `V4_9_8`, `V5_0_0_SNAPSHOT`, `HIGHER_VERSION`.
/// A negative ordinal, on which Java fails, is shown as the lowest version.
#[must_use]
pub fn describe(ordinal: i32) -> String {
    if ordinal >= HIGHER {
        return "HIGHER_VERSION".to_owned();
    }
    let ordinal = ordinal.max(0);
    if let Some(name) = usize::try_from(ordinal).ok().and_then(|at| NAMES_OF_3_0_0.get(at)) {
        return (*name).to_owned();
    }
    let step = |base: i32| (ordinal - base) / 2;
    let (major, minor, patch) = match ordinal {
        V4_0_0_SNAPSHOT.. => {
            (4 + step(V4_0_0_SNAPSHOT) / 100, step(V4_0_0_SNAPSHOT) / 10 % 10, step(V4_0_0_SNAPSHOT) % 10)
        }
        V3_3_1_SNAPSHOT.. => (3, 3 + step(V3_3_1_SNAPSHOT) / 9, 1 + step(V3_3_1_SNAPSHOT) % 9),
        V3_1_0_SNAPSHOT.. => (3, 1 + step(V3_1_0_SNAPSHOT) / 10, step(V3_1_0_SNAPSHOT) % 10),
        _ => (3, 0, 1 + step(V3_0_1_SNAPSHOT)),
    };
    let mut text = format!("V{major}_{minor}_{patch}");
    // Snapshots have the even ordinals, in each of the ranges.
    if ordinal % 2 == 0 {
        let _ = write!(text, "_SNAPSHOT");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_equal_javas_list() {
        let list = include_str!("../tests/golden/versions-5.5.0.txt");
        let mut count = 0;
        for line in list.lines().filter(|line| !line.starts_with('#')) {
            let (ordinal, name) = line.split_once(' ').unwrap();
            assert_eq!(describe(ordinal.parse().unwrap()), name, "{ordinal}");
            count += 1;
        }
        assert_eq!(count, HIGHER + 1);
        assert_eq!(describe(CURRENT), "V5_5_0");
        assert_eq!(describe(V4_9_4), "V4_9_4");
        assert_eq!(describe(V5_0_0), "V5_0_0");
        assert_eq!(describe(V5_3_1), "V5_3_1");
    }

    #[test]
    fn out_of_range_numbers_have_a_name_too() {
        assert_eq!(describe(i32::MAX), "HIGHER_VERSION");
        assert_eq!(describe(-1), "V3_0_0_SNAPSHOT");
        assert_eq!(describe(i32::MIN), "V3_0_0_SNAPSHOT");
    }
}
