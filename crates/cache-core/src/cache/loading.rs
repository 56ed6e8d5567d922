//! Reads that go on to the source.

use std::{collections::HashMap, sync::Arc};

use super::{
    Cache,
    flight::Wanted,
    flights::{Boarding, Passenger, Pilot},
    hit::Hit,
    item::{Item, Loaded},
    load_error::{Failure, LoadError, SourceError},
};
use crate::{error::Result, key::Key, tier::check_batch};

impl<V: Send + Sync + 'static> Cache<V> {
    /// The value under `key`, loaded by `loader` where no tier has it fresh.
    ///
    /// However many callers miss one key at the same time, one load runs in this process, on a
    /// task of its own, for at most the cache's `load_timeout`. Its value or its error answers them
    /// all. A key that is changed during the load is not filled by it, and whoever asks after the
    /// change gets a load of their own.
    ///
    /// When the load fails and a stale value is left, that is the answer.
    ///
    /// # Errors
    ///
    /// [`LoadError::Source`] with the loader's error. [`LoadError::Cache`] when the key is not
    /// valid, the loader panicked ([`ErrorKind::Load`](crate::ErrorKind::Load)) or took too long
    /// ([`ErrorKind::Timeout`](crate::ErrorKind::Timeout)), too many loads are under way
    /// ([`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded)), or the cache is shut down. A
    /// tier's fault is no error here.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves its load running: it fills the tiers, and answers the others.
    pub async fn get_or_load<F, Fut, I, E>(
        &self,
        key: &str,
        loader: F,
    ) -> Result<Hit<V>, LoadError<E>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<I, E>> + Send + 'static,
        I: Into<Item<V>> + Send + 'static,
        E: SourceError,
    {
        self.0.check_read()?;
        if let Some(hit) = self.0.near_fresh(key) {
            return Ok(hit);
        }
        let key = self.0.namespace.key(key)?;
        let landing = loop {
            match self.0.flights.board(&key)? {
                Boarding::Lead(pilot) => {
                    let passenger = pilot.passenger();
                    self.0.tasks.spawn(Arc::clone(&self.0).fly(pilot, Wanted::Fresh, loader));
                    break passenger.arrive().await;
                }
                Boarding::Join(passenger) => {
                    self.0.metrics.shared_flights.add(1);
                    let landing = self.0.arrive(&key, passenger).await;
                    // A batch loader may find that its source lacks the key; this one may not.
                    if !matches!(landing, Ok(None)) {
                        break landing;
                    }
                }
            }
        };
        let hit = landing.map(|hit| hit.expect("a loader of one key brings a value"));
        self.0.metrics.answered(hit.as_ref().ok());
        hit.map_err(Failure::into_error)
    }

    /// Loads the value under `key` whether or not a tier has it fresh, and fills every tier with
    /// it, unless the key is changed meanwhile. Callers that miss the key join this load.
    ///
    /// # Errors
    ///
    /// As [`get_or_load`](Self::get_or_load). A failed load leaves in the tiers what they have.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves its load running.
    pub async fn refresh<F, Fut, I, E>(&self, key: &str, loader: F) -> Result<Hit<V>, LoadError<E>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<I, E>> + Send + 'static,
        I: Into<Item<V>> + Send + 'static,
        E: SourceError,
    {
        self.0.check_read()?;
        let pilot = self.0.flights.lead(&self.0.namespace.key(key)?)?;
        let passenger = pilot.passenger();
        self.0.tasks.spawn(Arc::clone(&self.0).fly(pilot, Wanted::Reload, loader));
        let hit = passenger.arrive().await.map_err(Failure::into_error)?;
        Ok(hit.expect("a loader of one key brings a value"))
    }

    /// The values under `keys`, in their order. `loader` is called at most once, with exactly the
    /// keys that no tier has fresh and that are not already being loaded, each once.
    ///
    /// It answers with pairs of key and value (a `HashMap` will do), or of key and `Result` where
    /// single keys can fail. A key that it leaves out is one that its source does not have:
    /// `Ok(None)`. Pairs that were not asked for are ignored.
    ///
    /// # Errors
    ///
    /// For each key those of [`get_or_load`](Self::get_or_load);
    /// [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) for every key of a batch of more than
    /// [`BATCH_LEN_MAX`](crate::BATCH_LEN_MAX).
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves its load running: it fills the tiers, and answers the others.
    pub async fn get_many_or_load<K, F, Fut, M, I, E>(
        &self,
        keys: impl IntoIterator<Item = K>,
        loader: F,
    ) -> Vec<Result<Option<Hit<V>>, LoadError<E>>>
    where
        K: AsRef<str>,
        F: FnOnce(Vec<String>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<M, E>> + Send + 'static,
        M: IntoIterator<Item = (String, I)> + Send + 'static,
        I: Into<Loaded<V, E>> + Send + 'static,
        E: SourceError,
    {
        self.load_many(keys.into_iter().collect(), Wanted::Fresh, loader).await
    }

    /// Loads the values under `keys` whether or not a tier has them fresh; otherwise as
    /// [`get_many_or_load`](Self::get_many_or_load). This is what warming does.
    ///
    /// # Errors
    ///
    /// For each key those of [`get_or_load`](Self::get_or_load). A failed load leaves in the tiers
    /// what they have.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves its load running.
    pub async fn refresh_many<K, F, Fut, M, I, E>(
        &self,
        keys: impl IntoIterator<Item = K>,
        loader: F,
    ) -> Vec<Result<Option<Hit<V>>, LoadError<E>>>
    where
        K: AsRef<str>,
        F: FnOnce(Vec<String>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<M, E>> + Send + 'static,
        M: IntoIterator<Item = (String, I)> + Send + 'static,
        I: Into<Loaded<V, E>> + Send + 'static,
        E: SourceError,
    {
        self.load_many(keys.into_iter().collect(), Wanted::Reload, loader).await
    }

    async fn load_many<K, F, Fut, M, I, E>(
        &self,
        keys: Vec<K>,
        wanted: Wanted,
        loader: F,
    ) -> Vec<Result<Option<Hit<V>>, LoadError<E>>>
    where
        K: AsRef<str>,
        F: FnOnce(Vec<String>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<M, E>> + Send + 'static,
        M: IntoIterator<Item = (String, I)> + Send + 'static,
        I: Into<Loaded<V, E>> + Send + 'static,
        E: SourceError,
    {
        if let Err(error) = self.0.check_read().and_then(|()| check_batch(keys.len())) {
            return keys.iter().map(|_| Err(LoadError::Cache(error.clone()))).collect();
        }
        let mut answers: HashMap<&str, Result<Option<Hit<V>>, LoadError<E>>> = HashMap::new();
        let mut passengers = HashMap::new();
        let mut pilots = Vec::new();
        for text in keys.iter().map(AsRef::as_ref) {
            // A repeated key is asked for once.
            if answers.contains_key(text) || passengers.contains_key(text) {
                continue;
            }
            let near = (wanted == Wanted::Fresh).then(|| self.0.near_fresh(text)).flatten();
            if let Some(hit) = near {
                answers.insert(text, Ok(Some(hit)));
                continue;
            }
            match self.embark(text, wanted, &mut pilots) {
                Ok(passenger) => {
                    passengers.insert(text, passenger);
                }
                Err(error) => {
                    answers.insert(text, Err(error.into()));
                }
            }
        }
        if !pilots.is_empty() {
            self.0.tasks.spawn(Arc::clone(&self.0).fly_many(pilots, wanted, loader));
        }
        for (text, (key, passenger)) in passengers {
            let landing = match wanted {
                Wanted::Fresh => self.0.arrive(&key, passenger).await,
                Wanted::Reload => passenger.arrive().await,
            };
            if wanted == Wanted::Fresh {
                self.0.metrics.answered(landing.as_ref().ok().and_then(Option::as_ref));
            }
            answers.insert(text, landing.map_err(Failure::into_error));
        }
        keys.iter().map(|key| answers[key.as_ref()].clone()).collect()
    }

    /// Gets aboard the flight of `text`, or adds one to `pilots`.
    fn embark(
        &self,
        text: &str,
        wanted: Wanted,
        pilots: &mut Vec<Pilot<V>>,
    ) -> Result<(Key, Passenger<V>)> {
        let key = self.0.namespace.key(text)?;
        let boarding = match wanted {
            Wanted::Fresh => self.0.flights.board(&key)?,
            Wanted::Reload => Boarding::Lead(self.0.flights.lead(&key)?),
        };
        let passenger = match boarding {
            Boarding::Join(passenger) => {
                self.0.metrics.shared_flights.add(1);
                passenger
            }
            Boarding::Lead(pilot) => {
                let passenger = pilot.passenger();
                pilots.push(pilot);
                passenger
            }
        };
        Ok((key, passenger))
    }
}
