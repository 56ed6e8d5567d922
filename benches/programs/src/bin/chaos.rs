//! The cache under real faults: `cargo xtask chaos` builds and runs it. See `cache_benches::chaos`.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use cache_benches::chaos::{Pace, Plan, Programs, drive, node, scenario::Scenario, shows::Show};
use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// A wrong answer.
const WRONG: u8 = 1;
/// It could not be run.
const BROKEN: u8 = 2;

#[derive(Debug, Parser)]
#[command(about = "The cache under real faults")]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Start servers and nodes, inflict faults, judge what was answered
    Drive(Drive),
    /// Be a service under load, as the driver says
    Node {
        /// The settings, as JSON
        settings: String,
    },
    /// Print the names of scenarios and shows
    List,
}

#[derive(Debug, Args)]
struct Drive {
    /// Scenarios and shows; all of them when none is named
    names: Vec<String>,
    /// The program redis-server
    #[arg(long)]
    redis: PathBuf,
    /// The program postgres
    #[arg(long)]
    postgres: PathBuf,
    /// The data directory of a PostgreSQL cluster that is copied for each scenario
    #[arg(long)]
    cluster: PathBuf,
    /// Whom PostgreSQL runs as: user and group
    #[arg(long, num_args = 2, value_names = ["UID", "GID"])]
    account: Option<Vec<u32>>,
    /// Look less long
    #[arg(long)]
    quick: bool,
    /// Where the report goes, as JSON
    #[arg(long)]
    output: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    // A node tells what its cache logs only where somebody asks for it.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let outcome = match Cli::parse().role {
        Role::Drive(arguments) => run(arguments).await,
        Role::Node { settings } => serve(&settings).await,
        Role::List => {
            list();
            Ok(ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("chaos: {error:#}");
        ExitCode::from(BROKEN)
    })
}

async fn serve(settings: &str) -> Result<ExitCode> {
    node::serve(serde_json::from_str(settings)?).await?;
    Ok(ExitCode::SUCCESS)
}

async fn run(arguments: Drive) -> Result<ExitCode> {
    let account = arguments.account.as_deref().and_then(|ids| Some((*ids.first()?, *ids.get(1)?)));
    let Drive { names, redis, postgres, cluster, quick, output, .. } = arguments;
    let pace = if quick { Pace::Quick } else { Pace::Full };
    let programs = Programs { redis, postgres, cluster, account };
    let plan = Plan { programs, names, pace };
    let work = drive(&plan, |line| eprintln!("{line}"));
    let mut report = tokio::select! {
        report = work => report?,
        // Dropping the work ends every process that it has started.
        interrupt = tokio::signal::ctrl_c() => {
            interrupt?;
            anyhow::bail!("interrupted");
        }
    };
    if let Ok(environment) = std::env::var("CACHE_ENVIRONMENT_JSON") {
        report.environment = serde_json::from_str(&environment)?;
    }
    println!("{}", report.text());
    let json = serde_json::to_string_pretty(&report)?;
    fs::write(&output, json + "\n")
        .with_context(|| format!("cannot write {}", output.display()))?;
    println!("Saved to {}", output.display());
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::from(WRONG) })
}

fn list() {
    for scenario in Scenario::ALL {
        println!("{}", scenario.name);
    }
    for show in Show::ALL {
        println!("{}", show.name());
    }
}
