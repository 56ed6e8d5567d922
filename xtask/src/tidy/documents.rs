//! Markdown: links, commands, and the length of the first page.

use std::collections::BTreeSet;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use super::Problem;
use super::repository::{Repository, SourceFile, numbered};
use crate::Cli;

const README: &str = "README.md";
const README_LINES_MAX: usize = 150;
const COMMAND: &str = "cargo xtask ";

/// Links to files of the repository, relative to the document they are in.
pub(super) fn links_lead_somewhere(repository: &Repository) -> Vec<Problem> {
    let known = files_and_directories(&repository.paths);
    let mut problems = Vec::new();
    for document in repository.with_extension("md") {
        for (line, target) in links(&document.text) {
            let is_known =
                resolve(&document.path, &target).is_some_and(|path| known.contains(&path));
            if !is_known {
                let advice = format!("the link to `{target}` leads nowhere");
                problems.push(Problem::new(&document.path, line, advice));
            }
        }
    }
    problems
}

pub(super) fn the_readme_is_short(repository: &Repository) -> Vec<Problem> {
    let Some(readme) = repository.file(README) else {
        return vec![Problem::new(README, 1, "write it")];
    };
    let lines = readme.text.lines().count();
    if lines <= README_LINES_MAX {
        return Vec::new();
    }
    let advice = format!("{lines} lines: move what a newcomer does not need to docs/");
    vec![Problem::new(README, README_LINES_MAX + 1, advice)]
}

/// `cargo xtask …` in code blocks and code spans is what this program understands.
pub(super) fn documented_commands_exist(repository: &Repository) -> Vec<Problem> {
    let mut problems = Vec::new();
    for document in repository.with_extension("md") {
        for (line, command) in commands(document) {
            if let Err(reason) = understand(&command) {
                problems.push(Problem::new(&document.path, line, format!("`{command}`: {reason}")));
            }
        }
    }
    problems
}

/// The lines of a document, each with whether it is in a fenced code block.
fn lines_and_fences(text: &str) -> impl Iterator<Item = (usize, &str, bool)> {
    let mut in_fence = false;
    numbered(text).map(move |(number, line)| {
        let is_fence = line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~");
        in_fence ^= is_fence;
        (number, line, in_fence || is_fence)
    })
}

/// Targets of `[text](target)` and `[label]: target`, without those on other hosts.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (number, line, _) in lines_and_fences(text).filter(|(_, _, in_fence)| !in_fence) {
        // The even pieces between backticks are outside of code spans.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
        let inline = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let reference = prose.strip_prefix('[').and_then(|rest| Some(rest.split_once("]: ")?.1));
        let targets = inline.chain(reference).filter_map(|target| target.split_whitespace().next());
        let local = targets.filter(|target| !target.contains(':') && !target.starts_with('#'));
        links.extend(local.map(|target| (number, target.to_owned())));
    }
    links
}

/// The path in the repository that a link of this document means; `None` when it leaves it.
fn resolve(document: &str, target: &str) -> Option<String> {
    let file = target.split('#').next().unwrap_or_default();
    let mut parts: Vec<&str> = match file.starts_with('/') {
        true => Vec::new(),
        false => document.rsplit_once('/').map_or(Vec::new(), |(d, _)| d.split('/').collect()),
    };
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Every path, and every directory that one is in; the root is the empty path.
fn files_and_directories(paths: &[String]) -> BTreeSet<String> {
    let mut known = BTreeSet::from([String::new()]);
    for path in paths {
        known.extend(path.match_indices('/').map(|(end, _)| path[..end].to_owned()));
        known.insert(path.clone());
    }
    known
}

/// Every `cargo xtask …`, up to what ends a command in a shell or in Markdown.
fn commands(document: &SourceFile) -> Vec<(usize, String)> {
    let mut commands = Vec::new();
    for (number, line, in_fence) in lines_and_fences(&document.text) {
        let code: Vec<&str> =
            if in_fence { vec![line] } else { line.split('`').skip(1).step_by(2).collect() };
        for text in code {
            for (offset, _) in text.match_indices(COMMAND) {
                let rest = &text[offset..];
                let end = rest.find(['#', '|', '&', ';', ')', '"', '`', '>']).unwrap_or(rest.len());
                commands.push((number, rest[..end].trim().to_owned()));
            }
        }
    }
    commands
}

/// Parses a command as if it was typed; with a placeholder in it only its name is looked at.
fn understand(command: &str) -> Result<(), String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let Some(&name) = words.get(2) else { return Ok(()) };
    let is_placeholder = |word: &&str| word.contains(['<', '[', '…', '{', '$']) || *word == "...";
    if words.iter().any(is_placeholder) {
        let known = is_placeholder(&name) || Cli::command().find_subcommand(name).is_some();
        return known.then_some(()).ok_or_else(|| format!("there is no command `{name}`"));
    }
    match Cli::try_parse_from(&words[1..]) {
        Err(error) if error.kind() != ErrorKind::DisplayHelp => {
            let text = error.to_string();
            let first_line = text.lines().next().unwrap_or_default();
            Err(first_line.trim_start_matches("error: ").to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_of_code() {
        let text = "See [a](docs/A.md#part) and `[b](c)`.\n```\n[d](e)\n```\n\
                    [web](https://example.org) [here](#part)\n[label]: ../f.md\n";
        let expected = [(1, "docs/A.md#part".to_owned()), (6, "../f.md".to_owned())];
        assert_eq!(links(text), expected);
    }

    #[test]
    fn links_are_relative_to_their_document() {
        assert_eq!(resolve("docs/a/B.md", "../C.md#x").as_deref(), Some("docs/C.md"));
        assert_eq!(resolve("README.md", "docs/").as_deref(), Some("docs"));
        assert_eq!(resolve("README.md", "../outside.md"), None);
    }

    #[test]
    fn a_link_to_a_file_that_is_gone_is_found() {
        let text = "[a](A.md) [b](../LICENSE) [dir](../docs)\n[gone](B.md)\n";
        let repository = Repository::of(&[("docs/X.md", text), ("docs/A.md", ""), ("LICENSE", "")]);
        let problems = links_lead_somewhere(&repository);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].line, 2);
    }

    #[test]
    fn commands_end_where_the_shell_ends_them() {
        let text = "Run `cargo xtask test` or cargo xtask prose.\n\
                    ```sh\n$ cargo xtask ci fmt   # quick\neval \"$(cargo xtask services up)\"\n```\n";
        let repository = Repository::of(&[("a.md", text)]);
        let found: Vec<String> =
            commands(&repository.files[0]).into_iter().map(|(_, command)| command).collect();
        assert_eq!(found, ["cargo xtask test", "cargo xtask ci fmt", "cargo xtask services up"]);
    }

    #[test]
    fn a_command_must_be_understood_with_its_flags() {
        assert_eq!(understand("cargo xtask test --install"), Ok(()));
        assert_eq!(understand("cargo xtask ci <job>"), Ok(()));
        assert_eq!(understand("cargo xtask loadtest -- --help"), Ok(()));
        assert_eq!(understand("cargo xtask --help"), Ok(()));
        assert!(understand("cargo xtask test --fast").is_err());
        assert!(understand("cargo xtask deploy").is_err());
        assert!(understand("cargo xtask deploy <place>").is_err());
    }

    #[test]
    fn a_readme_of_151_lines_is_too_long() {
        let of_lines = |lines: usize| Repository::of(&[(README, &"x\n".repeat(lines))]);
        assert!(the_readme_is_short(&of_lines(150)).is_empty());
        assert_eq!(the_readme_is_short(&of_lines(151)).len(), 1);
    }
}
