//! The typed front over two tiers, under a manual clock.

mod faults;
mod limits;
mod reading;
mod single_flight;
mod support;
