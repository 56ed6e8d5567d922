//! The stored form of a record, byte by byte.
//!
//! Every tier that keeps bytes keeps these, so that a record can be copied between tiers, read by
//! the command line, and compared by a script in Redis without being decoded. All numbers are
//! unsigned and big-endian; moments are milliseconds since the Unix epoch.
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! | 0 | 1 | format, `1` |
//! | 1 | 1 | kind: `1` a value, `2` a tombstone; plus `0x80` when the version field counts; plus the priority of a value: `0` normal, `0x20` low, `0x40` high, `0x60` pinned |
//! | 2 | 2 | id of the codec that wrote the payload, or of what then compressed it |
//! | 4 | 4 | CRC-32 (IEEE) of bytes 0 to 3 and of bytes 18 to the end |
//! | 8 | 8 | fence: the tier's mark for this key, at most 2^53 - 1 |
//! | 16 | 2 | sum of the eight bytes of the fence |
//! | 18 | 2 | length of the tags in bytes, see below |
//! | 20 | 4 | what the load took, in microseconds |
//! | 24 | 8 | version at the source |
//! | 32 | 8 | created at |
//! | 40 | 8 | fresh until |
//! | 48 | 8 | expires at |
//! | 56 | | tags |
//! | | | payload, to the end |
//!
//! The fence lies outside the checksum, with a sum of its own, so that a script can set it without
//! reading the payload. A store that keeps the fence elsewhere (a column) writes 0 here.
//!
//! Each tag is one byte for the length of its name, the name in UTF-8, and eight bytes for its
//! generation when the entry's load began. There are at most [`TAGS_MAX`]. Whoever serves an entry
//! first checks that its tags still have these generations.

use std::{fmt, ops::Range, sync::Arc};

use bytes::Bytes;

use crate::{
    clock::Timestamp,
    entry::{CodecId, Entry, Version},
    fence::Fence,
    priority::EvictionPriority,
    tags::{TAG_LEN_MAX, TAGS_MAX, TagMark, Tags},
};

/// Bytes before the payload.
pub const HEADER_LEN: usize = 56;

/// Where the fence lies.
pub const FENCE_AT: usize = 8;

/// Where the checksum lies.
const SUM_AT: Range<usize> = 4..8;

const FORMAT: u8 = 1;
const KIND_VALUE: u8 = 1;
const KIND_TOMBSTONE: u8 = 2;
const VERSIONED: u8 = 0x80;
const PRIORITY: u8 = 0x60;

/// What is stored under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A value.
    Value(Entry),
    /// A removal that is remembered, with the newest version that the key is known to have had.
    Tombstone(Option<Version>),
}

/// Why stored bytes are not a record that can be served. Always a miss, never an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Corrupt {
    /// Fewer bytes than a header.
    Truncated,
    /// Another format, or not this cache's bytes at all.
    UnknownFormat,
    /// A kind of record that this version does not know.
    UnknownKind,
    /// The checksum, or the sum of the fence, does not match.
    Checksum,
    /// Its tags are cut, unreadable, or more than [`TAGS_MAX`].
    Tags,
    /// The payload is above the tier's limit, or would be when it is decompressed.
    Oversized,
    /// It cannot be decompressed, or what comes out is not what went in.
    Compression,
    /// The deadlines are out of order.
    Deadlines,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "fewer bytes than a header",
            Self::UnknownFormat => "not a record of a known format",
            Self::UnknownKind => "an unknown kind of record",
            Self::Checksum => "the checksum does not match",
            Self::Tags => "unreadable tags",
            Self::Oversized => "a payload above the limit",
            Self::Compression => "a payload that cannot be decompressed",
            Self::Deadlines => "deadlines out of order",
        })
    }
}

/// The bytes of a value, with `mark` as its fence.
#[must_use]
pub fn encode_value(entry: &Entry, mark: u64) -> Vec<u8> {
    let mut out = encode_head_within(entry, mark, entry.payload.len());
    out.extend_from_slice(&entry.payload);
    out
}

/// What [`encode_value`] writes before the payload: for whoever has a place of their own where the
/// payload is to follow, so that it is copied only once.
#[must_use]
pub fn encode_head(entry: &Entry, mark: u64) -> Vec<u8> {
    encode_head_within(entry, mark, 0)
}

/// The checksum that [`encode_value`] writes, whatever the mark, of the entry with this payload.
pub(crate) fn digest(entry: &Entry, payload: &[u8]) -> u32 {
    checksum(&unsealed_head(entry, 0, 0), payload)
}

/// The bytes before the payload, in a buffer that has room for `room` bytes behind them.
fn encode_head_within(entry: &Entry, mark: u64, room: usize) -> Vec<u8> {
    let mut head = unsealed_head(entry, mark, room);
    let sum = checksum(&head, &entry.payload);
    head[SUM_AT].copy_from_slice(&sum.to_be_bytes());
    head
}

fn unsealed_head(entry: &Entry, mark: u64, room: usize) -> Vec<u8> {
    let tags = encode_tags(&entry.tags);
    let mut head = Vec::with_capacity(HEADER_LEN + tags.len() + room);
    head.extend_from_slice(&value_header(entry, mark, &tags));
    head.extend_from_slice(&tags);
    head
}

fn value_header(entry: &Entry, mark: u64, tags: &[u8]) -> [u8; HEADER_LEN] {
    let moments = [entry.created_at, entry.fresh_until, entry.expires_at];
    let mut header = header(
        KIND_VALUE | priority_bits(entry.priority),
        entry.codec,
        mark,
        entry.load_cost_us,
        entry.version,
        moments,
    );
    let len = u16::try_from(tags.len()).expect("TAGS_MAX tags of TAG_LEN_MAX bytes fit");
    header[18..20].copy_from_slice(&len.to_be_bytes());
    header
}

/// The bytes of a tombstone written at `created_at`, with `mark` as its fence.
#[must_use]
pub fn encode_tombstone(version: Option<Version>, created_at: Timestamp, mark: u64) -> Vec<u8> {
    let moments = [created_at; 3];
    let mut out = header(KIND_TOMBSTONE, CodecId(0), mark, 0, version, moments).to_vec();
    seal(&mut out);
    out
}

/// Reads a record back. Copies nothing: the entry's payload is a slice of `bytes`.
///
/// # Errors
///
/// [`Corrupt`] for anything that was not written by [`encode_value`] or [`encode_tombstone`], or
/// has more payload than `payload_len_max`.
pub fn decode(bytes: &Bytes, payload_len_max: usize) -> Result<Record, Corrupt> {
    let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(Corrupt::Truncated)?;
    if header[0] != FORMAT {
        return Err(Corrupt::UnknownFormat);
    }
    let tags_len = usize::from(u16_at(header, 18));
    if bytes.len().saturating_sub(HEADER_LEN + tags_len) > payload_len_max {
        return Err(Corrupt::Oversized);
    }
    if u32_at(header, 4) != checksum(bytes, &[]) || fence_mark(bytes).is_none() {
        return Err(Corrupt::Checksum);
    }
    let version = (header[1] & VERSIONED != 0).then(|| Version(u64_at(header, 24)));
    match header[1] & !VERSIONED {
        KIND_TOMBSTONE => Ok(Record::Tombstone(version)),
        kind if kind & !PRIORITY == KIND_VALUE => {
            decode_value(bytes, header, version).map(Record::Value)
        }
        _ => Err(Corrupt::UnknownKind),
    }
}

/// The fence of a record, without looking at the rest of it; nothing when the bytes hold none.
#[must_use]
pub fn fence_mark(bytes: &[u8]) -> Option<u64> {
    let header: &[u8; HEADER_LEN] = bytes.first_chunk()?;
    let mark = u64_at(header, FENCE_AT);
    let known = header[0] == FORMAT && u16_at(header, 16) == fence_sum(mark);
    (known && mark <= Fence::MARK_MAX).then_some(mark)
}

fn decode_value(
    bytes: &Bytes,
    header: &[u8; HEADER_LEN],
    version: Option<Version>,
) -> Result<Entry, Corrupt> {
    let moment = |at| Timestamp::from_millis(u64_at(header, at));
    let (created_at, fresh_until, expires_at) = (moment(32), moment(40), moment(48));
    if created_at > fresh_until || fresh_until > expires_at {
        return Err(Corrupt::Deadlines);
    }
    let payload_at = HEADER_LEN + usize::from(u16_at(header, 18));
    let tags = bytes.get(HEADER_LEN..payload_at).and_then(decode_tags).ok_or(Corrupt::Tags)?;
    Ok(Entry {
        payload: bytes.slice(payload_at..),
        codec: CodecId(u16_at(header, 2)),
        version,
        created_at,
        fresh_until,
        expires_at,
        load_cost_us: u32_at(header, 20),
        tags,
        priority: priority_of(header[1]),
    })
}

const fn priority_bits(priority: EvictionPriority) -> u8 {
    match priority {
        EvictionPriority::Normal => 0,
        EvictionPriority::Low => 0x20,
        EvictionPriority::High => 0x40,
        EvictionPriority::Pinned => 0x60,
    }
}

const fn priority_of(kind: u8) -> EvictionPriority {
    match kind & PRIORITY {
        0 => EvictionPriority::Normal,
        0x20 => EvictionPriority::Low,
        0x40 => EvictionPriority::High,
        _ => EvictionPriority::Pinned,
    }
}

fn encode_tags(tags: &Tags) -> Vec<u8> {
    let mut out = Vec::new();
    for TagMark { tag, generation } in tags.marks() {
        out.push(u8::try_from(tag.len()).expect("Tags::new has checked TAG_LEN_MAX"));
        out.extend_from_slice(tag.as_bytes());
        out.extend_from_slice(&generation.to_be_bytes());
    }
    out
}

fn decode_tags(mut bytes: &[u8]) -> Option<Tags> {
    let mut marks = Vec::new();
    while let Some((&len, rest)) = bytes.split_first() {
        let len = usize::from(len);
        if marks.len() == TAGS_MAX || len == 0 || len > TAG_LEN_MAX {
            return None;
        }
        let (tag, rest) = rest.split_at_checked(len)?;
        let (generation, rest) = rest.split_first_chunk()?;
        let (tag, generation) =
            (Arc::from(str::from_utf8(tag).ok()?), u64::from_be_bytes(*generation));
        marks.push(TagMark { tag, generation });
        bytes = rest;
    }
    Tags::new(marks).ok()
}

/// A header whose checksum is still zero.
fn header(
    kind: u8,
    codec: CodecId,
    mark: u64,
    load_cost_us: u32,
    version: Option<Version>,
    [created_at, fresh_until, expires_at]: [Timestamp; 3],
) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[0] = FORMAT;
    header[1] = kind | if version.is_some() { VERSIONED } else { 0 };
    header[2..4].copy_from_slice(&codec.0.to_be_bytes());
    header[8..16].copy_from_slice(&mark.to_be_bytes());
    header[16..18].copy_from_slice(&fence_sum(mark).to_be_bytes());
    header[20..24].copy_from_slice(&load_cost_us.to_be_bytes());
    header[24..32].copy_from_slice(&version.map_or(0, |version| version.0).to_be_bytes());
    header[32..40].copy_from_slice(&created_at.as_millis().to_be_bytes());
    header[40..48].copy_from_slice(&fresh_until.as_millis().to_be_bytes());
    header[48..56].copy_from_slice(&expires_at.as_millis().to_be_bytes());
    header
}

/// Writes the checksum into a record that is otherwise complete.
pub(crate) fn seal(record: &mut [u8]) {
    let sum = checksum(record, &[]);
    record[SUM_AT].copy_from_slice(&sum.to_be_bytes());
}

/// The checksum of a record, given as its head and the rest: of everything but itself and the
/// fence.
fn checksum(head: &[u8], rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head[..SUM_AT.start]);
    hasher.update(&head[18..]);
    hasher.update(rest);
    hasher.finalize()
}

fn fence_sum(mark: u64) -> u16 {
    mark.to_be_bytes().into_iter().map(u16::from).sum()
}

fn u16_at(header: &[u8; HEADER_LEN], at: usize) -> u16 {
    u16::from_be_bytes([header[at], header[at + 1]])
}

fn u32_at(header: &[u8; HEADER_LEN], at: usize) -> u32 {
    u32::from_be_bytes(std::array::from_fn(|i| header[at + i]))
}

fn u64_at(header: &[u8; HEADER_LEN], at: usize) -> u64 {
    u64::from_be_bytes(std::array::from_fn(|i| header[at + i]))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::entry::Ttl;

    fn sample() -> Entry {
        let ttl = Ttl { fresh: Duration::from_secs(10), stale: Duration::from_secs(60) };
        let created_at = Timestamp::from_millis(1_700_000_000_000);
        Entry::new(Bytes::from_static(br#"{"c":187.5}"#), CodecId(1), created_at, ttl)
            .with_version(Some(Version(7)))
            .with_load_cost(Duration::from_micros(300_000))
    }

    /// The golden files: what is stored today must be readable by every later version.
    #[test]
    fn the_format_is_that_of_the_golden_files() {
        let value: &[u8] = include_bytes!("../tests/golden/value-v1.bin");
        let tombstone: &[u8] = include_bytes!("../tests/golden/tombstone-v1.bin");
        let created_at = Timestamp::from_millis(1_700_000_000_000);
        assert_eq!(encode_value(&sample(), 42), value);
        assert_eq!(encode_tombstone(Some(Version(8)), created_at, 43), tombstone);
        assert_eq!(decode(&Bytes::from_static(value), 100), Ok(Record::Value(sample())));
        assert_eq!(
            decode(&Bytes::from_static(tombstone), 100),
            Ok(Record::Tombstone(Some(Version(8))))
        );
        assert_eq!((fence_mark(value), fence_mark(tombstone)), (Some(42), Some(43)));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = encode_value(&sample(), 42);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad.into(), 100).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let good = Bytes::from(encode_value(&sample(), 42));
        for len in 0..good.len() {
            assert!(decode(&good.slice(..len), 100).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn unreadable_tags_and_oversized_payloads_are_not_served() {
        let mut tagged = encode_value(&sample(), 0);
        for len in [1_u16, 10, 12, u16::MAX] {
            tagged[18..20].copy_from_slice(&len.to_be_bytes());
            seal(&mut tagged);
            assert_eq!(decode(&tagged.clone().into(), 100), Err(Corrupt::Tags), "{len}");
        }
        assert_eq!(decode(&encode_value(&sample(), 0).into(), 10), Err(Corrupt::Oversized));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            payload in prop::collection::vec(any::<u8>(), 0..200),
            codec: u16, version: Option<u64>, mark in 0..=Fence::MARK_MAX, cost: u32,
            priority in prop::sample::select(EvictionPriority::ALL.to_vec()),
            tags in prop::collection::vec(("[a-z€]{1,40}", any::<u64>()), 0..4),
            created in 0_u64..1 << 40, fresh in 0_u64..1 << 40, stale in 0_u64..1 << 40,
        ) {
            let ttl = Ttl { fresh: Duration::from_millis(fresh), stale: Duration::from_millis(stale) };
            let created = Timestamp::from_millis(created);
            let mut entry = Entry::new(payload.into(), CodecId(codec), created, ttl)
                .with_version(version.map(Version))
                .with_priority(priority);
            entry.load_cost_us = cost;
            let mark_of = |(tag, generation): (String, _)| TagMark { tag: tag.into(), generation };
            entry.tags = Tags::new(tags.into_iter().map(mark_of).collect()).unwrap();
            let bytes = Bytes::from(encode_value(&entry, mark));
            prop_assert_eq!(&[&encode_head(&entry, mark)[..], &entry.payload].concat(), &bytes);
            prop_assert_eq!(fence_mark(&bytes), Some(mark));
            prop_assert_eq!(entry.digest(), u32::from_be_bytes(bytes[4..8].try_into().unwrap()));
            prop_assert_eq!(decode(&bytes, 200), Ok(Record::Value(entry)));
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = fence_mark(&bytes);
            let _ = decode(&bytes.into(), 100);
        }
    }
}
