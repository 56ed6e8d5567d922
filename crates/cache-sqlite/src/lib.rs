//! The embedded durable tier of a tiered cache: one SQLite file.
