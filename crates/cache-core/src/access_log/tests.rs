use std::{
    fs::{self, File},
    path::Path,
};

use super::*;
use crate::{Cache, ManualClock};

fn config(directory: &Path) -> AccessLogConfig {
    AccessLogConfig { sample: 1.0, recording: Recording::Always, ..AccessLogConfig::new(directory) }
}

fn open(config: AccessLogConfig) -> AccessLog {
    AccessLog::open(config, Arc::new(ManualClock::new())).unwrap()
}

fn note(log: &AccessLog, text: &str) {
    let namespace = Namespace::new("n").unwrap();
    log.note(&namespace, text, || AccessRead {
        outcome: AccessOutcome::Load,
        size: 300,
        ttl_ms: 5_000,
        load_cost_us: 70_000,
    });
}

fn read(path: &Path) -> (Vec<AccessRecord>, AccessLogReader<File>) {
    let mut reader = AccessLogReader::new(File::open(path).unwrap()).unwrap();
    let mut records = Vec::new();
    while let Some(mut block) = reader.next_block().unwrap() {
        records.append(&mut block);
    }
    (records, reader)
}

#[test]
fn what_is_noted_is_read_back_with_hashes_alone() {
    let home = tempfile::tempdir().unwrap();
    let log = open(config(home.path()));
    for text in ["a", "b", "a"] {
        note(&log, text);
    }
    drop(log);
    let (records, reader) = read(&home.path().join("access.log"));
    assert_eq!(records.len(), 3);
    assert_eq!(records[0].hash, records[2].hash);
    assert_ne!(records[0].hash, records[1].hash);
    let AccessRecord { outcome, size, ttl_ms, load_cost_us, ref key, .. } = records[1];
    assert_eq!((outcome, size, ttl_ms, load_cost_us), (AccessOutcome::Load, 300, 5_000, 70_000));
    assert_eq!((key, reader.keys(), reader.sample()), (&None, KeyForm::Hashed, 1.0));
    assert_eq!(reader.end(), Some(LogEnd::Whole));
    let bytes = fs::read(home.path().join("access.log")).unwrap();
    assert!(!bytes.windows(3).any(|part| part == b"n:a"), "no key is in the file");
}

#[test]
fn keys_are_written_when_that_is_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let log = open(AccessLogConfig { keys: KeyForm::Plain, ..config(home.path()) });
    note(&log, "a");
    drop(log);
    let (records, _) = read(&home.path().join("access.log"));
    assert_eq!(records[0].key.as_deref(), Some("n:a"));
}

#[test]
fn a_salt_makes_logs_comparable_and_chance_makes_them_not() {
    let home = tempfile::tempdir().unwrap();
    let hash_of = |name: &str, salt: Option<&str>| {
        let directory = home.path().join(name);
        let log = open(AccessLogConfig { salt: salt.map(str::to_owned), ..config(&directory) });
        note(&log, "a");
        drop(log);
        let (records, reader) = read(&directory.join("access.log"));
        (records[0].hash, reader.salt_sign())
    };
    assert_eq!(hash_of("1", Some("s")), hash_of("2", Some("s")));
    assert_ne!(hash_of("3", None), hash_of("4", None));
    let config = AccessLogConfig { salt: Some("secret".to_owned()), ..config(home.path()) };
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn a_sample_has_all_reads_of_its_keys_and_none_of_others() {
    let home = tempfile::tempdir().unwrap();
    let sampled =
        AccessLogConfig { sample: 0.25, salt: Some("s".to_owned()), ..config(home.path()) };
    let log = open(sampled);
    for i in 0..1_200 {
        note(&log, &format!("{}", i % 400));
    }
    drop(log);
    let (records, reader) = read(&home.path().join("access.log"));
    let keys: std::collections::HashSet<u64> = records.iter().map(|record| record.hash).collect();
    assert_eq!(records.len(), 3 * keys.len());
    assert!((70..130).contains(&keys.len()), "{}", keys.len());
    assert_eq!(reader.sample(), 0.25);
}

#[test]
fn it_records_while_the_switch_is_on_with_the_settings_of_the_switch() {
    let home = tempfile::tempdir().unwrap();
    let switched = || AccessLogConfig { recording: Recording::Switched, ..config(home.path()) };
    let log = open(switched());
    note(&log, "a");
    assert_eq!(log.stats(), AccessLogStats::default());
    drop(log);
    assert!(!home.path().join("access.log").exists());

    let switch = RecordingSwitch { sample: Some(0.5), keys: Some(KeyForm::Plain) };
    switch.turn_on(home.path()).unwrap();
    assert_eq!(RecordingSwitch::of(home.path()).unwrap(), Some(switch));
    let log = open(switched());
    assert!(log.stats().is_recording);
    drop(log);
    let (_, reader) = read(&home.path().join("access.log"));
    assert_eq!((reader.sample(), reader.keys()), (0.5, KeyForm::Plain));
    assert!(RecordingSwitch::turn_off(home.path()).unwrap());
    assert!(!RecordingSwitch::turn_off(home.path()).unwrap());
    assert!(!open(switched()).stats().is_recording);
}

#[test]
fn a_switch_that_says_nonsense_is_a_fault_that_is_told() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("recording"), "{\"sample\": 7}").unwrap();
    let log = open(AccessLogConfig { recording: Recording::Switched, ..config(home.path()) });
    let error = log.stats().last_error.unwrap();
    assert!(error.contains("`sample` is 7"), "{error}");
    // An empty one, as `touch` makes it, is one that is on.
    fs::write(home.path().join("recording"), "").unwrap();
    assert_eq!(RecordingSwitch::of(home.path()).unwrap(), Some(RecordingSwitch::default()));
}

#[test]
fn the_predecessor_is_kept_and_processes_do_not_share_a_file() {
    let home = tempfile::tempdir().unwrap();
    let (first, second) = (open(config(home.path())), open(config(home.path())));
    note(&first, "a");
    note(&second, "b");
    note(&second, "c");
    drop((first, second));
    assert_eq!(read(&home.path().join("access.log")).0.len(), 1);
    assert_eq!(read(&home.path().join("access-1.log")).0.len(), 2);
    drop(open(config(home.path())));
    assert_eq!(read(&home.path().join("access.log.1")).0.len(), 1);
    assert_eq!(read(&home.path().join("access.log")).0.len(), 0);
}

#[test]
fn a_torn_tail_is_left_out_and_told() {
    let home = tempfile::tempdir().unwrap();
    let log = open(config(home.path()));
    (0..300).for_each(|i| note(&log, &i.to_string()));
    drop(log);
    let whole = fs::read(home.path().join("access.log")).unwrap();
    let cut = home.path().join("cut");
    // 300 reads are two blocks at least, and the last has 256 at most.
    fs::write(&cut, &whole[..whole.len() - 1]).unwrap();
    let (records, reader) = read(&cut);
    assert!((44..300).contains(&records.len()), "{}", records.len());
    assert!(matches!(reader.end(), Some(LogEnd::Torn { at }) if at > format::HEADER_LEN as u64));
    // A header alone is an empty log, and less is none.
    fs::write(&cut, &whole[..format::HEADER_LEN]).unwrap();
    assert!(read(&cut).0.is_empty());
    let error = AccessLogReader::new(&whole[..9]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    // One of a later version says so.
    let mut later = whole;
    later[8] = 9;
    assert!(AccessLogReader::new(&*later).unwrap_err().to_string().contains("version 9"));
}

#[test]
fn settings_out_of_their_range_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let refused = |config: AccessLogConfig| {
        AccessLog::open(config, Arc::new(ManualClock::new())).unwrap_err().to_string()
    };
    let base = config(home.path());
    assert!(refused(AccessLogConfig { sample: 0.0, ..base.clone() }).contains("`sample` is 0"));
    let small = AccessLogConfig { bytes_max: ByteSize::kib(1), ..base.clone() };
    assert!(refused(small).contains("1MiB at least"));
    fs::write(home.path().join("file"), "").unwrap();
    let error = refused(AccessLogConfig { directory: home.path().join("file"), ..base });
    assert!(error.contains("cannot record reads"), "{error}");
}

#[tokio::test]
async fn a_cache_notes_how_each_read_was_answered() {
    let home = tempfile::tempdir().unwrap();
    let log = open(AccessLogConfig { keys: KeyForm::Plain, ..config(home.path()) });
    let cache: Cache<String> = Cache::builder("n")
        .access_log(log)
        .ttl(std::time::Duration::from_secs(60))
        .clock(Arc::new(ManualClock::new()))
        .build()
        .unwrap();
    cache.get("k").await.unwrap();
    let load = || async { Ok::<_, std::convert::Infallible>("value".to_owned()) };
    cache.get_or_load("k", load).await.unwrap();
    cache.get("k").await.unwrap();
    cache.get_many(["k", "x"]).await.unwrap();
    drop(cache);
    let (records, _) = read(&home.path().join("access.log"));
    let told: Vec<_> =
        records.iter().map(|record| (record.key.as_deref().unwrap(), record.outcome)).collect();
    use AccessOutcome::{Load, Near, Nothing};
    let expected =
        [("n:k", Nothing), ("n:k", Load), ("n:k", Near), ("n:k", Near), ("n:x", Nothing)];
    assert_eq!(told, expected);
    assert_eq!((records[2].ttl_ms, records[0].size), (60_000, 0));
    assert!(records[1].size > 100, "{records:?}");
    assert_eq!(records[1].size, records[2].size, "however it was found");
}

#[test]
fn of_reads_on_many_threads_each_is_written_or_counted_as_dropped() {
    let home = tempfile::tempdir().unwrap();
    let log = open(config(home.path()));
    let inner = Arc::clone(&log.0.inner);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let log = &log;
            scope.spawn(move || (0..20_000).for_each(|i| note(log, &format!("{thread}/{i}"))));
        }
    });
    drop(log);
    let (records, reader) = read(&home.path().join("access.log"));
    let written = inner.written.load(Ordering::Relaxed);
    let dropped = inner.dropped.load(Ordering::Relaxed);
    assert_eq!(written + dropped, 80_000);
    assert_eq!((records.len() as u64, reader.end()), (written, Some(LogEnd::Whole)));
}
