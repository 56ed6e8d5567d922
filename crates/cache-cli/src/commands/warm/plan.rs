//! A dry run: what would be loaded, and at what cost.

use std::{fmt, time::Duration};

use anyhow::Result;
use cache_core::Namespace;
use cache_warmer::Plan;
use serde::Serialize;
use serde_json::Value;

use super::{Chosen, READ_BACK_LEN};
use crate::{commands::Context, exit::Exit, output, wiring::Session};

/// How many keys are shown.
const SHOWN: usize = 10;

/// What a run would do.
#[derive(Debug, Serialize)]
struct Forecast {
    planned: usize,
    /// Keys that each tier has fresh for long enough.
    already_fresh: usize,
    /// Keys that a lower tier has and an upper one has not.
    to_copy: usize,
    /// Keys that the source is asked for.
    to_load: usize,
    source_calls: usize,
    /// What the rate that is set makes of it.
    takes_at_least_ms: Option<u64>,
    /// The first keys that are loaded.
    first: Vec<String>,
    /// What is known of the keys' values.
    #[serde(skip)]
    plan: Plan,
}

/// Looks at the tiers, and changes nothing.
pub(super) async fn run(chosen: Chosen, context: &Context) -> Result<Exit> {
    let Chosen { config, kind, source, keys, ttl, warmer } = chosen;
    let session = Session::open(config).await?;
    let plan = keys.plan(&session, kind).await?;
    let namespace = Namespace::new(kind.namespace())?;
    let now = session.clock.now();
    let lead = warmer.lead(ttl.fresh);
    let mut forecast = Forecast {
        planned: plan.len(),
        already_fresh: 0,
        to_copy: 0,
        to_load: 0,
        source_calls: 0,
        takes_at_least_ms: None,
        first: Vec::new(),
        plan: plan.clone(),
    };
    for texts in plan.keys().chunks(READ_BACK_LEN) {
        let keys = texts.iter().map(|text| namespace.key(text));
        let keys = keys.collect::<cache_core::Result<Vec<_>>>()?;
        let mut having = vec![0; keys.len()];
        for tier in &session.tiers {
            for (having, lookup) in having.iter_mut().zip(tier.get_many(&keys).await?) {
                let entry = lookup.entry;
                *having += usize::from(entry.is_some_and(|e| e.fresh_until.since(now) > lead));
            }
        }
        for (text, having) in texts.iter().zip(having) {
            if having == session.tiers.len() {
                forecast.already_fresh += 1;
            } else if having > 0 {
                forecast.to_copy += 1;
            } else {
                forecast.to_load += 1;
                if forecast.first.len() < SHOWN {
                    forecast.first.push(text.clone());
                }
            }
        }
    }
    let source = source.into_shared();
    let batch_len = <dyn cache_warmer::Source<Value>>::batch_len_max(&*source);
    forecast.source_calls = forecast.to_load.div_ceil(batch_len.clamp(1, warmer.batch_len));
    forecast.takes_at_least_ms =
        warmer.keys_per_s_max.map(|rate| (forecast.to_load as f64 * 1_000.0 / rate) as u64);
    context.format.print(&forecast)?;
    session.close(&[]).await?;
    Ok(Exit::Done)
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.plan)?;
        let Self { already_fresh, to_copy, to_load, source_calls, .. } = self;
        writeln!(f, "{already_fresh} are fresh, {to_copy} would be copied from a lower tier")?;
        write!(f, "{to_load} would be loaded, by {source_calls} calls of the source")?;
        if let Some(ms) = self.takes_at_least_ms {
            write!(f, ", in {} or more", output::span(Duration::from_millis(ms)))?;
        }
        writeln!(f)?;
        if !self.first.is_empty() {
            writeln!(f, "the first of them: {}", self.first.join(", "))?;
        }
        Ok(())
    }
}
