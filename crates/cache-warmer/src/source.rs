//! Where values come from.

use std::fmt;

use async_trait::async_trait;
use cache_core::Item;
use futures::{StreamExt, stream};

use crate::source_error::SourceError;

/// What a source says of one key: a value, that it does not have it, or why it cannot tell.
pub type Answer<V> = Result<Option<Item<V>>, SourceError>;

/// The source of truth behind a cache, or a copy of it.
///
/// It serves the warmer and a cache's loaders alike. A value may come with its version and its own
/// time to live, see [`Item`].
///
/// # Examples
///
/// ```
/// use cache_core::Item;
/// use cache_warmer::{Answer, Source, load_each};
///
/// /// Knows the length of every word but the empty one.
/// #[derive(Debug)]
/// struct Lengths;
///
/// #[async_trait::async_trait]
/// impl Source<usize> for Lengths {
///     async fn load(&self, key: &str) -> Answer<usize> {
///         Ok((!key.is_empty()).then(|| Item::new(key.len())))
///     }
///
///     async fn load_many(&self, keys: &[String]) -> Vec<Answer<usize>> {
///         load_each(self, keys, 8).await
///     }
///
///     fn batch_len_max(&self) -> usize {
///         1
///     }
/// }
/// ```
#[async_trait]
pub trait Source<V: Send + 'static>: fmt::Debug + Send + Sync + 'static {
    /// Asks for one key.
    ///
    /// # Errors
    ///
    /// Why the source cannot tell. That it does not have the key is `None`, no error.
    ///
    /// # Cancel safety
    ///
    /// A dropped future gives the question up.
    async fn load(&self, key: &str) -> Answer<V>;

    /// Asks for several keys, at most [`batch_len_max`](Self::batch_len_max), and answers for each
    /// in their order. One key's failure is not another's.
    ///
    /// # Cancel safety
    ///
    /// A dropped future gives the question up.
    async fn load_many(&self, keys: &[String]) -> Vec<Answer<V>>;

    /// How many keys one call of [`load_many`](Self::load_many) should name: 1 where the source
    /// knows single loads only, so that no key waits for another.
    fn batch_len_max(&self) -> usize;
}

/// Loads key by key, `concurrency` at a time (0 counts as 1): a `load_many` for sources that know
/// single loads only.
///
/// # Cancel safety
///
/// A dropped future gives the questions up.
pub async fn load_each<V, S>(source: &S, keys: &[String], concurrency: usize) -> Vec<Answer<V>>
where
    V: Send + 'static,
    S: Source<V> + ?Sized,
{
    let loads: Vec<_> = keys.iter().map(|key| source.load(key)).collect();
    stream::iter(loads).buffered(concurrency.max(1)).collect().await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::source_error::SourceErrorKind;

    #[derive(Debug, Default)]
    struct Single {
        now: AtomicUsize,
        most: AtomicUsize,
    }

    #[async_trait]
    impl Source<String> for Single {
        async fn load(&self, key: &str) -> Answer<String> {
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            tokio::task::yield_now().await;
            self.now.fetch_sub(1, Ordering::SeqCst);
            match key {
                "bad" => Err(SourceError::new(SourceErrorKind::Malformed, "garbage")),
                "none" => Ok(None),
                _ => Ok(Some(Item::new(key.to_owned()))),
            }
        }

        async fn load_many(&self, keys: &[String]) -> Vec<Answer<String>> {
            load_each(self, keys, 3).await
        }

        fn batch_len_max(&self) -> usize {
            1
        }
    }

    #[tokio::test]
    async fn single_loads_answer_in_order_and_within_their_bound() {
        let source = Single::default();
        let keys = ["a", "bad", "none", "b", "c", "d", "e"].map(str::to_owned);
        let answers = source.load_many(&keys).await;
        let shapes: Vec<&str> = answers
            .iter()
            .map(|answer| match answer {
                Ok(Some(_)) => "value",
                Ok(None) => "none",
                Err(_) => "error",
            })
            .collect();
        assert_eq!(shapes, ["value", "error", "none", "value", "value", "value", "value"]);
        assert_eq!(source.most.load(Ordering::SeqCst), 3);
    }
}
