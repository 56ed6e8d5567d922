//! Runs the program in a home of its own.

use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use cache_core::{AccessLog, AccessLogConfig, Cache, KeyForm, Recording, SystemClock};
use serde_json::Value;
use tempfile::TempDir;

/// A home directory that a test has to itself. Every run is another process.
pub(crate) struct Home(TempDir);

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Where the embedded tier's file is without any configuration.
    pub(crate) fn data_file(&self) -> PathBuf {
        self.path("data/cache-cli/cache.sqlite3")
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The program, with nothing in its environment but this home.
    pub(crate) fn command<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cache-cli"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.0.path())
            .env("XDG_DATA_HOME", self.path("data"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Run {
        Run::of(self.command(arguments).output().unwrap())
    }

    /// A run with JSON as its answer.
    pub(crate) fn json<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> (i32, Value) {
        let run = self.run(arguments.into_iter().chain(["--format", "json"]));
        let value = serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}: {run:?}"));
        (run.code, value)
    }

    /// Has a cache of prices read `keys`, and record that with the keys: in `reads/access.log`.
    pub(crate) fn record_reads(&self, keys: &[&str]) {
        let config = AccessLogConfig {
            sample: 1.0,
            keys: KeyForm::Plain,
            recording: Recording::Always,
            ..AccessLogConfig::new(self.path("reads"))
        };
        let log = AccessLog::open(config, SystemClock::shared()).unwrap();
        let cache: Cache<u64> = Cache::builder("price").access_log(log).build().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            for key in keys {
                cache.get(key).await.unwrap();
            }
        });
        // The log is written to its end with the last of its users.
        drop(cache);
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Run {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // The program may have refused its arguments, and not read.
        let _ = stdin.write_all(input);
        drop(stdin);
        Run::of(child.wait_with_output().unwrap())
    }
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let code = output.status.code().expect("it was not killed");
        Self { code, out: text(output.stdout), err: text(output.stderr) }
    }

    /// Checks that it succeeded.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// Checks that it failed with this code and said this on standard error, on one line and
    /// without a panic.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, told: &str) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(told) && !self.err.contains("panicked"), "{self:?}");
        assert_eq!(self.out, "", "an error is no answer");
        self
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
