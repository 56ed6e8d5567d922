//! Redis: its program, how it is started, when it answers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::process;
use super::server::{Installation, Launch};
use crate::workspace::read;

/// The server of `PATH`, Redis before Valkey.
pub(crate) fn find() -> Option<Installation> {
    // The path stays as it was found: Debian's is a link to a program that looks at its own name.
    let program = ["redis-server", "valkey-server"].into_iter().find_map(process::on_path)?;
    let version = read(Command::new(&program).arg("--version")).ok()?;
    Some(Installation { version: parse_version(&version)?, program })
}

/// How to start a server on this port, and on a socket below its directory, that keeps nothing.
pub(crate) fn launch(installation: &Installation, directory: &Path, port: u16) -> Launch {
    let mut command = Command::new(&installation.program);
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--protected-mode", "yes"])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no", "--unixsocket"])
        .arg(directory.join("redis.sock"))
        .arg("--dir")
        .arg(directory);
    Launch { command, url: format!("redis://127.0.0.1:{port}/0") }
}

/// Whether the server on this port answers PING.
pub(crate) fn answers(port: u16) -> bool {
    ping(port).is_ok_and(|answer| answer == *b"+PONG\r\n")
}

fn ping(port: u16) -> Result<[u8; 7]> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// `7.0.15` of `Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64`.
fn parse_version(text: &str) -> Option<String> {
    text.split_whitespace().find_map(|word| word.strip_prefix("v=")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_follows_the_letter_v() {
        let text = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64";
        assert_eq!(parse_version(text).as_deref(), Some("7.0.15"));
        assert_eq!(parse_version("Valkey server v=8.0.1 sha=0").as_deref(), Some("8.0.1"));
        assert_eq!(parse_version("something else"), None);
    }
}
