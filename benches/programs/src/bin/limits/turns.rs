//! Subjects that take turns, and the rows that come of them.

use std::{collections::BTreeMap, pin::Pin, time::Duration};

use anyhow::{Context, Result};
use cache_benches::comparison::{Bound, Row};

use crate::Setting;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Turns of each subject.
    pub(crate) repeats: usize,
    /// How long a turn lasts.
    pub(crate) turn: Duration,
}

/// What one turn came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Operations a second, of all callers together.
    pub(crate) per_s: f64,
    /// How long an operation took, in microseconds, that 99 in 100 were faster than; nothing where
    /// operations were not timed one by one.
    pub(crate) p99_us: f64,
    /// What the caller that was served least had of an even share.
    pub(crate) evenness: f64,
}

/// Which of a turn's figures a row is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Figure {
    PerSecond,
    /// The time of one operation of one caller.
    Nanos,
    Micros,
    /// The time of one of so many parts of an operation.
    MicrosOfEach(u32),
    P99,
    Evenness,
}

impl Figure {
    const fn unit(self) -> &'static str {
        match self {
            Self::PerSecond => "per s",
            Self::Nanos => "ns",
            Self::Micros | Self::MicrosOfEach(_) => "us",
            Self::P99 => "ms",
            Self::Evenness => "of an even share",
        }
    }

    fn of(self, figures: &Figures) -> f64 {
        match self {
            Self::PerSecond => figures.per_s,
            Self::Nanos => 1e9 / figures.per_s,
            Self::Micros => 1e6 / figures.per_s,
            Self::MicrosOfEach(parts) => 1e6 / figures.per_s / f64::from(parts),
            Self::P99 => figures.p99_us / 1e3,
            Self::Evenness => figures.evenness,
        }
    }
}

type Turn<'a> = Pin<Box<dyn Future<Output = Result<Figures>> + 'a>>;
type Subject<'a> = Box<dyn Fn(Duration) -> Turn<'a> + 'a>;

/// Subjects of one question, and the rows that answer it.
pub(crate) struct Question<'a> {
    setting: &'a Setting,
    subjects: Vec<(&'static str, Subject<'a>)>,
    asked: Vec<Wanted>,
}

/// A row that is asked for.
pub(crate) struct Wanted {
    name: String,
    figure: Figure,
    ours: &'static str,
    reference: Option<&'static str>,
    target: Option<(Bound, f64)>,
    note: Option<&'static str>,
}

impl<'a> Question<'a> {
    pub(crate) fn new(setting: &'a Setting) -> Self {
        Self { setting, subjects: Vec::new(), asked: Vec::new() }
    }

    /// Lets `turn` take turns with the others, each of which lasts about as long as it is told.
    pub(crate) fn subject<F: Future<Output = Result<Figures>> + 'a>(
        &mut self,
        name: &'static str,
        turn: impl Fn(Duration) -> F + 'a,
    ) {
        self.subjects.push((name, Box::new(move |lasting| Box::pin(turn(lasting)))));
    }

    /// Asks for a row, unless it is filtered out.
    pub(crate) fn row(&mut self, wanted: Wanted) {
        if wanted.name.contains(&self.setting.filter) {
            self.asked.push(wanted);
        }
    }

    /// Has the subjects that are asked about take turns, and tells what came of it.
    pub(crate) async fn answer(self) -> Result<Vec<Row>> {
        let is_wanted = |name: &str| {
            self.asked.iter().any(|row| row.ours == name || row.reference == Some(name))
        };
        let mut figures: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
        for repeat in 0..self.setting.pace.repeats {
            for (name, turn) in self.subjects.iter().filter(|(name, _)| is_wanted(name)) {
                let measured = turn(self.setting.pace.turn).await;
                let measured = measured.with_context(|| format!("cannot measure {name}"))?;
                eprintln!("{}: {name}: {:.0} per s", repeat + 1, measured.per_s);
                figures.entry(name).or_default().push(measured);
            }
        }
        Ok(self.asked.iter().map(|wanted| wanted.answer(&figures)).collect())
    }
}

impl Wanted {
    /// A figure of the subject `ours`.
    pub(crate) fn new(name: impl Into<String>, figure: Figure, ours: &'static str) -> Self {
        Self { name: name.into(), figure, ours, reference: None, target: None, note: None }
    }

    /// Beside the same figure of this subject.
    pub(crate) fn beside(self, reference: &'static str) -> Self {
        Self { reference: Some(reference), ..self }
    }

    pub(crate) fn at_most(self, target: f64) -> Self {
        Self { target: Some((Bound::AtMost, target)), ..self }
    }

    pub(crate) fn at_least(self, target: f64) -> Self {
        Self { target: Some((Bound::AtLeast, target)), ..self }
    }

    pub(crate) fn noted(self, note: &'static str) -> Self {
        Self { note: Some(note), ..self }
    }

    fn answer(&self, figures: &BTreeMap<&str, Vec<Figures>>) -> Row {
        let of = |subject| -> Vec<f64> {
            figures[subject].iter().map(|turn| self.figure.of(turn)).collect()
        };
        let (name, unit, ours) = (self.name.as_str(), self.figure.unit(), of(self.ours));
        let row = match self.reference {
            Some(reference) => Row::paired(name, unit, &ours, reference, &of(reference)),
            None => Row::alone(name, unit, &ours),
        };
        let row = match self.target {
            Some((Bound::AtMost, target)) => row.at_most(target),
            Some((Bound::AtLeast, target)) => row.at_least(target),
            None => row,
        };
        match self.note {
            Some(note) => row.noted(note),
            None => row,
        }
    }
}
