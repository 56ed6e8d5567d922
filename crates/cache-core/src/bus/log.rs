//! The log of a shared tier: what has changed there, for those who keep copies.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    error::Result,
    key::{Key, Namespace},
};

/// The durable, bounded log of the changes of one shared tier.
///
/// The tier itself appends to it, in the same atomic step as the change: a change that was carried
/// out is in the log even when the process that asked for it dies directly after. Appended are
/// removals, clears and inserts (puts with [`Condition::Always`](crate::Condition::Always) that were
/// stored), because they make copies elsewhere wrong. Fills are not: they change nothing that was
/// true.
///
/// # Contract
///
/// The suite `log_conformance_tests!` of the testkit checks each line of this.
///
/// - Whoever reads on from where it left off sees every change that was committed, each at least
///   once, and never one that was rolled back. Notices of one key come in the order of their
///   [`marks`](Notice::mark).
/// - The log is bounded. A reader that was away for too long, or whose position the log does not
///   know (its store lost data, or is another one), is told so once: [`Page::gap`].
/// - Reading needs no registration and leaves nothing behind on the server.
///
/// # Cancel safety
///
/// A dropped read loses nothing: the caller's position has not moved.
#[async_trait]
pub trait Log: fmt::Debug + Send + Sync + 'static {
    /// The name of the tier whose changes these are.
    fn tier(&self) -> &Arc<str>;

    /// The present end of the log: where a reader begins who has no copies yet.
    async fn end(&self) -> Result<Position>;

    /// What was appended after `after`, at most some thousand notices. When there is nothing, waits
    /// for up to `wait`, and then answers an empty page: a sign that the log was reached and that
    /// nothing has happened.
    ///
    /// # Errors
    ///
    /// Only when the log could not be reached; a position that it does not know is a gap.
    async fn read(&self, after: &Position, wait: Duration) -> Result<Page>;

    /// Appends a [`Change::Beat`], so that readers can tell a quiet log from a cut one, and how far
    /// they are behind.
    async fn beat(&self) -> Result<()>;
}

/// A place in a log: opaque, of that log's own making.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(Arc<str>);

impl Position {
    /// A position that a log will know again.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A part of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// What has happened, oldest first.
    pub notices: Vec<Notice>,
    /// Where to read on.
    pub next: Position,
    /// Whether notices may be missing before these. Whoever keeps copies drops them all.
    pub gap: bool,
}

/// One change, as a log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What has changed.
    pub change: Change,
    /// The fence of the key, or the floor of the namespace, that the change has set in the log's
    /// tier. A copy whose reader saw this fence or a larger one is younger than the change.
    pub mark: u64,
    /// When, by the clock of the process that did it. For measuring, not for ordering.
    pub at: Timestamp,
    /// Who did it.
    pub author: Author,
    /// For an insert the [`digest`](crate::Entry::digest) of its entry, so that its own process
    /// recognises it; 0 for everything else.
    pub digest: u32,
}

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A key was removed or inserted.
    Key(Key),
    /// A namespace was cleared.
    Clear(Namespace),
    /// Nothing: a sign of life.
    Beat,
}

/// Who made a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// A cache, which has changed the tiers above by itself.
    Cache,
    /// A program that knows this tier only, as by `SELECT cache.invalidate('key')`: whoever follows
    /// the log changes the tiers above.
    Application,
}
