use super::*;
use crate::trace::Request;

fn of(bytes: &[u8]) -> Result<Trace> {
    read_from("t", bytes, &ReadOptions::default())
}

#[track_caller]
fn refused(bytes: &[u8], told: &str) {
    let error = of(bytes).unwrap_err().to_string();
    assert!(error.contains(told), "{error}");
}

#[test]
fn a_plain_and_a_compressed_file_are_the_same_trace() {
    let plain = b"7\n8\r\n7\n9";
    let packed = zstd::encode_all(&plain[..], 1).unwrap();
    for bytes in [&plain[..], &packed] {
        assert_eq!(of(bytes).unwrap().ids(), [0, 1, 0, 2]);
    }
}

#[test]
fn columns_come_in_any_order_and_others_are_ignored() {
    let text = "\u{feff}cost, user,KEY,ttl,time,size\n5,u,a,0.5,1.25,100\n,u,b,,2,0\n";
    let trace = of(text.as_bytes()).unwrap();
    let first = trace.request(0);
    assert_eq!(
        Request { hash: 0, ..first },
        Request { hash: 0, size: 100, time_ms: 1_250, ttl_ms: 500, cost: 5 }
    );
    let second = trace.request(1);
    assert_eq!((second.size, second.ttl_ms, second.cost), (1, 0, 0));
    assert_eq!(trace.columns(), crate::Columns { size: true, time: true, ttl: true, cost: true });
    // A column alone.
    assert_eq!(of(b"key\na\nb\n").unwrap().keys_len(), 2);
    assert_eq!(of(b"time_ms,key\n7,\"a,b\"\n").unwrap().request(0).time_ms, 7);
}

#[test]
fn a_trace_of_nothing_is_refused() {
    for nothing in [&b""[..], b"\n", b"key\n", b"time,key\n"] {
        refused(nothing, "the trace is empty");
    }
    refused(&zstd::encode_all(&b""[..], 1).unwrap(), "the trace is empty");
}

#[test]
fn a_malformed_line_is_refused_by_its_number() {
    refused(b"a\n\nb\n", "line 2: the line is empty");
    refused(b"a\nb\n\xff\xfe\n", "line 3: this is not UTF-8");
    refused(b"key,size\na,1\nb,many\n", "line 3: `size` is \"many\"");
    refused(b"key,size\na,1\nb,-1\n", "line 3: `size` is \"-1\"");
    refused(b"key,ttl\na,inf\n", "line 2: `ttl` is \"inf\"");
    refused(b"key,size\na,1\nb\n", "line 3: 1 fields, where the heading has 2");
    refused(b"key,size\n,1\n", "line 2: the key is empty");
    refused(b"key,size,size\na,1,1\n", "line 1: the column `size` is named more than once");
}

#[test]
fn a_key_of_a_megabyte_is_refused_by_its_line() {
    let mut text = b"a\n".to_vec();
    text.extend(vec![b'x'; 1 << 20]);
    refused(&text, "line 2: longer than 65536 bytes");
    let mut text = b"key,size\nshort,1\n\"".to_vec();
    text.extend(vec![b'x'; 1 << 20]);
    text.extend(b"\",1\n");
    refused(&text, "line 3: longer than 65536 bytes");
    // The longest that is taken.
    assert_eq!(of(&[b'x'; LINE_LEN_MAX]).unwrap().len(), 1);
}

#[test]
fn a_binary_file_is_refused_as_one() {
    refused(b"\x7fELF\x02\x01\x01\0\0\0\0\n", "binary file");
    refused(b"key,size\n\0\x01,1\n", "binary file");
    let mut cut = zstd::encode_all(&b"a\nb\n".repeat(1_000)[..], 1).unwrap();
    cut.truncate(cut.len() - 4);
    refused(&cut, "cannot read the trace `t`");
}

#[test]
fn whoever_watches_can_stop_it() {
    let options = ReadOptions { advanced: &|bytes| bytes == 0, ..ReadOptions::default() };
    let error = read_from("t", &b"a\n"[..], &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = read(Path::new("none.keys"), &ReadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("none.keys"), "{error}");
}

#[test]
fn the_access_log_of_a_cache_is_a_trace() {
    use std::sync::Arc;

    use cache_core::{AccessLog, AccessLogConfig, Cache, ManualClock, Recording};

    let home = tempfile::tempdir().unwrap();
    let config = AccessLogConfig {
        sample: 1.0,
        recording: Recording::Always,
        ..AccessLogConfig::new(home.path())
    };
    let log = AccessLog::open(config, Arc::new(ManualClock::new())).unwrap();
    let cache: Cache<u32> = Cache::builder("n").access_log(log).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        for key in ["a", "b", "a", "c"] {
            let load = || async { Ok::<_, std::convert::Infallible>(7) };
            cache.get_or_load(key, load).await.unwrap();
        }
    });
    drop(cache);
    drop(runtime);
    let path = home.path().join("access.log");
    let trace = read(&path, &ReadOptions::default()).unwrap();
    assert_eq!(trace.ids(), [0, 1, 0, 2]);
    assert_eq!(trace.request(0).size, trace.request(2).size, "of a near hit: as it was loaded");
    assert_eq!((trace.request(0).ttl_ms, trace.rate()), (300_000, 1.0));
    assert!(trace.remarks().is_empty());

    let bytes = std::fs::read(path).unwrap();
    let torn = of(&bytes[..bytes.len() - 1]).unwrap_err().to_string();
    assert!(torn.contains("the trace is empty"), "{torn}");
    let cut = [&bytes[..], b"rest"].concat();
    assert!(of(&cut).unwrap().remarks()[0].contains("torn at byte"));
}
