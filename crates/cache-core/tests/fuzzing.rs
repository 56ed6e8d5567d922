//! The fuzz targets over their corpora and their mutations, without a fuzzer.

use std::{fs, path::PathBuf};

use cache_core::testkit::fuzzing::{self, Target};

const MUTATIONS: usize = 200_000;

const TARGETS: [(&str, Target); 7] = [
    ("compression", fuzzing::compression),
    ("logs", fuzzing::logs),
    ("names", fuzzing::names),
    ("payloads", fuzzing::payloads),
    ("sessions", fuzzing::sessions),
    ("settings", fuzzing::settings),
    ("wire", fuzzing::wire),
];

fn directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(name)
}

fn run(name: &str) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("it is a target");
    let seeds = fuzzing::corpus(&directory("corpus").join(name)).expect("a target has a corpus");
    fuzzing::run(*target, &seeds, MUTATIONS);
}

#[test]
fn compressed_payloads_end_well() {
    run("compression");
}

#[test]
fn access_logs_from_outside_end_well() {
    run("logs");
}

#[test]
fn names_from_outside_are_exact() {
    run("names");
}

#[test]
fn payloads_from_outside_end_well() {
    run("payloads");
}

#[test]
fn tokens_from_outside_end_well() {
    run("sessions");
}

#[test]
fn settings_are_written_as_they_are_read() {
    run("settings");
}

#[test]
fn stored_bytes_end_well() {
    run("wire");
}

#[test]
fn each_target_of_the_fuzzer_is_run_here_and_each_week() {
    let files = fs::read_dir(directory("fuzz_targets")).expect("the targets are there");
    let mut targets: Vec<String> = files
        .map(|file| file.expect("a readable directory").file_name().into_string())
        .map(|name| name.expect("a name in UTF-8").trim_end_matches(".rs").to_owned())
        .collect();
    targets.sort();
    assert_eq!(targets, TARGETS.map(|(name, _)| name));
    let workflow = fs::read_to_string(directory("../.github/workflows/fuzz.yml"));
    let matrix = format!("target: [{}]", targets.join(", "));
    assert!(workflow.expect("the workflow is there").contains(&matrix), "not there: {matrix}");
}
