//! The market preset as a source of keys.

use std::time::Duration;

use async_trait::async_trait;
use cache_core::{Result, Ttl};

use super::{Candidate, KeySource};
use crate::market::{DataKind, SYMBOLS};

/// How often the first symbol is expected to be read within an hour unless that is said.
const HITS_AN_HOUR: f64 = 3_600.0;

/// The [`SYMBOLS`] of the market preset, for one kind of data with its time to live.
///
/// The preset knows no traffic: the first symbol is expected to be read as often as
/// [`hits_an_hour`](Self::hits_an_hour) says, and the others by their rank (Zipf's law, 1/rank), so
/// that sources which have measured prevail over it.
#[derive(Clone, Debug)]
pub struct PresetKeys {
    kind: DataKind,
    name: String,
    hits_an_hour: f64,
    load_cost: Option<Duration>,
}

impl PresetKeys {
    /// The symbols, as keys of `kind`.
    #[must_use]
    pub fn new(kind: DataKind) -> Self {
        Self { kind, name: format!("preset {kind}"), hits_an_hour: HITS_AN_HOUR, load_cost: None }
    }

    /// Says how often the first symbol is read within an hour. 3,600 unless set.
    #[must_use]
    pub fn hits_an_hour(self, hits: f64) -> Self {
        Self { hits_an_hour: hits, ..self }
    }

    /// Says what a load takes.
    #[must_use]
    pub fn load_cost(self, load_cost: Duration) -> Self {
        Self { load_cost: Some(load_cost), ..self }
    }
}

#[async_trait]
impl KeySource for PresetKeys {
    fn name(&self) -> &str {
        &self.name
    }

    async fn candidates(&self, max: usize) -> Result<Vec<Candidate>> {
        let ttl = Ttl::fresh(self.kind.ttl());
        let candidate = |(rank, key): (usize, &str)| Candidate {
            load_cost: self.load_cost,
            ..Candidate::new(key, self.hits_an_hour / (rank + 1) as f64).ttl(ttl)
        };
        Ok(SYMBOLS.iter().map(|symbol| symbol.key).enumerate().map(candidate).take(max).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_preset_names_its_symbols_with_the_time_to_live_of_their_kind() {
        for kind in DataKind::ALL {
            let keys = PresetKeys::new(kind).candidates(usize::MAX).await.unwrap();
            assert!(keys.len() >= 25, "{}", keys.len());
            assert!(keys.iter().all(|key| key.ttl == Some(Ttl::fresh(kind.ttl()))));
            assert!(keys.is_sorted_by(|a, b| a.expected_hits > b.expected_hits));
        }
        assert_eq!(PresetKeys::new(DataKind::Price).candidates(3).await.unwrap().len(), 3);
    }
}
