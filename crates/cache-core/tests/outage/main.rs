//! What the layers against outages do, in paused time: the clock moves on only when everybody
//! waits, so that each test states times exactly.

mod breaker;
mod guard;
mod patience;
mod server;
