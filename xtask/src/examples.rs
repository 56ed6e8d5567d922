//! Every example of the workspace, built together and run to its end: part of `cargo xtask ci`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::services::{Install, Kind, Services, poll};
use crate::workspace::{self, cargo};

/// How long an example may run: those that measure something take minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs every example; the ones named after a server with that server.
///
/// Returns what was left out, and why.
///
/// # Errors
///
/// An example does not build, fails, or does not end; a server is missing and `CI` is set.
pub(crate) fn run_all(install: Install) -> Result<Vec<String>> {
    let examples = build()?;
    let wanted: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|kind| examples.iter().any(|example| example.needs.contains(kind)))
        .collect();
    let services = Services::acquire(install, &wanted)?;
    if workspace::in_ci() {
        services.require_all()?;
    }
    let mut left_out = Vec::new();
    for example in &examples {
        let missing = services.missing().iter().find(|(kind, _)| example.needs.contains(kind));
        match missing {
            Some((_, reason)) => left_out.push(format!("example {}: {reason}", example.name)),
            None => run(example, &services)?,
        }
    }
    Ok(left_out)
}

struct Example {
    name: String,
    program: PathBuf,
    needs: Vec<Kind>,
}

/// Builds with the features of `cargo test`, which has therefore compiled everything already.
fn build() -> Result<Vec<Example>> {
    let mut command = cargo("build --workspace --all-features --examples");
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let messages = workspace::read(&mut command)?;
    let mut examples: Vec<Example> = messages.lines().filter_map(parse).collect();
    examples.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(examples)
}

/// The example that a line of cargo's messages tells of, if it does.
fn parse(message: &str) -> Option<Example> {
    #[derive(Deserialize)]
    struct Artifact {
        target: workspace::Target,
        executable: Option<PathBuf>,
    }
    let artifact: Artifact = serde_json::from_str(message).ok()?;
    if !artifact.target.kind.iter().any(|kind| kind == "example") {
        return None;
    }
    let name = artifact.target.name;
    Some(Example { needs: needs(&name), name, program: artifact.executable? })
}

fn needs(name: &str) -> Vec<Kind> {
    [("redis", Kind::Redis), ("postgres", Kind::Postgres)]
        .into_iter()
        .filter(|(word, _)| name.contains(word))
        .map(|(_, kind)| kind)
        .collect()
}

fn run(example: &Example, services: &Services) -> Result<()> {
    println!("\n--- example {}", example.name);
    let mut command = Command::new(&example.program);
    command.current_dir(workspace::root()).stdin(Stdio::null());
    services.configure(&mut command);
    for kind in Kind::ALL.into_iter().filter(|kind| !example.needs.contains(kind)) {
        command.env_remove(kind.variable());
    }
    let status = wait(&mut command, &example.program)?;
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("the example {} failed ({status})", example.name),
        None => bail!("the example {} did not end within {PATIENCE:?}", example.name),
    }
}

/// `None` when the time is over; the process is ended then.
fn wait(command: &mut Command, program: &Path) -> Result<Option<ExitStatus>> {
    let mut child =
        command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
    let ended = poll(PATIENCE, || match child.try_wait() {
        Ok(None) => ControlFlow::Continue(()),
        Ok(Some(status)) => ControlFlow::Break(Ok(status)),
        Err(error) => ControlFlow::Break(Err(error)),
    });
    if ended.is_none() {
        child.kill().context("cannot end an example")?;
        child.wait().context("cannot wait for an example")?;
    }
    ended.transpose().context("cannot wait for an example")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_a_message_with_an_executable() {
        let message = r#"{"reason": "compiler-artifact",
            "target": {"name": "quickstart_redis", "kind": ["example"]},
            "executable": "target/debug/examples/quickstart_redis"}"#;
        let example = parse(message).unwrap();
        assert_eq!(
            (example.name.as_str(), &*example.needs),
            ("quickstart_redis", &[Kind::Redis][..])
        );

        let library = r#"{"target": {"name": "cache_core", "kind": ["lib"]}, "executable": null}"#;
        assert!(parse(library).is_none());
        assert!(parse(r#"{"reason": "build-finished", "success": true}"#).is_none());
    }

    #[test]
    fn an_example_needs_the_servers_in_its_name() {
        assert_eq!(needs("redis_and_postgres"), [Kind::Redis, Kind::Postgres]);
        assert!(needs("quickstart").is_empty());
    }
}
