//! What the simulation is worth: each of these bugs is found, and what it says names the key's
//! history.

use cache_sim::{Defect, Mix, Plan, Trace, run};

/// Runs seeds until one finds the bug.
fn is_found_within(seeds: u64, defect: Defect) {
    is_found_in(Mix::Reads, seeds, defect);
}

fn is_found_in(mix: Mix, seeds: u64, defect: Defect) {
    let plan = |seed| Plan::of(seed, Some(defect)).with_mix(mix);
    let found = (0..seeds).find_map(|seed| {
        let wrong = run(plan(seed), Trace::Off).wrong?;
        Some((seed, wrong))
    });
    let Some((seed, wrong)) = found else {
        panic!("{seeds} seeds have not found the defect {defect}");
    };
    assert!(wrong.contains("the history of k"), "seed {seed}: {wrong}");
    let again = run(plan(seed), Trace::Kept);
    assert_eq!(again.wrong, Some(wrong), "seed {seed} finds the same again");
    assert!(again.trace.contains("WRONG"), "seed {seed}");
}

#[test]
fn fills_without_a_fence_are_found() {
    is_found_within(100, Defect::NoFence);
}

#[test]
fn a_removal_that_leaves_no_tombstone_is_found() {
    is_found_within(100, Defect::NoTombstone);
}

#[test]
fn a_fence_that_is_read_after_the_load_is_found() {
    is_found_within(100, Defect::LateFence);
}

#[test]
fn an_error_of_a_removal_that_counts_as_success_is_found() {
    is_found_within(100, Defect::SwallowedError);
}

#[test]
fn a_promotion_that_lengthens_a_life_is_found() {
    is_found_within(100, Defect::LongerLife);
}

#[test]
fn old_data_that_are_believed_are_found() {
    is_found_within(1_000, Defect::UnnoticedLoss);
}

#[test]
fn a_removal_that_forgets_a_tier_is_found() {
    is_found_within(100, Defect::OneTierOnly);
}

#[test]
fn a_removal_that_answers_too_early_is_found() {
    is_found_within(100, Defect::EarlyAnswer);
}

#[test]
fn a_log_that_loses_changes_is_found() {
    is_found_within(1_000, Defect::LossyLog);
}

#[test]
fn tags_that_are_read_after_the_load_are_found() {
    is_found_within(1_000, Defect::LateTags);
}

#[test]
fn a_copy_without_a_check_of_versions_and_fences_is_found() {
    is_found_within(1_000, Defect::UncheckedCopy);
    is_found_in(Mix::Copies, 10, Defect::UncheckedCopy);
}
