//! Settings: sizes, spans of time, addresses.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cache_core::testkit::fuzzing::settings(data));
