//! The source of truth: versioned rows, a replica that is behind, and loads that take time.

use std::fmt;

use parking_lot::Mutex;
use rand::{Rng, rngs::SmallRng};

use crate::{
    moment::millis,
    oracle::{LoadId, OperationId},
    process::Life,
};

/// A value of the source: no two writes are of the same one, so that a read says which it saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(pub u64);

impl Value {
    /// The value of `key` as of `version`.
    #[must_use]
    pub const fn new(key: u32, version: u32) -> Self {
        Self((key as u64) << 32 | version as u64)
    }

    /// Whose value it is.
    #[must_use]
    pub const fn key(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Of which version.
    #[must_use]
    pub const fn version(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{}=v{}", self.key(), self.version())
    }
}

/// Answers loads, late or not at all. What its rows are is in the
/// [`Oracle`](crate::oracle::Oracle).
#[derive(Debug)]
pub struct Source {
    rng: Mutex<SmallRng>,
    down: Mutex<bool>,
}

/// What becomes of one load.
enum Fate {
    Answered,
    Failed,
    Hung,
}

impl Source {
    /// A source whose faults `rng` draws.
    #[must_use]
    pub fn new(rng: SmallRng) -> Self {
        Self { rng: Mutex::new(rng), down: Mutex::new(false) }
    }

    /// Whether it fails every load from now on.
    pub fn set_down(&self, down: bool) {
        *self.down.lock() = down;
    }

    /// Loads `keys` for `operation` of the process `life`.
    ///
    /// # Errors
    ///
    /// When the source fails.
    pub async fn load(
        &self,
        life: &Life,
        operation: OperationId,
        keys: &[u32],
    ) -> Result<Vec<Value>, String> {
        let world = life.world();
        let load = Loading::begin(life, operation, keys);
        let (fate, before, after, lag) = self.draw(life);
        match fate {
            Fate::Hung => {
                world.count_fault("loads that hang");
                return std::future::pending().await;
            }
            Fate::Failed => {
                world.count_fault("loads that fail");
                tokio::time::sleep(millis(before)).await;
                life.sends().await;
                return Err("the source failed".to_owned());
            }
            Fate::Answered => tokio::time::sleep(millis(before)).await,
        }
        let values = world.oracle(|oracle| {
            let seen = keys.iter().map(|&key| oracle.row(key, lag));
            seen.collect::<Vec<_>>()
        });
        tokio::time::sleep(millis(after)).await;
        life.sends().await;
        life.alive().await;
        load.end(&values);
        Ok(values)
    }

    fn draw(&self, life: &Life) -> (Fate, u64, u64, u64) {
        let plan = life.world().plan();
        let mut rng = self.rng.lock();
        let fate = if life.world().is_calm() {
            Fate::Answered
        } else if *self.down.lock() || rng.random_ratio(plan.source.failing, 1_000) {
            Fate::Failed
        } else if rng.random_ratio(plan.source.hanging, 1_000) {
            Fate::Hung
        } else {
            Fate::Answered
        };
        let before = rng.random_range(0..=plan.load_ms);
        let after = rng.random_range(0..=plan.load_ms);
        let lag = if plan.lag_ms > 0 { rng.random_range(0..=plan.lag_ms) } else { 0 };
        (fate, before, after, lag)
    }
}

/// A load under way. Dropped, it has failed: its time was up.
struct Loading<'a> {
    life: &'a Life,
    id: Option<LoadId>,
}

impl<'a> Loading<'a> {
    fn begin(life: &'a Life, operation: OperationId, keys: &[u32]) -> Self {
        let begun =
            life.world().oracle(|oracle| oracle.load_begins(life.process(), operation, keys));
        life.tell(|| format!("  load of {keys:?} begins"));
        match begun {
            Ok(id) => Self { life, id: Some(id) },
            Err(wrong) => {
                life.world().fail(wrong);
                Self { life, id: None }
            }
        }
    }

    fn end(mut self, values: &[Value]) {
        self.life.tell(|| {
            let values: Vec<String> = values.iter().map(Value::to_string).collect();
            format!("  load brings {}", values.join(", "))
        });
        if let Some(id) = self.id.take() {
            self.life.world().oracle(|oracle| oracle.load_ends(id, values));
        }
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.life.tell(|| "  load fails".to_owned());
            self.life.world().oracle(|oracle| oracle.load_fails(id));
        }
    }
}
