//! Each library builds without its default features, and names nothing it must not depend on.

use anyhow::{Result, bail};

use crate::tidy::NETWORK_CLIENTS;
use crate::workspace::{cargo, read, run_checked};

/// Libraries that are used alone, each with the packages that it must not bring along.
const LIBRARIES: [(&str, &[&str]); 5] = [
    ("cache-core", NETWORK_CLIENTS),
    ("cache-redis", &["diesel", "diesel-async", "tokio-postgres"]),
    ("cache-postgres", &["redis", "bb8-redis", "libsqlite3-sys"]),
    ("cache-sqlite", &["redis", "bb8-redis", "tokio-postgres", "diesel-async"]),
    ("cache-warmer", &["redis", "diesel", "tokio-postgres", "reqwest", "hyper"]),
];

/// # Errors
///
/// A library does not compile alone, or has a dependency that it must not have.
pub(crate) fn check() -> Result<()> {
    for (package, unwanted) in LIBRARIES {
        run_checked(&mut cargo(&format!("check -p {package} --no-default-features")))?;
        let tree = read(&mut cargo(&format!(
            "tree -p {package} --no-default-features -e normal --prefix none --format {{p}}"
        )))?;
        let found = named_in(&tree, unwanted);
        if !found.is_empty() {
            bail!(
                "{package} without default features depends on {}: see \
                 `cargo tree -p {package} --no-default-features -e normal -i {}`",
                found.join(", "),
                found[0]
            );
        }
    }
    Ok(())
}

/// The unwanted packages among lines such as `tokio v1.48.0`.
fn named_in<'a>(tree: &str, unwanted: &[&'a str]) -> Vec<&'a str> {
    let named = |package: &str| {
        tree.lines().any(|line| line.split_whitespace().next().is_some_and(|name| name == package))
    };
    unwanted.iter().copied().filter(|package| named(package)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_compared_by_their_whole_name() {
        let tree = "cache-core v0.1.0 (/somewhere)\nredis-protocol v6.0.0\nhyper v1.0.0\n";
        assert_eq!(named_in(tree, &["redis", "hyper"]), ["hyper"]);
    }
}
