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

/// Writes the name of what has changed as it stands in an entry: `digest`, the name's length, and
/// the name. The names of an entry follow on each other.
pub(crate) fn write_name(names: &mut Vec<u8>, name: &str, digest: u32) {
    names.extend(digest.to_be_bytes());
    // No key is longer than some hundred bytes, and a length that is wrong reads as a gap.
    names.extend(u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes());
    names.extend(name.as_bytes());
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
        match content(entry) {
            Some((place, before, notices))
                if place.seq == part.next.seq + 1 && before == part.next.nonce =>
            {
                part.notices.extend(notices);
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

/// The id of an entry, the nonce of the one before, and what it says, which is never nothing.
fn content(entry: &Value) -> Option<(Place, u32, Vec<Notice>)> {
    let Value::Array(entry) = entry else { return None };
    let [id, Value::Array(fields)] = &entry[..] else { return None };
    let bytes = |name: &str| {
        let found =
            fields.chunks_exact(2).find(|field| bytes(&field[0]) == Some(name.as_bytes()))?;
        bytes(&found[1])
    };
    let text = |name| std::str::from_utf8(bytes(name)?).ok();
    let author = match text("a")? {
        "cache" => Author::Cache,
        "app" => Author::Application,
        _ => return None,
    };
    let at = Timestamp::from_millis(number(text("t")?)?);
    let notice = |change, mark, digest| Notice { change, mark, at, author, digest };
    let (names, marks) = (bytes("n")?, bytes("m")?);
    let notices = match text("c")? {
        "key" => named(names, marks, |name, mark, digest| {
            Some(notice(Change::Key(Key::from_encoded(name).ok()?), mark, digest))
        })?,
        "clear" => named(names, marks, |name, mark, digest| {
            Some(notice(Change::Clear(Namespace::from_escaped(name).ok()?), mark, digest))
        })?,
        "beat" if names.is_empty() && marks.is_empty() => vec![notice(Change::Beat, 0, 0)],
        _ => return None,
    };
    let id = std::str::from_utf8(self::bytes(id)?).ok()?;
    (!notices.is_empty()).then_some((Place::parse(id)?, number(text("p")?)?, notices))
}

/// What an entry says of each of its `names`, of which there are as many as `marks`. A mark of 0 is
/// that of a change that was refused.
fn named(
    mut names: &[u8],
    mut marks: &[u8],
    notice: impl Fn(&str, u64, u32) -> Option<Notice>,
) -> Option<Vec<Notice>> {
    // Not more than there are bytes for, whatever they say.
    let mut notices = Vec::with_capacity(marks.len() / 8);
    while let Some((mark, rest)) = marks.split_first_chunk() {
        marks = rest;
        let (digest, rest) = names.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        let (name, rest) = rest.split_at_checked(len)?;
        names = rest;
        let mark = u64::from_be_bytes(*mark);
        if mark > Fence::MARK_MAX {
            return None;
        }
        let name = std::str::from_utf8(name).ok()?;
        let notice = notice(name, mark, u32::from_be_bytes(*digest))?;
        if mark > 0 {
            notices.push(notice);
        }
    }
    (names.is_empty() && marks.is_empty()).then_some(notices)
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
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

    type Fields = Vec<(&'static str, Vec<u8>)>;

    fn bulk(content: impl AsRef<[u8]>) -> Value {
        Value::BulkString(content.as_ref().to_vec())
    }

    fn entry(id: &str, fields: &Fields) -> Value {
        let fields = fields.iter().flat_map(|(name, content)| [bulk(name), bulk(content)]);
        Value::Array(vec![bulk(id), Value::Array(fields.collect())])
    }

    /// An entry of changes, each a key and its mark.
    fn fields(before: &str, changes: &[(&str, u64)]) -> Fields {
        let (mut names, mut marks) = (Vec::new(), Vec::new());
        for (name, mark) in changes {
            write_name(&mut names, name, 9);
            marks.extend(mark.to_be_bytes());
        }
        let text = |text: &str| text.as_bytes().to_vec();
        vec![
            ("p", text(before)),
            ("t", text("5")),
            ("c", text("key")),
            ("n", names),
            ("m", marks),
            ("a", text("app")),
        ]
    }

    fn good(before: &str, name: &str) -> Fields {
        fields(before, &[(name, 7)])
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
    fn an_entry_holds_the_changes_of_a_call_without_those_that_were_refused() {
        let fields = fields("3", &[("n:a", 7), ("n:b", 0), ("n:c:d", 8)]);
        let part = read(&answer(vec![entry("11-4", &fields)]), START);
        let told: Vec<_> = part.notices.iter().map(|n| (&n.change, n.mark, n.digest)).collect();
        let key = |name| Change::Key(Key::from_encoded(name).unwrap());
        assert_eq!(told, [(&key("n:a"), 7, 9), (&key("n:c:d"), 8, 9)]);
        assert_eq!((part.next.to_string().as_str(), part.is_cut), ("11-4", false));
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
        let with = |name: &'static str, content: &[u8]| {
            let mut fields = good("4", "n:b");
            fields.retain(|(field, _)| *field != name);
            fields.push((name, content.to_vec()));
            entry("12-4", &fields)
        };
        for second in [
            entry("13-4", &good("4", "n:b")),
            entry("12-4", &good("9", "n:b")),
            entry("12-4", &good("4", "no separator")),
            entry("12-4", &fields("4", &[])),
            entry("12-4", &fields("4", &[("n:b", 0)])),
            entry("12-x", &good("4", "n:b")),
            entry("12-4", &Vec::new()),
            with("c", b"other"),
            with("c", b"beat"),
            with("a", b"other"),
            with("n", b""),
            with("n", b"\0\0\0\0\0\0\0\x04n:b"),
            with("n", b"\0\0\0\0\0\0\0\x02n:b"),
            with("n", b"\0\0\0\0\xff\xff\xff\xffn:b"),
            with("n", b"\0\0\0\0\0\0\0\x03n:\xff"),
            with("m", b""),
            with("m", b"\0\0\0\0\0\0\0"),
            with("m", b"\0\0\0\0\0\0\0\x07\0"),
            with("m", b"\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x08"),
            with("m", b"\0\x20\0\0\0\0\0\0"),
            with("t", b"+5"),
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
            "[pcnmta]|key|clear|beat|cache|app|[0-9]{1,20}(-[0-9]{1,12})?|n:.{1,5}"
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
        fn whatever_names_and_marks_an_entry_holds_are_read_without_a_panic(
            names in proptest::collection::vec(0_u8..4, 0..40),
            marks in proptest::collection::vec(any::<u8>(), 0..40),
            clear: bool,
        ) {
            let mut fields = good("3", "n:a");
            fields.retain(|(field, _)| !["n", "m", "c"].contains(field));
            let change = if clear { "clear" } else { "key" };
            fields.extend([("n", names), ("m", marks), ("c", change.as_bytes().to_vec())]);
            let _ = read(&answer(vec![entry("11-4", &fields)]), START);
        }

        #[test]
        fn the_changes_of_an_entry_are_read_back(
            changes in proptest::collection::vec(("[a-z]{1,5}", 1..=Fence::MARK_MAX), 1..20),
        ) {
            let changes: Vec<_> = changes.iter().map(|(k, mark)| (format!("n:{k}"), *mark)).collect();
            let written: Vec<_> = changes.iter().map(|(name, mark)| (&name[..], *mark)).collect();
            let part = read(&answer(vec![entry("11-4", &fields("3", &written))]), START);
            let read = part.notices.into_iter().map(|notice| match notice.change {
                Change::Key(key) => (key.encoded().to_owned(), notice.mark),
                _ => unreachable!("the entry is one of keys"),
            });
            prop_assert_eq!(read.collect::<Vec<_>>(), changes);
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
