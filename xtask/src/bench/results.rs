//! Criterion's figures: one file a benchmark below `target/criterion`, read into one list.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::table;

/// What one benchmark measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measurement {
    pub(crate) id: String,
    mean_ns: f64,
    median_ns: f64,
    std_dev_ns: f64,
    throughput: Option<Throughput>,
    /// The time of an iteration in each of criterion's samples, in the order in which they were
    /// taken.
    pub(crate) samples_ns: Vec<f64>,
}

/// How much one iteration handles, and what that makes at the mean time.
#[derive(Debug, Serialize, Deserialize)]
struct Throughput {
    /// Criterion's name in lower case: `elements` or `bytes`.
    unit: String,
    per_iteration: f64,
    per_second: f64,
}

/// Every benchmark that was measured after `marker` was written, by id.
///
/// Criterion keeps the figures of every benchmark that ever ran; the older ones are not this
/// run's, and some of their benchmarks may no longer exist.
pub(crate) fn since(marker: &Path, criterion_home: &Path) -> Result<Vec<Measurement>> {
    let mut directories = Vec::new();
    collect_measured(criterion_home, &mut directories)?;
    let start = modified(marker)?;
    let mut results = Vec::new();
    for directory in directories {
        if modified(&directory.join("estimates.json"))? >= start {
            results.push(read(&directory)?);
        }
    }
    results.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(results)
}

/// The measurements for a person.
pub(crate) fn table(results: &[Measurement]) -> String {
    let rows: Vec<Vec<String>> = results
        .iter()
        .map(|result| {
            let per_second = result.throughput.as_ref().map_or_else(String::new, |throughput| {
                format!("{:.0} {}/s", throughput.per_second, throughput.unit)
            });
            let mut row = vec![result.id.clone()];
            row.extend([result.mean_ns, result.median_ns, result.std_dev_ns].map(nanoseconds));
            row.push(per_second);
            row
        })
        .collect();
    table::render(&["benchmark", "mean", "median", "std dev", "throughput"], &rows)
}

/// The files of criterion that are read.
const FILES: [&str; 3] = ["benchmark.json", "estimates.json", "sample.json"];

/// Directories named `new` that have all of criterion's files.
fn collect_measured(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", directory.display()));
        }
    };
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", directory.display()))?.path();
        if path.file_name().is_some_and(|name| name == "new") {
            if FILES.iter().all(|file| path.join(file).is_file()) {
                found.push(path);
            }
        } else if path.is_dir() {
            collect_measured(&path, found)?;
        }
    }
    Ok(())
}

fn read(directory: &Path) -> Result<Measurement> {
    #[derive(Deserialize)]
    struct Benchmark {
        full_id: String,
        throughput: Option<Value>,
    }
    #[derive(Deserialize)]
    struct Estimates {
        mean: Estimate,
        median: Estimate,
        std_dev: Estimate,
    }
    #[derive(Deserialize)]
    struct Estimate {
        point_estimate: f64,
    }
    #[derive(Deserialize)]
    struct Samples {
        iters: Vec<f64>,
        times: Vec<f64>,
    }
    let [benchmark, estimates, samples] = FILES.map(|file| directory.join(file));
    let benchmark: Benchmark = read_json(&benchmark)?;
    let estimates: Estimates = read_json(&estimates)?;
    let samples: Samples = read_json(&samples)?;
    let mean_ns = estimates.mean.point_estimate;
    Ok(Measurement {
        id: benchmark.full_id,
        mean_ns,
        median_ns: estimates.median.point_estimate,
        std_dev_ns: estimates.std_dev.point_estimate,
        throughput: benchmark.throughput.and_then(|value| Throughput::parse(&value, mean_ns)),
        samples_ns: samples.times.iter().zip(&samples.iters).map(|(ns, n)| ns / n).collect(),
    })
}

fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is not what criterion 0.8 writes", path.display()))
}

/// When a file was written; only compared with that of another file, so the clock is the file
/// system's on both sides.
fn modified(path: &Path) -> Result<impl PartialOrd + use<>> {
    fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .with_context(|| format!("cannot ask for the age of {}", path.display()))
}

impl Throughput {
    /// Reads `{"Elements": 100}` and its like.
    fn parse(value: &Value, mean_ns: f64) -> Option<Self> {
        let (unit, amount) = value.as_object()?.iter().next()?;
        let per_iteration = amount.as_f64()?;
        let per_second = per_iteration / mean_ns * 1e9;
        Some(Self { unit: unit.to_ascii_lowercase(), per_iteration, per_second })
    }
}

pub(super) fn nanoseconds(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.1} ns"),
        ns if ns < 1e6 => format!("{:.2} us", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

#[cfg(test)]
impl Measurement {
    /// As if these samples had been taken.
    pub(super) fn of_samples(id: &str, samples_ns: Vec<f64>) -> Self {
        let median_ns = super::statistics::median(&samples_ns);
        let (id, mean_ns) = (id.to_owned(), median_ns);
        Self { id, mean_ns, median_ns, std_dev_ns: 0.0, throughput: None, samples_ns }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn measure(home: &Path, id: &str, mean: f64, throughput: &str) -> PathBuf {
        let directory = home.join(id).join("new");
        fs::create_dir_all(&directory).unwrap();
        let estimate = format!(r#"{{"point_estimate": {mean}, "standard_error": 1.0}}"#);
        let estimates =
            format!(r#"{{"mean": {estimate}, "median": {estimate}, "std_dev": {estimate}}}"#);
        let benchmark = format!(r#"{{"full_id": "{id}", "throughput": {throughput}}}"#);
        fs::write(directory.join("estimates.json"), estimates).unwrap();
        fs::write(directory.join("benchmark.json"), benchmark).unwrap();
        let samples = r#"{"sampling_mode": "Linear", "iters": [1.0, 2.0], "times": [9.0, 20.0]}"#;
        fs::write(directory.join("sample.json"), samples).unwrap();
        directory.join("estimates.json")
    }

    #[test]
    fn only_what_was_measured_since_the_start_is_reported() {
        let home = tempfile::tempdir().unwrap();
        let old = measure(home.path(), "group/old", 1.0, "null");
        measure(home.path(), "group/new_one", 50.0, r#"{"Elements": 100}"#);
        let marker = home.path().join(".started");
        fs::write(&marker, "").unwrap();
        let start = fs::metadata(&marker).unwrap().modified().unwrap();
        let touch = |path: &Path, time| {
            fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
        };
        touch(&old, start - Duration::from_secs(1));
        touch(&home.path().join("group/new_one/new/estimates.json"), start);

        let results = since(&marker, home.path()).unwrap();
        assert_eq!(results.len(), 1);
        assert_eq!(results[0].id, "group/new_one");
        assert_eq!(results[0].samples_ns, [9.0, 10.0]);
        let throughput = results[0].throughput.as_ref().unwrap();
        assert_eq!((throughput.unit.as_str(), throughput.per_second), ("elements", 2e9));
    }

    #[test]
    fn a_run_that_measured_nothing_has_no_results() {
        let home = tempfile::tempdir().unwrap();
        let marker = home.path().join(".started");
        fs::write(&marker, "").unwrap();
        assert!(since(&marker, &home.path().join("criterion")).unwrap().is_empty());
    }

    #[test]
    fn times_are_told_in_their_own_unit() {
        assert_eq!(nanoseconds(12.34), "12.3 ns");
        assert_eq!(nanoseconds(4_560.0), "4.56 us");
        assert_eq!(nanoseconds(7_000_000.0), "7.00 ms");
        assert_eq!(nanoseconds(2e9), "2.00 s");
    }
}
