//! Settings from a TOML file.

use std::{
    env,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use cache_core::{Error, ErrorKind, Result};
use figment::{
    Profile, Provider,
    providers::{Format, Toml},
};

use super::layer::Layer;
use crate::paths;

/// A configuration is a page of text. What is longer is not one.
const FILE_LEN_MAX: u64 = 1 << 20;

/// The file to be read and what it says: `named`, else the one that `CACHE_CONFIG` names, else the
/// user's own if there is one.
///
/// # Errors
///
/// [`ErrorKind::Config`] when the file cannot be read, or is no TOML.
pub(super) fn find(named: Option<PathBuf>) -> Result<Option<(PathBuf, Layer)>> {
    let by_variable = || env::var_os("CACHE_CONFIG").filter(|path| !path.is_empty());
    if let Some(path) = named.or_else(|| by_variable().map(PathBuf::from)) {
        let text = read(&path).map_err(|fault| {
            unreadable(&path, &fault).hint("correct --config or CACHE_CONFIG, or the file's rights")
        })?;
        return Ok(Some((path.clone(), parse(&path, &text)?)));
    }
    let Some(path) = paths::config_file() else { return Ok(None) };
    match read(&path) {
        Ok(text) => Ok(Some((path.clone(), parse(&path, &text)?))),
        Err(fault) if is_absent(&fault) => Ok(None),
        Err(fault) => Err(unreadable(&path, &fault)
            .hint("correct the file's rights, or name another one by --config")),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_LEN_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_LEN_MAX {
        return Err(io::Error::other("it is longer than 1 MiB"));
    }
    Ok(text)
}

fn is_absent(fault: &io::Error) -> bool {
    matches!(fault.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn unreadable(path: &Path, fault: &io::Error) -> Error {
    let message = format!("could not read the configuration file {}: {fault}", path.display());
    Error::new(ErrorKind::Config, message)
}

fn parse(path: &Path, text: &str) -> Result<Layer> {
    let settings = Toml::string(text).data().map_err(|fault| {
        let message = format!(
            "the configuration file {} is no TOML: {}",
            path.display(),
            without_excerpt(&fault.kind.to_string())
        );
        Error::new(ErrorKind::Config, message).hint("correct it there")
    })?;
    let settings = settings.into_iter().find(|(profile, _)| *profile == Profile::Default);
    let settings = settings.map(|(_, settings)| settings).unwrap_or_default();
    Ok(Layer::new(path.display().to_string(), settings))
}

/// The place and the fault, without the line of the file that the parser quotes: that line may
/// hold a password.
fn without_excerpt(told: &str) -> String {
    let quoted = |line: &&str| {
        let line = line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
        line.trim_start().starts_with('|')
    };
    let lines: Vec<&str> = told.lines().filter(|line| !quoted(line)).collect();
    lines.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_in_the_file_is_told_with_its_line_and_without_its_text() {
        let text = "ttl = \"10s\"\nurl = \"redis://:s3cret@h\n";
        let Err(error) = parse(Path::new("/x.toml"), text) else { panic!("it is no TOML") };
        let told = error.to_string();
        assert!(told.contains("/x.toml") && told.contains("line 2"), "{told}");
        assert!(!told.contains("s3cret") && !told.contains('\n'), "{told}");
    }
}
