//! What is demanded of a load test, and whether it was met.

use serde::{Deserialize, Serialize};

use crate::{report::Run, seed_system as seed};

/// One demand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Of what, and where.
    pub name: String,
    /// What is demanded.
    pub target: String,
    /// What was found.
    pub measured: String,
    /// Whether it is met.
    pub ok: bool,
}

/// Whether the speed of a single run may be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// It was measured for long enough.
    Judged,
    /// It is told, for orientation.
    Told,
}

/// Judges all runs together.
///
/// The times demanded are the seed system's published ones. They are far above what is measured, so
/// that a busy machine fails none; what its servers can do is told beside each figure.
#[must_use]
pub fn judge(runs: &[Run], speed: Speed) -> Vec<Verdict> {
    let mut verdicts = vec![
        none("operations lost", runs, |run| run.lost),
        none("operations that failed", runs, |run| run.errors),
        none("wrong values", runs, |run| run.wrong),
        // How long a server may be silent is a matter of wall-clock time, which is not judged here.
        none("errors inside tiers, silences apart", runs, |run| {
            let silences: u64 = run.tier_silences.values().sum();
            run.tier_errors.values().sum::<u64>() - silences
        }),
    ];
    for run in runs {
        verdicts.extend(judge_run(run));
        verdicts.extend(redis_reads(run).filter(|_| speed == Speed::Judged));
    }
    verdicts
}

/// The verdicts on one run alone.
#[must_use]
pub fn judge_run(run: &Run) -> Vec<Verdict> {
    let within = |what: &str, limit_ms: f64, measured_ms: Option<f64>| Verdict {
        name: format!("{what}, {} on {}", run.scenario, run.stack),
        target: format!("at most {limit_ms:.0} ms"),
        measured: measured_ms.map_or_else(|| "too few samples".to_owned(), milliseconds),
        ok: measured_ms.is_none_or(|ms| ms <= limit_ms),
    };
    let limit_ms = seed::promised_ms(run);
    let p99_ms = run.latency_us.p99.map(|us| us / 1e3);
    let mut verdicts = vec![
        within(&format!("{} at once", run.concurrency), limit_ms, Some(run.round_ms())),
        within("p99", limit_ms, p99_ms),
    ];
    if let Some(Some(ratio)) = run.hit_ratio.get(Run::OVERALL) {
        let percent = ratio * 100.0;
        verdicts.push(Verdict {
            name: format!("hit ratio, {} on {}", run.scenario, run.stack),
            target: format!("at least {:.0} %", seed::HIT_RATIO_PERCENT),
            measured: format!("{percent:.2} %"),
            ok: percent >= seed::HIT_RATIO_PERCENT,
        });
    }
    verdicts
}

/// Ten times what the seed system reads through its Redis tier.
fn redis_reads(run: &Run) -> Option<Verdict> {
    let target = seed::READS_FACTOR * seed::READS_PER_S;
    run.is("redis", "read-1000").then(|| Verdict {
        name: "reads a second through Redis alone".to_owned(),
        target: format!("at least {target:.0}"),
        measured: format!("{:.0}", run.throughput_per_s),
        ok: run.throughput_per_s >= target,
    })
}

/// There must be none of them in any run.
fn none(what: &str, runs: &[Run], count: impl Fn(&Run) -> u64) -> Verdict {
    let found = runs.iter().map(&count).sum::<u64>();
    let places = runs.iter().filter(|run| count(run) > 0);
    let places: Vec<String> =
        places.map(|run| format!("{} {} on {}", count(run), run.scenario, run.stack)).collect();
    let measured = match found {
        0 => "0".to_owned(),
        _ => format!("{found} ({})", places.join(", ")),
    };
    Verdict { name: what.to_owned(), target: "0".to_owned(), measured, ok: found == 0 }
}

fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 100.0 => format!("{ms:.1} ms"),
        ms => format!("{ms:.0} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Latency;

    fn good() -> Run {
        Run {
            scenario: "read-1000".to_owned(),
            stack: "redis".to_owned(),
            concurrency: 1_000,
            keys: 100,
            operations: 800_000,
            successes: 800_000,
            throughput_per_s: 160_000.0,
            latency_us: Latency { p99: Some(12_000.0), ..Latency::default() },
            hit_ratio: [(Run::OVERALL.to_owned(), Some(1.0)), ("redis".to_owned(), Some(1.0))]
                .into(),
            ..Run::default()
        }
    }

    /// The names of what is not met.
    fn failed(run: Run) -> Vec<String> {
        let verdicts = judge(&[good(), run], Speed::Judged);
        verdicts.into_iter().filter(|v| !v.ok).map(|v| v.name).collect()
    }

    #[test]
    fn a_good_run_fails_nothing() {
        assert_eq!(failed(good()), [""; 0]);
        assert_eq!(judge(&[good()], Speed::Judged).len(), 4 + 3 + 1);
    }

    #[test]
    fn a_single_lost_operation_error_wrong_value_or_tier_error_fails() {
        assert_eq!(failed(Run { lost: 1, ..good() }), ["operations lost"]);
        assert_eq!(failed(Run { errors: 1, ..good() }), ["operations that failed"]);
        assert_eq!(failed(Run { wrong: 1, ..good() }), ["wrong values"]);
        let errors = |count| [("redis".to_owned(), count)].into();
        let name = "errors inside tiers, silences apart";
        assert_eq!(failed(Run { tier_errors: errors(1), ..good() }), [name]);
        let silent = |errors_in_all| Run {
            tier_errors: errors(errors_in_all),
            tier_silences: errors(2),
            ..good()
        };
        assert_eq!(failed(silent(2)), [""; 0]);
        assert_eq!(failed(silent(3)), [name]);
        let verdict = none("operations lost", &[good(), Run { lost: 2, ..good() }], |run| run.lost);
        assert_eq!(verdict.measured, "2 (2 read-1000 on redis)");
    }

    #[test]
    fn what_is_slower_than_published_or_cold_fails() {
        let slow = Run { throughput_per_s: 1_900.0, stack: "sqlite".to_owned(), ..good() };
        assert_eq!(failed(slow), ["1000 at once, read-1000 on sqlite"]);
        let latency_us = Latency { p99: Some(501_000.0), ..Latency::default() };
        assert_eq!(failed(Run { latency_us, ..good() }), ["p99, read-1000 on redis"]);
        let hit_ratio = [(Run::OVERALL.to_owned(), Some(0.89))].into();
        assert_eq!(failed(Run { hit_ratio, ..good() }), ["hit ratio, read-1000 on redis"]);
    }

    #[test]
    fn five_times_as_many_at_once_have_five_times_as_long() {
        let run = Run { concurrency: 5_000, throughput_per_s: 2_100.0, ..good() };
        assert!(judge_run(&run).iter().all(|verdict| verdict.ok));
    }

    #[test]
    fn writes_have_longer_than_reads() {
        let write_latency_us = Some(Latency::default());
        let run = Run { throughput_per_s: 700.0, write_latency_us, ..good() };
        assert!(judge_run(&run).iter().all(|verdict| verdict.ok));
    }

    #[test]
    fn ten_times_the_seed_system_is_demanded_only_where_speed_is_judged() {
        let run = Run { throughput_per_s: 147_000.0, ..good() };
        assert_eq!(failed(run.clone()), ["reads a second through Redis alone"]);
        assert!(judge(&[run], Speed::Told).iter().all(|verdict| verdict.ok));
    }

    #[test]
    fn what_could_not_be_measured_fails_nothing_and_says_so() {
        let run = Run { latency_us: Latency::default(), hit_ratio: Default::default(), ..good() };
        let verdicts = judge_run(&run);
        assert!(verdicts.iter().all(|verdict| verdict.ok));
        assert_eq!(verdicts[1].measured, "too few samples");
        assert_eq!(verdicts.len(), 2);
    }
}
