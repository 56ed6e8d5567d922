//! One line of what is told.

use std::{fmt, sync::Arc};

use cache_core::{Author, Change, Error, Notice, Timestamp};
use serde::{Serialize, Serializer};

use crate::output;

/// What has happened to a tier, or to the log by which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Insert,
    Removal,
    Clear,
    Beat,
    /// Changes were missed.
    Gap,
    /// The log cannot be read.
    Cut,
    /// It can be read again.
    Resumed,
}

/// What is printed of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    /// Of a change by the clock of whoever made it, else by this machine's.
    #[serde(rename = "at_ms")]
    at: Timestamp,
    tier: Arc<str>,
    #[serde(rename = "event")]
    pub(super) kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "author")]
    author: Option<Author>,
    /// How long after the change it was heard of; below zero where the clocks differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Line {
    /// A change, heard of at `now`.
    pub(super) fn of(notice: &Notice, tier: &Arc<str>, now: Timestamp) -> Self {
        let (kind, key, namespace) = match &notice.change {
            // Only an insert has an entry.
            Change::Key(key) if notice.digest != 0 => (Kind::Insert, Some(key.to_string()), None),
            Change::Key(key) => (Kind::Removal, Some(key.to_string()), None),
            Change::Clear(namespace) => (Kind::Clear, None, Some(namespace.to_string())),
            Change::Beat => (Kind::Beat, None, None),
        };
        let is_beat = kind == Kind::Beat;
        Self {
            key,
            namespace,
            mark: (!is_beat).then_some(notice.mark),
            author: (!is_beat).then_some(notice.author),
            lag_ms: Some(millis_from(notice.at, now)),
            ..Self::new(kind, tier, notice.at)
        }
    }

    pub(super) fn gap(tier: &Arc<str>, now: Timestamp) -> Self {
        Self::new(Kind::Gap, tier, now)
    }

    pub(super) fn cut(tier: &Arc<str>, error: &Error, now: Timestamp) -> Self {
        Self { error: Some(error.to_string()), ..Self::new(Kind::Cut, tier, now) }
    }

    pub(super) fn resumed(tier: &Arc<str>, now: Timestamp) -> Self {
        Self::new(Kind::Resumed, tier, now)
    }

    fn new(kind: Kind, tier: &Arc<str>, at: Timestamp) -> Self {
        Self {
            at,
            tier: Arc::clone(tier),
            kind,
            key: None,
            namespace: None,
            mark: None,
            author: None,
            lag_ms: None,
            error: None,
        }
    }
}

/// For people: the time of the day in UTC, then what is known.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (millis, kind) = (self.at.as_millis(), self.kind.label());
        let of_day = millis / 1_000 % 86_400;
        let (hours, minutes, seconds) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        write!(f, "{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", millis % 1_000)?;
        write!(f, "  {:<8}  {kind:<7}", self.tier)?;
        if let Some(subject) = self.key.as_ref().or(self.namespace.as_ref()) {
            write!(f, "  {}", output::printable(subject))?;
        }
        if let Some(mark) = self.mark {
            write!(f, "  mark {mark}")?;
        }
        if let Some(author) = self.author {
            write!(f, "  by {}", name(author))?;
        }
        if let Some(lag) = self.lag_ms {
            write!(f, "  lag {lag} ms")?;
        }
        match (&self.error, self.kind) {
            (Some(error), _) => write!(f, "  {}", output::printable(error)),
            (None, Kind::Gap) => write!(f, "  changes were missed; caches drop their copies"),
            (None, _) => Ok(()),
        }
    }
}

impl Kind {
    const fn label(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Removal => "removal",
            Self::Clear => "clear",
            Self::Beat => "beat",
            Self::Gap => "gap",
            Self::Cut => "cut",
            Self::Resumed => "resumed",
        }
    }
}

const fn name(author: Author) -> &'static str {
    match author {
        Author::Cache => "cache",
        Author::Application => "application",
    }
}

fn author<S: Serializer>(author: &Option<Author>, serializer: S) -> Result<S::Ok, S::Error> {
    author.map(name).serialize(serializer)
}

fn millis_from(earlier: Timestamp, later: Timestamp) -> i64 {
    let span = i128::from(later.as_millis()) - i128::from(earlier.as_millis());
    i64::try_from(span).unwrap_or(if span < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use cache_core::Namespace;
    use serde_json::json;

    use super::*;

    fn notice(change: Change, digest: u32) -> Notice {
        let at = Timestamp::from_millis(86_400_000 + 3_661_007);
        Notice { change, mark: 42, at, author: Author::Application, digest }
    }

    fn line(change: Change, digest: u32, now: u64) -> Line {
        let now = Timestamp::from_millis(86_400_000 + now);
        Line::of(&notice(change, digest), &"redis".into(), now)
    }

    #[test]
    fn a_change_is_told_with_all_that_is_known_of_it() {
        let key = Namespace::new("price").unwrap().key("AAPL").unwrap();
        let removal = line(Change::Key(key.clone()), 0, 3_661_010);
        assert_eq!(
            removal.to_string(),
            "01:01:01.007Z  redis     removal  price:AAPL  mark 42  by application  lag 3 ms"
        );
        assert_eq!(
            serde_json::to_value(&removal).unwrap(),
            json!({"at_ms": 90_061_007, "tier": "redis", "event": "removal", "key": "price:AAPL",
                   "mark": 42, "author": "application", "lag_ms": 3})
        );
        assert_eq!(line(Change::Key(key), 7, 3_661_010).kind, Kind::Insert);
        let clear = line(Change::Clear(Namespace::new("price").unwrap()), 0, 3_661_010);
        assert_eq!((clear.kind, clear.namespace.as_deref()), (Kind::Clear, Some("price")));
    }

    #[test]
    fn an_author_whose_clock_is_ahead_has_a_lag_below_zero() {
        assert_eq!(line(Change::Beat, 0, 3_660_007).lag_ms, Some(-1_000));
    }

    #[test]
    fn what_happens_to_the_log_is_told_without_a_key() {
        let tier = "redis".into();
        let error = Error::new(cache_core::ErrorKind::Unavailable, "no answer");
        let cut = Line::cut(&tier, &error, Timestamp::from_millis(0)).to_string();
        assert_eq!(cut, "00:00:00.000Z  redis     cut      no answer");
        let gap = Line::gap(&tier, Timestamp::from_millis(0)).to_string();
        assert!(gap.contains("changes were missed"), "{gap}");
    }
}
