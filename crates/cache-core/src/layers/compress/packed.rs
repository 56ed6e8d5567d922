//! The form of a compressed payload.
//!
//! | bytes | what |
//! |------:|------|
//! | 2 | the codec that wrote the payload |
//! | 4 | the payload's length |
//! | | the compressed payload |
//! | 4 | a completion, see below |
//!
//! In place of its codec the entry has [`CodecId::LZ4`] or [`CodecId::ZSTD`], so whoever does not
//! know of compression takes it for an entry of another codec, which is a miss.
//!
//! The completion is chosen so that the record has the checksum of the one that was not compressed.
//! By that checksum, the digest, a log tells which entry was inserted, and tiers are compared: so an
//! entry is the same one whether a tier has it compressed or not, also for a node that cannot
//! decompress it. And whoever decompresses it knows by the same number that it is the right one.

use super::{Compression, algorithm::Method, checksum::completion};
use crate::{
    entry::{CodecId, Entry},
    wire::{self, Corrupt},
};

const HEAD_LEN: usize = 6;
/// A longer payload's length does not fit into the head.
const LEN_MAX: usize = u32::MAX as usize;
const COMPLETION_LEN: usize = 4;

/// What a compressed byte may stand for at most: no more can LZ4 say by one.
const RATIO_MAX: usize = 255;

/// From which length on a part of a payload is tried first, and how long that part is.
const SAMPLED_FROM: usize = 32 << 10;
const SAMPLE_LEN: usize = 4 << 10;

/// The entry with its payload compressed; nothing when it is to stay as it is.
pub(crate) fn pack(entry: &Entry, settings: &Compression, payload_len_max: usize) -> Option<Entry> {
    let method = settings.algorithm.method()?;
    let len = entry.payload.len();
    let is_for_it = len as u64 >= settings.len_min.as_u64() && len <= payload_len_max.min(LEN_MAX);
    // One that comes from a tier without this layer may be compressed already.
    if !is_for_it || Method::of(entry.codec).is_some() {
        return None;
    }
    let without_saving = |len: usize| len - len * usize::from(settings.saving_min_percent) / 100;
    let len_max = without_saving(len).checked_sub(HEAD_LEN + COMPLETION_LEN)?;
    if len >= SAMPLED_FROM {
        // From the middle: a value may begin with what the rest does not have.
        let sample = &entry.payload[len / 2..][..SAMPLE_LEN];
        method.compress(sample, without_saving(SAMPLE_LEN), |_| ())?;
    }
    let packed = |method: Method| {
        method.compress(&entry.payload, len_max, |packed| complete(entry, method, packed))
    };
    match packed(method)? {
        // Of hardly anything but repetitions zstd makes less than may be believed.
        entry if Parts::of(&entry.payload).is_none_or(|parts| !parts.is_believable()) => {
            packed(Method::Lz4)
        }
        entry => Some(entry),
    }
}

/// The entry as it was before it was compressed, or as it is if it never was.
pub(crate) fn unpack(entry: Entry, payload_len_max: usize) -> Result<Entry, Corrupt> {
    let Some(method) = Method::of(entry.codec) else { return Ok(entry) };
    let parts = Parts::of(&entry.payload).ok_or(Corrupt::Compression)?;
    if parts.len > payload_len_max {
        return Err(Corrupt::Oversized);
    }
    let Parts { codec, len, packed } = parts;
    if !parts.is_believable() || Method::of(codec).is_some() {
        return Err(Corrupt::Compression);
    }
    let payload = method.decompress(packed, len).ok_or(Corrupt::Compression)?.into();
    let unpacked = Entry { payload, codec, ..entry.clone() };
    if unpacked.digest() == entry.digest() { Ok(unpacked) } else { Err(Corrupt::Compression) }
}

fn complete(entry: &Entry, method: Method, packed: &[u8]) -> Entry {
    let len = u32::try_from(entry.payload.len()).expect("it is at most LEN_MAX");
    let mut payload = Vec::with_capacity(HEAD_LEN + packed.len() + COMPLETION_LEN);
    payload.extend_from_slice(&entry.codec.0.to_be_bytes());
    payload.extend_from_slice(&len.to_be_bytes());
    payload.extend_from_slice(packed);
    let packed = Entry { codec: method.id(), ..entry.clone() };
    let before = wire::digest(&packed, &payload);
    payload.extend_from_slice(&completion(before, entry.digest()));
    Entry { payload: payload.into(), ..packed }
}

#[derive(Clone, Copy)]
struct Parts<'a> {
    codec: CodecId,
    len: usize,
    packed: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(payload: &'a [u8]) -> Option<Self> {
        let (codec, rest) = payload.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (packed, _completion) = rest.split_last_chunk::<COMPLETION_LEN>()?;
        let len = u32::from_be_bytes(*len) as usize;
        Some(Self { codec: CodecId(u16::from_be_bytes(*codec)), len, packed })
    }

    /// Whether so much can have been made of it: else it is a trap for whoever makes room for it.
    fn is_believable(&self) -> bool {
        self.len / RATIO_MAX <= self.packed.len()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        clock::Timestamp,
        entry::{Ttl, Version},
        priority::EvictionPriority,
        tags::{TagMark, Tags},
        units::ByteSize,
    };

    const LIMIT: usize = 1 << 20;
    const ALL: [Compression; 2] = [Compression::lz4(), Compression::zstd()];

    fn entry(payload: impl Into<Bytes>) -> Entry {
        let ttl = Ttl { fresh: Duration::from_secs(10), stale: Duration::from_secs(60) };
        Entry::new(payload.into(), CodecId(1), Timestamp::from_millis(1_700_000_000_000), ttl)
    }

    /// Lines as prices have them: alike, and never the same.
    fn prices(count: usize) -> String {
        (0..count)
            .map(|i| format!(r#"{{"s":"AAPL","c":{}.{:02}}},"#, 180 + i % 9, i % 97))
            .collect()
    }

    /// Bytes that nothing compresses.
    fn noise(len: usize) -> Vec<u8> {
        let step = |x: &u64| Some(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        let numbers = std::iter::successors(Some(42), step);
        numbers.map(|x| (x >> 56) as u8).take(len).collect()
    }

    fn record(entry: &Entry) -> Bytes {
        wire::encode_value(entry, 42).into()
    }

    #[test]
    fn a_packed_entry_is_smaller_and_has_the_digest_of_the_entry() {
        let plain = entry(prices(200))
            .with_version(Some(Version(7)))
            .with_priority(EvictionPriority::High)
            .with_tags(Tags::new(vec![TagMark { tag: Arc::from("t"), generation: 9 }]).unwrap());
        for settings in ALL {
            let packed = pack(&plain, &settings, LIMIT).expect("it pays");
            assert!(packed.payload.len() * 3 < plain.payload.len(), "{settings:?}");
            assert_eq!(packed.digest(), plain.digest());
            assert_eq!(record(&packed)[4..8], record(&plain)[4..8], "the checksum that is stored");
            assert_eq!(pack(&packed, &settings, LIMIT), None, "once is enough");
            assert_eq!(unpack(packed, LIMIT), Ok(plain.clone()));
        }
    }

    #[test]
    fn what_does_not_pay_stays_as_it_is() {
        let sparing = Compression { saving_min_percent: 95, ..Compression::zstd() };
        for (payload, settings) in [
            (prices(200).into_bytes(), Compression::off()),
            (prices(200).into_bytes(), sparing),
            (prices(10).into_bytes(), Compression::zstd()),
            (noise(4_000), Compression::zstd()),
            (noise(100_000), Compression::lz4()),
            (vec![0; LIMIT + 1], Compression::lz4()),
            (Vec::new(), Compression { len_min: ByteSize::bytes(0), ..Compression::lz4() }),
        ] {
            assert_eq!(pack(&entry(payload), &settings, LIMIT), None, "{settings:?}");
        }
    }

    #[test]
    fn of_a_long_payload_a_part_from_its_middle_decides() {
        let odd_head = [noise(4_096), prices(4_000).into_bytes()].concat();
        let odd_middle =
            [prices(700).into_bytes(), noise(16_000), prices(700).into_bytes()].concat();
        for settings in ALL {
            assert!(pack(&entry(odd_head.clone()), &settings, LIMIT).is_some(), "{settings:?}");
            assert_eq!(pack(&entry(odd_middle.clone()), &settings, LIMIT), None, "{settings:?}");
        }
    }

    /// What is hardly anything but repetitions: zstd would make less of it than may be believed.
    #[test]
    fn what_is_packed_is_never_too_dense_to_be_believed() {
        for settings in ALL {
            for len in [1_024, 5_000, 100_000, LIMIT] {
                let plain = entry(vec![7; len]);
                let packed = pack(&plain, &settings, LIMIT).expect("it pays");
                assert_eq!(unpack(packed, LIMIT), Ok(plain), "{settings:?}, {len} bytes");
            }
        }
    }

    /// The golden files: what is stored today must be readable by every later version.
    #[test]
    fn the_packed_forms_are_those_of_the_golden_files() {
        for golden in [
            &include_bytes!("../../../tests/golden/value-lz4-v1.bin")[..],
            include_bytes!("../../../tests/golden/value-zstd-v1.bin"),
        ] {
            let Ok(wire::Record::Value(packed)) = wire::decode(&Bytes::from_static(golden), LIMIT)
            else {
                panic!("not a value");
            };
            assert!(packed.codec == CodecId::LZ4 || packed.codec == CodecId::ZSTD);
            assert_eq!(unpack(packed, LIMIT), Ok(entry(prices(200))));
        }
    }

    #[test]
    fn a_trap_is_refused_before_there_is_room_for_it() {
        let trap = |len: usize, packed: &[u8]| {
            let head = [&1_u16.to_be_bytes()[..], &u32::try_from(len).unwrap().to_be_bytes()];
            let payload = [&head.concat()[..], packed, &[0; COMPLETION_LEN]].concat();
            Entry { codec: CodecId::ZSTD, ..entry(payload) }
        };
        let bomb = zstd::encode_all(&vec![0; LIMIT][..], 1).unwrap();
        assert_eq!(unpack(trap(LIMIT + 1, &bomb), LIMIT), Err(Corrupt::Oversized));
        assert_eq!(unpack(trap(LIMIT, &bomb), LIMIT), Err(Corrupt::Compression), "too dense");
        let shown_as_less = unpack(trap(10_000, &bomb), LIMIT);
        assert_eq!(shown_as_less, Err(Corrupt::Compression), "longer than it says");
    }

    #[test]
    fn whoever_packs_without_the_completion_is_not_believed() {
        for settings in ALL {
            let mut packed = pack(&entry(prices(200)), &settings, LIMIT).unwrap();
            let mut payload = packed.payload.to_vec();
            *payload.last_mut().unwrap() ^= 1;
            packed.payload = payload.into();
            assert_eq!(unpack(packed, LIMIT), Err(Corrupt::Compression));
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            parts in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..60), 1_usize..80), 0..30),
            codec in 0_u16..0x7F00, version: Option<u64>, saving_min_percent in 0_u8..100,
            algorithm in 0_usize..2,
        ) {
            let payload: Vec<u8> = parts.iter().flat_map(|(part, n)| part.repeat(*n)).collect();
            let plain = Entry { codec: CodecId(codec), ..entry(payload) }
                .with_version(version.map(Version));
            let settings =
                Compression { len_min: ByteSize::bytes(0), saving_min_percent, ..ALL[algorithm] };
            if let Some(packed) = pack(&plain, &settings, LIMIT) {
                let saved = plain.payload.len() - packed.payload.len();
                let wanted = plain.payload.len() * usize::from(saving_min_percent) / 100;
                prop_assert!(saved >= wanted, "{saved} bytes of {}", plain.payload.len());
                prop_assert_eq!(packed.digest(), plain.digest());
                prop_assert_eq!(unpack(packed, LIMIT), Ok(plain));
            }
        }

        #[test]
        fn hostile_payloads_never_panic(
            payload in prop::collection::vec(any::<u8>(), 0..300), is_zstd: bool,
        ) {
            let codec = if is_zstd { CodecId::ZSTD } else { CodecId::LZ4 };
            let hostile = Entry { codec, ..entry(payload) };
            prop_assert!(unpack(hostile, 1_000).is_err());
        }

        #[test]
        fn a_packed_payload_that_was_changed_is_never_served(
            at: prop::sample::Index, bit in 0_u8..8, algorithm in 0_usize..2,
        ) {
            let packed = pack(&entry(prices(100)), &ALL[algorithm], LIMIT).unwrap();
            let mut payload = packed.payload.to_vec();
            payload[at.index(packed.payload.len())] ^= 1 << bit;
            let changed = Entry { payload: payload.into(), ..packed };
            prop_assert!(unpack(changed, LIMIT).is_err());
        }
    }
}
