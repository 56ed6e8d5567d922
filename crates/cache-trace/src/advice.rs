//! What the curves say to somebody who has to choose.

use std::fmt;

use cache_core::ByteSize;

use crate::{
    contender::Contender,
    replay::Unit,
    simulate::{Curves, Point},
    tally::Weight,
};

/// Which policy and size suit the trace, what more memory would bring, and what the present setting
/// gives up.
///
/// The policy is the one of the highest hit ratio on average over the sizes. The size is the knee of
/// its curve: where the curve is furthest above the straight line between its ends, so that what
/// came before brought more than the average and what comes after brings less (V. Satopää et al.,
/// *Finding a "Kneedle" in a Haystack*, ICDCS Workshops 2011).
///
/// Displayed as a few plain sentences.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// The policy, at the size.
    pub point: Point,
    /// By what hits count.
    pub weight: Weight,
    /// Whether there were sizes enough to see a knee; else the size is the largest.
    pub has_knee: bool,
    /// Whether everything fits into the size.
    pub holds_all: bool,
    /// The mean hit ratio of each policy over the sizes, the best first.
    pub ranking: Vec<(Contender, f64)>,
    /// What a further step of room brings, from that size on.
    pub next: Option<Marginal>,
    /// What the last step of room brought, up to that size.
    pub last: Option<Marginal>,
    /// The optimum's hit ratio at the size, if it was replayed.
    pub optimum: Option<f64>,
    /// What the present setting gives up.
    pub given_up: Option<GivenUp>,
}

/// What a step of room is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Marginal {
    /// The step, in the unit: so many values, or bytes.
    pub step: u64,
    /// The unit.
    pub unit: Unit,
    /// By how much the hit ratio grows, from 0 to 1.
    pub gain: f64,
}

/// What a present setting gives up.
#[derive(Clone, Debug, PartialEq)]
pub struct GivenUp {
    /// The setting.
    pub current: Point,
    /// The best policy at the same size.
    pub best: Point,
    /// The hit ratios of the two.
    pub ratios: (f64, f64),
}

impl Advice {
    /// Reads the curves; `current` are those of the present setting's size alone, with the policy
    /// that is set. Nothing where no policy was replayed, but only the optimum.
    #[must_use]
    pub fn of(
        curves: &Curves,
        weight: Weight,
        current: Option<(Contender, &Curves)>,
    ) -> Option<Self> {
        let ratio = |point: &Point| point.tally.hit_ratio(weight);
        let unit = main_unit(curves)?;
        let policies = policies(curves, unit);
        let mean = |points: &[&Point]| {
            points.iter().map(|point| ratio(point)).sum::<f64>() / points.len() as f64
        };
        let mut ranking: Vec<(Contender, f64)> =
            policies.iter().map(|points| (points[0].contender, mean(points))).collect();
        // Of equals the first stays first.
        ranking.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let (chosen, _) = *ranking.first()?;
        let curve = policies.iter().find(|points| points[0].contender == chosen)?;
        let places: Vec<(f64, f64)> =
            curve.iter().map(|point| (point.capacity as f64, ratio(point))).collect();
        let knee = knee(&places);
        let at = knee.unwrap_or(curve.len() - 1);
        let point = curve[at];
        let between = |from: usize, to: usize| {
            let (from, to) = (curve.get(from)?, curve.get(to)?);
            marginal(unit, point.capacity, from, to, weight)
        };
        let optimum = curves
            .points
            .iter()
            .find(|other| other.contender == Contender::Optimum && other.size == point.size)
            .map(ratio);
        Some(Self {
            point: point.clone(),
            weight,
            has_knee: knee.is_some(),
            holds_all: curves.holds_all(point),
            next: between(at, at + 1),
            last: at.checked_sub(1).and_then(|before| between(before, at)),
            optimum,
            given_up: current.and_then(|(current, curves)| GivenUp::of(current, curves, weight)),
            ranking,
        })
    }

    /// The hit ratio at the size.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.point.tally.hit_ratio(self.weight)
    }
}

impl GivenUp {
    fn of(current: Contender, curves: &Curves, weight: Weight) -> Option<Self> {
        let ratio = |point: &Point| point.tally.hit_ratio(weight);
        let now = curves.points.iter().find(|point| point.contender == current)?;
        let policies = curves.points.iter().filter(|point| point.contender != Contender::Optimum);
        let best = policies.max_by(|a, b| ratio(a).total_cmp(&ratio(b)))?;
        Some(Self { current: now.clone(), best: best.clone(), ratios: (ratio(now), ratio(best)) })
    }
}

/// The unit that most of the points are in.
fn main_unit(curves: &Curves) -> Option<Unit> {
    let bytes = curves.points.iter().filter(|point| point.size.unit() == Unit::Bytes).count();
    match curves.points.len() {
        0 => None,
        all if 2 * bytes > all => Some(Unit::Bytes),
        _ => Some(Unit::Items),
    }
}

/// The points of each policy, by their size.
fn policies(curves: &Curves, unit: Unit) -> Vec<Vec<&Point>> {
    let mut policies: Vec<Vec<&Point>> = Vec::new();
    for point in &curves.points {
        if point.contender == Contender::Optimum || point.size.unit() != unit {
            continue;
        }
        match policies.iter_mut().find(|points| points[0].contender == point.contender) {
            Some(points) => points.push(point),
            None => policies.push(vec![point]),
        }
    }
    for points in &mut policies {
        points.sort_by_key(|point| point.capacity);
        points.dedup_by_key(|point| point.capacity);
    }
    policies
}

/// Where a curve is furthest above the line between its ends.
fn knee(places: &[(f64, f64)]) -> Option<usize> {
    let (&(x0, y0), &(x1, y1)) = (places.first()?, places.last()?);
    if places.len() < 3 || x1 <= x0 || y1 <= y0 {
        return None;
    }
    let above = |(x, y): (f64, f64)| (y - y0) / (y1 - y0) - (x - x0) / (x1 - x0);
    let heights = places.iter().map(|place| above(*place)).enumerate();
    let (at, height) = heights.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (height > 0.0).then_some(at)
}

fn marginal(
    unit: Unit,
    capacity: u64,
    from: &Point,
    to: &Point,
    weight: Weight,
) -> Option<Marginal> {
    let room = to.capacity.checked_sub(from.capacity).filter(|room| *room > 0)?;
    // A step that is not larger than the cache itself.
    let steps = match unit {
        Unit::Items => [1_000, 100, 10, 1],
        Unit::Bytes => [1 << 20, 1 << 10, 1, 1],
    };
    let step = steps.into_iter().find(|step| *step <= capacity).unwrap_or(1);
    let gain = to.tally.hit_ratio(weight) - from.tally.hit_ratio(weight);
    Some(Marginal { step, unit, gain: gain * step as f64 / room as f64 })
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { point, weight, .. } = self;
        let of = match weight {
            Weight::Count => "reads",
            Weight::Bytes => "bytes read",
            Weight::Cost => "load cost",
        };
        let (policy, room) = (point.contender, room(point));
        writeln!(
            f,
            "Take {policy} with room for {room}: {} of the {of} are hits.",
            percent(self.ratio())
        )?;
        if let [(best, mean), others @ ..] = &*self.ranking
            && !others.is_empty()
        {
            let others: Vec<String> = others
                .iter()
                .take(3)
                .map(|(policy, mean)| format!("{policy} {}", percent(*mean)))
                .collect();
            let mean = percent(*mean);
            writeln!(
                f,
                "  Over all these sizes {best} has {mean} on average; then {}.",
                others.join(", ")
            )?;
        }
        match (self.has_knee, &self.last, &self.next) {
            _ if self.holds_all => {
                writeln!(
                    f,
                    "  Everything fits: more room brings nothing, and the policy does not matter."
                )?;
            }
            (true, Some(last), Some(next)) => writeln!(
                f,
                "  That is the knee of its curve: the last {} before it brought {} each, the next \
                 bring {} each.",
                next.step_text(),
                last.gain_text(),
                next.gain_text(),
            )?,
            (true, _, Some(next)) => {
                writeln!(f, "  A further {} brings {}.", next.step_text(), next.gain_text())?;
            }
            (false, Some(last), _) => writeln!(
                f,
                "  That is the largest of the sizes; the last {} brought {}, so more may be worth \
                 its room.",
                last.step_text(),
                last.gain_text(),
            )?,
            _ => {}
        }
        if let Some(optimum) = self.optimum {
            let gap = points(optimum - self.ratio());
            writeln!(f, "  No policy can have more than {} there: {gap} away.", percent(optimum))?;
        }
        match &self.given_up {
            Some(given_up) => given_up.fmt(f, self),
            None => Ok(()),
        }
    }
}

impl GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>, advice: &Advice) -> fmt::Result {
        let (now, best) = self.ratios;
        let (policy, room) = (self.current.contender, room(&self.current));
        write!(f, "The present setting, {policy} with room for {room}, has {}", percent(now))?;
        let misses = |from: f64, to: f64| {
            let saved = if from < 1.0 { (to - from) / (1.0 - from) } else { 0.0 };
            percent(saved.max(0.0))
        };
        if best - now < 5e-4 {
            writeln!(f, ": no policy has more at this size.")?;
        } else {
            let better = self.best.contender;
            writeln!(
                f,
                ". It gives up {} against {better} at the same size: {} of its misses.",
                points(best - now),
                misses(now, best),
            )?;
        }
        let more = advice.ratio() - now;
        if more >= 5e-4 {
            let policy = advice.point.contender;
            writeln!(
                f,
                "  {policy} at the size above would have {} more: {} of its misses.",
                points(more),
                misses(now, advice.ratio()),
            )?;
        }
        Ok(())
    }
}

impl Marginal {
    fn step_text(&self) -> String {
        match self.unit {
            Unit::Items => format!("{} values", self.step),
            Unit::Bytes => ByteSize::bytes(self.step).to_string(),
        }
    }

    fn gain_text(&self) -> String {
        let per_million = (self.gain * 1e6).round();
        format!("{} ({per_million} hits in a million)", points(self.gain))
    }
}

fn room(point: &Point) -> String {
    let room = match point.size.unit() {
        Unit::Items => format!("{} values", point.capacity),
        Unit::Bytes => ByteSize::bytes(point.capacity).to_string(),
    };
    let size = point.size.to_string();
    if size.ends_with('%') { format!("{room} ({size} of the keys)") } else { room }
}

fn percent(ratio: f64) -> String {
    format!("{:.1} %", ratio * 100.0)
}

fn points(difference: f64) -> String {
    let points = difference * 100.0;
    // Small steps bring little, and little is not nothing.
    if points.abs() < 0.05 && points != 0.0 {
        format!("{points:.4} points")
    } else {
        format!("{points:.1} points")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        size::Size,
        tally::{Sums, Tally},
    };

    fn curves(rows: &[(&str, &[(u64, u64)])]) -> Curves {
        let point = |name: &str, (capacity, hits): (u64, u64)| Point {
            contender: name.parse().unwrap(),
            size: Size::items(capacity),
            capacity,
            tally: Tally {
                requests: Sums { count: 1_000, ..Sums::default() },
                hits: Sums { count: hits, ..Sums::default() },
            },
        };
        let points = rows
            .iter()
            .flat_map(|(name, places)| places.iter().map(move |place| point(name, *place)));
        Curves { points: points.collect(), sample: None, keys_total: 1e5, bytes_total: 1e5 }
    }

    #[test]
    fn the_best_policy_is_advised_at_its_knee() {
        let curves = curves(&[
            ("lru", &[(1_000, 100), (2_000, 500), (3_000, 600), (10_000, 700)]),
            ("sieve", &[(1_000, 200), (2_000, 600), (3_000, 650), (10_000, 710)]),
            ("opt", &[(1_000, 400), (2_000, 700), (3_000, 705), (10_000, 710)]),
        ]);
        let advice = Advice::of(&curves, Weight::Count, None).unwrap();
        assert_eq!(advice.point.contender.to_string(), "sieve");
        assert_eq!((advice.point.capacity, advice.has_knee), (2_000, true));
        assert_eq!(advice.optimum, Some(0.7));
        let (last, next) = (advice.last.unwrap(), advice.next.unwrap());
        assert_eq!((last.step, next.step), (1_000, 1_000));
        assert!((last.gain - 0.4).abs() < 1e-9 && (next.gain - 0.05).abs() < 1e-9);
        let text = advice.to_string();
        assert!(text.starts_with("Take sieve with room for 2000 values: 60.0 %"), "{text}");
        assert!(text.contains("10.0 points away"), "{text}");
    }

    #[test]
    fn what_the_present_setting_gives_up_is_told() {
        let all = curves(&[("lru", &[(10, 500)]), ("sieve", &[(10, 600)])]);
        let now = curves(&[("lru", &[(5, 200)]), ("sieve", &[(5, 600)])]);
        let of = |name: &str| {
            let current = Some((name.parse().unwrap(), &now));
            Advice::of(&all, Weight::Count, current).unwrap().to_string()
        };
        let text = of("lru");
        assert!(text.contains("gives up 40.0 points against sieve"), "{text}");
        assert!(text.contains("50.0 % of its misses"), "{text}");
        assert!(of("sieve").contains("no policy has more at this size"));
    }

    #[test]
    fn one_size_has_no_knee_and_the_optimum_alone_no_advice() {
        let one = Advice::of(&curves(&[("lru", &[(10, 500)])]), Weight::Count, None).unwrap();
        assert!(!one.has_knee && one.next.is_none() && one.last.is_none());
        assert_eq!(Advice::of(&curves(&[("opt", &[(10, 500)])]), Weight::Count, None), None);
        let all = Curves { keys_total: 10.0, ..curves(&[("lru", &[(10, 500)])]) };
        let told = Advice::of(&all, Weight::Count, None).unwrap().to_string();
        assert!(told.contains("Everything fits"), "{told}");
        // Nothing that grows has no knee.
        let flat = curves(&[("lru", &[(10, 500), (20, 500), (30, 500)])]);
        assert!(!Advice::of(&flat, Weight::Count, None).unwrap().has_knee);
    }
}
