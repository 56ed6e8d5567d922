//! The operator's command line of a tiered cache.
fn main() {}
