//! Which private servers run: `target/xtask/services.json`.
//!
//! A server is recorded before it answers and forgotten after it ended, so that whatever ends
//! xtask in between, the next command finds what was left and cleans it away.

use std::fmt;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::Kind;
use super::process::{Signal, is_marked, poll, signal};
use crate::workspace;

/// How the name of every directory begins that is ours to remove.
pub(crate) const DIRECTORY_PREFIX: &str = "cache-xtask-";

/// A private server, as `services.json` keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) port: u16,
    pub(crate) url: String,
    pub(crate) directory: PathBuf,
    /// The pid of the xtask that is responsible for it; `None` runs until `services down`.
    pub(crate) owner: Option<u32>,
}

impl Record {
    /// Whether its pid is still the server that was started.
    pub(crate) fn is_running(&self) -> bool {
        // Redis writes its address over its command line.
        let marks = [&*self.directory.to_string_lossy(), &format!("127.0.0.1:{}", self.port)];
        is_marked(self.pid, &marks)
    }

    /// Ends the server if it still runs, and removes its directory.
    ///
    /// # Errors
    ///
    /// It cannot be signalled, does not end within 30 s, or its directory cannot be removed.
    pub(crate) fn stop(&self) -> Result<()> {
        if self.is_running() {
            signal(self.pid, self.kind.stop_signal())?;
            if !self.ends_within(Duration::from_secs(20)) {
                signal(self.pid, Signal::Kill)?;
                if !self.ends_within(Duration::from_secs(10)) {
                    bail!("{self} does not end");
                }
            }
        }
        self.remove_directory()
    }

    /// Whether nobody will clean up after it: its owner is gone, or it is.
    fn is_abandoned(&self) -> bool {
        match self.owner {
            Some(owner) => !is_marked(owner, &["xtask"]),
            None => !self.is_running(),
        }
    }

    fn ends_within(&self, patience: Duration) -> bool {
        let probe = || match self.is_running() {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        };
        poll(patience, probe).is_some()
    }

    fn remove_directory(&self) -> Result<()> {
        let name = self.directory.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(DIRECTORY_PREFIX) {
            bail!("services.json names {}, which is not ours", self.directory.display());
        }
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.directory.display()))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (127.0.0.1:{}, process {})", self.kind, self.version, self.port, self.pid)
    }
}

/// Remembers a server.
pub(crate) fn add(record: Record) -> Result<()> {
    update(|records| {
        records.push(record);
        Ok(())
    })
}

/// Remembers a server as one that runs until `services down`.
pub(crate) fn release(record: &Record) -> Result<Record> {
    let kept = Record { owner: None, ..record.clone() };
    update(|records| {
        records.retain(|other| other != record);
        records.push(kept.clone());
        Ok(kept)
    })
}

/// Forgets a server.
pub(crate) fn remove(record: &Record) -> Result<()> {
    update(|records| {
        records.retain(|other| other != record);
        Ok(())
    })
}

/// Every server that runs, after what was left by a command that ended early is cleaned away.
pub(crate) fn sweep() -> Result<Vec<Record>> {
    update(|records| {
        let mut kept = Vec::new();
        for record in records.drain(..) {
            if record.is_abandoned() {
                eprintln!("cleaning up after {record}");
                record.stop()?;
            } else {
                kept.push(record);
            }
        }
        records.clone_from(&kept);
        Ok(kept)
    })
}

/// Reads, changes and writes the records while no other xtask does.
fn update<T>(change: impl FnOnce(&mut Vec<Record>) -> Result<T>) -> Result<T> {
    let path = workspace::output("services.json")?;
    let lock = File::create(path.with_extension("lock")).context("cannot make a lock file")?;
    lock.lock().context("cannot lock services.lock")?;
    let mut records = read(&path)?;
    let outcome = change(&mut records)?;
    let json = serde_json::to_string_pretty(&records).context("cannot write services.json")?;
    // A reader without the lock sees the old file or the new one, never a half.
    let draft = path.with_extension("json.new");
    fs::write(&draft, json).with_context(|| format!("cannot write {}", draft.display()))?;
    fs::rename(&draft, &path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(outcome)
}

fn read(path: &PathBuf) -> Result<Vec<Record>> {
    let json = match fs::read_to_string(path) {
        Ok(json) => json,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    serde_json::from_str(&json).with_context(|| {
        format!(
            "{} is damaged: stop the servers whose pids it names, then remove it",
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn record(pid: u32, directory: PathBuf) -> Record {
        let (kind, version, url) = (Kind::Redis, "7.0.0".to_owned(), "redis://".to_owned());
        Record { kind, version, pid, port: 1, url, directory, owner: None }
    }

    #[test]
    fn a_process_that_took_over_a_pid_is_not_stopped() {
        let directory = tempfile::Builder::new().prefix(DIRECTORY_PREFIX).tempdir().unwrap();
        let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
        let record = record(stranger.id(), directory.path().to_owned());
        assert!(!record.is_running());
        record.stop().unwrap();
        assert!(stranger.try_wait().unwrap().is_none(), "the stranger runs on");
        assert!(!directory.path().exists(), "the directory is removed");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }

    #[test]
    fn a_directory_that_is_not_ours_is_not_removed() {
        let directory = tempfile::Builder::new().prefix("precious-").tempdir().unwrap();
        let record = record(u32::MAX, directory.path().to_owned());
        assert!(record.stop().unwrap_err().to_string().contains("not ours"));
        assert!(directory.path().exists());
    }
}
