//! What a report says about the machine and the settings.

use std::{env, hint::black_box, thread, time::Instant};

use cache_benches::{market::Market, stacks::Kind};
use serde_json::{Map, Value, json};

use crate::args::{Arguments, Plan};

/// The variable in which `cargo xtask` says what it knows of the machine.
const VARIABLE: &str = "CACHE_ENVIRONMENT_JSON";

/// What is known from outside, or else a little, and the settings.
pub(crate) fn describe(arguments: &Arguments, plan: &Plan, market: &Market) -> Value {
    let given = env::var(VARIABLE).ok().and_then(|text| serde_json::from_str(&text).ok());
    let mut environment: Map<String, Value> = given.unwrap_or_else(minimal);
    let settings = json!({
        "quick": arguments.quick,
        "run_in_s": plan.effort.run_in.as_secs_f64(),
        "measured_s": plan.effort.measured.as_secs_f64(),
        "rounds_min": plan.effort.rounds_min,
        "seed": arguments.seed,
        "loop": "closed",
        "values": market.origin(),
        "stacks": plan.kinds().into_iter().map(Kind::name).collect::<Vec<_>>(),
        "left_out": plan.left_out.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
        "clock_read_ns": clock_read_ns(),
    });
    environment.insert("load_test".to_owned(), settings);
    environment.into()
}

fn minimal() -> Map<String, Value> {
    let cores = thread::available_parallelism().ok().map(usize::from);
    let known = [("os", json!(env::consts::OS)), ("arch", json!(env::consts::ARCH))];
    let mut minimal: Map<String, Value> =
        known.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    minimal.insert("cores".to_owned(), json!(cores));
    minimal
}

/// What one look at the clock costs: each latency has about one in it.
fn clock_read_ns() -> u64 {
    const READS: u32 = 10_000;
    let started = Instant::now();
    for _ in 0..READS {
        black_box(Instant::now());
    }
    u64::try_from((started.elapsed() / READS).as_nanos()).unwrap_or(u64::MAX)
}
