//! Warming from files and from a service, by processes that others read after.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::{Child, Command},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use crate::support::{Home, Run};
use cache_core::{
    Cache, ReadTap, SystemClock, Tier,
    testkit::{service_url, unique_name},
};
use cache_sqlite::SqliteTier;
use cache_warmer::{Learner, LearnerConfig};
use serde_json::{Value, json};

#[test]
fn what_the_sample_has_is_there_for_the_next_process() {
    let home = Home::new();
    let (code, report) = home.json(["warm"]);
    assert_eq!((code, &report["planned"], &report["loaded"]), (0, &json!(5), &json!(5)));
    let (code, answers) = home.json(["get", "price:AAPL", "price:IBM"]);
    assert_eq!(code, 0);
    assert_eq!(answers[0]["value"]["Close"], 430.47);
    assert_eq!(answers[0]["origin"], "L1 sqlite");
    let fresh_for_ms = answers[0]["fresh_for_ms"].as_u64().unwrap();
    assert!(fresh_for_ms > 23 * 3_600_000, "a bar of the past is fresh for a day: {fresh_for_ms}");

    let (_, again) = home.json(["warm"]);
    assert_eq!((&again["already_fresh"], &again["loaded"]), (&json!(5), &json!(0)));
    let (_, forced) = home.json(["warm", "--forced"]);
    assert_eq!((&forced["already_fresh"], &forced["loaded"]), (&json!(0), &json!(5)));
}

#[test]
fn keys_come_from_flags_a_file_a_preset_or_the_configuration() {
    let home = Home::new();
    let warm = |arguments: &[&str]| {
        let all = ["warm", "--forced"].iter().chain(arguments).copied();
        let (code, report) = home.json(all);
        let count = |name: &str| report[name].as_u64().unwrap();
        (code, count("planned"), count("loaded"), count("missing_at_source"))
    };
    assert_eq!(warm(&["--keys", "AAPL,NONE"]), (0, 2, 1, 1));
    assert_eq!(warm(&["--keys", "NONE"]), (1, 1, 0, 1));
    assert_eq!(warm(&["--preset", "market"]), (0, 28, 2, 26));
    home.write("keys.txt", "# two\nAAPL\nMSFT\n");
    assert_eq!(warm(&["--keys-file", "keys.txt", "--keys", "IBM"]), (0, 3, 3, 0));
    home.write("config/cache-cli/config.toml", "[warm]\nkeys = [\"GOOG\"]\nkind = \"macro\"\n");
    assert_eq!(warm(&[]), (0, 1, 1, 0));
    assert_eq!(home.run(["get", "macro:GOOG"]).code, 0);
}

#[test]
fn a_file_of_ones_own_is_read_by_the_names_of_its_columns() {
    let home = Home::new();
    home.write("own.csv", "Symbol,Day,Close\nX,2024-01-02,2.5\nX,2024-01-01,1.5\n");
    let columns = ["--key-column", "Symbol", "--order-column", "Day", "--ttl", "1h"];
    let arguments = ["warm", "--source", "csv:own.csv"].iter().chain(&columns);
    home.run(arguments).done();
    let (_, answers) = home.json(["get", "price:X"]);
    assert_eq!(answers[0]["value"], json!({"Day": "2024-01-02", "Close": 2.5}));
    assert!(answers[0]["fresh_for_ms"].as_u64().unwrap() <= 3_600_000);
}

/// Answers each request with its path as JSON, and those for `down` with a fault.
fn serve() -> u16 {
    serve_slowly(Duration::ZERO, Arc::default())
}

/// How often each path was asked for.
type Asked = Arc<Mutex<HashMap<String, usize>>>;

/// The same, each after `pause`, and counted.
fn serve_slowly(pause: Duration, asked: Asked) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let asked = Arc::clone(&asked);
            thread::spawn(move || {
                let mut head = String::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while reader.read_line(&mut head).is_ok_and(|len| len > 2) {}
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                *asked.lock().unwrap().entry(path.clone()).or_default() += 1;
                thread::sleep(pause);
                let (status, body) = match path.as_str() {
                    "/down" => ("500 Down", String::new()),
                    "/none" => ("404 None", String::new()),
                    _ => ("200 OK", json!({"quote": {"path": path}}).to_string()),
                };
                let len = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{body}"
                );
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
    port
}

#[test]
fn a_service_is_asked_for_each_key_and_its_faults_are_told() {
    let home = Home::new();
    home.write("config/cache-cli/config.toml", "[warm]\npointer = \"/quote\"\n");
    let source = format!("http://127.0.0.1:{}/{{key}}", serve());
    let warm = |keys: &str| {
        home.json(["warm", "--source", &source, "--keys", keys, "--kind", "fundamentals"])
    };
    let (code, report) = warm("A,none");
    assert_eq!((code, &report["loaded"]), (0, &json!(1)));
    let (_, answers) = home.json(["get", "fundamentals:A"]);
    assert_eq!(answers[0]["value"], json!({"path": "/A"}));
    let fresh_for_ms = answers[0]["fresh_for_ms"].as_u64().unwrap();
    assert!((3_000_000..=3_600_000).contains(&fresh_for_ms), "{fresh_for_ms}");

    let (code, report) = warm("B,down");
    assert_eq!((code, &report["loaded"]), (4, &json!(1)));
    assert_eq!(report["failed"]["rejected_500"]["keys"], 1);
}

/// Two ends of a watch: the first round is told when it is over, and a signal ends it in order.
#[cfg(unix)]
#[test]
fn a_watch_ends_with_a_signal_and_says_what_it_did() {
    for signal in ["INT", "TERM"] {
        let home = Home::new();
        let mut child = home.command(["warm", "--watch", "--format", "json"]).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        let first: Value = serde_json::from_str(&first).unwrap();
        assert_eq!(first["loaded"], 5);
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        let ended = Run::of(child.wait_with_output().unwrap());
        assert_eq!(ended.code, 0, "{ended:?}");
        let stats: Value = serde_json::from_str(&rest).unwrap();
        assert_eq!((&stats["runs"], &stats["total"]["loaded"]), (&json!(1), &json!(5)));
        assert_eq!(home.run(["get", "price:MSFT"]).code, 0);
    }
}

#[test]
fn a_value_that_a_tier_did_not_take_is_told() {
    let home = Home::new();
    home.write("config/cache-cli/config.toml", "[sqlite]\npayload_len_max = \"16B\"\n");
    let run = home.run(["warm"]);
    assert_eq!(run.code, 4, "{run:?}");
    assert!(run.err.contains("5 of 5 values are not in sqlite"), "{run:?}");
}

#[test]
fn a_watch_is_refused_where_warming_is_off_and_a_single_run_is_not() {
    let home = Home::new();
    home.write("config/cache-cli/config.toml", "cache_warming_enabled = false\n");
    home.run(["warm", "--watch"]).refused(3, "cache_warming_enabled");
    home.run(["warm"]).done();
}

/// A run over 600 keys of a counted source that takes its time.
struct LongRun {
    home: Home,
    asked: Asked,
    source: String,
}

impl LongRun {
    fn new() -> Self {
        let (home, asked) = (Home::new(), Asked::default());
        let keys: String = (0..600).map(|i| format!("k{i}\n")).collect();
        home.write("keys.txt", &keys);
        let port = serve_slowly(Duration::from_millis(10), Arc::clone(&asked));
        Self { home, asked, source: format!("http://127.0.0.1:{port}/{{key}}") }
    }

    fn arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let what = ["warm", "--source", &self.source, "--keys-file", "keys.txt", "--ttl", "1h"];
        what.iter().chain(more).copied().chain(["--format", "json"]).collect()
    }

    /// The same over a PostgreSQL, in a schema of its own.
    fn over_postgres(url: &str, schema: &str) -> Self {
        let run = Self::new();
        let config = format!("[postgres]\nurl = \"{url}\"\nschema = \"{schema}\"\n");
        run.home.write("config/cache-cli/config.toml", &config);
        run
    }

    fn begin(&self, more: &[&str]) -> Child {
        self.home.command(self.arguments(more)).spawn().unwrap()
    }

    /// Waits until the source was asked for so many keys.
    fn under_way(&self, keys: usize) {
        while self.keys_asked() < keys {
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn keys_asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn most_asked(&self) -> usize {
        *self.asked.lock().unwrap().values().max().unwrap()
    }
}

fn signal(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
}

#[cfg(unix)]
#[test]
fn a_run_that_was_interrupted_is_completed_by_resume_and_loads_nothing_twice() {
    let run = LongRun::new();
    let child = run.begin(&[]);
    run.under_way(100);
    signal(&child, "INT");
    let ended = Run::of(child.wait_with_output().unwrap());
    assert_eq!(ended.code, 6, "{ended:?}");
    assert!(ended.err.contains("--resume") && ended.err.contains("of memory"), "{ended:?}");
    let (_, status) = run.home.json(["warm", "status"]);
    assert_eq!((&status["stage"], &status["settled"]), (&json!("stopped"), &json!(0)));

    let resumed = Run::of(run.begin(&["--resume"]).wait_with_output().unwrap()).done();
    let report: Value = serde_json::from_str(&resumed.out).unwrap();
    assert_eq!(report["planned"], 600);
    let (fresh, loaded) = (report["already_fresh"].as_u64(), report["loaded"].as_u64());
    assert_eq!(fresh.unwrap() + loaded.unwrap(), 600, "{report}");
    assert!(fresh.unwrap() >= 90, "{report}");
    assert_eq!((run.keys_asked(), run.most_asked()), (600, 1));
    let (_, status) = run.home.json(["warm", "status"]);
    assert_eq!((&status["stage"], &status["settled"]), (&json!("done"), &json!(600)));
}

#[cfg(unix)]
#[test]
fn a_leader_that_is_killed_is_replaced_and_no_key_is_loaded_more_than_twice() {
    leader_is_killed(&LongRun::new());
}

#[cfg(unix)]
#[test]
fn a_leader_by_a_lease_of_postgres_is_replaced_too() {
    let test = "a_leader_by_a_lease_of_postgres_is_replaced_too";
    let Some(url) = service_url("DATABASE_URL", test) else { return };
    let schema = unique_name("warm");
    let run = LongRun::over_postgres(&url, &schema);
    leader_is_killed(&run);
    assert!(!run.home.data_file().exists(), "PostgreSQL is the bottom tier");
    drop_schema(&url, &schema);
}

fn drop_schema(url: &str, schema: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        client.batch_execute(&format!("DROP SCHEMA \"{schema}\" CASCADE")).await.unwrap();
        drop(client);
        connection.await.unwrap().unwrap();
    });
}

#[cfg(unix)]
fn leader_is_killed(run: &LongRun) {
    let mut leader = run.begin(&[]);
    run.under_way(50);
    // It waits for the lease.
    let follower = run.begin(&["--resume"]);
    run.under_way(150);
    signal(&leader, "KILL");
    leader.wait().unwrap();
    let ended = Run::of(follower.wait_with_output().unwrap()).done();
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(report["planned"], 600, "{report}");
    assert!(report["already_fresh"].as_u64().unwrap() >= 130, "{report}");
    assert_eq!(run.keys_asked(), 600, "the plan is completed");
    assert!(run.most_asked() <= 2, "{}", run.most_asked());
    let (_, status) = run.home.json(["warm", "status"]);
    assert_eq!((&status["stage"], &status["leaders"]), (&json!("done"), &json!(2)));
}

#[test]
fn a_plan_is_told_with_its_cost_and_nothing_is_loaded() {
    let home = Home::new();
    home.run(["warm", "--keys", "AAPL"]).done();
    let (code, plan) = home.json(["warm", "plan", "--rate", "2"]);
    assert_eq!((code, &plan["planned"], &plan["already_fresh"]), (0, &json!(5), &json!(1)));
    assert_eq!((&plan["to_load"], &plan["source_calls"]), (&json!(4), &json!(1)));
    assert_eq!(plan["takes_at_least_ms"], 2_000);
    assert_eq!(home.run(["get", "price:MSFT"]).code, 1, "nothing was loaded");
    let told = home.run(["warm", "plan"]).done().out;
    assert!(told.contains("4 would be loaded, by 1 calls"), "{told}");
}

#[test]
fn what_was_never_run_has_no_status_and_cannot_be_resumed_as_something_else() {
    let home = Home::new();
    assert_eq!(home.run(["warm", "status"]).code, 1);
    home.run(["warm", "--keys", "AAPL"]).done();
    assert!(home.run(["warm", "status"]).done().out.contains("done; 1 of 1 keys"));
    home.run(["warm", "--keys", "AAPL,IBM", "--resume"]).refused(3, "cannot be resumed");
}

#[test]
fn what_services_found_hot_is_warmed_with_what_a_file_names_by_rank() {
    let home = Home::new();
    home.run(["warm", "--learned"]).refused(2, "no source names a key");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let clock = SystemClock::shared();
        let durable = SqliteTier::open(home.data_file()).unwrap();
        let tap = ReadTap::new(1.0).unwrap();
        let cache: Cache<u64> = Cache::builder("price").read_tap(tap.clone()).build().unwrap();
        let learner = Learner::new(LearnerConfig::default(), tap, clock).unwrap();
        let learner = learner.keep_in(Arc::clone(&durable) as Arc<dyn Tier>, "price").unwrap();
        for key in ["MSFT", "AAPL", "MSFT"] {
            cache.get(key).await.unwrap();
        }
        learner.listen();
        learner.save().await.unwrap();
        durable.close().await.unwrap();
    });
    home.write("keys.txt", "IBM\t100000\nGOOG\n");
    let more = ["--learned", "--keys-file", "keys.txt", "--max-keys", "3"];
    let (code, plan) = home.json(["warm", "plan"].iter().chain(&more).copied());
    assert_eq!((code, &plan["first"]), (0, &json!(["IBM", "MSFT", "AAPL"])));
    let told = home.run(["warm", "plan"].iter().chain(&more)).done().out;
    assert!(told.contains("learned: 2 planned of 2 named"), "{told}");
    let (code, report) = home.json(["warm"].iter().chain(&more).copied());
    assert_eq!((code, &report["loaded"]), (0, &json!(3)));
    assert_eq!(report["sources"]["learned"]["loaded"], 2);
}

#[test]
fn what_is_usually_read_at_a_time_is_warmed_for_it() {
    let home = Home::new();
    home.record_reads(&["AAPL"]);
    let log = ["warm", "--access-log", "reads/access.log", "--ahead"];
    // Tomorrow at this time, even when the next half hour has just begun.
    let ways = ["1d", "1410m"].map(|ahead| home.run(log.iter().chain(&[ahead])).code);
    assert!(ways.contains(&0), "{ways:?}");
    assert_eq!(home.run(["get", "price:AAPL"]).code, 0);
    home.run(log.iter().chain(&["12h"])).refused(2, "no source names a key");
    home.run(log.iter().chain(&["1d", "--zone", "Nowhere"])).refused(2, "no time zone");
}

#[test]
fn the_keys_of_a_query_are_warmed() {
    let Some(url) = service_url("DATABASE_URL", "the_keys_of_a_query_are_warmed") else { return };
    let home = Home::new();
    let query = "SELECT * FROM (VALUES ('AAPL', 1), ('MSFT', 9)) AS popular (key, hits)";
    home.run(["warm", "--query", query]).refused(2, "--query-url");
    let asked = ["warm", "--query", query, "--query-url", &url];
    let (code, report) = home.json(asked);
    assert_eq!((code, &report["loaded"]), (0, &json!(2)));
    let asked = ["warm", "plan", "--query", query, "--query-url", &url, "--max-keys", "1"];
    let told = home.run(asked).done().out;
    assert!(told.contains("MSFT") && !told.contains("AAPL"), "{told}");
    let bad = ["warm", "--query", "SELECT nonsense", "--query-url", &url];
    let told = home.run(bad).err;
    assert!(told.contains("nonsense") && !told.contains("panicked"), "{told}");
}
