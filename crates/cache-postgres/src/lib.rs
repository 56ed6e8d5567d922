//! The PostgreSQL tier of a tiered cache.
