//! The warmer against the front of a cache: one run, and a schedule.

mod copy;
mod job;
mod planning;
mod run;
mod schedule;
mod support;
mod unwell;
