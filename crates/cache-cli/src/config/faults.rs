//! What is wrong with a setting, where it was found, and what to write instead.

use cache_core::{Error, ErrorKind};
use figment::error::{Actual, Kind};

/// Explains the first fault of a configuration.
///
/// figment's own words are not used: they repeat the value, which may be an address with a
/// password.
pub(super) fn explain(fault: figment::Error) -> Error {
    let Some(fault) = fault.into_iter().next() else {
        return Error::new(ErrorKind::Internal, "the configuration failed without a fault");
    };
    let place = fault.metadata.map(|metadata| format!("{}: ", metadata.name)).unwrap_or_default();
    let setting = |own: Option<&str>| {
        let own = own.filter(|own| fault.path.last().is_none_or(|last| last != own));
        let path: Vec<&str> = fault.path.iter().map(String::as_str).chain(own).collect();
        format!("{place}`{}`", path.join("."))
    };
    let (message, hint) = match fault.kind {
        Kind::UnknownField(name, known) => (
            format!("{} is not a setting", setting(Some(&name))),
            format!("known there: {}", known.join(", ")),
        ),
        Kind::MissingField(name) => {
            let message = format!("{} is missing", setting(Some(&name)));
            (message, "set it, or leave out its whole section".to_owned())
        }
        Kind::UnknownVariant(value, known) => (
            format!("{} is {}", setting(None), shown(&value)),
            format!("write one of {}", known.join(", ")),
        ),
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            let hint = match expected.as_str() {
                "a string" => {
                    "write a text: in quotes, and with its unit if it is a time or a size"
                }
                _ => "correct it there",
            };
            let expected = expected.replace("struct ", "a section, ");
            (format!("{} is {}, not {expected}", setting(None), kind_of(&actual)), hint.to_owned())
        }
        Kind::Message(text) => {
            (format!("{}: {}", setting(None), shown(&text)), "correct it there".to_owned())
        }
        _ => (format!("{} cannot be used", setting(None)), "correct it there".to_owned()),
    };
    Error::new(ErrorKind::Config, message).hint(hint)
}

/// What was found, by its kind: never a text itself.
fn kind_of(actual: &Actual) -> String {
    match actual {
        Actual::Bool(value) => format!("{value}"),
        Actual::Unsigned(value) => format!("the number {value}"),
        Actual::Signed(value) => format!("the number {value}"),
        Actual::Float(value) => format!("the number {value}"),
        Actual::Char(_) | Actual::Str(_) | Actual::Bytes(_) => "a text".to_owned(),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a section".to_owned(),
        _ => "something else".to_owned(),
    }
}

/// A text that is no address.
fn shown(text: &str) -> &str {
    if text.contains("://") || text.contains('@') { "something else" } else { text }
}
