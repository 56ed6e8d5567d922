//! An address with a place for the key.

use std::fmt;

use cache_core::{Error, ErrorKind, Result};
use reqwest::Url;

use crate::source_error::{SourceError, SourceErrorKind};

const KEY: &str = "{key}";

/// An address with `{key}` in its path or query. Shown without its user and its query.
pub(super) struct Template {
    text: String,
    /// How many parts the path has, whatever the key is.
    segments: usize,
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let refuse = |fault: &str| {
            let message = format!("`url` of the HTTP source, {}, {fault}", redacted(text));
            Error::new(ErrorKind::Config, message)
                .hint("write it as in `https://quotes.example.com/v1/{key}`")
        };
        let (Some(url), Some(other)) = (fill(text, "k"), fill(text, "l")) else {
            return Err(refuse("is no address"));
        };
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refuse("is neither http nor https"));
        }
        // A key in the host would let whoever chooses keys choose the server. What a parser takes
        // for the host is not always what a person does: `https:///{key}` is one.
        if url.authority() != other.authority() {
            return Err(refuse("has `{key}` in its host"));
        }
        if url.fragment().is_some() {
            return Err(refuse("has a `#`, and what follows it is never sent"));
        }
        if url == other {
            return Err(refuse("has no `{key}`"));
        }
        Ok(Self { text: text.to_owned(), segments: segments(&url) })
    }

    /// The address of `key`.
    pub(super) fn url(&self, key: &str) -> Result<Url, SourceError> {
        // `.` and `..` climb in a path, encoded or not.
        let url = fill(&self.text, key).filter(|url| segments(url) == self.segments);
        url.ok_or_else(|| {
            let message = format!("GET {self} for `{key}`: the key cannot be a part of a path");
            SourceError::new(SourceErrorKind::InvalidKey, message)
                .hint("leave it out of the plan, or put `{key}` into the query")
        })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.text))
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&redacted(&self.text), f)
    }
}

/// The address without its user and its query, where the secrets are.
pub(super) fn redacted(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return "(not a URL)".to_owned();
    };
    let (place, query) = match rest.split_once('?') {
        // A question mark inside the password, or an `@` inside the query: who can tell?
        Some((_, query)) if query.contains('@') => return format!("{scheme}://***"),
        Some((place, _)) => (place, "?***"),
        None => (rest, ""),
    };
    // The last one: a password may hold others.
    let place = place.rsplit_once('@').map_or(place, |(_, behind)| behind);
    format!("{scheme}://{place}{query}")
}

fn fill(text: &str, key: &str) -> Option<Url> {
    let mut encoded = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    Url::parse(&text.replace(KEY, &encoded)).ok()
}

fn segments(url: &Url) -> usize {
    url.path_segments().map_or(0, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_in_its_place_whatever_it_holds() {
        let template = Template::parse("https://h/q/{key}/last?s={key}&t=1").unwrap();
        for (key, path_and_query) in [
            ("AAPL", "/q/AAPL/last?s=AAPL&t=1"),
            ("BRK.B", "/q/BRK.B/last?s=BRK.B&t=1"),
            ("a/b?c#d&e%", "/q/a%2Fb%3Fc%23d%26e%25/last?s=a%2Fb%3Fc%23d%26e%25&t=1"),
            ("é +", "/q/%C3%A9%20%2B/last?s=%C3%A9%20%2B&t=1"),
            ("...", "/q/.../last?s=...&t=1"),
        ] {
            let url = template.url(key).unwrap();
            assert_eq!(url.as_str(), format!("https://h{path_and_query}"));
        }
    }

    #[test]
    fn a_key_does_not_climb() {
        for (url, key) in
            [("http://h/a/{key}", ".."), ("http://h/a/{key}/b", "."), ("http://h/a/.{key}", ".")]
        {
            let error = Template::parse(url).unwrap().url(key).unwrap_err();
            assert_eq!(error.kind(), SourceErrorKind::InvalidKey, "{url} {key}");
        }
        assert!(Template::parse("http://h/a?k={key}").unwrap().url("..").is_ok());
    }

    #[test]
    fn an_address_that_does_not_do_says_why() {
        for (url, fault) in [
            ("quotes/{key}", "no address"),
            ("ftp://h/{key}", "neither http nor https"),
            ("https://{key}.example.com/", "in its host"),
            ("https://h/q", "has no `{key}`"),
            ("https://h/q#{key}", "a `#`"),
            ("https:///{key}?", "in its host"),
            ("https:\\\\{key}", "in its host"),
            ("https://{key}@h/", "in its host"),
            ("https://h:x/{key}", "no address"),
        ] {
            let error = Template::parse(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(fault), "{url}: {error}");
        }
        let error = Template::parse("http://u:s3cret@h/q?token=s3cret").unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("https://h:8/q/{key}", "https://h:8/q/{key}"),
            ("https://u:p@h/q/{key}?t=1", "https://h/q/{key}?***"),
            ("https://u:p@/#p@h/{key}", "https://h/{key}"),
            ("https://u:p?p@h/{key}", "https://***"),
            ("https://h/{key}?mail=a@p", "https://***"),
            ("u:p@h/{key}", "(not a URL)"),
        ] {
            assert_eq!(redacted(url), shown);
        }
    }
}
