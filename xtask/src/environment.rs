//! What a measurement was made on: a figure without it means nothing a year later.

use std::process::Command;
use std::{fs, thread};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::services::{Kind, Services};
use crate::workspace;

/// The variable in which the benchmarks and the load generator find the [`Environment`] as JSON.
pub(crate) const VARIABLE: &str = "CACHE_ENVIRONMENT_JSON";

/// The machine, the compiler, the commit and the servers of a run.
///
/// What this machine does not tell is `null`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Environment {
    /// RFC 3339, UTC.
    date: Option<String>,
    cpu: Option<String>,
    cores: Option<usize>,
    kernel: Option<String>,
    rustc: Option<String>,
    commit: Option<String>,
    /// Whether files differed from the commit.
    dirty: Option<bool>,
    redis: Option<String>,
    postgres: Option<String>,
}

impl Environment {
    /// Asks the machine, and `services` for the servers that take part.
    pub(crate) fn collect(services: &Services) -> Self {
        Self::of(services.version(Kind::Redis), services.version(Kind::Postgres))
    }

    /// Asks the machine, for a run with servers of these versions.
    pub(crate) fn of(redis: Option<String>, postgres: Option<String>) -> Self {
        Self {
            date: ask("date", &["-u", "+%FT%TZ"]),
            cpu: cpu(),
            cores: thread::available_parallelism().ok().map(Into::into),
            kernel: ask("uname", &["-sr"]),
            rustc: ask("rustc", &["--version"]),
            commit: ask("git", &["rev-parse", "HEAD"]),
            dirty: ask("git", &["status", "--porcelain"]).map(|changes| !changes.is_empty()),
            redis,
            postgres,
        }
    }

    /// In one line, for a document: machine, versions, date and commit, as far as they are known.
    pub(crate) fn describe(&self) -> String {
        let named =
            |name: &str, value: &Option<String>| Some(format!("{name} {}", value.as_ref()?));
        let rustc = self.rustc.as_ref().map(|rustc| without_date(rustc));
        let day = self.date.as_ref().and_then(|date| date.get(..10)).map(str::to_owned);
        let commit = self.commit.as_ref().map(|commit| {
            let and_more = if self.dirty == Some(true) { " and changes" } else { "" };
            format!("commit `{}`{and_more}", commit.get(..10).unwrap_or(commit))
        });
        let parts = [
            self.cpu.clone(),
            self.cores.map(|cores| format!("{cores} cores")),
            self.kernel.clone(),
            rustc,
            named("Redis", &self.redis),
            named("PostgreSQL", &self.postgres),
            day,
            commit,
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Why times of both are not to be compared, where that is so.
    pub(crate) fn differs_from(&self, other: &Self) -> Option<String> {
        let pairs = [
            ("processor", &self.cpu, &other.cpu),
            ("compiler", &self.rustc, &other.rustc),
            ("Redis", &self.redis, &other.redis),
            ("PostgreSQL", &self.postgres, &other.postgres),
        ];
        let cores = (self.cores != other.cores).then(|| "another number of cores".to_owned());
        let differ = pairs.into_iter().filter(|(_, a, b)| a.is_some() && b.is_some() && a != b);
        let names: Vec<String> =
            differ.map(|(name, ..)| format!("another {name}")).chain(cores).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// The value of [`VARIABLE`].
    pub(crate) fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).context("cannot write the environment as JSON")
    }
}

fn cpu() -> Option<String> {
    match fs::read_to_string("/proc/cpuinfo") {
        Ok(text) => model_name(&text),
        Err(_) => ask("sysctl", &["-n", "machdep.cpu.brand_string"]),
    }
}

fn model_name(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// `rustc 1.95.0` of `rustc 1.95.0 (0123abcde 2026-04-14)`.
fn without_date(rustc: &str) -> String {
    rustc.split(" (").next().unwrap_or(rustc).to_owned()
}

fn ask(program: &str, arguments: &[&str]) -> Option<String> {
    workspace::read(Command::new(program).args(arguments).current_dir(workspace::root())).ok()
}

#[cfg(test)]
impl Environment {
    /// One for tests.
    pub(crate) fn example() -> Self {
        let some = |text: &str| Some(text.to_owned());
        Self {
            date: some("2026-12-01T10:11:12Z"),
            cpu: some("A 9000"),
            cores: Some(2),
            kernel: None,
            rustc: some("rustc 1.95.0 (0123abcde 2026-04-14)"),
            commit: some("0123456789abcdef"),
            dirty: Some(false),
            redis: some("7.0.15"),
            postgres: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_told_in_one_line_and_what_differs_in_another() {
        let here = Environment::example();
        let line = "A 9000, 2 cores, rustc 1.95.0, Redis 7.0.15, 2026-12-01, commit `0123456789`";
        assert_eq!(here.describe(), line);
        let other = Environment { cores: Some(8), redis: None, dirty: Some(true), ..here.clone() };
        assert!(other.describe().ends_with("commit `0123456789` and changes"));
        assert_eq!(here.differs_from(&other).as_deref(), Some("another number of cores"));
        assert_eq!(here.differs_from(&here), None);
    }

    #[test]
    fn the_processor_is_the_first_model_name() {
        let text = "processor\t: 0\nmodel name\t: A 9000 @ 3 GHz\nmodel name\t: B\n";
        assert_eq!(model_name(text).as_deref(), Some("A 9000 @ 3 GHz"));
        assert_eq!(model_name("processor\t: 0\n"), None);
    }
}
