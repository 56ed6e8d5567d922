//! What no file may contain.

use super::Problem;
use super::repository::{Repository, SourceFile, line_of};
use super::rust_text::words;

/// From here on a file is worth another look.
const LONG_FILE: usize = 400;

/// Placeholders, tests that do not run and lints that are silenced, with what to do instead.
const UNFINISHED: [(&str, &str); 6] = [
    ("todo!", "write it, or leave it out"),
    ("unimplemented!", "write it, or leave it out"),
    ("dbg!", "remove it"),
    ("#[ignore", "make it run, or remove it"),
    ("#[allow(", "use `#[expect(lint, reason = \"…\")]`, which fails when it is not needed"),
    ("#![allow(", "use `#[expect(lint, reason = \"…\")]`, which fails when it is not needed"),
];

/// Where people and build machines keep their files. In pieces, so as not to find themselves.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];

pub(super) fn nothing_is_left_unfinished(repository: &Repository) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (file, rust) in repository.rust_files() {
        for (word, advice) in UNFINISHED {
            problems.extend(words(&rust.code, word).map(|offset| {
                let line = line_of(&rust.code, offset);
                Problem::new(&file.path, line, format!("`{word}`: {advice}"))
            }));
        }
    }
    problems
}

pub(super) fn no_trailing_white_space(repository: &Repository) -> Vec<Problem> {
    let written_by_hand = repository.files.iter().filter(|file| is_written_by_hand(file));
    written_by_hand
        .flat_map(|file| {
            // Not `lines()`, which would drop a carriage return.
            let lines = file.text.split('\n').enumerate();
            lines.filter(|(_, line)| line.ends_with([' ', '\t', '\r'])).map(|(index, _)| {
                Problem::new(&file.path, index + 1, "remove the white space at the end")
            })
        })
        .collect()
}

pub(super) fn no_path_of_a_machine(repository: &Repository) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in &repository.files {
        for (number, line) in file.lines() {
            let found = MACHINE_PATHS.into_iter().filter(|path| names_path(line, path));
            problems.extend(found.map(|path| {
                let advice = format!("`{path}…` exists on one machine only: name a relative path");
                Problem::new(&file.path, number, advice)
            }));
        }
    }
    problems
}

/// Advice, not a rule: a file should be one idea.
pub(super) fn long_files(repository: &Repository) -> Vec<Problem> {
    repository
        .rust_files()
        .map(|(file, _)| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > LONG_FILE)
        .map(|(file, lines)| {
            Problem::new(&file.path, LONG_FILE + 1, format!("{lines} lines: is it one idea?"))
        })
        .collect()
}

fn is_written_by_hand(file: &SourceFile) -> bool {
    let extension = file.extension();
    extension.is_empty() || ["md", "rs", "sh", "sql", "toml", "yaml", "yml"].contains(&extension)
}

/// Whether a path begins here that is absolute: not `docs/home/` and not a part of a URL.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(offset, _)| {
        let before = line[..offset].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-*/}".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(problems: &[Problem]) -> Vec<usize> {
        problems.iter().map(|problem| problem.line).collect()
    }

    #[test]
    fn placeholders_count_in_code_only() {
        let source =
            "// todo!()\nlet a = \"dbg!\";\ntodo!();\n#[ignore = \"slow\"]\n#![allow(x)]\n";
        let repository = Repository::of(&[("a.rs", source)]);
        assert_eq!(lines(&nothing_is_left_unfinished(&repository)), [3, 4, 5]);
    }

    #[test]
    fn white_space_at_the_end_is_found_in_files_that_people_write() {
        let text = "a\nb \nc\r\n";
        let repository = Repository::of(&[("a.md", text), ("a.csv", text), (".ci/run", text)]);
        assert_eq!(lines(&no_trailing_white_space(&repository)), [2, 3, 2, 3]);
    }

    #[test]
    fn absolute_paths_are_told_from_relative_ones() {
        let home = MACHINE_PATHS[1];
        assert!(names_path(&format!("see {home}me/x"), home));
        assert!(names_path(&format!("\"{home}me\""), home));
        assert!(!names_path(&format!("docs{home}x"), home));
        assert!(!names_path(&format!("https://example.org{home}x"), home));
    }

    #[test]
    fn a_file_of_400_lines_is_not_long_yet() {
        let text = "x\n".repeat(LONG_FILE);
        assert!(long_files(&Repository::of(&[("a.rs", &text)])).is_empty());
        assert_eq!(long_files(&Repository::of(&[("a.rs", &format!("{text}y\n"))])).len(), 1);
    }
}
