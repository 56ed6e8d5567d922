//! What was hot, kept in a tier beyond the end of the process.

use std::sync::Arc;

use bytes::Bytes;
use cache_core::{
    CodecId, Condition, Entry, Error, ErrorKind, Key, Namespace, Put, PutOutcome, Result, TTL_MAX,
    Tier, Timestamp, Ttl,
};
use serde::{Deserialize, Serialize};

use super::sketch::About;

/// What a stored hot set begins with: what it is, and the version of its format.
const MAGIC: &[u8; 4] = b"HOT1";

/// The largest that is written and read, in bytes.
const LEN_MAX: usize = 1 << 20;

/// The most keys in one.
pub(crate) const KEYS_MAX: usize = 10_000;

/// How the payload is told from values: bytes without a codec of the cache.
const CODEC: CodecId = CodecId(0);

/// The hot keys of a namespace as they were at one moment, the hottest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HotSet {
    pub(crate) saved_at: Timestamp,
    pub(crate) keys: Vec<Hot>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hot {
    pub(crate) key: String,
    pub(crate) hits_an_hour: f64,
    #[serde(flatten)]
    pub(crate) about: About,
}

/// Where the hot set of a namespace is kept: under a reserved name of its own.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    tier: Arc<dyn Tier>,
    key: Key,
}

impl Store {
    pub(crate) fn new(tier: Arc<dyn Tier>, namespace: &str) -> Result<Self> {
        let key = Namespace::new(namespace)?.reserved("warming").key("hot-set")?;
        Ok(Self { tier, key })
    }

    pub(crate) async fn load(&self) -> Result<Option<HotSet>> {
        let Some(entry) = self.tier.get(&self.key).await?.entry else { return Ok(None) };
        let context = || format!("the hot set `{}` in `{}`", self.key, self.tier.info().name);
        decode(&entry.payload).map(Some).map_err(|error| error.context(context()))
    }

    pub(crate) async fn save(&self, set: &HotSet) -> Result<usize> {
        let (payload, len) = encode(set, self.tier.info().payload_len_max)?;
        let entry = Entry::new(payload, CODEC, set.saved_at, Ttl::fresh(TTL_MAX));
        let put = Put { key: self.key.clone(), entry, condition: Condition::Always };
        match self.tier.put_many(&[put]).await?.first() {
            Some(PutOutcome::Stored) => Ok(len),
            outcome => {
                let message = format!("the hot set `{}` was not stored: {outcome:?}", self.key);
                Err(Error::new(ErrorKind::Full, message).hint("give the tier more room"))
            }
        }
    }
}

/// The stored form, and how many keys it has: those that fit.
fn encode(set: &HotSet, len_max: usize) -> Result<(Bytes, usize)> {
    let len_max = len_max.min(LEN_MAX);
    let mut set = HotSet { keys: set.keys.iter().take(KEYS_MAX).cloned().collect(), ..*set };
    loop {
        let body = serde_json::to_vec(&set).map_err(|error| {
            Error::new(ErrorKind::Codec, format!("a hot set cannot be written: {error}"))
        })?;
        if MAGIC.len() + 4 + body.len() <= len_max {
            let mut bytes = MAGIC.to_vec();
            bytes.extend(crc32fast::hash(&body).to_le_bytes());
            bytes.extend(body);
            return Ok((bytes.into(), set.keys.len()));
        }
        if set.keys.is_empty() {
            let message = format!("the tier takes {len_max} bytes: no hot set fits");
            return Err(Error::new(ErrorKind::TooLarge, message).hint("raise its limit"));
        }
        // The coldest are left out.
        set.keys.truncate(set.keys.len() * 3 / 4);
    }
}

/// Bytes from outside: anything may be in them.
fn decode(bytes: &[u8]) -> Result<HotSet> {
    let bad = |what: &str| {
        Error::new(ErrorKind::Incompatible, format!("it is no hot set of this version: {what}"))
            .hint("remove it; it is learnt anew")
    };
    if bytes.len() > LEN_MAX {
        return Err(bad("it is too long"));
    }
    let body = bytes.strip_prefix(MAGIC).ok_or_else(|| bad("it begins otherwise"))?;
    let (sum, body) = body.split_first_chunk::<4>().ok_or_else(|| bad("it is cut off"))?;
    if u32::from_le_bytes(*sum) != crc32fast::hash(body) {
        return Err(bad("its checksum is wrong"));
    }
    let mut set: HotSet = serde_json::from_slice(body).map_err(|error| bad(&error.to_string()))?;
    let namespace = Namespace::new("hot").expect("a short word is a namespace");
    set.keys.truncate(KEYS_MAX);
    set.keys.retain(|hot| {
        namespace.key(&hot.key).is_ok() && hot.hits_an_hour.is_finite() && hot.hits_an_hour >= 0.0
    });
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(keys: usize) -> HotSet {
        let hot = |i: usize| Hot {
            key: format!("key-{i}"),
            hits_an_hour: (10_000 - i) as f64,
            about: About { load_cost_us: 300_000, size: 120, ttl_ms: 10_000 },
        };
        HotSet { saved_at: Timestamp::from_millis(5), keys: (0..keys).map(hot).collect() }
    }

    #[test]
    fn what_is_written_is_read_and_only_the_coldest_are_left_out() {
        let (bytes, len) = encode(&set(500), LEN_MAX).unwrap();
        assert_eq!((decode(&bytes).unwrap(), len), (set(500), 500));
        let (bytes, len) = encode(&set(500), 10_000).unwrap();
        assert!(bytes.len() <= 10_000 && (50..500).contains(&len), "{len}");
        assert_eq!(decode(&bytes).unwrap().keys, set(500).keys[..len]);
        assert!(encode(&set(1), 8).is_err());
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_refused() {
        let (bytes, _) = encode(&set(3), LEN_MAX).unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[at] ^= 0x20;
            assert_eq!(decode(&bad).unwrap_err().kind(), ErrorKind::Incompatible);
            assert!(decode(&bytes[..at]).is_err());
        }
    }

    #[test]
    fn keys_that_no_cache_accepts_and_numbers_that_are_none_are_left_out() {
        let mut bad = set(3);
        bad.keys[0].key = String::new();
        bad.keys[1].hits_an_hour = -1.0;
        let (bytes, _) = encode(&bad, LEN_MAX).unwrap();
        assert_eq!(decode(&bytes).unwrap().keys, set(3).keys[2..]);
    }
}
