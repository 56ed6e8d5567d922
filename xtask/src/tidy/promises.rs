//! Every promise of docs/GUARANTEES.md names the test that shows it.

use std::ops::RangeInclusive;

use super::Problem;
use super::repository::{Repository, numbered};
use super::rust_text::{is_identifier, words};

const GUARANTEES: &str = "docs/GUARANTEES.md";
const PROMISES: RangeInclusive<usize> = 1..=11;
const NOT_YET: &str = "Not promised yet.";

/// Each promise has a heading such as `## P3 One load`, and below it a line with
/// ``test: `name_of_the_test` ``, or the line `Not promised yet.`
pub(super) fn every_promise_has_its_test(repository: &Repository) -> Vec<Problem> {
    let Some(document) = repository.file(GUARANTEES) else {
        return vec![Problem::new(GUARANTEES, 1, "write it: the promises and their tests")];
    };
    let sections = sections(&document.text);
    let mut problems = Vec::new();
    for number in PROMISES {
        let promise = format!("P{number}");
        let Some(section) = sections.iter().find(|section| section.promise == promise) else {
            let advice = format!("give {promise} a heading (`## {promise} …`) and its test");
            problems.push(Problem::new(GUARANTEES, 1, advice));
            continue;
        };
        if section.tests.is_empty() && !section.not_yet {
            let advice = format!("say \"test: `name`\" under {promise}, or \"{NOT_YET}\"");
            problems.push(Problem::new(GUARANTEES, section.line, advice));
        }
        for (line, test) in &section.tests {
            if !exists(repository, test) {
                let advice =
                    format!("{promise} names the test `{test}`, and no function is named so");
                problems.push(Problem::new(GUARANTEES, *line, advice));
            }
        }
    }
    problems
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Section {
    promise: String,
    line: usize,
    tests: Vec<(usize, String)>,
    not_yet: bool,
}

fn sections(document: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for (number, line) in numbered(document) {
        if let Some(promise) = headed_promise(line) {
            sections.push(Section { promise, line: number, ..Section::default() });
        } else if let Some(section) = sections.last_mut() {
            section.not_yet |= line.contains(NOT_YET);
            section.tests.extend(named_tests(line).map(|test| (number, test)));
        }
    }
    sections
}

/// `P3` of `## P3 One load`, `### P3: one load` and the like.
fn headed_promise(line: &str) -> Option<String> {
    let title = line.strip_prefix('#')?.trim_start_matches('#').trim_start();
    let word = title.split(|c: char| !c.is_alphanumeric()).next()?;
    let digits = word.strip_prefix('P')?;
    (!digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())).then(|| word.to_owned())
}

/// The names in backticks after "test:" or "tests:", without the path of their module.
fn named_tests(line: &str) -> impl Iterator<Item = String> {
    let lower = line.to_ascii_lowercase();
    let begin =
        ["test: `", "tests: `"].iter().find_map(|mark| Some(lower.find(mark)? + mark.len()));
    let names = begin.map_or("", |begin| &line[begin - 1..]);
    // The odd pieces between backticks are in them.
    let quoted = names.split('`').skip(1).step_by(2);
    let functions = quoted.map(|name| name.rsplit("::").next().unwrap_or(name));
    functions.filter(|name| name.chars().all(is_identifier)).map(str::to_owned)
}

fn exists(repository: &Repository, test: &str) -> bool {
    let definition = format!("fn {test}");
    repository.rust_files().any(|(_, rust)| words(&rust.code, &definition).next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_known_by_its_heading() {
        assert_eq!(headed_promise("## P3 One load").as_deref(), Some("P3"));
        assert_eq!(headed_promise("### P11: nothing is lost").as_deref(), Some("P11"));
        assert_eq!(headed_promise("## Promises"), None);
        assert_eq!(headed_promise("P3 in the text"), None);
    }

    #[test]
    fn a_line_may_name_several_tests_and_the_file_they_are_in() {
        let line = "Tests: `a_leader`, `stack::b_waiter` in `crates/a/tests/x.rs`";
        assert_eq!(named_tests(line).collect::<Vec<_>>(), ["a_leader", "b_waiter"]);
        assert_eq!(named_tests("no test is named `here`").count(), 0);
    }

    #[test]
    fn a_test_that_does_not_exist_is_told_at_its_line() {
        let kept = |promise| format!("## P{promise} Title\n\nNot promised yet.\n");
        let others: String = (2..=11).map(kept).collect();
        let document = format!("## P1 Title\n\ntest: `one_load`\ntest: `gone`\n{others}");
        let code = "#[test]\nfn one_load() {}\nfn gone_now() {}\n";
        let repository = Repository::of(&[(GUARANTEES, &document), ("a.rs", code)]);
        let problems = every_promise_has_its_test(&repository);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].line, 4);
    }

    #[test]
    fn a_promise_without_heading_or_test_is_found() {
        let repository = Repository::of(&[(GUARANTEES, "## P1 Title\n\nWords.\n")]);
        let problems = every_promise_has_its_test(&repository);
        assert_eq!(problems.len(), 11);
        assert!(problems[0].advice.contains("Not promised yet."));
        assert!(problems[10].advice.contains("P11"));
    }
}
