//! The log of changes: in the order of commits, nothing missed, nothing held up.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use cache_core::{
    Author, Change, ErrorKind, Key, Log, Namespace, Notice, Position, Span, Tier, TierExt,
};
use cache_postgres::{PostgresConfig, PostgresLogging, PostgresTier};
use diesel_async::SimpleAsyncConnection;
use futures::future::join_all;

use crate::support::{Place, key, mark, namespace, read};

/// Long enough for the slowest machine; what is there is answered at once.
const WAIT: Duration = Duration::from_secs(20);

fn log_of(tier: &PostgresTier) -> Arc<dyn Log> {
    tier.log().unwrap()
}

/// All that is in the log after `position`, which moves to its end.
async fn drain(log: &dyn Log, position: &mut Position) -> Vec<Notice> {
    let mut notices = Vec::new();
    loop {
        let page = log.read(position, Duration::ZERO).await.unwrap();
        assert!(!page.gap);
        *position = page.next;
        if page.notices.is_empty() {
            return notices;
        }
        notices.extend(page.notices);
    }
}

fn changes(notices: &[Notice]) -> Vec<Change> {
    notices.iter().map(|notice| notice.change.clone()).collect()
}

fn of_keys(texts: &[&str]) -> Vec<Change> {
    texts.iter().map(|text| Change::Key(key(text))).collect()
}

#[tokio::test]
async fn what_changes_is_told_with_its_fence_and_fills_are_not() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let log = log_of(&tier);
    assert_eq!(&**log.tier(), "postgres");
    let mut position = log.end().await.unwrap();
    let entry = place.entry("v");

    let unseen = tier.get(&key("filled")).await.unwrap().fence;
    tier.fill(key("filled"), entry.clone(), unseen).await.unwrap();
    assert_eq!(drain(&*log, &mut position).await, []);

    tier.put(key("inserted"), entry.clone()).await.unwrap();
    tier.remove(key("removed")).await.unwrap();
    log.beat().await.unwrap();
    tier.clear(&namespace()).await.unwrap();
    let told = drain(&*log, &mut position).await;
    let mut expected = of_keys(&["inserted", "removed"]);
    expected.extend([Change::Beat, Change::Clear(namespace())]);
    assert_eq!(changes(&told), expected);
    let digests: Vec<u32> = told.iter().map(|notice| notice.digest).collect();
    assert_eq!(digests, [entry.digest(), 0, 0, 0]);
    assert!(told[0].mark < told[1].mark && told[1].mark < told[3].mark);
    assert_eq!(mark(&tier.get(&key("any")).await.unwrap().fence), told[3].mark);
    let now = place.shared_clock().now();
    assert!(told.iter().all(|notice| notice.at == now && notice.author == Author::Cache));
}

#[tokio::test]
async fn a_removal_and_its_notice_are_one_step() {
    let Some(place) = Place::from_env() else { return };
    let config = PostgresConfig { statement_timeout: Span::millis(400), ..place.config() };
    let tier = place.connect(&config).await.unwrap();
    let log = log_of(&tier);
    tier.put(key("k"), place.entry("v")).await.unwrap();
    let mut position = log.end().await.unwrap();

    let mut in_the_way = place.connection().await;
    in_the_way.batch_execute("BEGIN; LOCK TABLE notices IN EXCLUSIVE MODE").await.unwrap();
    assert_eq!(tier.remove(key("k")).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(tier.clear(&namespace()).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(tier.put(key("k"), place.entry("w")).await.unwrap_err().kind(), ErrorKind::Timeout);
    in_the_way.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(read(&*tier, &key("k")).await.as_deref(), Some("v"));
    assert_eq!(drain(&*log, &mut position).await, []);

    tier.remove(key("k")).await.unwrap();
    let told = drain(&*log, &mut position).await;
    assert_eq!(changes(&told), of_keys(&["k"]));
    assert_eq!(mark(&tier.get(&key("k")).await.unwrap().fence), told[0].mark);
}

#[tokio::test]
async fn a_long_transaction_does_not_hold_up_the_log() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let log = log_of(&tier);
    let mut position = log.end().await.unwrap();
    let mut long = place.connection().await;
    long.batch_execute("BEGIN; SELECT invalidate('test', 'long')").await.unwrap();
    for round in 0..3 {
        let text = round.to_string();
        tier.remove(key(&text)).await.unwrap();
        assert_eq!(changes(&drain(&*log, &mut position).await), of_keys(&[&text]));
    }
    long.batch_execute("COMMIT").await.unwrap();
    assert_eq!(changes(&drain(&*log, &mut position).await), of_keys(&["long"]));
}

/// A notice stays for its time after the commit, however long its transaction was.
#[tokio::test]
async fn a_late_commit_is_not_swept_before_it_was_read() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let log = log_of(&tier);
    let mut position = log.end().await.unwrap();
    let mut long = place.connection().await;
    let ask = "BEGIN; SELECT invalidate('test', 'long'); SET CONSTRAINTS ALL IMMEDIATE";
    long.batch_execute(ask).await.unwrap();
    tier.remove(key("short")).await.unwrap();
    drain(&*log, &mut position).await;
    for _ in 0..3 {
        place.clock.advance(Duration::from_secs(400));
        tier.sweep().await.unwrap();
        assert_eq!(drain(&*log, &mut position).await, [], "nor is there a gap");
    }
    assert_eq!(place.number("SELECT count(*) FROM notices").await, 0, "`short` is swept");
    long.batch_execute("COMMIT").await.unwrap();
    tier.sweep().await.unwrap();
    assert_eq!(changes(&drain(&*log, &mut position).await), of_keys(&["long"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_never_missed() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let log = log_of(&tier);
    let start = log.end().await.unwrap();
    let mut long = place.connection().await;
    long.batch_execute("BEGIN; SELECT invalidate('test', 'long')").await.unwrap();

    // Each writer has two transactions, of which the older one commits last; some roll back.
    let writers = (0..6).map(|writer| {
        let (tier, url, schema) = (tier.clone(), place.url.clone(), place.schema.clone());
        tokio::spawn(async move {
            let place = [&url, &schema];
            let (mut one, mut two) = (connect(place).await, connect(place).await);
            for round in 0..20 {
                let ask = |which| {
                    format!("BEGIN; SELECT {schema}.invalidate('test', '{which} {writer} {round}')")
                };
                one.batch_execute(&ask("late")).await.unwrap();
                two.batch_execute(&ask("early")).await.unwrap();
                tier.remove(key(&format!("tier {writer} {round}"))).await.unwrap();
                let is_undone = round % 5 == 4;
                two.batch_execute(if is_undone { "ROLLBACK" } else { "COMMIT" }).await.unwrap();
                one.batch_execute(if is_undone { "ROLLBACK" } else { "COMMIT" }).await.unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut expected = BTreeSet::new();
    for (writer, round) in (0..6).flat_map(|writer| (0..20).map(move |round| (writer, round))) {
        expected.insert(key(&format!("tier {writer} {round}")));
        if round % 5 != 4 {
            expected.insert(key(&format!("early {writer} {round}")));
            expected.insert(key(&format!("late {writer} {round}")));
        }
    }

    let mut position = start.clone();
    let mut told: Vec<Notice> = Vec::new();
    while told.len() < expected.len() {
        let page = log.read(&position, WAIT).await.unwrap();
        assert!(!page.gap && !page.notices.is_empty(), "nothing more comes: {}", told.len());
        told.extend(page.notices);
        position = page.next;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(drain(&*log, &mut position).await, []);
    let keys: BTreeSet<Key> = told.iter().map(key_of).collect();
    assert_eq!((keys, told.len()), (expected, told.len()), "each, and once");

    long.batch_execute("COMMIT").await.unwrap();
    assert_eq!(changes(&drain(&*log, &mut position).await), of_keys(&["long"]));
    let again = drain(&*log, &mut start.clone()).await;
    assert_eq!(again.len(), told.len() + 1, "and all of it once more from the beginning");
}

async fn connect([url, schema]: [&String; 2]) -> diesel_async::AsyncPgConnection {
    use diesel_async::AsyncConnection;
    let mut connection = diesel_async::AsyncPgConnection::establish(url).await.unwrap();
    connection.batch_execute(&format!("SET search_path TO {schema}")).await.unwrap();
    connection
}

fn key_of(notice: &Notice) -> Key {
    match &notice.change {
        Change::Key(key) => key.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn notices_of_one_key_come_in_the_order_of_their_marks() {
    let Some(place) = Place::from_env() else { return };
    let tiers = join_all((0..3).map(|_| place.tier())).await;
    let log = log_of(&tiers[0]);
    let mut position = log.end().await.unwrap();
    let keys = [key("k")];
    let writers =
        join_all(
            (0..60).map(|i| {
                let (tier, keys) = (&tiers[i % 3], &keys);
                async move {
                    tier.remove_many(&[keys[0].clone().into(), key(&i.to_string()).into()]).await
                }
            }),
        );
    let reading = async {
        let mut marks = Vec::new();
        while marks.len() < 60 {
            let page = log.read(&position, WAIT).await.unwrap();
            position = page.next;
            let ours = page.notices.iter().filter(|notice| key_of(notice) == keys[0]);
            marks.extend(ours.map(|notice| notice.mark));
        }
        marks
    };
    let (written, marks) = tokio::join!(writers, reading);
    assert!(written.iter().all(Result::is_ok));
    assert!(marks.is_sorted(), "{marks:?}");
}

#[tokio::test]
async fn a_long_log_comes_in_pages() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let log = log_of(&tier);
    let mut position = log.end().await.unwrap();
    let keys: Vec<Key> = (0..5_000).map(|i| key(&format!("k{i:04}"))).collect();
    let removals: Vec<_> = keys.iter().cloned().map(Into::into).collect();
    tier.remove_many(&removals).await.unwrap();
    let first = log.read(&position, Duration::ZERO).await.unwrap();
    assert!(first.notices.len() < 5_000);
    // What comes meanwhile is told after the rest, and not twice.
    tier.remove(key("after")).await.unwrap();
    let told = drain(&*log, &mut position).await;
    assert_eq!(told[..first.notices.len()], first.notices);
    let told: Vec<Key> = told.iter().map(key_of).collect();
    assert_eq!(told[..5_000], keys);
    assert_eq!(told[5_000..], [key("after")]);
}

#[tokio::test]
async fn a_reader_that_was_away_too_long_is_told_of_a_gap() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let log = log_of(&tier);
    let before = log.end().await.unwrap();
    tier.remove(key("missed")).await.unwrap();
    tier.sweep().await.unwrap();
    place.clock.advance(Duration::from_secs(599));
    tier.sweep().await.unwrap();
    let mut after = before.clone();
    assert_eq!(drain(&*log, &mut after).await.len(), 1, "it is still there");

    place.clock.advance(Duration::from_secs(2));
    tier.sweep().await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM notices").await, 0);
    let page = log.read(&before, WAIT).await.unwrap();
    assert!(page.gap && page.notices.is_empty());
    let mut position = page.next;
    assert_eq!(drain(&*log, &mut position).await, [], "it is told once");
    assert_eq!(drain(&*log, &mut after).await, [], "this one has missed nothing");
    tier.remove(key("k")).await.unwrap();
    assert_eq!(changes(&drain(&*log, &mut position).await), of_keys(&["k"]));
}

#[tokio::test]
async fn a_log_that_grows_too_long_is_cut() {
    let Some(place) = Place::from_env() else { return };
    let config = PostgresConfig { log_len_max: 100, ..place.config() };
    let tier = place.connect(&config).await.unwrap();
    let log = log_of(&tier);
    let before = log.end().await.unwrap();
    for _ in 0..3 {
        let removals: Vec<_> = (0..60).map(|i| key(&i.to_string()).into()).collect();
        tier.remove_many(&removals).await.unwrap();
        place.clock.advance(Duration::from_secs(1));
        tier.sweep().await.unwrap();
    }
    assert_eq!(place.number("SELECT count(*) FROM notices").await, 60);
    assert!(log.read(&before, WAIT).await.unwrap().gap);
}

#[tokio::test]
async fn a_position_of_elsewhere_is_a_gap() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let log = log_of(&tier);
    let end = log.end().await.unwrap();
    let (life, _) = end.as_str().split_once('/').unwrap();
    let ahead = format!("{life}/9000000000000000:9000000000000000:");
    let of_another = "00000000-0000-0000-0000-000000000000/1:1:";
    for text in ["", "0-0", "$", &ahead, of_another, &format!("{life}/1:x:")] {
        let page = log.read(&Position::new(text), WAIT).await.unwrap();
        assert!(page.gap, "{text}");
        assert!(!log.read(&page.next, Duration::ZERO).await.unwrap().gap, "{text}: once");
    }
}

/// A crash empties unlogged tables; it may also have taken commits back that readers have seen.
#[tokio::test]
async fn a_server_that_crashed_begins_another_life() {
    let Some(place) = Place::from_env() else { return };
    let before = log_of(&*place.tier().await).end().await.unwrap();
    place.execute("DELETE FROM lives").await;
    let log = log_of(&*place.tier().await);
    let page = log.read(&before, WAIT).await.unwrap();
    assert!(page.gap);
    assert!(!log.read(&page.next, Duration::ZERO).await.unwrap().gap);
}

/// A restored dump: its transactions have numbers that this server will give out again.
#[tokio::test]
async fn a_dump_that_was_restored_on_another_server_works_there() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let before = log_of(&tier).end().await.unwrap();
    tier.remove(key("k")).await.unwrap();
    tier.sweep().await.unwrap();
    tier.close().await.unwrap();
    place
        .execute(
            "UPDATE lives SET system = 1; \
             UPDATE notices SET xid = '8000000000000000'; \
             UPDATE notice_state SET trimmed = '8000000000000000:8000000000000000:'; \
             UPDATE notice_snapshots SET snapshot = '8000000000000000:8000000000000000:'",
        )
        .await;
    let tier = place.tier().await;
    let log = log_of(&tier);
    let page = log.read(&before, WAIT).await.unwrap();
    assert!(page.gap);
    assert_eq!(changes(&page.notices), of_keys(&["k"]), "what is left is told");
    let mut position = page.next;
    assert_eq!(drain(&*log, &mut position).await, []);
    tier.remove(key("l")).await.unwrap();
    assert_eq!(changes(&drain(&*log, &mut position).await), of_keys(&["l"]));
    tier.sweep().await.unwrap();
    place.clock.advance(Duration::from_secs(601));
    tier.sweep().await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM notices").await, 0);
}

#[tokio::test]
async fn a_quiet_log_answers_an_empty_page_after_the_wait() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let log = log_of(&tier);
    let end = log.end().await.unwrap();
    let page = log.read(&end, Duration::from_millis(30)).await.unwrap();
    assert!(page.notices.is_empty() && !page.gap);
}

/// With the poll out of the way, only the wake-up is left.
#[tokio::test]
async fn a_reader_is_woken_by_another_process() {
    let Some(place) = Place::from_env() else { return };
    let config = PostgresConfig { log_poll: Span::secs(3_000), ..place.config() };
    let (reader, writer) = (place.connect(&config).await.unwrap(), place.tier().await);
    let log = log_of(&reader);
    let mut position = log.end().await.unwrap();
    for round in 0..5 {
        let removal = async {
            // The first wake-up may come before the reader listens; it looks when it does.
            writer.remove(key(&round.to_string())).await.unwrap();
        };
        let wait = Duration::from_secs(3_000);
        let (page, ()) = tokio::join!(log.read(&position, wait), removal);
        let page = page.unwrap();
        assert_eq!(changes(&page.notices), of_keys(&[&round.to_string()]));
        position = page.next;
    }
}

#[tokio::test]
async fn a_connection_that_listens_is_replaced_and_lasts_no_longer_than_its_tier() {
    let Some(place) = Place::from_env() else { return };
    let name = place.schema.clone();
    let config = PostgresConfig {
        log_poll: Span::secs(3_000),
        ..place.config_with(&format!("application_name={name}"))
    };
    let listening =
        format!("FROM pg_stat_activity WHERE application_name = '{name}' AND query LIKE 'LISTEN%'");
    let count = format!("SELECT count(*) {listening}");
    let (reader, writer) = (place.connect(&config).await.unwrap(), place.tier().await);
    assert_eq!(place.number(&count).await, 0, "nobody reads yet");
    let log = log_of(&reader);
    let end = log.end().await.unwrap();
    let reading = tokio::spawn({
        let log = Arc::clone(&log);
        async move { log.read(&end, Duration::from_secs(3_000)).await }
    });
    while place.number(&count).await == 0 {
        tokio::task::yield_now().await;
    }
    place.number(&format!("SELECT count(pg_terminate_backend(pid)) {listening}")).await;
    writer.remove(key("k")).await.unwrap();
    let page = reading.await.unwrap().unwrap();
    assert_eq!(changes(&page.notices), of_keys(&["k"]));

    reader.close().await.unwrap();
    let left = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'");
    while place.number(&left).await > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(log.end().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(log.read(&page.next, WAIT).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_log_that_is_off_is_not_there_and_nothing_is_told() {
    let Some(place) = Place::from_env() else { return };
    let config = PostgresConfig { log: PostgresLogging::Off, ..place.config() };
    let tier = place.connect(&config).await.unwrap();
    assert!(tier.log().is_none());
    tier.put(key("k"), place.entry("v")).await.unwrap();
    tier.remove(key("k")).await.unwrap();
    tier.clear(&Namespace::new("n").unwrap()).await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM notices").await, 0);
}
