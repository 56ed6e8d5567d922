//! Where things lie in Redis.
//!
//! | key | content |
//! |-----|---------|
//! | `prefix:namespace` | the control key: two marks, see [`Control`] |
//! | `prefix:namespace:text` | a record, see [`cache_core::wire`] |
//! | `prefix:namespace~lease:text` | a lease: its owner's token |
//! | `prefix:~log` | the log, a stream |
//! | `prefix:~log:end` | the id of the log's last entry, a space, and what the scripts count |
//! | `prefix:~log:beat` | there for a moment after a beat |
//! | `prefix:~order`, `prefix:~tracked`, `prefix:~tracked:counts` | see [`tracker`](crate::tracker) |
//!
//! Neither prefix nor namespace holds a colon or a glob character, so no record's key is a control
//! key, and the pattern `prefix:namespace:*` matches the records of one namespace exactly. No name
//! of a namespace holds a `~`. Releases of leases are told on the channel `prefix:~leases`.

use std::io::Write;

use bb8_redis::redis::{RedisWrite, ToRedisArgs, Value};
use cache_core::{Fence, Key};

/// The names of the keys that one tier uses.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    prefix: String,
}

impl Layout {
    pub(crate) fn new(prefix: String) -> Self {
        Self { prefix }
    }

    pub(crate) fn control<'a>(&'a self, namespace: &'a str) -> Name<'a> {
        Name { prefix: &self.prefix, rest: namespace }
    }

    pub(crate) fn record<'a>(&'a self, key: &'a Key) -> Name<'a> {
        Name { prefix: &self.prefix, rest: key.encoded() }
    }

    /// The keys of the log: the stream, and where it ends.
    pub(crate) fn log(&self) -> [Name<'_>; 2] {
        [self.control("~log"), self.control("~log:end")]
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What lasts for a moment after a beat.
    pub(crate) fn beat(&self) -> Name<'_> {
        self.control("~log:beat")
    }

    pub(crate) fn lease(&self, key: &Key) -> String {
        format!("{}:{}~lease:{}", self.prefix, key.namespace(), key.text())
    }

    /// Where releases of leases are told.
    pub(crate) fn leases(&self) -> String {
        format!("{}:~leases", self.prefix)
    }

    /// What matches the records of `namespace`.
    pub(crate) fn records(&self, namespace: &str) -> String {
        format!("{}:{namespace}:*", self.prefix)
    }
}

/// The name of a key in Redis, written into a command without a copy of its own.
pub(crate) struct Name<'a> {
    prefix: &'a str,
    rest: &'a str,
}

impl ToRedisArgs for Name<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        // Without the machinery of formatting, which would be a good part of what a key costs.
        let mut name = out.writer_for_next_arg();
        for part in [self.prefix, ":", self.rest] {
            name.write_all(part.as_bytes()).expect("a command is memory");
        }
    }
}

/// What a control key holds: the marks between which a namespace's records are live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Control {
    /// The mark of the last clear.
    pub(crate) floor: u64,
    /// The last mark that was given out.
    pub(crate) last: u64,
}

impl Control {
    /// Reads the content of a control key; nothing when it is missing or something else.
    pub(crate) fn parse(content: &Value) -> Option<Self> {
        let Value::BulkString(bytes) = content else { return None };
        let (floor, last) = bytes.split_first_chunk()?;
        let floor = u64::from_be_bytes(*floor);
        let last = u64::from_be_bytes(last.try_into().ok()?);
        (floor <= last && last <= Fence::MARK_MAX).then_some(Self { floor, last })
    }

    /// Whether a record of this mark counts.
    pub(crate) fn is_live(self, mark: u64) -> bool {
        (self.floor..=self.last).contains(&mark)
    }
}

#[cfg(test)]
mod tests {
    use cache_core::Namespace;

    use super::*;

    #[test]
    fn a_record_lies_under_its_namespace_and_beside_the_control_key() {
        let layout = Layout::new("cache".to_owned());
        let key = Namespace::new("a:*").unwrap().key("b:*").unwrap();
        let shown = |name: Name<'_>| String::from_utf8(name.to_redis_args().remove(0)).unwrap();
        assert_eq!(shown(layout.record(&key)), "cache:a%3A%2A:b:*");
        assert_eq!(shown(layout.control(key.namespace())), "cache:a%3A%2A");
        assert_eq!(layout.records(key.namespace()), "cache:a%3A%2A:*");
    }

    #[test]
    fn a_control_key_of_another_content_counts_as_missing() {
        let content = |floor: u64, last: u64| [floor.to_be_bytes(), last.to_be_bytes()].concat();
        let parse = |bytes: Vec<u8>| Control::parse(&Value::BulkString(bytes));
        assert_eq!(parse(content(3, 7)), Some(Control { floor: 3, last: 7 }));
        assert_eq!(parse(content(7, 3)), None);
        assert_eq!(parse(content(3, u64::MAX)), None);
        assert_eq!(parse(content(3, 7)[..15].to_vec()), None);
        assert_eq!(parse([content(3, 7), vec![0]].concat()), None);
        assert_eq!(Control::parse(&Value::Nil), None);
    }
}
