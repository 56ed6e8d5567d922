//! Access logs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cache_core::testkit::fuzzing::logs(data));
