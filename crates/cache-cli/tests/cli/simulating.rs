//! `simulate`: from a trace to curves and advice, without a server and without a configuration.

use std::{fs, path::Path};

use serde_json::Value;

use crate::support::{Home, text};

/// Twenty thousand reads of a web shop.
fn sample() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../cache-trace/sample/web12.keys.zst")
}

#[test]
fn curves_in_json_are_an_array_of_points_and_nothing_else() {
    let home = Home::new();
    home.write("reads.keys", "a\nb\na\nc\na\nb\n");
    let arguments = ["simulate", "reads.keys", "--policies", "lru,fifo,opt", "--sizes", "2,100%"];
    let (code, curves) = home.json(arguments);
    assert_eq!(code, 0);
    let point = |policy, size, capacity, hits: u64| {
        serde_json::json!({
            "policy": policy, "size": size, "capacity": capacity,
            "requests": 6, "hits": hits, "hit_ratio": hits as f64 / 6.0,
        })
    };
    let expected = [
        point("lru", "2", 2, 2),
        point("lru", "100%", 3, 3),
        point("fifo", "2", 2, 1),
        point("fifo", "100%", 3, 3),
        point("opt", "2", 2, 2),
        point("opt", "100%", 3, 3),
    ];
    assert_eq!(curves, Value::from(expected.to_vec()));
    assert!(!home.path("data").exists(), "no tier was opened");
}

#[test]
fn a_table_comes_with_advice_and_the_charts_are_files() {
    let home = Home::new();
    let run = home
        .run(["simulate", sample(), "--html", "c.html", "--svg", "c.svg", "--current", "fifo@1%"])
        .done();
    for part in
        ["20000 reads of", "every read was replayed", "Take ", "opt", "present setting, fifo"]
    {
        assert!(run.out.contains(part), "{part} in {}", run.out);
    }
    assert_eq!(run.err, "", "no bar where there is no terminal");
    let page = fs::read_to_string(home.path("c.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("Take ") && !page.contains("<script"));
    assert!(fs::read_to_string(home.path("c.svg")).unwrap().starts_with("<svg"));
}

#[test]
fn a_trace_comes_from_standard_input_too() {
    let home = Home::new();
    let bytes = fs::read(Path::new(sample())).unwrap();
    let arguments = ["simulate", "-", "--policies", "lru", "--sizes", "10%", "--format", "json"];
    let run = home.run_with_input(&arguments, &bytes).done();
    let curves: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!((&curves[0]["requests"], &curves[0]["policy"]), (&20_000.into(), &"lru".into()));
}

#[test]
fn hits_are_weighed_by_bytes_and_by_cost() {
    let home = Home::new();
    home.write("reads.csv", "size,key,cost\n10,a,1\n30,b,5\n10,a,1\n30,b,5\n");
    let of = |weight| {
        let arguments = ["simulate", "reads.csv", "--policies", "lru", "--sizes", "1KiB"];
        home.json(arguments.into_iter().chain(["--weight", weight])).1[0].clone()
    };
    assert_eq!((&of("bytes")["requests"], &of("bytes")["hits"]), (&80.into(), &40.into()));
    assert_eq!(of("cost")["hits"], 6);
    home.write("keys", "a\nb\n");
    home.run(["simulate", "keys", "--weight", "cost"]).refused(2, "a column `cost`");
    home.run(["simulate", "keys", "--sizes", "1MiB"]).refused(2, "tells no sizes");
}

#[test]
fn a_sample_is_told_beside_json_and_not_in_it() {
    let home = Home::new();
    let arguments = ["simulate", sample(), "--policies", "sieve", "--sizes", "10%"];
    let sampled = arguments.into_iter().chain(["--sample", "0.3", "--format", "json"]);
    let run = home.run(sampled).done();
    assert!(run.err.contains("30.00 %, were replayed"), "{}", run.err);
    let curves: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(curves[0]["requests"], 20_000);
    let whole = home.json(arguments).1[0]["hit_ratio"].as_f64().unwrap();
    let part = curves[0]["hit_ratio"].as_f64().unwrap();
    assert!((whole - part).abs() < 0.05, "{whole} {part}");
}

#[test]
fn a_trace_that_is_none_is_refused_with_its_place() {
    let home = Home::new();
    let simulate = |name: &str| home.run(["simulate", name]);
    simulate("none.keys").refused(2, "none.keys");
    home.write("empty", "");
    simulate("empty").refused(2, "the trace is empty");
    home.write("row.csv", "key,size\na,1\nb,x\n");
    simulate("row.csv").refused(2, "line 3: `size` is \"x\"");
    home.write("long", &"x".repeat(1 << 20));
    simulate("long").refused(2, "line 1: longer than 65536 bytes");
    let program = env!("CARGO_BIN_EXE_cache-cli");
    simulate(program).refused(2, "binary file");
    simulate(text(&home.path(""))).refused(2, "cannot read the trace");
}

#[test]
fn a_wrong_size_or_policy_is_refused_and_an_odd_one_answered() {
    let home = Home::new();
    home.write("keys", "a\nb\na\n");
    let with = |flag: &str, value: &str| home.run(["simulate", "keys", flag, value]);
    with("--sizes", "0").refused(2, "holds nothing");
    with("--sizes", "many").refused(2, "is no size");
    with("--policies", "mru").refused(2, "s3-fifo");
    with("--sample", "2").refused(2, "above 0 and up to 1");
    with("--current", "opt@5").refused(2, "no cache can have `opt`");
    with("--current", "lru").refused(2, "lru@64MiB");
    with("--html", "no/such/directory.html").refused(2, "cannot write");
    assert!(with("--sizes", "1%").done().out.contains("1% of 2 keys is less than one"));
    let all = with("--sizes", "1000000").done().out;
    assert!(all.contains("1000000 has room for everything") && all.contains("33.33 %"), "{all}");
}
