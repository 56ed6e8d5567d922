//! PostgreSQL: its programs, a fresh cluster, how it is started, when it answers.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::process::{self, Account};
use super::server::{Installation, Launch, as_account, private_directory};
use crate::workspace::read;

/// The user and the database that a private server has.
const NAME: &str = "cache";

/// Where packages put the programs when they do not put them on `PATH`; `*` is the version.
const DIRECTORIES: [&str; 5] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
];

/// The server of `PATH`, else the newest that a package installed elsewhere.
pub(crate) fn find() -> Option<Installation> {
    // `initdb` lies beside the real program, not always beside the link to it.
    let on_path = process::on_path("postgres").and_then(|program| program.canonicalize().ok());
    let elsewhere = || DIRECTORIES.iter().flat_map(|pattern| newest_first(pattern));
    on_path
        .into_iter()
        .chain(elsewhere().map(|directory| directory.join("postgres")))
        .filter(|program| process::is_program(program))
        .filter(|program| process::is_program(&program.with_file_name("initdb")))
        .find_map(|program| {
            let version = read(Command::new(&program).arg("--version")).ok()?;
            Some(Installation { version: parse_version(&version)?, program })
        })
}

/// Makes a cluster with the user and the database `cache` below `directory`, and says how to
/// start a server on it.
pub(crate) fn launch(
    installation: &Installation,
    directory: &Path,
    port: u16,
    account: Option<Account>,
) -> Result<Launch> {
    make(installation, directory, account)?;
    let mut command = Command::new(&installation.program);
    command
        .arg("-D")
        .arg(data(directory))
        .args(["-p", &port.to_string()])
        .args(["-c", "listen_addresses=127.0.0.1"])
        .args(["-c", &format!("unix_socket_directories={}", directory.display())])
        .args(["-c", "max_connections=200", "-c", "shared_buffers=128MB"]);
    Ok(Launch { command, url: format!("postgres://{NAME}@127.0.0.1:{port}/{NAME}") })
}

/// Whether the server on this port lets the user `cache` into the database `cache`.
pub(crate) fn answers(port: u16) -> bool {
    first_byte_of_session(port).is_ok_and(|byte| byte == b'R')
}

/// A cluster for others to copy. Removed with this.
#[derive(Debug)]
pub(crate) struct Cluster {
    directory: TempDir,
    account: Option<Account>,
}

impl Cluster {
    /// Makes a cluster with the user and the database `cache`.
    ///
    /// # Errors
    ///
    /// What PostgreSQL's programs say.
    pub(crate) fn make(installation: &Installation) -> Result<Self> {
        let (directory, account) = private_directory()?;
        make(installation, directory.path(), account)?;
        Ok(Self { directory, account })
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        data(self.directory.path())
    }

    /// User and group that it belongs to, unless they are the present ones.
    pub(crate) fn owner(&self) -> Option<[u32; 2]> {
        self.account.map(|account| [account.uid, account.gid])
    }
}

/// Makes the cluster below `directory`.
fn make(installation: &Installation, directory: &Path, account: Option<Account>) -> Result<()> {
    init(installation, directory, account)?;
    create_database(installation, directory, account)
}

fn data(directory: &Path) -> PathBuf {
    directory.join("data")
}

fn init(installation: &Installation, directory: &Path, account: Option<Account>) -> Result<()> {
    let mut initdb = Command::new(installation.program.with_file_name("initdb"));
    // The server itself keeps fsync on, as a real one has it; a cluster that lives for one run
    // need not survive a power cut while it is made.
    initdb.arg("-D").arg(data(directory)).args([
        "-U",
        NAME,
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
    ]);
    read(as_account(&mut initdb, account, directory))
        .context("cannot make a PostgreSQL cluster")?;
    Ok(())
}

/// Creates the database in single-user mode: no client program is needed, and no server runs yet.
fn create_database(
    installation: &Installation,
    directory: &Path,
    account: Option<Account>,
) -> Result<()> {
    let script = directory.join("create.sql");
    fs::write(&script, format!("CREATE DATABASE {NAME}\n"))
        .with_context(|| format!("cannot write {}", script.display()))?;
    let mut single = Command::new(&installation.program);
    single.arg("--single").arg("-D").arg(data(directory)).arg("postgres");
    let output = as_account(&mut single, account, directory)
        .stdin(Stdio::from(File::open(&script)?))
        .output()
        .context("cannot start PostgreSQL in single-user mode")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || said.contains("ERROR:") {
        bail!("PostgreSQL could not create the database `{NAME}`: {}", said.trim());
    }
    Ok(())
}

/// Opens a session and returns the type of the server's first message: `R` lets us in, `E` is an
/// error, such as "the database system is starting up".
fn first_byte_of_session(port: u16) -> Result<u8> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(&startup_message())?;
    let mut first = [0];
    stream.read_exact(&mut first)?;
    Ok(first[0])
}

/// Length of the whole, protocol 3.0, parameters, a final zero: the first message of a client.
fn startup_message() -> Vec<u8> {
    let parameters = format!("user\0{NAME}\0database\0{NAME}\0\0");
    let length = u32::try_from(8 + parameters.len()).expect("a few dozen bytes fit in 32 bits");
    [&length.to_be_bytes(), &0x0003_0000_u32.to_be_bytes(), parameters.as_bytes()].concat()
}

/// The directories that match a pattern with one `*`, the highest version first.
fn newest_first(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return Vec::new() };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let entries = fs::read_dir(format!("{parent}/")).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort_by_key(|name| std::cmp::Reverse(number_in(name)));
    names.iter().map(|name| PathBuf::from(format!("{parent}/{name}{after}"))).collect()
}

/// The first whole number in a name: 16 of `postgresql@16`, 0 when it has none.
fn number_in(name: &str) -> u32 {
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}

/// `15.14` of `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`.
fn parse_version(text: &str) -> Option<String> {
    let (_, after) = text.split_once("(PostgreSQL)")?;
    after.split_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_follows_the_product() {
        let text = "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)";
        assert_eq!(parse_version(text).as_deref(), Some("15.14"));
        assert_eq!(parse_version("postgres 15"), None);
    }

    #[test]
    fn a_higher_version_comes_first_and_numbers_are_not_compared_as_text() {
        let directory = tempfile::tempdir().unwrap();
        for version in ["9", "16", "15"] {
            fs::create_dir(directory.path().join(version)).unwrap();
        }
        let root = directory.path().display();
        let found = newest_first(&format!("{root}/*/bin"));
        let expected = ["16", "15", "9"].map(|v| PathBuf::from(format!("{root}/{v}/bin")));
        assert_eq!(found, expected);
        assert_eq!(number_in("postgresql@16"), 16);
        assert_eq!(number_in("postgresql"), 0);
    }

    #[test]
    fn the_startup_message_counts_its_own_length() {
        let message = startup_message();
        assert_eq!(message[..4], u32::try_from(message.len()).unwrap().to_be_bytes());
        assert!(message.ends_with(b"database\0cache\0\0"));
    }
}
