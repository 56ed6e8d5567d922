//! The operator's command line of a tiered cache.

mod args;
mod commands;
mod config;
mod exit;
mod keys;
mod output;
mod paths;
mod progress;
mod signals;
mod wiring;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::{args::Cli, exit::Exit};

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(cli.verbose);
    // Dropping the runtime at the end waits for no call to a server that hangs.
    let exit = match tokio::runtime::Runtime::new().context("could not start the runtime") {
        Ok(runtime) => {
            let exit = runtime.block_on(commands::run(cli)).unwrap_or_else(|error| report(&error));
            runtime.shutdown_background();
            exit
        }
        Err(error) => report(&error),
    };
    exit.into()
}

/// Tells what went wrong, if anything did.
fn report(error: &anyhow::Error) -> Exit {
    let exit = Exit::of(error);
    if exit != Exit::Done {
        // A cache error says all that there is to say; what is below it repeats that in the words
        // of a library.
        let mut causes = Vec::new();
        for cause in error.chain() {
            causes.push(cause.to_string());
            if cause.is::<cache_core::Error>() {
                break;
            }
        }
        output::note(format_args!("error: {}", causes.join(": ")));
    }
    exit
}

/// Logs to standard error: warnings, more with each `-v`, or what `RUST_LOG` says.
fn start_log(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    // Only what is ours: the libraries below log addresses and statements.
    let level = ["warn", "info", "debug"][usize::from(verbose.min(2))];
    let own = ["cache_cli", "cache_core", "cache_postgres", "cache_redis", "cache_sqlite"];
    let own: Vec<String> = own.iter().map(|name| format!("{name}={level}")).collect();
    let default = format!("error,cache_warmer={level},{}", own.join(","));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .log_internal_errors(false);
    // Fails only when a log was started already, which nothing here does.
    let _ = log.try_init();
}
