//! Servers for tests, and what to say when there is none.

use std::{
    env,
    fs::OpenOptions,
    hash::{BuildHasher, RandomState},
    io::Write,
    sync::atomic::{AtomicU64, Ordering},
};

/// The address of a server for `test`, from the environment variable `variable`
/// (`REDIS_URL`, `DATABASE_URL`); nothing, and a word about it, when it is not set.
///
/// # Panics
///
/// When it is not set but `CI` is: a machine that checks everything must have the server.
#[must_use]
pub fn service_url(variable: &str, test: &str) -> Option<String> {
    let url = env::var(variable).ok().filter(|url| !url.is_empty());
    if url.is_none() {
        left_out(test, &format!("{variable} is not set"));
    }
    url
}

/// Says that `test` was left out, on standard error and in the file that the environment variable
/// `CACHE_TEST_LEFT_OUT` names.
///
/// # Panics
///
/// When `CI` is set.
pub fn left_out(test: &str, reason: &str) {
    let line = format!("left out: {test} ({reason})");
    assert!(
        env::var_os("CI").is_none_or(|ci| ci.is_empty()),
        "{line}: with CI set nothing is left out; start the servers with `cargo xtask services up`",
    );
    eprintln!("{line}");
    if let Some(path) = env::var_os("CACHE_TEST_LEFT_OUT") {
        let file = OpenOptions::new().create(true).append(true).open(path);
        // Whoever set the variable misses a line at worst; the test itself has nothing to say.
        let _ = file.and_then(|mut file| writeln!(file, "{line}"));
    }
}

/// A name that no other test uses, on this machine or another: of a namespace, a schema, a file.
/// Letters, digits and `_`.
#[must_use]
pub fn unique_name(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // A new `RandomState` is randomly seeded, which is all the randomness that is needed here.
    let random = RandomState::new().hash_one(COUNT.fetch_add(1, Ordering::Relaxed));
    format!("{prefix}_{random:016x}")
}
