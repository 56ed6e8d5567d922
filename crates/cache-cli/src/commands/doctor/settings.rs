//! The configuration itself: where it was found, and which of it is in effect.

use super::check::{Check, Examination};
use crate::{
    config::{Config, EvictionPolicy},
    wiring::Backend,
};

/// What is said of settings that a later version puts into effect.
const NOT_IN_EFFECT: &str = "recorded, not in effect in this version";

pub(super) fn examine(config: &Config, backends: &[Backend<'_>], examination: &mut Examination) {
    let mut checks = vec![file(config), environment(config), tiers(config, backends)];
    checks.extend(warming(config));
    checks.extend(eviction(config));
    examination.add("settings", checks);
}

fn file(config: &Config) -> Check {
    match &config.found.file {
        Some(path) => Check::ok("file", path.display().to_string()),
        None => Check::ok("file", "none; the defaults hold"),
    }
}

fn environment(config: &Config) -> Check {
    let ignored = &config.found.ignored;
    if ignored.is_empty() {
        return Check::ok("environment", "every CACHE_ variable is a setting");
    }
    let found = format!("not settings of this program: {}", ignored.join(", "));
    Check::advice("environment", found, "correct the names, or leave them if they are another's")
}

fn tiers(config: &Config, backends: &[Backend<'_>]) -> Check {
    let names = backends.iter().map(|backend| match backend {
        Backend::Redis(_) => "redis",
        Backend::Postgres(_) => "postgres",
        Backend::Sqlite(_) => "sqlite",
    });
    let names: Vec<&str> = ["near"].into_iter().chain(names).collect();
    let found = format!("{}; near of {}", names.join(" -> "), config.near.bytes_max);
    if backends.is_empty() {
        let change = "add a tier that outlives this process: --redis-url, --database-url, or the \
                      SQLite file (`embedded`, --data-file)";
        return Check::fault("tiers", found, change);
    }
    Check::ok("tiers", found)
}

fn warming(config: &Config) -> [Check; 2] {
    let enabled = match config.cache_warming_enabled {
        true => "true: `warm --watch` may run",
        false => "false: `warm --watch` is refused; `warm` on demand works",
    };
    let interval = format!(
        "{}: `warm --watch` looks at every key that often, and at each before it expires",
        config.cache_warming_interval_seconds
    );
    [
        Check::ok("cache_warming_enabled", enabled),
        Check::ok("cache_warming_interval_seconds", interval),
    ]
}

/// Settings that are checked and kept, and that nothing obeys yet. One that was changed is worth
/// an advice: whoever changed it expects something.
fn eviction(config: &Config) -> [Check; 3] {
    let judge = |name, value: String, is_default: bool, instead: &str| {
        let found = format!("{value}: {NOT_IN_EFFECT}: {instead}");
        match is_default {
            true => Check::ok(name, found),
            false => Check::advice(name, found, "nothing can be changed; do not rely on it"),
        }
    };
    let policy = config.cache_eviction_policy;
    let tracked = config.cache_max_tracked_entries;
    let threshold = config.cache_memory_pressure_threshold;
    [
        judge(
            "cache_eviction_policy",
            policy.to_string(),
            policy == EvictionPolicy::default(),
            "the near tier evicts by moka's TinyLFU",
        ),
        judge(
            "cache_max_tracked_entries",
            tracked.to_string(),
            tracked == 10_000,
            "the near tier is bounded by `near.bytes_max`",
        ),
        judge(
            "cache_memory_pressure_threshold",
            threshold.to_string(),
            threshold == 0.9,
            "the near tier is bounded by `near.bytes_max`",
        ),
    ]
}
