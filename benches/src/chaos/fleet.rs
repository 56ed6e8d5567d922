//! The nodes, as the driver has them.

use std::{
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use rustix::process::Signal;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{ChildStdin, ChildStdout, Command},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

use super::{
    history::{Line, Seen},
    node::Settings,
    servers::Process,
};

/// How long a node may take for what it is told.
const PATIENCE: Duration = Duration::from_secs(60);

/// What all nodes have told, in the order in which it came.
#[derive(Clone, Debug, Default)]
pub(super) struct Chronicle(Arc<Mutex<Vec<Seen>>>);

impl Chronicle {
    fn add(&self, seen: Seen) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }

    /// Everything that was told since the last time.
    pub(super) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A process of this program in the other role. It ends with this.
#[derive(Debug)]
pub(super) struct Node {
    settings: Settings,
    process: Process,
    input: ChildStdin,
    answers: mpsc::UnboundedReceiver<String>,
    reading: JoinHandle<Result<Vec<(String, u64)>>>,
    chronicle: Chronicle,
}

impl Node {
    /// Starts it, and waits until it takes calls.
    pub(super) async fn start(settings: &Settings, chronicle: &Chronicle) -> Result<Self> {
        let program = std::env::current_exe().context("this program's own path")?;
        let mut command = Command::new(program);
        command
            .args(["node", &serde_json::to_string(settings)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = Process::spawn(&mut command)?;
        let input = process.child().stdin.take().context("standard input is piped")?;
        let output = process.child().stdout.take().context("standard output is piped")?;
        let mut lines = BufReader::new(output).lines();
        let first =
            timeout(PATIENCE, lines.next_line()).await.context("a node does not start")??;
        let ready = first.as_deref().map(serde_json::from_str::<Line>);
        anyhow::ensure!(matches!(ready, Some(Ok(Line::Ready))), "a node says {first:?}");
        let (sender, answers) = mpsc::unbounded_channel();
        let reading = tokio::spawn(read(lines, settings.node, chronicle.clone(), sender));
        let (settings, chronicle) = (settings.clone(), chronicle.clone());
        Ok(Self { settings, process, input, answers, reading, chronicle })
    }

    /// Tells it to do something.
    pub(super) async fn tell(&mut self, command: &str) -> Result<()> {
        self.input.write_all(format!("{command}\n").as_bytes()).await?;
        Ok(self.input.flush().await?)
    }

    /// Its next answer.
    pub(super) async fn answer(&mut self) -> Result<String> {
        let answer = timeout(PATIENCE, self.answers.recv()).await.context("a node is silent")?;
        answer.context("a node has ended")
    }

    pub(super) async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Waits until it has killed itself.
    pub(super) async fn died(&mut self) -> Result<()> {
        let ended = timeout(PATIENCE, self.process.child().wait()).await;
        let status = ended.context("a node does not end")??;
        anyhow::ensure!(status.code().is_none(), "a node did not die of a signal: {status}");
        Ok(())
    }

    /// Starts it again after it was killed.
    pub(super) async fn restart(&mut self) -> Result<()> {
        *self = Self::start(&self.settings, &self.chronicle).await?;
        Ok(())
    }

    pub(super) fn freeze(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    pub(super) fn thaw(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Has it end in order; what it counted.
    pub(super) async fn stop(mut self) -> Result<Vec<(String, u64)>> {
        self.tell("stop").await?;
        let told = timeout(PATIENCE, &mut self.reading).await.context("a node does not end")?;
        told.map_err(|error| anyhow!("a node's reader: {error}"))?
    }
}

async fn read(
    mut lines: Lines<BufReader<ChildStdout>>,
    node: usize,
    chronicle: Chronicle,
    answers: mpsc::UnboundedSender<String>,
) -> Result<Vec<(String, u64)>> {
    let mut counts = Vec::new();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line) {
            Ok(Line::Did(record)) => chronicle.add(Seen { node, record }),
            Ok(Line::Counted(counted)) => counts = counted,
            // It fails when nobody waits for it.
            Ok(Line::Answer(answer)) => drop(answers.send(answer)),
            Ok(Line::Ready) => {}
            // A node that was killed leaves half a line.
            Err(_) => break,
        }
    }
    Ok(counts)
}
