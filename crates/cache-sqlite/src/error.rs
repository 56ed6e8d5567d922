//! What SQLite says, as what a person can do about it.

use std::{io, path::Path};

use cache_core::{Error, ErrorKind};
use diesel::result::Error as Fault;

/// What was being done to the file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Doing {
    Open,
    Read,
    Write,
}

/// Explains a fault of SQLite in the file at `path`.
///
/// diesel hands over SQLite's message and not its code, so the message is what is looked at; these
/// are constants of SQLite's source and have been the same since its version 3.0.
pub(crate) fn explain(path: &Path, doing: Doing, fault: Fault) -> Error {
    let told = fault.to_string();
    let says = |part: &str| told.contains(part);
    let path = path.display();
    let what = match doing {
        Doing::Open => format!("could not open the SQLite file {path} (`sqlite.path`)"),
        Doing::Read => format!("could not read from the SQLite file {path}"),
        Doing::Write => format!("could not write to the SQLite file {path}"),
    };
    let error = if is_locked(&fault) {
        Error::new(ErrorKind::Unavailable, format!("{what}: another process holds its lock")).hint(
            "look for a process that keeps a transaction open, or raise `sqlite.busy_timeout`",
        )
    } else if says("disk is full") {
        Error::new(ErrorKind::Full, format!("{what}: its disk is full"))
            .hint("make room there, or move `sqlite.path` to another disk")
    } else if says("readonly database") {
        Error::new(ErrorKind::ReadOnly, format!("{what}: it may only be read"))
            .hint("give this user the right to write to the file and its directory")
    } else if says("is not a database") || says("malformed") {
        Error::new(ErrorKind::Incompatible, format!("{what}: {told}"))
            .hint("move it away, and a new one is made in its place, or correct `sqlite.path`")
    } else if says("no such table") || says("no such column") || matches!(fault, Fault::NotFound) {
        Error::new(ErrorKind::Incompatible, format!("{what}: its tables are not this cache's"))
            .hint("move it away, and a new one is made in its place")
    } else if says("unable to open") {
        Error::new(ErrorKind::Config, format!("{what}: {told}"))
            .hint("correct `sqlite.path`, or give this user the right to its directory")
    } else if says("disk I/O error") {
        Error::new(ErrorKind::Unavailable, format!("{what}: {told}"))
            .hint("look at the disk and at the system's log")
            .indeterminate()
    } else {
        Error::new(ErrorKind::Internal, format!("{what}: {told}")).indeterminate()
    };
    error.caused_by(fault)
}

/// Explains why the operating system refused `what`, which concerns `sqlite.path`.
pub(crate) fn explain_io(what: &str, fault: io::Error) -> Error {
    let kind = match fault.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        _ => ErrorKind::Config,
    };
    Error::new(kind, format!("could not {what}: {fault}"))
        .hint("correct `sqlite.path`, or give this user the right to it")
        .caused_by(fault)
}

/// Whether another connection was in the way, and the same may succeed a moment later.
pub(crate) fn is_locked(fault: &Fault) -> bool {
    matches!(fault, Fault::DatabaseError(_, told) if told.message().contains(" is locked"))
}

#[cfg(test)]
mod tests {
    use diesel::result::DatabaseErrorKind::Unknown;

    use super::*;

    /// SQLite's own words, from its `sqlite3ErrStr`.
    #[test]
    fn each_fault_says_what_to_change() {
        let faults = [
            ("database is locked", ErrorKind::Unavailable, "`sqlite.busy_timeout`"),
            ("database or disk is full", ErrorKind::Full, "make room"),
            ("attempt to write a readonly database", ErrorKind::ReadOnly, "right to write"),
            ("database disk image is malformed", ErrorKind::Incompatible, "move it away"),
            ("file is not a database", ErrorKind::Incompatible, "move it away"),
            ("no such table: entries", ErrorKind::Incompatible, "move it away"),
            ("unable to open database file", ErrorKind::Config, "`sqlite.path`"),
            ("disk I/O error", ErrorKind::Unavailable, "the disk"),
            ("bad parameter or other API misuse", ErrorKind::Internal, "misuse"),
        ];
        for (told, kind, hint) in faults {
            let fault = Fault::DatabaseError(Unknown, Box::new(told.to_owned()));
            let error = explain(Path::new("/x/cache.sqlite"), Doing::Write, fault);
            assert_eq!(error.kind(), kind, "{told}");
            let text = error.to_string();
            assert!(text.contains("/x/cache.sqlite") && text.contains(hint), "{text}");
        }
    }
}
