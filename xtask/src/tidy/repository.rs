//! What the rules look at: every text file of the repository, and cargo's view of the packages.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::rust_text::RustText;
use crate::workspace::{self, Package};

/// The text files and the packages of the workspace.
#[derive(Debug, Default)]
pub(crate) struct Repository {
    pub(crate) files: Vec<SourceFile>,
    pub(crate) packages: Vec<Package>,
    /// Every file's path, also of those that are not text.
    pub(crate) paths: Vec<String>,
}

/// A text file.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// For Rust files.
    pub(crate) rust: Option<RustText>,
}

impl Repository {
    /// Reads the checkout that xtask runs in.
    pub(crate) fn load() -> Result<Self> {
        let root = workspace::root();
        let paths = paths(&root)?;
        let files = paths
            .iter()
            .filter_map(|path| Some(SourceFile::new(path, text(&root.join(path))?)))
            .collect();
        Ok(Self { files, packages: workspace::packages()?, paths })
    }

    /// Rust files, with their code and literals apart.
    pub(crate) fn rust_files(&self) -> impl Iterator<Item = (&SourceFile, &RustText)> {
        self.files.iter().filter_map(|file| Some((file, file.rust.as_ref()?)))
    }

    pub(crate) fn with_extension(&self, extension: &str) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().filter(move |file| file.extension() == extension)
    }

    pub(crate) fn file(&self, path: &str) -> Option<&SourceFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// A repository of these files, for the tests of rules.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let paths = files.iter().map(|(path, _)| (*path).to_owned()).collect();
        let files =
            files.iter().map(|(path, text)| SourceFile::new(path, (*text).to_owned())).collect();
        Self { files, packages: Vec::new(), paths }
    }
}

impl SourceFile {
    fn new(path: &str, text: String) -> Self {
        let rust = path.ends_with(".rs").then(|| RustText::parse(&text));
        Self { path: path.to_owned(), text, rust }
    }

    /// Empty when it has none.
    pub(crate) fn extension(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    /// Its lines, counted from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        numbered(&self.text)
    }
}

/// The lines of a text, counted from 1.
pub(crate) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// The number of the line that a byte is in, counted from 1.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// What git tracks or would track; without git, every file but the build's.
fn paths(root: &Path) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let mut paths: Vec<String> = match workspace::read(&mut git) {
        Ok(listing) => listing.split_terminator('\0').map(str::to_owned).collect(),
        Err(_) => walk(root, "")?,
    };
    // A file that was removed and not committed yet is still listed.
    paths.retain(|path| root.join(path).is_file());
    paths.sort();
    paths.dedup();
    Ok(paths)
}

fn walk(root: &Path, directory: &str) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    let place = root.join(directory);
    let entries =
        fs::read_dir(&place).with_context(|| format!("cannot read {}", place.display()))?;
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
        if path == "target" || path == ".git" {
            continue;
        }
        if root.join(&path).is_dir() {
            paths.extend(walk(root, &path)?);
        } else {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// `None` when the file is not UTF-8.
fn text(path: &Path) -> Option<String> {
    String::from_utf8(fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_git_the_build_directory_is_passed_over() {
        let root = tempfile::tempdir().unwrap();
        for file in ["target/debug/out.rs", "crates/a/src/lib.rs", "README.md"] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let mut found = walk(root.path(), "").unwrap();
        found.sort();
        assert_eq!(found, ["README.md", "crates/a/src/lib.rs"]);
    }

    #[test]
    fn a_dot_file_has_no_extension_before_its_name() {
        let extension = |path| SourceFile::new(path, String::new()).extension().to_owned();
        assert_eq!(extension("docs/GUIDE.md"), "md");
        assert_eq!(extension(".ci/run"), "");
    }
}
