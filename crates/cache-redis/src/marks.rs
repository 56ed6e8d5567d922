//! The largest marks that this process has met, by which it notices a server that lost data.
//!
//! Marks never go back. A server that shows a smaller one than before came back with an old
//! snapshot, or is a replica that was behind when it took over.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::RwLock;

/// How many namespaces are remembered. Losses in others are not noticed by their marks.
const NAMESPACES_MAX: usize = 10_000;

/// What was met, by namespace.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    met: RwLock<HashMap<Box<str>, AtomicU64>>,
    largest: AtomicU64,
}

impl Marks {
    /// The largest mark of `namespace`; 0 when none was met.
    ///
    /// To be read before a request is sent: what its answer shows cannot be smaller. Read later, it
    /// might come from an answer that has overtaken this one on another connection.
    pub(crate) fn of(&self, namespace: &str) -> u64 {
        self.met.read().get(namespace).map_or(0, |mark| mark.load(Ordering::Relaxed))
    }

    /// The largest mark of all namespaces.
    pub(crate) fn largest(&self) -> u64 {
        self.largest.load(Ordering::Relaxed)
    }

    /// Notes that `namespace` stands at `mark`, or further.
    pub(crate) fn meet(&self, namespace: &str, mark: u64) {
        // Read first, here and below: all lookups share these words, and they seldom change.
        if self.largest.load(Ordering::Relaxed) < mark {
            self.largest.fetch_max(mark, Ordering::Relaxed);
        }
        {
            let met = self.met.read();
            if let Some(known) = met.get(namespace) {
                if known.load(Ordering::Relaxed) < mark {
                    known.fetch_max(mark, Ordering::Relaxed);
                }
                return;
            }
            if met.len() >= NAMESPACES_MAX {
                return;
            }
        }
        self.met.write().entry(namespace.into()).or_default().fetch_max(mark, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_mark_of_each_namespace_is_remembered() {
        let marks = Marks::default();
        for (namespace, mark) in [("a", 5), ("b", 9), ("a", 3), ("a", 7)] {
            marks.meet(namespace, mark);
        }
        assert_eq!((marks.of("a"), marks.of("b"), marks.of("c")), (7, 9, 0));
        assert_eq!(marks.largest(), 9);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let marks = Marks::default();
        for i in 0..=NAMESPACES_MAX as u64 {
            marks.meet(&i.to_string(), i + 1);
        }
        assert_eq!(marks.met.read().len(), NAMESPACES_MAX);
        assert_eq!(marks.largest(), NAMESPACES_MAX as u64 + 1);
    }
}
