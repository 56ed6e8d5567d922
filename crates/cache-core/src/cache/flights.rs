//! One load for many callers.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use super::{flight::Wanted, hit::Hit, load_error::Failure, runway::Runway};
use crate::{
    error::{Error, ErrorKind, Result},
    key::Key,
    sync::{AtomicU64, Mutex},
};

#[cfg(all(test, shuttle))]
mod schedules;

/// The most keys that may be on their way from the source at the same time.
pub const FLIGHTS_MAX: usize = 65_536;

/// How a flight ended: with a value, with the source's word that there is none (batches only), or
/// without either.
pub(super) type Landing<V> = std::result::Result<Option<Hit<V>>, Failure>;

/// The flights of one cache, by key.
///
/// A flight is carried out by a task of its own, never by a caller: callers come and go without
/// touching it. See [`Cache::get_or_load`](crate::Cache::get_or_load).
#[derive(Debug)]
pub(super) struct Flights<V>(Arc<Listed<V>>);

/// The list of flights.
#[derive(Debug)]
struct Listed<V> {
    by_key: Mutex<HashMap<Key, Flight<V>>>,
    /// How many there are, for who asks only whether there is any: inserts into a near tier would
    /// else share a lock. Written under it.
    len: AtomicU64,
}

/// A flight under way.
#[derive(Debug)]
struct Flight<V> {
    wanted: Wanted,
    runway: Runway<Landing<V>>,
}

impl<V> Clone for Flight<V> {
    fn clone(&self) -> Self {
        Self { wanted: self.wanted, runway: self.runway.clone() }
    }
}

/// The way onto a flight.
pub(super) enum Boarding<V> {
    /// There is one already: wait for it.
    Join(Passenger<V>),
    /// There was none: carry it out.
    Lead(Pilot<V>),
}

/// Waits for a flight.
#[derive(Debug)]
pub(super) struct Passenger<V>(Flight<V>);

/// Carries a flight out. Dropped without [`Pilot::land`] (its task panicked, or the runtime ends),
/// it lets the passengers know.
#[derive(Debug)]
pub(super) struct Pilot<V> {
    pub(super) key: Key,
    wanted: Wanted,
    runway: Runway<Landing<V>>,
    flights: Flights<V>,
}

impl<V> Flights<V> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Listed { by_key: Mutex::new(HashMap::new()), len: AtomicU64::new(0) }))
    }

    /// Joins the flight of `key`, or starts one.
    pub(super) fn board(&self, key: &Key) -> Result<Boarding<V>> {
        self.change(|flights| match flights.get(key) {
            Some(flight) => Ok(Boarding::Join(Passenger(flight.clone()))),
            None => self.start(flights, key, Wanted::Fresh).map(Boarding::Lead),
        })
    }

    /// Starts a refresh of `key` even if there is a flight. Whoever comes from now on joins this
    /// one.
    pub(super) fn lead(&self, key: &Key) -> Result<Pilot<V>> {
        self.change(|flights| self.start(flights, key, Wanted::Reload))
    }

    fn start(
        &self,
        flights: &mut HashMap<Key, Flight<V>>,
        key: &Key,
        wanted: Wanted,
    ) -> Result<Pilot<V>> {
        if flights.len() >= FLIGHTS_MAX {
            let message = format!("{FLIGHTS_MAX} loads are under way already");
            return Err(Error::new(ErrorKind::Overloaded, message)
                .hint("the source is slower than it is asked: limit the callers"));
        }
        let runway = Runway::new();
        flights.insert(key.clone(), Flight { wanted, runway: runway.clone() });
        Ok(Pilot { key: key.clone(), wanted, runway, flights: self.clone() })
    }

    /// Lets the flight of `key` go on for those aboard, and nobody join it any more: the key was
    /// changed, and whoever comes now must not get what was loaded before.
    pub(super) fn detach(&self, key: &Key) {
        self.change(|flights| flights.remove(key));
    }

    /// Whether there is a flight at all, for who has just changed a key in the near tier. A flight that
    /// is not seen here reads the key's fence after that change, and so departs after it: had it read
    /// the fence before, under the lock of the key's stripe, then whoever had that lock after it would
    /// see that it is listed.
    pub(super) fn is_any(&self) -> bool {
        self.0.len.load(Ordering::Acquire) > 0
    }

    /// Detaches all flights.
    pub(super) fn detach_all(&self) {
        self.change(HashMap::clear);
    }

    /// The only way to the list.
    fn change<R>(&self, change: impl FnOnce(&mut HashMap<Key, Flight<V>>) -> R) -> R {
        let mut flights = self.0.by_key.lock();
        let answer = change(&mut flights);
        self.0.len.store(flights.len() as u64, Ordering::Release);
        answer
    }
}

impl<V> Clone for Flights<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V> Passenger<V> {
    /// What the flight is for.
    pub(super) const fn wanted(&self) -> Wanted {
        self.0.wanted
    }

    /// Waits until the flight has landed.
    pub(super) async fn arrive(self) -> Landing<V> {
        self.0.runway.wait().await.unwrap_or_else(|| {
            let message = "the load was dropped before it ended, with its runtime";
            Err(Failure::Cache(Error::new(ErrorKind::Load, message)))
        })
    }
}

impl<V> Pilot<V> {
    /// A way to wait for this flight.
    pub(super) fn passenger(&self) -> Passenger<V> {
        Passenger(Flight { wanted: self.wanted, runway: self.runway.clone() })
    }

    /// Ends the flight. Nobody joins it after this, and everybody aboard is told.
    pub(super) fn land(self, landing: Landing<V>) {
        self.leave();
        self.runway.land(landing);
    }

    /// Takes the flight off the list, unless a change has detached it, and perhaps another one of
    /// the same key has started since.
    fn leave(&self) {
        self.flights.change(|flights| {
            let listed = flights.get(&self.key);
            if listed.is_some_and(|flight| flight.runway.is_same(&self.runway)) {
                flights.remove(&self.key);
            }
        });
    }
}

impl<V> Drop for Pilot<V> {
    fn drop(&mut self) {
        self.leave();
        self.runway.abandon();
    }
}
