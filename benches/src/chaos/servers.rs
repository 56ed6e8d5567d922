//! The private servers of a scenario, and what can be done to their processes.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// How long a server may take to answer, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The servers' programs, as `cargo xtask chaos` has found them.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `redis-server`.
    pub redis: PathBuf,
    /// `postgres`.
    pub postgres: PathBuf,
    /// The data directory of a PostgreSQL cluster with the user and the database `cache`, which is
    /// copied for each scenario.
    pub cluster: PathBuf,
    /// Whom PostgreSQL runs as, user and group, when this is root.
    pub account: Option<(u32, u32)>,
}

/// A process of ours. It ends with this.
#[derive(Debug)]
pub(super) struct Process(Child);

impl Process {
    pub(super) fn spawn(command: &mut Command) -> Result<Self> {
        let program = command.as_std().get_program().to_owned();
        let child = command.kill_on_drop(true).spawn();
        Ok(Self(child.with_context(|| format!("could not start {}", program.display()))?))
    }

    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Ends it without notice.
    pub(super) async fn kill(&mut self) -> Result<()> {
        Ok(self.0.kill().await?)
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.0.id().context("the process has ended")?;
        send(pid, signal)
    }

    fn has_ended(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_some())
    }
}

fn send(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("no process has the number 0")?;
    Ok(kill_process(pid, signal)?)
}

/// What a Redis finds when it starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Snapshot {
    /// Nothing.
    None,
    /// What it had when it was last told to save.
    Saved,
}

/// A Redis that keeps nothing unless it is told to.
#[derive(Debug)]
pub(super) struct Redis {
    program: PathBuf,
    port: u16,
    directory: TempDir,
    process: Process,
}

impl Redis {
    pub(super) async fn start(programs: &Programs) -> Result<Self> {
        let (directory, port) = (TempDir::new()?, free_port()?);
        let process = Self::spawn(&programs.redis, directory.path(), port)?;
        let program = programs.redis.clone();
        let mut redis = Self { program, port, directory, process };
        redis.wait().await?;
        Ok(redis)
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Sends a command, and returns the first line of the answer.
    pub(super) async fn command(&self, command: &str) -> Result<String> {
        let ask = async {
            let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", self.port)).await?);
            stream.write_all(format!("{command}\r\n").as_bytes()).await?;
            let mut answer = String::new();
            stream.read_line(&mut answer).await?;
            anyhow::Ok(answer.trim_end().to_owned())
        };
        timeout(Duration::from_secs(5), ask).await.context("Redis does not answer")?
    }

    /// As [`command`](Self::command), whose answer must be `OK`.
    pub(super) async fn order(&self, command: &str) -> Result<()> {
        let answer = self.command(command).await?;
        ensure!(answer.starts_with("+OK"), "Redis answers `{command}` with `{answer}`");
        Ok(())
    }

    pub(super) async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    pub(super) async fn restart(&mut self, snapshot: Snapshot) -> Result<()> {
        if snapshot == Snapshot::None {
            // There may be none.
            let _ = std::fs::remove_file(self.directory.path().join("dump.rdb"));
        }
        self.process = Self::spawn(&self.program, self.directory.path(), self.port)?;
        self.wait().await
    }

    pub(super) fn freeze(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    pub(super) fn thaw(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    fn spawn(program: &Path, directory: &Path, port: u16) -> Result<Process> {
        let mut command = Command::new(program);
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--daemonize", "no", "--dir"])
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Process::spawn(&mut command)
    }

    async fn wait(&mut self) -> Result<()> {
        let started = Instant::now();
        while !self.command("PING").await.is_ok_and(|answer| answer == "+PONG") {
            ensure!(!self.process.has_ended()?, "redis-server ended at its start");
            ensure!(started.elapsed() < PATIENCE, "redis-server does not answer");
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

/// Where a PostgreSQL keeps its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disk {
    /// On the machine's.
    Shared,
    /// On one of its own that can be filled: a file system in memory, mounted where only the server
    /// sees it.
    Small,
}

impl Disk {
    const SMALL_SIZE: &str = "160m";

    /// Why this machine cannot have it, if so.
    pub(super) fn obstacle(self, programs: &Programs) -> Option<String> {
        if self == Self::Shared {
            return None;
        }
        // Root, and allowed to mount: a container's root often is not.
        let mount = "mount -t tmpfs tmpfs /mnt && setpriv --version";
        let may = std::process::Command::new("unshare")
            .args(["-m", "sh", "-c", mount])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let may = may.is_ok_and(|status| status.success()) && programs.account.is_some();
        (!may).then(|| "a disk of its own needs root and the right to mount".to_owned())
    }
}

/// A PostgreSQL on a copy of the cluster.
#[derive(Debug)]
pub(super) struct Postgres {
    programs: Programs,
    port: u16,
    directory: TempDir,
    disk: Disk,
    process: Process,
}

impl Postgres {
    pub(super) async fn start(programs: &Programs, disk: Disk) -> Result<Self> {
        let (directory, port) = (TempDir::new()?, free_port()?);
        if let Some((uid, gid)) = programs.account {
            std::os::unix::fs::chown(directory.path(), Some(uid), Some(gid))?;
        }
        if disk == Disk::Shared {
            let copied = Command::new("cp")
                .arg("-a")
                .arg(&programs.cluster)
                .arg(directory.path().join("data"))
                .status();
            ensure!(copied.await?.success(), "could not copy {}", programs.cluster.display());
        }
        let process = Self::spawn(programs, directory.path(), port, disk)?;
        let mut postgres = Self { programs: programs.clone(), port, directory, disk, process };
        postgres.wait().await?;
        Ok(postgres)
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Its address, by way of `port`.
    pub(super) fn url(port: u16) -> String {
        format!("postgres://cache@127.0.0.1:{port}/cache")
    }

    /// Executes a statement.
    pub(super) async fn execute(&self, statement: &str) -> Result<()> {
        let (client, connection) =
            tokio_postgres::connect(&Self::url(self.port), tokio_postgres::NoTls).await?;
        // It ends with its client.
        tokio::spawn(connection);
        Ok(client.batch_execute(statement).await?)
    }

    pub(super) async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Starts it again after it was killed, with what it had: its processes may still be ending.
    pub(super) async fn restart(&mut self) -> Result<()> {
        ensure!(self.disk == Disk::Shared, "the small disk is gone with its server");
        let started = Instant::now();
        loop {
            self.process =
                Self::spawn(&self.programs, self.directory.path(), self.port, self.disk)?;
            match self.wait().await {
                Err(error) if started.elapsed() > PATIENCE => return Err(error),
                Err(_) => sleep(Duration::from_millis(50)).await,
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Stops the server and each of its sessions; no new one begins.
    pub(super) fn freeze(&mut self) -> Result<()> {
        self.process.signal(Signal::STOP)?;
        self.signal_children(Signal::STOP)
    }

    pub(super) fn thaw(&mut self) -> Result<()> {
        self.signal_children(Signal::CONT)?;
        self.process.signal(Signal::CONT)
    }

    /// Takes all the room on its disk.
    pub(super) fn fill_disk(&mut self) -> Result<()> {
        let mut filler = std::fs::File::create(self.filler()?)?;
        let chunk = vec![0; 1 << 16];
        // Until there is none.
        while std::io::Write::write_all(&mut filler, &chunk).is_ok() {}
        Ok(())
    }

    pub(super) fn empty_disk(&mut self) -> Result<()> {
        Ok(std::fs::remove_file(self.filler()?)?)
    }

    /// Ends it in order, so that nothing of it is left in the system's shared memory.
    pub(super) async fn stop(mut self) -> Result<()> {
        if self.process.has_ended()? {
            return Ok(());
        }
        // Immediate: it does not wait for its sessions, and its files are thrown away.
        self.process.signal(Signal::QUIT)?;
        timeout(PATIENCE, self.process.child().wait()).await.context("postgres does not end")??;
        Ok(())
    }

    /// Our way to a file on the disk that only the server sees.
    fn filler(&mut self) -> Result<PathBuf> {
        ensure!(self.disk == Disk::Small, "the machine's disk is not filled");
        let pid = self.process.child().id().context("postgres has ended")?;
        let path = self.directory.path().join("filler");
        Ok(Path::new(&format!("/proc/{pid}/root")).join(path.strip_prefix("/")?))
    }

    fn signal_children(&mut self, signal: Signal) -> Result<()> {
        let parent = self.process.child().id().context("postgres has ended")?;
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            // It may have ended since.
            if parent_of(pid) == Some(parent) {
                let _ = send(pid, signal);
            }
        }
        Ok(())
    }

    fn spawn(programs: &Programs, directory: &Path, port: u16, disk: Disk) -> Result<Process> {
        let (data, log) = (directory.join("data"), directory.join("server.log"));
        let mut command = match (disk, programs.account) {
            (Disk::Shared, account) => {
                let mut command = Command::new(&programs.postgres);
                if let Some((uid, gid)) = account {
                    command.uid(uid).gid(gid);
                }
                command
            }
            (Disk::Small, Some((uid, gid))) => {
                let script = format!(
                    r#"mount -t tmpfs -o size={},mode=0711 tmpfs "$1" && cp -a "$2" "$1/data" &&
                    chown {uid}:{gid} "$1" && shift 2 &&
                    exec setpriv --reuid={uid} --regid={gid} --clear-groups -- "$@""#,
                    Disk::SMALL_SIZE
                );
                let mut command = Command::new("unshare");
                command.args(["-m", "sh", "-c", &script, "sh"]);
                command.arg(directory).arg(&programs.cluster).arg(&programs.postgres);
                command
            }
            (Disk::Small, None) => bail!("a disk of its own needs root"),
        };
        let log = std::fs::File::create(log)?;
        command
            .arg("-D")
            .arg(data)
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", &format!("unix_socket_directories={}", directory.display())])
            .args(["-c", "max_connections=200", "-c", "shared_buffers=64MB"])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Process::spawn(&mut command)
    }

    async fn wait(&mut self) -> Result<()> {
        let (started, url) = (Instant::now(), Self::url(self.port));
        while tokio_postgres::connect(&url, tokio_postgres::NoTls).await.is_err() {
            if self.process.has_ended()? || started.elapsed() > PATIENCE {
                let log = self.directory.path().join("server.log");
                bail!("postgres does not start: {}", std::fs::read_to_string(log)?);
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// The fourth field of `/proc/PID/stat`, behind the program's name in parentheses.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_of_a_process_is_found() {
        assert_eq!(parent_of(std::process::id()), Some(std::os::unix::process::parent_id()));
        assert_eq!(parent_of(u32::MAX), None);
    }
}
