//! Which copies of a key are wrong.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    clock::Timestamp,
    entry::{Entry, Version},
    key::Key,
};

/// What is held of a key: enough to tell which of two copies is the older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its version at the source, if it has one.
    pub version: Option<Version>,
    /// When it was loaded or written.
    pub created_at: Timestamp,
    /// A checksum of its encoded value, where that is known: a value that was loaded anew and is the
    /// same is no other value.
    pub payload_crc: Option<u32>,
}

/// How copies of a key disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FindingKind {
    /// A tier has an older value than one below it: readers get the older one.
    OlderThanBelow,
    /// A tier has an older value than one above it: it has missed a write, and will answer once the
    /// upper one has forgotten.
    OlderThanAbove,
    /// Two tiers have different values of the same age.
    Differs,
    /// A tier has what was removed from all of them.
    OutlivesRemoval,
    /// A tier has an older version than the source.
    OlderThanSource,
}

/// One copy that was wrong at two looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Of which key.
    pub key: Key,
    /// In which tier.
    pub tier: Arc<str>,
    /// How.
    pub kind: FindingKind,
    /// The tier that is right, or `removal`, or `source`.
    pub against: Arc<str>,
    /// For how long it has been wrong: since the newer value was written, or the removal. Against
    /// the source, which tells versions and no times, the age of the copy: it is wrong for at most
    /// that.
    pub stale_for: Duration,
    held: Held,
}

/// A key to be compared, and what was found of it.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) key: Key,
    pub(super) invalidated_at: Option<Timestamp>,
    /// From the top down.
    pub(super) looks: Vec<(Arc<str>, Look)>,
    pub(super) source: Option<Version>,
}

#[derive(Clone, Debug)]
pub(super) enum Look {
    Has(Held),
    Lacks,
    Unknown,
}

impl Held {
    pub(super) fn of(entry: &Entry) -> Self {
        let payload_crc = Some(crc32fast::hash(&entry.payload));
        Self { version: entry.version, created_at: entry.created_at, payload_crc }
    }

    /// How this copy of an upper tier and that of a lower one disagree.
    fn compare(&self, lower: &Self) -> Option<FindingKind> {
        let both_known = self.payload_crc.is_some() && lower.payload_crc.is_some();
        if both_known && self.payload_crc == lower.payload_crc {
            return None;
        }
        let order = match (self.version, lower.version) {
            (Some(upper), Some(lower)) => upper.cmp(&lower),
            _ => self.created_at.cmp(&lower.created_at),
        };
        match order {
            std::cmp::Ordering::Less => Some(FindingKind::OlderThanBelow),
            std::cmp::Ordering::Greater => Some(FindingKind::OlderThanAbove),
            std::cmp::Ordering::Equal => both_known.then_some(FindingKind::Differs),
        }
    }
}

impl Sample {
    pub(super) const fn new(key: Key, invalidated_at: Option<Timestamp>) -> Self {
        Self { key, invalidated_at, looks: Vec::new(), source: None }
    }

    /// The same key, not yet looked at.
    pub(super) fn again(&self) -> Self {
        Self::new(self.key.clone(), self.invalidated_at)
    }

    /// Whether there was anything that could have been wrong.
    pub(super) fn is_comparable(&self) -> bool {
        let answers = self.looks.iter().filter(|(_, look)| !matches!(look, Look::Unknown)).count();
        let held = self.held().count();
        let with_source = self.source.is_some() && self.held().any(|(_, h)| h.version.is_some());
        held > 1 || with_source || (self.invalidated_at.is_some() && answers > 0)
    }

    fn held(&self) -> impl Iterator<Item = (&Arc<str>, &Held)> {
        self.looks.iter().filter_map(|(tier, look)| match look {
            Look::Has(held) => Some((tier, held)),
            Look::Lacks | Look::Unknown => None,
        })
    }
}

/// The wrong copies of a sample: at most one finding a tier, the surest.
pub(super) fn findings(
    sample: &Sample,
    now: Timestamp,
    clocks_differ_by: Duration,
) -> Vec<Finding> {
    let finding = |tier: &Arc<str>, held: &Held, kind, against: &str, since: Timestamp| Finding {
        key: sample.key.clone(),
        tier: Arc::clone(tier),
        kind,
        against: against.into(),
        stale_for: now.since(since),
        held: *held,
    };
    let copies: Vec<_> = sample.held().collect();
    let mut found: Vec<Finding> = Vec::new();
    for (tier, held) in &copies {
        let removed_at = sample.invalidated_at;
        let removed_at = removed_at.filter(|at| held.created_at.after(clocks_differ_by) <= *at);
        if let Some(at) = removed_at {
            found.push(finding(tier, held, FindingKind::OutlivesRemoval, "removal", at));
        } else if held.version.is_some() && held.version < sample.source {
            let kind = FindingKind::OlderThanSource;
            found.push(finding(tier, held, kind, "source", held.created_at));
        }
    }
    for pair in copies.windows(2) {
        let [(upper, above), (lower, below)] = pair else { continue };
        let Some(kind) = above.compare(below) else { continue };
        let (tier, wrong, against, right) = match kind {
            FindingKind::OlderThanAbove => (lower, below, upper, above),
            _ => (upper, above, lower, below),
        };
        if found.iter().all(|known| known.tier != **tier) {
            found.push(finding(tier, wrong, kind, against, right.created_at));
        }
    }
    found
}

impl FindingKind {
    /// All of them.
    pub(super) const ALL: [Self; 5] = [
        Self::OlderThanBelow,
        Self::OlderThanAbove,
        Self::Differs,
        Self::OutlivesRemoval,
        Self::OlderThanSource,
    ];

    /// The name under which it is counted.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::OlderThanBelow => "older_than_below",
            Self::OlderThanAbove => "older_than_above",
            Self::Differs => "differs",
            Self::OutlivesRemoval => "outlives_removal",
            Self::OlderThanSource => "older_than_source",
        }
    }
}

impl Finding {
    /// Whether `later` is about the same copy and says the same of it. Another copy means that the
    /// key was just being changed.
    pub(super) fn is_same(&self, later: &Self) -> bool {
        (&self.tier, self.kind, self.held) == (&later.tier, later.kind, later.held)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tier, against, stale_for, .. } = self;
        match self.kind {
            FindingKind::OlderThanBelow | FindingKind::OlderThanAbove => {
                write!(f, "{tier} has an older value than {against}, since {stale_for:?}")
            }
            FindingKind::Differs => write!(f, "{tier} and {against} differ, since {stale_for:?}"),
            FindingKind::OutlivesRemoval => {
                write!(f, "{tier} has what was removed {stale_for:?} ago")
            }
            FindingKind::OlderThanSource => {
                write!(f, "{tier} has an older version than the source, of {stale_for:?} ago")
            }
        }
    }
}
