//! Reads that go on to the source.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use super::{
    Cache,
    flight::{Absence, Course, Wanted},
    flights::{Boarding, Passenger, Pilot},
    hit::Hit,
    item::{Item, Loaded},
    load_error::{Failure, LoadError, SourceError},
    reply::{Previous, Reply},
    request::Rule,
    shared::Glance,
};
use crate::{error::Result, key::Key, load_limit::Priority, tier::check_batch};

/// What a batch answers for one key.
type Answer<V, E> = Result<Option<Hit<V>>, LoadError<E>>;

impl<V: Send + Sync + 'static> Cache<V> {
    /// The value under `key`, loaded by `loader` where no tier has it fresh.
    ///
    /// However many callers miss one key at the same time, one load runs in this process, on a
    /// task of its own, for at most the cache's `load_timeout`. Its value or its error answers them
    /// all. A key that is changed during the load is not filled by it, and whoever asks after the
    /// change gets a load of their own.
    ///
    /// When the load fails and a stale value is left, that is the answer; when the load is slow,
    /// that is the answer after the cache's [`soft_timeout`](crate::Policy::soft_timeout). A fresh
    /// value that is about to expire is refreshed in the background
    /// ([`early_refresh`](crate::Policy::early_refresh)). More is to be had from [`read`](Self::read).
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
        let loader = move |_| async move { loader().await.map(|item| Reply::Item(item.into())) };
        if let Glance::Hit(hit) = self.0.near_fresh(key) {
            if self.0.policy.is_early(&hit, &self.0.dice) {
                self.refresh_early(key, &hit, Course::plain(), loader);
            }
            return Ok(hit);
        }
        let rule = Rule::FAIL_SAFE;
        // Boxed, as this is a large future that each hit would pay for moving.
        let landing = Box::pin(self.travel(key, &rule, rule.course(Absence::Misses), loader)).await;
        let hit = landing.map_err(Failure::into_error)?;
        Ok(hit.expect("a loader of one key brings a value"))
    }

    /// What [`Read::load`](super::Read::load) promises.
    pub(super) async fn read_through<F, Fut, R, E>(
        &self,
        text: &str,
        rule: Rule,
        course: Course,
        loader: F,
    ) -> Result<Option<Hit<V>>, Failure>
    where
        F: FnOnce(Option<Previous<V>>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: Into<Reply<V>> + Send + 'static,
        E: SourceError,
    {
        self.0.check_read()?;
        match self.0.near_for(text, &rule) {
            Glance::Hit(hit) if rule.takes_at_once(&hit) => {
                if hit.is_stale() {
                    self.0.metrics.stale_at_once.add(1);
                    self.0.set_off(&self.0.namespace.key(text)?, course, loader);
                } else if self.0.policy.is_early(&hit, &self.0.dice) {
                    self.refresh_early(text, &hit, course, loader);
                }
                return Ok(Some(hit));
            }
            Glance::Absent if rule.version.is_none() => return Ok(None),
            _ => {}
        }
        // Boxed, as this is a large future that each hit would pay for moving.
        Box::pin(self.read_below(text, rule, course, loader)).await
    }

    async fn read_below<F, Fut, R, E>(
        &self,
        text: &str,
        rule: Rule,
        course: Course,
        loader: F,
    ) -> Result<Option<Hit<V>>, Failure>
    where
        F: FnOnce(Option<Previous<V>>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: Into<Reply<V>> + Send + 'static,
        E: SourceError,
    {
        if rule.at_once.is_some() {
            // A flight would wait for its load before it tells what the tiers have.
            self.0.follow_logs().await;
            let key = self.0.namespace.key(text)?;
            let below = self.0.look_below(&key, &course).await.hit;
            if let Some(hit) = below.filter(|hit| rule.takes_at_once(hit)) {
                self.0.answered(text, Some(&hit));
                if hit.is_stale() {
                    self.0.metrics.stale_at_once.add(1);
                    self.0.set_off(&key, course, loader);
                }
                return Ok(Some(hit));
            }
        }
        self.travel(text, &rule, course, loader).await
    }

    /// Waits for a flight of the key, another caller's or its own.
    async fn travel<F, Fut, R, E>(
        &self,
        text: &str,
        rule: &Rule,
        course: Course,
        loader: F,
    ) -> Result<Option<Hit<V>>, Failure>
    where
        F: FnOnce(Option<Previous<V>>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: Into<Reply<V>> + Send + 'static,
        E: SourceError,
    {
        let key = self.0.namespace.key(text)?;
        let takes_absence = course.absence == Absence::Answers;
        let mut earlier = true;
        let landing = loop {
            let boarding = if rule.may_join() {
                self.0.flights.board(&key)?
            } else {
                Boarding::Lead(self.0.flights.lead(&key)?)
            };
            match boarding {
                Boarding::Lead(pilot) => {
                    let passenger = pilot.passenger();
                    self.0.tasks.spawn(Arc::clone(&self.0).fly(pilot, course, loader));
                    break self.0.arrive(&key, passenger, rule).await;
                }
                Boarding::Join(passenger) => {
                    self.0.metrics.shared_flights.add(1);
                    match self.0.arrive(&key, passenger, rule).await {
                        // Another loader may find that its source lacks the key; this one may not.
                        Ok(None) if !takes_absence => {}
                        // That flight departed before this read, and perhaps before the version
                        // that is asked for was there. The next one did not.
                        Err(failure) if earlier && failure.is_outdated() => earlier = false,
                        landing => break landing,
                    }
                }
            }
        };
        self.0.answered(text, landing.as_ref().ok().and_then(Option::as_ref));
        landing
    }

    fn refresh_early<F, Fut, R, E>(&self, text: &str, hit: &Hit<V>, course: Course, loader: F)
    where
        F: FnOnce(Option<Previous<V>>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: Into<Reply<V>> + Send + 'static,
        E: SourceError,
    {
        let course = Course { newer_than: Some(self.0.made_at(hit)), ..course };
        if let Ok(key) = self.0.namespace.key(text) {
            self.0.set_off(&key, course, loader);
        }
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
        let priority = Priority::Refresh;
        let course = Course { wanted: Wanted::Reload, priority, ..Course::plain() };
        let loader = move |_| async move { loader().await.map(|item| Reply::Item(item.into())) };
        self.0.tasks.spawn(Arc::clone(&self.0).fly(pilot, course, loader));
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
        let mut answers: HashMap<&str, Option<Answer<V, E>>> = HashMap::new();
        // In the order of the keys, so that a simulation runs the same each time.
        let mut passengers = Vec::new();
        let mut pilots = Vec::new();
        for text in keys.iter().map(AsRef::as_ref) {
            // A repeated key is asked for once.
            let Entry::Vacant(answer) = answers.entry(text) else { continue };
            let glance = match wanted {
                Wanted::Fresh => self.0.near_fresh(text),
                Wanted::Reload => Glance::Miss,
            };
            answer.insert(match glance {
                Glance::Hit(hit) => Some(Ok(Some(hit))),
                Glance::Absent => Some(Ok(None)),
                Glance::Miss => match self.embark(text, wanted, &mut pilots) {
                    Ok((key, passenger)) => {
                        passengers.push((text, key, passenger));
                        None
                    }
                    Err(error) => Some(Err(error.into())),
                },
            });
        }
        if !pilots.is_empty() {
            self.0.tasks.spawn(Arc::clone(&self.0).fly_many(pilots, wanted, loader));
        }
        for (text, key, passenger) in passengers {
            let landing = match wanted {
                Wanted::Fresh => self.0.arrive(&key, passenger, &Rule::FAIL_SAFE).await,
                Wanted::Reload => passenger.arrive().await,
            };
            if wanted == Wanted::Fresh {
                self.0.answered(text, landing.as_ref().ok().and_then(Option::as_ref));
            }
            answers.insert(text, Some(landing.map_err(Failure::into_error)));
        }
        let answer = |key: &K| answers[key.as_ref()].clone().expect("every key was answered");
        keys.iter().map(answer).collect()
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
