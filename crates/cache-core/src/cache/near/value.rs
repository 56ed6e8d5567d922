//! Values as the near tier keeps them.

use std::{
    num::NonZeroU8,
    sync::{Arc, atomic::AtomicU8},
};

use crate::{
    audit::Held,
    cache::{
        hit::{Hit, Origin, Times},
        tag_book::Tagged,
    },
    clock::Timestamp,
    engine::Record,
    entry::{Entry, Version},
    priority::EvictionPriority,
};

/// The longest text of a key that lies in the record itself.
const SHORT_LEN_MAX: usize = 18;

/// One value with its deadlines, and its key, packed into one cache line.
///
/// Over many keys a hit costs what the lines cost that it touches: so what most values do not have
/// lies elsewhere, and the three times take 42 bits each.
#[repr(align(64))]
pub(in crate::cache) struct NearValue<V> {
    value: Option<Arc<V>>,
    extra: Option<Arc<Extra>>,
    times: [u64; 2],
    mark: u64,
    load_cost_us: u32,
    reads: AtomicU8,
    form: Form,
    key: [u8; SHORT_LEN_MAX],
}

const _: () = assert!(size_of::<Option<NearValue<u64>>>() == 64, "a record is one cache line");

/// What only some values have.
#[derive(Debug)]
struct Extra {
    version: Option<Version>,
    /// The tags.
    tagged: Option<Tagged>,
    /// Where the key stood in the tier whose log is followed, when this value was looked for; 0:
    /// not known. Changes up to that mark are older than the value.
    seen: u64,
    /// The digest of the entry, of an inserted value; else 0.
    digest: u32,
    /// How willingly it is given up.
    priority: EvictionPriority,
    /// The text of a long key.
    key: Box<[u8]>,
}

/// What is told of a value beside its entry.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::cache) struct Provenance {
    /// Where the key stood in the tier whose log is followed; 0: not known.
    pub(in crate::cache) seen: u64,
    /// The digest of the entry, of an inserted value; else 0.
    pub(in crate::cache) digest: u32,
}

impl<V> NearValue<V> {
    /// The decoded `value` of an entry, which is kept under `mark` and until `latest` at most.
    pub(super) fn new(
        text: &str,
        value: Option<Arc<V>>,
        entry: &Entry,
        mark: u64,
        latest: Timestamp,
        Provenance { seen, digest }: Provenance,
    ) -> Self {
        let times = Times { expires_at: entry.expires_at.min(latest), ..Times::of(entry) };
        let (text, mut key) = (text.as_bytes(), [0; SHORT_LEN_MAX]);
        let is_short = text.len() <= SHORT_LEN_MAX;
        if is_short {
            key[..text.len()].copy_from_slice(text);
        }
        let is_plain = entry.version.is_none() && entry.tags.is_empty() && seen == 0 && digest == 0;
        let is_usual = entry.priority == EvictionPriority::Normal;
        let extra = (!(is_short && is_plain && is_usual)).then(|| {
            Arc::new(Extra {
                version: entry.version,
                tagged: Tagged::of(entry),
                seen,
                digest,
                priority: entry.priority,
                key: if is_short { Box::default() } else { text.into() },
            })
        });
        Self {
            value,
            times: pack(times),
            mark,
            load_cost_us: entry.load_cost_us,
            reads: AtomicU8::new(0),
            form: Form::new(is_short.then_some(text.len()), extra.as_deref()),
            key,
            extra,
        }
    }

    /// Whether this is the value under `text`.
    pub(super) fn is_under(&self, text: &[u8]) -> bool {
        match self.form.short_len() {
            Some(len) => self.key.get(..len) == Some(text),
            None => self.extra.as_ref().is_some_and(|extra| *extra.key == *text),
        }
    }

    /// The value; nothing when the source has none.
    pub(in crate::cache) const fn value(&self) -> Option<&Arc<V>> {
        self.value.as_ref()
    }

    pub(in crate::cache) fn version(&self) -> Option<Version> {
        self.extra_if(Form::VERSION)?.version
    }

    pub(in crate::cache) fn tagged(&self) -> Option<&Tagged> {
        self.extra_if(Form::TAGGED)?.tagged.as_ref()
    }

    /// The mark under which it was kept.
    pub(super) const fn mark(&self) -> u64 {
        self.mark
    }

    pub(super) fn seen(&self) -> u64 {
        self.extra.as_ref().map_or(0, |extra| extra.seen)
    }

    pub(super) fn digest(&self) -> u32 {
        self.extra.as_ref().map_or(0, |extra| extra.digest)
    }

    /// How willingly full tiers give it up.
    pub(in crate::cache) fn priority(&self) -> EvictionPriority {
        self.extra.as_ref().map_or(EvictionPriority::Normal, |extra| extra.priority)
    }

    /// What an audit compares; nothing where it is held that the source has no value.
    pub(in crate::cache) fn held(&self) -> Option<Held> {
        let created_at = self.times().created_at;
        let held = Held { version: self.version(), created_at, payload_crc: None };
        self.value.is_some().then_some(held)
    }

    pub(in crate::cache) fn is_fresh(&self, now: Timestamp) -> bool {
        now < self.times().fresh_until
    }

    /// The value as it is answered; nothing when the source has none.
    pub(in crate::cache) fn to_hit(&self, now: Timestamp) -> Option<Hit<V>> {
        let value = Arc::clone(self.value.as_ref()?);
        Some(Hit::new(value, Origin::Near, self.times(), self.version(), self.load_cost_us, now))
    }

    pub(in crate::cache) fn times(&self) -> Times {
        unpack(self.times)
    }

    /// Looks beyond the record only where there is something to be found.
    fn extra_if(&self, flag: u8) -> Option<&Extra> {
        if self.form.has(flag) { self.extra.as_deref() } else { None }
    }
}

impl<V> Record for NearValue<V> {
    fn reads(&self) -> &AtomicU8 {
        &self.reads
    }
}

impl<V> Clone for NearValue<V> {
    fn clone(&self) -> Self {
        let (value, extra) = (self.value.clone(), self.extra.clone());
        Self { value, extra, reads: AtomicU8::new(0), ..*self }
    }
}

/// The length of a short key, and what an [`Extra`] has. Never zero: no key is empty.
#[derive(Clone, Copy)]
struct Form(NonZeroU8);

impl Form {
    const LEN: u8 = 0b0001_1111;
    const LONG: u8 = Self::LEN;
    const VERSION: u8 = 0b0010_0000;
    const TAGGED: u8 = 0b0100_0000;

    fn new(short_len: Option<usize>, extra: Option<&Extra>) -> Self {
        let len = short_len.map_or(Self::LONG, |len| u8::try_from(len).unwrap_or(Self::LONG));
        let has = |is_there: fn(&Extra) -> bool| extra.is_some_and(is_there);
        let version = if has(|extra| extra.version.is_some()) { Self::VERSION } else { 0 };
        let tagged = if has(|extra| extra.tagged.is_some()) { Self::TAGGED } else { 0 };
        Self(NonZeroU8::new(len | version | tagged).expect("a key is not empty"))
    }

    const fn has(self, flag: u8) -> bool {
        self.0.get() & flag != 0
    }

    /// The length of a key that lies in the record.
    fn short_len(self) -> Option<usize> {
        let len = self.0.get() & Self::LEN;
        (len != Self::LONG).then_some(usize::from(len))
    }
}

/// Milliseconds up to the year 2109. What is later is never.
const TIME_BITS: u32 = 42;
const TIME_MAX: u64 = (1 << TIME_BITS) - 1;

fn pack(Times { created_at, fresh_until, expires_at }: Times) -> [u64; 2] {
    let bits = |moment: Timestamp| u128::from(moment.as_millis().min(TIME_MAX));
    let all =
        bits(created_at) | bits(fresh_until) << TIME_BITS | bits(expires_at) << (2 * TIME_BITS);
    let (high, low) = (all >> 64, all & u128::from(u64::MAX));
    [low, high].map(|half| u64::try_from(half).expect("a half has 64 bits"))
}

fn unpack([low, high]: [u64; 2]) -> Times {
    let all = u128::from(high) << 64 | u128::from(low);
    let moment = |shift: u32| {
        #[expect(clippy::cast_possible_truncation, reason = "what is cut off is masked anyway")]
        match (all >> shift) as u64 & TIME_MAX {
            TIME_MAX => Timestamp::MAX,
            millis => Timestamp::from_millis(millis),
        }
    };
    Times {
        created_at: moment(0),
        fresh_until: moment(TIME_BITS),
        expires_at: moment(2 * TIME_BITS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_what_they_were_whatever_their_order() {
        let millis = [0, 1, 1_700_000_000_000, TIME_MAX - 1];
        for a in millis {
            for b in millis {
                for c in millis {
                    let times = Times {
                        created_at: Timestamp::from_millis(a),
                        fresh_until: Timestamp::from_millis(b),
                        expires_at: Timestamp::from_millis(c),
                    };
                    assert_eq!(unpack(pack(times)), times);
                }
            }
        }
        let never = Times {
            created_at: Timestamp::default(),
            fresh_until: Timestamp::MAX,
            expires_at: Timestamp::MAX,
        };
        assert_eq!(unpack(pack(never)), never);
    }

    #[test]
    fn a_value_is_under_its_own_key_only_and_keeps_what_it_was_told() {
        let entry = Entry::new(
            bytes::Bytes::new(),
            crate::entry::CodecId(3),
            Timestamp::from_millis(5),
            crate::entry::Ttl::fresh(std::time::Duration::from_secs(1)),
        );
        for len in [1, SHORT_LEN_MAX, SHORT_LEN_MAX + 1, 512] {
            let text = "x".repeat(len);
            for version in [None, Some(Version(9))] {
                let entry = entry.clone().with_version(version);
                let provenance = Provenance { seen: 3, digest: 4 };
                let value =
                    NearValue::new(&text, Some(Arc::new(7)), &entry, 2, Timestamp::MAX, provenance);
                assert!(value.is_under(text.as_bytes()));
                assert!(!value.is_under(&text.as_bytes()[1..]));
                assert!(!value.is_under(format!("{text}x").as_bytes()));
                assert_eq!((value.version(), value.seen(), value.digest()), (version, 3, 4));
                assert_eq!((value.mark(), value.value()), (2, Some(&Arc::new(7))));
                assert!(value.tagged().is_none());
                assert_eq!(value.times(), Times::of(&entry));
            }
        }
    }
}
