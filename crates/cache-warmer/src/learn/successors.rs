//! What is read after what.

use std::{collections::HashMap, sync::Arc};

/// How many successors of a key are followed.
const SUCCESSORS: usize = 4;

/// A key is a successor of so many keys that were read before it: reads of several users are mixed.
const REACH: usize = 2;

/// Reads of a key at which its counts are halved, so that a new habit gets its turn.
const READS_MAX: f32 = 64.0;

/// Which keys follow which, as far as that repeats. Bounded: of at most `keys_max` keys the four
/// likeliest successors, about 250 bytes and five keys each; the keys go that were not read for long.
#[derive(Debug)]
pub(crate) struct Successors {
    keys_max: usize,
    new: HashMap<Arc<str>, Row>,
    old: HashMap<Arc<str>, Row>,
    /// The last keys, the latest first.
    last: Vec<Arc<str>>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    reads: f32,
    next: Vec<(Arc<str>, f32)>,
}

impl Successors {
    pub(crate) fn new(keys_max: usize) -> Self {
        Self {
            keys_max: keys_max.max(2),
            new: HashMap::new(),
            old: HashMap::new(),
            last: Vec::new(),
        }
    }

    /// What was read last is not what the next read follows.
    pub(crate) fn cut(&mut self) {
        self.last.clear();
    }

    /// Notes a read, and tells which keys follow with at least the probability `confidence_min`, and
    /// with which; the likeliest first. A key that was read twice at least is known.
    pub(crate) fn read(&mut self, key: &str, confidence_min: f32) -> Vec<(Arc<str>, f32)> {
        let key = self.touch(key);
        for before in &self.last {
            if *before != key
                && let Some(row) = self.new.get_mut(before)
            {
                row.follow(&key);
            }
        }
        self.last.retain(|last| *last != key);
        self.last.insert(0, Arc::clone(&key));
        self.last.truncate(REACH);
        self.new.get(&key).map(|row| row.likely(confidence_min)).unwrap_or_default()
    }

    /// Counts a read of the key, whose row is among the new ones from here on.
    fn touch(&mut self, key: &str) -> Arc<str> {
        let (key, mut row) = match self.new.remove_entry(key).or_else(|| self.old.remove_entry(key))
        {
            Some(known) => known,
            None => (key.into(), Row::default()),
        };
        row.read();
        if self.new.len() >= self.keys_max / 2 {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(Arc::clone(&key), row);
        key
    }
}

impl Row {
    fn read(&mut self) {
        if self.reads >= READS_MAX {
            self.reads /= 2.0;
            self.next.iter_mut().for_each(|(_, count)| *count /= 2.0);
        }
        self.reads += 1.0;
    }

    fn follow(&mut self, key: &Arc<str>) {
        if let Some((_, count)) = self.next.iter_mut().find(|(next, _)| next == key) {
            *count += 1.0;
        } else if self.next.len() < SUCCESSORS {
            self.next.push((Arc::clone(key), 1.0));
        } else {
            // All pay for the newcomer, and the first that has nothing left makes room: what is in
            // the row for good was read more often than once in five times (J. Misra, D. Gries).
            self.next.iter_mut().for_each(|(_, count)| *count -= 1.0);
            self.next.retain(|(_, count)| *count > 0.0);
        }
    }

    fn likely(&self, confidence_min: f32) -> Vec<(Arc<str>, f32)> {
        if self.reads < 3.0 {
            return Vec::new();
        }
        // The present read is counted, and what follows it is not known yet.
        let confidence = |count: f32| (count / (self.reads - 1.0)).min(1.0);
        let mut likely: Vec<_> = self
            .next
            .iter()
            .map(|(key, count)| (Arc::clone(key), confidence(*count)))
            .filter(|(_, confidence)| *confidence >= confidence_min)
            .collect();
        likely.sort_by(|(a_key, a), (b_key, b)| b.total_cmp(a).then_with(|| a_key.cmp(b_key)));
        likely
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(likely: &[(Arc<str>, f32)]) -> Vec<&str> {
        likely.iter().map(|(key, _)| &**key).collect()
    }

    #[test]
    fn what_follows_each_time_is_foreseen_and_what_follows_by_chance_is_not() {
        let mut successors = Successors::new(64);
        for i in 0..20 {
            for key in ["login", "home", &format!("page-{i}")] {
                successors.read(key, 0.5);
            }
        }
        let likely = successors.read("login", 0.5);
        assert_eq!(keys(&likely), ["home"]);
        assert!(likely[0].1 >= 0.7, "what comes by chance takes a little of it: {}", likely[0].1);
    }

    #[test]
    fn a_new_habit_takes_the_place_of_an_old_one() {
        let mut successors = Successors::new(64);
        for next in ["old", "new"] {
            for i in 0..200 {
                successors.read("a", 0.5);
                successors.read(next, 0.5);
                successors.read(&format!("{next}-{i}"), 0.5);
            }
        }
        assert_eq!(keys(&successors.read("a", 0.5)), ["new"]);
    }

    #[test]
    fn it_is_bounded_and_a_cut_joins_nothing() {
        let mut successors = Successors::new(64);
        for i in 0..10_000 {
            successors.read(&i.to_string(), 0.5);
        }
        assert!(successors.new.len() + successors.old.len() <= 64);
        let rows = || successors.new.values().chain(successors.old.values());
        assert!(rows().all(|row| row.next.len() <= SUCCESSORS));
        let mut successors = Successors::new(64);
        for _ in 0..10 {
            successors.read("a", 0.5);
            successors.cut();
            successors.read("b", 0.5);
            successors.cut();
        }
        assert!(successors.read("a", 0.0).is_empty());
    }
}
