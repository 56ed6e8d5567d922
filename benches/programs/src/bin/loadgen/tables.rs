//! The figures as a person reads them.

use std::collections::BTreeMap;

use cache_benches::{
    report::{Latency, Report, Run},
    seed_system as seed,
    stacks::Kind,
    verdict::{Verdict, judge_run},
};
use cache_core::Table;

/// Everything that was measured, and the verdicts.
pub(crate) fn all(report: &Report) -> String {
    let Report { runs, verdicts, .. } = report;
    let tables = [figures(runs), comparison(runs), summary(verdicts)];
    let mut text = tables.map(|table| table.to_string()).join("\n");
    for run in runs {
        if let Some(error) = &run.last_tier_error {
            text.push_str(&format!("{}, {}: a tier said: {error}\n", run.stack, run.scenario));
        }
    }
    if report.partial {
        text.push_str("PARTIAL: it did not get to its end; this is what was measured until then\n");
    }
    text
}

fn figures(runs: &[Run]) -> Table {
    let mut table = Table::new([
        "stack, scenario",
        "operations",
        "successes",
        "errors",
        "lost",
        "per second",
        "p50",
        "p95",
        "p99",
        "p99.9",
        "max",
        "hit ratio",
    ]);
    for run in runs {
        let Latency { p50, p95, p99, p999, max } = run.latency_us;
        let [p50, p95, p99, p999, max] = [p50, p95, p99, p999, max].map(duration);
        table.row([
            format!("{}, {}", run.stack, run.scenario),
            run.operations.to_string(),
            run.successes.to_string(),
            errors(run),
            run.lost.to_string(),
            thousands(run.throughput_per_s),
            p50,
            p95,
            p99,
            p999,
            max,
            hit_ratios(run),
        ]);
    }
    table
}

/// Beside what the seed system's documents promise, and what it was measured at.
fn comparison(runs: &[Run]) -> Table {
    let mut table = Table::new([
        "against the seed system",
        "all at once",
        "it promises",
        "per second",
        "it was measured at",
        "times",
        "verdict",
    ]);
    for run in runs {
        let reference = seed::measured_per_s(&run.scenario);
        let is_met = judge_run(run).iter().all(|verdict| verdict.ok);
        table.row([
            format!("{}, {}", run.stack, run.scenario),
            duration(Some(run.round_ms() * 1e3)),
            format!("{:.0}ms", seed::promised_ms(run)),
            thousands(run.throughput_per_s),
            reference.map_or("-".to_owned(), thousands),
            reference.map_or("-".to_owned(), |r| format!("{:.1}", run.throughput_per_s / r)),
            if is_met { "met" } else { "FAILED" }.to_owned(),
        ]);
    }
    table
}

/// Those on everything, and those that are not met: the others are in the table above.
fn summary(verdicts: &[Verdict]) -> Table {
    let mut table = Table::new(["verdicts", "demanded", "found", ""]);
    let is_general = |verdict: &&Verdict| !verdict.ok || !verdict.name.contains(" on ");
    for verdict in verdicts.iter().filter(is_general) {
        table.row([
            verdict.name.clone(),
            verdict.target.clone(),
            verdict.measured.clone(),
            if verdict.ok { "met" } else { "FAILED" }.to_owned(),
        ]);
    }
    let met = verdicts.iter().filter(|verdict| verdict.ok).count();
    table.row([
        "all".to_owned(),
        format!("{} met", verdicts.len()),
        format!("{met} met"),
        if met == verdicts.len() { "met" } else { "FAILED" }.to_owned(),
    ]);
    table
}

fn errors(run: &Run) -> String {
    let wrong = (run.wrong > 0).then(|| ("wrong value".to_owned(), run.wrong));
    let of = |counts: &BTreeMap<String, u64>, prefix: &str| -> Vec<(String, u64)> {
        let found = counts.iter().filter(|(_, count)| **count > 0);
        found.map(|(kind, count)| (format!("{prefix}{kind}"), *count)).collect()
    };
    let all =
        of(&run.errors_by_kind, "").into_iter().chain(of(&run.tier_errors, "in ")).chain(wrong);
    let texts: Vec<String> = all.map(|(kind, count)| format!("{count} {kind}")).collect();
    if texts.is_empty() { "0".to_owned() } else { texts.join(", ") }
}

/// By tier, from the fastest down, and of how many reads. A tier that was not asked has none.
fn hit_ratios(run: &Run) -> String {
    let order = |name: &str| {
        let tiers = ["near", "sqlite", "redis", "postgres"];
        tiers.iter().position(|tier| *tier == name).unwrap_or(tiers.len())
    };
    let mut tiers: Vec<(&String, f64)> = run
        .hit_ratio
        .iter()
        .filter(|(name, _)| *name != Run::OVERALL)
        .filter_map(|(name, ratio)| Some((name, (*ratio)?)))
        .collect();
    tiers.sort_by_key(|(name, _)| order(name));
    let text = |(name, ratio): &(&String, f64)| {
        let reads = run.tier_reads.get(*name).map_or(0.0, |reads| *reads as f64);
        format!("{name} {:.1}% of {}", ratio * 100.0, thousands(reads))
    };
    let texts: Vec<String> = tiers.iter().map(text).collect();
    if texts.is_empty() { "-".to_owned() } else { texts.join(", ") }
}

/// What a stack or a scenario is, for `--list`.
pub(crate) fn describe(kind: Kind) -> String {
    match kind.missing()[..] {
        [] => kind.name().to_owned(),
        ref missing => format!("{} (needs {})", kind.name(), missing.join(" and ")),
    }
}

/// Three digits or so, in the unit that fits.
pub(crate) fn duration(us: Option<f64>) -> String {
    let Some(us) = us else { return "-".to_owned() };
    let (value, unit) = match us {
        us if us < 1e3 => (us, "µs"),
        us if us < 1e6 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    let digits = match value {
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}{unit}")
}

/// With a mark between thousands.
pub(crate) fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_their_unit() {
        let durations = [0.4, 12.34, 999.0, 17_800.0, 2_500_000.0].map(|us| duration(Some(us)));
        assert_eq!(durations, ["0.40µs", "12.3µs", "999µs", "17.8ms", "2.50s"]);
        assert_eq!(duration(None), "-");
        assert_eq!(
            [0.0, 999.0, 14_702.4, 1_234_567.0].map(thousands),
            ["0", "999", "14,702", "1,234,567"]
        );
    }

    #[test]
    fn errors_are_told_by_kind_and_place() {
        let run = Run {
            errors_by_kind: [("Timeout".to_owned(), 3)].into(),
            tier_errors: [("redis".to_owned(), 2), ("near".to_owned(), 0)].into(),
            wrong: 1,
            ..Run::default()
        };
        assert_eq!(errors(&run), "3 Timeout, 2 in redis, 1 wrong value");
        assert_eq!(errors(&Run::default()), "0");
    }

    #[test]
    fn hit_ratios_are_in_the_order_of_the_tiers() {
        let hit_ratio = [
            ("near", Some(0.999)),
            ("overall", Some(1.0)),
            ("postgres", None),
            ("redis", Some(0.5)),
        ]
        .map(|(name, ratio)| (name.to_owned(), ratio));
        let tier_reads = [("near".to_owned(), 12_000), ("redis".to_owned(), 12)].into();
        let run = Run { hit_ratio: hit_ratio.into(), tier_reads, ..Run::default() };
        assert_eq!(hit_ratios(&run), "near 99.9% of 12,000, redis 50.0% of 12");
    }
}
