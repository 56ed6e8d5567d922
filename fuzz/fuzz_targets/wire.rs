//! Stored bytes: whatever they are, reading them ends well, and what is read can be written again.
#![no_main]

use bytes::Bytes;
use cache_core::wire::{self, Record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mark = wire::fence_mark(data);
    let Ok(record) = wire::decode(&Bytes::copy_from_slice(data), 1 << 20) else { return };
    let mark = mark.expect("a record that is served has a readable fence");
    if let Record::Value(entry) = record {
        // A byte of flags that this version does not write may differ; the record may not.
        let again = Bytes::from(wire::encode_value(&entry, mark));
        assert_eq!(wire::decode(&again, 1 << 20), Ok(Record::Value(entry)));
    }
});
