//! Keys, and the order in which they are read.

use std::sync::Arc;

/// A key, in the form that each cache wants.
#[derive(Clone, Debug)]
pub struct Key(String);

impl Key {
    /// The key `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// For those that borrow text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For those that borrow a string, or have a copy of it.
    #[must_use]
    pub const fn as_string(&self) -> &String {
        &self.0
    }
}

/// `count` keys that nobody else has, as `prefix` is one's own.
pub(crate) fn keys(prefix: &str, count: usize) -> Arc<[Key]> {
    (0..count).map(|n| Key::new(format!("{prefix}:{n:06}"))).collect()
}

/// A way through all of `keys` again and again, on which neighbours lie far apart.
pub(crate) fn walk(keys: &[Key]) -> impl Iterator<Item = &Key> {
    // A prime that divides no number of keys here, so that each key has its turn.
    const STRIDE: usize = 61_843;
    (0..).map(|step| &keys[(step * STRIDE) % keys.len()])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_walk_meets_every_key_once_a_round() {
        for count in [1_000, 100_000] {
            let keys = keys("a", count);
            let met: BTreeSet<&str> = walk(&keys).take(count).map(Key::as_str).collect();
            assert_eq!(met.len(), count);
        }
    }
}
