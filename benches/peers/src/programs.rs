//! The programs of the caches: which there are, how they are built and asked.

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, ensure};
use cache_peers_measure::{
    Calls, NODES, Pace, Question, READY,
    worker::{Answer, Answered},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// A cache that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subject {
    /// Its crate, and the version that is measured.
    pub(crate) name: &'static str,
    /// Its program.
    binary: &'static str,
}

/// This cache.
pub(crate) const OURS: Subject = Subject { name: "ours", binary: "ours" };

/// The others.
pub(crate) const PEERS: [Subject; 7] = [
    Subject { name: "amalgam-cache 0.4.2", binary: "amalgam" },
    Subject { name: "sisa-caching 0.3.2", binary: "sisa" },
    Subject { name: "multi-tier-cache 0.6.9", binary: "multi_tier" },
    Subject { name: "cachet 0.16.0", binary: "cachet" },
    Subject { name: "fusioncache-rs 0.1.4", binary: "fusioncache" },
    Subject { name: "hitbox 0.2.4", binary: "hitbox" },
    Subject { name: "oxcache 0.5.0-rc.12", binary: "oxcache" },
];

/// The workspaces that they are built in, with what cargo is told beside.
///
/// oxcache asks for a newer compiler than it needs.
const WORKSPACES: [(&str, &[&str]); 2] =
    [("Cargo.toml", &[]), ("oxcache/Cargo.toml", &["--ignore-rust-version"])];

/// Programs that are built.
#[derive(Debug)]
pub(crate) struct Programs {
    directory: PathBuf,
    runs: AtomicU32,
}

impl Programs {
    /// Builds all of them, into the directory that this one is in.
    pub(crate) fn build() -> Result<Self> {
        let this = env::current_exe().context("cannot tell where this program is")?;
        let directory = this.parent().context("a program is in a directory")?;
        let target = directory.parent().context("cargo has a directory for each profile")?;
        let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        for (manifest, flags) in WORKSPACES {
            let status = std::process::Command::new(&cargo)
                .args(["build", "--release", "--locked", "--bins"])
                .args(flags)
                .arg("--manifest-path")
                .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(manifest))
                .arg("--target-dir")
                .arg(target)
                .status()
                .with_context(|| format!("cannot run {cargo}"))?;
            ensure!(status.success(), "cannot build benches/peers/{manifest}: {status}");
        }
        Ok(Self { directory: directory.to_owned(), runs: AtomicU32::new(0) })
    }

    /// What `subject` answers to `questions`, in a process of its own.
    pub(crate) async fn ask(
        &self,
        subject: Subject,
        questions: &[Question],
        pace: Pace,
    ) -> Result<Vec<Answered>> {
        let mut command = self.command(subject, &self.namespace());
        command.arg("answer");
        if pace == Pace::Quick {
            command.arg("--quick");
        }
        for question in questions {
            let value = clap::ValueEnum::to_possible_value(question);
            command.arg(value.context("every question can be asked")?.get_name());
        }
        let output = command.stdin(Stdio::null()).output().await?;
        ensure!(
            output.status.success(),
            "the program of {} failed: {}",
            subject.name,
            output.status
        );
        let text = String::from_utf8(output.stdout).context("an answer is no text")?;
        let answers = text.lines().filter(|line| line.starts_with('{'));
        answers.map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// How two processes of `subject` fare with herds: how often a key is loaded at the mean, and
    /// how long its last caller waits at the median.
    pub(crate) async fn herds(&self, subject: Subject, pace: Pace) -> Result<Vec<Answered>> {
        let namespace = self.namespace();
        let mut nodes = Vec::new();
        for _ in 0..NODES {
            nodes.push(HerdNode::start(self.command(subject, &namespace)).await?);
        }
        let mut loads = Vec::new();
        let mut took_ms = Vec::new();
        for n in 0..pace.herds() {
            let key = format!("{namespace}:wanted-{n}");
            for node in &mut nodes {
                node.let_loose_on(&key).await?;
            }
            let mut all = Calls { loads: 0, took_ms: 0.0 };
            for node in &mut nodes {
                let calls = node.calls().await?;
                all.loads += calls.loads;
                all.took_ms = all.took_ms.max(calls.took_ms);
            }
            loads.push(all.loads as f64);
            took_ms.push(all.took_ms);
        }
        for node in nodes {
            node.end().await?;
        }
        let mean = loads.iter().sum::<f64>() / loads.len() as f64;
        let median = cache_peers_measure::comparison::median(&took_ms);
        Ok([(Question::HerdLoads, mean), (Question::HerdTime, median)]
            .map(|(question, figure)| Answered { question, answer: Answer::Figure(figure) })
            .into())
    }

    fn command(&self, subject: Subject, namespace: &str) -> Command {
        let mut command = Command::new(self.directory.join(subject.binary));
        command.args(["--namespace", namespace]).kill_on_drop(true);
        command.stdout(Stdio::piped()).stderr(Stdio::inherit());
        // oxcache connects to a Redis without TLS only if it is told so.
        command.env("OXCACHE_ALLOW_INSECURE_REDIS", "development-only");
        command
    }

    /// One that no other run has.
    fn namespace(&self) -> String {
        format!("p{}-{}", std::process::id(), self.runs.fetch_add(1, Ordering::Relaxed))
    }
}

/// A process whose callers want keys.
struct HerdNode {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl HerdNode {
    async fn start(mut command: Command) -> Result<Self> {
        let mut process = command.arg("herd").stdin(Stdio::piped()).spawn()?;
        let input = process.stdin.take().context("standard input is piped")?;
        let output = process.stdout.take().context("standard output is piped")?;
        let mut node = Self { process, input, output: BufReader::new(output).lines() };
        while node.line().await? != READY {}
        Ok(node)
    }

    async fn let_loose_on(&mut self, key: &str) -> Result<()> {
        self.input.write_all(format!("{key}\n").as_bytes()).await?;
        Ok(self.input.flush().await?)
    }

    async fn calls(&mut self) -> Result<Calls> {
        Ok(serde_json::from_str(&self.line().await?)?)
    }

    async fn line(&mut self) -> Result<String> {
        self.output.next_line().await?.context("a node ended before it had answered")
    }

    async fn end(mut self) -> Result<()> {
        drop(self.input);
        let status = self.process.wait().await?;
        ensure!(status.success(), "a node failed: {status}");
        Ok(())
    }
}
