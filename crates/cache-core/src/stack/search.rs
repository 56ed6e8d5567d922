//! The way of one key down the tiers.

use crate::{
    clock::Timestamp,
    entry::Entry,
    fence::Fence,
    key::Key,
    tier::{Condition, Lookup, Put},
};

use super::{Found, Promotion};

/// What is known of one key after some tiers have answered.
pub(super) struct Search<T> {
    now: Timestamp,
    /// The fences of the tiers asked so far, top first. Empty, and so unallocated, while the top
    /// tier has it fresh: nobody will write then.
    fences: Vec<Fence>,
    /// That of the top tier in any case.
    top: Fence,
    best: Option<(usize, Entry, T)>,
    over: bool,
}

impl<T> Search<T> {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self { now, fences: Vec::new(), top: Fence::unread(), best: None, over: false }
    }

    /// The answer of the tier at `level`.
    pub(super) fn take(
        &mut self,
        level: usize,
        lookup: Lookup,
        read: impl Fn(&Entry) -> Option<T>,
    ) {
        if let Some((entry, value)) = lookup.entry.and_then(|e| read(&e).map(|value| (e, value))) {
            self.over = entry.is_fresh(self.now);
            if self.best.as_ref().is_none_or(|(_, best, _)| entry.fresh_until > best.fresh_until) {
                self.best = Some((level, entry, value));
            }
        }
        if level == 0 {
            self.top = lookup.fence.clone();
        }
        if !(self.over && level == 0) {
            self.fences.push(lookup.fence);
        }
    }

    /// The tier at the next level failed: it will not be written to, as its fence is not known.
    pub(super) fn pass(&mut self) {
        self.fences.push(Fence::unread());
    }

    /// Whether no further tier needs to be asked.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// The answer for `key`.
    pub(super) fn finish(self, key: &Key) -> Found<T> {
        let promotions = self.promotions(key);
        let fence = Fence::stack(self.fences);
        Found { hit: self.best, fence, top: self.top, promotions }
    }

    /// The hit, for each tier above its own that was asked, from the lowest up. A stale one stays
    /// where it is: a load is about to replace it.
    fn promotions(&self, key: &Key) -> Vec<Promotion> {
        let Some((found_at, entry, _)) = self.best.as_ref().filter(|_| self.over) else {
            return Vec::new();
        };
        let promotion = |level: usize| {
            let condition = Condition::Unmoved(self.fences[level].clone());
            let put = Put { key: key.clone(), entry: entry.clone(), condition };
            Promotion { level, put, looked_at: self.now }
        };
        let asked = |level: &usize| self.fences[*level] != Fence::unread();
        (0..*found_at).rev().filter(asked).map(promotion).collect()
    }
}
