//! What a reader saw of a key, to be handed back with its write.

use std::sync::Arc;

/// A mark of the past of one key in one tier, which makes a late write refusable.
///
/// A tier counts the changes that must not be undone (inserts, removals, clears). A lookup returns
/// where the key stood, and a fill (a put with [`Condition::Unmoved`](crate::Condition::Unmoved))
/// hands that back: the tier refuses the fill when the key has moved on. The count is the tier's
/// own, so no clock of any node takes part. Expiry and eviction move nothing, and neither does a
/// fill.
///
/// The fence of a [`Stack`](crate::Stack) is the fences of its tiers, top first. A tier whose
/// fence was not read (it was down, or it did not need to be asked) has [`Fence::unread`], and no
/// fill reaches it: what cannot be checked is not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence(Repr);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Repr {
    Unread,
    Mark(u64),
    Stack(Arc<[Fence]>),
}

impl Fence {
    /// The largest mark: the largest whole number that a Lua script in Redis can compare exactly.
    pub const MARK_MAX: u64 = (1 << 53) - 1;

    /// The fence of a tier that did not tell it.
    #[must_use]
    pub const fn unread() -> Self {
        Self(Repr::Unread)
    }

    /// The fence of a single tier.
    #[must_use]
    pub const fn mark(mark: u64) -> Self {
        Self(Repr::Mark(mark))
    }

    /// The fence of several tiers, top first.
    #[must_use]
    pub fn stack(parts: Vec<Self>) -> Self {
        Self(Repr::Stack(parts.into()))
    }

    /// The mark of a single tier, or nothing when it was not read or is not a single tier's.
    #[must_use]
    pub const fn as_mark(&self) -> Option<u64> {
        match self.0 {
            Repr::Mark(mark) => Some(mark),
            Repr::Unread | Repr::Stack(_) => None,
        }
    }

    /// The fence of the tier at `level` (the top is 0), unread when there is none.
    #[must_use]
    pub fn part(&self, level: usize) -> Self {
        match &self.0 {
            Repr::Stack(parts) => parts.get(level).cloned().unwrap_or(Self::unread()),
            Repr::Unread | Repr::Mark(_) => Self::unread(),
        }
    }
}
