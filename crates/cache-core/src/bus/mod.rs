//! How processes hear of each other's changes.

mod log;

pub use log::{Author, Change, Log, Notice, Page, Position};
