//! Brings to a tier what the tiers below it have.

use std::collections::BTreeSet;

use super::Stack;
use crate::{
    clock::Timestamp,
    entry::{BATCH_LEN_MAX, Entry},
    error::{Error, ErrorKind, Result},
    fence::Fence,
    key::{Key, Namespace},
    tags::generation_key,
    tier::{Condition, Put, PutOutcome, check_batch},
};

/// What became of a key that was to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Copied {
    /// It is in the tier now.
    Stored {
        /// The length of its payload.
        bytes: usize,
    },
    /// The tier has it fresh.
    AlreadyFresh,
    /// No tier below has it, or the tier has something better that is stale.
    Absent,
    /// Not copied: it was changed meanwhile, or the tier knows a newer version.
    Superseded,
    /// Not copied: it is above what the tier takes.
    TooLarge,
    /// Not copied: the tier has still to be told of changes of the key, or takes no copies yet.
    Blocked,
}

impl Stack {
    /// Copies to the tier at `level` what the tiers below have of `keys`, with its own deadlines and
    /// its version, in their order. What the tier has fresh stays.
    ///
    /// It is a promotion that nobody has read for, and as safe: the tier's fences are read first,
    /// then the tiers below, and the copies are fills with these fences. A change, which goes from
    /// the bottom up, is therefore either seen below, or has moved the fence, or comes to the tier
    /// after the copy: no copy replaces something newer, and none brings back what was removed. The
    /// generations of the entries' tags are copied before the entries.
    ///
    /// A stack of a new cluster above an old one, to which a service writes, is the way to move from
    /// one to the other: the new one is filled by reads and by this.
    ///
    /// # Errors
    ///
    /// When the tier at `level`, or every tier below it, fails; [`ErrorKind::Config`] when there is
    /// no tier below; [`ErrorKind::TooLarge`] for more than [`BATCH_LEN_MAX`] keys.
    ///
    /// # Cancel safety
    ///
    /// A dropped future harms nothing: keys were copied or were not.
    pub async fn copy_up(&self, level: usize, keys: &[Key]) -> Result<Vec<Copied>> {
        check_batch(keys.len())?;
        if level + 1 >= self.tiers.len() {
            let message = format!("no tier is below level {level} of {:?}", self.info.name);
            return Err(
                Error::new(ErrorKind::Config, message).hint("copy to a tier above the lowest one")
            );
        }
        let (mut outcomes, wanted) = self.wanted(level, keys).await?;
        let found = self.below(level, keys, wanted).await?;
        let mut tags = BTreeSet::new();
        for (place, _, entry) in &found {
            let namespace = Namespace::from_escaped(keys[*place].namespace());
            let namespace = namespace.expect("a key's namespace is one");
            let marks = entry.tags.marks().iter();
            // A note on rules among the tags is no tag's.
            tags.extend(marks.filter_map(|mark| generation_key(&namespace, &mark.tag).ok()));
        }
        let tags: Vec<Key> = tags.into_iter().collect();
        for tags in tags.chunks(BATCH_LEN_MAX) {
            let (_, wanted) = self.wanted(level, tags).await?;
            let found = self.below(level, tags, wanted).await?;
            self.fill(level, tags, &found).await?;
        }
        for (place, outcome) in self.fill(level, keys, &found).await? {
            outcomes[place] = outcome;
        }
        Ok(outcomes)
    }

    /// What the tier has fresh already, and the places, fences and present ends of the others.
    async fn wanted(&self, level: usize, keys: &[Key]) -> Result<(Vec<Copied>, Vec<Wanted>)> {
        let mut outcomes = vec![Copied::Blocked; keys.len()];
        let open = (0..keys.len()).filter(|&i| !self.debts[level].blocks(&keys[i]));
        let open: Vec<usize> = open.collect();
        let asked: Vec<Key> = open.iter().map(|&i| keys[i].clone()).collect();
        let now = self.clock.now();
        let mut wanted = Vec::new();
        for (place, lookup) in open.into_iter().zip(self.tiers[level].get_many(&asked).await?) {
            let lookup = self.fenced(level, lookup);
            let known = lookup.entry.map(|entry| entry.fresh_until);
            if known.is_some_and(|fresh_until| now < fresh_until) {
                outcomes[place] = Copied::AlreadyFresh;
            } else if lookup.fence != Fence::unread() {
                outcomes[place] = Copied::Absent;
                wanted.push(Wanted { place, fence: lookup.fence, known });
            }
        }
        Ok((outcomes, wanted))
    }

    /// The best that the tiers below `level` have of what is wanted, where it is better.
    async fn below(
        &self,
        level: usize,
        keys: &[Key],
        wanted: Vec<Wanted>,
    ) -> Result<Vec<(usize, Fence, Entry)>> {
        let now = self.clock.now();
        let mut best: Vec<Option<Entry>> = vec![None; wanted.len()];
        let mut faults = super::Faults::default();
        let below = level + 1..self.tiers.len();
        let tiers = below.len();
        for lower in below {
            let open: Vec<usize> = (0..wanted.len())
                .filter(|&i| best[i].as_ref().is_none_or(|entry| !entry.is_fresh(now)))
                .filter(|&i| !self.debts[lower].blocks(&keys[wanted[i].place]))
                .collect();
            if open.is_empty() {
                continue;
            }
            let asked: Vec<Key> = open.iter().map(|&i| keys[wanted[i].place].clone()).collect();
            match self.tiers[lower].get_many(&asked).await {
                Ok(lookups) => {
                    for (i, entry) in open.into_iter().zip(lookups.into_iter().map(|l| l.entry)) {
                        let Some(entry) = entry else { continue };
                        let known = best[i].as_ref().map(|entry| entry.fresh_until);
                        if known.is_none_or(|known| entry.fresh_until > known) {
                            best[i] = Some(entry);
                        }
                    }
                }
                Err(error) => faults.note(&self.tiers[lower], error),
            }
        }
        faults.fail_if_all(tiers, "copy")?;
        let better = wanted.into_iter().zip(best).filter_map(|(wanted, entry)| {
            let entry = entry?;
            let is_better = wanted.known.is_none_or(|known| entry.fresh_until > known);
            is_better.then_some((wanted.place, wanted.fence, entry))
        });
        Ok(better.collect())
    }

    async fn fill(
        &self,
        level: usize,
        keys: &[Key],
        found: &[(usize, Fence, Entry)],
    ) -> Result<Vec<(usize, Copied)>> {
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let put = |(place, fence, entry): &(usize, Fence, Entry)| Put {
            key: keys[*place].clone(),
            entry: entry.clone(),
            condition: Condition::Unmoved(fence.clone()),
        };
        let puts: Vec<Put> = found.iter().map(put).collect();
        let outcomes = self.tiers[level].put_many(&puts).await?;
        let copied = found.iter().zip(outcomes).map(|((place, _, entry), outcome)| {
            let copied = match outcome {
                PutOutcome::Stored => Copied::Stored { bytes: entry.payload.len() },
                PutOutcome::Superseded => Copied::Superseded,
                PutOutcome::TooLarge => Copied::TooLarge,
                PutOutcome::Skipped => Copied::Blocked,
            };
            (*place, copied)
        });
        Ok(copied.collect())
    }
}

/// A key that the tier does not have fresh.
struct Wanted {
    place: usize,
    fence: Fence,
    /// Until when what it has was fresh.
    known: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use bytes::Bytes;

    use super::*;
    use crate::{
        ByteSize, CodecId, ManualClock, MemoryTier, TagMark, Tags, Tier, TierExt, Ttl, Version,
    };

    struct Two {
        clock: ManualClock,
        upper: Arc<dyn Tier>,
        lower: Arc<dyn Tier>,
        stack: Stack,
        keys: Vec<Key>,
    }

    fn two() -> Two {
        let clock = ManualClock::new();
        let shared: Arc<dyn crate::Clock> = Arc::new(clock.clone());
        let tier = |name: &str| -> Arc<dyn Tier> {
            Arc::new(MemoryTier::new(ByteSize::mib(1), Arc::clone(&shared)).named(name))
        };
        let (upper, lower) = (tier("upper"), tier("lower"));
        let stack = Stack::new(vec![Arc::clone(&upper), Arc::clone(&lower)], shared).unwrap();
        let namespace = Namespace::new("n").unwrap();
        let keys = ["a", "b", "c"].map(|text| namespace.key(text).unwrap()).to_vec();
        Two { clock, upper, lower, stack, keys }
    }

    impl Two {
        fn entry(&self, text: &'static str, secs: u64) -> Entry {
            let ttl = Ttl::fresh(Duration::from_secs(secs));
            Entry::new(
                Bytes::from_static(text.as_bytes()),
                CodecId(1),
                crate::Clock::now(&self.clock),
                ttl,
            )
        }
    }

    #[tokio::test]
    async fn a_copy_keeps_the_remaining_life_and_the_version() {
        let two = two();
        let entry = two.entry("old", 60).with_version(Some(Version(7)));
        two.lower.put(two.keys[0].clone(), entry.clone()).await.unwrap();
        two.clock.advance(Duration::from_secs(20));
        let copied = two.stack.copy_up(0, &two.keys).await.unwrap();
        assert_eq!(copied, [Copied::Stored { bytes: 3 }, Copied::Absent, Copied::Absent]);
        assert_eq!(two.upper.get(&two.keys[0]).await.unwrap().entry, Some(entry));
        let again = two.stack.copy_up(0, &two.keys[..1]).await.unwrap();
        assert_eq!(again, [Copied::AlreadyFresh]);
    }

    #[tokio::test]
    async fn a_copy_replaces_nothing_newer_and_nothing_that_is_fresh() {
        let two = two();
        let newer = two.entry("new", 60).with_version(Some(Version(9)));
        let older = two.entry("old", 90).with_version(Some(Version(8)));
        two.upper.put(two.keys[0].clone(), newer.clone()).await.unwrap();
        two.upper
            .put(two.keys[1].clone(), two.entry("x", 1).with_version(Some(Version(9))))
            .await
            .unwrap();
        for key in &two.keys[..2] {
            two.lower.put(key.clone(), older.clone()).await.unwrap();
        }
        two.clock.advance(Duration::from_secs(2));
        let copied = two.stack.copy_up(0, &two.keys[..2]).await.unwrap();
        assert_eq!(copied, [Copied::AlreadyFresh, Copied::Superseded]);
        assert_eq!(two.upper.get(&two.keys[0]).await.unwrap().entry, Some(newer));
    }

    #[tokio::test]
    async fn a_tag_is_copied_with_its_entries() {
        let two = two();
        let namespace = Namespace::new("n").unwrap();
        let tag = generation_key(&namespace, "t").unwrap();
        two.lower.put(tag.clone(), two.entry("generation", 60)).await.unwrap();
        let tags = Tags::new(vec![TagMark { tag: "t".into(), generation: 3 }]).unwrap();
        two.lower.put(two.keys[0].clone(), two.entry("v", 60).with_tags(tags)).await.unwrap();
        two.stack.copy_up(0, &two.keys[..1]).await.unwrap();
        assert!(two.upper.get(&tag).await.unwrap().entry.is_some());
    }

    #[tokio::test]
    async fn the_lowest_tier_has_nothing_to_be_copied_from() {
        let two = two();
        let error = two.stack.copy_up(1, &two.keys).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}
