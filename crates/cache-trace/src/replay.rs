//! One policy at one size.

use cache_core::{Eviction, Replay, Timestamp};

use crate::{
    tally::{Hit, Tally},
    trace::{Columns, Request, Trace},
};

/// By what values weigh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Each as one.
    Items,
    /// By their bytes.
    Bytes,
}

impl Unit {
    pub(crate) const fn weight(self, request: &Request) -> u32 {
        match self {
            Self::Items => 1,
            Self::Bytes => request.size,
        }
    }
}

impl Columns {
    /// Whether values expire in a replay: a life without a time of reading has no end.
    pub(crate) const fn expiry(self) -> bool {
        self.time && self.ttl
    }
}

impl Request {
    /// When a value expires that this read has loaded.
    pub(crate) fn ends_at(&self) -> u64 {
        match self.ttl_ms {
            0 => u64::MAX,
            ttl => self.time_ms.saturating_add(u64::from(ttl)),
        }
    }
}

/// Replays a policy. A read that misses is followed by a fill.
pub(crate) fn replay(
    trace: &Trace,
    policy: Eviction,
    capacity: u64,
    unit: Unit,
    ticker: &mut Ticker<'_>,
) -> Option<Tally> {
    // From one seed, so that each run says the same.
    let mut cache = Replay::new(policy.policy(SEED), capacity);
    let mut ends = trace.columns().expiry().then(|| vec![0_u64; trace.keys_len()]);
    let mut tally = Tally::default();
    for (id, request) in trace.requests() {
        ticker.tick()?;
        let key = u64::from(id);
        let mut expires_at = Timestamp::MAX;
        if let Some(ends) = &mut ends {
            let end = &mut ends[id as usize];
            if *end <= request.time_ms {
                // What has expired is loaded anew, and lives from now on; so does, for nothing, what
                // was never there.
                cache.remove(key);
            }
            expires_at = Timestamp::from_millis(request.ends_at());
        }
        let hit = cache.access(key, unit.weight(&request), expires_at);
        if let (Some(ends), false) = (&mut ends, hit) {
            ends[id as usize] = request.ends_at();
        }
        tally.note(&request, if hit { Hit::Yes } else { Hit::No });
    }
    Some(tally)
}

/// What random numbers are drawn from.
const SEED: u64 = 1;

/// Tells of progress now and then, and hears whether to stop.
pub(crate) struct Ticker<'a> {
    ticks: u64,
    advanced: &'a (dyn Fn(u64) -> bool + Sync),
}

impl<'a> Ticker<'a> {
    const EVERY: u64 = 1 << 18;

    pub(crate) fn new(advanced: &'a (dyn Fn(u64) -> bool + Sync)) -> Self {
        Self { ticks: 0, advanced }
    }

    /// Counts a read; nothing when it was the last one to be made.
    #[inline]
    pub(crate) fn tick(&mut self) -> Option<()> {
        self.ticks += 1;
        if self.ticks < Self::EVERY { Some(()) } else { self.tell() }
    }

    /// Tells of what was not told yet.
    pub(crate) fn tell(&mut self) -> Option<()> {
        (self.advanced)(std::mem::take(&mut self.ticks)).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::TraceBuilder;

    #[test]
    fn a_value_lives_from_its_load_on() {
        let mut builder =
            TraceBuilder::new(Columns { time: true, ttl: true, ..Columns::default() }, usize::MAX);
        for time_ms in [0, 5, 9, 10, 19, 20] {
            builder.push(Request { hash: 1, time_ms, ttl_ms: 10, size: 1, cost: 7 });
        }
        let trace = builder.finish().unwrap();
        for policy in Eviction::ALL {
            let mut ticker = Ticker::new(&|_| true);
            let tally = replay(&trace, *policy, 9, Unit::Items, &mut ticker).unwrap();
            assert_eq!((tally.hits.count, tally.requests.count), (3, 6), "{policy}");
        }
    }

    #[test]
    fn a_replay_stops_when_it_is_told_to() {
        let mut builder = TraceBuilder::new(Columns::default(), usize::MAX);
        (0..Ticker::EVERY + 1).for_each(|_| builder.push(Request::default()));
        let trace = builder.finish().unwrap();
        let mut ticker = Ticker::new(&|_| false);
        assert_eq!(replay(&trace, Eviction::Fifo, 9, Unit::Items, &mut ticker), None);
    }
}
