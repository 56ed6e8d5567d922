//! A position in the log, as text and parsed.
//!
//! `LIFE/SINCE`: in this life of the database, what the snapshot `SINCE` did not see comes next.
//! `LIFE/SINCE/UNTIL/MARK`: a part of what `UNTIL` saw and `SINCE` did not was read, up to this
//! mark. A snapshot is as PostgreSQL writes it: `xmin:xmax:` and those that were under way.

use std::fmt;

use cache_core::Position;

/// The longest text that is looked at: a snapshot of thousands of transactions is shorter.
const LEN_MAX: usize = 1 << 18;

/// A parsed position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) life: String,
    pub(crate) since: String,
    pub(crate) part: Option<Part>,
}

/// How far what `until` saw was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) until: String,
    pub(crate) mark: i64,
}

impl Place {
    /// The place that `position` names; nothing when it names none.
    pub(crate) fn parse(position: &Position) -> Option<Self> {
        let text = position.as_str();
        if text.len() > LEN_MAX {
            return None;
        }
        let fields: Vec<&str> = text.split('/').collect();
        let (life, since, part) = match fields[..] {
            [life, since] => (life, since, None),
            [life, since, until, mark] if is_snapshot(until) => {
                (life, since, Some(Part { until: until.to_owned(), mark: mark.parse().ok()? }))
            }
            _ => return None,
        };
        let place = || Self { life: life.to_owned(), since: since.to_owned(), part };
        is_snapshot(since).then(place)
    }

    /// A place that is in no database.
    pub(crate) fn of_no_life() -> Self {
        Self { life: String::new(), since: "1:1:".to_owned(), part: None }
    }

    pub(crate) fn position(&self) -> Position {
        Position::new(&self.to_string())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.life, self.since)?;
        match &self.part {
            Some(Part { until, mark }) => write!(f, "/{until}/{mark}"),
            None => Ok(()),
        }
    }
}

/// Whether PostgreSQL takes `text` for a `pg_snapshot`, so that an error of the statement is never
/// the position's fault.
fn is_snapshot(text: &str) -> bool {
    let mut fields = text.split(':');
    let (Some(min), Some(max), Some(under_way), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return false;
    };
    let (Some(min), Some(max)) = (number(min), number(max)) else { return false };
    let mut last = min;
    min > 0
        && min <= max
        && (under_way.is_empty()
            || under_way.split(',').all(|xid| {
                let in_order = number(xid).filter(|xid| (last..max).contains(xid));
                last = in_order.unwrap_or(last);
                in_order.is_some()
            }))
}

/// A number of digits only, as `parse` alone would not insist on.
fn number(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|number| plain && *number < 1 << 63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_back() {
        for text in ["a-b/10:20:", "a/10:20:10,15", "a/10:20:/10:25:20/77"] {
            let position = Position::new(text);
            assert_eq!(Place::parse(&position).map(|place| place.position()), Some(position));
        }
    }

    #[test]
    fn what_is_no_position_is_told() {
        for text in [
            "",
            "0-0",
            "a",
            "a/",
            "a/1:2",
            "a/1:2:3",
            "a/0:2:",
            "a/3:2:",
            "a/1:9:5,4",
            "a/+1:2:",
            "a/1:2::",
            "a/1:9:2,",
            "a/1:2:/x/3",
            "a/1:2:/1:3:",
            "a/1:2:/1:3:/x",
            "a/1:2:/1:3:/1/2",
            "a/1:18446744073709551616:",
            "a/1:9223372036854775808:",
        ] {
            assert_eq!(Place::parse(&Position::new(text)), None, "{text}");
        }
    }
}
