//! What a watcher is told of what others do.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command},
};

use serde_json::{Value, json};

use crate::support::Home;

/// A `watch` that has begun. It ends with this.
pub(crate) struct Watching {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Watching {
    /// Starts `command`, and waits until what happens from now on is told.
    pub(crate) fn begin(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut notes = BufReader::new(child.stderr.take().unwrap());
        let mut note = String::new();
        notes.read_line(&mut note).unwrap();
        assert!(note.starts_with("watching the changes of"), "{note}");
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// The next line that `is_wanted`.
    pub(crate) fn line_where(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.out.read_line(&mut line).unwrap() > 0, "it ended before");
            let line: Value = serde_json::from_str(&line).unwrap();
            if is_wanted(&line) {
                return line;
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn each_change_of_another_process_is_told_once_it_is_made() {
    let home = Home::new();
    let command = home.command(["watch", "--for", "1m", "--format", "json"]);
    let mut watch = Watching::begin(command);
    home.run(["put", "price:AAPL", "1", "--tag", "tech"]).done();
    let insert = watch.line_where(|line| line["event"] == "insert" && line["key"] == "price:AAPL");
    assert_eq!((&insert["tier"], &insert["author"]), (&json!("sqlite"), &json!("cache")));
    assert!(insert["mark"].is_u64() && insert["at_ms"].is_u64() && insert["lag_ms"].is_i64());

    home.run(["remove", "price:AAPL"]).done();
    let removal = watch.line_where(|line| line["key"] == "price:AAPL");
    assert_eq!(removal["event"], "removal");
    assert!(removal["mark"].as_u64() > insert["mark"].as_u64());

    home.run(["remove", "--namespace", "price", "--tag", "tech"]).done();
    watch.line_where(|line| line["key"] == "price~tags:tech");

    home.run(["clear", "price", "--yes"]).done();
    let clear = watch.line_where(|line| line["event"] == "clear");
    assert!(clear["namespace"].as_str().unwrap().starts_with("price"), "{clear}");
}

#[test]
fn a_watch_ends_in_its_time_and_is_for_tiers_that_there_are() {
    let home = Home::new();
    let run = home.run(["watch", "--for", "1ms", "--tier", "sqlite"]).done();
    assert_eq!((run.out.as_str(), run.err.contains("sqlite")), ("", true));
    home.run(["watch", "--tier", "redis"]).refused(2, "there are: sqlite");
    home.run(["watch", "--for", "soon"]).refused(2, "--for");
}

#[cfg(unix)]
#[test]
fn a_signal_ends_a_watch_in_order() {
    for signal in ["INT", "TERM"] {
        let home = Home::new();
        let mut watch = Watching::begin(home.command(["watch"]));
        let pid = watch.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        assert_eq!(watch.child.wait().unwrap().code(), Some(0));
    }
}
