//! The Redis tier of a tiered cache.
