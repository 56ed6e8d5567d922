//! The file's bytes: a header, then blocks of reads, each with its checksum.
//!
//! Numbers are little-endian. The header: `cachelog`, version (u16), flags (u16), the part of the
//! keys that is recorded (f64), the sign of the salt (u64), when it began (u64, milliseconds), the
//! checksum of all that (u32). A block: the length of its body (u32), how many reads it has (u32),
//! how many were dropped since the file began (u32), the moment that its times count from (u64), the
//! checksum of all that and the body (u32), the body. A read: its outcome (u8), the key's hash
//! (u64), then as LEB128 the milliseconds since the block's moment, size, time to live, and load
//! cost; where keys are plain, the key's length and bytes.

use super::{AccessOutcome, AccessRecord, KeyForm};
use crate::clock::Timestamp;

pub(super) const MAGIC: [u8; 8] = *b"cachelog";
const VERSION: u16 = 1;
const PLAIN_KEYS: u16 = 1;
pub(super) const HEADER_LEN: usize = 8 + 2 + 2 + 8 + 8 + 8 + 4;
pub(super) const BLOCK_HEADER_LEN: usize = 4 + 4 + 4 + 8 + 4;

/// The longest body of a block: more is not believed.
pub(super) const BODY_LEN_MAX: usize = 1 << 20;

/// What is said of a whole file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Header {
    pub(super) rate: f64,
    pub(super) keys: KeyForm,
    pub(super) salt_sign: u64,
    pub(super) began_at: Timestamp,
}

/// What is said of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHeader {
    pub(super) body_len: usize,
    pub(super) count: u32,
    pub(super) dropped: u32,
    pub(super) base: Timestamp,
    crc: u32,
}

/// Why a header is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// It is no access log, or a damaged one.
    Unknown,
    /// It was written by a later version.
    Version(u16),
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        let flags = if self.keys == KeyForm::Plain { PLAIN_KEYS } else { 0 };
        out.extend(flags.to_le_bytes());
        out.extend(self.rate.to_le_bytes());
        out.extend(self.salt_sign.to_le_bytes());
        out.extend(self.began_at.as_millis().to_le_bytes());
        out.extend(crc32fast::hash(&out).to_le_bytes());
        out.try_into().expect("these are the fields of a header")
    }

    pub(super) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, BadHeader> {
        let mut fields = Fields(bytes);
        let known = "a header has all of its fields";
        if fields.take::<8>().expect(known) != MAGIC {
            return Err(BadHeader::Unknown);
        }
        let version = u16::from_le_bytes(fields.take().expect(known));
        if version != VERSION {
            return Err(BadHeader::Version(version));
        }
        let flags = u16::from_le_bytes(fields.take().expect(known));
        let rate = f64::from_le_bytes(fields.take().expect(known));
        let salt_sign = u64::from_le_bytes(fields.take().expect(known));
        let began_at = Timestamp::from_millis(u64::from_le_bytes(fields.take().expect(known)));
        let crc = u32::from_le_bytes(fields.take().expect(known));
        let is_whole = crc32fast::hash(&bytes[..HEADER_LEN - 4]) == crc;
        if !is_whole || flags > PLAIN_KEYS || !(rate > 0.0 && rate <= 1.0) {
            return Err(BadHeader::Unknown);
        }
        let keys = if flags == PLAIN_KEYS { KeyForm::Plain } else { KeyForm::Hashed };
        Ok(Self { rate, keys, salt_sign, began_at })
    }
}

impl BlockHeader {
    /// Nothing where the length cannot be that of a block.
    pub(super) fn decode(bytes: &[u8; BLOCK_HEADER_LEN]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let body_len = u32::from_le_bytes(fields.take()?) as usize;
        let count = u32::from_le_bytes(fields.take()?);
        let dropped = u32::from_le_bytes(fields.take()?);
        let base = Timestamp::from_millis(u64::from_le_bytes(fields.take()?));
        let crc = u32::from_le_bytes(fields.take()?);
        (body_len <= BODY_LEN_MAX).then_some(Self { body_len, count, dropped, base, crc })
    }

    /// The reads of a body; nothing where it is not the one that was written.
    pub(super) fn records(
        &self,
        header: &[u8; BLOCK_HEADER_LEN],
        body: &[u8],
        keys: KeyForm,
    ) -> Option<Vec<AccessRecord>> {
        if block_crc(&header[..BLOCK_HEADER_LEN - 4], body) != self.crc {
            return None;
        }
        let records = decode_body(body, self.base, keys)?;
        (records.len() == self.count as usize).then_some(records)
    }
}

/// The reads of a body, whatever is said of it.
pub(super) fn decode_body(
    body: &[u8],
    base: Timestamp,
    keys: KeyForm,
) -> Option<Vec<AccessRecord>> {
    let mut fields = Fields(body);
    let mut records = Vec::new();
    while !fields.0.is_empty() {
        records.push(decode_record(&mut fields, base, keys)?);
    }
    Some(records)
}

/// A block of reads, which are not empty.
pub(super) fn encode_block(records: &[AccessRecord], dropped: u32, keys: KeyForm) -> Vec<u8> {
    let base = records.iter().map(|record| record.time).min().unwrap_or_default();
    let mut body = Vec::with_capacity(records.len() * 24);
    for record in records {
        encode_record(&mut body, record, base, keys);
    }
    let count = u32::try_from(records.len()).expect("a block has few reads");
    let body_len = u32::try_from(body.len()).expect("a block is short");
    let mut out = Vec::with_capacity(BLOCK_HEADER_LEN + body.len());
    out.extend(body_len.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(dropped.to_le_bytes());
    out.extend(base.as_millis().to_le_bytes());
    let crc = block_crc(&out, &body);
    out.extend(crc.to_le_bytes());
    out.extend(body);
    out
}

fn block_crc(header: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(body);
    hasher.finalize()
}

fn encode_record(out: &mut Vec<u8>, record: &AccessRecord, base: Timestamp, keys: KeyForm) {
    out.push(record.outcome as u8);
    out.extend(record.hash.to_le_bytes());
    let since = record.time.as_millis() - base.as_millis();
    for number in [since, record.size.into(), record.ttl_ms.into(), record.load_cost_us.into()] {
        put_varint(out, number);
    }
    if keys == KeyForm::Plain {
        let key = record.key.as_deref().unwrap_or_default();
        put_varint(out, key.len() as u64);
        out.extend(key.as_bytes());
    }
}

fn decode_record(fields: &mut Fields<'_>, base: Timestamp, keys: KeyForm) -> Option<AccessRecord> {
    let outcome = AccessOutcome::from_u8(fields.take::<1>()?[0])?;
    let hash = u64::from_le_bytes(fields.take()?);
    let time = Timestamp::from_millis(base.as_millis().checked_add(fields.varint()?)?);
    let size = u32::try_from(fields.varint()?).ok()?;
    let ttl_ms = u32::try_from(fields.varint()?).ok()?;
    let load_cost_us = u32::try_from(fields.varint()?).ok()?;
    let key = match keys {
        KeyForm::Hashed => None,
        KeyForm::Plain => {
            let len = usize::try_from(fields.varint()?).ok()?;
            let (key, rest) = fields.0.split_at_checked(len)?;
            fields.0 = rest;
            Some(str::from_utf8(key).ok()?.into())
        }
    };
    Some(AccessRecord { hash, time, outcome, size, ttl_ms, load_cost_us, key })
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take()?;
            let part = u64::from(byte & 0x7F);
            if (part << shift) >> shift != part {
                return None;
            }
            number |= part << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}
