//! Figures, and which of them became worse.

use std::{collections::BTreeMap, fmt};

use cache_core::Table;
use serde::{Deserialize, Serialize};

/// What is counted of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counter {
    /// Requests to the allocator, of the whole process.
    Allocations,
    /// Bytes asked for with them.
    AllocatedBytes,
    /// Commands that Redis gets.
    RedisCommands,
    /// Times that something is sent to Redis after its last answer, each connection by itself.
    RedisRoundTrips,
    /// Statements that PostgreSQL executes.
    PostgresStatements,
    /// As those to Redis.
    PostgresRoundTrips,
    /// Instructions of the processor, by callgrind.
    Instructions,
}

impl Counter {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 7] = [
        Self::Allocations,
        Self::AllocatedBytes,
        Self::RedisCommands,
        Self::RedisRoundTrips,
        Self::PostgresStatements,
        Self::PostgresRoundTrips,
        Self::Instructions,
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::Allocations => "allocations",
            Self::AllocatedBytes => "bytes",
            Self::RedisCommands => "redis commands",
            Self::RedisRoundTrips => "round trips",
            Self::PostgresStatements => "postgres statements",
            Self::PostgresRoundTrips => "round trips",
            Self::Instructions => "instructions",
        }
    }

    /// The most that it may be before it counts as worse than `kept`. Requests are exact. So are
    /// allocations while they are few; where there are many, one more or less is a matter of which
    /// task was first. Bytes follow the layout of futures, which a compiler may change;
    /// instructions follow where the keys of a hash table happen to lie.
    fn most(self, kept: u64) -> u64 {
        let and_more = |share: f64| kept + (kept as f64 * share).ceil() as u64;
        match self {
            Self::Allocations if kept < FEW => kept,
            Self::Allocations => and_more(0.04),
            Self::AllocatedBytes => and_more(0.10),
            Self::Instructions => and_more(0.03),
            _ => kept,
        }
    }

    /// Whether it is the same on every machine and in every build.
    #[must_use]
    pub const fn is_portable(self) -> bool {
        !matches!(self, Self::AllocatedBytes | Self::Instructions)
    }
}

/// Below so many allocations, one more is worse.
const FEW: u64 = 20;

/// One count of one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// What was done, once.
    pub operation: String,
    /// What was counted.
    pub counter: Counter,
    /// How much.
    pub value: u64,
}

/// All figures of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// In the order of the operations.
    pub figures: Vec<Figure>,
}

/// A figure that is above what was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worse {
    /// What it is now.
    pub now: Figure,
    /// What it was.
    pub kept: u64,
}

impl fmt::Display for Worse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { now: Figure { operation, counter, value }, kept } = self;
        write!(f, "{operation}: {} {value}, it was {kept}", counter.title())
    }
}

impl Figures {
    /// One of them.
    #[must_use]
    pub fn get(&self, operation: &str, counter: Counter) -> Option<u64> {
        let is = |figure: &&Figure| figure.operation == operation && figure.counter == counter;
        self.figures.iter().find(is).map(|figure| figure.value)
    }

    /// Those that are the same on every machine.
    #[must_use]
    pub fn portable(&self) -> Self {
        let portable = self.figures.iter().filter(|figure| figure.counter.is_portable());
        Self { figures: portable.cloned().collect() }
    }

    /// What became worse than `kept`. What is in one of them only is not compared.
    #[must_use]
    pub fn worse_than(&self, kept: &Self) -> Vec<Worse> {
        let worse = |figure: &Figure| {
            let kept = kept.get(&figure.operation, figure.counter)?;
            let most = figure.counter.most(kept);
            (figure.value > most).then(|| Worse { now: figure.clone(), kept })
        };
        self.figures.iter().filter_map(worse).collect()
    }

    /// The figures of `kept` that are not among these, by operation.
    #[must_use]
    pub fn left_out(&self, kept: &Self) -> Vec<String> {
        let missing = kept.figures.iter().filter(|f| self.get(&f.operation, f.counter).is_none());
        let mut names: Vec<String> = missing.map(|figure| figure.operation.clone()).collect();
        names.dedup();
        names
    }

    /// A row an operation, a column a counter.
    #[must_use]
    pub fn table(&self) -> String {
        let mut order: Vec<&str> = Vec::new();
        let mut cells: BTreeMap<(&str, Counter), u64> = BTreeMap::new();
        for figure in &self.figures {
            if !order.contains(&figure.operation.as_str()) {
                order.push(&figure.operation);
            }
            cells.insert((&figure.operation, figure.counter), figure.value);
        }
        let [a, b, c, d, e, f, g] = Counter::ALL.map(Counter::title);
        let mut table = Table::new(["operation", a, b, c, d, e, f, g]);
        for operation in order {
            let [a, b, c, d, e, f, g] = Counter::ALL.map(|counter| {
                let value = cells.get(&(operation, counter));
                value.map_or_else(|| "-".to_owned(), u64::to_string)
            });
            table.row([operation.to_owned(), a, b, c, d, e, f, g]);
        }
        table.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(of: &[(&str, Counter, u64)]) -> Figures {
        let figure = |(operation, counter, value): &(&str, Counter, u64)| Figure {
            operation: (*operation).to_owned(),
            counter: *counter,
            value: *value,
        };
        Figures { figures: of.iter().map(figure).collect() }
    }

    #[test]
    fn one_more_is_worse_where_counts_are_exact_and_one_less_is_not() {
        let kept = figures(&[("get", Counter::Allocations, 0), ("put", Counter::RedisCommands, 2)]);
        let now = figures(&[("get", Counter::Allocations, 1), ("put", Counter::RedisCommands, 1)]);
        let worse = now.worse_than(&kept);
        assert_eq!(worse.len(), 1);
        assert_eq!(worse[0].to_string(), "get: allocations 1, it was 0");
        assert!(kept.worse_than(&kept).is_empty());
    }

    #[test]
    fn what_is_not_exact_may_grow_by_a_little() {
        let is_worse = |counter, kept: u64, now: u64| {
            !figures(&[("get", counter, now)])
                .worse_than(&figures(&[("get", counter, kept)]))
                .is_empty()
        };
        assert!(!is_worse(Counter::Instructions, 1_000, 1_030));
        assert!(is_worse(Counter::Instructions, 1_000, 1_031));
        assert!(!is_worse(Counter::Allocations, 100, 104));
        assert!(is_worse(Counter::Allocations, 100, 105));
        assert!(is_worse(Counter::Allocations, 19, 20));
        assert!(is_worse(Counter::PostgresStatements, 100, 101));
    }

    #[test]
    fn what_was_not_counted_this_time_is_named_and_not_judged() {
        let kept = figures(&[("get", Counter::Allocations, 0), ("put", Counter::Allocations, 0)]);
        let now = figures(&[("get", Counter::Allocations, 0), ("new", Counter::Allocations, 9)]);
        assert_eq!(now.left_out(&kept), ["put"]);
        assert!(now.worse_than(&kept).is_empty());
    }

    #[test]
    fn only_what_is_the_same_on_every_machine_is_portable() {
        let all = figures(&[("get", Counter::Allocations, 0), ("get", Counter::Instructions, 9)]);
        assert_eq!(all.portable(), figures(&[("get", Counter::Allocations, 0)]));
        let table = all.table();
        assert_eq!(table.lines().count(), 2, "{table}");
    }
}
