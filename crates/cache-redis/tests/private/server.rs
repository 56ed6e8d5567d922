//! A Redis server of a test's own.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use bb8_redis::redis::{Client, aio::MultiplexedConnection};
use cache_core::{Result, testkit::left_out};
use tempfile::TempDir;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A redis-server on a free port of the loopback interface, in a directory of its own, without
/// persistence. It ends with this handle.
pub(crate) struct PrivateRedis {
    port: u16,
    dir: TempDir,
    arguments: Vec<String>,
    child: Child,
}

impl PrivateRedis {
    /// Starts one with further `arguments`, or says that `test` is left out for want of it.
    pub(crate) fn start(test: &str, arguments: &[&str]) -> Option<Self> {
        let version = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
        if version.is_err() {
            left_out(test, "no redis-server on the PATH");
            return None;
        }
        let dir = TempDir::new().unwrap();
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        // More than once, since somebody may take the port in between.
        for _ in 0..5 {
            let port = free_port();
            let mut child = spawn(port, &dir, &arguments);
            if answers(port, &mut child) {
                return Some(Self { port, dir, arguments, child });
            }
        }
        left_out(test, &format!("redis-server does not start with {arguments:?}"));
        None
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn dir(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    /// Ends the server without notice.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on its port, with what it has saved (`SAVE`): empty, unless it was told to.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.port, &self.dir, &self.arguments);
        assert!(answers(self.port, &mut self.child), "redis-server does not come back");
    }

    /// Stops the server's process; connections stay open, and nothing answers.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id();
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
        assert!(status.unwrap().success());
    }

    /// Another way in, without a timeout.
    pub(crate) async fn raw(&self) -> MultiplexedConnection {
        let client = Client::open(self.url()).unwrap();
        let mut raw = client.get_multiplexed_async_connection().await.unwrap();
        raw.set_response_timeout(PATIENCE);
        raw
    }
}

impl Drop for PrivateRedis {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Repeats `call` until it succeeds.
///
/// # Panics
///
/// When it never does.
pub(crate) async fn eventually<T>(what: &str, mut call: impl AsyncFnMut() -> Result<T>) -> T {
    let started = Instant::now();
    loop {
        match call().await {
            Ok(value) => return value,
            Err(error) => assert!(started.elapsed() < PATIENCE, "{what}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A port on which nobody listens.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(port: u16, dir: &TempDir, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(["--appendonly", "no", "--dir", dir.path().to_str().unwrap()])
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until the server answers anything at all; false when it ends instead.
fn answers(port: u16, child: &mut Child) -> bool {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            let mut byte = [0];
            let asked = stream.write_all(b"PING\r\n").and_then(|()| stream.read_exact(&mut byte));
            if asked.is_ok() {
                return true;
            }
        }
        assert!(started.elapsed() < PATIENCE, "redis-server does not answer");
        sleep(Duration::from_millis(2));
    }
    false
}
