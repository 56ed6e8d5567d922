//! Sources that are not well, asked by a warmer beside live reads.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use cache_core::{Cache, Item, Span};
use cache_warmer::{
    Answer, Mode, Plan, Report, Source, SourceError, SourceErrorKind, Warmer, WarmerConfig,
    load_each,
};

/// Keys of one plan.
const KEYS: usize = 2_000;

/// What a call of a well source takes.
const LOAD: Duration = Duration::from_millis(5);

/// What ails it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ailment {
    /// Three of ten calls fail.
    Fails,
    /// Three of ten calls never answer.
    Hangs,
    /// Three of ten answers are no values.
    Garbage,
    /// It answers so many calls, and refuses the others for a while.
    TooMany,
}

impl Ailment {
    pub(super) const ALL: [Self; 4] = [Self::Fails, Self::Hangs, Self::Garbage, Self::TooMany];
}

impl fmt::Display for Ailment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fails => "30 % fail",
            Self::Hangs => "30 % hang",
            Self::Garbage => "30 % garbage",
            Self::TooMany => "429",
        })
    }
}

#[derive(Debug)]
struct Unwell {
    ailment: Ailment,
    calls: AtomicUsize,
}

#[async_trait::async_trait]
impl Source<String> for Unwell {
    async fn load(&self, key: &str) -> Answer<String> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(LOAD).await;
        let error = |kind, what: &str| Err(SourceError::new(kind, what.to_owned()));
        match self.ailment {
            Ailment::Fails if call % 10 >= 7 => {
                error(SourceErrorKind::Rejected { status: 503 }, "it is down")
            }
            Ailment::Hangs if call % 10 >= 7 => std::future::pending().await,
            Ailment::Garbage if call % 10 >= 7 => error(SourceErrorKind::Malformed, "not JSON"),
            Ailment::TooMany if call % 100 >= 50 => {
                let refused = SourceErrorKind::Rejected { status: 429 };
                Err(SourceError::new(refused, "too often".to_owned())
                    .retry_after(Duration::from_millis(200)))
            }
            _ => Ok(Some(Item::new(true_value(key)))),
        }
    }

    async fn load_many(&self, keys: &[String]) -> Vec<Answer<String>> {
        load_each(self, keys, 1).await
    }

    fn batch_len_max(&self) -> usize {
        1
    }
}

fn true_value(key: &str) -> String {
    format!("{key} {}", "y".repeat(200))
}

/// Warms keys that nobody has from such a source, for as long as `time` allows: what became of them.
pub(super) async fn warm(
    cache: &Cache<String>,
    ailment: Ailment,
    time: Duration,
) -> Result<Report> {
    let source = Arc::new(Unwell { ailment, calls: AtomicUsize::new(0) });
    let config = WarmerConfig { deadline: Some(Span(time)), ..WarmerConfig::default() };
    let warmer = Warmer::new(cache.clone(), source, config)?;
    let plan = Plan::new((0..KEYS).map(|i| format!("{ailment:?} {i}")))?;
    let report = warmer.warm(&plan, Mode::Due).await;
    for keys in plan.keys().chunks(500) {
        let known = cache.get_many(keys).await?;
        for (key, hit) in keys.iter().zip(known) {
            let is_false = hit.is_some_and(|hit| **hit.value() != true_value(key));
            ensure!(!is_false, "a false value is cached under {key}");
        }
    }
    Ok(report)
}
