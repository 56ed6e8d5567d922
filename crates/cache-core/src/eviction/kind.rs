use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::EvictionPolicy;
use super::adaptive_s3_fifo::AdaptiveS3Fifo;
use super::aging_lfu::AgingLfu;
use super::arc::Arc;
use super::fifo::Fifo;
use super::lfu::Lfu;
use super::lru::Lru;
use super::random::Random;
use super::s3_fifo::S3Fifo;
use super::sieve::Sieve;
use super::ttl::Ttl;
use super::w_tiny_lfu::WTinyLfu;
use crate::error::{Error, ErrorKind};

/// The policies that there are, by the names that a configuration file has for them.
///
/// All decide by weight. The bytes are what the policy keeps beside the record, ghosts of evicted keys
/// and sketches included, where as many records are in the cache as there ever were; a range is for
/// tables whose length is a power of two, and a table that grows is up to twice as long. A read that is counted or ignored takes no lock.
///
/// | policy | a read is | `insert`, `remove` | `evict` | bytes a record | source |
/// | --- | --- | --- | --- | --- | --- |
/// | `lru` | told, O(1) | O(1) | O(1) | 8 | Mattson et al., IBM Systems Journal 9(2), 1970 |
/// | `lfu` | told, O(1) | O(1) | O(1) | 12, and 32 a count | Shah, Mitra, Matani, 2010 |
/// | `lfu-aging` | told, O(1) | O(1) | O(1) | 12 | Arlitt et al., 1999 (LFU with dynamic aging) |
/// | `fifo` | ignored | O(1) | O(1) | 8 | Belady, IBM Systems Journal 5(2), 1966 |
/// | `ttl` | ignored | O(log n) | O(log n) | 28 | Redis's `volatile-ttl`, made exact by a heap (Williams, CACM 7(6), 1964) |
/// | `s3-fifo` | counted to 3 | O(1) | O(1) amortised | 38 to 53 | Yang et al., SOSP 2023 |
/// | `s3-fifo-adaptive` | counted to 2 | O(1) | O(1) amortised | 43 to 63 | the same, with ghosts of both queues that learn as in Megiddo, Modha, FAST 2003 |
/// | `sieve` | counted to 1 | O(1) | O(1) amortised | 8 | Zhang et al., NSDI 2024 |
/// | `w-tinylfu` | told, O(1) amortised | O(1) amortised | O(1) amortised | 32 to 40 | Einziger et al., ACM TOS 13(4), 2017 and Middleware 2018 |
/// | `arc` | told, O(1) | O(1) | O(1) | 71 to 91 | Megiddo, Modha, FAST 2003 |
/// | `random` | ignored | O(1) | O(1) | 8 | Belady, 1966 |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Eviction {
    /// `lru`: the least recently read goes first.
    Lru,
    /// `lfu`: the least frequently read goes first. Nothing is ever forgotten.
    Lfu,
    /// `lfu-aging`: the least frequently read goes first, and what was hot once is forgotten.
    AgingLfu,
    /// `fifo`: the first in goes first.
    Fifo,
    /// `ttl`: the nearest deadline goes first.
    Ttl,
    /// `s3-fifo`: newcomers prove themselves in a small queue.
    S3Fifo,
    /// `s3-fifo-adaptive`: the same, but how long the small queue is, is learnt. The default: on the
    /// traces that they were measured with it is nowhere far below LRU, and most often far above.
    #[default]
    AdaptiveS3Fifo,
    /// `sieve`: a hand spares who was read since it last came by.
    Sieve,
    /// `w-tinylfu`: newcomers must have been asked for more often than whom they would replace.
    WTinyLfu,
    /// `arc`: those that came once and those that came again, in shares that are learnt.
    Arc,
    /// `random`: any.
    Random,
}

impl Eviction {
    /// Each of them.
    pub const ALL: &[Self] = &[
        Self::Lru,
        Self::Lfu,
        Self::AgingLfu,
        Self::Fifo,
        Self::Ttl,
        Self::S3Fifo,
        Self::AdaptiveS3Fifo,
        Self::Sieve,
        Self::WTinyLfu,
        Self::Arc,
        Self::Random,
    ];

    /// Its name, as in a configuration file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lru => "lru",
            Self::Lfu => "lfu",
            Self::AgingLfu => "lfu-aging",
            Self::Fifo => "fifo",
            Self::Ttl => "ttl",
            Self::S3Fifo => "s3-fifo",
            Self::AdaptiveS3Fifo => "s3-fifo-adaptive",
            Self::Sieve => "sieve",
            Self::WTinyLfu => "w-tinylfu",
            Self::Arc => "arc",
            Self::Random => "random",
        }
    }

    /// One such policy, for one cache or one shard of it. Those that draw random numbers draw them
    /// from `seed` only.
    #[must_use]
    pub fn policy(self, seed: u64) -> Box<dyn EvictionPolicy> {
        match self {
            Self::Lru => Box::new(Lru::new()),
            Self::Lfu => Box::new(Lfu::new()),
            Self::AgingLfu => Box::new(AgingLfu::new()),
            Self::Fifo => Box::new(Fifo::new()),
            Self::Ttl => Box::new(Ttl::new()),
            Self::S3Fifo => Box::new(S3Fifo::new()),
            Self::AdaptiveS3Fifo => Box::new(AdaptiveS3Fifo::new()),
            Self::Sieve => Box::new(Sieve::new()),
            Self::WTinyLfu => Box::new(WTinyLfu::new(seed)),
            Self::Arc => Box::new(Arc::new()),
            Self::Random => Box::new(Random::new(seed)),
        }
    }
}

impl fmt::Display for Eviction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Eviction {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.iter().find(|policy| policy.as_str() == text).copied().ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|policy| policy.as_str()).collect();
            Error::new(ErrorKind::Config, format!("`{text}` is no eviction policy"))
                .hint(format!("write one of: {}", names.join(", ")))
        })
    }
}

impl TryFrom<String> for Eviction {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Eviction> for String {
    fn from(policy: Eviction) -> Self {
        policy.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_is_read_back_from_its_name() {
        for policy in Eviction::ALL {
            assert_eq!(policy.to_string().parse::<Eviction>().expect("its own name"), *policy);
            let json = serde_json::to_string(policy).expect("a string");
            assert_eq!(json, format!("\"{policy}\""));
            assert_eq!(serde_json::from_str::<Eviction>(&json).expect("its own name"), *policy);
        }
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_right_ones() {
        let error = "mru".parse::<Eviction>().expect_err("no such policy").to_string();
        assert!(error.contains("`mru`") && error.contains("s3-fifo"), "{error}");
    }
}
