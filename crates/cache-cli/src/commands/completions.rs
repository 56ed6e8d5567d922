//! `completions`: what makes a shell complete this program's arguments.

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{args::Cli, exit::Exit, output};

/// Print a script that makes a shell complete commands and flags
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "Examples:
  cache-cli completions bash > ~/.local/share/bash-completion/completions/cache-cli
  cache-cli completions fish > ~/.config/fish/completions/cache-cli.fish
  cache-cli completions zsh > ~/.zfunc/_cache-cli"
)]
pub(crate) struct Completions {
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<Exit> {
        // Into memory first: the generator panics where it cannot write.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "cache-cli", &mut script);
        output::write(&script)?;
        Ok(Exit::Done)
    }
}
