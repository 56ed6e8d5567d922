//! Values that go in by one process and come out by another.

use crate::support::{Home, Run};
use serde_json::json;

#[test]
fn what_one_process_puts_another_one_gets() {
    let home = Home::new();
    home.run(["put", "price:AAPL", r#"{"close": 187.5}"#, "--ttl", "1h"]).done();
    let table = home.run(["get", "price:AAPL"]).done().out;
    for part in ["price:AAPL", "L1 sqlite", r#"{"close":187.5}"#, "59m"] {
        assert!(table.contains(part), "{part} in {table}");
    }
    assert!(home.data_file().exists());
}

#[test]
fn several_keys_are_answered_in_their_order_and_a_missing_one_is_told_by_the_code() {
    let home = Home::new();
    home.run(["put", "price:MSFT", "410.25", "--version", "7"]).done();
    home.run(["put", "greeting", "hello", "--string"]).done();
    let (code, answers) = home.json(["get", "price:NONE", "greeting", "price:MSFT"]);
    assert_eq!(code, 1);
    assert_eq!(answers[0], json!({"key": "price:NONE", "found": false}));
    assert_eq!(answers[1]["key"], "default:greeting");
    assert_eq!(answers[1]["value"], "hello");
    assert_eq!(answers[2]["value"], 410.25);
    assert_eq!((&answers[2]["version"], &answers[2]["stale"]), (&json!(7), &json!(false)));
    assert!(answers[2]["fresh_for_ms"].as_u64().unwrap() <= 300_000);

    let raw = home.run(["get", "--raw", "price:NONE", "greeting", "price:MSFT"]);
    assert_eq!((raw.code, raw.out.as_str()), (1, "\"hello\"\n410.25\n"));
    assert!(home.run(["get", "price:NONE"]).out.contains("not there"));
}

#[test]
fn a_value_is_read_compressed_or_not_whatever_the_setting_is() {
    let home = Home::new();
    let text = "the price of AAPL rose by a cent. ".repeat(2_000);
    let put = |key: &str, algorithm: &str| {
        let before = std::fs::metadata(home.data_file()).map_or(0, |file| file.len());
        let mut command = home.command(["put", key, &text, "--string"]);
        Run::of(command.env("CACHE_COMPRESSION__SQLITE", algorithm).output().unwrap()).done();
        std::fs::metadata(home.data_file()).unwrap().len() - before
    };
    put("first", "off");
    let [plain, lz4, zstd] = ["off", "lz4", "zstd"].map(|algorithm| put(algorithm, algorithm));
    assert!(lz4 * 2 < plain && zstd * 2 < plain, "{plain}, {lz4}, {zstd} bytes");
    let read = home.run(["get", "--raw", "off", "lz4", "zstd"]).done().out;
    assert_eq!(read, format!("\"{text}\"\n").repeat(3));
    let mut command = home.command(["get", "off"]);
    let run = Run::of(command.env("CACHE_COMPRESSION__SQLITE", "gzip").output().unwrap());
    run.refused(3, "off");
}

#[test]
fn a_value_comes_from_standard_input() {
    let home = Home::new();
    home.run_with_input(&["put", "a", "-", "--string"], b"two\nlines\n").done();
    home.run_with_input(&["put", "b", "-"], b"[1, null]").done();
    home.run(["put", "c", "-5"]).done();
    home.run(["put", "d", "null"]).done();
    let run = home.run(["get", "--raw", "a", "b", "c", "d"]).done();
    assert_eq!(run.out, "\"two\\nlines\"\n[1,null]\n-5\nnull\n");
}

#[test]
fn a_removal_is_seen_by_the_next_process_and_older_versions_stay_out() {
    let home = Home::new();
    home.run(["put", "price:A", "1"]).done();
    home.run(["put", "price:B", "1", "--version", "1"]).done();
    home.run(["remove", "price:A", "price:B", "--before-version", "3"]).done();
    assert_eq!(home.run(["get", "price:A", "price:B"]).code, 1);

    let old = home.run(["put", "price:B", "2", "--version", "2"]);
    assert_eq!(old.code, 1);
    assert!(old.out.contains("a newer version"), "{old:?}");
    let (code, answer) = home.json(["put", "price:B", "3", "--version", "3"]);
    assert_eq!((code, answer), (0, json!({"key": "price:B", "outcome": "stored"})));
    assert_eq!(home.run(["get", "price:B"]).code, 0);
}

#[test]
fn a_clear_empties_its_namespace_and_no_other() {
    let home = Home::new();
    home.run(["put", "price:A", "1"]).done();
    home.run(["put", "prices:A", "2"]).done();
    home.run(["clear", "price"]).refused(2, "--yes");
    assert_eq!(home.run(["get", "price:A"]).code, 0);
    let (code, answer) = home.json(["clear", "price", "--yes"]);
    assert_eq!((code, answer), (0, json!({"namespace": "price", "cleared": true})));
    assert_eq!(home.run(["get", "price:A"]).code, 1);
    assert_eq!(home.run(["get", "prices:A"]).code, 0);
}

#[test]
fn a_value_expires_for_every_process() {
    let home = Home::new();
    home.run(["put", "price:A", "1", "--ttl", "1ms"]).done();
    // Two processes and a file are slower than a millisecond.
    assert_eq!(home.run(["get", "price:A"]).code, 1);
}

#[test]
fn a_stored_control_character_does_not_reach_the_terminal() {
    let home = Home::new();
    home.run_with_input(&["put", "a", "-", "--string"], "\u{9b}2J\u{7f}".as_bytes()).done();
    let out = home.run(["get", "a"]).done().out;
    assert!(!out.trim_end().chars().any(|c| c.is_control() && c != '\n'), "{out:?}");
}

#[test]
fn what_carries_a_tag_is_removed_together() {
    let home = Home::new();
    let put = |key: &str, tags: &[&str]| {
        let tags = tags.iter().flat_map(|tag| ["--tag", tag]);
        home.run(["put", key, "1"].into_iter().chain(tags)).done();
    };
    put("price:AAPL", &["nasdaq", "tech"]);
    put("price:PLTR", &["nyse", "tech"]);
    put("price:F", &["nyse"]);
    put("price:X", &[]);
    put("news:AAPL", &["tech"]);
    let found = || {
        let keys = ["price:AAPL", "price:PLTR", "price:F", "price:X", "news:AAPL"];
        let (_, answers) = home.json(["get"].into_iter().chain(keys));
        answers.as_array().unwrap().iter().map(|a| a["found"] == true).collect::<Vec<_>>()
    };
    assert_eq!(found(), [true; 5]);

    let all_of = ["remove", "--namespace", "price", "--tag", "tech", "--tag", "nasdaq", "--all-of"];
    let told = home.run(all_of).done().out;
    assert_eq!(told, "what carries tech and nasdaq in price is removed\n");
    assert_eq!(found(), [false, true, true, true, true]);

    let any_of = ["remove", "--namespace", "price", "--tag", "tech", "--tag", "nyse"];
    let (code, answer) = home.json(any_of);
    let expected = json!({"namespace": "price", "tags": ["tech", "nyse"], "all_of": false});
    assert_eq!((code, answer), (0, expected));
    assert_eq!(found(), [false, false, false, true, true]);
}
