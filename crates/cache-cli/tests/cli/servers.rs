//! The whole stack, with the servers that REDIS_URL and DATABASE_URL name. Each test has a namespace
//! of its own, and empties it.

use crate::{
    support::{Home, Run},
    watching::Watching,
};
use cache_core::testkit::{service_url, unique_name};
use serde_json::json;

#[test]
fn a_value_travels_through_redis_and_postgres() {
    let test = "a_value_travels_through_redis_and_postgres";
    let Some(redis) = service_url("REDIS_URL", test) else { return };
    let Some(postgres) = service_url("DATABASE_URL", test) else { return };
    let home = Home::new();
    let key = format!("{}:AAPL", unique_name("cli"));
    let namespace = key.split(':').next().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = home.command(arguments.iter().chain(&["--format", "json"]));
        let command = command.env("REDIS_URL", &redis).env("DATABASE_URL", &postgres);
        let run = Run::of(command.output().unwrap());
        let json = serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}: {run:?}"));
        (run.code, json)
    };

    let (code, answer): (i32, serde_json::Value) = run(&["put", &key, "187.5", "--ttl", "10m"]);
    assert_eq!((code, &answer["outcome"]), (0, &json!("stored")));
    let (_, answers) = run(&["get", &key]);
    assert_eq!((&answers[0]["value"], &answers[0]["origin"]), (&json!(187.5), &json!("L1 redis")));

    // Written past Redis: the database alone has it, and a read brings it up.
    let below = format!("{namespace}:MSFT");
    let only_postgres = ["--database-url", &postgres, "put", &below, "1", "--ttl", "10m"];
    home.run(only_postgres).done();
    let origins = [(); 2].map(|()| run(&["get", &below]).1[0]["origin"].clone());
    assert_eq!(origins, ["L2 postgres", "L1 redis"]);

    let (code, tiers) = run(&["stats"]);
    assert_eq!(
        (code, &tiers[0]["name"], &tiers[1]["name"]),
        (0, &json!("redis"), &json!("postgres"))
    );

    let (code, _) = run(&["clear", namespace, "--yes"]);
    assert_eq!(code, 0);
    let (code, answers) = run(&["get", &key, &below]);
    assert_eq!((code, &answers[1]["found"]), (1, &json!(false)));
    assert!(!home.data_file().exists(), "PostgreSQL is the bottom tier");
}

#[test]
fn redis_alone_stands_above_the_file() {
    let Some(redis) = service_url("REDIS_URL", "redis_alone_stands_above_the_file") else { return };
    let home = Home::new();
    let key = format!("{}:AAPL", unique_name("cli"));
    let with_redis = ["--redis-url", &redis];
    home.run(with_redis.iter().chain(&["put", &key, "1", "--ttl", "10m"])).done();
    let origin = |home: &Home, flags: &[&str]| {
        let (_, answers) = home.json(flags.iter().chain(&["get", &key]).copied());
        answers[0]["origin"].clone()
    };
    assert_eq!(origin(&home, &with_redis), "L1 redis");
    assert_eq!(origin(&home, &[]), "L1 sqlite");
    home.run(with_redis.iter().chain(&["remove", &key])).done();
    assert_eq!(home.run(["get", &key]).code, 1);
}

#[test]
fn the_doctor_looks_at_both_servers() {
    let test = "the_doctor_looks_at_both_servers";
    let Some(redis) = service_url("REDIS_URL", test) else { return };
    let Some(postgres) = service_url("DATABASE_URL", test) else { return };
    let home = Home::new();
    let (code, checks) = home.json(["--redis-url", &redis, "--database-url", &postgres, "doctor"]);
    let checks = checks.as_array().unwrap().clone();
    for (part, names) in [
        (
            "redis",
            &[
                "reachable",
                "log",
                "leases",
                "version",
                "maxmemory",
                "maxmemory-policy",
                "persistence",
            ][..],
        ),
        (
            "postgres",
            &["reachable", "log", "leases", "version", "migrations", "durability", "connections"],
        ),
    ] {
        for name in names {
            let found = checks.iter().any(|c| c["part"] == part && c["check"] == *name);
            assert!(found, "{part} {name} in {checks:?}");
        }
    }
    // Whether a server that somebody else set up has a fault is for the doctor to say.
    let has_fault = checks.iter().any(|check| check["verdict"] == "fault");
    assert_eq!(code, if has_fault { 4 } else { 0 }, "{checks:?}");
}

#[test]
fn both_servers_tell_a_removal_to_whoever_watches() {
    let test = "both_servers_tell_a_removal_to_whoever_watches";
    let Some(redis) = service_url("REDIS_URL", test) else { return };
    let Some(postgres) = service_url("DATABASE_URL", test) else { return };
    let home = Home::new();
    let key = format!("{}:AAPL", unique_name("cli"));
    let with = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env("REDIS_URL", &redis).env("DATABASE_URL", &postgres);
        command
    };
    let mut watch = Watching::begin(with(&["watch", "--for", "1m", "--format", "json"]));
    Run::of(with(&["remove", &key]).output().unwrap()).done();
    let mut tiers: Vec<String> = [(); 2]
        .map(|()| {
            watch.line_where(|line| line["key"] == key.as_str() && line["event"] == "removal")
        })
        .iter()
        .map(|line| line["tier"].as_str().unwrap().to_owned())
        .collect();
    tiers.sort();
    assert_eq!(tiers, ["postgres", "redis"]);
}
