//! All policies at many sizes.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use cache_core::{Error, ErrorKind, Eviction, Result};

use crate::{
    contender::Contender,
    distances::Distances,
    optimum::{self, Foresight},
    replay::{Ticker, Unit, replay},
    size::Size,
    tally::{Sums, Tally, Weight},
    trace::Trace,
};

/// From so many replayed reads on a sample answers, unless it is said otherwise: one or two minutes
/// on two cores.
const READS_MAX: f64 = 2e9;

/// A sample that is chosen here has at least so many keys, where there are so many.
const SAMPLE_KEYS_MIN: f64 = 8_192.0;

/// What one pass over all of LRU's distances takes, in replays.
const DISTANCES_COST: usize = 4;

/// What is to be replayed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The policies.
    pub contenders: Vec<Contender>,
    /// The sizes.
    pub sizes: Vec<Size>,
    /// Whether all reads are replayed.
    pub sampling: Sampling,
}

/// Whether all reads are replayed, or those of a part of the keys in a cache that is smaller by as
/// much.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Sampling {
    /// All, unless that would take minutes.
    #[default]
    Auto,
    /// All.
    Off,
    /// This part of the keys, above 0 and up to 1.
    Rate(f64),
}

/// What came of a plan.
#[derive(Clone, Debug)]
pub struct Curves {
    /// A point for each policy and size: policies in their order, each with the sizes in theirs.
    pub points: Vec<Point>,
    /// What was replayed in place of the whole trace, if it was not.
    pub sample: Option<Sample>,
    /// What a cache without a bound would hold: how many values.
    pub keys_total: f64,
    /// The same in bytes.
    pub bytes_total: f64,
}

impl Curves {
    /// Whether there is room for everything at a point.
    #[must_use]
    pub fn holds_all(&self, point: &Point) -> bool {
        let whole = match point.size.unit() {
            Unit::Items => self.keys_total,
            Unit::Bytes => self.bytes_total,
        };
        point.capacity as f64 >= whole
    }
}

/// What a policy comes to at a size.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The policy.
    pub contender: Contender,
    /// The size as it was asked for.
    pub size: Size,
    /// The room of it: so many values, or bytes.
    pub capacity: u64,
    /// What was counted, or is estimated of the whole trace.
    pub tally: Tally,
}

/// Of which part of the keys the answer was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The part, from 0 to 1.
    pub rate: f64,
    /// How many keys that are.
    pub keys: usize,
    /// By how much the sample's hit ratios of LRU differ from those of all the reads that are in
    /// memory: at most, over the plan's sizes. Other policies' are off by about as much.
    pub error_max: f64,
    /// The same on average.
    pub error_mean: f64,
}

impl Plan {
    /// All policies, at [`Size::spread`].
    #[must_use]
    pub fn all(trace: &Trace) -> Self {
        Self {
            contenders: Contender::all().collect(),
            sizes: Size::spread(trace),
            sampling: Sampling::default(),
        }
    }

    /// How many reads there are to replay: the steps of which [`simulate`] tells.
    #[must_use]
    pub fn reads(&self, trace: &Trace) -> u64 {
        (trace.len() as f64 * self.rate(trace) / trace.rate()) as u64
            * self.jobs(trace).len() as u64
    }

    /// The part of all keys whose reads are replayed.
    fn rate(&self, trace: &Trace) -> f64 {
        match self.sampling {
            Sampling::Off => trace.rate(),
            Sampling::Rate(rate) => rate.min(trace.rate()),
            Sampling::Auto => {
                let reads = trace.len() as f64 * self.jobs(trace).len() as f64;
                let fewest = SAMPLE_KEYS_MIN / trace.keys_len() as f64;
                trace.rate() * (READS_MAX / reads).max(fewest).min(1.0)
            }
        }
    }

    fn jobs(&self, trace: &Trace) -> Vec<Job> {
        let mut jobs = Vec::new();
        for (row, contender) in self.contenders.iter().enumerate() {
            let first = row * self.sizes.len();
            let is_in_one_pass = *contender == Contender::Policy(Eviction::Lru)
                && self.sizes.len() > DISTANCES_COST
                && !trace.columns().expiry()
                && self.sizes.iter().all(|size| size.unit() == Unit::Items);
            if is_in_one_pass {
                jobs.push(Job::LruAtAll { first });
            } else {
                jobs.extend((0..self.sizes.len()).map(|i| Job::One { point: first + i }));
            }
        }
        jobs
    }

    fn check(&self, trace: &Trace) -> Result<()> {
        self.sizes.iter().try_for_each(|size| size.check(trace))?;
        match self.sampling {
            Sampling::Rate(rate) if !(rate > 0.0 && rate <= 1.0) => {
                Err(Error::new(ErrorKind::Config, format!("a sample of {rate} of the keys"))
                    .hint("give a part of them, above 0 and up to 1"))
            }
            _ => Ok(()),
        }
    }
}

/// What a thread does at a time.
#[derive(Clone, Copy, Debug)]
enum Job {
    /// One policy at one size.
    One { point: usize },
    /// LRU at all sizes, of which this is the first.
    LruAtAll { first: usize },
}

/// Replays a trace under each policy at each size, on as many threads as there are cores. It
/// blocks. `advanced` is told of how many reads were replayed since it was told last, by any of the
/// threads, and answers whether to go on.
///
/// # Errors
///
/// [`ErrorKind::Config`] for a size in bytes of a trace without sizes, or a sample that is empty;
/// [`ErrorKind::Closed`] when `advanced` says to stop.
///
/// # Examples
///
/// ```
/// use cache_trace::{Contender, Plan, ReadOptions, Sampling, Weight, read_from, simulate};
///
/// let trace = read_from("keys", "a\nb\na\nc\na\nb\n".as_bytes(), &ReadOptions::default())?;
/// let plan = Plan {
///     contenders: vec!["lru".parse()?, Contender::Optimum],
///     sizes: vec!["2".parse()?],
///     sampling: Sampling::Auto,
/// };
/// let curves = simulate(&trace, &plan, &|_| true)?;
/// let ratios: Vec<f64> =
///     curves.points.iter().map(|point| point.tally.hit_ratio(Weight::Count)).collect();
/// assert_eq!(ratios, [2.0 / 6.0, 2.0 / 6.0]);
/// # Ok::<(), cache_core::Error>(())
/// ```
pub fn simulate(
    trace: &Trace,
    plan: &Plan,
    advanced: &(dyn Fn(u64) -> bool + Sync),
) -> Result<Curves> {
    plan.check(trace)?;
    let rate = plan.rate(trace);
    let part;
    let replayed = if rate < trace.rate() {
        part = trace.sample(rate);
        if part.is_empty() {
            let message = format!("none of {} keys is in a sample of {rate}", trace.keys_len());
            return Err(Error::new(ErrorKind::Config, message).hint("sample more of the keys"));
        }
        &part
    } else {
        trace
    };
    let mut points = plan.points(trace);
    run(replayed, plan, &mut points, advanced)?;
    let scale = Scale::of(trace, replayed);
    for point in &mut points {
        point.tally = scale.apply(point.tally);
    }
    let sample = (rate < 1.0).then(|| {
        let (error_max, error_mean) = errors(trace, replayed, &scale, &points);
        Sample { rate, keys: replayed.keys_len(), error_max, error_mean }
    });
    let (keys_total, bytes_total) = (trace.keys_total(), trace.bytes_total());
    Ok(Curves { points, sample, keys_total, bytes_total })
}

impl Plan {
    /// The points, with nothing counted yet.
    fn points(&self, trace: &Trace) -> Vec<Point> {
        let point = |contender, size: &Size| Point {
            contender,
            size: size.clone(),
            capacity: size.capacity(trace),
            tally: Tally::default(),
        };
        let of = |contender: &Contender| {
            let contender = *contender;
            self.sizes.iter().map(move |size| point(contender, size))
        };
        self.contenders.iter().flat_map(of).collect()
    }
}

/// The room in a cache for a part of the keys. What holds something holds something.
fn part_of(capacity: u64, rate: f64) -> u64 {
    if rate == 1.0 {
        capacity
    } else {
        ((capacity as f64 * rate).round() as u64).max(1.min(capacity))
    }
}

fn run(
    trace: &Trace,
    plan: &Plan,
    points: &mut [Point],
    advanced: &(dyn Fn(u64) -> bool + Sync),
) -> Result<()> {
    let jobs = plan.jobs(trace);
    let foresight = plan.contenders.contains(&Contender::Optimum).then(|| Foresight::of(trace));
    let next = AtomicUsize::new(0);
    let work = |points: &[Point]| {
        let mut done = Vec::new();
        let mut ticker = Ticker::new(advanced);
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            match *job {
                Job::One { point } => {
                    let Point { contender, ref size, capacity, .. } = points[point];
                    let capacity = part_of(capacity, trace.rate());
                    let tally = match contender {
                        Contender::Policy(policy) => {
                            replay(trace, policy, capacity, size.unit(), &mut ticker)?
                        }
                        Contender::Optimum => {
                            let foresight = foresight.as_ref().expect("it was made for the plan");
                            optimum::replay(trace, foresight, capacity, size.unit(), &mut ticker)?
                        }
                    };
                    done.push((point, tally));
                }
                Job::LruAtAll { first } => {
                    let distances = Distances::of(trace, &mut ticker)?;
                    let sizes = points[first..].iter().take(plan.sizes.len()).enumerate();
                    done.extend(sizes.map(|(i, point)| {
                        (first + i, distances.tally(part_of(point.capacity, trace.rate())))
                    }));
                }
            }
            ticker.tell()?;
        }
        Some(done)
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    let done: Option<Vec<_>> = thread::scope(|scope| {
        let points = &*points;
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(points))).collect();
        let results = workers.into_iter().map(thread::ScopedJoinHandle::join);
        // A worker's panic goes on in its caller.
        results
            .map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let done = done.ok_or_else(|| Error::new(ErrorKind::Closed, "the replay was stopped"))?;
    for (point, tally) in done.into_iter().flatten() {
        points[point].tally = tally;
    }
    Ok(())
}

/// From what a sample comes to, to what the whole trace does.
#[derive(Clone, Copy, Debug)]
struct Scale {
    /// What the sample's reads would come to if it had its exact part of them.
    expected: Sums,
    rate: f64,
}

impl Scale {
    fn of(trace: &Trace, replayed: &Trace) -> Self {
        let expected = sums(trace).scaled(replayed.rate() / trace.rate());
        let expected = Sums {
            // Of a trace that was thinned out while it was read, the number of reads is known.
            count: (trace.total() * replayed.rate()).round() as u64,
            ..expected
        };
        Self { expected, rate: replayed.rate() }
    }

    /// A sample that lacks a hot key has fewer reads than its part, and those would have been hits;
    /// one that has a hot key has more hits (the correction of SHARDS).
    fn apply(&self, tally: Tally) -> Tally {
        if self.rate == 1.0 {
            return tally;
        }
        let corrected = |weight: Weight| {
            let (hits, requests) = (tally.hits.of(weight), tally.requests.of(weight));
            let expected = self.expected.of(weight);
            (hits + expected).saturating_sub(requests).min(expected)
        };
        let hits = Sums {
            count: corrected(Weight::Count),
            bytes: corrected(Weight::Bytes),
            cost: corrected(Weight::Cost),
        };
        let factor = 1.0 / self.rate;
        Tally { requests: self.expected.scaled(factor), hits: hits.scaled(factor) }
    }
}

fn sums(trace: &Trace) -> Sums {
    let mut tally = Tally::default();
    for (_, request) in trace.requests() {
        tally.note(&request, crate::tally::Hit::No);
    }
    tally.requests
}

/// By how much LRU's hit ratios differ, at most and on average, between two traces of which one is a
/// sample of the other.
fn errors(whole: &Trace, part: &Trace, scale: &Scale, points: &[Point]) -> (f64, f64) {
    let mut ticker = Ticker::new(&|_| true);
    let mut distances = |trace| Distances::of(trace, &mut ticker).expect("it is told to go on");
    let (of_whole, of_part) = (distances(whole), distances(part));
    let in_whole = Scale::of(whole, whole);
    let errors = points.iter().map(|point| {
        // In values, whatever the size's unit is.
        let part_of_all = match point.size.unit() {
            Unit::Items => point.capacity as f64 / whole.keys_total(),
            Unit::Bytes => point.capacity as f64 / whole.bytes_total(),
        };
        let ratio = |trace: &Trace, distances: &Distances, scale: &Scale| {
            let capacity = (trace.keys_len() as f64 * part_of_all).round() as u64;
            scale.apply(distances.tally(capacity)).hit_ratio(Weight::Count)
        };
        (ratio(whole, &of_whole, &in_whole) - ratio(part, &of_part, scale)).abs()
    });
    let errors: Vec<f64> = errors.collect();
    let mean = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
    (errors.into_iter().fold(0.0, f64::max), mean)
}

#[cfg(test)]
mod tests;
