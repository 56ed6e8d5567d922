//! What a cache wants of its SQLite file.

use cache_core::ByteSize;
use cache_sqlite::{SqliteConfig, SqliteReport};

use super::check::Check;

pub(super) fn judge(report: &SqliteReport, config: &SqliteConfig) -> Vec<Check> {
    vec![
        Check::ok("version", format!("SQLite {}, built in", report.version)),
        Check::ok("migrations", format!("tables of version {}", report.schema_version)),
        journal(report),
        integrity(report),
        size(report, config),
    ]
}

fn journal(report: &SqliteReport) -> Check {
    let mode = &report.journal_mode;
    if mode == "wal" {
        return Check::ok("journal", "write-ahead log");
    }
    let change = "name a file on a disk of this machine in `sqlite.path`";
    Check::fault("journal", format!("{mode}: readers and writers wait for each other"), change)
}

fn integrity(report: &SqliteReport) -> Check {
    match &report.damage {
        None => Check::ok("integrity", "no damage found"),
        Some(damage) => Check::fault(
            "integrity",
            damage,
            "move the file away, and a new one is made in its place; then warm it",
        ),
    }
}

fn size(report: &SqliteReport, config: &SqliteConfig) -> Check {
    let file = ByteSize::bytes(report.file_bytes);
    let log = ByteSize::bytes(report.log_bytes);
    let free = ByteSize::bytes(report.free_bytes);
    let max = config.bytes_max;
    Check::ok("size", format!("{file}, of which {free} free, and {log} of log; bounded to {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::check::Verdict;

    #[test]
    fn damage_and_another_journal_are_faults() {
        let worst = |change: fn(&mut SqliteReport)| {
            let mut report = SqliteReport::default();
            report.journal_mode = "wal".to_owned();
            change(&mut report);
            let checks = judge(&report, &SqliteConfig::new("/x"));
            checks.into_iter().map(|check| check.verdict).find(|verdict| *verdict != Verdict::Ok)
        };
        assert_eq!(worst(|_| ()), None);
        assert_eq!(worst(|r| r.journal_mode = "delete".to_owned()), Some(Verdict::Fault));
        assert_eq!(worst(|r| r.damage = Some("row 1 missing".to_owned())), Some(Verdict::Fault));
    }
}
