//! Every implementation of `Tier` is whole, and is shown to behave like the others.

use std::collections::BTreeSet;

use super::Problem;
use super::repository::{Repository, SourceFile, line_of, numbered};
use super::rust_text::{RustText, is_identifier, words};

const LINT: &str = "#[deny(clippy::missing_trait_methods)]";
const SUITE: &str = "conformance_tests!";

/// A method that a wrapper forgets would be answered by a default one day.
pub(super) fn every_method_is_written(repository: &Repository) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (file, rust) in repository.rust_files() {
        for found in tier_impls(&rust.code).into_iter().filter(|found| !found.denies_missing) {
            let advice = format!("put `{LINT}` over `impl Tier for {}`", found.name);
            problems.push(Problem::new(&file.path, found.line, advice));
        }
    }
    problems
}

/// Tiers that only tests use (doubles, seeded bugs) are not held to it.
pub(super) fn every_tier_runs_the_conformance_suite(repository: &Repository) -> Vec<Problem> {
    let tested: BTreeSet<String> =
        repository.rust_files().flat_map(|(_, rust)| names_in_suites(&rust.code)).collect();
    let mut problems = Vec::new();
    for (file, rust) in repository.rust_files() {
        let tests_begin = first_line_of_tests(file, rust);
        let shipped = tier_impls(&rust.code).into_iter().filter(|found| found.line < tests_begin);
        for found in shipped.filter(|found| !tested.contains(&found.name)) {
            let advice = format!(
                "run it through the suite: `{SUITE}({}, …)` in a test of its crate",
                found.name
            );
            problems.push(Problem::new(&file.path, found.line, advice));
        }
    }
    problems
}

#[derive(Debug, PartialEq, Eq)]
struct TierImpl {
    /// The type's own name: `Arc` of `std::sync::Arc<T>`.
    name: String,
    line: usize,
    denies_missing: bool,
}

/// Every `impl … Tier for X` in code without comments.
fn tier_impls(code: &str) -> Vec<TierImpl> {
    words(code, "Tier for ").filter_map(|offset| tier_impl(code, offset)).collect()
}

fn tier_impl(code: &str, offset: usize) -> Option<TierImpl> {
    // The words between the last item's end and the trait's name are `impl`, generics, a path.
    let begin = code[..offset].rfind([';', '{', '}']).map_or(0, |end| end + 1);
    let keyword = words(&code[begin..offset], "impl").last()? + begin;
    let line = line_of(code, keyword);
    let name = type_name(&code[offset + "Tier for ".len()..])?;
    let attributes =
        numbered(code).filter(|(number, _)| (line.saturating_sub(3)..line).contains(number));
    let denies_missing = attributes.into_iter().any(|(_, text)| text.trim() == LINT);
    Some(TierImpl { name, line, denies_missing })
}

/// The last name of the path at the start of this text; `None` for a macro's variable.
fn type_name(text: &str) -> Option<String> {
    let path = text.trim_start().trim_start_matches(['&', ' ']);
    let end = path.find(|c| !is_identifier(c) && c != ':').unwrap_or(path.len());
    let name = path[..end].rsplit("::").next().unwrap_or_default();
    (!name.is_empty()).then(|| name.to_owned())
}

/// The type that each use of the suite's macro names first.
fn names_in_suites(code: &str) -> Vec<String> {
    let arguments = words(code, SUITE).map(|offset| &code[offset + SUITE.len()..]);
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
            tier_impls(code).into_iter().map(|found| (found.name, found.line)).collect();
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
}
