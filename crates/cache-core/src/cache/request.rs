//! A read with wishes of its own: how fresh, after which writes, with which tags.

use std::{sync::Arc, time::Duration};

use super::{
    Cache,
    flight::{Absence, Copies, Course},
    flights::Landing,
    hit::Hit,
    load_error::{Failure, LoadError, SourceError},
    reply::{Previous, Reply},
    session::{Demand, Session},
    shared::Glance,
};
use crate::{
    entry::Version,
    error::{Error, ErrorKind, Result},
};

/// How fresh an answer has to be. Nothing is served beyond its `max_stale` in any case.
///
/// | | a fresh value | a stale value | when the load fails, or passes the soft timeout |
/// | --- | --- | --- | --- |
/// | [`FailSafe`](Self::FailSafe) | answers | is loaded anew | the stale value |
/// | [`Any`](Self::Any) | answers | answers at once, and is loaded anew in the background | |
/// | [`MaxStale(d)`](Self::MaxStale) | answers | up to `d` as with `Any`, beyond it is loaded anew | the error |
/// | [`AtLeast(v)`](Self::AtLeast) | answers from version `v` on, else is loaded anew | is loaded anew | the stale value, from version `v` on |
/// | [`Fresh`](Self::Fresh) | answers | is loaded anew | the error |
///
/// Without a loader nothing is loaded: the answer is the best value that the last column would
/// take, else a miss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Freshness {
    /// A fresh value, else a load, else a stale value: what [`Cache::get_or_load`] does.
    #[default]
    FailSafe,
    /// Whatever is there, at once (stale while revalidate).
    Any,
    /// A value that has been stale for no longer than this counts as good.
    MaxStale(Duration),
    /// Only a value of this version or a newer one; never one without a version. A load that
    /// brings an older one is an error, [`ErrorKind::Outdated`]: its source lags behind.
    AtLeast(Version),
    /// A fresh value or an error.
    Fresh,
}

/// A read that is put together: [`Cache::read`].
///
/// # Examples
///
/// ```
/// use std::{convert::Infallible, time::Duration};
/// use cache_core::{Cache, Freshness};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache: Cache<f64> = Cache::builder("price").max_stale(Duration::from_secs(60)).build()?;
/// let price = cache
///     .read("AAPL")
///     .freshness(Freshness::MaxStale(Duration::from_secs(5)))
///     .tags(["us"])
///     // `None` is the source's word that it has no such thing.
///     .load(|_previous| async { Ok::<_, Infallible>(Some(187.5)) })
///     .await?;
/// assert_eq!(price.as_deref(), Some(&187.5));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a read does nothing until it is sent with `get` or `load`"]
pub struct Read<'a, V> {
    cache: &'a Cache<V>,
    key: &'a str,
    freshness: Freshness,
    session: Option<&'a Session>,
    tags: Vec<Arc<str>>,
}

impl<V: Send + Sync + 'static> Cache<V> {
    /// Begins a read of `key` with wishes of its own. Without any it is
    /// [`get`](Self::get), or a [`get_or_load`](Self::get_or_load) whose loader may answer more.
    pub const fn read<'a>(&'a self, key: &'a str) -> Read<'a, V> {
        Read { cache: self, key, freshness: Freshness::FailSafe, session: None, tags: Vec::new() }
    }
}

impl<'a, V: Send + Sync + 'static> Read<'a, V> {
    /// How fresh the answer has to be.
    pub fn freshness(self, freshness: Freshness) -> Self {
        Self { freshness, ..self }
    }

    /// Has the answer contain what was written in `session`, by whichever node: where this key was
    /// written in it, copies that only this process has do not answer, nor values of a version older
    /// than the written one.
    pub fn session(self, session: &'a Session) -> Self {
        Self { session: Some(session), ..self }
    }

    /// The tags of the value, should it be loaded: by them it can be invalidated.
    pub fn tags<T: AsRef<str>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(|tag| Arc::from(tag.as_ref())));
        self
    }

    /// The value, from the tiers alone.
    ///
    /// # Errors
    ///
    /// Those of [`Cache::get`].
    ///
    /// # Cancel safety
    ///
    /// A dropped future changes nothing.
    pub async fn get(self) -> Result<Option<Hit<V>>> {
        let rule = self.rule()?;
        let shared = &self.cache.0;
        shared.check_read()?;
        match shared.near_for(self.key, &rule) {
            Glance::Hit(hit) if rule.takes_at_once(&hit) => return Ok(Some(hit)),
            Glance::Absent if rule.version.is_none() => return Ok(None),
            _ => {}
        }
        let key = shared.namespace.key(self.key)?;
        shared.follow_logs().await;
        let (candidate, result) = shared.look(&key, &rule.course(Absence::Answers)).await;
        let hit = candidate.hit.filter(|hit| rule.takes_at_last(hit));
        if hit.is_none() {
            result?;
        }
        shared.answered(self.key, hit.as_ref());
        Ok(hit)
    }

    /// The value, loaded by `loader` where no tier has what is wished for. `loader` is given what
    /// the tiers have of the key, and answers with anything that is a [`Reply`]: a value, an
    /// [`Item`](crate::Item), an `Option` of one.
    ///
    /// Nothing (`None`) is the answer when the source has no value, now or as it is remembered.
    /// Otherwise as [`Cache::get_or_load`].
    ///
    /// # Errors
    ///
    /// Those of [`Cache::get_or_load`], and [`ErrorKind::Outdated`] when only an older version
    /// is to be had than the read asks for.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves its load running: it fills the tiers, and answers the others.
    pub async fn load<F, Fut, R, E>(self, loader: F) -> Result<Option<Hit<V>>, LoadError<E>>
    where
        F: FnOnce(Option<Previous<V>>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: Into<Reply<V>> + Send + 'static,
        E: SourceError,
    {
        let rule = self.rule()?;
        let course = Course { tags: self.tags, ..rule.course(Absence::Answers) };
        self.cache.read_through(self.key, rule, course, loader).await.map_err(Failure::into_error)
    }

    fn rule(&self) -> Result<Rule> {
        let rule = Rule::from(self.freshness);
        let Some(session) = self.session else { return Ok(rule) };
        let shared = &self.cache.0;
        let key = shared.namespace.key(self.key)?;
        Ok(match session.demand(&key, shared.clock.now(), shared.policy.session_ttl) {
            Demand::Nothing => rule,
            Demand::Version(version) => Rule { version: rule.version.max(Some(version)), ..rule },
            Demand::SharedCopies => Rule { copies: Copies::Shared, ..rule },
        })
    }
}

/// Which values a read takes, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// Only of this version or a newer one.
    pub(super) version: Option<Version>,
    pub(super) copies: Copies,
    /// How stale a value may be that answers at once; nothing: it has to be fresh.
    pub(super) at_once: Option<Duration>,
    /// The same for when a load brings nothing better.
    at_last: Option<Duration>,
}

impl Rule {
    /// A fresh value, else a load, else a stale value.
    pub(super) const FAIL_SAFE: Self =
        Self { version: None, copies: Copies::All, at_once: None, at_last: Some(Duration::MAX) };

    /// What a flight for this read looks for.
    pub(super) fn course(&self, absence: Absence) -> Course {
        let Self { version, copies, .. } = *self;
        Course { version, copies, absence, ..Course::plain() }
    }

    pub(super) fn takes_at_once<V>(&self, hit: &Hit<V>) -> bool {
        self.takes_version(hit) && fits(hit, self.at_once)
    }

    pub(super) fn takes_at_last<V>(&self, hit: &Hit<V>) -> bool {
        self.takes_version(hit) && fits(hit, self.at_last)
    }

    /// Whether a stale value can be an answer to this read at all.
    pub(super) const fn may_be_stale(&self) -> bool {
        self.at_last.is_some()
    }

    /// Whether this read may be answered by a load that may have begun before it.
    pub(super) const fn may_join(&self) -> bool {
        matches!(self.copies, Copies::All)
    }

    /// What a flight's end is to this read.
    pub(super) fn judge<V>(&self, landing: Landing<V>) -> Landing<V> {
        let Some(hit) = landing? else { return Ok(None) };
        if !self.takes_version(&hit) {
            return Err(Failure::Cache(self.outdated(hit.version())));
        }
        if hit.is_loaded() || fits(&hit, self.at_last) {
            return Ok(Some(hit));
        }
        Err(hit.fault().cloned().unwrap_or_else(|| Failure::Cache(too_stale())))
    }

    fn takes_version<V>(&self, hit: &Hit<V>) -> bool {
        self.version.is_none() || hit.version() >= self.version
    }

    fn outdated(&self, known: Option<Version>) -> Error {
        let number = |version: Option<Version>| {
            version.map_or("a value without a version".to_owned(), |v| format!("version {}", v.0))
        };
        let message = format!(
            "the source answered with {}, and {} was asked for",
            number(known),
            number(self.version)
        );
        Error::new(ErrorKind::Outdated, message)
            .hint("ask again when its replica has caught up, or ask the primary")
    }
}

impl From<Freshness> for Rule {
    fn from(freshness: Freshness) -> Self {
        let always = Some(Duration::MAX);
        match freshness {
            Freshness::FailSafe => Self::FAIL_SAFE,
            Freshness::Any => Self { at_once: always, ..Self::FAIL_SAFE },
            Freshness::MaxStale(limit) => {
                Self { at_once: Some(limit), at_last: Some(limit), ..Self::FAIL_SAFE }
            }
            Freshness::AtLeast(version) => Self { version: Some(version), ..Self::FAIL_SAFE },
            Freshness::Fresh => Self { at_last: None, ..Self::FAIL_SAFE },
        }
    }
}

/// Whether a value is fresh, or has been stale for at most `limit`.
fn fits<V>(hit: &Hit<V>, limit: Option<Duration>) -> bool {
    !hit.is_stale() || limit.is_some_and(|limit| hit.stale_for() <= limit)
}

fn too_stale() -> Error {
    Error::new(ErrorKind::Load, "the load of another caller brought nothing that is fresh enough")
        .hint("ask again")
}
