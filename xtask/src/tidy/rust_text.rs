//! Rust source taken apart: code without comments and literals, and the string literals.
//!
//! The rules look for words. A word in a comment, or in a literal (such as those of the rules
//! themselves), must not count as code.

/// A Rust file's code and literals.
#[derive(Debug, Default)]
pub(crate) struct RustText {
    /// The source with the content of comments and of string and character literals replaced by
    /// spaces: every line and column is where it was, counted in characters.
    pub(crate) code: String,
    pub(crate) literals: Vec<Literal>,
}

/// The content of a string literal, as written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    /// Where it begins, counted from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl RustText {
    pub(crate) fn parse(source: &str) -> Self {
        let mut scanner = Scanner { rest: source, text: Self::default() };
        while !scanner.rest.is_empty() {
            scanner.step();
        }
        scanner.text
    }
}

struct Scanner<'a> {
    rest: &'a str,
    text: RustText,
}

impl Scanner<'_> {
    /// Consumes one comment, literal or character.
    fn step(&mut self) {
        if self.rest.starts_with("//") {
            self.blank(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.blank(block_comment_len(self.rest));
        } else if let Some((opening_len, closing)) = self.raw_string() {
            self.keep(opening_len);
            self.literal(self.rest.find(&closing).unwrap_or(self.rest.len()));
            self.keep(closing.len());
        } else if self.rest.starts_with('"') {
            self.keep(1);
            self.literal(quoted_len(self.rest));
            self.keep(1);
        } else if let Some(len) = char_literal_len(self.rest) {
            self.blank(len);
        } else {
            self.keep(self.rest.chars().next().map_or(0, char::len_utf8));
        }
    }

    /// The length of `r##"` and the `"##` that ends it, if a raw string begins here.
    fn raw_string(&self) -> Option<(usize, String)> {
        let after_r = self.rest.strip_prefix('r')?;
        let hashes = after_r.len() - after_r.trim_start_matches('#').len();
        if !after_r[hashes..].starts_with('"') || self.follows_identifier() {
            return None;
        }
        Some((hashes + 2, format!("\"{}", "#".repeat(hashes))))
    }

    /// Whether an `r` here ends a longer word; `b` and `c` are prefixes of their own.
    fn follows_identifier(&self) -> bool {
        let mut before = self.text.code.chars().rev();
        match before.next() {
            Some('b' | 'c') => before.next().is_some_and(is_identifier),
            last => last.is_some_and(is_identifier),
        }
    }

    fn keep(&mut self, len: usize) {
        let (kept, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.text.code.push_str(kept);
        self.rest = rest;
    }

    fn blank(&mut self, len: usize) {
        let (blanked, rest) = self.rest.split_at(len);
        self.text.code.extend(blanked.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        self.rest = rest;
    }

    fn literal(&mut self, len: usize) {
        let line = self.text.code.matches('\n').count() + 1;
        self.text.literals.push(Literal { line, text: self.rest[..len].to_owned() });
        self.blank(len);
    }
}

/// Whether this character may be in the middle of an identifier.
pub(crate) fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `word` occurs in `text` and is not a part of a longer identifier.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let joins = |outer: Option<char>, inner: Option<char>| {
        outer.is_some_and(is_identifier) && inner.is_some_and(is_identifier)
    };
    text.match_indices(word).map(|(offset, _)| offset).filter(move |&offset| {
        let before = text[..offset].chars().next_back();
        let after = text[offset + word.len()..].chars().next();
        !joins(before, word.chars().next()) && !joins(after, word.chars().next_back())
    })
}

/// Comments nest.
fn block_comment_len(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of a string's content, up to the quote that is not escaped.
fn quoted_len(text: &str) -> usize {
    let mut escaped = false;
    for (offset, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return offset,
            _ => {}
        }
    }
    text.len()
}

/// The length of `'x'` or `'\n'`; `None` for a lifetime.
fn char_literal_len(text: &str) -> Option<usize> {
    let content = text.strip_prefix('\'')?;
    let first = content.chars().next()?;
    if first == '\\' {
        // The character after the backslash may itself be a quote.
        let after = content.char_indices().nth(2)?.0;
        return Some(1 + after + content[after..].find('\'')? + 1);
    }
    content[first.len_utf8()..].starts_with('\'').then_some(first.len_utf8() + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(source: &str) -> String {
        RustText::parse(source).code
    }

    fn literals(source: &str) -> Vec<(usize, String)> {
        let literals = RustText::parse(source).literals;
        literals.into_iter().map(|literal| (literal.line, literal.text)).collect()
    }

    #[test]
    fn comments_are_blank_and_lines_stay_where_they_were() {
        assert_eq!(code("a // b\nc"), "a     \nc");
        assert_eq!(code("a /* b /* c */\n d */ e"), "a             \n      e");
    }

    #[test]
    fn the_content_of_strings_is_taken_out_of_the_code() {
        assert_eq!(code(r#"f("x \" // y", 1)"#), r#"f("         ", 1)"#);
        assert_eq!(literals(r#"f("x \" // y", 1)"#), [(1, r#"x \" // y"#.to_owned())]);
    }

    #[test]
    fn raw_strings_end_where_their_hashes_do() {
        let source = "r#\"a \"quoted\" b\"# + br\"c\\\" + d";
        let expected = [(1, "a \"quoted\" b".to_owned()), (1, "c\\".to_owned())];
        assert_eq!(literals(source), expected);
        assert_eq!(code("attr\"x\""), "attr\" \"");
    }

    #[test]
    fn lifetimes_are_no_characters_and_a_quote_may_be_one() {
        assert_eq!(code("fn f<'a>(x: &'a str)"), "fn f<'a>(x: &'a str)");
        assert_eq!(
            code(r#"('"', '\'', '\u{41}', b'x') "s""#),
            r#"(   ,     ,         , b   ) " ""#
        );
    }

    #[test]
    fn a_literal_knows_the_line_that_it_begins_on() {
        assert_eq!(literals("\n\n\"a\nb\" + \"c\""), [(3, "a\nb".to_owned()), (4, "c".to_owned())]);
    }

    #[test]
    fn a_word_is_not_a_part_of_a_longer_one() {
        assert_eq!(words("Tier Tiers ATier &Tier", "Tier").collect::<Vec<_>>(), [0, 18]);
        assert_eq!(words("todo!() my_todo!()", "todo!").collect::<Vec<_>>(), [0]);
    }
}
