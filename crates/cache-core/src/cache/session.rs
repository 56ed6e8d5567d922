//! Who has written something reads it, on every node.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{Cache, item::Item};
use crate::{
    clock::{Clock, Timestamp},
    entry::Version,
    error::{Error, ErrorKind, Result},
    key::Key,
    tier::PutOutcome,
};

/// The most keys that a session tells apart. One that has written more is careful with every key.
const KEYS_MAX: usize = 64;

/// The longest token: [`KEYS_MAX`] keys with their versions are below it.
const TOKEN_LEN_MAX: usize = 3_072;

/// The first part of a token: its format.
const FORMAT: &str = "1";

/// What one user has written a short while ago, so that the same user reads it.
///
/// A near tier hears of other nodes' writes a little later. Other users do not notice; the writer
/// does, when the next request arrives at another node. A session bridges that time: it goes along
/// with the user, as a [`token`](Self::token) in a cookie or a header, and a
/// [`Read`](crate::Read) with it is answered by what is at least as new as the user's own writes.
/// It ends [`session_ttl`](crate::Policy::session_ttl) after its last write, by when every node
/// has heard.
///
/// Cheap to clone; clones are the same session. It may span caches: it knows keys with their
/// namespaces, as hashes.
///
/// A token is not signed. Who forges one harms nobody's data, but has keys read past the near tier,
/// or loaded: sign it where that matters.
///
/// # Examples
///
/// ```
/// use cache_core::{Cache, Session};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> cache_core::Result<()> {
/// # let cache: Cache<String> = Cache::builder("profile").build()?;
/// // The request that writes.
/// let session = cache.session();
/// cache.insert_in(&session, "ada", "Ada Lovelace".to_owned()).await?;
/// let token = session.token();
///
/// // The next one, perhaps on another node.
/// let session = cache.session_from(&token)?;
/// let ada = cache.read("ada").session(&session).get().await?;
/// # let _ = ada;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Session {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    last_write: Timestamp,
    keys: Keys,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Keys {
    /// The hashes of these keys, with the versions of what was written where they are known.
    These(Vec<(u64, Option<Version>)>),
    /// More than could be told apart.
    Any,
}

/// What a session wants of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    Nothing,
    /// A value of this version or a newer one.
    Version(Version),
    /// A value from where other processes write to as well.
    SharedCopies,
}

impl Session {
    /// A session in which nothing is written yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let last_write = clock.now();
        Self::with(clock, State { last_write, keys: Keys::These(Vec::new()) })
    }

    /// The session whose [`token`](Self::token) this is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`] when the text is no token.
    pub fn parse(token: &str, clock: Arc<dyn Clock>) -> Result<Self> {
        let mut state = State::parse(token).ok_or_else(|| {
            Error::new(ErrorKind::InvalidKey, "the session's token is damaged")
                .hint("begin a new session")
        })?;
        // A moment to come would keep the session for longer than any other.
        state.last_write = state.last_write.min(clock.now());
        Ok(Self::with(clock, state))
    }

    /// The session as text of at most 3,072 bytes: digits, lower-case letters, `.`, `-` and `*`.
    #[must_use]
    pub fn token(&self) -> String {
        self.state.lock().to_string()
    }

    /// Notes that `key` was written, and the version that it has now at the source, if it is known.
    /// [`Cache::insert_in`] and [`Cache::invalidate_in`] do that by themselves.
    pub fn wrote(&self, key: &Key, version: Option<Version>) {
        let mut state = self.state.lock();
        state.last_write = self.clock.now().max(state.last_write);
        state.keys.add(hash(key), version);
    }

    /// What a read of `key` at `now` has to heed.
    pub(super) fn demand(&self, key: &Key, now: Timestamp, ttl: Duration) -> Demand {
        let state = self.state.lock();
        if now.since(state.last_write) >= ttl {
            return Demand::Nothing;
        }
        match &state.keys {
            Keys::Any => Demand::SharedCopies,
            Keys::These(keys) => {
                let hash = hash(key);
                match keys.iter().find(|(known, _)| *known == hash) {
                    None => Demand::Nothing,
                    Some((_, None)) => Demand::SharedCopies,
                    Some((_, Some(version))) => Demand::Version(*version),
                }
            }
        }
    }

    fn with(clock: Arc<dyn Clock>, state: State) -> Self {
        Self { clock, state: Arc::new(Mutex::new(state)) }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.token()).finish()
    }
}

impl Keys {
    fn add(&mut self, hash: u64, version: Option<Version>) {
        let Self::These(keys) = self else { return };
        if let Some((_, known)) = keys.iter_mut().find(|(known, _)| *known == hash) {
            // A later write of unknown version is above the known one by who knows how much.
            *known = if version.is_some() { version.max(*known) } else { None };
        } else if keys.len() < KEYS_MAX {
            keys.push((hash, version));
        } else {
            *self = Self::Any;
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FORMAT}.{:x}", self.last_write.as_millis())?;
        let Keys::These(keys) = &self.keys else { return f.write_str(".*") };
        for (hash, version) in keys {
            write!(f, ".{hash:x}")?;
            if let Some(version) = version {
                write!(f, "-{:x}", version.0)?;
            }
        }
        Ok(())
    }
}

impl State {
    fn parse(token: &str) -> Option<Self> {
        if token.len() > TOKEN_LEN_MAX {
            return None;
        }
        let mut parts = token.split('.');
        if parts.next() != Some(FORMAT) {
            return None;
        }
        let last_write = Timestamp::from_millis(parse_hex(parts.next()?)?);
        let mut keys = Keys::These(Vec::new());
        for part in parts {
            if part == "*" {
                keys = Keys::Any;
                continue;
            }
            match part.split_once('-') {
                Some((hash, version)) => {
                    keys.add(parse_hex(hash)?, Some(Version(parse_hex(version)?)));
                }
                None => keys.add(parse_hex(part)?, None),
            }
        }
        Some(Self { last_write, keys })
    }
}

/// Digits and lower-case letters only: `from_str_radix` alone would take a sign.
fn parse_hex(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    plain.then(|| u64::from_str_radix(text, 16).ok())?
}

/// FNV-1a: the same on every node and in every version. Keys of one hash are careful together.
fn hash(key: &Key) -> u64 {
    key.encoded().bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

impl<V: Send + Sync + 'static> Cache<V> {
    /// A session in which nothing is written yet, on the cache's clock.
    #[must_use]
    pub fn session(&self) -> Session {
        Session::new(Arc::clone(&self.0.clock))
    }

    /// The session whose [`token`](Session::token) this is, on the cache's clock.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`] when the text is no token.
    pub fn session_from(&self, token: &str) -> Result<Session> {
        Session::parse(token, Arc::clone(&self.0.clock))
    }

    /// [`insert`](Self::insert), noted in `session` whatever comes of it.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    ///
    /// # Cancel safety
    ///
    /// A dropped future does not stop the write.
    pub async fn insert_in(
        &self,
        session: &Session,
        key: &str,
        item: impl Into<Item<V>>,
    ) -> Result<PutOutcome> {
        let item = item.into();
        session.wrote(&self.0.namespace.key(key)?, item.terms.version);
        self.insert(key, item).await
    }

    /// [`invalidate`](Self::invalidate), or with the source's new version
    /// [`invalidate_before`](Self::invalidate_before), noted in `session` whatever comes of it.
    ///
    /// # Errors
    ///
    /// As [`invalidate`](Self::invalidate).
    ///
    /// # Cancel safety
    ///
    /// A dropped future does not stop the removal.
    pub async fn invalidate_in(
        &self,
        session: &Session,
        key: &str,
        version: Option<Version>,
    ) -> Result<()> {
        session.wrote(&self.0.namespace.key(key)?, version);
        match version {
            Some(version) => self.invalidate_before(key, version).await,
            None => self.invalidate(key).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{clock::ManualClock, key::Namespace};

    fn key(text: &str) -> Key {
        Namespace::new("test").unwrap().key(text).unwrap()
    }

    #[test]
    fn a_session_goes_along_as_text() {
        let clock = Arc::new(ManualClock::new());
        let session = Session::new(clock.clone());
        session.wrote(&key("a"), Some(Version(u64::MAX)));
        session.wrote(&key("b"), None);
        let again = Session::parse(&session.token(), clock).unwrap();
        assert_eq!(*again.state.lock(), *session.state.lock());
    }

    #[test]
    fn a_session_ends_after_its_time_and_is_careful_with_all_keys_after_too_many() {
        let clock = Arc::new(ManualClock::new());
        let ttl = Duration::from_secs(60);
        let session = Session::new(clock.clone());
        session.wrote(&key("a"), Some(Version(7)));
        let demand = |text| session.demand(&key(text), clock.now(), ttl);
        assert_eq!((demand("a"), demand("b")), (Demand::Version(Version(7)), Demand::Nothing));
        session.wrote(&key("a"), None);
        assert_eq!(demand("a"), Demand::SharedCopies);
        for i in 0..KEYS_MAX {
            session.wrote(&key(&format!("k{i}")), Some(Version(u64::MAX)));
            assert!(session.token().len() <= TOKEN_LEN_MAX);
        }
        assert_eq!(demand("never written"), Demand::SharedCopies);
        clock.advance(ttl);
        assert_eq!(demand("a"), Demand::Nothing);
        session.wrote(&key("a"), None);
        assert_eq!(demand("a"), Demand::SharedCopies);
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new());
        let long = format!("1.0{}", ".a".repeat(TOKEN_LEN_MAX));
        for text in
            ["", "1", "2.0", "1.", "1.+5", "1.0.x", "1.0.a-", "1.0.11111111111111111", &long]
        {
            let error = Session::parse(text, Arc::clone(&clock)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidKey, "{text}");
        }
        let late = Session::parse("1.ffffffffffffffff.a", Arc::clone(&clock)).unwrap();
        assert_eq!(late.state.lock().last_write, clock.now(), "a moment to come is now");
    }

    proptest! {
        #[test]
        fn any_text_is_a_token_or_an_error(text in "[0-9a-f.*-]{0,64}|.{0,64}") {
            let clock: Arc<dyn Clock> = Arc::new(ManualClock::new());
            if let Ok(session) = Session::parse(&text, Arc::clone(&clock)) {
                let again = Session::parse(&session.token(), clock).unwrap();
                prop_assert_eq!(&*again.state.lock(), &*session.state.lock());
            }
        }
    }
}
