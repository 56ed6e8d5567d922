//! What a cache wants of a Redis server.

use cache_core::ByteSize;
use cache_redis::{Disagreement, RedisConfig, RedisReport};

use super::check::Check;
use crate::output;

/// The oldest version that runs the tier's scripts.
const MAJOR_MIN: u64 = 4;

pub(super) fn judge(report: &RedisReport, config: &RedisConfig) -> Vec<Check> {
    vec![
        version(report),
        role(report),
        memory(report),
        policy(report, config),
        persistence(report),
        clients(report, config),
    ]
}

fn version(report: &RedisReport) -> Check {
    let version = &report.version;
    match version.split('.').next().and_then(|major| major.parse::<u64>().ok()) {
        Some(major) if major < MAJOR_MIN => {
            Check::fault("version", version, format!("use Redis {MAJOR_MIN} or later"))
        }
        Some(_) => Check::ok("version", version),
        None => Check::advice("version", "not told", "make sure that it runs Redis scripts"),
    }
}

fn role(report: &RedisReport) -> Check {
    match report.role.as_str() {
        "slave" | "replica" => Check::fault(
            "role",
            "a replica, which refuses writes",
            "point `redis.url` to the primary",
        ),
        _ => Check::ok("role", "a primary"),
    }
}

fn memory(report: &RedisReport) -> Check {
    let used = output::size(report.used_bytes);
    match report.maxmemory_bytes {
        None => Check::advice(
            "maxmemory",
            format!("{used} used, no limit"),
            "set a limit, such as `CONFIG SET maxmemory 1gb`: with `maxmemory 0` the cache grows \
             until the system ends it",
        ),
        Some(max) => Check::ok("maxmemory", format!("{used} of {} used", ByteSize::bytes(max))),
    }
}

/// Judged with or without a limit: it is what happens on the day that one is set.
fn policy(report: &RedisReport, config: &RedisConfig) -> Check {
    let policy = report.policy.as_str();
    let disagreement = report.disagreement(config).filter(|_| report.maxmemory_bytes.is_some());
    match policy {
        "allkeys-random" | "volatile-random" | "volatile-ttl" => Check::fault(
            "maxmemory-policy",
            format!("{policy} may evict the memory of a removal: an old value may come back"),
            "CONFIG SET maxmemory-policy allkeys-lru",
        ),
        _ if disagreement.is_some() => {
            let Disagreement { found, change, .. } = disagreement.unwrap_or_default();
            Check::advice("maxmemory-policy", found, change)
        }
        "noeviction" if config.tracked_entries_max.is_none() => Check::advice(
            "maxmemory-policy",
            "noeviction: a full server refuses writes",
            "CONFIG SET maxmemory-policy allkeys-lru",
        ),
        _ => Check::ok("maxmemory-policy", policy),
    }
}

fn persistence(report: &RedisReport) -> Check {
    let found = match (report.aof, report.rdb) {
        (true, _) => "append-only file",
        (false, Some(true)) => {
            return Check::advice(
                "persistence",
                "snapshots: after a crash, values that were removed since the last one come back",
                "switch snapshots off (`save \"\"`), or use an append-only file",
            );
        }
        (false, Some(false)) => "none",
        (false, None) => "no append-only file; whether there are snapshots was not told",
    };
    Check::ok("persistence", found)
}

fn clients(report: &RedisReport, config: &RedisConfig) -> Check {
    let pool = u64::from(config.pool_size);
    let (Some(clients), Some(max)) = (report.clients, report.clients_max) else {
        return Check::ok("connections", format!("{pool} at most from each process"));
    };
    let found = format!("{clients} of {max} in use, {pool} at most from each process");
    if clients + pool > max {
        let change = "raise `maxclients` on the server, or lower `redis.pool_size`";
        return Check::advice("connections", found, change);
    }
    Check::ok("connections", found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::check::Verdict;

    fn good() -> RedisReport {
        let mut report = RedisReport::default();
        report.version = "7.0.15".to_owned();
        report.role = "master".to_owned();
        report.policy = "allkeys-lru".to_owned();
        report.maxmemory_bytes = Some(1 << 30);
        report.rdb = Some(false);
        report.clients = Some(3);
        report.clients_max = Some(10_000);
        report
    }

    fn verdicts(report: &RedisReport) -> Vec<Verdict> {
        let config = RedisConfig::new("redis://127.0.0.1");
        judge(report, &config).into_iter().map(|check| check.verdict).collect()
    }

    #[test]
    fn a_server_that_is_set_up_for_a_cache_is_ok() {
        assert!(verdicts(&good()).iter().all(|verdict| *verdict == Verdict::Ok));
    }

    #[test]
    fn what_breaks_a_promise_is_a_fault_and_what_could_be_better_an_advice() {
        let changed = |change: fn(&mut RedisReport)| {
            let mut report = good();
            change(&mut report);
            verdicts(&report).into_iter().find(|verdict| *verdict != Verdict::Ok)
        };
        assert_eq!(changed(|r| r.version = "3.2.1".to_owned()), Some(Verdict::Fault));
        assert_eq!(changed(|r| r.role = "slave".to_owned()), Some(Verdict::Fault));
        assert_eq!(changed(|r| r.policy = "volatile-ttl".to_owned()), Some(Verdict::Fault));
        assert_eq!(changed(|r| r.policy = "noeviction".to_owned()), Some(Verdict::Advice));
        assert_eq!(changed(|r| r.maxmemory_bytes = None), Some(Verdict::Advice));
        assert_eq!(changed(|r| r.rdb = Some(true)), Some(Verdict::Advice));
        assert_eq!(changed(|r| r.clients = Some(9_999)), Some(Verdict::Advice));
    }
}
