//! Time comes from the clock: a test that cannot set it would have to wait for it.

use super::Problem;
use super::repository::{Repository, line_of};
use super::rust_text::words;

const CLOCK: &str = "crates/cache-core/src/clock.rs";

/// What SQL reads the time with, in lower case.
const SQL_TIME: [&str; 9] = [
    "'now'",
    "clock_timestamp()",
    "current_date",
    "current_timestamp",
    "localtimestamp",
    "now()",
    "statement_timestamp()",
    "transaction_timestamp()",
    "unixepoch()",
];

pub(super) fn only_the_clock_asks_for_the_time(repository: &Repository) -> Vec<Problem> {
    let elsewhere = repository.rust_files().filter(|(file, _)| file.path != CLOCK);
    elsewhere
        .flat_map(|(file, rust)| {
            words(&rust.code, "SystemTime").map(|offset| {
                let advice = "take the time from a `Clock`; `Instant` may measure a duration";
                Problem::new(&file.path, line_of(&rust.code, offset), advice)
            })
        })
        .collect()
}

/// Looks at SQL files, and at the string literals and diesel expressions of the crates.
pub(super) fn sql_is_given_the_time(repository: &Repository) -> Vec<Problem> {
    let problem = |path: &str, line, found: &str| {
        let advice = format!("hand the time over as a parameter: SQL must not ask with `{found}`");
        Problem::new(path, line, advice)
    };
    let mut problems = Vec::new();
    for file in repository.with_extension("sql") {
        for (number, line) in file.lines() {
            let statement = line.split("--").next().unwrap_or_default();
            problems.extend(asks(statement).map(|(_, found)| problem(&file.path, number, found)));
        }
    }
    let crates = repository.rust_files().filter(|(file, _)| !file.path.starts_with("xtask/"));
    for (file, rust) in crates {
        for literal in &rust.literals {
            problems.extend(asks(&literal.text).map(|(offset, found)| {
                let line = literal.line + line_of(&literal.text, offset) - 1;
                problem(&file.path, line, found)
            }));
        }
        for offset in words(&rust.code, "dsl::now") {
            problems.push(problem(&file.path, line_of(&rust.code, offset), "dsl::now"));
        }
    }
    problems
}

/// Where a piece of SQL reads the time, and with what.
///
/// `clock.now()` is a method of ours, not SQL.
fn asks(sql: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let lower = sql.to_ascii_lowercase();
    let found: Vec<(usize, &'static str)> = SQL_TIME
        .into_iter()
        .flat_map(|name| words(&lower, name).map(move |offset| (offset, name)))
        .filter(|(offset, _)| !lower[..*offset].ends_with(['.', ':']))
        .collect();
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_file_may_name_the_system_time() {
        let code = "use std::time::SystemTime;\n";
        let comment = "// SystemTime is for the clock\nlet x = \"SystemTime\";\n";
        let repository = Repository::of(&[(CLOCK, code), ("a.rs", comment), ("b.rs", code)]);
        let problems = only_the_clock_asks_for_the_time(&repository);
        assert_eq!(problems.len(), 1);
        assert_eq!((problems[0].file.as_str(), problems[0].line), ("b.rs", 1));
    }

    #[test]
    fn sql_that_asks_for_the_time_is_found_in_any_case() {
        let found = |sql| asks(sql).map(|(_, found)| found).collect::<Vec<_>>();
        assert_eq!(found("DELETE FROM t WHERE expires_at < NOW()"), ["now()"]);
        assert_eq!(found("DEFAULT CURRENT_TIMESTAMP"), ["current_timestamp"]);
        assert_eq!(found("julianday('now')"), ["'now'"]);
        assert!(found("reads clock.now() and known() and current_timestamps").is_empty());
    }

    #[test]
    fn sql_is_looked_for_in_files_and_in_literals() {
        let repository = Repository::of(&[
            ("crates/a/migrations/up.sql", "-- not now()\nSELECT 1;\nSELECT now();\n"),
            ("crates/a/src/lib.rs", "let at = clock.now();\nlet sql = \"SELECT\n now()\";\n"),
            ("xtask/src/x.rs", "let sql = \"now()\";\n"),
        ]);
        let places: Vec<(String, usize)> = sql_is_given_the_time(&repository)
            .into_iter()
            .map(|problem| (problem.file, problem.line))
            .collect();
        let expected = [("crates/a/migrations/up.sql", 3), ("crates/a/src/lib.rs", 3)];
        assert_eq!(places, expected.map(|(file, line)| (file.to_owned(), line)));
    }
}
