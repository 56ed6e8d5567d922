//! Which eviction policy, and what size, suits the reads that a service really makes.
//!
//! A trace of reads is [`read`] from a file, replayed by [`simulate`] under every policy that a
//! cache can have, and under the optimum that none of them reaches.

mod advice;
mod chart;
mod contender;
mod distances;
mod optimum;
mod read;
mod replay;
mod report;
mod sample;
mod simulate;
mod size;
mod tally;
mod trace;

pub use advice::{Advice, GivenUp, Marginal};
pub use chart::{Axis, Chart, Scale, Series, Stroke};
pub use contender::Contender;
pub use read::{LINE_LEN_MAX, REQUESTS_MAX, ReadOptions, read, read_from};
pub use replay::Unit;
pub use simulate::{Curves, Plan, Point, Sample, Sampling, simulate};
pub use size::Size;
pub use tally::{Sums, Tally, Weight};
pub use trace::{Columns, Request, Trace, TraceBuilder};
