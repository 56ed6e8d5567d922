//! `record`: the reads of another process's cache, from the switch to the curves.

use std::{convert::Infallible, thread, time::Duration};

use cache_core::{AccessLog, AccessLogConfig, Cache, SystemClock};

use crate::support::{Home, text};

/// A switch is looked at once a second.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}: not within 20 s");
}

#[test]
fn a_running_cache_is_recorded_while_the_switch_is_on_and_its_reads_are_simulated() {
    let home = Home::new();
    let directory = home.path("reads");
    let config = AccessLogConfig::new(&directory);
    let log = AccessLog::open(config, SystemClock::shared()).unwrap();
    let cache: Cache<u64> = Cache::builder("numbers").access_log(log.clone()).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let read = |times: u64| {
        runtime.block_on(async {
            for i in 0..times {
                let load = || async { Ok::<_, Infallible>(7) };
                cache.get_or_load(&format!("{}", i % 100), load).await.unwrap();
            }
        });
    };
    read(500);
    let status = || home.json(["record", "status", text(&directory)]).1;
    assert_eq!(status()["recording"], false);
    assert_eq!(status()["files"], serde_json::json!([]));

    let on = home.json(["record", "on", text(&directory), "--sample", "1"]).1;
    assert_eq!((&on["recording"], &on["sample"]), (&true.into(), &1.0.into()));
    wait_until("it records", || log.stats().is_recording);
    read(1_000);
    wait_until("it is written", || log.stats().written == 1_000);
    let table = home.run(["record", "status", text(&directory)]).done().out;
    assert!(table.contains("recording is on") && table.contains("1000"), "{table}");

    home.run(["record", "off", text(&directory)]).done();
    wait_until("it does not record any more", || !log.stats().is_recording);
    read(500);
    assert_eq!(status()["files"][0]["reads"], 1_000);
    assert_eq!(status()["files"][0]["torn"], false);

    let file = directory.join("access.log");
    let curves = home.json(["simulate", text(&file), "--policies", "lru,opt", "--sizes", "100%"]).1;
    assert_eq!((&curves[0]["capacity"], &curves[0]["requests"]), (&100.into(), &1_000.into()));
    assert_eq!(curves[0]["hits"], 900);
    // With sizes in the trace, the present setting is known: that of the near tier.
    let table = home.run(["simulate", text(&file)]).done().out;
    assert!(table.contains("KiB") && table.contains("The present setting"), "{table}");
}

#[test]
fn what_was_read_is_warmed() {
    let home = Home::new();
    home.record_reads(&["MSFT", "AAPL", "MSFT"]);
    let (code, report) = home.json(["warm", "--access-log", "reads/access.log"]);
    assert_eq!((code, &report["planned"], &report["loaded"]), (0, &2.into(), &2.into()));
    let hashed = home.run(["warm", "--access-log", "none.log"]);
    hashed.refused(2, "none.log");
}

#[test]
fn a_switch_that_cannot_be_is_refused() {
    let home = Home::new();
    home.run(["record", "on", "d", "--sample", "0"]).refused(2, "`sample` is 0");
    home.run(["record", "status", "none"]).refused(2, "none");
    home.run(["record"]).refused(2, "Usage");
    home.write("file", "");
    home.run(["record", "on", "file"]).refused(2, "cannot turn recording on");
}
