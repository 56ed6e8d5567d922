//! Measures, on the server of `DATABASE_URL`: how soon another process sees an invalidation, and
//! what the log costs the writers.
//!
//! ```sh
//! cargo run --release -p cache-postgres --example postgres_log_cost
//! ```

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use cache_core::{
    CodecId, Condition, Entry, Key, Namespace, Put, Removal, Result, Span, SystemClock, Tier,
    TierExt, Ttl,
};
use cache_postgres::{PostgresConfig, PostgresLogging, PostgresTier};
use futures::future::try_join_all;

const CALLERS: usize = 64;
const ROUND: Duration = Duration::from_millis(500);
const ROUNDS: usize = 5;

#[tokio::main]
async fn main() -> Result<()> {
    let url = env::var("DATABASE_URL").expect("DATABASE_URL names the server");
    let schema = format!("log_cost_{}", std::process::id());
    let config = PostgresConfig { schema, ..PostgresConfig::new(url) };
    lag(&config).await?;
    cost(&config).await?;
    println!("drop the schema {} when it is not wanted any more", config.schema);
    Ok(())
}

async fn connect(config: &PostgresConfig) -> Result<Arc<PostgresTier>> {
    PostgresTier::connect(config, SystemClock::shared()).await
}

/// From the call of a removal until the reader of another tier has it.
async fn lag(config: &PostgresConfig) -> Result<()> {
    for (name, poll) in
        [("woken", Span::secs(60)), ("woken, or by a poll of 50 ms", Span::millis(50))]
    {
        let reader = connect(&PostgresConfig { log_poll: poll, ..config.clone() }).await?;
        let (writer, log) = (connect(config).await?, reader.log().expect("it is on"));
        let mut position = log.end().await?;
        let mut lags = Vec::new();
        for i in 0..500 {
            let reading = tokio::spawn({
                let (log, position) = (Arc::clone(&log), position.clone());
                async move {
                    log.read(&position, Duration::from_secs(10))
                        .await
                        .map(|page| (page, Instant::now()))
                }
            });
            tokio::time::sleep(Duration::from_millis(10)).await;
            let begun = Instant::now();
            writer.remove(key(i)).await?;
            let (page, seen) = reading.await.expect("no panic")?;
            assert_eq!(page.notices.len(), 1);
            position = page.next;
            lags.push(seen - begun);
        }
        lags.sort_unstable();
        let at = |share: usize| lags[lags.len() * share / 100];
        println!(
            "{name}: seen after {:?} at the median, {:?} at p90, {:?} at p99",
            at(50),
            at(90),
            at(99)
        );
    }
    Ok(())
}

/// Rounds with and without the log in turn, so that both have the same neighbours.
async fn cost(config: &PostgresConfig) -> Result<()> {
    let off = PostgresConfig { log: PostgresLogging::Off, ..config.clone() };
    let (on, off) = (connect(config).await?, connect(&off).await?);
    for (name, work) in [
        ("removals", Work::Removals),
        ("inserts", Work::Inserts),
        ("removals of 100", Work::Batches),
    ] {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            rates[0].push(rate(&on, work).await?);
            rates[1].push(rate(&off, work).await?);
        }
        let [on, off] = rates.map(|mut rates| {
            rates.sort_by(f64::total_cmp);
            rates[ROUNDS / 2]
        });
        println!("{name}: {on:.0}/s with the log, {off:.0}/s without: {:.2}", on / off);
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Work {
    Removals,
    Inserts,
    Batches,
}

/// Keys a second, of callers that each do one thing after the other.
async fn rate(tier: &Arc<PostgresTier>, work: Work) -> Result<f64> {
    let begun = Instant::now();
    let callers = (0..CALLERS).map(|caller| async move {
        let mut done = 0_usize;
        while begun.elapsed() < ROUND {
            let nth = caller * 1_000 + done % 1_000;
            match work {
                Work::Removals => tier.remove(key(nth)).await?,
                Work::Inserts => {
                    let put = Put { key: key(nth), entry: entry(), condition: Condition::Always };
                    tier.put_many(&[put]).await?;
                }
                Work::Batches => {
                    let removals: Vec<Removal> =
                        (0..100).map(|i| key(caller * 1_000 + (done + i) % 1_000).into()).collect();
                    tier.remove_many(&removals).await?;
                    done += 99;
                }
            }
            done += 1;
        }
        Result::Ok(done)
    });
    let done: usize = try_join_all(callers).await?.into_iter().sum();
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}

fn key(nth: usize) -> Key {
    let namespace = Namespace::new("log_cost").expect("it is short and plain");
    namespace.key(&nth.to_string()).expect("so is this")
}

fn entry() -> Entry {
    let ttl = Ttl::fresh(Duration::from_secs(60));
    Entry::new(vec![7; 300].into(), CodecId(3), SystemClock::shared().now(), ttl)
}
