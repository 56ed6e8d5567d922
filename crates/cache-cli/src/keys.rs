//! Keys as they are written on a command line.

use std::fmt;

use cache_core::{Namespace, Result};

/// The namespace of a key that is written without one.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

/// A key: `namespace:text`, or `text` alone in the namespace `default`.
///
/// The first colon ends the namespace; the text may hold more of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) namespace: String,
    pub(crate) text: String,
}

impl Name {
    /// Takes a key apart and checks it, so that a bad one is refused before anything is asked.
    ///
    /// # Errors
    ///
    /// [`cache_core::ErrorKind::InvalidKey`] when the namespace or the text is empty, too long or
    /// holds a control character.
    pub(crate) fn parse(argument: &str) -> Result<Self> {
        let (namespace, text) = argument.split_once(':').unwrap_or((DEFAULT_NAMESPACE, argument));
        Namespace::new(namespace).and_then(|namespace| namespace.key(text)).map_err(|error| {
            let shown: String = argument.chars().take(40).collect();
            error.context(format_args!("the key {shown:?}"))
        })?;
        Ok(Self { namespace: namespace.to_owned(), text: text.to_owned() })
    }

    /// Takes all of them apart.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), for the first bad one.
    pub(crate) fn parse_all(arguments: &[String]) -> Result<Vec<Self>> {
        arguments.iter().map(|argument| Self::parse(argument)).collect()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.namespace, self.text)
    }
}

/// Names by namespace, each with its place in `names`: a namespace is one cache, and one batch.
pub(crate) fn by_namespace(names: &[Name]) -> Vec<(&str, Vec<(usize, &str)>)> {
    let mut groups: Vec<(&str, Vec<(usize, &str)>)> = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let member = (at, name.text.as_str());
        match groups.iter_mut().find(|(namespace, _)| *namespace == name.namespace) {
            Some((_, members)) => members.push(member),
            None => groups.push((&name.namespace, vec![member])),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use cache_core::ErrorKind;

    use super::*;

    #[test]
    fn the_first_colon_ends_the_namespace_and_without_one_it_is_the_default() {
        let parse = |text| Name::parse(text).unwrap();
        let name = parse("price:BRK.B:US");
        assert_eq!((&*name.namespace, &*name.text), ("price", "BRK.B:US"));
        assert_eq!(parse("AAPL").to_string(), "default:AAPL");
    }

    #[test]
    fn a_bad_key_is_refused_with_what_is_wrong_with_it() {
        let long = format!("price:{}", "x".repeat(513));
        for (text, fault) in [
            ("", "the key is empty"),
            ("price:", "the key is empty"),
            (":AAPL", "the namespace is empty"),
            ("price:a\nb", "control character"),
            (&long, "513 bytes long"),
        ] {
            let error = Name::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidKey);
            let told = error.to_string();
            assert!(told.contains(fault) && told.len() < 250 && !told.contains('\n'), "{told}");
        }
    }

    #[test]
    fn names_are_grouped_by_namespace_with_their_places() {
        let names = ["a:1", "b:1", "a:2"].map(|text| Name::parse(text).unwrap());
        assert_eq!(by_namespace(&names), [("a", vec![(0, "1"), (2, "2")]), ("b", vec![(1, "1")])]);
    }
}
