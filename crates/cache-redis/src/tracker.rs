//! Eviction by the tier itself, where the server's own policy is another, or belongs to others.
//!
//! Which records there are, and in which order they go, is noted in Redis, by the script call that
//! writes them: so all processes share it, and it is as true as the records. The order is a sorted
//! set. Reads are gathered here, and told about once a second where the policy goes by them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bb8_redis::redis::{self, Cmd};
use cache_core::{Evictions, Key, Ranking, ReadNotes, Result, Timestamp};
use parking_lot::Mutex;

use crate::{
    config::RedisConfig,
    error::{Access, expect},
    layout::{Layout, Name},
    scripts,
    store::Store,
};

/// How many keys of a call are the tracker's.
pub(crate) const TRACK_KEYS: usize = 3;

/// How often reads are told, and records that have expired are looked for.
const EVERY: Duration = Duration::from_secs(1);

/// The most records whose reads wait to be told: one call tells them all.
const NOTES_MAX: usize = 2_048;

/// Records that are looked at at a time for whether they are still there.
const TIDY_LEN: usize = 500;

/// What the tracker goes by.
#[derive(Debug)]
pub(crate) struct Tracker {
    policy: &'static str,
    goes_by_reads: bool,
    entries_max: u64,
    /// 0: any.
    bytes_max: u64,
    /// Which part of the bounds may be used, in thousandths: less than all under pressure.
    share: AtomicU64,
    notes: ReadNotes<Vec<u8>>,
    tended: Mutex<Tended>,
}

#[derive(Debug)]
struct Tended {
    at: Timestamp,
    /// Where the look for records that are not there any more goes on; 0: from the beginning.
    cursor: u64,
}

impl Tracker {
    /// Nothing where the server evicts by itself.
    pub(crate) fn new(config: &RedisConfig, now: Timestamp) -> Option<Self> {
        let ranking = config.eviction.ranking();
        let policy = match ranking {
            Ranking::Arrival => "arrival",
            Ranking::Deadline => "deadline",
            Ranking::Chance => "chance",
            Ranking::Frequency | Ranking::AgingFrequency => "frequency",
            // The score of a sorted set is one number: a second chance comes nearest to this one.
            Ranking::Recency | Ranking::SecondChance => "recency",
        };
        Some(Self {
            policy,
            goes_by_reads: ranking.goes_by_reads(),
            entries_max: config.tracked_entries_max?,
            bytes_max: config.tracked_bytes_max.map_or(0, cache_core::ByteSize::as_u64),
            share: AtomicU64::new(1_000),
            notes: ReadNotes::new(NOTES_MAX),
            tended: Mutex::new(Tended { at: now, cursor: 0 }),
        })
    }

    pub(crate) fn bytes_max(&self) -> Option<u64> {
        (self.bytes_max > 0).then_some(self.bytes_max)
    }

    /// Notes that the records of `keys` were read, where the policy goes by that.
    pub(crate) fn note<'k>(&self, keys: impl Iterator<Item = &'k Key>, now: Timestamp) {
        if self.goes_by_reads {
            self.notes.add(keys.map(|key| key.encoded().as_bytes()), now);
        }
    }

    /// Writes the tracker's arguments, the last ones of a call.
    pub(crate) fn write_to(&self, call: &mut Cmd, now: Timestamp) {
        let share = self.share.load(Ordering::Relaxed);
        let part = |max: u64| (u128::from(max) * u128::from(share) / 1_000) as u64;
        // 0 bytes would mean any.
        let bytes_max = if self.bytes_max == 0 { 0 } else { part(self.bytes_max).max(1) };
        call.arg(self.policy).arg(part(self.entries_max)).arg(bytes_max);
        call.arg(now.as_millis()).arg(u8::from(share < 1_000));
    }

    /// Where to go on with the look at what is there, if it is time to.
    fn due(&self, now: Timestamp) -> Option<u64> {
        let mut tended = self.tended.lock();
        if now.since(tended.at) < EVERY {
            return None;
        }
        tended.at = now;
        Some(tended.cursor)
    }
}

/// What the tracker has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tracked {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) evicted: Evictions,
}

impl Store {
    /// Does about once a second what a put need not do each time. What fails is done the next time.
    pub(crate) async fn tend(&self, tracker: &Tracker) {
        let Some(cursor) = tracker.due(self.clock.now()) else { return };
        let tended = async {
            self.tell_reads(tracker).await?;
            self.tidy(tracker, cursor).await
        };
        match tended.await {
            Ok(next) => tracker.tended.lock().cursor = next,
            Err(error) => tracing::debug!(%error, "could not tend the tracker"),
        }
    }

    /// Evicts until there is no more than there may be. Answers how many went.
    pub(crate) async fn evict(&self, tracker: &Tracker) -> Result<u64> {
        let mut evicted = 0;
        loop {
            let mut call = scripts::EVICT.call(TRACK_KEYS);
            call.arg(&self.layout.tracker());
            tracker.write_to(&mut call, self.clock.now());
            let (more, gone): (u8, u64) = expect(scripts::EVICT.run(&self.server, &call).await?)?;
            evicted += gone;
            if more == 0 {
                return Ok(evicted);
            }
        }
    }

    /// Has no more than a part of the bounds used from now on.
    pub(crate) async fn shrink(&self, tracker: &Tracker, fraction: f64) -> Result<u64> {
        let share = (fraction.clamp(0.0, 1.0) * 1_000.0) as u64;
        tracker.share.store(share, Ordering::Relaxed);
        self.tell_reads(tracker).await?;
        self.evict(tracker).await
    }

    pub(crate) async fn tracked(&self) -> Result<Tracked> {
        let [order, _, counts] = self.layout.tracker();
        let entries = redis::cmd("ZCARD").arg(order).take();
        let entries = expect(self.server.query(&entries, Access::Read).await?)?;
        let mut command = redis::cmd("HMGET");
        command.arg(counts).arg(&["bytes", "for_bytes", "for_entries", "pressure"]);
        let counts: [Option<i64>; 4] = expect(self.server.query(&command, Access::Read).await?)?;
        let [bytes, for_bytes, for_entries, pressure] =
            counts.map(|count| count.unwrap_or(0).max(0).unsigned_abs());
        let evicted = Evictions { bytes: for_bytes, entries: for_entries, pressure };
        Ok(Tracked { entries, bytes, evicted })
    }

    async fn tell_reads(&self, tracker: &Tracker) -> Result<()> {
        let mut notes: Vec<_> = tracker.notes.take().into_iter().collect();
        if notes.is_empty() {
            return Ok(());
        }
        // What was read last comes last.
        notes.sort_unstable_by_key(|(_, note)| note.last);
        let mut call = scripts::READS.call(TRACK_KEYS);
        call.arg(&self.layout.tracker());
        for (name, note) in notes {
            call.arg(name).arg(note.reads);
        }
        tracker.write_to(&mut call, self.clock.now());
        scripts::READS.run(&self.server, &call).await.map(drop)
    }

    /// Looks whether some records are still there, and answers where to go on.
    async fn tidy(&self, tracker: &Tracker, cursor: u64) -> Result<u64> {
        let [_, known, _] = self.layout.tracker();
        let mut scan = redis::cmd("HSCAN");
        scan.arg(known).arg(cursor).arg("COUNT").arg(TIDY_LEN);
        let (next, known): (u64, Vec<Vec<u8>>) =
            expect(self.server.query(&scan, Access::Read).await?)?;
        let names: Vec<&[u8]> = known.chunks_exact(2).map(|pair| &*pair[0]).collect();
        if names.is_empty() {
            return Ok(next);
        }
        let mut call = scripts::TIDY.call(names.len() + TRACK_KEYS);
        for name in names {
            call.arg([self.layout.prefix().as_bytes(), b":", name].concat());
        }
        call.arg(&self.layout.tracker());
        tracker.write_to(&mut call, self.clock.now());
        scripts::TIDY.run(&self.server, &call).await?;
        Ok(next)
    }
}

impl Layout {
    /// The keys of the tracker: the order, what is known of each record, and counts.
    pub(crate) fn tracker(&self) -> [Name<'_>; TRACK_KEYS] {
        [self.control("~order"), self.control("~tracked"), self.control("~tracked:counts")]
    }
}
