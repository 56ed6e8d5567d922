//! What the program tells about the tiers and about itself.

use std::io::Read;

use crate::support::{Home, Run};

#[test]
fn stats_tell_what_a_tier_holds_and_how_fast_it_answers() {
    let home = Home::new();
    home.run(["warm"]).done();
    let table = home.run(["stats"]).done().out;
    assert!(table.contains("sqlite") && table.contains("machine"), "{table}");
    let (code, tiers) = home.json(["stats", "--pings", "50"]);
    assert_eq!(code, 0);
    assert_eq!((&tiers[0]["name"], &tiers[0]["scope"]), (&"sqlite".into(), &"machine".into()));
    assert_eq!(tiers[0]["usage"]["entries"], 6, "five values, and how the run stands");
    assert!(tiers[0]["usage"]["bytes"].as_u64().unwrap() > 0);
    assert_eq!(tiers[0]["ping"]["count"], 50);
    assert!(tiers[0]["ping"]["p50_us"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_doctor_finds_the_embedded_cache_well() {
    let home = Home::new();
    let run = home.run(["doctor"]).done();
    for part in [
        "near -> sqlite",
        "no damage found",
        "write-ahead log",
        "near by s3-fifo",
        "a change is heard of",
        "0 faults",
    ] {
        assert!(run.out.contains(part), "{part} in {}", run.out);
    }
    let (_, checks) = home.json(["doctor"]);
    let checks = checks.as_array().unwrap().clone();
    assert!(checks.len() > 10);
    assert!(checks.iter().all(|check| check["verdict"] == "ok"), "{checks:?}");
}

#[test]
fn the_doctor_tells_what_is_wrong_and_goes_on() {
    let home = Home::new();
    let file = "cache_eviction_policy = \"lfu\"\n[redis]\nurl = \"redis://127.0.0.1:1\"\n";
    home.write("config/cache-cli/config.toml", file);
    let mut command = home.command(["doctor", "--format", "json"]);
    let run = Run::of(command.env("CACHE_TTLL", "1s").output().unwrap());
    assert_eq!(run.code, 4, "{run:?}");
    let checks: Vec<serde_json::Value> = serde_json::from_str(&run.out).unwrap();
    let find = |part: &str, name: &str| {
        let mut found = checks.iter().filter(|c| c["part"] == part && c["check"] == name);
        found.next().unwrap_or_else(|| panic!("{part} {name} in {checks:?}")).clone()
    };
    let redis = find("redis", "reachable");
    assert_eq!(redis["verdict"], "fault");
    assert!(redis["found"].as_str().unwrap().contains("127.0.0.1:1"), "{redis}");
    let policy = find("settings", "cache_eviction_policy")["found"].to_string();
    assert!(policy.contains("redis by the server, for lfu; sqlite by lfu"), "{policy}");
    let environment = find("settings", "environment");
    assert!(environment["found"].as_str().unwrap().contains("CACHE_TTLL"), "{environment}");
    assert_eq!(find("sqlite", "integrity")["verdict"], "ok", "one fault does not end the look");
}

#[test]
fn a_reader_that_goes_early_is_no_fault() {
    let home = Home::new();
    let value = "x".repeat(1 << 20);
    home.run_with_input(&["put", "a", "-", "--string"], value.as_bytes()).done();
    for arguments in [&["get", "a", "a"][..], &["completions", "bash"], &["doctor"], &["--help"]] {
        let mut child = home.command(arguments).spawn().unwrap();
        // Closed before the program has written anything.
        drop(child.stdout.take());
        let run = Run::of(child.wait_with_output().unwrap());
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{arguments:?}");
    }
    let mut child = home.command(["get", "a", "a"]).spawn().unwrap();
    let mut first = [0; 64];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(Run::of(child.wait_with_output().unwrap()).code, 0);
}

#[test]
fn every_shell_has_completions() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = home.run(["completions", shell]).done().out;
        assert!(script.contains("doctor") && script.contains("cache-cli"), "{shell}");
    }
    assert!(!home.path("data").exists(), "it asks no tier");
}

#[test]
fn the_help_has_examples_exit_codes_and_settings() {
    let home = Home::new();
    let help = home.run(["--help"]).done().out;
    for part in ["Examples:", "Exit codes:", "cache_warming_interval_seconds", "s3-fifo"] {
        assert!(help.contains(part), "{part} in {help}");
    }
    let fits = |help: &str| help.lines().all(|line| line.chars().count() <= 100);
    assert!(fits(&help), "{help}");
    for command in [
        "get",
        "put",
        "remove",
        "clear",
        "warm",
        "watch",
        "stats",
        "simulate",
        "record",
        "doctor",
        "completions",
    ] {
        let help = home.run([command, "--help"]).done().out;
        assert!(help.contains("Examples:") && fits(&help), "{help}");
    }
}
