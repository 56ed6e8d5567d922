//! Exit codes, and which of them a fault has.

use std::{fmt, process::ExitCode};

use cache_core::{Error, ErrorKind};

/// How the program ends. [`HELP`] is what users read about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked for was done.
    Done = 0,
    /// The answer is no: a key that is not there, a put that a newer version refuses.
    No = 1,
    /// A key, a value or an argument cannot be used. clap ends with this code as well.
    BadInput = 2,
    /// The configuration cannot be used.
    Config = 3,
    /// A tier or a source cannot be reached or failed, or the doctor found a fault.
    Tier = 4,
    /// Anything else.
    Other = 5,
    /// It was stopped before its end, and can be resumed.
    Stopped = 6,
}

/// The exit codes as the help explains them.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done; also when whoever reads the output closed it early
  1  the answer is no: a key is not there, a newer version refused a put, a clear was declined,
     a source has none of the keys
  2  bad input: an argument, a key or a value
  3  the configuration cannot be used
  4  a tier or a source cannot be reached or failed, or `doctor` found a fault
  5  anything else
  6  stopped before its end; `warm --resume` goes on";

impl Exit {
    /// The code of a command that failed with `error`: that of the first cause that has one.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        error
            .chain()
            .find_map(|cause| {
                if cause.is::<OutputClosed>() {
                    Some(Self::Done)
                } else if cause.is::<BadInput>() {
                    Some(Self::BadInput)
                } else {
                    cause.downcast_ref::<Error>().map(|error| Self::of_kind(error.kind()))
                }
            })
            .unwrap_or(Self::Other)
    }

    fn of_kind(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Codec
            | ErrorKind::InvalidKey
            | ErrorKind::InvalidTtl
            | ErrorKind::TooLarge => Self::BadInput,
            ErrorKind::Config => Self::Config,
            ErrorKind::Denied
            | ErrorKind::Full
            | ErrorKind::Incompatible
            | ErrorKind::Overloaded
            | ErrorKind::ReadOnly
            | ErrorKind::Timeout
            | ErrorKind::Unavailable => Self::Tier,
            _ => Self::Other,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Whoever read standard output has gone: nothing is left to be done, and nothing is wrong.
#[derive(Debug)]
pub(crate) struct OutputClosed;

impl fmt::Display for OutputClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output was closed")
    }
}

impl std::error::Error for OutputClosed {}

/// An argument or an input that cannot be used, and what to give instead.
#[derive(Debug)]
pub(crate) struct BadInput(pub(crate) String);

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadInput {}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context;

    use super::*;

    #[test]
    fn each_kind_of_fault_has_its_code() {
        let of = |kind| Exit::of(&Error::new(kind, "").into());
        assert_eq!(of(ErrorKind::InvalidKey), Exit::BadInput);
        assert_eq!(of(ErrorKind::Config), Exit::Config);
        assert_eq!(of(ErrorKind::Unavailable), Exit::Tier);
        assert_eq!(of(ErrorKind::Internal), Exit::Other);
        assert_eq!(Exit::of(&anyhow::anyhow!("?")), Exit::Other);
    }

    #[test]
    fn a_context_does_not_hide_the_code() {
        let fault = Err::<(), _>(Error::new(ErrorKind::Timeout, "")).context("while warming");
        assert_eq!(Exit::of(&fault.unwrap_err()), Exit::Tier);
    }

    /// Only standard output may be closed early: a tier's broken pipe is a tier's fault.
    #[test]
    fn a_broken_pipe_to_a_server_is_a_fault() {
        let broken = io::Error::from(io::ErrorKind::BrokenPipe);
        let fault = Error::new(ErrorKind::Unavailable, "lost the connection").caused_by(broken);
        assert_eq!(Exit::of(&fault.into()), Exit::Tier);
        assert_eq!(Exit::of(&OutputClosed.into()), Exit::Done);
    }
}
