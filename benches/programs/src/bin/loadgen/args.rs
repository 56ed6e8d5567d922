//! The command line, and what it asks for.

use std::{fmt, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use cache_benches::{
    load::Effort,
    loopback,
    scenario::{SCENARIOS, Scenario},
    stacks::{self, Backend, Kind},
    verdict::Speed,
};
use clap::Parser;

/// The longest that one scenario may be measured.
const SECONDS_MAX: f64 = 3_600.0;

/// Below this a figure is for orientation only.
const JUDGED_FROM: Duration = Duration::from_secs(3);

/// Load the cache: the seed system's four scenarios, for every tier alone and for whole stacks
///
/// Without servers: near, sqlite and near+sqlite. With REDIS_URL and DATABASE_URL also redis,
/// postgres and near+redis+postgres. Values are real prices; CACHE_MARKET_DIR names a directory of
/// files SYMBOL.csv to be used instead of the shipped sample.
#[derive(Debug, Parser)]
#[command(name = "loadgen", after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// About a second for each scenario; speed is told, not judged
    #[arg(long, conflicts_with = "seconds")]
    pub(crate) quick: bool,
    /// Measure each scenario for so long
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// Only this scenario; may be repeated
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Only this stack; may be repeated
    #[arg(long, value_name = "NAME")]
    stack: Vec<String>,
    /// Another order of operations
    #[arg(long, default_value_t = 42)]
    pub(crate) seed: u64,
    /// Show scenarios and stacks
    #[arg(long)]
    pub(crate) list: bool,
    /// Show what would be done, and how long it would take
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Load servers that are not on this machine
    #[arg(long)]
    i_own_this_target: bool,
}

const EXAMPLES: &str = "\
Examples:
  loadgen --quick                                  everything, roughly
  loadgen --stack redis --scenario read-1000       one figure
  loadgen --seconds 30 --output figures.json       for longer, and kept

Exit codes: 0 all is well; 1 a verdict failed or an operation was lost; 2 it could not be run;
130 it was interrupted, and what was measured until then is told.";

/// What is going to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) cells: Vec<(Kind, Scenario)>,
    pub(crate) effort: Effort,
    pub(crate) speed: Speed,
    pub(crate) left_out: Vec<LeftOut>,
}

/// A stack that cannot be measured, and what it lacks.
#[derive(Debug)]
pub(crate) struct LeftOut {
    kind: Kind,
    reason: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.kind, self.reason)
    }
}

impl Plan {
    /// The stacks that take part.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = self.cells.iter().map(|(kind, _)| *kind).collect();
        kinds.dedup();
        kinds
    }

    /// How long it takes, when no operation is slower than expected.
    pub(crate) fn planned(&self) -> Duration {
        self.effort.planned() * u32::try_from(self.cells.len()).unwrap_or(u32::MAX)
    }
}

impl Arguments {
    /// Checks what was asked for against what is there.
    pub(crate) fn plan(&self) -> Result<Plan> {
        let scenarios = self.scenarios()?;
        let (kinds, left_out) = self.kinds()?;
        self.check_targets(&kinds)?;
        let effort = self.effort()?;
        let cell = |kind: Kind| scenarios.iter().map(move |scenario| (kind, *scenario));
        let judged = !self.quick && effort.measured >= JUDGED_FROM;
        Ok(Plan {
            cells: kinds.into_iter().flat_map(cell).collect(),
            effort,
            speed: if judged { Speed::Judged } else { Speed::Told },
            left_out,
        })
    }

    fn effort(&self) -> Result<Effort> {
        match self.seconds {
            Some(seconds) => {
                let allowed = seconds > 0.0 && seconds <= SECONDS_MAX;
                ensure!(
                    allowed,
                    "--seconds is {seconds}; choose more than 0, at most {SECONDS_MAX}"
                );
                Ok(Effort::lasting(Duration::from_secs_f64(seconds)))
            }
            None if self.quick => Ok(Effort::QUICK),
            None => Ok(Effort::FULL),
        }
    }

    fn scenarios(&self) -> Result<Vec<Scenario>> {
        let find = |name: &String| {
            let names = SCENARIOS.map(|scenario| scenario.name).join(", ");
            Scenario::named(name)
                .with_context(|| format!("there is no scenario `{name}`; choose one of {names}"))
        };
        let named = self.scenario.iter().map(find).collect::<Result<Vec<_>>>()?;
        let wanted = |scenario: &Scenario| named.is_empty() || named.contains(scenario);
        Ok(SCENARIOS.into_iter().filter(wanted).collect())
    }

    /// The stacks that can be measured, and those that cannot. One that was named must be.
    fn kinds(&self) -> Result<(Vec<Kind>, Vec<LeftOut>)> {
        let named = self.stack.iter().map(|name| name.parse()).collect::<Result<Vec<Kind>>>()?;
        let (mut kinds, mut left_out) = (Vec::new(), Vec::new());
        for kind in Kind::ALL {
            let reason = match kind.missing()[..] {
                [] => None,
                [one] => Some(format!("{one} is not set")),
                ref several => Some(format!("{} are not set", several.join(" and "))),
            };
            match reason {
                _ if !named.is_empty() && !named.contains(&kind) => {}
                None => kinds.push(kind),
                Some(reason) if named.is_empty() => left_out.push(LeftOut { kind, reason }),
                Some(reason) => bail!("the stack `{kind}` cannot be loaded: {reason}"),
            }
        }
        Ok((kinds, left_out))
    }

    fn check_targets(&self, kinds: &[Kind]) -> Result<()> {
        let variables = kinds.iter().flat_map(|kind| kind.backends()).copied();
        for variable in variables.filter_map(Backend::variable) {
            let is_here = stacks::url(variable).is_none_or(|url| loopback::is_loopback(&url));
            ensure!(
                is_here || self.i_own_this_target,
                "{variable} does not clearly name a server on this machine, and a load test may \
                 bring a server down; add --i-own-this-target if it is yours"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Arguments {
        Arguments::try_parse_from(line.split(' ')).unwrap()
    }

    #[test]
    fn a_plan_has_every_named_stack_with_every_named_scenario() {
        let plan = arguments("loadgen --stack near+sqlite --stack near --scenario write-1000");
        let plan = plan.plan().unwrap();
        assert_eq!(plan.kinds(), [Kind::Near, Kind::Embedded]);
        assert_eq!(plan.cells.len(), 2);
        assert_eq!((plan.speed, plan.planned()), (Speed::Judged, Duration::from_secs(12)));
        assert_eq!(arguments("loadgen --stack near --quick").plan().unwrap().speed, Speed::Told);
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        for (line, part) in [
            ("loadgen --scenario read", "choose one of read-1000"),
            ("loadgen --stack disk", "choose one of near"),
            ("loadgen --stack near --seconds 0", "--seconds is 0"),
            ("loadgen --stack near --seconds nan", "--seconds is NaN"),
        ] {
            let error = arguments(line).plan().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(Arguments::try_parse_from(["loadgen", "--quick", "--seconds", "1"]).is_err());
    }
}
