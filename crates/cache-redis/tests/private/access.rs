//! Ways in: passwords, access rules, databases, sockets, protocols.

use std::time::Duration;

use bb8_redis::redis;
use cache_core::{Error, ErrorKind, PutOutcome, Tier, TierExt};
#[cfg(feature = "tls")]
use cache_core::{ServerUrl, SystemClock, testkit::left_out};
#[cfg(feature = "tls")]
use cache_redis::RedisConfig;
use cache_redis::RedisTier;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

#[cfg(feature = "tls")]
use crate::server::free_port;
use crate::{
    entry, key,
    lease::eventually_heard,
    payload,
    server::{PATIENCE, PrivateRedis},
};

/// Checks that what is said to a person has no password in it, and what else it has.
fn check(error: &Error, kind: ErrorKind, mentions: &str) {
    let text = format!("{error} {error:?}");
    assert_eq!(error.kind(), kind, "{text}");
    assert!(text.contains(mentions), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn a_wrong_password_is_denied_and_not_repeated() {
    let arguments = ["--requirepass", "right"];
    let Some(server) = PrivateRedis::start("a Redis password", &arguments) else { return };
    let with = |user: &str| server.url().replace("//", &format!("//{user}@"));
    RedisTier::open(&with(":right")).await.unwrap();
    RedisTier::open(&(with(":right") + "?protocol=resp2")).await.unwrap();
    for url in [
        server.url(),
        server.url() + "?protocol=resp2",
        with(":s3cret"),
        with(":s3cret") + "?protocol=resp2",
        with("nobody:s3cret"),
    ] {
        check(&RedisTier::open(&url).await.unwrap_err(), ErrorKind::Denied, "redis.url");
    }
}

#[tokio::test]
async fn the_documented_access_rule_is_enough() {
    let Some(server) = PrivateRedis::start("a Redis access rule", &[]) else { return };
    let rule = "ACL SETUSER cache on >right ~cache:* &cache:* +mget +get +getrange +set +unlink \
                +pttl +evalsha +script|load +scan +info +ping +hello +auth +select +xadd +xread \
                +publish +subscribe";
    let words: Vec<&str> = rule.split_whitespace().collect();
    let mut raw = server.raw().await;
    redis::cmd(words[0]).arg(&words[1..]).exec_async(&mut raw).await.unwrap();
    let url = server.url().replace("//", "//cache:right@");
    let tier = RedisTier::open(&url).await.unwrap();
    let key = key();
    tier.put(key.clone(), entry("v")).await.unwrap();
    let fence = tier.get(&key).await.unwrap().fence;
    let outcome = tier.fill(key.clone(), entry("w"), fence).await.unwrap();
    assert_eq!(outcome, PutOutcome::Stored);
    tier.remove(key.clone()).await.unwrap();
    tier.usage().await.unwrap();
    let log = tier.log().unwrap();
    let end = log.end().await.unwrap();
    tier.remove(key.clone()).await.unwrap();
    log.beat().await.unwrap();
    let page = log.read(&end, Duration::from_millis(1)).await.unwrap();
    assert_eq!((page.notices.len(), page.gap), (2, false));
    let leases = tier.leases().unwrap();
    let token = leases.acquire(&key, PATIENCE).await.unwrap().unwrap();
    assert!(leases.renew(&key, token, PATIENCE).await.unwrap());
    let released = async {
        eventually_heard(&mut raw, 1).await;
        leases.release(&key, token).await.unwrap();
    };
    let (waited, ()) = futures::join!(leases.wait(&key, PATIENCE), released);
    waited.unwrap();

    let less = ["ACL", "SETUSER", "cache", "-set"];
    redis::cmd(less[0]).arg(&less[1..]).exec_async(&mut raw).await.unwrap();
    check(&tier.put(key, entry("v")).await.unwrap_err(), ErrorKind::Denied, "+getrange +set");
}

#[tokio::test]
async fn databases_are_kept_apart_and_a_missing_one_is_named() {
    let Some(server) = PrivateRedis::start("a Redis database", &[]) else { return };
    let (zero, three) = (server.url(), server.url() + "/3");
    let (zero, three) =
        (RedisTier::open(&zero).await.unwrap(), RedisTier::open(&three).await.unwrap());
    let key = key();
    three.put(key.clone(), entry("v")).await.unwrap();
    assert_eq!(payload(&zero.get(&key).await.unwrap()), None);
    assert_eq!(payload(&three.get(&key).await.unwrap()), Some(&b"v"[..]));
    let error = RedisTier::open(&(server.url() + "/99")).await.unwrap_err();
    check(&error, ErrorKind::Config, "database number");
}

#[tokio::test]
async fn a_unix_socket_is_a_way_in() {
    let arguments = ["--unixsocket", "redis.sock"];
    let Some(server) = PrivateRedis::start("Redis on a Unix socket", &arguments) else { return };
    let tier = RedisTier::open(&format!("redis+unix://{}/redis.sock", server.dir())).await.unwrap();
    let key = key();
    tier.put(key.clone(), entry("v")).await.unwrap();
    assert_eq!(payload(&tier.get(&key).await.unwrap()), Some(&b"v"[..]));
    let absent = format!("redis+unix://{}/none.sock?pass=s3cret", server.dir());
    check(&RedisTier::open(&absent).await.unwrap_err(), ErrorKind::Unavailable, "redis.url");
}

/// Redis before version 6 does not know HELLO, and its error repeats the password.
#[tokio::test]
async fn a_server_of_the_older_protocol_is_understood() {
    let arguments = ["--rename-command", "HELLO", "", "--requirepass", "right"];
    let Some(server) = PrivateRedis::start("Redis without RESP3", &arguments) else { return };
    let with = |password: &str| server.url().replace("//", &format!("//:{password}@"));
    let tier = RedisTier::open(&with("right")).await.unwrap();
    let key = key();
    tier.put(key.clone(), entry("v")).await.unwrap();
    assert_eq!(payload(&tier.get(&key).await.unwrap()), Some(&b"v"[..]));
    let error = RedisTier::open(&with("s3cret")).await.unwrap_err();
    check(&error, ErrorKind::Denied, "redis.url");
    let error = RedisTier::open(&(with("s3cret") + "?protocol=resp3")).await.unwrap_err();
    check(&error, ErrorKind::Incompatible, "protocol");
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_a_configuration_error() {
    for url in [
        "",
        "localhost:6379",
        "http://localhost",
        "redis://:s3cret@/0",
        "redis://:s3cret@h/zero",
        "redis://:s3cret@h:99999",
        "redis://:s3cret/@h",
        "redis://:s3cret@h?protocol=4",
    ] {
        check(&RedisTier::open(url).await.unwrap_err(), ErrorKind::Config, "redis.url");
    }
}

#[tokio::test]
async fn what_is_not_redis_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://:s3cret@{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 16];
            stream.read_exact(&mut request).await.unwrap();
            // The other end may have gone by now.
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    check(&RedisTier::open(&url).await.unwrap_err(), ErrorKind::Config, "not Redis");
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn tls_to_a_server_without_it_is_told() {
    let Some(server) = PrivateRedis::start("TLS to a plain Redis", &[]) else { return };
    let url = server.url().replace("redis://", "rediss://:s3cret@");
    let error = RedisTier::open(&url).await.unwrap_err();
    check(&error, ErrorKind::Unavailable, "speaks TLS");
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn tls_trusts_the_authority_that_is_named_and_no_other() {
    let test = "TLS to Redis";
    let Some(certificate) = Certificate::new(test) else { return };
    let port = free_port().to_string();
    let (cert, key_file) = (certificate.path("cert.pem"), certificate.path("key.pem"));
    let arguments = [
        ["--tls-port", &port],
        ["--tls-cert-file", &cert],
        ["--tls-key-file", &key_file],
        ["--tls-ca-cert-file", &cert],
        ["--tls-auth-clients", "no"],
    ];
    let Some(_server) = PrivateRedis::start(test, arguments.as_flattened()) else { return };
    let config = |host: &str, ca_file: &str| RedisConfig {
        ca_file: Some(ca_file.into()),
        ..RedisConfig::new(format!("rediss://:s3cret@{host}:{port}?protocol=resp2"))
    };
    let open = async |config| RedisTier::connect(&config, SystemClock::shared()).await;

    let trusting = RedisConfig {
        url: ServerUrl::new(format!("rediss://127.0.0.1:{port}")),
        ..config("", &cert)
    };
    let tier = open(trusting).await.unwrap();
    let key = key();
    tier.put(key.clone(), entry("v")).await.unwrap();
    assert_eq!(payload(&tier.get(&key).await.unwrap()), Some(&b"v"[..]));

    let public = RedisConfig { ca_file: None, ..config("127.0.0.1", "") };
    check(&open(public).await.unwrap_err(), ErrorKind::Config, "UnknownIssuer");
    // The certificate is for the address, not for the name.
    let other = config("localhost", &cert);
    check(&open(other).await.unwrap_err(), ErrorKind::Config, "redis.ca_file");
    let none = config("127.0.0.1", "/nowhere/ca.pem");
    check(&open(none).await.unwrap_err(), ErrorKind::Config, "/nowhere/ca.pem");
    let bad = config("127.0.0.1", &key_file);
    check(&open(bad).await.unwrap_err(), ErrorKind::Config, "redis.");
    let plain =
        RedisConfig { url: ServerUrl::new("redis://:s3cret@127.0.0.1"), ..config("", &cert) };
    check(&open(plain).await.unwrap_err(), ErrorKind::Config, "redis.ca_file");
}

/// A certificate for 127.0.0.1 that has signed itself, and its key.
#[cfg(feature = "tls")]
struct Certificate(tempfile::TempDir);

#[cfg(feature = "tls")]
impl Certificate {
    fn new(test: &str) -> Option<Self> {
        let dir = tempfile::TempDir::new().unwrap();
        let command = "req -x509 -newkey rsa:2048 -nodes -subj /CN=cache -days 2 \
                       -addext subjectAltName=IP:127.0.0.1 \
                       -addext basicConstraints=critical,CA:FALSE -keyout key.pem -out cert.pem";
        let mut openssl = std::process::Command::new("openssl");
        match openssl.args(command.split_whitespace()).current_dir(&dir).output() {
            Ok(made) if made.status.success() => Some(Self(dir)),
            _ => {
                left_out(test, "no openssl on the PATH to make a certificate with");
                None
            }
        }
    }

    fn path(&self, file: &str) -> String {
        self.0.path().join(file).to_str().unwrap().to_owned()
    }
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn tls_in_a_program_without_it_is_told() {
    let error = RedisTier::open("rediss://:s3cret@localhost").await.unwrap_err();
    check(&error, ErrorKind::Config, "built without TLS");
}
