//! Where the server is and whether to encrypt: the parsed form of the setting `url`.

use std::path::PathBuf;

use cache_core::{Error, ErrorKind, Result, ServerUrl};
use tokio_postgres::{Config, config::SslMode};

/// A parsed address.
pub(crate) struct Address {
    pub(crate) config: Config,
    pub(crate) encryption: Encryption,
    /// For messages: the address without its password.
    pub(crate) shown: String,
}

/// Whether connections are encrypted, and whom to trust.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Encryption {
    Off,
    /// With the authorities of this file, or those of the web.
    On(Option<PathBuf>),
}

impl Address {
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when `url` is no address.
    pub(crate) fn parse(url: &ServerUrl) -> Result<Self> {
        let shown = url.to_string();
        let invalid = |fault: &str| {
            Error::new(ErrorKind::Config, format!("`url` is no address of PostgreSQL: {fault}"))
                .hint(
                    "write postgres://user:password@host:5432/database, with special characters \
                     of the password percent-encoded",
                )
        };
        let text = url.expose();
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(invalid("it does not begin with postgres://"));
        }
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        let mut parameters: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
        // tokio-postgres knows neither `sslrootcert` nor all of libpq's modes.
        let sslmode = take(&mut parameters, "sslmode").unwrap_or("disable");
        let roots = take(&mut parameters, "sslrootcert").map(PathBuf::from);

        let rest = if parameters.is_empty() {
            place.to_owned()
        } else {
            format!("{place}?{}", parameters.join("&"))
        };
        let mut config: Config = rest.parse().map_err(|e: tokio_postgres::Error| {
            // An `@` in the query: it may be the rest of a password with a question mark in it.
            let cause = std::error::Error::source(&e).map(ToString::to_string);
            invalid(&cause.filter(|_| !query.contains('@')).unwrap_or_else(|| e.to_string()))
        })?;

        let (mode, encryption) = match sslmode {
            "disable" => (SslMode::Disable, Encryption::Off),
            "prefer" => (SslMode::Prefer, Encryption::On(roots)),
            "require" | "verify-full" => (SslMode::Require, Encryption::On(roots)),
            _ => return Err(invalid("sslmode is disable, prefer, require or verify-full")),
        };
        config.ssl_mode(mode);
        Ok(Self { config, encryption, shown })
    }
}

/// Takes a parameter out of a query.
fn take<'a>(parameters: &mut Vec<&'a str>, name: &str) -> Option<&'a str> {
    let value = |pair: &&'a str| pair.strip_prefix(name)?.strip_prefix('=');
    let found = parameters.iter().find_map(value);
    parameters.retain(|pair| value(pair).is_none());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address> {
        Address::parse(&ServerUrl::new(url))
    }

    #[test]
    fn an_address_without_a_mode_is_not_encrypted() {
        let address = parse("postgres://u:p@h:1/d?application_name=x").unwrap();
        assert_eq!(address.encryption, Encryption::Off);
        assert_eq!(address.config.get_ssl_mode(), SslMode::Disable);
        assert_eq!(address.config.get_application_name(), Some("x"));
        assert_eq!(address.shown, "postgres://u:***@h:1/d?application_name=x");
    }

    #[test]
    fn a_private_authority_is_taken_out_of_the_query() {
        let url = "postgresql://h/d?sslmode=verify-full&sslrootcert=ca.pem&application_name=x";
        let address = parse(url).unwrap();
        assert_eq!(address.encryption, Encryption::On(Some("ca.pem".into())));
        assert_eq!(address.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(address.config.get_application_name(), Some("x"));
    }

    #[test]
    fn a_unix_socket_is_an_address() {
        let address = parse("postgres://u@/d?host=/run/postgresql").unwrap();
        assert_eq!(address.config.get_hosts().len(), 1);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (url, fault) in [
            ("redis://h:1", "does not begin with postgres://"),
            ("host=h password=s3cret", "does not begin with postgres://"),
            ("postgres://u:s3cret@h:port/d", "port"),
            ("postgres://h/d?colour=red", "colour"),
            ("postgres://u:s3?cret@h:port/d", "invalid connection string"),
            ("postgres://h/d?sslmode=maybe", "sslmode is"),
        ] {
            let error = parse(url).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            let text = format!("{error} {error:?}");
            assert!(text.contains(fault) && !text.contains("cret"), "{url}: {text}");
        }
    }
}
