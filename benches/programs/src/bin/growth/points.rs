//! One subject's growth: by a factor of ten a step.

use std::time::Instant;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    in_process::{Moka, Near},
    subject::{Growing, PAYLOAD_LEN, Subject, TEXT_LEN},
    tiers::TierSubject,
};

/// What was measured at one size.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) entries: u64,
    /// Above what there was before the first entry.
    pub(crate) bytes: u64,
    pub(crate) hits_per_s: f64,
    /// Of those that led to this size.
    pub(crate) inserts_per_s: f64,
}

const FIRST: u64 = 1_000;

/// Lets it grow, and leaves nothing behind.
pub(crate) async fn grow(subject: Subject, most: u64) -> Result<Vec<Point>> {
    let growing: Box<dyn Growing> = match subject {
        Subject::Near => Box::new(Near::new()?),
        Subject::Moka => Box::new(Moka::new()),
        Subject::Memory | Subject::Sqlite | Subject::Redis | Subject::Postgres => {
            Box::new(TierSubject::open(subject).await?)
        }
    };
    let points = points(&*growing, most).await;
    growing.clean().await?;
    points
}

async fn points(growing: &dyn Growing, most: u64) -> Result<Vec<Point>> {
    let empty = growing.bytes().await?;
    let (mut points, mut before, mut entries) = (Vec::new(), 0, FIRST);
    while entries <= most {
        let started = Instant::now();
        growing.insert(before, entries).await?;
        let inserts_per_s = per_second(entries - before, started);
        let bytes = growing.bytes().await?.saturating_sub(empty);
        let hits = growing.hits();
        // Once for what is made at the first read.
        growing.hit(entries, hits / 10).await?;
        let started = Instant::now();
        growing.hit(entries, hits).await?;
        let hits_per_s = per_second(hits, started);
        points.push(Point { entries, bytes, hits_per_s, inserts_per_s });
        (before, entries) = (entries, entries * 10);
    }
    Ok(points)
}

fn per_second(count: u64, started: Instant) -> f64 {
    count as f64 / started.elapsed().as_secs_f64()
}

/// One figure of each point.
pub(crate) fn each(points: &[Point], figure: fn(&Point) -> f64) -> Vec<(f64, f64)> {
    points.iter().map(|point| (point.entries as f64, figure(point))).collect()
}

/// What an entry takes above its key and value: of those that came since the size before, so that
/// what is there for any number of entries is not counted.
pub(crate) fn overheads(points: &[Point]) -> Vec<(f64, f64)> {
    let pairs = points.windows(2).filter_map(|pair| {
        let [before, after] = pair else { return None };
        let bytes = after.bytes as f64 - before.bytes as f64;
        let an_entry = bytes / (after.entries - before.entries) as f64;
        Some((after.entries as f64, an_entry - (TEXT_LEN + PAYLOAD_LEN) as f64))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entrys_overhead_is_of_those_that_were_added() {
        let point = |entries, bytes| Point { entries, bytes, hits_per_s: 1.0, inserts_per_s: 1.0 };
        let points = [point(1_000, 500_000), point(10_000, 500_000 + 9_000 * 140)];
        assert_eq!(overheads(&points), [(10_000.0, 100.0)]);
        assert!(overheads(&points[..1]).is_empty());
    }
}
