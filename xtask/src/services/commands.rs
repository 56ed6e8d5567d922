//! `cargo xtask services up|down|status`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::install::Install;
use super::records::{self, Record};
use super::server::{Lifetime, Server};
use super::{Kind, start, up};
use crate::table;

/// Private Redis and PostgreSQL servers on loopback, from installed binaries.
///
/// A server that REDIS_URL or DATABASE_URL names already is used instead.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  eval \"$(cargo xtask services up)\"    start both and set REDIS_URL and DATABASE_URL
  cargo xtask services status          what runs, and where
  cargo xtask services down            stop them and remove their files";

#[derive(Debug, Subcommand)]
enum Command {
    /// Start what is not running yet and print `export` lines for a shell
    Up {
        /// Install missing servers with the platform's package manager
        #[arg(long)]
        install: bool,
    },
    /// Stop what `up` started and remove its files
    Down,
    /// Say what runs, and where
    Status,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    match arguments.command {
        Command::Up { install } => start_all(Install::from_flag(install)),
        Command::Down => stop_all(),
        Command::Status => print_status(),
    }
}

/// Shell lines go to standard output, words for a person to standard error.
fn start_all(install: Install) -> Result<ExitCode> {
    let running = records::sweep()?;
    let mut exit = ExitCode::SUCCESS;
    for kind in Kind::ALL {
        if kind.is_given() {
            eprintln!("{} is set: that server is used, none is started", kind.variable());
            continue;
        }
        let record = match up(kind, &running) {
            Some(record) => Ok(record.clone()),
            None => start(kind, install, Lifetime::UntilDown).and_then(Server::keep_running),
        };
        match record {
            Ok(record) => {
                eprintln!("{record} is up");
                println!("export {}={}", kind.variable(), record.url);
            }
            // The other server may still be had.
            Err(error) => {
                eprintln!("error: {error:#}");
                exit = ExitCode::FAILURE;
            }
        }
    }
    Ok(exit)
}

/// Servers of another command that is still running are left to it.
fn stop_all() -> Result<ExitCode> {
    let ours: Vec<Record> =
        records::sweep()?.into_iter().filter(|record| record.owner.is_none()).collect();
    if ours.is_empty() {
        eprintln!("nothing is up");
    }
    for record in ours {
        record.stop()?;
        records::remove(&record)?;
        eprintln!("stopped {record}");
    }
    Ok(ExitCode::SUCCESS)
}

fn print_status() -> Result<ExitCode> {
    let running = records::sweep()?;
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_given()) {
        println!("{} is set: that {kind} is used", kind.variable());
    }
    if running.is_empty() {
        println!("no private server is running");
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = running.iter().map(row).collect();
    print!("{}", table::render(&["server", "pid", "answers", "until", "url", "directory"], &rows));
    Ok(ExitCode::SUCCESS)
}

fn row(record: &Record) -> Vec<String> {
    let answers = if record.kind.answers(record.port) { "yes" } else { "no" };
    let until = match record.owner {
        Some(owner) => format!("process {owner} ends"),
        None => "services down".to_owned(),
    };
    vec![
        format!("{} {}", record.kind, record.version),
        record.pid.to_string(),
        answers.to_owned(),
        until,
        record.url.clone(),
        record.directory.display().to_string(),
    ]
}
