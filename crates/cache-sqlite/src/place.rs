//! Where the file is: found, and made when there is none.

use std::{
    fs::{self, OpenOptions},
    io,
    path::{self, Path, PathBuf},
    time::Duration,
};

use cache_core::{Error, ErrorKind, Result};

use crate::{config::SqliteConfig, error::explain_io};

/// Where the file is and how it is opened; shared by all connections of a tier.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    /// The absolute path as text, which SQLite takes for a path and never for a URI.
    pub(crate) url: String,
    log_path: PathBuf,
    pub(crate) busy_timeout: Duration,
    /// How long the write-ahead log may become.
    pub(crate) log_len_max: u64,
}

impl Place {
    /// Finds the place, and makes the directory and an empty file where there are none.
    pub(crate) fn prepare(config: &SqliteConfig) -> Result<Self> {
        let path = path::absolute(&config.path).map_err(|fault| {
            explain_io(&format!("find the SQLite file {}", config.path.display()), fault)
        })?;
        let Some(url) = path.to_str().filter(|url| !url.contains('\0')).map(str::to_owned) else {
            let fault = format!("the path {} is not UTF-8, or holds a NUL", path.display());
            return Err(Error::new(ErrorKind::Config, fault).hint("correct `sqlite.path`"));
        };
        create(&path)?;
        let log_path = PathBuf::from(format!("{url}-wal"));
        let log_len_max = config.log_len_max();
        Ok(Self { path, url, log_path, busy_timeout: config.busy_timeout.0, log_len_max })
    }

    /// How long the write-ahead log is, in bytes.
    pub(crate) fn log_len(&self) -> u64 {
        fs::metadata(&self.log_path).map_or(0, |log| log.len())
    }
}

/// Creates the directory and the file, readable by its owner only; SQLite gives the files beside
/// it the same permissions.
fn create(path: &Path) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(|fault| {
            explain_io(&format!("make the directory {}", directory.display()), fault)
        })?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(fault) => Err(explain_io(&format!("make the SQLite file {}", path.display()), fault)),
    }
}
