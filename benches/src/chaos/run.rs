//! One run: scenario after scenario, each on servers of its own.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use tokio::time::sleep;

use super::{
    fault::{Ending, Field, Ways},
    figures::{Figures, Span, Timeline},
    history::Seen,
    moment::now_us,
    node::Load,
    oracle::judge,
    report::{Outcome, Report, WrongAnswer},
    scenario::{Fault, Scenario},
    servers::{Disk, Programs},
    shows::{self, Show},
};

/// Nodes of a scenario.
const NODES: usize = 3;

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The servers' programs.
    pub programs: Programs,
    /// Scenarios and shows by name; all of them when there is none.
    pub names: Vec<String>,
    /// Whether to be done sooner, with less load before and after a fault.
    pub pace: Pace,
}

/// How long things are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As the published tables are.
    Full,
    /// For a smoke test.
    Quick,
}

impl Pace {
    const fn before(self) -> Duration {
        Duration::from_millis(match self {
            Self::Full => 1_500,
            Self::Quick => 1_000,
        })
    }

    const fn after(self) -> Duration {
        Duration::from_millis(match self {
            Self::Full => 3_000,
            Self::Quick => 1_500,
        })
    }

    /// How long staleness is measured.
    pub(super) const fn minute(self) -> Duration {
        Duration::from_secs(match self {
            Self::Full => 60,
            Self::Quick => 10,
        })
    }
}

/// Runs what is planned, telling of each as it ends.
///
/// # Errors
///
/// A name that is neither a scenario nor a show. What goes wrong within a scenario is told in the
/// report.
///
/// # Cancel safety
///
/// A dropped future ends every process that it started.
pub async fn drive(plan: &Plan, mut tell: impl FnMut(String)) -> Result<Report> {
    let is_known = |name: &String| {
        let mut scenarios = Scenario::ALL.iter().map(|scenario| scenario.name);
        scenarios.any(|known| known == name) || Show::ALL.iter().any(|show| show.name() == name)
    };
    if let Some(unknown) = plan.names.iter().find(|name| !is_known(name)) {
        bail!("there is no scenario `{unknown}`: --list names them");
    }
    let is_wanted = |name: &str| plan.names.is_empty() || plan.names.iter().any(|n| n == name);
    let mut report = Report::default();
    for scenario in Scenario::ALL.iter().filter(|scenario| is_wanted(scenario.name)) {
        let outcome = match obstacle(scenario, &plan.programs) {
            Some(reason) => Outcome::left_out(scenario, reason),
            None => {
                run(scenario, plan).await.unwrap_or_else(|error| Outcome::broken(scenario, &error))
            }
        };
        tell(outcome.line());
        report.outcomes.push(outcome);
    }
    for show in Show::ALL.into_iter().filter(|show| is_wanted(show.name())) {
        let shown = shows::run(show, plan).await;
        tell(format!("{}: {shown:?}", show.name()));
        report.add(show, shown);
    }
    Ok(report)
}

fn obstacle(scenario: &Scenario, programs: &Programs) -> Option<String> {
    disk(scenario.fault).obstacle(programs)
}

const fn disk(fault: Fault) -> Disk {
    match fault {
        Fault::PostgresDiskFull => Disk::Small,
        _ => Disk::Shared,
    }
}

async fn run(scenario: &Scenario, plan: &Plan) -> Result<Outcome> {
    let Scenario { fault, .. } = *scenario;
    let ways = if fault.is_of_the_network() { Ways::Proxied } else { Ways::Direct };
    let mut field = Field::start(&plan.programs, NODES, ways, disk(fault), Load::Mixed)
        .await
        .context("start")?;
    for node in &mut field.nodes {
        node.tell("go").await?;
    }
    sleep(plan.pace.before()).await;
    let before_us = now_us();
    field.prepare(fault).await.context("prepare")?;
    sleep(plan.pace.before()).await;

    let begin_us = now_us();
    field.inflict(fault).await.context("inflict")?;
    sleep(scenario.lasts()).await;
    // A server that is started again is back when it answers, not when it is told to start.
    field.lift(fault).await.context("lift")?;
    let end_us = now_us();
    sleep(plan.pace.after()).await;

    let Ending { history, writes, loads, counts } = field.end().await.context("end")?;
    ensure!(!history.is_empty(), "no node did anything");
    let timeline = Timeline {
        before: Span { begin_us: before_us, end_us: begin_us },
        fault: Span { begin_us, end_us },
    };
    Ok(Outcome {
        name: scenario.name.to_owned(),
        left_out: None,
        broken: None,
        figures: Figures::of(&history, scenario, timeline, NODES),
        wrong: judge(&history, &writes, scenario.bounds())
            .iter()
            .map(|wrong| WrongAnswer::of(wrong, timeline))
            .collect(),
        loads: loads.values().map(Vec::len).sum(),
        counts,
        errors: errors(&history),
    })
}

/// What callers were told, the most frequent first.
fn errors(history: &[Seen]) -> Vec<(String, usize)> {
    const KINDS_MAX: usize = 5;
    let mut errors: HashMap<String, usize> = HashMap::new();
    for Seen { record, .. } in history {
        if let Some(error) = &record.error {
            // Without the key that it names.
            let text = error.replace(&record.key, "KEY");
            *errors.entry(format!("{:?}: {text}", record.act)).or_default() += 1;
        }
    }
    let mut errors: Vec<(String, usize)> = errors.into_iter().collect();
    errors.sort_by_key(|(text, count)| (std::cmp::Reverse(*count), text.clone()));
    errors.truncate(KINDS_MAX);
    errors
}
