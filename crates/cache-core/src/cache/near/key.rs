//! Keys of the near tier.

use std::{
    borrow::Borrow,
    hash::{Hash, Hasher},
};

/// The longest text that lies in the record itself.
const SHORT_LEN_MAX: usize = 22;

/// The text of a key. Most are short, and are compared without following a pointer: over many keys
/// that is a tenth of what a hit costs.
#[derive(Clone)]
pub(super) enum NearKey {
    Short { len: u8, bytes: [u8; SHORT_LEN_MAX] },
    Long(Box<[u8]>),
}

impl NearKey {
    pub(super) fn new(text: &str) -> Self {
        let mut bytes = [0; SHORT_LEN_MAX];
        match (u8::try_from(text.len()), bytes.get_mut(..text.len())) {
            (Ok(len), Some(place)) => {
                place.copy_from_slice(text.as_bytes());
                Self::Short { len, bytes }
            }
            _ => Self::Long(text.as_bytes().into()),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => &bytes[..usize::from(*len)],
            Self::Long(bytes) => bytes,
        }
    }
}

impl Borrow<[u8]> for NearKey {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Hash for NearKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl PartialEq for NearKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for NearKey {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_and_a_long_text_are_what_they_were() {
        for len in [0, 1, SHORT_LEN_MAX, SHORT_LEN_MAX + 1, 512] {
            let text = "x".repeat(len);
            assert_eq!(NearKey::new(&text).as_bytes(), text.as_bytes());
        }
    }
}
