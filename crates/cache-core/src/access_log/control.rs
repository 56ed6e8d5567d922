//! The switch: a file in the log's directory, which other processes put there and take away.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::KeyForm;
use crate::error::{Error, ErrorKind, Result};

/// The name of the switch. While there is such a file, the caches whose logs are in its directory
/// record; they look once a second.
pub(super) const SWITCH: &str = "recording";

/// The longest switch that is read.
const LEN_MAX: u64 = 4_096;

/// What the switch may say beside being there: each setting in place of the one of the cache's
/// [`AccessLogConfig`](super::AccessLogConfig).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordingSwitch {
    /// The part of the keys, above 0 and up to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<f64>,
    /// Whether keys are written or their hashes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeyForm>,
}

impl RecordingSwitch {
    /// Turns recording on in a directory: the running caches see it within about a second.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a part of the keys that is none, or when the file cannot be written.
    pub fn turn_on(&self, directory: &Path) -> Result<()> {
        check_sample(self.sample.unwrap_or(1.0))?;
        let text = serde_json::to_string(self).expect("a switch is plain data");
        // Under another name first: a reader never sees half of it.
        let path = directory.join(format!("{SWITCH}.{}", std::process::id()));
        fs::create_dir_all(directory)
            .and_then(|()| fs::write(&path, text))
            .and_then(|()| fs::rename(&path, directory.join(SWITCH)))
            .map_err(|error| cannot("turn recording on", directory, &error))
    }

    /// Turns recording off in a directory, and says whether it was on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when the file cannot be removed.
    pub fn turn_off(directory: &Path) -> Result<bool> {
        match fs::remove_file(directory.join(SWITCH)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(cannot("turn recording off", directory, &error)),
        }
    }

    /// The switch of a directory; nothing when recording is off.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when it cannot be read, or says what is not known.
    pub fn of(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(SWITCH);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot("look for the switch", directory, &error)),
            Ok(metadata) if metadata.len() > LEN_MAX => {
                let message = format!("the switch `{}` is too long", path.display());
                return Err(Error::new(ErrorKind::Config, message).hint("remove it"));
            }
            Ok(_) => {}
        }
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            // Taken away since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot("read the switch", directory, &error)),
        };
        // One that a person has made with `touch` says nothing.
        if text.trim().is_empty() {
            return Ok(Some(Self::default()));
        }
        let switch: Self = serde_json::from_str(&text).map_err(|error| {
            let message = format!("the switch `{}`: {error}", path.display());
            Error::new(ErrorKind::Config, message)
                .hint("turn recording off and on again with `cache-cli record`")
        })?;
        check_sample(switch.sample.unwrap_or(1.0))?;
        Ok(Some(switch))
    }
}

pub(super) fn check_sample(sample: f64) -> Result<()> {
    if sample > 0.0 && sample <= 1.0 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, format!("`sample` is {sample}"))
        .hint("record a part of the keys that is above 0 and at most 1"))
}

fn cannot(what: &str, directory: &Path, error: &io::Error) -> Error {
    Error::new(ErrorKind::Config, format!("cannot {what} in `{}`: {error}", directory.display()))
        .hint("name the directory of the caches' access log, and see that it may be written")
}
