//! The tables: made in a new file, brought up in an old one, and another program's left alone.

use std::path::Path;

use cache_core::{Error, ErrorKind, Result};
use diesel::{QueryResult, RunQueryDsl, connection::SimpleConnection, sqlite::SqliteConnection};

use crate::{
    error::{Doing, explain},
    sql::Marking,
};

/// The steps from one version of the tables to the next. Never changed, only added to: a file's
/// version (`PRAGMA user_version`) is how many of them it has seen.
const STEPS: [&str; 3] = [
    include_str!("../migrations/0001_entries.sql"),
    include_str!("../migrations/0002_log_and_leases.sql"),
    include_str!("../migrations/0003_eviction.sql"),
];

/// Marks a file as this cache's (`PRAGMA application_id`): "tcac".
const APPLICATION_ID: i64 = 0x7463_6163;

/// What has to be done before a file can be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing: its tables are those of this version.
    Ready,
    /// The steps from this one on.
    Behind(usize),
}

/// Looks at whose file it is. Writes nothing.
///
/// # Errors
///
/// [`ErrorKind::Incompatible`] when it is another program's, or of a later version of this one.
pub(crate) fn examine(connection: &mut SqliteConnection, path: &Path) -> Result<State> {
    let (owner, version, tables): (i64, i64, i64) =
        Marking {}.get_result(connection).map_err(|fault| explain(path, Doing::Open, fault))?;
    let shown = path.display();
    if owner != APPLICATION_ID {
        // An empty file is a new one, also when a process ended before it had made the tables.
        return if (owner, tables) == (0, 0) {
            Ok(State::Behind(0))
        } else {
            let fault = format!("the SQLite file {shown} holds another program's tables");
            Err(Error::new(ErrorKind::Incompatible, fault)
                .hint("name another file in `sqlite.path`; this one was left as it is"))
        };
    }
    match usize::try_from(version) {
        Ok(version) if version == STEPS.len() => Ok(State::Ready),
        Ok(version) if version < STEPS.len() => Ok(State::Behind(version)),
        _ => {
            let known = STEPS.len();
            let fault = format!(
                "the SQLite file {shown} has tables of version {version}; this program knows \
                 versions up to {known}"
            );
            Err(Error::new(ErrorKind::Incompatible, fault)
                .hint("use the newer program, or name another file in `sqlite.path`"))
        }
    }
}

/// Runs the steps from `from` on. In a transaction of its caller's, so that another process finds
/// all of them or none.
pub(crate) fn bring_up(connection: &mut SqliteConnection, from: usize) -> QueryResult<()> {
    for step in &STEPS[from..] {
        connection.batch_execute(step)?;
    }
    connection.batch_execute(&format!("PRAGMA application_id = {APPLICATION_ID}"))?;
    connection.batch_execute(&format!("PRAGMA user_version = {}", STEPS.len()))
}
