//! Java's `String.hashCode`, which ends up on disk (tags codes, index keys) and on the wire (`codeSet`).
//!
//! The hash runs over UTF-16 code units, not over UTF-8 bytes. ASCII, by far the common case, needs no decoding.

/// `String.hashCode` of `text`.
#[must_use]
pub fn hash_code(text: &str) -> i32 {
    let mut hasher = Hasher::new();
    hasher.write(text);
    hasher.finish()
}

/// A hash that can be continued: hash a common prefix (`topic#`) once, copy the hasher, add each key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hasher {
    hash: i32,
}

impl Hasher {
    /// The hash of the empty string.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `text` to what was hashed so far.
    pub fn write(&mut self, text: &str) {
        let step = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
        self.hash = if text.is_ascii() {
            text.bytes().fold(self.hash, |hash, byte| step(hash, u16::from(byte)))
        } else {
            text.encode_utf16().fold(self.hash, step)
        };
    }

    /// The hash of everything written.
    #[must_use]
    pub fn finish(self) -> i32 {
        self.hash
    }
}

/// `String.length()`: the number of UTF-16 code units.
#[must_use]
pub fn length(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.encode_utf16().count() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hashes() {
        assert_eq!(hash_code(""), 0);
        assert_eq!(hash_code("TagA"), 2_598_919);
        assert_eq!(hash_code("TagB"), 2_598_920);
        // Wraps into the negative range.
        assert_eq!(hash_code("polygenelubricants"), i32::MIN);
    }

    #[test]
    fn hash_runs_over_utf16_units() {
        // U+6807 U+7B7E: 0x6807 * 31 + 0x7b7e.
        assert_eq!(hash_code("标签"), 0x6807 * 31 + 0x7b7e);
        // One character outside the basic plane is two units: D83D DE00.
        assert_eq!(hash_code("😀"), 0xd83d * 31 + 0xde00);
        assert_eq!(length("😀a"), 3);
    }

    #[test]
    fn continued_hash_equals_whole_hash() {
        let mut prefix = Hasher::new();
        prefix.write("TopicA#");
        for key in ["", "k1", "Schlüssel", "标签"] {
            let mut continued = prefix;
            continued.write(key);
            assert_eq!(continued.finish(), hash_code(&format!("TopicA#{key}")));
        }
    }
}
