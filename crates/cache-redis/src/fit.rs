//! Whether the server's own policy is the one that was set.

use cache_core::Eviction;

use crate::{config::RedisConfig, inspect::RedisReport};

/// What stands against a setting, and how to change it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disagreement {
    /// What is so.
    pub found: String,
    /// What to do about it: a command where there is one.
    pub change: String,
}

impl RedisReport {
    /// Whether the server evicts as `config` wants it; nothing when it does, or when the tier does
    /// so itself.
    #[must_use]
    pub fn disagreement(&self, config: &RedisConfig) -> Option<Disagreement> {
        let policy = config.eviction;
        if config.tracked_entries_max.is_some() {
            return None;
        }
        let disagree =
            |found: String, change: &str| Some(Disagreement { found, change: change.to_owned() });
        let (fitting, wanted) = match policy {
            Eviction::Fifo | Eviction::Ttl | Eviction::Random => {
                let found = match policy {
                    Eviction::Fifo => "Redis has no policy `fifo`".to_owned(),
                    _ => format!("Redis by `{policy}` also evicts the memory of removals"),
                };
                let change = "set `redis.tracked_entries_max`, so that the cache evicts by itself, \
                              or choose `lru` or `lfu`";
                return disagree(found, change);
            }
            Eviction::Lfu | Eviction::AgingLfu | Eviction::WTinyLfu => ("-lfu", "allkeys-lfu"),
            Eviction::Lru => ("-lru", "allkeys-lru"),
            // What neither is comes near either.
            _ if self.policy.ends_with("-lfu") => ("-lfu", "allkeys-lfu"),
            _ => ("-lru", "allkeys-lru"),
        };
        if self.maxmemory_bytes.is_none() {
            let found = format!("`{policy}` is set, and the server has no limit: `maxmemory 0`");
            return disagree(found, "CONFIG SET maxmemory 1gb (as much as it may take)");
        }
        if self.policy.ends_with(fitting) {
            return None;
        }
        let found = format!("`{policy}` is set, and the server evicts by {}", self.policy);
        disagree(found, &format!("CONFIG SET maxmemory-policy {wanted}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(policy: &str) -> RedisReport {
        let policy = policy.to_owned();
        RedisReport { policy, maxmemory_bytes: Some(1), ..RedisReport::default() }
    }

    fn config(policy: &str) -> RedisConfig {
        RedisConfig { eviction: policy.parse().unwrap(), ..RedisConfig::new("redis://h") }
    }

    #[test]
    fn a_fitting_policy_is_not_spoken_of() {
        for (set, server) in [
            ("lru", "allkeys-lru"),
            ("lru", "volatile-lru"),
            ("lfu", "allkeys-lfu"),
            ("s3-fifo", "allkeys-lru"),
            ("s3-fifo", "allkeys-lfu"),
        ] {
            assert_eq!(report(server).disagreement(&config(set)), None, "{set} {server}");
        }
    }

    #[test]
    fn another_policy_is_told_with_the_command_that_changes_it() {
        let told = |set, server| report(server).disagreement(&config(set)).unwrap().change;
        assert_eq!(told("lru", "allkeys-lfu"), "CONFIG SET maxmemory-policy allkeys-lru");
        assert_eq!(told("lfu", "noeviction"), "CONFIG SET maxmemory-policy allkeys-lfu");
        for policy in ["fifo", "ttl", "random"] {
            assert!(told(policy, "allkeys-lru").contains("tracked_entries_max"));
        }
        let unlimited = RedisReport { maxmemory_bytes: None, ..report("allkeys-lru") };
        let told = unlimited.disagreement(&config("lru")).unwrap();
        assert!(told.change.starts_with("CONFIG SET maxmemory "), "{told:?}");
    }

    #[test]
    fn who_evicts_himself_does_not_mind_the_server() {
        let config = RedisConfig { tracked_entries_max: Some(10), ..config("fifo") };
        assert_eq!(report("noeviction").disagreement(&config), None);
    }
}
