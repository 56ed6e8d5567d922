//! Compressed payloads.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cache_core::testkit::fuzzing::compression(data));
