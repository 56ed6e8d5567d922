//! Caches that share tiers hear of each other's changes.

mod changes;
mod repair;
mod support;
mod tags;
mod turns;
