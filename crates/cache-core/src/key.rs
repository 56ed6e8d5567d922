//! Names of things in a cache: a namespace and a text, together one key.

use std::{
    borrow::Borrow,
    cell::RefCell,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use crate::error::{Error, ErrorKind, Result};

/// The longest text of a key, in bytes of UTF-8.
///
/// Encoded and with its namespace a key stays far below PostgreSQL's limit for an index row
/// (2,704 bytes).
pub const KEY_LEN_MAX: usize = 512;

/// The longest name of a namespace, in bytes of UTF-8, before it is escaped.
pub const NAMESPACE_LEN_MAX: usize = 64;

/// The character between namespace and text in an encoded key; it is escaped in a namespace.
const SEPARATOR: char = ':';

thread_local! {
    /// Where a key is put together, so that making one allocates once.
    static ENCODING: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A set of keys that belong together: one typed cache, one tenant, one kind of data.
///
/// A namespace is what [`Tier::clear`](crate::Tier::clear) empties, and no key can reach into
/// another one: its encoded form holds letters, digits, `.`, `_` and `-` only (everything else is
/// percent-encoded), so the first `:` of an encoded key ends the namespace whatever the text holds.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(Arc<str>);

impl Namespace {
    /// The namespace of a cache's own notes about this one. No name that a user gives is escaped
    /// to it, because `~` is never left as it is.
    #[must_use]
    pub fn reserved(&self, purpose: &str) -> Self {
        Self(format!("{}~{purpose}", self.0).into())
    }

    /// Validates and escapes `name`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`] when `name` is empty, longer than [`NAMESPACE_LEN_MAX`] bytes or
    /// holds a control character.
    pub fn new(name: &str) -> Result<Self> {
        check("namespace", name, NAMESPACE_LEN_MAX)?;
        let mut escaped = String::with_capacity(name.len());
        for byte in name.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                    escaped.push(char::from(byte));
                }
                _ => escaped.push_str(&format!("%{byte:02X}")),
            }
        }
        Ok(Self(escaped.into()))
    }

    /// The namespace whose escaped name is `escaped`, as it came from a store.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`] for anything that [`as_str`](Self::as_str) does not answer.
    pub fn from_escaped(escaped: &str) -> Result<Self> {
        check("namespace", escaped, 4 * NAMESPACE_LEN_MAX)?;
        let (name, purpose) = escaped.split_once('~').unwrap_or((escaped, ""));
        // A name has one escaped form only: two that look different are different namespaces.
        let named = unescape(name).and_then(|name| Self::new(&name).ok());
        if named.is_some_and(|named| named.as_str() == name) && !purpose.contains(SEPARATOR) {
            return Ok(Self(escaped.into()));
        }
        let message =
            format!("`{}` is not the escaped name of a namespace", escaped.escape_debug());
        Err(Error::new(ErrorKind::InvalidKey, message))
    }

    /// The escaped name: ASCII letters, digits, `.`, `_`, `-` and percent escapes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key `text` of this namespace.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`] as for [`Key::new`].
    pub fn key(&self, text: &str) -> Result<Key> {
        Key::new(self, text)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of one entry, validated once and cheap to clone (a reference count).
///
/// The encoded form `namespace:text` is made once and shared: it is what every tier stores under.
/// Two keys are equal exactly when namespace and text are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    encoded: Arc<str>,
    text_at: u16,
}

impl Key {
    /// Validates `text` and encodes it under `namespace`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`] when `text` is empty, longer than [`KEY_LEN_MAX`] bytes or holds
    /// a control character.
    pub fn new(namespace: &Namespace, text: &str) -> Result<Self> {
        Self::check(text)?;
        let encoded = ENCODING.with_borrow_mut(|encoding| {
            encoding.clear();
            encoding.push_str(&namespace.0);
            encoding.push(SEPARATOR);
            encoding.push_str(text);
            Arc::from(encoding.as_str())
        });
        let text_at = u16::try_from(namespace.0.len() + 1)
            .expect("an escaped namespace is at most three times NAMESPACE_LEN_MAX");
        Ok(Self { encoded, text_at })
    }

    /// Whether `text` can be a key, for who needs none of it.
    pub(crate) fn check(text: &str) -> Result<()> {
        check("key", text, KEY_LEN_MAX)
    }

    /// The key whose encoded form is `encoded`, as it came from a store.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`] for anything that [`encoded`](Self::encoded) does not answer.
    pub fn from_encoded(encoded: &str) -> Result<Self> {
        let (namespace, text) = encoded.split_once(SEPARATOR).unwrap_or((encoded, ""));
        Self::new(&Namespace::from_escaped(namespace)?, text)
    }

    /// The whole encoded key, `namespace:text`.
    #[must_use]
    pub fn encoded(&self) -> &str {
        &self.encoded
    }

    /// The key's own text, as its caller wrote it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.encoded[usize::from(self.text_at)..]
    }

    /// The escaped name of the key's namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.encoded[..usize::from(self.text_at) - 1]
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.encoded.hash(state);
    }
}

/// A key is looked up by its encoded form without being built first.
impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.encoded
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.encoded(), f)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encoded())
    }
}

/// The name whose percent escapes are undone, or nothing where they cannot be.
fn unescape(escaped: &str) -> Option<String> {
    let mut name = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.bytes();
    while let Some(byte) = bytes.next() {
        name.push(if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            u8::try_from(16 * digit()? + digit()?).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(name).ok()
}

fn check(what: &str, name: &str, len_max: usize) -> Result<()> {
    let fault = if name.is_empty() {
        format!("the {what} is empty")
    } else if name.len() > len_max {
        format!("the {what} is {} bytes long, and at most {len_max} are allowed", name.len())
    } else if let Some(at) = control_character(name) {
        format!("the {what} holds a control character at byte {at}")
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::InvalidKey, fault)
        .hint("use a short printable text, or a hash of the long one"))
}

/// Where the first control character is.
fn control_character(name: &str) -> Option<usize> {
    // Nearly all keys are plain, which their bytes tell without being decoded.
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~');
    if name.bytes().all(is_plain) { None } else { name.find(char::is_control) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_keeps_its_text_and_its_namespace() {
        let key = Namespace::new("price").unwrap().key("BRK.B:US").unwrap();
        assert_eq!(key.encoded(), "price:BRK.B:US");
        assert_eq!(key.text(), "BRK.B:US");
        assert_eq!(key.namespace(), "price");
    }

    #[test]
    fn a_namespace_is_escaped() {
        assert_eq!(Namespace::new("a:b*é").unwrap().as_str(), "a%3Ab%2A%C3%A9");
    }

    #[test]
    fn only_what_names_a_namespace_is_read_back_as_one() {
        let named = Namespace::new("a:b*é").unwrap();
        for namespace in [named.clone(), named.reserved("tags"), named.reserved("a~b")] {
            assert_eq!(Namespace::from_escaped(namespace.as_str()).unwrap(), namespace);
        }
        // Cut, not needed, in small letters, of no text, of a control character, empty, too long.
        let long = "n".repeat(NAMESPACE_LEN_MAX + 1);
        for other in ["%4", "%61", "%3a", "%FF", "%00", "~tags", "a b", "n~a:b", &long] {
            let error = Namespace::from_escaped(other).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidKey, "{other}");
        }
    }

    #[test]
    fn an_empty_a_long_and_an_unprintable_name_are_refused_with_their_fault() {
        let namespace = Namespace::new("n").unwrap();
        for (text, fault) in [
            (String::new(), "is empty"),
            ("x".repeat(KEY_LEN_MAX + 1), "513 bytes long"),
            ("a\0b".to_owned(), "control character at byte 1"),
        ] {
            let error = namespace.key(&text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidKey);
            assert!(error.to_string().contains(fault), "{error}");
        }
        assert!(namespace.key(&"x".repeat(KEY_LEN_MAX)).is_ok());
        assert!(Namespace::new("").is_err());
        assert!(Namespace::new(&"n".repeat(NAMESPACE_LEN_MAX + 1)).is_err());
    }

    proptest! {
        /// No two different pairs meet in one encoded key.
        #[test]
        fn encoding_is_injective(a in "[a:%b]{1,4}", b in "[a:%b]{1,4}", c in "[a:%b]{1,4}", d in "[a:%b]{1,4}") {
            let one = Namespace::new(&a).unwrap().key(&b).unwrap();
            let two = Namespace::new(&c).unwrap().key(&d).unwrap();
            prop_assert_eq!(one.encoded() == two.encoded(), a == c && b == d);
        }
    }
}
