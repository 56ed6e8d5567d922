//! The warmer against the front of a cache: one run, and a schedule.

mod run;
mod schedule;
mod support;
