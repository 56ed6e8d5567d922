//! Invalidation by programs that know nothing but SQL, within their own transactions.

use std::time::Duration;

use cache_core::{
    Author, Change, CodecId, Entry, Key, Namespace, Notice, PutOutcome, Tier, TierExt, Ttl, Version,
};
use diesel::{result::Error, sql_types::Text};
use diesel_async::{AsyncConnection, SimpleAsyncConnection};

use crate::support::{Place, key, mark, namespace, read};

const NOTICES: &str = "SELECT count(*) FROM notices";

#[tokio::test]
async fn a_rollback_invalidates_nothing() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    tier.put(key("k"), place.entry("v")).await.unwrap();
    let before = tier.get(&key("k")).await.unwrap();
    let told = place.number(NOTICES).await;
    let mut program = place.connection().await;
    let asked = "BEGIN; CREATE TEMPORARY TABLE theirs (i integer); \
         SELECT invalidate('test', 'k'), invalidate_namespace('test')";
    program.batch_execute(asked).await.unwrap();
    assert_eq!(tier.get(&key("k")).await.unwrap(), before, "nothing before the commit");
    program.batch_execute("ROLLBACK").await.unwrap();
    let savepoint = "BEGIN; SAVEPOINT s; SELECT invalidate('test', 'k'); \
         ROLLBACK TO s; SELECT invalidate('test', 'other'); COMMIT";
    program.batch_execute(savepoint).await.unwrap();
    assert_eq!(tier.get(&key("k")).await.unwrap(), before);
    assert_eq!(place.number(NOTICES).await, told + 1, "that of `other`");
}

#[tokio::test]
async fn a_commit_removes_as_a_removal_does() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let log = tier.log().unwrap();
    let versioned = place.entry("v7").with_version(Some(Version(7)));
    tier.put(key("k"), versioned.clone()).await.unwrap();
    let seen = tier.get(&key("k")).await.unwrap().fence;
    let position = log.end().await.unwrap();
    place
        .execute("BEGIN; SELECT invalidate('test', 'k'); SELECT invalidate('test:k'); COMMIT")
        .await;

    assert_eq!(read(&*tier, &key("k")).await, None);
    let fence = tier.get(&key("k")).await.unwrap().fence;
    let late = tier.fill(key("k"), versioned, seen).await.unwrap();
    assert_eq!(late, PutOutcome::Superseded, "a load that began before");
    let older = place.entry("v6").with_version(Some(Version(6)));
    let lagging = tier.fill(key("k"), older, fence.clone()).await.unwrap();
    assert_eq!(lagging, PutOutcome::Superseded, "from a replica that lags");
    let told = log.read(&position, Duration::ZERO).await.unwrap().notices;
    let notice = Notice {
        change: Change::Key(key("k")),
        mark: mark(&fence),
        at: place.shared_clock().now(),
        author: Author::Application,
        digest: 0,
    };
    assert_eq!(told, [notice], "once, however often it was asked");
}

#[tokio::test]
async fn many_keys_a_tag_and_a_namespace_are_invalidated() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let tag = namespace().reserved("tags").key("sector:tech").unwrap();
    let generation =
        Entry::new("12345678".into(), CodecId(4), place.shared_clock().now(), Ttl::fresh(HOUR));
    let neighbour = Namespace::new("neighbour").unwrap().key("k").unwrap();
    for key in [key("a"), key("b"), key("c"), tag.clone(), neighbour.clone()] {
        tier.put(key, generation.clone()).await.unwrap();
    }
    place.execute("SELECT invalidate_many('test', ARRAY['b', 'a', 'a'])").await;
    place.execute("SELECT invalidate_tag('test', 'sector:tech')").await;
    for (key, is_left) in [(key("a"), false), (key("b"), false), (key("c"), true), (tag, false)] {
        assert_eq!(tier.get(&key).await.unwrap().entry.is_some(), is_left, "{key}");
    }
    place.execute("SELECT invalidate_namespace('test')").await;
    assert!(tier.get(&key("c")).await.unwrap().entry.is_none());
    assert!(tier.get(&neighbour).await.unwrap().entry.is_some());
    assert_eq!(place.number("SELECT count(*) FROM requests").await, 0);
}

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn invalidate_from_sql_escapes_like_the_key_does() {
    // Not for the whole file: with it in scope, `place.execute` is something else.
    use diesel_async::RunQueryDsl;

    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let mut program = place.connection().await;
    let names =
        ["a:b*é", "~x", "p%q", "ok.-_Z9", "日本", "a b", "'\"\\", "\u{a0}x", &"é".repeat(32)];
    for (name, text) in names.iter().flat_map(|name| names.map(|text| (*name, text))) {
        let key = Namespace::new(name).unwrap().key(text).unwrap();
        for one in [true, false] {
            tier.put(key.clone(), place.entry("v")).await.unwrap();
            let call = if one { "SELECT invalidate($1)" } else { "SELECT invalidate($2, $3)" };
            let call = format!("{call} WHERE $1 || $2 || $3 <> ''");
            let call = diesel::sql_query(call)
                .bind::<Text, _>(key.encoded())
                .bind::<Text, _>(name)
                .bind::<Text, _>(text);
            RunQueryDsl::execute(call, &mut program).await.unwrap();
            assert_eq!(read(&*tier, &key).await, None, "{key}");
        }
    }
}

#[tokio::test]
async fn bad_names_are_refused_as_the_key_does() {
    let Some(place) = Place::from_env() else { return };
    drop(place.tier().await);
    let mut program = place.connection().await;
    for (call, fault) in [
        ("invalidate('', 'k')", "the namespace is empty"),
        ("invalidate(NULL, 'k')", "the namespace is empty"),
        ("invalidate('n', NULL)", "the key is empty"),
        ("invalidate('n', '')", "the key is empty"),
        ("invalidate('n', repeat('x', 513))", "the key is 513 bytes long, and at most 512"),
        ("invalidate(repeat('é', 33), 'k')", "the namespace is 66 bytes long"),
        ("invalidate('n', 'a' || chr(133))", "the key holds a control character"),
        ("invalidate(E'a\\tb', 'k')", "the namespace holds a control character"),
        ("invalidate('no key')", "is not an encoded key"),
        ("invalidate(NULL)", "is not an encoded key"),
        ("invalidate(':k')", "the namespace is empty"),
        ("invalidate('n:')", "the key is empty"),
        ("invalidate('a b:k')", "is not the escaped name of a namespace"),
        ("invalidate_tag('n', repeat('x', 129))", "the tag is 129 bytes long"),
        ("invalidate_namespace('')", "the namespace is empty"),
    ] {
        let error = program.batch_execute(&format!("SELECT {call}")).await.unwrap_err();
        assert!(error.to_string().contains(fault), "{call}: {error}");
    }
    assert_eq!(place.number(NOTICES).await, 0);
}

/// The work is done at the commit, so a transaction that stays open keeps nobody waiting.
#[tokio::test]
async fn an_open_transaction_does_not_block_the_cache() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    tier.put(key("k"), place.entry("v")).await.unwrap();
    let mut program = place.connection().await;
    program.batch_execute("BEGIN; SELECT invalidate('test', 'k')").await.unwrap();
    tier.put(key("k"), place.entry("w")).await.unwrap();
    assert_eq!(read(&*tier, &key("k")).await.as_deref(), Some("w"));
    program.batch_execute("COMMIT").await.unwrap();
    assert_eq!(read(&*tier, &key("k")).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_invalidate_in_all_orders_do_not_lock_each_other_out() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let programs = (0..4).map(|program: usize| {
        let (url, schema) = (place.url.clone(), place.schema.clone());
        tokio::spawn(async move {
            let mut connection = diesel_async::AsyncPgConnection::establish(&url).await.unwrap();
            for round in 0..10 {
                let mut keys: Vec<usize> = (0..8).collect();
                keys.rotate_left((program * 3 + round) % 8);
                if program.is_multiple_of(2) {
                    keys.reverse();
                }
                let calls =
                    keys.iter().map(|i| format!("SELECT {schema}.invalidate('test', '{i}');"));
                let all: String = calls.collect();
                connection.batch_execute(&format!("BEGIN; {all} COMMIT")).await.unwrap();
            }
        })
    });
    let programs: Vec<_> = programs.collect();
    for _ in 0..20 {
        let removals: Vec<_> = (0..8).rev().map(|i| key(&i.to_string()).into()).collect();
        tier.remove_many(&removals).await.unwrap();
    }
    for program in programs {
        program.await.unwrap();
    }
}

/// SQL has no clock, so a process that has one says how long the tombstone is remembered.
#[tokio::test]
async fn a_tombstone_of_sql_is_remembered_and_then_swept() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let seen = tier.get(&key("k")).await.unwrap().fence;
    place.execute("SELECT invalidate('test', 'k')").await;
    tier.sweep().await.unwrap();
    place.clock.advance(Duration::from_secs(601));
    tier.sweep().await.unwrap();
    assert_eq!(place.number(NOTICES).await, 0);
    let late = tier.fill(key("k"), place.entry("late"), seen).await.unwrap();
    assert_eq!(late, PutOutcome::Superseded, "it is still remembered");
    place.clock.advance(Duration::from_secs(61));
    tier.sweep().await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM entries").await, 0);
}

#[tokio::test]
async fn a_role_that_may_use_the_schema_may_invalidate_and_nothing_else() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    tier.put(key("k"), place.entry("v")).await.unwrap();
    let (schema, role) = (&place.schema, format!("role_of_{}", place.schema));
    let mut program = place.connection().await;
    let as_role = format!(
        "BEGIN; CREATE ROLE {role}; GRANT USAGE ON SCHEMA {schema} TO {role}; SET LOCAL ROLE {role}"
    );
    program.batch_execute(&as_role).await.unwrap();
    let call = format!("SELECT {schema}.invalidate('test', 'k'); SET CONSTRAINTS ALL IMMEDIATE");
    program.batch_execute(&call).await.unwrap();
    let told = format!("RESET ROLE; SELECT 1 / count(*) FROM {schema}.notices WHERE author = 1");
    program.batch_execute(&told).await.unwrap();
    let peek = format!("SET LOCAL ROLE {role}; SELECT count(*) FROM {schema}.entries");
    let error = program.batch_execute(&peek).await.unwrap_err();
    assert!(error.to_string().contains("permission denied"), "{error}");
    program.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn diesel_invalidates_within_a_transaction_of_ones_own() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let tag = namespace().reserved("tags").key("t").unwrap();
    let keys = [key("a"), key("b"), tag];
    for key in &keys {
        tier.put(key.clone(), place.entry("v")).await.unwrap();
    }
    let mut connection = diesel_async::AsyncPgConnection::establish(&place.url).await.unwrap();
    for ends_well in [false, true] {
        let done = connection.transaction::<(), Error, _>(async |connection| {
            cache_postgres::invalidate(connection, &place.schema, &keys[..2]).await?;
            let tags = ["t"];
            cache_postgres::invalidate_tags(connection, &place.schema, &namespace(), &tags).await?;
            if ends_well { Ok(()) } else { Err(Error::RollbackTransaction) }
        });
        assert_eq!(done.await.is_ok(), ends_well);
        for lookup in tier.get_many(&keys).await.unwrap() {
            assert_eq!(lookup.entry.is_none(), ends_well);
        }
    }
    let mut refused = async |schema: &str, tag: &str| {
        let tags = [tag];
        let done =
            cache_postgres::invalidate_tags(&mut connection, schema, &namespace(), &tags).await;
        done.unwrap_err().to_string()
    };
    assert!(refused("a\"; DROP", "t").await.contains("`schema`"));
    assert!(refused("cache", &"x".repeat(129)).await.contains("a tag of 129 bytes"));
    assert!(refused("cache", "").await.contains("empty"));
}

/// A key that came in by SQL is one that the cache takes.
#[tokio::test]
async fn the_encoded_key_of_sql_is_that_of_the_cache() {
    let Some(place) = Place::from_env() else { return };
    let tier = place.tier().await;
    let position = tier.log().unwrap().end().await.unwrap();
    place.execute("SELECT invalidate('Ünïcode namespace', 'a:b ~ %')").await;
    let page = tier.log().unwrap().read(&position, Duration::ZERO).await.unwrap();
    let expected = Namespace::new("Ünïcode namespace").unwrap().key("a:b ~ %").unwrap();
    let told: Vec<Key> = page
        .notices
        .into_iter()
        .filter_map(|notice| match notice.change {
            Change::Key(key) => Some(key),
            _ => None,
        })
        .collect();
    assert_eq!(told, [expected]);
}
