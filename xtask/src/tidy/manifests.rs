//! What every crate's manifest says.

use super::Problem;
use super::dependencies::manifest_path;
use super::repository::{Repository, SourceFile};

/// The workspace forbids unsafe code, and every crate takes the workspace's lints.
pub(super) fn unsafe_code_is_forbidden(repository: &Repository) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(root) = repository.file("Cargo.toml")
        && !has_entry(root, "[workspace.lints.rust]", r#"unsafe_code = "forbid""#)
    {
        let advice = r#"[workspace.lints.rust] must have `unsafe_code = "forbid"`"#;
        problems.push(Problem::new(&root.path, 1, advice));
    }
    for package in &repository.packages {
        let path = manifest_path(repository, &package.manifest_path);
        if let Some(manifest) = repository.file(&path)
            && !has_entry(manifest, "[lints]", "workspace = true")
        {
            problems.push(Problem::new(&path, 1, "add `[lints]` with `workspace = true`"));
        }
    }
    problems
}

pub(super) fn every_crate_is_described(repository: &Repository) -> Vec<Problem> {
    let is_described = |text: &Option<String>| text.as_ref().is_some_and(|t| !t.trim().is_empty());
    let packages = repository.packages.iter();
    packages
        .filter(|package| !is_described(&package.description))
        .map(|package| {
            let path = manifest_path(repository, &package.manifest_path);
            Problem::new(&path, 1, "say in `description` what the crate is for")
        })
        .collect()
}

/// Whether a table of a TOML file has this line.
fn has_entry(manifest: &SourceFile, table: &str, entry: &str) -> bool {
    let lines = manifest.lines().map(|(_, line)| line.trim());
    let in_table = lines.skip_while(|line| *line != table).skip(1);
    in_table.take_while(|line| !line.starts_with('[')).any(|line| line == entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Package;

    fn with_package(manifest: &str, description: Option<&str>) -> Repository {
        let root = "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n";
        let mut repository =
            Repository::of(&[("Cargo.toml", root), ("crates/a/Cargo.toml", manifest)]);
        repository.packages.push(Package {
            name: "a".to_owned(),
            manifest_path: "/checkout/crates/a/Cargo.toml".into(),
            description: description.map(str::to_owned),
            dependencies: Vec::new(),
            targets: Vec::new(),
        });
        repository
    }

    #[test]
    fn a_crate_that_does_not_take_the_lints_is_found() {
        let tidy = with_package("[lints]\nworkspace = true\n", None);
        assert!(unsafe_code_is_forbidden(&tidy).is_empty());
        let other_table = with_package("[lints]\n[package]\nworkspace = true\n", None);
        assert_eq!(unsafe_code_is_forbidden(&other_table)[0].file, "crates/a/Cargo.toml");
    }

    #[test]
    fn a_workspace_that_allows_unsafe_code_is_found() {
        let repository = Repository::of(&[("Cargo.toml", "[workspace.lints.rust]\n")]);
        assert_eq!(unsafe_code_is_forbidden(&repository).len(), 1);
    }

    #[test]
    fn an_empty_description_is_none() {
        assert!(every_crate_is_described(&with_package("", Some("A thing"))).is_empty());
        assert_eq!(every_crate_is_described(&with_package("", Some(" "))).len(), 1);
        assert_eq!(every_crate_is_described(&with_package("", None)).len(), 1);
    }
}
