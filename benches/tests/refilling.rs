//! A Redis that was flushed under load is refilled from PostgreSQL, and no copy overwrites a write.

use std::{process::Command, time::Duration};

use anyhow::Result;
use cache_benches::refill::{Part, Reads, Settings, run};
use cache_core::testkit::{left_out, service_url, unique_name};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushed_redis_is_refilled_from_postgres_without_the_source() -> Result<()> {
    let test = "a_flushed_redis_is_refilled_from_postgres_without_the_source";
    let Some(database_url) = service_url("DATABASE_URL", test) else { return Ok(()) };
    if Command::new("redis-server").arg("--version").output().is_err() {
        left_out(test, "no redis-server on the PATH");
        return Ok(());
    }
    let schema = unique_name("refill");
    let settings = Settings {
        database_url: database_url.clone(),
        schema: schema.clone(),
        keys: 3_000,
        reads: Reads::Zipf,
        readers: 4,
        think: Duration::from_millis(2),
        watch: Duration::from_secs(1),
        parts: vec![
            Part::Refill(1),
            Part::Unwell(Duration::from_secs(1)),
            Part::Fight(Duration::from_secs(4)),
        ],
    };
    let figures = run(&settings).await;
    let (client, connection) =
        tokio_postgres::connect(&database_url, tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    client.batch_execute(&format!("DROP SCHEMA \"{schema}\" CASCADE")).await?;
    drop(client);
    connection.await??;

    let figures = figures?;
    println!("{figures}");
    let refilled = figures.refilled.as_ref().expect("it was asked for");
    assert_eq!(refilled.source_calls, 0, "PostgreSQL has every key");
    let [round] = &refilled.rounds[..] else { panic!("one round was asked for: {figures}") };
    assert!(refilled.hit_ratio_before - round.hit_ratio_after <= 0.01, "{figures}");
    let report = &round.report;
    assert_eq!((report.failed_keys(), report.done()), (0, 3_000), "{figures}");
    for (ailment, report) in &figures.unwell {
        assert!(report.loaded > 0 && report.failed_keys() > 0, "{ailment}: {report}");
    }
    let fought = figures.fought.expect("it was asked for");
    assert_eq!(fought.overwritten, 0, "{figures}");
    assert!(fought.writes > 0 && fought.copied > 0, "{figures}");
    Ok(())
}
