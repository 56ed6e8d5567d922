//! A server that goes away, and comes back.

use std::{sync::Arc, time::Duration};

use bb8_redis::redis;
use cache_core::{ErrorKind, PutOutcome, Span, SystemClock, Tier, TierExt};
use cache_redis::{RedisConfig, RedisTier};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{
    entry, key, payload,
    server::{PATIENCE, PrivateRedis, eventually, free_port},
};

#[tokio::test]
async fn a_server_that_was_killed_is_reached_again_after_its_restart() {
    let test = "a killed Redis comes back";
    let Some(mut server) = PrivateRedis::start(test, &[]) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let key = key();
    tier.put(key.clone(), entry("before")).await.unwrap();
    server.kill();
    for _ in 0..20 {
        let error = tier.get(&key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let error = tier.remove(key.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    server.restart();
    let found = eventually("get", async || tier.get(&key).await).await;
    assert_eq!(payload(&found), None, "the server came back empty");
    assert_eq!(tier.put(key.clone(), entry("after")).await.unwrap(), PutOutcome::Stored);
    assert_eq!(payload(&tier.get(&key).await.unwrap()), Some(&b"after"[..]));
}

/// The server closes idle connections (its setting `timeout`), or is restarted at night.
#[tokio::test]
async fn a_connection_that_was_closed_while_idle_fails_no_call() {
    let test = "an idle connection is closed";
    let Some(server) = PrivateRedis::start(test, &[]) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let mut raw = server.raw().await;
    // News of the end needs a moment to arrive, so a call that comes too early may fail. Unnoticed,
    // it would fail every time.
    for _ in 0..10 {
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes");
        kill.exec_async(&mut raw).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        if tier.put(key(), entry("v")).await.is_ok() {
            return;
        }
    }
    panic!("each call after a closed connection fails");
}

#[tokio::test]
async fn a_frozen_server_times_out_and_works_once_it_goes_on() {
    let Some(server) = PrivateRedis::start("a frozen Redis", &[]) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let key = key();
    tier.put(key.clone(), entry("v")).await.unwrap();
    server.freeze();
    let error = tier.get(&key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("redis.response_timeout"), "{error}");
    assert!(!error.may_have_happened(), "a read changes nothing");
    let error = tier.put(key.clone(), entry("late")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.may_have_happened(), "the server finds the put when it goes on");
    // Long enough for the connection to be given up: a new one gets no answer either.
    let mut kinds = Vec::new();
    while kinds.last() != Some(&ErrorKind::Unavailable) && kinds.len() < 100 {
        kinds.push(tier.get(&key).await.unwrap_err().kind());
    }
    assert!(kinds.contains(&ErrorKind::Unavailable), "{kinds:?}");
    server.thaw();
    let found = eventually("get", async || tier.get(&key).await).await;
    assert!(found.entry.is_some());
}

/// A firewall that forgets a connection says nothing to either end.
#[tokio::test]
async fn a_line_that_was_cut_without_a_word_is_replaced() {
    let Some(server) = PrivateRedis::start("a cut line", &[]) else { return };
    let proxy = Proxy::start(&server.url()).await;
    let config =
        RedisConfig { response_timeout: Span::millis(50), ..RedisConfig::new(proxy.url.clone()) };
    let tier = RedisTier::connect(&config, SystemClock::shared()).await.unwrap();
    let key = key();
    tier.put(key.clone(), entry("v")).await.unwrap();
    proxy.forget_connections();
    let error = tier.get(&key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let found = eventually("get", async || tier.get(&key).await).await;
    assert!(found.entry.is_some());
}

#[tokio::test]
async fn an_absent_server_is_named_at_once_and_without_its_password() {
    let url = format!("redis://cache:s3cret@127.0.0.1:{}", free_port());
    // With a long timeout: a refusal does not need to be waited for.
    let config = RedisConfig { connect_timeout: Span::secs(60), ..RedisConfig::new(url) };
    let connected =
        tokio::time::timeout(PATIENCE, RedisTier::connect(&config, SystemClock::shared())).await;
    let error = connected.expect("a refusal is not waited for").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.may_have_happened());
    let text = format!("{error} {error:?}");
    assert!(text.contains("cache:***@127.0.0.1") && text.contains("redis.url"), "{text}");
    assert!(text.contains("refused") && !text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn a_server_that_does_not_say_anything_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let config = RedisConfig { connect_timeout: Span::millis(20), ..RedisConfig::new(url) };
    let tier = RedisTier::connect_lazy(&config, SystemClock::shared()).unwrap();
    let error = tier.get(&key()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("redis.connect_timeout"), "{error}");
}

#[tokio::test]
async fn a_service_starts_while_its_server_is_down() {
    let test = "Redis is up later than its user";
    let Some(mut server) = PrivateRedis::start(test, &[]) else { return };
    server.kill();
    let config = RedisConfig::new(server.url());
    let tier: Arc<dyn Tier> = RedisTier::connect_lazy(&config, SystemClock::shared()).unwrap();
    assert_eq!(tier.ping().await.unwrap_err().kind(), ErrorKind::Unavailable);
    server.restart();
    eventually("ping", async || tier.ping().await).await;
}

#[tokio::test]
async fn a_thousand_callers_survive_an_outage() {
    let test = "an outage under load";
    let Some(mut server) = PrivateRedis::start(test, &[]) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let key = key();
    tier.put(key.clone(), entry("v")).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let callers: Vec<_> = (0..1_000)
        .map(|_| {
            let (tier, key, stopped) = (Arc::clone(&tier), key.clone(), stopped.clone());
            tokio::spawn(async move {
                loop {
                    let after_restart = *stopped.borrow();
                    match tier.get(&key).await {
                        Ok(_) if after_restart => return,
                        Ok(_) => {}
                        Err(error) => {
                            // The server comes back empty, which whoever knew it is told once.
                            let expected =
                                [ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::LostData];
                            assert!(expected.contains(&error.kind()), "{error}");
                        }
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    server.kill();
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.restart();
    stop.send_replace(true);
    let all = futures::future::try_join_all(callers);
    tokio::time::timeout(PATIENCE, all).await.expect("nobody hangs").unwrap();
}

#[tokio::test]
async fn a_closed_tier_says_so() {
    let Some(server) = PrivateRedis::start("a closed Redis tier", &[]) else { return };
    let tier = RedisTier::open(&server.url()).await.unwrap();
    let key = key();
    tier.put(key.clone(), entry("v")).await.unwrap();
    tier.close().await.unwrap();
    tier.close().await.unwrap();
    assert_eq!(tier.get(&key).await.unwrap_err().kind(), ErrorKind::Closed);
    let error = tier.put(key, entry("v")).await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_happened()), (ErrorKind::Closed, false));
    let mut raw = server.raw().await;
    eventually("the end of its connections", async || {
        let clients: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut raw).await.unwrap();
        match clients.matches("lib-name=cache-redis").count() + clients.lines().count() - 1 {
            0 => Ok(()),
            _ => Err(cache_core::Error::new(ErrorKind::Internal, clients)),
        }
    })
    .await;
}

/// Stands between a tier and its server, and can go silent.
struct Proxy {
    url: String,
    /// Connections of an older epoch carry nothing more, and are not closed.
    epoch: watch::Sender<u32>,
}

impl Proxy {
    async fn start(server: &str) -> Self {
        let server = server.strip_prefix("redis://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let (epoch, current) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (server, mut current) = (server.clone(), current.clone());
                current.mark_unchanged();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = current.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Self { url, epoch }
    }

    fn forget_connections(&self) {
        self.epoch.send_modify(|epoch| *epoch += 1);
    }
}
