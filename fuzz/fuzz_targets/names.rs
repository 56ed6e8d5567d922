//! Names as they come back from a store or out of a log.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cache_core::testkit::fuzzing::names(data));
