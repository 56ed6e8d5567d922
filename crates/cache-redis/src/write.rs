//! Puts and removals, on their way to the script that carries them out.

use std::{io::Write, time::Duration};

use bb8_redis::redis::{Cmd, RedisWrite, Value};
use cache_core::{
    Condition, Entry, Error, ErrorKind, Key, Put, PutOutcome, Removal, Result, TierInfo, Timestamp,
    Version, wire,
};

use crate::{
    error::expect,
    layout::Layout,
    log::{Scribe, write_name},
    marks::Marks,
    scripts::{self, Script},
    tracker::{TRACK_KEYS, Tracker},
};

/// How many changes one call of the script carries: it holds the server up while it runs.
const CALL_CHANGES_MAX: usize = 256;
/// After how many bytes of records a call takes no more of them.
const CALL_BYTES: usize = 1 << 20;

/// How many keys of a call are those of the log.
const LOG_KEYS: usize = 2;
/// How long a packed mark is.
const MARK_LEN: usize = 8;

/// What a call takes at most beside its changes, and a change beside its record and its key: names,
/// and numbers in digits.
const CALL_ARGS_LEN: usize = 1024;
const CHANGE_ARGS_LEN: usize = 192;

/// Where the fence and its sum end: the script writes both, and leaves what follows as it is.
const TAIL_AT: usize = wire::FENCE_AT + 10;

/// The shortest time for which Redis keeps an entry. Whether one has expired is judged by our clock
/// when it is read; Redis counts for itself, and must not be the first to say so.
const LIFE_MIN: Duration = Duration::from_secs(5);

/// What the script is to do under one key.
pub(crate) struct Change<'a> {
    key: &'a Key,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Fill(&'a Entry, u64),
    Put(&'a Entry),
    Remove(Option<Version>),
    /// A put that is too large: what is there goes, and nothing takes its place.
    Displace(Option<Version>),
}

impl<'a> Change<'a> {
    /// What a put comes to, or its outcome where Redis need not be asked.
    pub(crate) fn put(put: &'a Put, payload_len_max: usize) -> Result<Self, PutOutcome> {
        let Put { key, entry, condition } = put;
        let fits = entry.payload.len() <= payload_len_max;
        let kind = match condition {
            Condition::Always if fits => Kind::Put(entry),
            Condition::Always => Kind::Displace(entry.version),
            Condition::Unmoved(fence) => match fence.as_mark() {
                Some(seen) if fits => Kind::Fill(entry, seen),
                Some(_) => return Err(PutOutcome::TooLarge),
                None => return Err(PutOutcome::Skipped),
            },
        };
        Ok(Self { key, kind })
    }

    pub(crate) fn remove(Removal { key, version }: &'a Removal) -> Self {
        Self { key, kind: Kind::Remove(*version) }
    }

    fn len(&self) -> usize {
        wire::HEADER_LEN
            + match self.kind {
                Kind::Fill(entry, _) | Kind::Put(entry) => entry.payload.len(),
                Kind::Remove(_) | Kind::Displace(_) => 0,
            }
    }

    /// Writes what the script reads of this change. Answers the digest that the log tells of it, if
    /// it is told.
    fn write_to(
        &self,
        call: &mut Cmd,
        control: usize,
        now: Timestamp,
        retention: Duration,
    ) -> Option<u32> {
        let life = |entry: &Entry| entry.expires_at.since(now).max(LIFE_MIN);
        let (kind, seen, kept) = match self.kind {
            Kind::Fill(entry, seen) => ("fill", seen, life(entry)),
            // The fence that it moves lies in the record, and outlives a short-lived entry.
            Kind::Put(entry) => ("put", 0, life(entry).max(retention)),
            Kind::Remove(_) => ("remove", 0, retention),
            Kind::Displace(_) => ("displace", 0, retention),
        };
        let (head, payload): (_, &[u8]) = match self.kind {
            Kind::Fill(entry, _) | Kind::Put(entry) => {
                (wire::encode_head(entry, 0), &entry.payload)
            }
            Kind::Remove(version) | Kind::Displace(version) => {
                (wire::encode_tombstone(version, now, 0), &[])
            }
        };
        let kept_ms = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
        call.arg(kind).arg(control).arg(seen).arg(kept_ms).arg(&head[..wire::FENCE_AT]);
        let mut tail = call.writer_for_next_arg();
        for part in [&head[TAIL_AT..], payload] {
            tail.write_all(part).expect("a command is written to memory");
        }
        match self.kind {
            Kind::Fill(..) => None,
            // The digest of an entry is the checksum of its record, which ends before the fence.
            Kind::Put(_) => head[..wire::FENCE_AT].last_chunk().copied().map(u32::from_be_bytes),
            Kind::Remove(_) | Kind::Displace(_) => Some(0),
        }
    }
}

/// What every change of a call shares.
pub(crate) struct Circumstances<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) info: &'a TierInfo,
    pub(crate) now: Timestamp,
    pub(crate) scribe: &'a Scribe,
    pub(crate) marks: &'a Marks,
    /// Nothing where the server evicts.
    pub(crate) tracker: Option<&'a Tracker>,
    /// For control keys that are missing.
    pub(crate) seed: u64,
}

/// A call that carries out changes.
pub(crate) struct Call<'a> {
    pub(crate) script: &'static Script,
    pub(crate) command: Cmd,
    changes: &'a [Change<'a>],
    namespaces: Vec<&'a str>,
}

/// Cuts changes into calls, in their order.
pub(crate) fn calls<'c, 'a>(
    mut changes: &'c [Change<'a>],
) -> impl Iterator<Item = &'c [Change<'a>]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |change: &&Change<'_>| {
            let fits = bytes < CALL_BYTES;
            bytes += change.len();
            fits
        };
        let len = changes.iter().take(CALL_CHANGES_MAX).take_while(fits).count();
        let (call, rest) = changes.split_at(len);
        changes = rest;
        (len > 0).then_some(call)
    })
}

/// The call that carries out `changes`.
pub(crate) fn call<'a>(changes: &'a [Change<'a>], circumstances: &Circumstances<'_>) -> Call<'a> {
    let Circumstances { layout, info, now, scribe, marks, tracker, seed } = *circumstances;
    let mut namespaces: Vec<&'a str> = Vec::new();
    let mut controls = Vec::with_capacity(changes.len());
    for namespace in changes.iter().map(|change| change.key.namespace()) {
        let known = namespaces.iter().rposition(|known| *known == namespace);
        controls.push(1 + known.unwrap_or(namespaces.len()));
        if known.is_none() {
            namespaces.push(namespace);
        }
    }
    let (script, track_keys): (&'static Script, usize) = match tracker {
        Some(_) => (&scripts::WRITE_TRACKED, TRACK_KEYS),
        None => (&scripts::WRITE, 0),
    };
    let mut call = script.call(LOG_KEYS + namespaces.len() + changes.len() + track_keys);
    // Grown by doubling, the command would copy what it has a few times. A key is there twice: the
    // log has it too.
    let len = |change: &Change<'_>| change.len() + 2 * change.key.encoded().len() + CHANGE_ARGS_LEN;
    call.reserve_space_for_args(changes.iter().map(len).chain([CALL_ARGS_LEN]));
    call.arg(&layout.log());
    for namespace in &namespaces {
        call.arg(layout.control(namespace));
    }
    for change in changes {
        call.arg(layout.record(change.key));
    }
    if tracker.is_some() {
        call.arg(&layout.tracker());
    }
    let retention_ms = u64::try_from(info.fence_retention.as_millis()).unwrap_or(u64::MAX);
    scribe.write_to(&mut call, seed, now);
    call.arg(namespaces.len()).arg(retention_ms);
    for namespace in &namespaces {
        call.arg(marks.of(namespace));
    }
    let mut names = Vec::new();
    for (change, control) in changes.iter().zip(controls) {
        let told = change.write_to(&mut call, control, now, info.fence_retention);
        if let (true, Some(digest)) = (scribe.is_on(), told) {
            write_name(&mut names, change.key.encoded(), digest);
        }
    }
    call.arg(names);
    if let Some(tracker) = tracker {
        tracker.write_to(&mut call, now);
    }
    Call { script, command: call, changes, namespaces }
}

/// What came of a call.
pub(crate) enum Answer<'a> {
    /// What became of its changes, where the namespaces stand now, and what is left to do.
    Done(Vec<PutOutcome>, Vec<(&'a str, u64)>, Left),
    /// Nothing, because the server had lost data of one of the namespaces.
    LostData,
}

/// What is left to do after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Nothing,
    /// There is still more than there may be.
    Evict,
}

impl<'a> Call<'a> {
    /// What the script's answer says.
    pub(crate) fn answer(&self, answer: Value) -> Result<Answer<'a>> {
        let bytes: Vec<u8> = expect(answer)?;
        if bytes == b"!" {
            return Ok(Answer::LostData);
        }
        let (changes, namespaces) = (self.changes, &self.namespaces);
        let (bytes, left) = match bytes.split_last() {
            Some((b'>', rest)) if rest.len() == changes.len() + MARK_LEN * namespaces.len() => {
                (rest, Left::Evict)
            }
            _ => (&*bytes, Left::Nothing),
        };
        if bytes.len() != changes.len() + MARK_LEN * namespaces.len() {
            return Err(Error::new(ErrorKind::Internal, "the script's answer has another length"));
        }
        let (answers, marks) = bytes.split_at(changes.len());
        let outcome = |(change, answer): (&Change<'_>, &u8)| match (answer, &change.kind) {
            (b'+', Kind::Displace(_)) => PutOutcome::TooLarge,
            (b'+', _) => PutOutcome::Stored,
            _ => PutOutcome::Superseded,
        };
        let outcomes = changes.iter().zip(answers).map(outcome).collect();
        let marks = marks.chunks_exact(MARK_LEN).map(mark_of);
        Ok(Answer::Done(outcomes, namespaces.iter().copied().zip(marks).collect(), left))
    }
}

/// A mark as the scripts pack it.
pub(crate) fn mark_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |mark, byte| mark << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cache_core::{CodecId, Namespace, Ttl};

    use super::*;

    fn lens_of_calls(payloads: &[usize]) -> Vec<usize> {
        let key = Namespace::new("n").unwrap().key("k").unwrap();
        let puts: Vec<Put> = payloads
            .iter()
            .map(|len| {
                let payload = Bytes::from(vec![0; *len]);
                let ttl = Ttl::fresh(Duration::from_secs(1));
                let entry = Entry::new(payload, CodecId(3), Timestamp::default(), ttl);
                Put { key: key.clone(), entry, condition: Condition::Always }
            })
            .collect();
        let changes: Vec<Change<'_>> =
            puts.iter().filter_map(|put| Change::put(put, usize::MAX).ok()).collect();
        calls(&changes).map(<[_]>::len).collect()
    }

    #[test]
    fn a_call_is_cut_by_its_length_and_by_its_bytes() {
        assert_eq!(lens_of_calls(&[]), [0; 0]);
        assert_eq!(lens_of_calls(&[1; 600]), [256, 256, 88]);
        assert_eq!(lens_of_calls(&[600_000; 5]), [2, 2, 1]);
        assert_eq!(lens_of_calls(&[5 << 20, 1, 1]), [1, 2]);
    }
}
