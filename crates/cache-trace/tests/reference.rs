//! The replay against the hit ratios that an independent simulator measured, where `CACHE_TRACES`
//! names the directory of its traces.

#![cfg(test)]

use std::{env, fs, path::Path};

use cache_trace::{Contender, Plan, ReadOptions, Sampling, Weight, read, simulate};

/// What is equal to the last digit of the reference: the policies without a choice of their own.
const EXACT: [(&str, &str); 5] =
    [("LRU", "lru"), ("FIFO", "fifo"), ("LFU", "lfu"), ("SIEVE", "sieve"), ("OPT(Belady)", "opt")];

#[test]
fn the_replay_equals_the_reference_to_a_ten_thousandth() {
    let Some(directory) = env::var_os("CACHE_TRACES") else {
        println!("left out: CACHE_TRACES does not name the directory of the traces");
        return;
    };
    let directory = Path::new(&directory);
    let reference = fs::read_to_string(directory.join("reference_hit_ratios.csv")).unwrap();
    let rows: Vec<Vec<&str>> =
        reference.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let mut names = vec!["cache2k-web12", "arc-OLTP"];
    if cfg!(debug_assertions) {
        println!("left out: the long trace, which takes minutes without `--release`");
    } else {
        names.push("cache2k-orm-busy");
    }
    let mut compared = 0;
    for name in &names {
        let path = directory.join(format!("{name}.keys.zst"));
        let trace = read(&path, &ReadOptions::default()).unwrap();
        let plan = Plan {
            contenders: EXACT.iter().map(|(_, ours)| ours.parse().unwrap()).collect(),
            sizes: ["1%", "5%", "10%"].map(|size| size.parse().unwrap()).to_vec(),
            sampling: Sampling::Off,
        };
        for point in simulate(&trace, &plan, &|_| true).unwrap().points {
            let theirs = |contender: Contender| {
                let ours = contender.to_string();
                EXACT.iter().find(|(_, name)| *name == ours).expect("it is in the plan").0
            };
            let is_it = |row: &&Vec<&str>| {
                row[1] == *name
                    && format!("{}%", row[4]) == point.size.to_string()
                    && row[6] == theirs(point.contender)
            };
            let row = rows.iter().find(is_it).expect("the reference has each cell");
            assert_eq!(row[2], trace.len().to_string());
            assert_eq!(row[3], trace.keys_len().to_string());
            assert_eq!(row[5], point.capacity.to_string());
            let (ratio, expected) =
                (point.tally.hit_ratio(Weight::Count), row[7].parse::<f64>().unwrap());
            let cell = format!("{name} {} {}", point.contender, point.size);
            assert!((ratio - expected).abs() <= 1e-4, "{cell}: {ratio}, not {expected}");
            compared += 1;
        }
    }
    assert_eq!(compared, names.len() * 3 * EXACT.len());
}
