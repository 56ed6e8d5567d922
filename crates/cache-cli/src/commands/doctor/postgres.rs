//! What a cache wants of a PostgreSQL server.

use cache_core::ByteSize;
use cache_postgres::{PostgresConfig, PostgresReport};

use super::check::Check;

/// Dead rows below this many are nothing to speak of, whatever their share.
const DEAD_ROWS_MIN: u64 = 10_000;

/// So much free room is nothing to speak of.
const FREE_BYTES_MIN: u64 = 128 << 20;

/// What a row takes in its page beside its columns.
const ROW_HEAD: u64 = 28;

/// Up to which part of them pages are filled, in percent: as the migration has it.
const FILLFACTOR: u64 = 80;

pub(super) fn judge(report: &PostgresReport, config: &PostgresConfig) -> Vec<Check> {
    vec![
        // The tier connects to no version that is too old, and to no schema that is too new.
        Check::ok("version", &report.version),
        Check::ok(
            "migrations",
            format!("schema `{}` is at version {}", config.schema, report.schema_version),
        ),
        role(report),
        durability(report),
        connections(report, config),
        table(report, config),
    ]
}

fn role(report: &PostgresReport) -> Check {
    if report.is_standby {
        let change = "point `postgres.url` to the primary";
        return Check::fault("role", "a standby, which refuses writes", change);
    }
    Check::ok("role", "a primary")
}

fn durability(report: &PostgresReport) -> Check {
    let found =
        format!("synchronous_commit = {}, fsync = {}", report.synchronous_commit, report.fsync);
    if report.fsync == "off" {
        let change =
            "set `fsync` to on: without it a crash of the machine may corrupt the database";
        return Check::advice("durability", found, change);
    }
    Check::ok("durability", found)
}

fn connections(report: &PostgresReport, config: &PostgresConfig) -> Check {
    let (used, max) = (report.connections, report.connections_max);
    let pool = u64::from(config.pool_size);
    let found = format!("{used} of {max} in use, {pool} at most from each process");
    if used + pool > max {
        let change = "raise `max_connections` on the server, or lower `postgres.pool_size`";
        return Check::advice("connections", found, change);
    }
    Check::ok("connections", found)
}

fn table(report: &PostgresReport, config: &PostgresConfig) -> Check {
    let (live, dead) = (report.live_rows, report.dead_rows);
    let found =
        format!("{} in {live} rows, and {dead} dead ones", ByteSize::bytes(report.table_bytes));
    if dead > live.max(DEAD_ROWS_MIN) {
        let change = "see that autovacuum runs and keeps up: the table grows with what it leaves";
        return Check::advice("table", found, change);
    }
    if let Some(max) = config.bytes_max
        && report.table_bytes > max.as_u64() / 10 * 11
    {
        let schema = &config.schema;
        let change = format!(
            "`VACUUM FULL {schema}.entries` gives back what lies free in it, and stops everybody for \
             that time; or raise `postgres.bytes_max`, which is {max}"
        );
        return Check::advice("table", found, change);
    }
    let free = free_bytes(report);
    if free > FREE_BYTES_MIN.max(report.heap_bytes / 2) {
        let (free, schema) = (ByteSize::bytes(free >> 20 << 20), &config.schema);
        let change = format!(
            "nothing, if as much is to come again: about {free} lie free in it for new rows. `VACUUM \
             FULL {schema}.entries` gives them back, and stops everybody for that time"
        );
        return Check::advice("table", found, change);
    }
    Check::ok("table", found)
}

/// About how much of the rows' pages is free, beyond what they leave free for updates.
fn free_bytes(report: &PostgresReport) -> u64 {
    if report.row_bytes == 0 {
        return 0;
    }
    let rows = report.live_rows + report.dead_rows;
    let used = rows.saturating_mul(report.row_bytes + ROW_HEAD) / FILLFACTOR * 100;
    report.heap_bytes.saturating_sub(used)
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::commands::doctor::check::Verdict;

    fn worst(change: fn(&mut PostgresReport)) -> Option<Verdict> {
        let mut report = PostgresReport::default();
        report.fsync = "on".to_owned();
        report.connections_max = 100;
        change(&mut report);
        let config = PostgresConfig::new("postgres://127.0.0.1/cache");
        let checks = judge(&report, &config);
        checks.into_iter().map(|check| check.verdict).find(|verdict| *verdict != Verdict::Ok)
    }

    #[test]
    fn what_breaks_a_promise_is_a_fault_and_what_could_be_better_an_advice() {
        assert_eq!(worst(|_| ()), None);
        assert_eq!(worst(|r| r.is_standby = true), Some(Verdict::Fault));
        assert_eq!(worst(|r| r.fsync = "off".to_owned()), Some(Verdict::Advice));
        assert_eq!(worst(|r| r.connections = 95), Some(Verdict::Advice));
        assert_eq!(worst(|r| r.dead_rows = 20_000), Some(Verdict::Advice));
        let table = |r: &mut PostgresReport| {
            (r.heap_bytes, r.row_bytes, r.live_rows) = (1 << 30, 500, 1_000_000);
        };
        assert_eq!(worst(table), None, "rows fill most of it");
        let emptied = |r: &mut PostgresReport| {
            (r.heap_bytes, r.row_bytes, r.live_rows) = (1 << 30, 500, 1_000);
        };
        assert_eq!(worst(emptied), Some(Verdict::Advice));
    }
}
