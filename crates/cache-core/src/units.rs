//! Durations, sizes and addresses as people write them in a configuration file.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// A number of bytes: `"64MiB"`, `"1.5 GB"`, `"512"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(u64);

impl ByteSize {
    /// So many bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many times 1,024 bytes.
    #[must_use]
    pub const fn kib(kib: u64) -> Self {
        Self(kib << 10)
    }

    /// So many times 1,048,576 bytes.
    #[must_use]
    pub const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// In bytes.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// Units, largest first.
const UNITS: [(&str, u64); 10] = [
    ("TIB", 1 << 40),
    ("GIB", 1 << 30),
    ("MIB", 1 << 20),
    ("KIB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
    ("", 1),
];

impl FromStr for ByteSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
        let unit = text[digits.len()..].trim().to_ascii_uppercase();
        let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
        let bytes = factor.and_then(|factor| match digits.trim().parse::<u64>() {
            Ok(whole) => whole.checked_mul(factor),
            // Through a float only where a person wrote a fraction.
            Err(_) => digits.trim().parse::<f64>().ok().and_then(|n| {
                let bytes = n * factor as f64;
                (bytes >= 0.0 && bytes < u64::MAX as f64).then_some(bytes as u64)
            }),
        });
        bytes.map(Self).ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("`{text}` is no size"))
                .hint("write a number and a unit, such as \"64MiB\"")
        })
    }
}

impl TryFrom<String> for ByteSize {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

/// For a file: exact, where what is displayed is rounded.
impl From<ByteSize> for String {
    fn from(size: ByteSize) -> Self {
        let shown = size.to_string();
        if shown.contains('.') { format!("{}B", size.0) } else { shown }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = UNITS[..4].iter().zip(["TiB", "GiB", "MiB", "KiB"]);
        for ((_, factor), unit) in binary {
            if self.0 >= *factor {
                let whole = self.0 as f64 / *factor as f64;
                return if self.0.is_multiple_of(*factor) {
                    write!(f, "{whole:.0}{unit}")
                } else {
                    write!(f, "{whole:.1}{unit}")
                };
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// A span of time: `"250ms"`, `"30s"`, `"1h 30m"`. A setting of its own type, so that no unit is
/// guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

impl Span {
    /// So many milliseconds.
    #[must_use]
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// So many seconds.
    #[must_use]
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }
}

impl FromStr for Span {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        humantime::parse_duration(text).map(Self).map_err(|e| {
            Error::new(ErrorKind::Config, format!("`{text}` is no span of time: {e}"))
                .hint("write a number and a unit, such as \"250ms\" or \"30s\"")
        })
    }
}

impl TryFrom<String> for Span {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&humantime::format_duration(self.0), f)
    }
}

/// The address of a server, whose password is never printed.
///
/// `Debug`, `Display` and serialization show `***` in its place; [`expose`](Self::expose) is the
/// only way to the whole.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ServerUrl(String);

impl ServerUrl {
    /// Takes an address as it is. Whoever connects parses it.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The whole address, password included.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The address without a password, in a URL's user part or in its query.
    fn redacted(&self) -> String {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            // Not a URL: `host=h password=p`, or a slip. Nothing of it is safe to print.
            return "(not a URL)".to_owned();
        };
        let (place, query) = match rest.split_once('?') {
            // A question mark inside the password, or an `@` inside the query: who can tell?
            Some((_, query)) if query.contains('@') => return format!("{scheme}://***"),
            Some((place, query)) => (place, query),
            None => (rest, ""),
        };
        let mut out = format!("{scheme}://");
        match place.rsplit_once('@') {
            Some((user, host)) => {
                let name = user
                    .split_once(':')
                    .map_or_else(|| user.to_owned(), |(name, _)| format!("{name}:***"));
                out.push_str(&format!("{name}@{host}"));
            }
            None => out.push_str(place),
        }
        for (i, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = if name.contains("pass") { "***" } else { value };
            out.push_str(&format!("{}{name}={value}", if i == 0 { '?' } else { '&' }));
        }
        out
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.redacted(), f)
    }
}

impl Serialize for ServerUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.redacted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_with_their_unit() {
        for (text, bytes) in
            [("512", 512), ("64MiB", 64 << 20), ("1.5 kb", 1_500), ("2 GiB", 2 << 30), ("7b", 7)]
        {
            assert_eq!(text.parse::<ByteSize>().unwrap().as_u64(), bytes, "{text}");
        }
        for text in ["", "MiB", "-1", "1 parsec", "99999999999TiB", "1e400"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert_eq!(ByteSize::mib(64).to_string(), "64MiB");
        assert_eq!(ByteSize::bytes(1_536).to_string(), "1.5KiB");
        // What is written to a file is not rounded.
        assert_eq!(String::from(ByteSize::mib(64)), "64MiB");
        assert_eq!(String::from(ByteSize::bytes(1_537)), "1537B");
    }

    #[test]
    fn spans_are_read_and_written_with_their_unit() {
        assert_eq!("250ms".parse::<Span>().unwrap(), Span::millis(250));
        assert_eq!(Span::secs(90).to_string(), "1m 30s");
        assert!("250".parse::<Span>().unwrap_err().to_string().contains("such as \"250ms\""));
    }

    #[test]
    fn no_password_is_printed() {
        for (url, shown) in [
            ("redis://user:s3cret@h:1/0", "redis://user:***@h:1/0"),
            ("redis://:s3cret@h:1", "redis://:***@h:1"),
            ("postgres://u:s3@cret@h/db", "postgres://u:***@h/db"),
            ("postgres://h/db?user=u&password=s3cret", "postgres://h/db?user=u&password=***"),
            ("redis://h:1", "redis://h:1"),
            ("redis://:s3?cret@h:1", "redis://***"),
            ("host=h password=s3cret", "(not a URL)"),
        ] {
            let url = ServerUrl::new(url);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("{shown:?}"));
            assert_eq!(serde_json::to_string(&url).unwrap(), format!("{shown:?}"));
        }
    }
}
