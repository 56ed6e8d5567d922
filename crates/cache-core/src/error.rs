//! The one error type: what went wrong, would a retry help, may the write have happened.

use std::{error::Error as StdError, fmt, sync::Arc};

/// The result of a cache operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of fault an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The cache, or this handle of it, has been shut down.
    Closed,
    /// A value could not be encoded, or its codec does not fit.
    Codec,
    /// A setting is missing, unknown, contradictory or out of its range.
    Config,
    /// The server refused the user, the password or the permission.
    Denied,
    /// The tier has no room and refuses writes.
    Full,
    /// The store holds a schema or a format that this version does not know.
    Incompatible,
    /// A bug, here or in a dependency.
    Internal,
    /// A key or a namespace is empty, too long or unprintable.
    InvalidKey,
    /// A time to live is zero, above its maximum, or otherwise out of order.
    InvalidTtl,
    /// The loader did not bring a value: it panicked, was dropped, or failed for another caller.
    Load,
    /// The source answered with a version older than the one that was asked for.
    Outdated,
    /// More is asked at once than a limit allows.
    Overloaded,
    /// The tier's server lost data: what it had was given up, and the next call finds it empty.
    LostData,
    /// The tier answers reads only.
    ReadOnly,
    /// The tier, or the loader, did not answer in its time.
    Timeout,
    /// A value or a batch is above its limit.
    TooLarge,
    /// The tier cannot be reached, or is starting up.
    Unavailable,
}

impl ErrorKind {
    /// Whether the same call may succeed a little later, with nothing changed by a person.
    const fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Full
                | Self::LostData
                | Self::Outdated
                | Self::Overloaded
                | Self::Timeout
                | Self::Unavailable
        )
    }
}

/// What went wrong in a cache operation, and what to do about it.
///
/// One pointer wide and cheap to clone, so that one failed batch can answer many callers.
/// A miss is never an error.
///
/// # Examples
///
/// ```
/// use cache_core::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::Unavailable, "could not reach Redis at 127.0.0.1:6379")
///     .hint("start it, or correct `redis.url`");
/// assert!(error.is_retryable());
/// assert!(!error.may_have_happened());
/// assert_eq!(
///     error.to_string(),
///     "could not reach Redis at 127.0.0.1:6379; start it, or correct `redis.url`"
/// );
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    indeterminate: bool,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`. `message` says what was tried, and with which setting.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            hint: None,
            indeterminate: false,
            source: None,
        }))
    }

    /// Adds what a person can change.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        self.with(|inner| inner.hint = Some(hint.into()))
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.with(|inner| inner.source = Some(Arc::new(source)))
    }

    /// Marks a write whose outcome is unknown: it may have happened.
    #[must_use]
    pub fn indeterminate(self) -> Self {
        self.with(|inner| inner.indeterminate = true)
    }

    /// Puts `context` in front of the message: which tier, which operation.
    #[must_use]
    pub fn context(self, context: impl fmt::Display) -> Self {
        self.with(|inner| inner.message = format!("{context}: {}", inner.message))
    }

    /// What kind of fault this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed later, with nothing changed by a person.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.kind.is_transient()
    }

    /// Whether a write that ended in this error may have been carried out, wholly or in part.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        self.0.indeterminate
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("hint", &self.0.hint)
            .field("may_have_happened", &self.0.indeterminate)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_pointer_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn an_error_answers_its_three_questions_and_keeps_its_cause() {
        let error = Error::new(ErrorKind::Timeout, "no answer in 50 ms")
            .context("put into redis")
            .caused_by(std::io::Error::other("cut"))
            .indeterminate();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.is_retryable() && error.may_have_happened());
        assert_eq!(error.to_string(), "put into redis: no answer in 50 ms");
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("cut"));
    }
}
