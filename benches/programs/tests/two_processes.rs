//! P1 over the whole stack and two processes: one loads, the other one invalidates.

use anyhow::Result;
use cache_benches::processes::{Peer, Place};
use cache_core::testkit::{service_url, unique_name};
use rand::{Rng, SeedableRng, rngs::SmallRng};

const ROUNDS: u32 = 1_000;

fn place() -> Place {
    let namespace = unique_name("two_processes");
    Place { namespace, redis: None, postgres: None, sqlite: None }
}

/// 1,000 random interleavings on each stack that can be had here: near + SQLite, and near + Redis +
/// PostgreSQL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_no_stale_fill_across_two_processes() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let sqlite = Some(directory.path().join("shared.sqlite3"));
    assert_eq!(stale_reads(&Place { sqlite, ..place() }).await?, 0);

    let test = "p1_no_stale_fill_across_two_processes";
    let (redis, postgres) = (service_url("REDIS_URL", test), service_url("DATABASE_URL", test));
    if let (Some(redis), Some(postgres)) = (redis, postgres) {
        let schema = unique_name("two_processes");
        let servers = Place { redis: Some(redis), postgres: Some((postgres, schema)), ..place() };
        let stale = stale_reads(&servers).await;
        drop_schema(&servers).await?;
        assert_eq!(stale?, 0);
    }
    Ok(())
}

/// How many of the rounds left the value from before the invalidation in any tier, or in the near
/// tier of the process that invalidated.
async fn stale_reads(place: &Place) -> Result<usize> {
    let cache = place.open().await?.build()?;
    let mut peer = Peer::start(env!("CARGO_BIN_EXE_peer"), place).await?;
    let mut rng = SmallRng::seed_from_u64(42);
    let mut stale = 0;
    for round in 0..ROUNDS {
        // A few keys, so that rounds meet what earlier rounds left.
        let key = format!("k{}", rng.random_range(0..8));
        let (old, new) = (format!("{round} old"), format!("{round} new"));
        cache.invalidate(&key).await?;

        peer.send(&format!("load {key}")).await?;
        peer.expect("ask").await?;
        // The peer's load has read `old`; the source changes to `new`; this process invalidates
        // before, while or after the peer fills its tiers.
        let answer_first = rng.random_bool(0.7);
        if answer_first {
            peer.send(&format!("value {old}")).await?;
            spin(rng.random_range(0..400));
        }
        cache.invalidate(&key).await?;
        if !answer_first {
            spin(rng.random_range(0..400));
            peer.send(&format!("value {old}")).await?;
        }
        // Half of the time a reader comes in between, and may promote what it finds.
        if rng.random_bool(0.5) {
            cache.get(&key).await?;
        }
        let loaded = peer.expect("loaded").await?;
        assert_eq!(loaded, old, "the load answers its own caller");

        let here = cache.get(&key).await?.map(|hit| hit.to_string());
        peer.send(&format!("get {key}")).await?;
        let there = peer.expect("got").await?;
        stale += usize::from(here.is_some_and(|value| value != new));
        stale += usize::from(there == old);
    }
    Ok(stale)
}

/// Lets about `micros` microseconds go by without giving up the thread: finer than a timer.
fn spin(micros: u32) {
    let start = std::time::Instant::now();
    while start.elapsed().as_micros() < u128::from(micros) {
        std::hint::spin_loop();
    }
}

/// Leaves nothing behind on a server that may be somebody else's.
async fn drop_schema(place: &Place) -> Result<()> {
    let Some((url, schema)) = &place.postgres else { return Ok(()) };
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    client.batch_execute(&format!("DROP SCHEMA \"{schema}\" CASCADE")).await?;
    drop(client);
    connection.await??;
    Ok(())
}
