//! The commands, one file each.

mod clear;
mod completions;
mod doctor;
mod get;
mod put;
mod record;
mod remove;
mod simulate;
mod stats;
mod warm;
mod watch;

use anyhow::Result;
use clap::Subcommand;
pub(crate) use warm::{Origin, Preset};

use crate::{
    args::Cli,
    config::{Config, Flags},
    exit::Exit,
    output::Format,
    wiring::Session,
};

/// What can be asked for.
#[derive(Subcommand)]
pub(crate) enum Command {
    Get(get::Get),
    Put(put::Put),
    Remove(remove::Remove),
    Clear(clear::Clear),
    Warm(Box<warm::Warm>),
    Watch(watch::Watch),
    Stats(stats::Stats),
    Simulate(simulate::Simulate),
    Record(record::Record),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
}

/// What every command is given.
#[derive(Debug)]
struct Context {
    flags: Flags,
    format: Format,
}

impl Context {
    fn config(&self) -> Result<Config> {
        Ok(Config::load(&self.flags)?)
    }

    async fn session(&self) -> Result<Session> {
        Ok(Session::open(self.config()?).await?)
    }
}

/// Carries a command out.
///
/// # Errors
///
/// Whatever kept it from being carried out; [`Exit::of`] has the code for it.
pub(crate) async fn run(cli: Cli) -> Result<Exit> {
    let context = Context { flags: cli.settings.into_flags(), format: cli.format };
    match cli.command {
        Command::Get(command) => command.run(&context).await,
        Command::Put(command) => command.run(&context).await,
        Command::Remove(command) => command.run(&context).await,
        Command::Clear(command) => command.run(&context).await,
        Command::Warm(command) => command.run(&context).await,
        Command::Watch(command) => command.run(&context).await,
        Command::Stats(command) => command.run(&context).await,
        Command::Simulate(command) => command.run(&context).await,
        Command::Record(command) => command.run(&context),
        Command::Doctor(command) => command.run(&context).await,
        Command::Completions(command) => command.run(),
    }
}
