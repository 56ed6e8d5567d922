//! Some hundred seeds, and what a person may rely on who looks into one.

use cache_sim::{Mix, Plan, Trace, run};

#[test]
fn no_answer_of_the_first_seeds_is_wrong() {
    let mut operations = 0;
    for seed in 0..300 {
        let report = run(Plan::of(seed, None), Trace::Off);
        if let Some(wrong) = report.wrong {
            let again = format!("to see it again: cargo xtask sim --seed {seed}");
            panic!("seed {seed}: {wrong}\n{again}");
        }
        operations += report.operations;
    }
    assert!(operations > 10_000, "{operations} operations show little");
}

#[test]
fn no_copy_that_meets_a_write_overwrites_something_newer() {
    let mut contended = 0;
    for seed in 0..60 {
        let report = run(Plan::of(seed, None).with_mix(Mix::Copies), Trace::Off);
        if let Some(wrong) = report.wrong {
            let again = format!("to see it again: cargo xtask sim --seed {seed} --mix copies");
            panic!("seed {seed}: {wrong}\n{again}");
        }
        contended += report.contended;
    }
    assert!(contended > 2_000, "{contended} copies that met a write show little");
}

#[test]
fn a_seed_is_run_again_to_the_byte() {
    for seed in 0..40 {
        let first = run(Plan::of(seed, None), Trace::Kept).trace;
        assert!(!first.is_empty());
        let second = run(Plan::of(seed, None), Trace::Kept).trace;
        let differs = first.lines().zip(second.lines()).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.len(), second.len(), "seed {seed}");
    }
}

#[test]
fn a_trace_changes_nothing() {
    for seed in 0..40 {
        let (told, silent) =
            (run(Plan::of(seed, None), Trace::Kept), run(Plan::of(seed, None), Trace::Off));
        assert_eq!(told.operations, silent.operations, "seed {seed}");
        assert_eq!(told.faults, silent.faults, "seed {seed}");
    }
}
