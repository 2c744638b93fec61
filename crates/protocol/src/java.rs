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

/// [`hash_code`] of what Java reads from these bytes: UTF-8 with replacement characters.
#[must_use]
pub fn hash_code_lossy(bytes: &[u8]) -> i32 {
    let mut hasher = Hasher::new();
    hasher.write_lossy(bytes);
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
        if text.is_ascii() {
            self.write_ascii(text.as_bytes());
        } else {
            self.hash = text.encode_utf16().fold(self.hash, step);
        }
    }

    /// Appends what Java reads from these bytes: UTF-8 with replacement characters.
    pub fn write_lossy(&mut self, bytes: &[u8]) {
        if bytes.is_ascii() {
            self.write_ascii(bytes);
        } else {
            self.write(&String::from_utf8_lossy(bytes));
        }
    }

    /// Eight bytes at a time: one after the other, each would wait for the product of the one before.
    fn write_ascii(&mut self, bytes: &[u8]) {
        const POWERS: [i32; 9] = {
            let mut powers = [1_i32; 9];
            let mut exponent = 1;
            while exponent < 9 {
                powers[exponent] = powers[exponent - 1].wrapping_mul(31);
                exponent += 1;
            }
            powers
        };
        let (chunks, rest) = bytes.as_chunks::<8>();
        for chunk in chunks {
            let weighted =
                chunk.iter().rev().zip(POWERS).map(|(&byte, power)| i32::from(byte).wrapping_mul(power));
            self.hash = weighted.fold(self.hash.wrapping_mul(POWERS[8]), i32::wrapping_add);
        }
        for &byte in rest {
            self.hash = self.hash.wrapping_mul(31).wrapping_add(i32::from(byte));
        }
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
    fn texts_of_any_length_hash_as_one_character_after_the_other() {
        let text: String = ('!'..='~').collect();
        for len in 0..text.len() {
            let expected =
                text[..len].bytes().fold(0_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
            assert_eq!(hash_code(&text[..len]), expected, "{len}");
            assert_eq!(hash_code_lossy(&text.as_bytes()[..len]), expected, "{len}");
        }
        assert_eq!(hash_code_lossy(b"broken \xe6\xa0"), hash_code("broken \u{fffd}"));
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
