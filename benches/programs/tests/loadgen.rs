//! The load generator as it is run: its output, its file and its exit codes.

use std::process::{Command, Output};

use cache_benches::report::Report;

fn loadgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(arguments)
        .env_remove("REDIS_URL")
        .env_remove("DATABASE_URL")
        .env("CACHE_ENVIRONMENT_JSON", r#"{"cpu": "a test's"}"#)
        .output()
        .expect("cargo has built it")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_tiny_run_writes_its_figures_and_meets_its_verdicts() {
    let directory = tempfile::tempdir().unwrap();
    // In a directory that is not there yet.
    let path = directory.path().join("figures/latest.json");
    let output = loadgen(&[
        "--seconds",
        "0.05",
        "--scenario",
        "read-1000",
        "--scenario",
        "mixed-1000",
        "--stack",
        "near",
        "--output",
        path.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));

    let json = std::fs::read(&path).unwrap();
    let report: Report = serde_json::from_slice(&json).unwrap();
    assert_eq!(report.environment["cpu"], "a test's");
    assert_eq!(report.environment["load_test"]["seed"], 42);
    assert!(report.is_good() && report.runs.len() == 2);
    for run in &report.runs {
        assert_eq!((run.stack.as_str(), run.concurrency, run.keys), ("near", 1_000, 100));
        assert_eq!((run.operations, run.errors, run.lost), (run.successes, 0, 0));
        assert_eq!((run.loads, run.hit_ratio["overall"]), (0, Some(1.0)), "it was warmed");
        assert!(run.operations >= 1_000 && run.throughput_per_s > 0.0);
        assert!(run.latency_us.p50.unwrap() <= run.latency_us.max.unwrap());
    }

    let shown = text(&output.stdout);
    for part in ["near, read-1000", "against the seed system", "operations lost", "Saved to"] {
        assert!(shown.contains(part), "{shown}");
    }
}

#[test]
fn a_run_that_is_only_planned_says_what_is_left_out_and_why() {
    let output = loadgen(&["--dry-run"]);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("near+sqlite, stress-5000"), "{shown}");
    assert!(shown.contains("left out: redis (REDIS_URL is not set)"), "{shown}");
    assert!(text(&loadgen(&["--list"]).stdout).contains("read-1000, write-1000, mixed-1000"));
}

#[test]
fn what_cannot_be_run_ends_in_2_and_a_password_is_not_told() {
    let named = loadgen(&["--stack", "redis"]);
    assert_eq!(named.status.code(), Some(2));
    assert!(text(&named.stderr).contains("REDIS_URL is not set"));

    let elsewhere = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["--stack", "redis", "--dry-run"])
        .env("REDIS_URL", "redis://user:s3cret@cache.example:6379")
        .output()
        .unwrap();
    assert_eq!(elsewhere.status.code(), Some(2));
    let told = text(&elsewhere.stderr);
    assert!(told.contains("--i-own-this-target") && !told.contains("s3cret"), "{told}");
}
