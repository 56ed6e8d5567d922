//! Why a source has no answer.

use std::{fmt, time::Duration};

/// What kind of fault a [`SourceError`] is. Its text is the reason that reports count by, such as
/// `timed_out` or `rejected_429`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceErrorKind {
    /// The source cannot be asked for such a key.
    InvalidKey,
    /// The answer is not what was agreed on: no JSON, another shape, a field that is missing.
    Malformed,
    /// None of the others.
    Other,
    /// The source refused, with a status as HTTP has them.
    Rejected {
        /// The status, 100 to 999.
        status: u16,
    },
    /// No answer in time.
    TimedOut,
    /// The answer is larger than what is accepted.
    TooLarge,
    /// There is no connection, or it broke.
    Unreachable,
}

impl SourceErrorKind {
    /// Whether the same question may be answered a little later, with nothing changed by a person.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::TimedOut | Self::Unreachable => true,
            // Timeout, too early, too many requests, and the server's own faults.
            Self::Rejected { status } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::InvalidKey | Self::Malformed | Self::Other | Self::TooLarge => false,
        }
    }
}

impl fmt::Display for SourceErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidKey => f.write_str("invalid_key"),
            Self::Malformed => f.write_str("malformed"),
            Self::Other => f.write_str("other"),
            Self::Rejected { status } => write!(f, "rejected_{status}"),
            Self::TimedOut => f.write_str("timed_out"),
            Self::TooLarge => f.write_str("too_large"),
            Self::Unreachable => f.write_str("unreachable"),
        }
    }
}

/// Why a source has no answer for a key, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError {
    kind: SourceErrorKind,
    message: String,
    hint: Option<String>,
    retry_after: Option<Duration>,
}

impl SourceError {
    /// An error of `kind`. `message` says what was asked, and with which setting; no secrets.
    #[must_use]
    pub fn new(kind: SourceErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, retry_after: None }
    }

    /// Adds what a person can change.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Adds when the source wants to be asked again, as by the header `Retry-After`. A warmer asks
    /// it for nothing until then.
    #[must_use]
    pub fn retry_after(self, pause: Duration) -> Self {
        Self { retry_after: Some(pause), ..self }
    }

    /// How long the source wants to be left alone, if it said so.
    #[must_use]
    pub const fn pause(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What kind of fault this is.
    #[must_use]
    pub const fn kind(&self) -> SourceErrorKind {
        self.kind
    }

    /// Whether the same question may be answered a little later, with nothing changed by a person.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.kind.is_retryable()
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SourceError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_names_the_status_and_tells_whether_to_ask_again() {
        for (kind, reason, again) in [
            (SourceErrorKind::Rejected { status: 429 }, "rejected_429", true),
            (SourceErrorKind::Rejected { status: 503 }, "rejected_503", true),
            (SourceErrorKind::Rejected { status: 401 }, "rejected_401", false),
            (SourceErrorKind::TimedOut, "timed_out", true),
            (SourceErrorKind::Malformed, "malformed", false),
        ] {
            assert_eq!((kind.to_string().as_str(), kind.is_retryable()), (reason, again));
        }
    }

    #[test]
    fn an_error_says_what_to_do() {
        let error =
            SourceError::new(SourceErrorKind::TimedOut, "no answer in 10s").hint("raise `timeout`");
        assert_eq!(error.to_string(), "no answer in 10s; raise `timeout`");
    }
}
