//! Every implementation of `Tier` is whole, and it, its log and its leases are shown to behave like
//! the others.

use std::collections::BTreeSet;

use super::Problem;
use super::repository::{Repository, SourceFile, line_of, numbered};
use super::rust_text::{RustText, is_identifier, words};

const LINT: &str = "#[deny(clippy::missing_trait_methods)]";

/// A trait with a contract, and the suite that checks it.
struct Contract {
    /// As it stands in an implementation: `impl … Tier for`.
    implemented: &'static str,
    suite: &'static str,
    /// What the name of an implementation adds to that of its tier: `SqliteLog` is the log of
    /// `SqliteTier`, and the suite is given the tier.
    suffix: &'static str,
}

const TIER: Contract =
    Contract { implemented: "Tier for ", suite: "conformance_tests!", suffix: "Tier" };
const LOG: Contract =
    Contract { implemented: "Log for ", suite: "log_conformance_tests!", suffix: "Log" };
const LEASES: Contract =
    Contract { implemented: "Leases for ", suite: "lease_conformance_tests!", suffix: "Leases" };

/// A method that a wrapper forgets would be answered by a default one day.
pub(super) fn every_method_is_written(repository: &Repository) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (file, rust) in repository.rust_files() {
        for found in impls(&rust.code, &TIER).into_iter().filter(|found| !found.denies_missing) {
            let advice = format!("put `{LINT}` over `impl Tier for {}`", found.name);
            problems.push(Problem::new(&file.path, found.line, advice));
        }
    }
    problems
}

/// Tiers that only tests use (doubles, seeded bugs) are not held to it.
pub(super) fn every_tier_runs_the_conformance_suite(repository: &Repository) -> Vec<Problem> {
    every_one_runs_its_suite(repository, &TIER)
}

/// As for tiers. A wrapper is no exception: its log is one of which a cache believes everything.
pub(super) fn every_log_runs_the_conformance_suite(repository: &Repository) -> Vec<Problem> {
    every_one_runs_its_suite(repository, &LOG)
}

/// As for tiers, wrappers included.
pub(super) fn all_leases_run_the_conformance_suite(repository: &Repository) -> Vec<Problem> {
    every_one_runs_its_suite(repository, &LEASES)
}

fn every_one_runs_its_suite(repository: &Repository, contract: &Contract) -> Vec<Problem> {
    let tested: BTreeSet<String> = repository
        .rust_files()
        .flat_map(|(_, rust)| names_in_suites(&rust.code, contract.suite))
        .map(|name| stem(&name, &TIER).to_owned())
        .collect();
    let mut problems = Vec::new();
    for (file, rust) in repository.rust_files() {
        // The simulation's logs and leases lose and delay what they are told: that is their use.
        if contract.suffix != TIER.suffix && file.path.starts_with("crates/cache-sim/") {
            continue;
        }
        let tests_begin = first_line_of_tests(file, rust);
        let shipped =
            impls(&rust.code, contract).into_iter().filter(|found| found.line < tests_begin);
        for found in shipped.filter(|found| !tested.contains(stem(&found.name, contract))) {
            let tier = match stem(&found.name, contract) {
                _ if contract.suffix == TIER.suffix => found.name.clone(),
                stem => format!("{stem}Tier"),
            };
            let advice = format!(
                "run it through the suite: `{}({tier}, …)` in a test of its crate",
                contract.suite
            );
            problems.push(Problem::new(&file.path, found.line, advice));
        }
    }
    problems
}

/// What the names of a tier, of its log and of its leases have in common.
fn stem<'n>(name: &'n str, contract: &Contract) -> &'n str {
    name.strip_suffix(contract.suffix).filter(|stem| !stem.is_empty()).unwrap_or(name)
}

#[derive(Debug, PartialEq, Eq)]
struct Impl {
    /// The type's own name: `Arc` of `std::sync::Arc<T>`.
    name: String,
    line: usize,
    denies_missing: bool,
}

/// Every `impl … Tier for X` in code without comments, or that of another contract.
fn impls(code: &str, contract: &Contract) -> Vec<Impl> {
    words(code, contract.implemented)
        .filter_map(|offset| impl_at(code, offset, contract.implemented.len()))
        .collect()
}

fn impl_at(code: &str, offset: usize, len: usize) -> Option<Impl> {
    // The words between the last item's end and the trait's name are `impl`, generics, a path.
    let begin = code[..offset].rfind([';', '{', '}']).map_or(0, |end| end + 1);
    let keyword = words(&code[begin..offset], "impl").last()? + begin;
    let line = line_of(code, keyword);
    let name = type_name(&code[offset + len..])?;
    let attributes =
        numbered(code).filter(|(number, _)| (line.saturating_sub(3)..line).contains(number));
    let denies_missing = attributes.into_iter().any(|(_, text)| text.trim() == LINT);
    Some(Impl { name, line, denies_missing })
}

/// The last name of the path at the start of this text; `None` for a macro's variable.
fn type_name(text: &str) -> Option<String> {
    let path = text.trim_start().trim_start_matches(['&', ' ']);
    let end = path.find(|c| !is_identifier(c) && c != ':').unwrap_or(path.len());
    let name = path[..end].rsplit("::").next().unwrap_or_default();
    (!name.is_empty()).then(|| name.to_owned())
}

/// The type that each use of the suite's macro names first.
fn names_in_suites(code: &str, suite: &str) -> Vec<String> {
    let arguments = words(code, suite).map(|offset| &code[offset + suite.len()..]);
    arguments
        .filter_map(|arguments| arguments.trim_start().strip_prefix(['(', '{', '[']))
        .filter_map(type_name)
        .collect()
}

/// The line from which on this file is only tests, by the house's order: tests come last.
fn first_line_of_tests(file: &SourceFile, rust: &RustText) -> usize {
    if file.path.contains("/tests/") || file.path.ends_with("/tests.rs") {
        return 0;
    }
    let tests = rust.code.find("#[cfg(test)]\nmod ");
    tests.map_or(usize::MAX, |offset| line_of(&rust.code, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "#[deny(clippy::missing_trait_methods)]\n#[async_trait]\n";

    #[test]
    fn implementations_are_found_in_all_their_forms() {
        let code = "impl Tier for MemoryTier {}\n\
                    impl<T: ?Sized + Tier> cache_core::Tier for std::sync::Arc<T> {}\n\
                    impl<T>\n    Tier for Wrapper<T>\nwhere\n    T: Tier,\n{}\n\
                    impl fmt::Debug for MemoryTier {}\n\
                    impl LayeredTier for X {}\n";
        let found: Vec<(String, usize)> =
            impls(code, &TIER).into_iter().map(|found| (found.name, found.line)).collect();
        let expected = [("MemoryTier", 1), ("Arc", 2), ("Wrapper", 3)];
        assert_eq!(found, expected.map(|(name, line)| (name.to_owned(), line)));
    }

    #[test]
    fn the_lint_must_stand_right_above() {
        let near = format!("{WHOLE}impl Tier for A {{}}\n");
        let far = format!("{WHOLE}\n\nstruct A;\nimpl Tier for A {{}}\n");
        assert!(every_method_is_written(&Repository::of(&[("a.rs", &near)])).is_empty());
        assert_eq!(every_method_is_written(&Repository::of(&[("a.rs", &far)]))[0].line, 6);
    }

    #[test]
    fn a_tier_that_no_suite_names_is_found() {
        let tier = "impl Tier for RedisTier {}\n";
        let run = |test: &str| {
            let files = [("crates/r/src/tier.rs", tier), ("crates/r/tests/suite.rs", test)];
            every_tier_runs_the_conformance_suite(&Repository::of(&files)).len()
        };
        assert_eq!(run("cache_core::conformance_tests!(RedisTier, harness());"), 0);
        assert_eq!(run("conformance_tests! {\n    tier::RedisTier,\n    Harness }"), 0);
        assert_eq!(run("// conformance_tests!(RedisTier, harness())"), 1);
        assert_eq!(run("conformance_tests!(RedisTierOfAnother, harness());"), 1);
    }

    #[test]
    fn tiers_of_tests_are_not_held_to_the_suite() {
        let double = "#[cfg(test)]\nmod tests {\n    impl Tier for Double {}\n}\n";
        let files = [("crates/a/src/a.rs", double), ("crates/a/tests/b.rs", "impl Tier for B {}")];
        assert!(every_tier_runs_the_conformance_suite(&Repository::of(&files)).is_empty());
    }

    #[test]
    fn a_log_and_leases_are_run_through_the_suites_of_their_own_with_their_tier() {
        let code = "impl Log for RedisLog {}\nimpl cache_core::Leases for RedisLeases {}\n";
        let run = |test: &str| {
            let files = [("crates/r/src/log.rs", code), ("crates/r/tests/suite.rs", test)];
            let repository = Repository::of(&files);
            [every_log_runs_the_conformance_suite, all_leases_run_the_conformance_suite]
                .map(|rule| rule(&repository).len())
        };
        let log = "cache_core::log_conformance_tests!(RedisTier, harness());";
        let leases = "lease_conformance_tests!(RedisTier, harness());";
        assert_eq!(run(&format!("{log}\n{leases}")), [0, 0]);
        assert_eq!(run(log), [0, 1]);
        assert_eq!(run(leases), [1, 0]);
        assert_eq!(run("conformance_tests!(RedisTier, harness());"), [1, 1]);
    }

    #[test]
    fn logs_and_leases_of_wrappers_are_held_to_it_and_those_of_tests_are_not() {
        let wrapper = "impl Leases for GuardedLeases {}\nimpl Log for AuditLog {}\n";
        let double = "impl Log for Buggy {}\nimpl Leases for Desk {}\n";
        let suite = "lease_conformance_tests!(Guarded, harness());";
        let files = [("crates/a/src/a.rs", wrapper), ("crates/a/tests/b.rs", double)];
        let with_suite = [files[0], files[1], ("crates/a/tests/c.rs", suite)];
        assert_eq!(all_leases_run_the_conformance_suite(&Repository::of(&files)).len(), 1);
        assert!(all_leases_run_the_conformance_suite(&Repository::of(&with_suite)).is_empty());
        let problems = every_log_runs_the_conformance_suite(&Repository::of(&with_suite));
        assert_eq!(problems.len(), 1);
        assert!(problems[0].advice.contains("log_conformance_tests!(AuditTier"), "{problems:?}");
    }
}
