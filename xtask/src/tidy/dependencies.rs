//! Who may depend on whom.

use std::path::Path;

use super::Problem;
use super::repository::Repository;
use crate::workspace::{Dependency, Package};

/// What `cache-core` must do without: clients of servers, and what they speak with.
pub(crate) const NETWORK_CLIENTS: &[&str] = &[
    "bb8-redis",
    "curl",
    "diesel",
    "diesel-async",
    "h2",
    "hyper",
    "hyper-util",
    "isahc",
    "native-tls",
    "openssl",
    "postgres",
    "quinn",
    "redis",
    "reqwest",
    "rustls",
    "sqlx",
    "tokio-postgres",
    "tokio-rustls",
    "tonic",
    "ureq",
];

/// These put the parts together, and may name more than one of them.
const ASSEMBLERS: [&str; 3] = ["cache-cli", "cache-benches", "cache-programs"];

/// Tiers and the warmer know `cache-core` alone: everything else reaches them as `dyn Tier`.
pub(super) fn backends_do_not_know_each_other(repository: &Repository) -> Vec<Problem> {
    let packages = repository.packages.iter();
    packages
        .filter(|package| !ASSEMBLERS.contains(&&*package.name))
        .flat_map(|package| {
            let unwanted = move |name: &str| {
                is_of_the_cache(name) && (name != "cache-core" || package.name == "cache-core")
            };
            let found = shipped(package).filter(move |dependency| unwanted(&dependency.name));
            found.map(|dependency| {
                let advice = format!(
                    "{} must not depend on {}: take an `Arc<dyn Tier>` from the caller",
                    package.name, dependency.name
                );
                at(repository, package, &dependency.name, advice)
            })
        })
        .collect()
}

/// So that it works, and builds in seconds, whatever state they are in.
pub(super) fn xtask_depends_on_no_cache_crate(repository: &Repository) -> Vec<Problem> {
    let packages = repository.packages.iter().filter(|package| package.name == "xtask");
    packages
        .flat_map(|package| {
            let found = package.dependencies.iter().filter(|found| is_of_the_cache(&found.name));
            found.map(|dependency| {
                let advice = format!("xtask must not depend on {}", dependency.name);
                at(repository, package, &dependency.name, advice)
            })
        })
        .collect()
}

/// Only what it names itself is seen here; `cargo xtask ci features` looks at the whole tree.
pub(super) fn the_core_has_no_network_client(repository: &Repository) -> Vec<Problem> {
    let packages = repository.packages.iter().filter(|package| package.name == "cache-core");
    packages
        .flat_map(|package| {
            let is_client = |found: &&Dependency| NETWORK_CLIENTS.contains(&&*found.name);
            shipped(package).filter(is_client).map(|dependency| {
                let advice = format!(
                    "cache-core must not depend on {}: a client belongs to a tier's crate",
                    dependency.name
                );
                at(repository, package, &dependency.name, advice)
            })
        })
        .collect()
}

fn is_of_the_cache(name: &str) -> bool {
    name.starts_with("cache-")
}

/// All but the dependencies of tests.
fn shipped(package: &Package) -> impl Iterator<Item = &Dependency> {
    package.dependencies.iter().filter(|dependency| dependency.kind.as_deref() != Some("dev"))
}

/// A problem at the line of the manifest that names the dependency first.
fn at(repository: &Repository, package: &Package, dependency: &str, advice: String) -> Problem {
    let path = manifest_path(repository, &package.manifest_path);
    let line = repository
        .file(&path)
        .and_then(|file| file.lines().find(|(_, line)| line.trim_start().starts_with(dependency)));
    Problem::new(&path, line.map_or(1, |(number, _)| number), advice)
}

/// The manifest's path as the repository's files have it.
pub(super) fn manifest_path(repository: &Repository, absolute: &Path) -> String {
    let is_it = |path: &&String| path.ends_with("Cargo.toml") && absolute.ends_with(path);
    // Of `Cargo.toml` and `xtask/Cargo.toml`, both of which `…/xtask/Cargo.toml` ends with.
    let longest = repository.paths.iter().filter(is_it).max_by_key(|path| path.len());
    longest.cloned().unwrap_or_else(|| absolute.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(package: &str, dependency: &str, kind: Option<&str>) -> Repository {
        let path = format!("crates/{package}/Cargo.toml");
        let manifest = format!("[dependencies]\n{dependency}.workspace = true\n");
        let mut repository = Repository::of(&[("Cargo.toml", ""), (&path, &manifest)]);
        repository.packages.push(Package {
            name: package.to_owned(),
            manifest_path: format!("/checkout/{path}").into(),
            description: None,
            dependencies: vec![Dependency {
                name: dependency.to_owned(),
                kind: kind.map(str::to_owned),
            }],
            targets: Vec::new(),
        });
        repository
    }

    #[test]
    fn a_tier_that_names_another_is_told_where() {
        let problems =
            backends_do_not_know_each_other(&repository("cache-redis", "cache-sqlite", None));
        assert_eq!(problems.len(), 1);
        assert_eq!(
            (problems[0].file.as_str(), problems[0].line),
            ("crates/cache-redis/Cargo.toml", 2)
        );
    }

    #[test]
    fn a_tier_may_name_the_core_and_in_its_tests_anything() {
        let allowed = |package, dependency, kind| {
            backends_do_not_know_each_other(&repository(package, dependency, kind)).is_empty()
        };
        assert!(allowed("cache-redis", "cache-core", None));
        assert!(allowed("cache-redis", "cache-sqlite", Some("dev")));
        assert!(allowed("cache-cli", "cache-sqlite", None));
        assert!(!allowed("cache-warmer", "cache-redis", None));
        assert!(allowed("cache-sim", "cache-core", None));
        assert!(!allowed("cache-sim", "cache-redis", None));
        assert!(!allowed("cache-core", "cache-redis", None));
    }

    #[test]
    fn the_core_and_xtask_have_their_own_limits() {
        assert_eq!(
            the_core_has_no_network_client(&repository("cache-core", "redis", None)).len(),
            1
        );
        assert!(the_core_has_no_network_client(&repository("cache-core", "moka", None)).is_empty());
        let dev = repository("xtask", "cache-core", Some("dev"));
        assert_eq!(xtask_depends_on_no_cache_crate(&dev).len(), 1);
    }
}
