//! What operations cost that does not depend on the moment: no more than is committed.

use anyhow::Result;
use cache_benches::counters::{
    Counter, Figures, Mode, Tally,
    allocations::{self, Allocator, COUNTED},
    expected, local,
    remote::{self, Servers},
};
use cache_core::testkit::{service_url, unique_name};

#[global_allocator]
static ALLOCATOR: Allocator = COUNTED;

const TEST: &str = "no_operation_costs_more_than_is_committed";

/// Everything in one test: what another one allocates at the same time would be counted too.
#[test]
fn no_operation_costs_more_than_is_committed() -> Result<()> {
    assert!(allocations::are_counted());
    let mut tally = Tally::new(Mode::Count);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(local::count(&mut tally))?;

    let (redis, postgres) = (service_url("REDIS_URL", TEST), service_url("DATABASE_URL", TEST));
    let postgres = postgres.map(|url| (url, unique_name("counters")));
    let servers = Servers { redis, postgres };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().build()?.block_on(async {
        let counted = remote::count(&mut tally, &servers).await;
        servers.clean().await?;
        counted
    })?;

    let figures = tally.figures().portable();
    let worse: Vec<String> =
        figures.worse_than(&expected()?).iter().map(ToString::to_string).collect();
    let advice = "if the cost is wanted: cargo xtask bench counters --accept";
    assert!(worse.is_empty(), "{}\n{advice}", worse.join("\n"));
    what_is_promised(&figures);
    Ok(())
}

/// Whatever is committed: these are bounds that may not be accepted away.
fn what_is_promised(figures: &Figures) {
    use Counter::{Allocations, PostgresRoundTrips, RedisCommands, RedisRoundTrips};
    for (operation, counter, most) in [
        ("near: peek", Allocations, 0),
        ("near: get", Allocations, 0),
        ("near: get_or_load, a hit", Allocations, 0),
        ("wire: decode", Allocations, 0),
        ("redis alone: get", RedisCommands, 1),
        ("redis alone: get", RedisRoundTrips, 1),
        ("redis alone: get_many of 100", RedisRoundTrips, 1),
        ("redis alone: put", RedisRoundTrips, 1),
        ("redis alone: remove", RedisRoundTrips, 1),
        ("postgres alone: get", PostgresRoundTrips, 1),
        ("postgres alone: get_many of 100", PostgresRoundTrips, 1),
        ("stack: near hit", RedisRoundTrips, 0),
        ("stack: near hit", PostgresRoundTrips, 0),
        ("stack: l1 hit", RedisRoundTrips, 1),
        ("stack: l1 hit", PostgresRoundTrips, 0),
        ("stack: get_many of 100, in near", RedisRoundTrips, 0),
        ("stack: get_many of 100, in l1", RedisRoundTrips, 1),
        ("stack: get_many of 100, in l1", PostgresRoundTrips, 0),
        // To look, and to promote what Redis did not have.
        ("stack: get_many of 100, half in l1, promoted", RedisRoundTrips, 2),
        ("stack: get_many of 100, half in l1, promoted", PostgresRoundTrips, 1),
    ] {
        let count = figures.get(operation, counter);
        assert!(count.is_none_or(|count| count <= most), "{operation}: {counter:?} {count:?}");
    }
}
