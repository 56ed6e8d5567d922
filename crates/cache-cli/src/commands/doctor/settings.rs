//! The configuration itself: where it was found, and which of it is in effect.

use cache_core::Eviction;

use super::check::{Check, Examination};
use crate::{config::Config, wiring::Backend};

pub(super) fn examine(config: &Config, backends: &[Backend<'_>], examination: &mut Examination) {
    let mut checks = vec![file(config), environment(config), tiers(config, backends)];
    checks.extend(warming(config));
    checks.extend(eviction(config, backends));
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

/// What the settings of eviction come to in the tiers that there are.
fn eviction(config: &Config, backends: &[Backend<'_>]) -> [Check; 3] {
    let followed = backends.iter().map(|backend| followed(*backend));
    let near = format!("near by {}", config.cache_eviction_policy);
    let followed: Vec<String> = [near].into_iter().chain(followed).collect();
    let tracked = match config.redis.as_ref().and_then(|redis| redis.tracked_entries_max) {
        Some(entries) => format!("{entries} entries of Redis at most; the cache evicts them"),
        None => {
            let tracked = config.cache_max_tracked_entries;
            format!("{tracked}: not needed, as the cache evicts from no Redis")
        }
    };
    let threshold = format!(
        "{}: from that part of its room on a tier is under pressure",
        config.cache_memory_pressure_threshold
    );
    [
        Check::ok("cache_eviction_policy", followed.join("; ")),
        Check::ok("cache_max_tracked_entries", tracked),
        Check::ok("cache_memory_pressure_threshold", threshold),
    ]
}

/// How a tier follows its policy.
fn followed(backend: Backend<'_>) -> String {
    use Eviction::{AgingLfu, Fifo, Lfu, Lru, Random, Ttl, WTinyLfu};
    match backend {
        Backend::Redis(redis) => match (redis.eviction, redis.tracked_entries_max) {
            (policy, None) => format!("redis by the server, for {policy}"),
            (policy @ (Fifo | Ttl | Lru | Lfu | Random), Some(_)) => format!("redis by {policy}"),
            (policy @ (AgingLfu | WTinyLfu), Some(_)) => format!("redis by lfu, for {policy}"),
            (policy, Some(_)) => format!("redis by lru, for {policy}"),
        },
        Backend::Postgres(postgres)
            if postgres.bytes_max.is_none() && postgres.entries_max.is_none() =>
        {
            "postgres has no bound, unless `postgres.bytes_max` is set".to_owned()
        }
        Backend::Postgres(postgres) => match postgres.eviction {
            policy @ (Fifo | Ttl | Lru | Lfu | AgingLfu | Random) => {
                format!("postgres by {policy}")
            }
            WTinyLfu => "postgres by lfu-aging, for w-tinylfu".to_owned(),
            policy => format!("postgres by fifo with a second chance, for {policy}"),
        },
        Backend::Sqlite(sqlite) => match sqlite.eviction {
            policy @ (Fifo | Ttl) => format!("sqlite by {policy}"),
            Random => "sqlite by random runs of neighbours".to_owned(),
            WTinyLfu => "sqlite by lfu-aging among the oldest, for w-tinylfu".to_owned(),
            policy @ (Lru | Lfu | AgingLfu) => format!("sqlite by {policy} among the oldest"),
            policy => format!("sqlite by fifo with a second chance, for {policy}"),
        },
    }
}
