//! `record`: turns the access logs of running caches on and off, and shows what they hold.

use std::{
    fmt,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use cache_core::{
    AccessLogReader, Clock, Error, ErrorKind, KeyForm, LogEnd, RecordingSwitch, SystemClock,
};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::Context;
use crate::{
    exit::{BadInput, Exit},
    output::{self, Align, Table},
};

/// Turn the recording of reads on or off in running caches, and show what was recorded
///
/// DIRECTORY is the one that the caches' `AccessLogConfig` names. A switch is put there or taken
/// away; every process that records into it looks once a second, and each writes a file of its own,
/// `access.log` (`access-1.log` and so on), beside the one before it, `access.log.1`. The files stay
/// within the caches' `bytes_max`. Turned on again, a new file is begun. `simulate` reads the files.
///
/// With --format json: an object with `directory`, `recording`, `sample`, `keys`, `bytes`, `files`.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "Examples:
  cache-cli record on run/reads --sample 0.05
  cache-cli record status run/reads
  cache-cli record off run/reads
  cache-cli simulate run/reads/access.log"
)]
pub(crate) struct Record {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Have the caches record
    On {
        /// The directory of the caches' access log
        directory: PathBuf,

        /// The part of the keys whose reads are recorded, up to 1 [default: the caches' own, 0.1]
        #[arg(long, value_name = "RATE")]
        sample: Option<f64>,

        /// Write the keys themselves, as warming needs them: whoever can read the files can read them
        #[arg(long)]
        plain_keys: bool,
    },
    /// Have them stop
    Off {
        /// The directory of the caches' access log
        directory: PathBuf,
    },
    /// Show whether they record, and the files
    Status {
        /// The directory of the caches' access log
        directory: PathBuf,
    },
}

impl Record {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let directory = match self.action {
            Action::On { directory, sample, plain_keys } => {
                let keys = plain_keys.then_some(KeyForm::Plain);
                RecordingSwitch { sample, keys }.turn_on(&directory).map_err(bad)?;
                directory
            }
            Action::Off { directory } => {
                RecordingSwitch::turn_off(&directory).map_err(bad)?;
                directory
            }
            Action::Status { directory } => directory,
        };
        context.format.print(&Status::of(&directory)?)?;
        Ok(Exit::Done)
    }
}

/// The directory is an argument, so what is wrong with it is bad input.
fn bad(error: Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::Config => BadInput(error.to_string()).into(),
        _ => error.into(),
    }
}

/// What a directory holds.
#[derive(Debug, Serialize)]
struct Status {
    directory: String,
    recording: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<KeyForm>,
    bytes: u64,
    files: Vec<LogFile>,
}

/// One file of a log.
#[derive(Debug, Serialize)]
struct LogFile {
    file: String,
    bytes: u64,
    reads: u64,
    dropped: u32,
    sample: f64,
    keys: KeyForm,
    age_ms: u64,
    torn: bool,
}

impl Status {
    fn of(directory: &Path) -> Result<Self> {
        let switch = RecordingSwitch::of(directory).map_err(bad)?;
        let entries = fs::read_dir(directory).map_err(|error| {
            let fault = format!(
                "cannot look into `{}`: {error}; name the directory of the \
                                 caches' access log",
                directory.display()
            );
            BadInput(fault)
        })?;
        let mut paths = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .context("could not list the files of the log")?;
        paths.retain(|path| is_log(path));
        paths.sort();
        let files: Vec<LogFile> = paths.iter().filter_map(|path| LogFile::of(path)).collect();
        Ok(Self {
            directory: directory.display().to_string(),
            recording: switch.is_some(),
            sample: switch.and_then(|switch| switch.sample),
            keys: switch.and_then(|switch| switch.keys),
            bytes: files.iter().map(|file| file.bytes).sum(),
            files,
        })
    }
}

fn is_log(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("access") && (name.ends_with(".log") || name.ends_with(".log.1"))
}

impl LogFile {
    /// Nothing where the file has gone meanwhile, or is no log, which is told.
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let told = |error: &dyn fmt::Display| output::note(format_args!("{name}: {error}"));
        let file = File::open(path).inspect_err(|error| told(error)).ok()?;
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        let buffered = std::io::BufReader::new(file);
        let mut reader = AccessLogReader::new(buffered).inspect_err(|error| told(error)).ok()?;
        let mut reads = 0;
        while let Some(block) = reader.next_block().inspect_err(|error| told(error)).ok()? {
            reads += block.len() as u64;
        }
        let age = SystemClock::new().now().since(reader.began_at());
        Some(Self {
            bytes,
            reads,
            dropped: reader.dropped(),
            sample: reader.sample(),
            keys: reader.keys(),
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            torn: !matches!(reader.end(), Some(LogEnd::Whole)),
            file: name,
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { directory, recording, sample, keys, bytes, files } = self;
        let state = if *recording { "on" } else { "off" };
        write!(f, "recording is {state} in {directory}")?;
        if let Some(sample) = sample {
            write!(f, ", {} % of the keys", sample * 100.0)?;
        }
        if *keys == Some(KeyForm::Plain) {
            f.write_str(", with plain keys")?;
        }
        writeln!(f, "; {} in {} files", output::size(Some(*bytes)), files.len())?;
        if files.is_empty() {
            return Ok(());
        }
        let mut table = Table::new([
            ("file", Align::Left),
            ("begun ago", Align::Right),
            ("size", Align::Right),
            ("reads", Align::Right),
            ("dropped", Align::Right),
            ("of the keys", Align::Right),
            ("keys", Align::Left),
            ("", Align::Left),
        ]);
        for file in files {
            table.row(&[
                file.file.clone(),
                output::millis(file.age_ms.into()),
                output::size(Some(file.bytes)),
                file.reads.to_string(),
                file.dropped.to_string(),
                format!("{} %", file.sample * 100.0),
                if file.keys == KeyForm::Plain { "plain" } else { "hashed" }.to_owned(),
                if file.torn { "ends in the middle of a block" } else { "" }.to_owned(),
            ]);
        }
        fmt::Display::fmt(&table, f)
    }
}
