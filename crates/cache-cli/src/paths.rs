//! Where this user's files are, by the customs of the platform.

use std::{env, ffi::OsString, path::PathBuf};

/// Of all that this program keeps on a machine.
const OWN: &str = "cache-cli";

/// Where the embedded tier's file is unless another place is configured; nothing when the
/// environment names no home.
pub(crate) fn data_file() -> Option<PathBuf> {
    let directory = if cfg!(windows) {
        directory(&env::var_os, "LOCALAPPDATA", &["USERPROFILE", "AppData", "Local"])
    } else if cfg!(target_os = "macos") {
        directory(&env::var_os, "XDG_DATA_HOME", &["HOME", "Library", "Application Support"])
    } else {
        directory(&env::var_os, "XDG_DATA_HOME", &["HOME", ".local", "share"])
    };
    Some(directory?.join(OWN).join("cache.sqlite3"))
}

/// Where the configuration is looked for unless another place is named.
pub(crate) fn config_file() -> Option<PathBuf> {
    let directory = if cfg!(windows) {
        directory(&env::var_os, "APPDATA", &["USERPROFILE", "AppData", "Roaming"])
    } else if cfg!(target_os = "macos") {
        directory(&env::var_os, "XDG_CONFIG_HOME", &["HOME", "Library", "Application Support"])
    } else {
        directory(&env::var_os, "XDG_CONFIG_HOME", &["HOME", ".config"])
    };
    Some(directory?.join(OWN).join("config.toml"))
}

/// The directory in the variable `own`, else the one below the directory in a second variable.
/// A relative path in either counts as not set, as the XDG specification has it.
fn directory(
    variable: &dyn Fn(&'static str) -> Option<OsString>,
    own: &'static str,
    below: &[&'static str],
) -> Option<PathBuf> {
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let (home, rest) = below.split_first()?;
    absolute(own).or_else(|| Some(absolute(home)?.join(rest.iter().collect::<PathBuf>())))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_own_variable_comes_before_the_home_and_relative_paths_do_not_count() {
        let ask = |xdg: Option<&str>, home: Option<&str>| {
            let (xdg, home) = (xdg.map(OsString::from), home.map(OsString::from));
            let variable = move |name: &str| if name == "X" { xdg.clone() } else { home.clone() };
            directory(&variable, "X", &["HOME", ".local", "share"])
        };
        assert_eq!(ask(Some("/x"), Some("/h")), Some("/x".into()));
        assert_eq!(ask(Some("x"), Some("/h")), Some("/h/.local/share".into()));
        assert_eq!(ask(None, Some("/h")), Some("/h/.local/share".into()));
        assert_eq!(ask(None, Some("")), None);
        assert_eq!(ask(None, None), None);
    }
}
