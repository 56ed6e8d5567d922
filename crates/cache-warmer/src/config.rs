//! The settings of the warmer.

use std::time::Duration;

use cache_core::{BATCH_LEN_MAX, Error, ErrorKind, Result, Span};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

/// The settings of a [`Warmer`](crate::Warmer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WarmerConfig {
    /// Whether to warm at startup and on a schedule. On demand it is done all the same. On unless
    /// set.
    pub cache_warming_enabled: bool,
    /// How often a key is looked at that nothing else makes due, such as one that the source did
    /// not have. 300 unless set.
    pub cache_warming_interval_seconds: u64,
    /// How many calls of the source may be under way at the same time. 8 unless set.
    pub concurrency: usize,
    /// How many keys one call of the source names at most, if the source takes as many. 100 unless
    /// set, and at most [`BATCH_LEN_MAX`].
    pub batch_len: usize,
    /// How long before it expires a value is loaded again, and at most half of its life. `"3s"`
    /// unless set.
    ///
    /// It should exceed what a load takes. See [`WarmerConfig::lead`].
    pub refresh_ahead: Span,
    /// How long one run may take. No limit unless set.
    pub deadline: Option<Span>,
    /// How many keys a second the source is asked for at most. No limit unless set.
    pub keys_per_s_max: Option<f64>,
    /// By how much the 99th percentile of live reads of a tier may grow before warming slows down:
    /// 1.5 unless set, from 1 to 1000. It compares with the reads before the run. The smaller it is,
    /// the less callers notice, and the longer a run or a refill takes.
    pub live_slowdown_max: f64,
    /// How long a schedule or a job waits before it begins, at most: each waits for a random part
    /// of it, so that nodes do not march in step. `"0s"` unless set.
    pub start_jitter: Span,
    /// Which keys a schedule loads again before they expire. `"always"` unless set.
    pub ahead: Ahead,
}

/// Which keys a schedule loads again before they expire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ahead {
    /// All of them.
    #[default]
    Always,
    /// Those that were read since their last load. The others are looked at again after the
    /// interval.
    WhileRead,
}

impl Default for WarmerConfig {
    fn default() -> Self {
        Self {
            cache_warming_enabled: true,
            cache_warming_interval_seconds: 300,
            concurrency: 8,
            batch_len: 100,
            refresh_ahead: Span::secs(3),
            deadline: None,
            keys_per_s_max: None,
            live_slowdown_max: 1.5,
            start_jitter: Span::secs(0),
            ahead: Ahead::Always,
        }
    }
}

impl WarmerConfig {
    /// How long before its end a value with a life of `life` is loaded again: `refresh_ahead`, but
    /// at most half of its life. Otherwise a short-lived value would be due as soon as it is there.
    #[must_use]
    pub fn lead(&self, life: Duration) -> Duration {
        self.refresh_ahead.0.min(life / 2)
    }

    pub(crate) const fn interval(&self) -> Duration {
        Duration::from_secs(self.cache_warming_interval_seconds)
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let advice = |setting: &str, advice: &str| {
            let message = format!("`{setting}` of the warmer is out of its range");
            Err(Error::new(ErrorKind::Config, message).hint(advice))
        };
        if self.cache_warming_interval_seconds == 0 {
            return advice("cache_warming_interval_seconds", "set it to at least 1");
        }
        if self.concurrency == 0 || self.concurrency > Semaphore::MAX_PERMITS {
            return advice("concurrency", "set it to what the source can take, such as 8");
        }
        if self.batch_len == 0 || self.batch_len > BATCH_LEN_MAX {
            return advice("batch_len", &format!("set it to 1 to {BATCH_LEN_MAX}"));
        }
        if self.deadline.is_some_and(|deadline| deadline.0.is_zero()) {
            return advice("deadline", "leave it out for no limit");
        }
        // Not a number compares with nothing.
        if self.keys_per_s_max.is_some_and(|rate| !(rate > 0.0 && rate <= 1e9)) {
            return advice("keys_per_s_max", "leave it out for no limit, or set it above 0");
        }
        if !(1.0..=1_000.0).contains(&self.live_slowdown_max) {
            return advice("live_slowdown_max", "set it to 1 to 1000, such as 1.5");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_their_known_names_and_no_others() {
        let config: WarmerConfig = serde_json::from_str(
            r#"{"cache_warming_enabled": false, "cache_warming_interval_seconds": 60,
                "refresh_ahead": "500ms"}"#,
        )
        .unwrap();
        assert!(!config.cache_warming_enabled);
        assert_eq!(config.interval(), Duration::from_secs(60));
        assert_eq!((config.refresh_ahead, config.concurrency), (Span::millis(500), 8));
        let error = serde_json::from_str::<WarmerConfig>(r#"{"intervall": 3}"#).unwrap_err();
        assert!(error.to_string().contains("intervall"), "{error}");
    }

    #[test]
    fn a_setting_out_of_range_is_named() {
        let default = WarmerConfig::default;
        assert!(default().validate().is_ok());
        for (config, name) in [
            (
                WarmerConfig { cache_warming_interval_seconds: 0, ..default() },
                "cache_warming_interval_seconds",
            ),
            (WarmerConfig { concurrency: 0, ..default() }, "concurrency"),
            (WarmerConfig { batch_len: 0, ..default() }, "batch_len"),
            (WarmerConfig { batch_len: BATCH_LEN_MAX + 1, ..default() }, "batch_len"),
            (WarmerConfig { deadline: Some(Span::secs(0)), ..default() }, "deadline"),
            (WarmerConfig { keys_per_s_max: Some(0.0), ..default() }, "keys_per_s_max"),
            (WarmerConfig { keys_per_s_max: Some(f64::NAN), ..default() }, "keys_per_s_max"),
            (WarmerConfig { live_slowdown_max: 0.5, ..default() }, "live_slowdown_max"),
        ] {
            let error = config.validate().unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn the_lead_is_at_most_half_of_a_life() {
        let config = WarmerConfig::default();
        assert_eq!(config.lead(Duration::from_secs(10)), Duration::from_secs(3));
        assert_eq!(config.lead(Duration::from_secs(2)), Duration::from_secs(1));
    }
}
