//! The hit ratios of other people's simulators, on whole traces.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use cache_core::Eviction;

use super::{hit_ratio, keys};

/// Where the traces and their reference file are.
const VARIABLE: &str = "CACHE_TRACES";

/// A trace of more requests takes too long without optimisation.
const REQUESTS_MAX_UNOPTIMISED: u64 = 1_000_000;

/// A trace at a size.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cell {
    trace: String,
    requests: u64,
    capacity: u64,
}

/// The hit ratios of each policy of the reference file, one for each implementation.
type Reference = BTreeMap<Cell, BTreeMap<String, Vec<f64>>>;

fn reference(traces: &Path) -> Reference {
    let text = fs::read_to_string(traces.join("reference_hit_ratios.csv"))
        .expect("the reference file lies beside the traces");
    let mut reference = Reference::new();
    for line in text.lines().skip(1) {
        let fields: Vec<_> = line.split(',').collect();
        let cell = Cell {
            trace: fields[1].to_owned(),
            requests: fields[2].parse().expect("a count"),
            capacity: fields[5].parse().expect("a capacity"),
        };
        let ratio = fields[7].parse().expect("a ratio");
        let policies = reference.entry(cell).or_default();
        policies.entry(fields[6].to_owned()).or_default().push(ratio);
    }
    reference
}

#[test]
fn the_policies_have_the_hit_ratios_of_the_reference_file() {
    let Some(traces) = std::env::var_os(VARIABLE).map(PathBuf::from) else {
        println!("left out: {VARIABLE} does not say where the traces are");
        return;
    };
    let reference = reference(&traces);
    let gains: Vec<f64> = thread::scope(|scope| {
        let cells = reference.iter().filter(|(cell, _)| {
            let fits = !cfg!(debug_assertions) || cell.requests <= REQUESTS_MAX_UNOPTIMISED;
            if !fits {
                println!("left out without --release: {cell:?}");
            }
            fits
        });
        let traces = &traces;
        let running: Vec<_> =
            cells.map(|(cell, known)| scope.spawn(|| check(traces, cell, known))).collect();
        running.into_iter().map(|cell| cell.join().expect("the cell holds")).collect()
    });
    let mean = gains.iter().sum::<f64>() / gains.len() as f64;
    println!("the default goes {:.1} % of the way from FIFO to the optimum", mean * 100.0);
    assert!(mean >= 0.25, "{gains:?}");
}

/// Checks each policy, and says how far the default goes from FIFO to the optimum.
fn check(traces: &Path, cell: &Cell, known: &BTreeMap<String, Vec<f64>>) -> f64 {
    let trace = fs::read(traces.join(format!("{}.keys.zst", cell.trace))).expect("a trace");
    let trace = keys(&trace);
    assert_eq!(trace.len() as u64, cell.requests);
    let found = |policy| hit_ratio(policy, cell.capacity, &trace);

    let exact = [
        (Eviction::Lru, "LRU"),
        (Eviction::Fifo, "FIFO"),
        (Eviction::Lfu, "LFU"),
        (Eviction::Sieve, "SIEVE"),
    ];
    for (policy, name) in exact {
        let (found, known) = (found(policy), known[name][0]);
        assert!((found - known).abs() <= 1e-4, "{cell:?}, {policy}: {found} and not {known}");
    }
    let s3_fifo = found(Eviction::S3Fifo);
    let near = known["S3-FIFO"].iter().any(|known| (s3_fifo - known).abs() <= 0.01);
    assert!(near, "{cell:?}, s3-fifo: {s3_fifo} and not {:?}", known["S3-FIFO"]);

    let w_tiny_lfu = found(Eviction::WTinyLfu);
    let lowest = known["W-TinyLFU"].iter().copied().fold(1.0, f64::min);
    assert!(w_tiny_lfu >= lowest - 0.005, "{cell:?}, w-tinylfu: {w_tiny_lfu}, lowest {lowest}");

    let default = found(Eviction::default());
    let [lru, fifo, optimum] = ["LRU", "FIFO", "OPT(Belady)"].map(|name| known[name][0]);
    println!("{cell:?}: {default:.4}, LRU {lru:.4}, S3-FIFO {s3_fifo:.4}, OPT {optimum:.4}");
    assert!(default >= lru - 0.015, "{cell:?}: {default}, LRU {lru}");
    (default - fifo) / (optimum - fifo)
}

/// Pieces of the traces, of so many requests each: other traffic than the whole.
const PIECE: usize = 100_000;

/// In a cache of a few dozen records a queue of its own for newcomers can cost two points.
const RECORDS_MIN: u64 = 100;

#[test]
fn the_default_is_never_far_below_lru_on_pieces_of_the_traces() {
    let Some(traces) = std::env::var_os(VARIABLE).map(PathBuf::from) else {
        println!("left out: {VARIABLE} does not say where the traces are");
        return;
    };
    for name in ["cache2k-web12", "arc-OLTP", "cache2k-orm-busy"] {
        let trace = fs::read(traces.join(format!("{name}.keys.zst"))).expect("a trace");
        let trace = keys(&trace);
        // Two of each without optimisation, and ten of the long ones with it.
        let pieces = if cfg!(debug_assertions) { 2 } else { 10 };
        let step = (trace.len() / pieces).max(PIECE);
        for (number, piece) in trace.chunks(step).take(pieces).enumerate() {
            let piece = &piece[..piece.len().min(PIECE)];
            let unique = piece.iter().collect::<BTreeSet<_>>().len() as u64;
            for per_mille in [3, 10, 30, 100] {
                let capacity = unique * per_mille / 1_000;
                if capacity < RECORDS_MIN {
                    continue;
                }
                let [default, lru, s3_fifo] =
                    [Eviction::default(), Eviction::Lru, Eviction::S3Fifo]
                        .map(|policy| hit_ratio(policy, capacity, piece) * 100.0);
                println!(
                    "{name} piece {number}, {capacity} records: {default:.2} %, LRU {lru:.2} %, \
                     S3-FIFO {s3_fifo:.2} %"
                );
                assert!(default >= lru - 1.5, "{name} piece {number}, {capacity} records");
            }
        }
    }
}
