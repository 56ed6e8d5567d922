//! Each library builds without its default features, and names nothing it must not depend on.

use anyhow::{Result, bail};

use crate::tidy::NETWORK_CLIENTS;
use crate::workspace::{cargo, read, run_checked};

/// A library that is used alone.
struct Library {
    package: &'static str,
    /// The features with which `unwanted` must be absent.
    features: &'static str,
    unwanted: &'static [&'static str],
}

const ALL: &str = "--all-features";
const NONE: &str = "--no-default-features";

const LIBRARIES: [Library; 5] = [
    Library { package: "cache-core", features: ALL, unwanted: NETWORK_CLIENTS },
    Library {
        package: "cache-redis",
        features: ALL,
        unwanted: &["diesel", "diesel-async", "libsqlite3-sys", "tokio-postgres"],
    },
    Library {
        package: "cache-postgres",
        features: ALL,
        unwanted: &["bb8-redis", "libsqlite3-sys", "redis"],
    },
    Library {
        package: "cache-sqlite",
        features: ALL,
        unwanted: &["bb8-redis", "diesel-async", "redis", "tokio-postgres"],
    },
    // Its HTTP source is a feature; what remains needs no network.
    Library { package: "cache-warmer", features: NONE, unwanted: NETWORK_CLIENTS },
];

/// # Errors
///
/// A library does not compile alone, or has a dependency that it must not have.
pub(crate) fn check() -> Result<()> {
    for Library { package, features, unwanted } in LIBRARIES {
        run_checked(&mut cargo(&format!("check -p {package} {NONE}")))?;
        let query = format!("tree -p {package} {features} -e normal");
        let tree = read(&mut cargo(&format!("{query} --prefix none --format {{p}}")))?;
        let found = named_in(&tree, unwanted);
        if !found.is_empty() {
            let names = found.join(", ");
            bail!("{package} depends on {names}: see `cargo {query} -i {}`", found[0]);
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
