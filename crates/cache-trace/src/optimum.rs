//! The best that any policy could do, which knows what comes next.

mod furthest;

use self::furthest::Furthest;
use crate::{
    replay::{Ticker, Unit},
    tally::{Hit, Tally},
    trace::Trace,
};

/// When each key of a trace is read next: what a replay of the optimum must know, made once for all
/// sizes. 4 bytes a read.
#[derive(Debug)]
pub(crate) struct Foresight {
    /// For each read the position of the key's next one.
    next: Vec<u32>,
}

/// There is no next read.
const NEVER: u32 = u32::MAX;

impl Foresight {
    pub(crate) fn of(trace: &Trace) -> Self {
        let mut next = vec![NEVER; trace.len()];
        let mut coming = vec![NEVER; trace.keys_len()];
        for (at, id) in trace.ids().iter().enumerate().rev() {
            let position = u32::try_from(at).expect("a trace keeps fewer than 2^32 reads");
            next[at] = std::mem::replace(&mut coming[*id as usize], position);
        }
        Self { next }
    }
}

/// Replays the optimum (L. A. Belady, *A study of replacement algorithms for a virtual-storage
/// computer*, IBM Systems Journal 5(2), 1966): the value whose next read is furthest away goes. As
/// with all other policies, a value that was loaded is kept, even where it is the one that comes
/// back last.
///
/// Where every value weighs the same this is exact. Where not, finding the optimum is NP-hard, and
/// this is a rule of thumb that is hardly ever beaten: furthest next read first. A value that has
/// expired by its next read counts as one that is not read again.
pub(crate) fn replay(
    trace: &Trace,
    foresight: &Foresight,
    capacity: u64,
    unit: Unit,
    ticker: &mut Ticker<'_>,
) -> Option<Tally> {
    let mut cache = Cache {
        furthest: Furthest::new(trace.len()),
        dead: Vec::new(),
        held: vec![0; trace.keys_len()],
        ends: trace.columns().expiry().then(|| vec![u64::MAX; trace.keys_len()]),
        weight: 0,
        capacity,
    };
    let mut tally = Tally::default();
    for (at, id) in trace.ids().iter().enumerate() {
        ticker.tick()?;
        let request = trace.request(at);
        let next = foresight.next[at];
        let is_held = cache.furthest.remove(at);
        tally.note(&request, if is_held { Hit::Yes } else { Hit::No });
        let id = *id as usize;
        if is_held {
            cache.weight -= u64::from(std::mem::take(&mut cache.held[id]));
        } else if let Some(ends) = &mut cache.ends {
            ends[id] = request.ends_at();
        }
        let is_dead = next == NEVER
            || cache
                .ends
                .as_ref()
                .is_some_and(|ends| trace.request(next as usize).time_ms >= ends[id]);
        cache.keep(trace.ids(), id, unit.weight(&request), if is_dead { NEVER } else { next });
    }
    Some(tally)
}

struct Cache {
    /// The positions of the next reads of what is held and is read again.
    furthest: Furthest,
    /// The weights of what is held and is not read again.
    dead: Vec<u32>,
    /// The weight of each key that is in `furthest`.
    held: Vec<u32>,
    /// When each key's value expires.
    ends: Option<Vec<u64>>,
    weight: u64,
    capacity: u64,
}

impl Cache {
    fn keep(&mut self, ids: &[u32], id: usize, weight: u32, next: u32) {
        if u64::from(weight) > self.capacity {
            return;
        }
        while self.weight + u64::from(weight) > self.capacity {
            let freed = match self.dead.pop() {
                Some(weight) => weight,
                None => {
                    let last = self.furthest.pop().expect("a cache that is full holds something");
                    std::mem::take(&mut self.held[ids[last] as usize])
                }
            };
            self.weight -= u64::from(freed);
        }
        self.weight += u64::from(weight);
        if next == NEVER {
            self.dead.push(weight);
        } else {
            self.furthest.insert(next as usize);
            self.held[id] = weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::trace::{Columns, Request, TraceBuilder};

    /// Looks through everything for each victim.
    fn naive(keys: &[u64], capacity: usize) -> u64 {
        let mut held: Vec<u64> = Vec::new();
        let mut hits = 0;
        for (at, key) in keys.iter().enumerate() {
            if held.contains(key) {
                hits += 1;
                continue;
            }
            if held.len() == capacity {
                let next = |held: &u64| {
                    keys[at..].iter().position(|key| key == held).unwrap_or(usize::MAX)
                };
                let (victim, _) = held.iter().enumerate().max_by_key(|(_, key)| next(key)).unwrap();
                held.remove(victim);
            }
            held.push(*key);
        }
        hits
    }

    fn tally(trace: &Trace, capacity: u64, unit: Unit) -> Tally {
        let mut ticker = Ticker::new(&|_| true);
        replay(trace, &Foresight::of(trace), capacity, unit, &mut ticker).unwrap()
    }

    fn trace(requests: impl IntoIterator<Item = Request>, columns: Columns) -> Trace {
        let mut builder = TraceBuilder::new(columns, usize::MAX);
        requests.into_iter().for_each(|request| builder.push(request));
        builder.finish().unwrap()
    }

    proptest! {
        #[test]
        fn it_is_what_a_search_through_everything_finds(
            keys in prop::collection::vec(0_u64..30, 1..300),
            capacity in 1_usize..20,
        ) {
            let requests = keys.iter().map(|key| Request { hash: *key, ..Request::default() });
            let trace = trace(requests, Columns::default());
            let tally = tally(&trace, capacity as u64, Unit::Items);
            prop_assert_eq!(tally.hits.count, naive(&keys, capacity));
        }
    }

    #[test]
    fn a_value_that_has_expired_is_no_hit_and_takes_no_room_from_others() {
        let read = |hash, time_ms, ttl_ms| Request { hash, time_ms, ttl_ms, size: 1, cost: 1 };
        let reads = [
            read(1, 0, 10),
            read(2, 1, 0),
            read(1, 9, 10),
            read(1, 10, 10),
            read(3, 11, 0),
            read(2, 12, 0),
            read(1, 19, 10),
        ];
        let columns = Columns { time: true, ttl: true, ..Columns::default() };
        let trace = trace(reads, columns);
        let hits = |capacity| tally(&trace, capacity, Unit::Items).hits.count;
        // A life counts from the load, not from the last read: 1 is loaded at 0 and at 10.
        assert_eq!(hits(3), 3);
        // And at 9, for 2 came between.
        assert_eq!(hits(1), 1);
    }

    #[test]
    fn what_is_larger_than_the_cache_is_not_kept() {
        let read = |hash, size| Request { hash, size, ..Request::default() };
        let reads = [read(1, 3), read(2, 9), read(1, 3), read(2, 9)];
        let trace = trace(reads, Columns { size: true, ..Columns::default() });
        let tally = tally(&trace, 5, Unit::Bytes);
        assert_eq!((tally.hits.count, tally.hits.bytes, tally.requests.bytes), (1, 3, 24));
    }
}
