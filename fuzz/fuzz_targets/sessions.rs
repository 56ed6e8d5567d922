//! Tokens of sessions, as they come with a request.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cache_core::testkit::fuzzing::sessions(data));
