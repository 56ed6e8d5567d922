//! What a measurement was made on: a figure without it means nothing a year later.

use std::process::Command;
use std::{fs, thread};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::services::{Kind, Services};
use crate::workspace;

/// The variable in which the benchmarks and the load generator find the [`Environment`] as JSON.
pub(crate) const VARIABLE: &str = "CACHE_ENVIRONMENT_JSON";

/// The machine, the compiler, the commit and the servers of a run.
///
/// What this machine does not tell is `null`.
#[derive(Debug, Clone, Serialize)]
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

fn ask(program: &str, arguments: &[&str]) -> Option<String> {
    workspace::read(Command::new(program).args(arguments).current_dir(workspace::root())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_the_first_model_name() {
        let text = "processor\t: 0\nmodel name\t: A 9000 @ 3 GHz\nmodel name\t: B\n";
        assert_eq!(model_name(text).as_deref(), Some("A 9000 @ 3 GHz"));
        assert_eq!(model_name("processor\t: 0\n"), None);
    }
}
