//! What must hold for any bytes from outside: the bodies of the fuzz targets, and an ordinary run of
//! them over a corpus and its mutations, for where there is no compiler that can fuzz.

#[cfg(feature = "compression")]
use std::time::Duration;
use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::{
    access_log,
    cache::Session,
    clock::{Clock, ManualClock, Timestamp},
    codec::{Codec, Json},
    key::{Key, Namespace},
    units::{ByteSize, ServerUrl, Span},
    wire::{self, Record},
};
#[cfg(feature = "compression")]
use crate::{
    entry::{CodecId, Entry, Ttl},
    layers::{
        Compression,
        compress::{pack, unpack},
    },
};

/// A limit on payloads that mutations can reach.
const PAYLOAD_LEN_MAX: usize = 1 << 12;

/// A fuzz target: panics when a promise does not hold for these bytes.
pub type Target = fn(&[u8]);

/// Stored bytes: whatever they are, reading them ends well, and what is read can be written again.
///
/// # Panics
///
/// When that does not hold.
pub fn wire(data: &[u8]) {
    record(data);
    // Hardly any change of a record survives its checksum: with a right one, what lies behind the
    // check is read as well.
    if data.len() >= wire::HEADER_LEN {
        let mut sealed = data.to_vec();
        wire::seal(&mut sealed);
        record(&sealed);
    }
}

fn record(data: &[u8]) {
    let mark = wire::fence_mark(data);
    let bytes = Bytes::copy_from_slice(data);
    let Ok(record) = wire::decode(&bytes, PAYLOAD_LEN_MAX) else { return };
    let mark = mark.expect("a record that is served has a readable fence");
    let again = match &record {
        Record::Value(entry) => {
            assert!(entry.payload.len() <= PAYLOAD_LEN_MAX, "an oversized payload is served");
            wire::encode_value(entry, mark)
        }
        Record::Tombstone(version) => wire::encode_tombstone(*version, Timestamp::default(), mark),
    };
    // Bytes that this version does not read may differ; the record may not.
    assert_eq!(wire::fence_mark(&again), Some(mark));
    assert_eq!(wire::decode(&again.into(), PAYLOAD_LEN_MAX), Ok(record));
}

/// Access logs, as a crash or a disk may leave them.
///
/// # Panics
///
/// When reading does not come to an end, or what was read cannot be written and read again.
pub fn logs(data: &[u8]) {
    access_log::check_reading(data);
}

/// Names as they come back from a store or out of a log.
///
/// # Panics
///
/// When two different texts are read as one key, or one is read as two.
pub fn names(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(key) = Key::from_encoded(text) {
        assert_eq!(key.encoded(), text);
        assert_eq!(format!("{}:{}", key.namespace(), key.text()), text);
        let namespace = Namespace::from_escaped(key.namespace()).expect("it is a key's namespace");
        assert_eq!(namespace.key(key.text()).ok(), Some(key));
    }
    if let Ok(namespace) = Namespace::from_escaped(text) {
        assert_eq!(namespace.as_str(), text);
        assert!(!text.contains(':'), "a key's text reaches into its namespace");
        let purpose = namespace.reserved("tags");
        assert_eq!(Namespace::from_escaped(purpose.as_str()).ok(), Some(purpose));
    }
    if let Ok(namespace) = Namespace::new(text) {
        assert!(!namespace.as_str().contains([':', '~']));
        assert_eq!(Namespace::from_escaped(namespace.as_str()).ok().as_ref(), Some(&namespace));
        let key = namespace.key("k").expect("`k` is a key");
        assert_eq!((key.namespace(), key.text()), (namespace.as_str(), "k"));
    }
    let outer = Namespace::new("n").expect("`n` is a namespace");
    if let Ok(key) = outer.key(text) {
        assert_eq!((key.namespace(), key.text()), ("n", text));
        assert_eq!(Key::from_encoded(key.encoded()).ok(), Some(key));
    }
}

/// Settings: sizes, spans of time, addresses.
///
/// # Panics
///
/// When a setting that is written to a file is read again as another, or a password is shown.
pub fn settings(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(size) = text.parse::<ByteSize>() {
        assert_eq!(String::from(size).parse().ok(), Some(size));
    }
    if let Ok(span) = text.parse::<Span>() {
        assert_eq!(String::from(span).parse().ok(), Some(span));
    }
    // A password between the colon and the last `@` of an address is never shown.
    let secret = format!("redis://user:s3cr3t{text}@host:6379/0");
    assert!(!ServerUrl::new(secret).to_string().contains("s3cr3t"));
}

/// Tokens of sessions, as they come with a request.
///
/// # Panics
///
/// When a token that is taken does not survive being written and read again.
pub fn sessions(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new());
    if let Ok(session) = Session::parse(text, Arc::clone(&clock)) {
        let token = session.token();
        let again = Session::parse(&token, clock).expect("a session's own token is one");
        assert_eq!(again.token(), token);
    }
}

/// Payloads, as each codec of this crate reads them.
///
/// # Panics
///
/// When a value that is read cannot be written and read again.
pub fn payloads(data: &[u8]) {
    type Value = (String, Option<u64>, Vec<(i32, bool)>);
    let data = Bytes::copy_from_slice(data);
    let read = |codec: &dyn Codec<Value>| {
        if let Ok(value) = codec.decode(&data) {
            let again = codec.encode(&value).expect("it was a payload");
            assert_eq!(codec.decode(&again).ok(), Some(value));
        }
    };
    read(&Json);
    #[cfg(feature = "postcard")]
    read(&crate::codec::Postcard);
}

/// Payloads that something has compressed, or claims to have; and what is compressed here.
///
/// # Panics
///
/// When more comes out of one than there may be, or something else than went in.
#[cfg(feature = "compression")]
pub fn compression(data: &[u8]) {
    let entry = |codec, data: &[u8]| {
        let (created_at, ttl) = (Timestamp::default(), Ttl::fresh(Duration::from_secs(1)));
        Entry::new(Bytes::copy_from_slice(data), codec, created_at, ttl)
    };
    for codec in [CodecId::LZ4, CodecId::ZSTD] {
        if let Ok(plain) = unpack(entry(codec, data), PAYLOAD_LEN_MAX) {
            assert!(plain.payload.len() <= PAYLOAD_LEN_MAX, "an oversized payload is served");
            assert_eq!(plain.digest(), entry(codec, data).digest(), "it is another entry");
        }
    }
    for settings in [Compression::lz4(), Compression::zstd()] {
        let eager = Compression { len_min: ByteSize::bytes(0), saving_min_percent: 0, ..settings };
        let plain = entry(CodecId(1), data);
        if let Some(packed) = pack(&plain, &eager, PAYLOAD_LEN_MAX) {
            assert!(packed.payload.len() <= data.len(), "it takes more than before");
            assert_eq!(packed.digest(), plain.digest());
            assert_eq!(unpack(packed, PAYLOAD_LEN_MAX), Ok(plain));
        }
    }
}

/// The files of a directory as inputs, in the order of their names.
///
/// # Errors
///
/// When one of them cannot be read.
pub fn corpus(directory: &Path) -> io::Result<Vec<Vec<u8>>> {
    let files: io::Result<Vec<_>> =
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut files = files?;
    files.sort();
    files.into_iter().map(fs::read).collect()
}

/// Gives `target` every one of `seeds`, and `mutations` of them that are the same in every run.
///
/// # Panics
///
/// When the target does, after the input was printed; and without seeds.
pub fn run(target: Target, seeds: &[Vec<u8>], mutations: usize) {
    assert!(!seeds.is_empty(), "no seeds: put some inputs into the target's corpus");
    seeds.iter().for_each(|seed| try_one(target, seed));
    let mut rng = SmallRng::seed_from_u64(0x5EED);
    for _ in 0..mutations {
        try_one(target, &mutated(seeds, &mut rng));
    }
}

fn try_one(target: Target, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        eprintln!("the input, to be kept in the corpus: b\"{}\"", input.escape_ascii());
        resume_unwind(panic);
    }
}

/// One of the seeds after one to six changes.
fn mutated(seeds: &[Vec<u8>], rng: &mut SmallRng) -> Vec<u8> {
    let mut input = seeds[rng.random_range(0..seeds.len())].clone();
    for _ in 0..rng.random_range(1..=6) {
        mutate(&mut input, seeds, rng);
    }
    input
}

fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut SmallRng) {
    /// Where numbers tend to go wrong.
    const EDGES: [u64; 6] = [0, 1, 0x7F, 0x80, 1 << 53, u64::MAX];
    let at = rng.random_range(0..=input.len());
    match rng.random_range(0..6) {
        0 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
        1 => input.truncate(at),
        2 => input.insert(at, rng.random()),
        3 => {
            // A number of some width at an edge, as the fields of a record are.
            let number = EDGES[rng.random_range(0..EDGES.len())].to_be_bytes();
            let width = 1 << rng.random_range(0..4);
            let field = input.iter_mut().skip(at).take(width);
            field.zip(&number[8 - width..]).for_each(|(byte, edge)| *byte = *edge);
        }
        4 => {
            // The end of another seed.
            let other = &seeds[rng.random_range(0..seeds.len())];
            let from = rng.random_range(0..=other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => {
            // A part of itself once more.
            let len = rng.random_range(0..=(input.len() - at).min(16));
            let part = input[at..at + len].to_vec();
            input.splice(at..at, part);
        }
    }
}
