//! How long what was loaded is fresh, where a rule decides that.

use std::time::Duration;

use super::{item::Terms, shared::Shared};
use crate::{
    entry::{Entry, TTL_MAX},
    key::Key,
    ttl_rule::{LoadSeen, TtlRule},
};

impl<V: Send + Sync + 'static> Shared<V> {
    /// The entry of a loaded value with the fresh time of the cache's rule, unless the value has
    /// one of its own.
    pub(super) fn timed(&self, key: &Key, entry: Entry, terms: &Terms) -> Entry {
        let Some(rule) = &self.ttl_rule else { return entry };
        let payload = || u64::from(crc32fast::hash(&entry.payload));
        let mark = entry.version.map_or_else(payload, |version| version.0);
        let fresh = self.ruled(&**rule, key, &entry, Some(mark));
        let (Some(fresh), None) = (fresh, terms.fresh) else { return entry };
        let jitter = terms.jitter.unwrap_or(self.policy.jitter).clamp(0.0, 0.5);
        lasting(entry, self.dice.shorten(fresh, jitter))
    }

    /// The entry of a value that its source has not modified, with the fresh time of the cache's
    /// rule.
    pub(super) fn timed_on(&self, key: &Key, entry: Entry) -> Entry {
        let Some(rule) = &self.ttl_rule else { return entry };
        match self.ruled(&**rule, key, &entry, None) {
            Some(fresh) => lasting(entry, self.dice.shorten(fresh, self.policy.jitter)),
            None => entry,
        }
    }

    fn ruled(
        &self,
        rule: &dyn TtlRule,
        key: &Key,
        entry: &Entry,
        mark: Option<u64>,
    ) -> Option<Duration> {
        let seen = LoadSeen::new(key.text(), entry.created_at, mark, self.policy.ttl);
        let stale = entry.expires_at.since(entry.fresh_until);
        let most = TTL_MAX.saturating_sub(stale).max(Duration::from_millis(1));
        rule.fresh_for(&seen).map(|fresh| fresh.clamp(Duration::from_millis(1), most))
    }
}

/// The same entry with another fresh time, and as long a stale one.
fn lasting(entry: Entry, fresh: Duration) -> Entry {
    let stale = entry.expires_at.since(entry.fresh_until);
    let fresh_until = entry.created_at.after(fresh);
    Entry { fresh_until, expires_at: fresh_until.after(stale), ..entry }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Arc};

    use super::*;
    use crate::{
        cache::{Cache, Item, Reply},
        clock::ManualClock,
        entry::Version,
        ttl_rule::AdaptiveTtl,
    };

    const SECOND: Duration = Duration::from_secs(1);

    fn cache(clock: &ManualClock) -> Cache<u64> {
        let rule = AdaptiveTtl::new(SECOND, 3_600 * SECOND).unwrap();
        Cache::builder("a")
            .ttl(60 * SECOND)
            .max_stale(10 * SECOND)
            .ttl_rule(rule)
            .clock(Arc::new(clock.clone()))
            .build()
            .unwrap()
    }

    async fn load(cache: &Cache<u64>, reply: Reply<u64>) -> Duration {
        let loader = |_| async { Ok::<_, Infallible>(reply) };
        let hit = cache.read("k").load(loader).await.unwrap().unwrap();
        hit.fresh_for()
    }

    #[tokio::test]
    async fn a_rule_lengthens_what_stays_and_shortens_what_changes() {
        let clock = ManualClock::new();
        let cache = cache(&clock);
        let first = load(&cache, Reply::Item(Item::new(1))).await;
        assert_eq!(first.as_secs(), 60);
        clock.advance(first + SECOND);
        let same = load(&cache, Reply::Item(Item::new(1))).await;
        assert!(same > first);
        clock.advance(same + SECOND);
        let not_modified = load(&cache, Reply::NotModified).await;
        assert!(not_modified > same);
        clock.advance(not_modified + SECOND);
        let changed = load(&cache, Reply::Item(Item::new(2))).await;
        assert!(changed < not_modified);
    }

    #[tokio::test]
    async fn a_version_says_whether_a_value_has_changed_and_an_items_own_time_prevails() {
        let clock = ManualClock::new();
        let cache = cache(&clock);
        let item = |value| Item::new(value).version(Version(7));
        let first = load(&cache, Reply::Item(item(1))).await;
        clock.advance(first + SECOND);
        assert!(load(&cache, Reply::Item(item(2))).await > first, "the same version");
        clock.advance(3_600 * SECOND);
        assert_eq!(load(&cache, Reply::Item(Item::new(3).ttl(SECOND))).await, SECOND);
    }
}
