//! One private server: a directory, a port, a process, and the end of all three.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::ControlFlow;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result, anyhow, bail};
use tempfile::TempDir;

use super::process::{Account, poll};
use super::records::{self, DIRECTORY_PREFIX, Record};
use super::{Kind, postgres, redis};

/// A server's program on this machine.
#[derive(Debug, Clone)]
pub(crate) struct Installation {
    pub(crate) program: PathBuf,
    pub(crate) version: String,
}

/// How to start a server, and where it is reached then.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) command: Command,
    pub(crate) url: String,
}

/// How long a server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// It ends with the command that started it.
    Command,
    /// It runs until `services down`.
    UntilDown,
}

/// A running private server, stopped when dropped unless it was told to [`Server::keep_running`].
#[derive(Debug)]
pub(crate) struct Server {
    record: Record,
    child: Child,
    stop_on_drop: bool,
}

impl Server {
    /// Starts a server on a free port and waits until it answers.
    ///
    /// # Errors
    ///
    /// It ended, or did not answer in time: the error has the end of its log.
    pub(crate) fn start(
        kind: Kind,
        installation: &Installation,
        lifetime: Lifetime,
    ) -> Result<Self> {
        // Between our look for a free port and the server's bind, another process may take it.
        let mut attempts_left = 3;
        loop {
            attempts_left -= 1;
            match Self::try_start(kind, installation, lifetime) {
                Err(error) if attempts_left > 0 && error.to_string().contains("in use") => {}
                outcome => return outcome,
            }
        }
    }

    /// Lets the server run on after this process, until `services down`.
    pub(crate) fn keep_running(mut self) -> Result<Record> {
        let kept = records::release(&self.record)?;
        self.stop_on_drop = false;
        Ok(kept)
    }

    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    fn try_start(kind: Kind, installation: &Installation, lifetime: Lifetime) -> Result<Self> {
        let (directory, account) = private_directory()?;
        let port = free_port()?;
        let Launch { mut command, url } = match kind {
            Kind::Redis => redis::launch(installation, directory.path(), port),
            Kind::Postgres => postgres::launch(installation, directory.path(), port, account)?,
        };
        if lifetime == Lifetime::UntilDown {
            // A group of its own: Ctrl-C in this terminal is not meant for it.
            command.process_group(0);
        }
        let log = File::create(directory.path().join("server.log"))?;
        let child = as_account(&mut command, account, directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", installation.program.display()))?;
        let record = Record {
            kind,
            version: installation.version.clone(),
            pid: child.id(),
            port,
            url,
            // From here on the record answers for the directory.
            directory: directory.keep(),
            owner: Some(process::id()),
        };
        let mut server = Self { record, child, stop_on_drop: true };
        records::add(server.record.clone())?;
        server.wait_until_it_answers()?;
        Ok(server)
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let (kind, port) = (self.record.kind, self.record.port);
        let answered = poll(Duration::from_secs(60), || match self.child.try_wait() {
            Ok(Some(status)) => ControlFlow::Break(Err(anyhow!("it ended ({status})"))),
            Err(error) => ControlFlow::Break(Err(error.into())),
            Ok(None) if kind.answers(port) => ControlFlow::Break(Ok(())),
            Ok(None) => ControlFlow::Continue(()),
        });
        match answered {
            Some(Ok(())) => Ok(()),
            Some(Err(reason)) => bail!("{kind} did not start: {reason}{}", self.end_of_log()),
            None => bail!("{kind} did not answer within 60 s{}", self.end_of_log()),
        }
    }

    /// A child that ended keeps its pid until it is waited for: no other process can have it yet
    /// when the record sends its signal.
    fn stop(&mut self) -> Result<()> {
        self.record.stop()?;
        if self.child.try_wait()?.is_none() {
            self.child.kill()?;
            self.child.wait()?;
        }
        records::remove(&self.record)
    }

    fn end_of_log(&self) -> String {
        let log = fs::read_to_string(self.record.directory.join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(10)..];
        last.iter().fold(String::from("; its log ends:"), |text, line| format!("{text}\n  {line}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.stop_on_drop {
            return;
        }
        if let Err(error) = self.stop() {
            eprintln!("warning: cannot clean up after {}: {error:#}", self.record);
        }
    }
}

/// A directory for a server's files, and the account that it belongs to, unless that is ours.
pub(super) fn private_directory() -> Result<(TempDir, Option<Account>)> {
    let account = Account::unprivileged()?;
    let directory = tempfile::Builder::new()
        .prefix(DIRECTORY_PREFIX)
        .tempdir()
        .with_context(|| format!("cannot make a directory in {}", env::temp_dir().display()))?;
    if let Some(account) = account {
        hand_over(directory.path(), account)?;
    }
    Ok((directory, account))
}

/// Makes a directory the account's own.
fn hand_over(directory: &Path, account: Account) -> Result<()> {
    chown(directory, Some(account.uid), Some(account.gid))
        .with_context(|| format!("cannot give {} to another user", directory.display()))?;
    let mut probe = Command::new("sh");
    probe.args(["-c", "true"]);
    match as_account(&mut probe, Some(account), directory).status() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => bail!(
            "the user `{}`, which servers run as instead of root, cannot enter {}: set TMPDIR to \
             a directory that everybody may enter",
            account.name,
            directory.display()
        ),
        outcome => outcome.map(drop).context("cannot start sh"),
    }
}

/// Has a command run as this account and in this directory.
pub(crate) fn as_account<'a>(
    command: &'a mut Command,
    account: Option<Account>,
    directory: &Path,
) -> &'a mut Command {
    if let Some(Account { uid, gid, .. }) = account {
        // The standard library gives up root's other groups with its uid.
        command.uid(uid).gid(gid);
    }
    // Root's own working directory may be closed to that account.
    command.current_dir(directory)
}

fn free_port() -> Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot bind to loopback")?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_private_server_answers_and_leaves_nothing_behind() {
        for kind in Kind::ALL {
            let Some(installation) = kind.find() else {
                eprintln!("left out: a private {kind} (it is not installed)");
                continue;
            };
            let server = Server::start(kind, &installation, Lifetime::Command).unwrap();
            let record = server.record().clone();
            assert!(record.is_running() && kind.answers(record.port), "{record}");
            drop(server);
            assert!(!record.is_running() && !kind.answers(record.port), "{record}");
            assert!(!record.directory.exists(), "{record}");
        }
    }

    #[test]
    fn a_server_that_does_not_start_says_what_its_log_says() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("redis-server");
        fs::write(&program, "#!/bin/sh\necho the reason; exit 1\n").unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let installation = Installation { program, version: "0".to_owned() };
        let error = Server::start(Kind::Redis, &installation, Lifetime::Command).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("Redis did not start") && text.contains("the reason"), "{text}");
    }
}
