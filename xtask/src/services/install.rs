//! Installing missing servers with the platform's package manager, when asked to.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{Kind, process};

/// What to do about a server that is not installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Install {
    /// Do without it, and say so.
    Never,
    /// Install it.
    Missing,
}

impl Install {
    /// What the flag `--install` says.
    pub(crate) fn from_flag(install: bool) -> Self {
        if install { Self::Missing } else { Self::Never }
    }
}

/// A package manager, and what it calls the servers.
struct Manager {
    program: &'static str,
    refresh: Option<&'static [&'static str]>,
    install: &'static [&'static str],
    /// The first of these that can be installed is enough.
    redis: &'static [&'static str],
    postgres: &'static [&'static str],
    rights: Rights,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rights {
    Root,
    User,
}

const MANAGERS: [Manager; 5] = [
    Manager {
        program: "apt-get",
        refresh: Some(&["update"]),
        install: &["install", "--yes", "--no-install-recommends"],
        redis: &["redis-server"],
        postgres: &["postgresql"],
        rights: Rights::Root,
    },
    Manager {
        program: "dnf",
        refresh: None,
        install: &["install", "--assumeyes"],
        redis: &["redis", "valkey"],
        postgres: &["postgresql-server"],
        rights: Rights::Root,
    },
    Manager {
        program: "pacman",
        refresh: None,
        install: &["-Sy", "--noconfirm", "--needed"],
        redis: &["valkey", "redis"],
        postgres: &["postgresql"],
        rights: Rights::Root,
    },
    Manager {
        program: "apk",
        refresh: None,
        install: &["add", "--no-cache"],
        redis: &["redis", "valkey"],
        postgres: &["postgresql"],
        rights: Rights::Root,
    },
    Manager {
        program: "brew",
        refresh: None,
        install: &["install"],
        redis: &["redis"],
        postgres: &["postgresql@16"],
        rights: Rights::User,
    },
];

/// Installs a server; what the package manager prints goes to our standard error.
///
/// # Errors
///
/// There is no known package manager, it needs rights that we do not have, or it failed.
pub(crate) fn install(kind: Kind) -> Result<()> {
    let found = MANAGERS
        .iter()
        .find_map(|manager| process::on_path(manager.program).map(|program| (manager, program)));
    let Some((manager, program)) = found else {
        let known: Vec<&str> = MANAGERS.iter().map(|manager| manager.program).collect();
        bail!("cannot install {kind}: none of {} is on PATH", known.join(", "));
    };
    if let Some(arguments) = manager.refresh {
        run(manager, &program, arguments)?;
    }
    let packages = match kind {
        Kind::Redis => manager.redis,
        Kind::Postgres => manager.postgres,
    };
    let mut outcome = Ok(());
    for package in packages {
        outcome = run(manager, &program, &[manager.install, &[*package]].concat());
        if outcome.is_ok() {
            break;
        }
    }
    outcome.with_context(|| format!("cannot install {kind}"))
}

fn run(manager: &Manager, program: &Path, arguments: &[&str]) -> Result<()> {
    let line = format!("{} {}", manager.program, arguments.join(" "));
    let mut command = Command::new("env");
    if manager.rights == Rights::Root && !process::is_root()? {
        if process::on_path("sudo").is_none() {
            bail!("`{line}` needs root and there is no sudo: run it as root");
        }
        command = Command::new("sudo");
        // Behind sudo, which does not hand our variables on.
        command.arg("env");
    }
    command.arg("DEBIAN_FRONTEND=noninteractive").arg(program).args(arguments);
    eprintln!("$ {line}");
    let status = command
        .stdout(Stdio::from(io::stderr()))
        .status()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}
