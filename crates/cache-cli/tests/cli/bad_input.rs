//! Every slip gets its code and a line that says what to change, and leaves nothing behind.

use crate::support::{Home, text};

#[test]
fn a_bad_key_is_refused_before_anything_is_opened() {
    let home = Home::new();
    let long = format!("price:{}", "x".repeat(513));
    for command in ["get", "remove"] {
        home.run([command, ""]).refused(2, "the key is empty");
        home.run([command, "price:"]).refused(2, "the key is empty");
        home.run([command, ":AAPL"]).refused(2, "the namespace is empty");
        home.run([command, &long]).refused(2, "513 bytes long");
        home.run([command, "price:a\u{7}b"]).refused(2, "control character");
    }
    home.run(["put", "price:", "1"]).refused(2, "the key is empty");
    home.run(["clear", "", "--yes"]).refused(2, "the namespace is empty");
    assert!(!home.path("data").exists());
}

#[test]
fn a_removal_names_keys_or_the_tags_of_a_namespace() {
    let home = Home::new();
    let long = "x".repeat(129);
    home.run(["remove"]).refused(2, "KEY");
    home.run(["remove", "--tag", "tech"]).refused(2, "--namespace");
    home.run(["remove", "--namespace", "price"]).refused(2, "--tag");
    home.run(["remove", "a", "--namespace", "price"]).refused(2, "--namespace");
    home.run(["remove", "a", "--all-of"]).refused(2, "--all-of");
    home.run(["remove", "a", "--namespace", "price", "--tag", "tech"]).refused(2, "--tag");
    let tagged = |tag: &str| home.run(["remove", "--namespace", "price", "--tag", tag]);
    tagged("").refused(2, "the tag is empty");
    tagged(&long).refused(2, "a tag of 129 bytes");
    home.run(["remove", "--namespace", "", "--tag", "t"]).refused(2, "the namespace is empty");
    home.run(["put", "a", "1", "--tag", &long]).refused(2, "a tag of 129 bytes");
    assert!(!home.path("data").exists());
}

#[test]
fn a_value_that_is_no_json_or_too_long_is_refused() {
    let home = Home::new();
    home.run(["put", "a", "hello"]).refused(2, "--string");
    home.run(["put", "a", "1e999"]).refused(2, "no JSON");
    home.run_with_input(&["put", "a", "-"], &"[".repeat(1_000).into_bytes()).refused(2, "no JSON");
    home.run_with_input(&["put", "a", "-", "--string"], b"\xff\xfe").refused(2, "not UTF-8");
    let long = vec![b'x'; (16 << 20) + 1];
    home.run_with_input(&["put", "a", "-", "--string"], &long).refused(2, "16777216 bytes");
    // Short enough for standard input, and too long once it is JSON.
    let long = vec![b'"'; 9 << 20];
    home.run_with_input(&["put", "a", "-", "--string"], &long).refused(2, "above 16777216");
    assert_eq!(home.run(["get", "a"]).code, 1);
}

#[test]
fn a_value_above_what_a_tier_holds_is_refused_by_name() {
    let home = Home::new();
    home.write("config/cache-cli/config.toml", "[sqlite]\npayload_len_max = \"1KiB\"\n");
    let value = "x".repeat(2_000);
    home.run(["put", "a", &value, "--string"]).refused(2, "payload_len_max");
}

#[test]
fn a_time_to_live_out_of_its_bounds_is_refused() {
    let home = Home::new();
    home.run(["put", "a", "1", "--ttl", "0s"]).refused(2, "from 1 ms to 366 days");
    home.run(["put", "a", "1", "--ttl", "367days"]).refused(2, "from 1 ms to 366 days");
    home.run(["put", "a", "1", "--ttl", "10"]).refused(2, "such as \"250ms\"");
    home.run(["warm", "--ttl", "0s"]).refused(2, "from 1 ms to 366 days");
    assert!(!home.path("data").exists());
}

#[test]
fn a_bad_source_of_warming_is_refused_with_its_place() {
    let home = Home::new();
    let warm = |source: &str| home.run(["warm", "--source", source]);
    warm("prices.csv").refused(2, "csv:PATH");
    warm("csv:none.csv").refused(2, "none.csv");
    warm("http://h/without").refused(2, "{key}");
    home.write("columns.csv", "Symbol,Close\nAAPL,1\n");
    warm("csv:columns.csv").refused(2, "Ticker");
    home.write("number.csv", "Ticker,Close\nAAPL,1\nMSFT,abc\n");
    warm("csv:number.csv").refused(2, "line 3");
    home.run(["warm", "--keys", "a\u{7}b"]).refused(2, "control character");
    home.run(["warm", "--keys-file", "none.txt"]).refused(2, "none.txt");
    home.write("empty.txt", "# nothing\n");
    home.run(["warm", "--keys-file", "empty.txt"]).refused(2, "no key is named");
    home.run(["warm", "--kind", "prices"]).refused(2, "price, technical");
    assert!(!home.path("data").exists());
}

#[test]
fn a_file_that_is_no_cache_is_left_as_it_is() {
    let home = Home::new();
    let file = home.write("notes.txt", "these are my notes, which are no database at all\n");
    let before = std::fs::read(&file).unwrap();
    home.run(["--data-file", text(&file), "get", "a"]).refused(4, "notes.txt");
    assert_eq!(std::fs::read(&file).unwrap(), before);
    home.run(["--data-file", text(&home.path("")), "get", "a"]);
}

#[test]
fn a_wrong_command_line_is_refused_with_its_usage() {
    let home = Home::new();
    home.run(["fetch"]).refused(2, "Usage");
    home.run(["get"]).refused(2, "KEY");
    home.run(["put", "a", "1", "--version=-1"]).refused(2, "--version");
    home.run(["stats", "--pings", "0"]).refused(2, "--pings");
    let none: [&str; 0] = [];
    assert_eq!(home.run(none).code, 2);
}
