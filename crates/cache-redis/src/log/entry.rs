//! The entries of the log: bytes from outside, whose form the crate's documentation tells.
//!
//! Whoever reads on from an entry has missed nothing while the next one has the next number and
//! names the nonce of that entry: a server that came back with an old snapshot counts on from there,
//! but with other nonces. When nothing follows, `PREFIX:~log:end` still begins with the id of the last
//! entry read.

use std::{fmt, str::FromStr};

use bb8_redis::redis::Value;
use cache_core::{Author, Change, Fence, Key, Namespace, Notice, Position, Timestamp};

/// The id of an entry: where a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    seq: u64,
    nonce: u32,
}

impl Place {
    /// Before every entry.
    pub(super) const START: Self = Self { seq: 0, nonce: 0 };

    /// Reads what the key holds that says where the log ends.
    pub(super) fn parse_end(text: &str) -> Option<Self> {
        Self::parse(text.split_once(' ')?.0)
    }

    pub(super) const fn is_behind(self, other: Self) -> bool {
        self.seq < other.seq
    }

    /// Reads an id; nothing when it is not one of ours.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (seq, nonce) = text.split_once('-')?;
        Some(Self {
            seq: number(seq).filter(|seq| *seq <= Fence::MARK_MAX)?,
            nonce: number(nonce)?,
        })
    }

    pub(super) fn position(self) -> Position {
        Position::new(&self.to_string())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.seq, self.nonce)
    }
}

/// A part of the stream, as far as it can be trusted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The notices that follow on each other without a gap.
    pub(super) notices: Vec<Notice>,
    /// Where they end.
    pub(super) next: Place,
    /// Whether something else came after them: a gap, or bytes that are no entry.
    pub(super) is_cut: bool,
    /// Where to read on after the cut, when what came there is an entry.
    pub(super) resume: Option<Place>,
}

/// Reads what XREAD answers about the one stream after `after`.
///
/// An entry that cannot be read tells of a change that is not known, so it counts as a gap.
pub(super) fn read(answer: &Value, after: Place) -> Part {
    let mut part = Part { notices: Vec::new(), next: after, is_cut: false, resume: None };
    let Some(entries) = entries(answer) else { return Part { is_cut: true, ..part } };
    for entry in entries {
        match notice(entry) {
            Some((place, before, notice))
                if place.seq == part.next.seq + 1 && before == part.next.nonce =>
            {
                part.notices.push(notice);
                part.next = place;
            }
            // An entry names the one before it, whether that is there or not.
            Some((place, nonce, _)) => {
                let resume = place.seq.checked_sub(1).map(|seq| Place { seq, nonce });
                return Part { is_cut: true, resume, ..part };
            }
            None => return Part { is_cut: true, ..part },
        }
    }
    part
}

/// The entries in an answer of XREAD: `[[stream, entries]]`, or a map in RESP3.
fn entries(answer: &Value) -> Option<&[Value]> {
    let entries = match answer {
        Value::Nil => return Some(&[]),
        Value::Map(streams) => match &streams[..] {
            [(_, entries)] => entries,
            _ => return None,
        },
        Value::Array(streams) => match &streams[..] {
            [Value::Array(stream)] if stream.len() == 2 => &stream[1],
            _ => return None,
        },
        _ => return None,
    };
    match entries {
        Value::Array(entries) => Some(entries),
        _ => None,
    }
}

/// The id of an entry, the nonce of the one before, and what it says.
fn notice(entry: &Value) -> Option<(Place, u32, Notice)> {
    let Value::Array(entry) = entry else { return None };
    let [id, Value::Array(fields)] = &entry[..] else { return None };
    let field = |name: &str| {
        let found = fields.chunks_exact(2).find(|field| text(&field[0]) == Some(name))?;
        text(&found[1])
    };
    let name = field("n")?;
    let change = match field("c")? {
        "key" => Change::Key(Key::from_encoded(name).ok()?),
        "clear" => Change::Clear(Namespace::from_escaped(name).ok()?),
        "beat" => Change::Beat,
        _ => return None,
    };
    let author = match field("a")? {
        "cache" => Author::Cache,
        "app" => Author::Application,
        _ => return None,
    };
    let mark = number(field("m")?).filter(|mark| *mark <= Fence::MARK_MAX)?;
    let at = Timestamp::from_millis(number(field("t")?)?);
    let notice = Notice { change, mark, at, author, digest: number(field("d")?)? };
    Some((Place::parse(text(id)?)?, number(field("p")?)?, notice))
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// A number in decimal digits and nothing else.
fn number<T: FromStr>(text: &str) -> Option<T> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn entry(id: &str, fields: &[(&str, &str)]) -> Value {
        let fields = fields.iter().flat_map(|(name, content)| [bulk(name), bulk(content)]);
        Value::Array(vec![bulk(id), Value::Array(fields.collect())])
    }

    fn good<'a>(before: &'a str, name: &'a str) -> Vec<(&'a str, &'a str)> {
        vec![
            ("p", before),
            ("c", "key"),
            ("n", name),
            ("m", "7"),
            ("t", "5"),
            ("a", "app"),
            ("d", "0"),
        ]
    }

    fn answer(entries: Vec<Value>) -> Value {
        Value::Array(vec![Value::Array(vec![bulk("cache:~log"), Value::Array(entries)])])
    }

    const START: Place = Place { seq: 10, nonce: 3 };

    #[test]
    fn entries_that_follow_on_each_other_are_read() {
        let entries = vec![entry("11-4", &good("3", "n:a")), entry("12-4", &good("4", "n:b"))];
        let resp3 = Value::Map(vec![(bulk("cache:~log"), Value::Array(entries.clone()))]);
        for answer in [answer(entries), resp3] {
            let part = read(&answer, START);
            assert_eq!((part.next.to_string().as_str(), part.is_cut), ("12-4", false));
            let notice = &part.notices[1];
            assert_eq!(notice.change, Change::Key(Key::from_encoded("n:b").unwrap()));
            assert_eq!((notice.mark, notice.author), (7, Author::Application));
        }
        let nothing = Part { notices: Vec::new(), next: START, is_cut: false, resume: None };
        assert_eq!(read(&Value::Nil, START), nothing);
    }

    #[test]
    fn after_a_gap_the_entries_that_are_there_are_read() {
        let held = answer(vec![entry("20-4", &good("9", "n:a")), entry("21-5", &good("4", "n:b"))]);
        let resume = read(&held, START).resume.unwrap();
        assert_eq!(resume.to_string(), "19-9");
        let part = read(&held, resume);
        assert_eq!((part.notices.len(), part.is_cut), (2, false));
        assert_eq!(read(&answer(vec![entry("0-4", &good("9", "n:a"))]), START).resume, None);
    }

    #[test]
    fn a_missing_a_foreign_and_an_unreadable_entry_are_a_gap_after_what_came_before() {
        let with = |name, content| {
            let mut fields = good("4", "n:b");
            fields.retain(|(field, _)| *field != name);
            fields.push((name, content));
            entry("12-4", &fields)
        };
        for second in [
            entry("13-4", &good("4", "n:b")),
            entry("12-4", &good("9", "n:b")),
            entry("12-4", &good("4", "no separator")),
            entry("12-x", &good("4", "n:b")),
            entry("12-4", &[]),
            with("c", "other"),
            with("a", "other"),
            with("m", "-1"),
            with("m", "9007199254740992"),
            with("d", "4294967296"),
            with("t", "+5"),
            Value::Nil,
        ] {
            let part = read(&answer(vec![entry("11-4", &good("3", "n:a")), second.clone()]), START);
            assert_eq!((part.notices.len(), part.is_cut), (1, true), "{second:?}");
            assert_eq!(part.next.to_string(), "11-4");
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<i64>().prop_map(Value::Int),
            proptest::collection::vec(any::<u8>(), 0..8).prop_map(Value::BulkString),
            "[pcnmtad]|key|clear|beat|cache|app|[0-9]{1,20}(-[0-9]{1,12})?|n:.{1,5}"
                .prop_map(|text: String| Value::BulkString(text.into_bytes())),
        ];
        leaf.prop_recursive(4, 64, 16, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..16).prop_map(Value::Array),
                proptest::collection::vec((inner.clone(), inner), 0..4).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_redis_answers_is_read_without_a_panic(value in values()) {
            let _ = read(&value, START);
            let _ = read(&answer(vec![value.clone()]), START);
            let fields = Value::Array(vec![bulk("11-4"), value]);
            let _ = read(&answer(vec![fields]), START);
        }

        #[test]
        fn a_place_is_read_back_from_its_text(seq in 0..=Fence::MARK_MAX, nonce: u32, text in ".*") {
            let place = Place { seq, nonce };
            prop_assert_eq!(Place::parse(place.position().as_str()), Some(place));
            if let Some(place) = Place::parse(&text) {
                prop_assert!(place.seq <= Fence::MARK_MAX);
            }
        }
    }
}
