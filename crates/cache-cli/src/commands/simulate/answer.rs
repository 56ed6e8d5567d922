//! What is said of the curves.

use std::fmt;

use cache_core::Eviction;
use cache_trace::{Advice, Contender, Curves, Plan, Point, Trace, Unit, Weight};
use serde::{Serialize, Serializer, ser::SerializeSeq};

use crate::output::{self, Align, Table};

/// The curves as a table with advice, or as JSON.
pub(super) struct Answer {
    pub(super) notes: Vec<String>,
    pub(super) curves: Curves,
    pub(super) weight: Weight,
    pub(super) advice: Option<Advice>,
}

/// Whether somebody has asked for these sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sizes {
    Named,
    Spread,
}

/// What a reader should know of the figures.
pub(super) fn notes(trace: &Trace, plan: &Plan, curves: &Curves, sizes: Sizes) -> Vec<String> {
    let (reads, keys) = (trace.total().round(), trace.keys_total().round());
    let about = if trace.rate() < 1.0 { "about " } else { "" };
    let mut notes = vec![match curves.sample {
        None => format!("{about}{reads} reads of {about}{keys} keys; every read was replayed"),
        Some(sample) => format!(
            "{about}{reads} reads of {about}{keys} keys; the reads of {} of the keys, {:.2} %, were \
             replayed: LRU in that sample is off by {:.2} points at most and {:.2} on average",
            sample.keys,
            sample.rate * 100.0,
            sample.error_max * 100.0,
            sample.error_mean * 100.0,
        ),
    }];
    notes.extend(trace.remarks().iter().cloned());
    let columns = trace.columns();
    let is_asked = |policy| plan.contenders.contains(&Contender::Policy(policy));
    if columns.ttl && !columns.time {
        notes.push("there are times to live, and no times: nothing expires in the replay".into());
    } else if is_asked(Eviction::Ttl) && !columns.ttl {
        notes.push("the trace tells no times to live: `ttl` has only the order of arrival".into());
    }
    // Those that nobody has asked for end where everything fits.
    let asked = curves.points.iter().take(plan.sizes.len()).filter(|_| sizes == Sizes::Named);
    for point in asked {
        let Point { size, capacity, .. } = point;
        if *capacity == 0 {
            notes.push(format!("{size} of {keys} keys is less than one: nothing is kept"));
        } else if curves.holds_all(point) {
            notes.push(format!(
                "{size} has room for everything: each key is missed once, whatever the policy is"
            ));
        }
    }
    notes
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut points = serializer.serialize_seq(Some(self.curves.points.len()))?;
        for Point { contender, size, capacity, tally } in &self.curves.points {
            points.serialize_element(&Row {
                policy: contender.to_string(),
                size: size.to_string(),
                capacity: *capacity,
                requests: tally.requests.of(self.weight),
                hits: tally.hits.of(self.weight),
                hit_ratio: tally.hit_ratio(self.weight),
            })?;
        }
        points.end()
    }
}

#[derive(Serialize)]
struct Row {
    policy: String,
    size: String,
    capacity: u64,
    requests: u64,
    hits: u64,
    hit_ratio: f64,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        let points = &self.curves.points;
        let sizes = points.iter().take_while(|point| point.contender == points[0].contender);
        let sizes = sizes.count().max(1);
        let policies = points.iter().step_by(sizes).map(|point| point.contender.to_string());
        let numbers = policies.map(|policy| (policy, Align::Right));
        let headings = [("size".to_owned(), Align::Right), ("room".to_owned(), Align::Right)];
        let mut table = Table::new(headings.into_iter().chain(numbers));
        for first in 0..sizes.min(points.len()) {
            let point = &points[first];
            let room = match point.size.unit() {
                Unit::Items => point.capacity.to_string(),
                Unit::Bytes => output::size(Some(point.capacity)),
            };
            let ratios = points[first..].iter().step_by(sizes);
            let ratios =
                ratios.map(|point| format!("{:.2} %", point.tally.hit_ratio(self.weight) * 100.0));
            let cells: Vec<String> =
                [point.size.to_string(), room].into_iter().chain(ratios).collect();
            table.row(&cells);
        }
        write!(f, "\n{table}")?;
        if let Some(advice) = &self.advice {
            write!(f, "\n{advice}")?;
        }
        Ok(())
    }
}
