//! What the server and its driver say, as the cache's own error.
//!
//! While connecting the driver tells the SQLSTATE. Through diesel it does not (diesel-async keeps
//! the driver's error in a type of its own that has no way to ask for the code), except for what
//! has a kind of its own, so there the message counts. Each connection asks for English ones; a
//! role that may not gets those of the server's `lc_messages`, and an unknown one is still an error
//! with the server's words.

use std::{error::Error as StdError, io};

use cache_core::{Error, ErrorKind};
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use tokio_postgres::error::SqlState;

/// Whether a statement changes something: then its error says whether that may have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// The error of a connection that could not be made to the server `shown`.
pub(crate) fn connecting(error: &tokio_postgres::Error, shown: &str) -> Error {
    let (cause, text) = match error.as_db_error() {
        Some(said) => (Cause::of_state(said.code()), said.message().to_owned()),
        None => {
            let text = whole(error);
            let is_network = has_source::<io::Error>(error) && !text.contains("TLS");
            (if is_network { Cause::Unreachable } else { Cause::of_message(&text) }, text)
        }
    };
    cause.error(format!("cannot connect to {shown}: {text}"))
}

/// The error of a statement that the server ended or that never got there.
pub(crate) fn statement(error: DieselError, access: Access) -> Error {
    let cause = Cause::of_statement(&error);
    let failed = cause.error(format!("PostgreSQL: {error}")).caused_by(error);
    // The server undoes what it ends. Who loses the connection does not know.
    let unknown = access == Access::Write && matches!(cause, Cause::Stopping | Cause::Lost);
    if unknown { failed.indeterminate() } else { failed }
}

/// What is behind an error, as far as it changes what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Authentication,
    Conflict,
    Database,
    Encryption,
    Full,
    Lost,
    Memory,
    Other,
    Permission,
    ReadOnly,
    Schema,
    Stopping,
    TooLarge,
    TooManyConnections,
    TooSlow,
    Unreachable,
    WaitedForLock,
}

impl Cause {
    fn of_state(state: &SqlState) -> Self {
        match state.code() {
            "28P01" | "28000" => Self::Authentication,
            "3D000" => Self::Database,
            "42501" => Self::Permission,
            "53100" => Self::Full,
            "53200" => Self::Memory,
            "53300" => Self::TooManyConnections,
            "57014" => Self::TooSlow,
            "55P03" => Self::WaitedForLock,
            "57P01" | "57P02" | "57P03" => Self::Stopping,
            "25006" => Self::ReadOnly,
            "40001" | "40P01" => Self::Conflict,
            _ => Self::Other,
        }
    }

    fn of_statement(error: &DieselError) -> Self {
        let DieselError::DatabaseError(kind, information) = error else { return Self::Other };
        match kind {
            DatabaseErrorKind::ReadOnlyTransaction => Self::ReadOnly,
            DatabaseErrorKind::SerializationFailure => Self::Conflict,
            DatabaseErrorKind::UnableToSendCommand | DatabaseErrorKind::ClosedConnection => {
                // Also what the server said last before it closed the connection.
                match Self::of_message(information.message()) {
                    Self::Other => Self::Lost,
                    known => known,
                }
            }
            _ => Self::of_message(information.message()),
        }
    }

    /// The last resort: what PostgreSQL 14 to 18, the driver and rustls write.
    fn of_message(message: &str) -> Self {
        const MESSAGES: [(&str, Cause); 28] = [
            ("TLS", Cause::Encryption),
            ("password missing", Cause::Authentication),
            ("password authentication failed", Cause::Authentication),
            ("no pg_hba.conf entry", Cause::Authentication),
            ("permission denied", Cause::Permission),
            ("must be owner of", Cause::Permission),
            ("due to statement timeout", Cause::TooSlow),
            ("due to user request", Cause::TooSlow),
            ("due to lock timeout", Cause::WaitedForLock),
            ("in a read-only transaction", Cause::ReadOnly),
            ("relations during recovery", Cause::ReadOnly),
            ("recovery is in progress", Cause::ReadOnly),
            ("could not serialize access", Cause::Conflict),
            ("too many connections", Cause::TooManyConnections),
            ("deadlock detected", Cause::Conflict),
            ("due to conflict with recovery", Cause::Conflict),
            ("No space left on device", Cause::Full),
            ("Disk quota exceeded", Cause::Full),
            ("out of memory", Cause::Memory),
            ("out of shared memory", Cause::Memory),
            ("too many clients", Cause::TooManyConnections),
            ("connection slots are reserved", Cause::TooManyConnections),
            ("terminating connection", Cause::Stopping),
            ("the database system is", Cause::Stopping),
            ("invalid memory alloc request size", Cause::TooLarge),
            ("does not exist", Cause::Schema),
            ("already exists", Cause::Schema),
            ("cached plan must not change", Cause::Schema),
        ];
        let known = MESSAGES.iter().find(|(part, _)| message.contains(part));
        known.map_or(Self::Other, |(_, cause)| *cause)
    }

    fn error(self, message: String) -> Error {
        let (kind, hint) = self.advice();
        Error::new(kind, message).hint(hint)
    }

    const fn advice(self) -> (ErrorKind, &'static str) {
        match self {
            Self::Authentication => (
                ErrorKind::Denied,
                "correct user and password in `url`, or the server's pg_hba.conf",
            ),
            Self::Conflict => (ErrorKind::Unavailable, "try again"),
            Self::Database => {
                (ErrorKind::Config, "create the database, or correct its name in `url`")
            }
            Self::Encryption => (ErrorKind::Config, "correct `sslmode` and `sslrootcert` in `url`"),
            Self::Full => (ErrorKind::Full, "give the server more disk"),
            Self::Lost => (ErrorKind::Unavailable, "the next call makes a new connection"),
            Self::Memory => {
                (ErrorKind::Full, "give the server more memory, or send smaller batches")
            }
            Self::Other => (ErrorKind::Internal, "see the server's log"),
            Self::Permission => (
                ErrorKind::Denied,
                "let the role create the schema (GRANT CREATE ON DATABASE), or use it: GRANT USAGE \
                 ON SCHEMA; SELECT, INSERT, UPDATE, DELETE ON ALL TABLES; SELECT, UPDATE ON ALL \
                 SEQUENCES",
            ),
            Self::ReadOnly => (ErrorKind::ReadOnly, "name the primary server in `url`"),
            Self::Schema => (
                ErrorKind::Incompatible,
                "the tables are not as this version made them: choose another `schema`, or drop it",
            ),
            Self::Stopping => (ErrorKind::Unavailable, "wait until the server is up"),
            Self::TooLarge => (ErrorKind::TooLarge, "send smaller values or batches"),
            Self::TooManyConnections => {
                (ErrorKind::Unavailable, "lower `pool_size`, or raise the server's max_connections")
            }
            Self::TooSlow => {
                (ErrorKind::Timeout, "look at the server's load, or raise `statement_timeout`")
            }
            Self::Unreachable => {
                (ErrorKind::Unavailable, "start the server, or correct host and port in `url`")
            }
            Self::WaitedForLock => (
                ErrorKind::Timeout,
                "another session holds a lock on the tables: see pg_locks, or raise \
                 `statement_timeout`",
            ),
        }
    }
}

/// An error with all its causes: the driver's own text says little more than "db error".
fn whole(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

fn has_source<E: StdError + 'static>(error: &(dyn StdError + 'static)) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.is::<E>() {
            return true;
        }
        source = cause.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: DatabaseErrorKind, message: &str, access: Access) -> Error {
        statement(DieselError::DatabaseError(kind, Box::new(message.to_owned())), access)
    }

    #[test]
    fn what_the_server_says_is_understood() {
        for (message, kind) in [
            ("canceling statement due to statement timeout", ErrorKind::Timeout),
            ("canceling statement due to lock timeout", ErrorKind::Timeout),
            ("permission denied for table entries", ErrorKind::Denied),
            ("permission denied for database d", ErrorKind::Denied),
            ("relation \"entries\" does not exist", ErrorKind::Incompatible),
            ("relation \"entries\" already exists", ErrorKind::Incompatible),
            ("could not extend file \"base/1/2\": No space left on device", ErrorKind::Full),
            ("terminating connection due to administrator command", ErrorKind::Unavailable),
            ("the database system is in recovery mode", ErrorKind::Unavailable),
            ("deadlock detected", ErrorKind::Unavailable),
            ("could not serialize access due to concurrent update", ErrorKind::Unavailable),
            ("too many connections for role \"cache\"", ErrorKind::Unavailable),
            ("cannot access temporary or unlogged relations during recovery", ErrorKind::ReadOnly),
            ("something new", ErrorKind::Internal),
        ] {
            let error = of(DatabaseErrorKind::Unknown, message, Access::Write);
            assert_eq!(error.kind(), kind, "{message}");
            assert!(error.to_string().contains(message), "{error}");
        }
        let error = of(DatabaseErrorKind::ReadOnlyTransaction, "", Access::Write);
        assert_eq!(error.kind(), ErrorKind::ReadOnly);
    }

    #[test]
    fn only_a_write_whose_answer_is_lost_may_have_happened() {
        let lost = DatabaseErrorKind::UnableToSendCommand;
        let timeout = "canceling statement due to statement timeout";
        assert!(of(lost, "connection closed", Access::Write).may_have_happened());
        assert!(!of(lost, "connection closed", Access::Read).may_have_happened());
        assert!(!of(DatabaseErrorKind::Unknown, timeout, Access::Write).may_have_happened());
    }

    #[test]
    fn the_states_that_a_person_can_act_on_are_known() {
        for (state, kind) in [
            (SqlState::INVALID_PASSWORD, ErrorKind::Denied),
            (SqlState::INVALID_CATALOG_NAME, ErrorKind::Config),
            (SqlState::TOO_MANY_CONNECTIONS, ErrorKind::Unavailable),
            (SqlState::CANNOT_CONNECT_NOW, ErrorKind::Unavailable),
            (SqlState::DISK_FULL, ErrorKind::Full),
            (SqlState::QUERY_CANCELED, ErrorKind::Timeout),
        ] {
            assert_eq!(Cause::of_state(&state).advice().0, kind, "{state:?}");
        }
    }
}
