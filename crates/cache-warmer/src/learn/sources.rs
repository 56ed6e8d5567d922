//! What a learner knows, as sources of keys.

use std::time::Duration;

use async_trait::async_trait;
use cache_core::{Result, Ttl};

use super::{About, Foreseen, Learner, Season, State};
use crate::keys::{Candidate, KeySource};

#[derive(Debug)]
pub(super) struct HotSource(pub(super) Learner);

#[async_trait]
impl KeySource for HotSource {
    fn name(&self) -> &str {
        "learned"
    }

    async fn candidates(&self, max: usize) -> Result<Vec<Candidate>> {
        self.0.listen();
        let Learner(inner) = &self.0;
        let hot = inner.hits_an_hour(max, inner.clock.now());
        Ok(hot.into_iter().map(|hot| candidate(hot.key, hot.hits_an_hour, hot.about)).collect())
    }
}

#[derive(Debug)]
pub(super) struct FollowersSource(pub(super) Learner);

#[async_trait]
impl KeySource for FollowersSource {
    fn name(&self) -> &str {
        "followers"
    }

    async fn candidates(&self, max: usize) -> Result<Vec<Candidate>> {
        self.0.listen();
        let inner = &self.0.0;
        let now = inner.clock.now();
        let mut state = inner.state.lock();
        let State { hot, followers, .. } = &mut *state;
        let Some(followers) = followers else { return Ok(Vec::new()) };
        let mut named: Vec<Foreseen> = followers.named.drain(..).collect();
        named.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        named.truncate(max);
        let known = named.into_iter().map(|Foreseen { key, confidence }| {
            let about = hot.get(&key, now).map_or_else(About::default, |hot| hot.about);
            candidate(key.as_ref().to_owned(), confidence.into(), about)
        });
        Ok(known.collect())
    }
}

#[derive(Debug)]
pub(super) struct SeasonalSource {
    pub(super) learner: Learner,
    pub(super) ahead: Duration,
}

#[async_trait]
impl KeySource for SeasonalSource {
    fn name(&self) -> &str {
        "seasonal"
    }

    async fn candidates(&self, max: usize) -> Result<Vec<Candidate>> {
        self.learner.listen();
        let Learner(inner) = &self.learner;
        let (now, rate) = (inner.clock.now(), inner.tap.rate());
        let state = inner.state.lock();
        let expected = state.profiles.expected(max, now.after(self.ahead));
        let about =
            |key: &str| state.hot.get(key, now).map_or_else(About::default, |hot| hot.about);
        let expected = expected.into_iter();
        Ok(expected
            .map(|Season { key, reads_an_hour }| {
                candidate(key.as_ref().to_owned(), reads_an_hour / rate, about(&key))
            })
            .collect())
    }
}

fn candidate(key: String, hits_an_hour: f64, about: About) -> Candidate {
    let About { load_cost_us, size, ttl_ms } = about;
    Candidate {
        load_cost: (load_cost_us > 0).then(|| Duration::from_micros(load_cost_us.into())),
        size: (size > 0).then(|| size.into()),
        ttl: (ttl_ms > 0).then(|| Ttl::fresh(Duration::from_millis(ttl_ms.into()))),
        ..Candidate::new(key, hits_an_hour)
    }
}
