//! Processes of ours: which user runs them, whether a pid is still the one we started, signals.

use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, Result, bail};

use crate::workspace::read;

/// A user without privileges, for servers that refuse to run as root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    pub(crate) name: &'static str,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Account {
    /// Whom servers run as: `None` is the present user, unless that is root.
    ///
    /// # Errors
    ///
    /// This is root, and neither the user `postgres` nor `nobody` exists.
    pub(crate) fn unprivileged() -> Result<Option<Self>> {
        if !is_root()? {
            return Ok(None);
        }
        let account = ["postgres", "nobody"].into_iter().find_map(|name| {
            let (uid, gid) = (id("-u", Some(name)).ok()?, id("-g", Some(name)).ok()?);
            Some(Self { name, uid, gid })
        });
        match account {
            Some(account) => Ok(Some(account)),
            None => bail!(
                "PostgreSQL refuses to run as root, and there is neither a user `postgres` nor \
                 `nobody` to run it as: create one, or run this command as another user"
            ),
        }
    }
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> Result<bool> {
    Ok(id("-u", None)? == 0)
}

/// A program's path, if it is on `PATH`.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(program)).find(|path| is_program(path))
}

/// Whether this is a file that may be executed.
pub(crate) fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Whether `pid` is a living process whose command line has one of the `marks`, or that works in
/// a directory which is one of them.
///
/// Pids are used again: nothing is signalled before this said yes.
pub(crate) fn is_marked(pid: u32, marks: &[&str]) -> bool {
    let has_mark = |text: &str| marks.iter().any(|mark| text.contains(mark));
    let directory = fs::read_link(format!("/proc/{pid}/cwd"));
    command_line(pid).is_some_and(|line| has_mark(&line))
        || directory.is_ok_and(|directory| has_mark(&directory.to_string_lossy()))
}

/// The signals that end a server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Signal {
    /// Redis ends in order; PostgreSQL would wait for its clients.
    Terminate,
    /// PostgreSQL's fast shutdown.
    Interrupt,
    /// When nothing else helped.
    Kill,
}

/// Sends a signal to one process.
pub(crate) fn signal(pid: u32, signal: Signal) -> Result<()> {
    let name = match signal {
        Signal::Terminate => "TERM",
        Signal::Interrupt => "INT",
        Signal::Kill => "KILL",
    };
    // The shell's own `kill`: small systems have no program of that name.
    let mut command = Command::new("sh");
    command.args(["-c", r#"kill -s "$1" "$2""#, "sh", name, &pid.to_string()]);
    read(&mut command).map(drop).with_context(|| format!("cannot send SIG{name} to {pid}"))
}

/// Asks `probe` every 20 ms until it breaks, for `patience` at most.
pub(crate) fn poll<T>(patience: Duration, mut probe: impl FnMut() -> ControlFlow<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let ControlFlow::Break(value) = probe() {
            return Some(value);
        }
        if start.elapsed() > patience {
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The words of a living process's command line, separated by spaces.
fn command_line(pid: u32) -> Option<String> {
    // A process that ended and was not waited for yet has an empty command line in /proc.
    let line = match fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(words) => String::from_utf8_lossy(&words).replace('\0', " "),
        Err(_) if Path::new("/proc/self").exists() => return None,
        Err(_) => {
            let mut ps = Command::new("ps");
            read(ps.args(["-o", "args=", "-p", &pid.to_string()]).stdin(Stdio::null())).ok()?
        }
    };
    (!line.trim().is_empty()).then_some(line)
}

fn id(flag: &str, user: Option<&str>) -> Result<u32> {
    let text = read(Command::new("id").arg(flag).args(user))?;
    text.parse().with_context(|| format!("`id {flag}` printed `{text}`, which is not a number"))
}

#[cfg(test)]
mod tests {
    use std::process;

    use super::*;

    /// Waits until `is_marked` says so: of a process that has just begun, the system may not know
    /// the command line yet.
    fn becomes_marked(pid: u32, mark: &str, expected: bool) -> bool {
        let probe = || match is_marked(pid, &[mark]) == expected {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        poll(Duration::from_secs(10), probe).is_some()
    }

    #[test]
    fn a_process_is_known_by_its_command_line_and_by_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().to_str().unwrap();
        let mut child =
            Command::new("sleep").arg("60").current_dir(directory.path()).spawn().unwrap();
        assert!(becomes_marked(child.id(), "sleep 60", true));
        assert!(!is_marked(child.id(), &["another command"]));
        assert!(is_marked(child.id(), &[mark]) || !Path::new("/proc/self").exists());
        signal(child.id(), Signal::Terminate).unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(!is_marked(child.id(), &["sleep 60", mark]));
    }

    #[test]
    fn a_process_that_ended_is_not_ours_even_before_it_was_waited_for() {
        let mut child = Command::new("sleep").arg("61").spawn().unwrap();
        assert!(becomes_marked(child.id(), "sleep 61", true));
        signal(child.id(), Signal::Kill).unwrap();
        assert!(becomes_marked(child.id(), "sleep 61", false));
        child.wait().unwrap();
    }

    #[test]
    fn programs_are_looked_up_on_the_path() {
        assert!(on_path("sh").is_some());
        assert!(on_path("no-program-has-this-name").is_none());
        assert!(is_marked(process::id(), &[env!("CARGO_CRATE_NAME")]));
    }
}
