//! How processes hear of each other's changes.

mod log;
mod memory;

pub use log::{Author, Change, Log, Notice, Page, Position};
pub use memory::MemoryLog;
