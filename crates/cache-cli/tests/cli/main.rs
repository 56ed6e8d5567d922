//! The program as its users run it: each run is a process, in a home of its own.

#![cfg(test)]

mod bad_input;
mod configuration;
mod recording;
mod reporting;
mod servers;
mod simulating;
mod support;
mod values;
mod warming;
mod watching;
