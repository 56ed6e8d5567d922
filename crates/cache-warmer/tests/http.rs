//! The HTTP source against a small server on the loopback interface.
#![cfg(feature = "http")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use cache_core::{ByteSize, Cache, Span};
use cache_warmer::{
    HttpConfig, HttpSource, Mode, Plan, Source, SourceError, SourceErrorKind, Warmer, WarmerConfig,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

/// Answers by the last part of the path. Ends when it is dropped.
struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
    task: AbortHandle,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<String>>,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { address, seen, task: task.abort_handle() }
    }

    fn config(&self) -> HttpConfig {
        HttpConfig::new(format!("http://user:s3cret@{}/quote/{{key}}?token=s3cret", self.address))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request a connection.
async fn serve(mut stream: TcpStream, seen: Arc<Seen>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let request = String::from_utf8(request).expect("heads are text");
    let target = request.split(' ').nth(1).expect("GET TARGET").to_owned();
    let key = target.split(['/', '?']).nth(2).expect("/quote/KEY").to_owned();
    seen.requests.lock().push(request);
    let open = seen.open.fetch_add(1, Ordering::SeqCst) + 1;
    seen.most_open.fetch_max(open, Ordering::SeqCst);
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    let (status, body) = match key.as_str() {
        "hangs" => std::future::pending().await,
        "slow-body" => {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{";
            // Whether the client is still there is its business, here and below.
            let _ = stream.write_all(head.as_bytes()).await;
            std::future::pending().await
        }
        "cut" => return,
        "garbage" => ("200 OK", "<html>s3rver</html>".to_owned()),
        "nested" => ("200 OK", json!({"data": [{"price": 7}]}).to_string()),
        "large" => ("200 OK", json!({"price": 1, "pad": "x".repeat(2_000)}).to_string()),
        "nothing" => ("204 No Content", String::new()),
        "moved" => ("302 Found", String::new()),
        status if status.parse::<u16>().is_ok() => (status, String::new()),
        key => ("200 OK", json!({"key": key, "price": 187.5}).to_string()),
    };
    seen.open.fetch_sub(1, Ordering::SeqCst);
    // The large answer does not say how large it is.
    let length =
        if key == "large" { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let head = format!(
        "HTTP/1.1 {status}\r\n{length}location: http://127.0.0.1:1/\r\nconnection: close\r\n\r\n"
    );
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}

fn source(config: HttpConfig) -> Arc<dyn Source<Value>> {
    Arc::new(HttpSource::new(config).expect("the settings are fine"))
}

/// Why `key` cannot be had. No such error may hold a secret.
async fn failure(config: HttpConfig, key: &str) -> SourceError {
    let error = source(config).load(key).await.expect_err("it must fail");
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    error
}

#[tokio::test]
async fn values_come_from_the_service_into_the_cache() {
    let server = Server::start().await;
    let headers = BTreeMap::from([("X-Api-Key".to_owned(), "s3cret".to_owned())]);
    let source = source(HttpConfig { headers, ..server.config() });
    let cache: Cache<Value> = Cache::builder("price").build().unwrap();
    let warmer = Warmer::new(cache.clone(), source, WarmerConfig::default()).unwrap();
    let plan = Plan::new(["AAPL", "a/b?c", "404", "429"]).unwrap();
    let report = warmer.warm(&plan, Mode::Due).await;
    assert_eq!((report.loaded, report.missing_at_source), (2, 1));
    assert_eq!(report.failed["rejected_429"].keys, 1);
    let hit = cache.get("AAPL").await.unwrap().unwrap();
    assert_eq!(**hit.value(), json!({"key": "AAPL", "price": 187.5}));
    let hit = cache.get("a/b?c").await.unwrap().unwrap();
    assert_eq!(hit["key"], "a%2Fb%3Fc", "the key does not leave its place in the path");
    let requests = server.seen.requests.lock();
    assert!(requests.iter().all(|request| request.contains("x-api-key: s3cret")), "{requests:?}");
    assert!(requests.iter().all(|request| request.contains("token=s3cret")), "{requests:?}");
}

#[tokio::test]
async fn statuses_are_reasons_and_some_are_worth_a_retry() {
    let server = Server::start().await;
    for (key, retry) in [
        ("429", true),
        ("503", true),
        ("500", true),
        ("401", false),
        ("400", false),
        ("206", false),
    ] {
        let error = failure(server.config(), key).await;
        assert_eq!(error.kind(), SourceErrorKind::Rejected { status: key.parse().unwrap() });
        assert_eq!(error.is_retryable(), retry, "{key}");
        assert!(error.to_string().contains(&format!("for `{key}`: status {key}")), "{error}");
    }
    for key in ["404", "410", "nothing"] {
        assert!(source(server.config()).load(key).await.unwrap().is_none(), "{key}");
    }
}

#[tokio::test]
async fn a_redirection_is_not_followed() {
    let server = Server::start().await;
    let error = failure(server.config(), "moved").await;
    assert_eq!(error.kind(), SourceErrorKind::Rejected { status: 302 });
    assert!(error.to_string().contains("name their target in `url`"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_is_given_up_in_time() {
    let server = Server::start().await;
    for key in ["hangs", "slow-body"] {
        let error = failure(HttpConfig { timeout: Span::secs(2), ..server.config() }, key).await;
        assert_eq!(error.kind(), SourceErrorKind::TimedOut, "{error}");
        assert!(error.to_string().contains("no whole answer within 2s"), "{error}");
    }
}

#[tokio::test]
async fn garbage_is_malformed() {
    let server = Server::start().await;
    let error = failure(server.config(), "garbage").await;
    assert_eq!(error.kind(), SourceErrorKind::Malformed);
    let source: Arc<dyn Source<f64>> = Arc::new(HttpSource::new(server.config()).unwrap());
    let error = source.load("AAPL").await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Malformed, "JSON of another type");
}

#[tokio::test]
async fn a_pointer_finds_the_value_in_the_answer() {
    let server = Server::start().await;
    let config = || HttpConfig { pointer: Some("/data/0/price".to_owned()), ..server.config() };
    let source: Arc<dyn Source<u32>> = Arc::new(HttpSource::new(config()).unwrap());
    assert!(source.load("nested").await.unwrap().is_some());
    let error = failure(config(), "AAPL").await;
    assert_eq!(error.kind(), SourceErrorKind::Malformed);
    assert!(error.to_string().contains("an answer without `/data/0/price`"), "{error}");
}

#[tokio::test]
async fn an_answer_above_the_limit_is_not_read_to_its_end() {
    let server = Server::start().await;
    let config = HttpConfig { body_len_max: ByteSize::kib(1), ..server.config() };
    let error = failure(config, "large").await;
    assert_eq!(error.kind(), SourceErrorKind::TooLarge);
    assert!(error.to_string().contains("above 1KiB; raise `body_len_max`"), "{error}");
    assert!(source(server.config()).load("large").await.is_ok());
}

#[tokio::test]
async fn a_service_that_is_not_there_is_unreachable() {
    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = HttpConfig::new(format!("http://user:s3cret@{address}/{{key}}?s3cret"));
    let error = failure(config, "AAPL").await;
    assert_eq!(error.kind(), SourceErrorKind::Unreachable);
    assert!(error.to_string().contains("check that the service runs"), "{error}");
    let server = Server::start().await;
    let error = failure(server.config(), "cut").await;
    assert_eq!(error.kind(), SourceErrorKind::Unreachable);
}

#[tokio::test]
async fn questions_are_bounded_however_many_ask() {
    let server = Server::start().await;
    let source = source(HttpConfig { concurrency: 3, ..server.config() });
    let keys: Vec<String> = (0..20).map(|i| format!("K{i}")).collect();
    let (one, two) = tokio::join!(source.load_many(&keys), source.load_many(&keys));
    assert!(one.iter().chain(&two).all(Result::is_ok));
    assert_eq!(server.seen.requests.lock().len(), 40);
    assert!(server.seen.most_open.load(Ordering::SeqCst) <= 3);
}

#[tokio::test]
async fn a_key_that_no_path_can_hold_is_refused() {
    let server = Server::start().await;
    let error = failure(server.config(), "..").await;
    assert_eq!(error.kind(), SourceErrorKind::InvalidKey);
    assert!(server.seen.requests.lock().is_empty());
}
