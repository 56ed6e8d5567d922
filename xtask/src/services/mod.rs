//! Redis and PostgreSQL for a command: those that are there already, else private ones.
//!
//! A private server listens on 127.0.0.1 only, on a free port, keeps its files in a temporary
//! directory and runs without root's rights.

pub(crate) mod commands;
mod install;
mod postgres;
mod process;
mod records;
mod redis;
mod server;

use std::path::PathBuf;
use std::process::Command;
use std::{env, fmt};

use anyhow::{Result, anyhow, bail};
use serde::{Deserialize, Serialize};

pub(crate) use self::install::Install;
pub(crate) use self::postgres::Cluster;
use self::process::Signal;
pub(crate) use self::process::poll;
use self::records::Record;
use self::server::{Installation, Lifetime, Server};

/// The servers that this workspace knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Redis,
    Postgres,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Redis, Self::Postgres];

    /// The environment variable that has the server's URL.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::Redis => "REDIS_URL",
            Self::Postgres => "DATABASE_URL",
        }
    }

    /// Whether the environment names a server that is to be used.
    fn is_given(self) -> bool {
        env::var_os(self.variable()).is_some_and(|url| !url.is_empty())
    }

    fn find(self) -> Option<Installation> {
        match self {
            Self::Redis => redis::find(),
            Self::Postgres => postgres::find(),
        }
    }

    /// A program that comes with the server: beside it, else on `PATH`.
    pub(crate) fn tool(self, name: &str) -> Option<PathBuf> {
        let beside = self.find().map(|server| server.program.with_file_name(name));
        beside.filter(|program| process::is_program(program)).or_else(|| process::on_path(name))
    }

    fn answers(self, port: u16) -> bool {
        match self {
            Self::Redis => redis::answers(port),
            Self::Postgres => postgres::answers(port),
        }
    }

    fn stop_signal(self) -> Signal {
        match self {
            Self::Redis => Signal::Terminate,
            Self::Postgres => Signal::Interrupt,
        }
    }

    /// What is missing and the three ways to change that.
    fn not_found(self) -> String {
        let (programs, package) = match self {
            Self::Redis => ("redis-server was not found on PATH", "redis-server"),
            Self::Postgres => (
                "postgres and initdb were not found on PATH or where packages put them",
                "postgresql",
            ),
        };
        format!(
            "{programs}; install it (Debian: apt-get install {package}), or run with --install, \
             or set {}",
            self.variable()
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "Redis",
            Self::Postgres => "PostgreSQL",
        })
    }
}

/// The servers of one command. Dropping it stops those, and only those, that it started.
#[derive(Debug)]
pub(crate) struct Services {
    present: Vec<Service>,
    missing: Vec<(Kind, String)>,
}

/// A server that a command may use.
#[derive(Debug)]
struct Service {
    kind: Kind,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    /// The environment names it; nothing else is known of it, and its URL may have a password.
    Given,
    /// Left running by `services up`.
    Up(Record),
    /// Started for this command.
    Private(Server),
}

impl Services {
    /// Finds or starts each wanted server; what cannot be had is told by [`Services::missing`].
    ///
    /// # Errors
    ///
    /// The records of running servers cannot be read or written.
    pub(crate) fn acquire(install: Install, wanted: &[Kind]) -> Result<Self> {
        let running = records::sweep()?;
        let mut services = Self { present: Vec::new(), missing: Vec::new() };
        for &kind in wanted {
            match find_or_start(kind, install, &running) {
                Ok(service) => {
                    eprintln!("using {service}");
                    services.present.push(service);
                }
                Err(error) => services.missing.push((kind, format!("{error:#}"))),
            }
        }
        Ok(services)
    }

    /// Only the servers that the environment names.
    pub(crate) fn given() -> Self {
        let (given, other): (Vec<Kind>, Vec<Kind>) = Kind::ALL.iter().partition(|k| k.is_given());
        let present = given.into_iter().map(|kind| Service { kind, origin: Origin::Given });
        let missing =
            other.into_iter().map(|kind| (kind, format!("{} is not set", kind.variable())));
        Self { present: present.collect(), missing: missing.collect() }
    }

    /// No server at all, for this reason.
    pub(crate) fn none(reason: &str) -> Self {
        let missing = Kind::ALL.map(|kind| (kind, reason.to_owned())).to_vec();
        Self { present: Vec::new(), missing }
    }

    /// Tells a child where the servers are, and of no other server.
    pub(crate) fn configure(&self, command: &mut Command) {
        for kind in Kind::ALL {
            match self.service(kind).map(|service| service.origin.record()) {
                // It inherits the variable.
                Some(None) => {}
                Some(Some(record)) => drop(command.env(kind.variable(), &record.url)),
                None => drop(command.env_remove(kind.variable())),
            }
        }
    }

    /// What was wanted and cannot be had, with the reason.
    pub(crate) fn missing(&self) -> &[(Kind, String)] {
        &self.missing
    }

    /// # Errors
    ///
    /// Something that was wanted is missing.
    pub(crate) fn require_all(&self) -> Result<()> {
        match self.missing.first() {
            Some((kind, reason)) => bail!("{kind} is missing: {reason}"),
            None => Ok(()),
        }
    }

    /// One line a server.
    pub(crate) fn describe(&self) -> Vec<String> {
        self.present.iter().map(ToString::to_string).collect()
    }

    /// The version of the server in use, where one is and it is known.
    pub(crate) fn version(&self, kind: Kind) -> Option<String> {
        Some(self.service(kind)?.origin.record()?.version.clone())
    }

    fn service(&self, kind: Kind) -> Option<&Service> {
        self.present.iter().find(|service| service.kind == kind)
    }
}

impl Origin {
    fn record(&self) -> Option<&Record> {
        match self {
            Self::Given => None,
            Self::Up(record) => Some(record),
            Self::Private(server) => Some(server.record()),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind;
        match &self.origin {
            Origin::Given => write!(f, "the {kind} that {} names", kind.variable()),
            Origin::Up(record) => write!(f, "{record}, which `services up` started"),
            Origin::Private(server) => write!(f, "{}, started for this run", server.record()),
        }
    }
}

fn find_or_start(kind: Kind, install: Install, running: &[Record]) -> Result<Service> {
    let origin = if kind.is_given() {
        Origin::Given
    } else if let Some(record) = up(kind, running) {
        Origin::Up(record.clone())
    } else {
        Origin::Private(start(kind, install, Lifetime::Command)?)
    };
    Ok(Service { kind, origin })
}

/// The server of this kind that `services up` left running.
fn up(kind: Kind, running: &[Record]) -> Option<&Record> {
    running.iter().find(|record| record.kind == kind && record.owner.is_none())
}

fn start(kind: Kind, install: Install, lifetime: Lifetime) -> Result<Server> {
    Server::start(kind, &find_or_install(kind, install)?, lifetime)
}

/// The server's program.
///
/// # Errors
///
/// It is not installed, and could or should not be.
pub(crate) fn find_or_install(kind: Kind, install: Install) -> Result<Installation> {
    let mut installation = kind.find();
    if installation.is_none() && install == Install::Missing {
        install::install(kind)?;
        installation = kind.find();
    }
    installation.ok_or_else(|| anyhow!(kind.not_found()))
}
