//! The typed front over two tiers, under a manual clock.

mod conditional;
mod early;
mod faults;
mod freshness;
mod limits;
mod pauses;
mod priorities;
mod promotion;
mod reading;
mod sessions;
mod single_flight;
mod support;
