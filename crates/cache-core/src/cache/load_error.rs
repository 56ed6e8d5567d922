//! Why a load brought no value.

use std::{any::Any, fmt, sync::Arc};

use crate::error::{Error, ErrorKind};

/// Why [`get_or_load`](crate::Cache::get_or_load) has no value.
///
/// One load answers many callers, so the loader's error is shared.
#[derive(Debug)]
pub enum LoadError<E> {
    /// The loader's own error.
    Source(Arc<E>),
    /// The key is not valid, the loader panicked or took too long, the cache is shut down, or the
    /// load was led by a caller whose loader has another type of error.
    Cache(Error),
}

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Source(error) => Self::Source(Arc::clone(error)),
            Self::Cache(error) => Self::Cache(error.clone()),
        }
    }
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => write!(f, "the load failed: {error}"),
            Self::Cache(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl<E: fmt::Display + fmt::Debug> std::error::Error for LoadError<E> {}

impl<E> From<Error> for LoadError<E> {
    fn from(error: Error) -> Self {
        Self::Cache(error)
    }
}

/// What a loader may fail with: an error type, or `anyhow::Error`, or a string.
pub trait SourceError: fmt::Display + fmt::Debug + Send + Sync + 'static {}

impl<E: fmt::Display + fmt::Debug + Send + Sync + 'static> SourceError for E {}

/// A failed load, as it is handed to callers whose loaders may have different error types.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    Source {
        error: Arc<dyn Any + Send + Sync>,
        text: Arc<str>,
    },
    Cache(Error),
    /// Of a flight that had not looked for what others may be content with.
    Unlooked(Arc<Self>),
}

impl Failure {
    pub(super) fn source<E: SourceError>(error: E) -> Self {
        let text = error.to_string().into();
        Self::Source { error: Arc::new(error), text }
    }

    /// Whether the source lags behind what was asked for.
    pub(super) fn is_outdated(&self) -> bool {
        matches!(self, Self::Cache(error) if error.kind() == ErrorKind::Outdated)
    }

    /// The failure as the caller's own type of error.
    pub(super) fn into_error<E: SourceError>(self) -> LoadError<E> {
        match self {
            Self::Cache(error) => LoadError::Cache(error),
            Self::Unlooked(failure) => Arc::unwrap_or_clone(failure).into_error(),
            Self::Source { error, text } => match error.downcast::<E>() {
                Ok(error) => LoadError::Source(error),
                Err(_) => {
                    let message = format!("the load of another caller failed: {text}");
                    LoadError::Cache(Error::new(ErrorKind::Load, message))
                }
            },
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Cache(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source { text, .. } => f.write_str(text),
            Self::Unlooked(failure) => fmt::Display::fmt(failure, f),
            Self::Cache(error) => fmt::Display::fmt(error, f),
        }
    }
}
