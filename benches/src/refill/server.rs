//! A private Redis, which can lose everything.

use std::{
    io::Write as _,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::time::sleep;

/// A redis-server on a free port of the loopback interface. It ends with this handle.
pub(super) struct Redis {
    pub(super) port: u16,
    child: Child,
    _directory: TempDir,
}

impl Redis {
    pub(super) async fn start() -> Result<Self> {
        let directory = TempDir::new()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .arg("--dir")
            .arg(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server is not on the PATH")?;
        let redis = Self { port, child, _directory: directory };
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(redis);
            }
            sleep(Duration::from_millis(20)).await;
        }
        anyhow::bail!("redis-server does not answer on port {port}")
    }

    pub(super) fn flush(&self) -> Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(b"FLUSHALL\r\n")?;
        let mut answer = [0; 3];
        std::io::Read::read_exact(&mut stream, &mut answer)?;
        ensure!(&answer == b"+OK", "Redis did not flush");
        Ok(())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
