//! Takes out what nobody can see any more, a step at a time.

use cache_core::Timestamp;
use diesel::{
    OptionalExtension, QueryResult, RunQueryDsl, connection::SimpleConnection,
    sqlite::SqliteConnection,
};

use crate::{
    millis,
    sql::{
        Delete, DeleteDead, DeleteFloors, DeleteForgettable, DeleteLeases, Expired, Hollow,
        KeyAhead, NextToSweep, Pages, SetSweepFrom,
    },
};

/// The most rows of each kind that one step takes. Writers wait for a step, so it is short.
pub(crate) const STEP_LEN: i64 = 256;

/// The most pages that one step gives back to the file system.
const STEP_PAGES: i64 = 256;

/// What a step has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// What was taken out: values that had expired or been cleared, and removals and fences that
    /// need not be remembered any more.
    pub(crate) entries: u64,
    /// Pages that were given back.
    pub(crate) pages: u64,
    /// Whether a further step would find more.
    pub(crate) more: bool,
}

/// One step of everything.
pub(crate) fn step(connection: &mut SqliteConnection, now: Timestamp) -> QueryResult<Swept> {
    let now = millis(now);
    let mut swept = Swept::default();
    for part in [expired, forgettable, dead] {
        let part = part(connection, now)?;
        swept.entries += part.entries;
        swept.more |= part.more;
    }
    DeleteFloors { now }.execute(connection)?;
    DeleteLeases { now }.execute(connection)?;
    let pages = give_back(connection)?;
    Ok(Swept { pages: pages.pages, more: swept.more || pages.more, ..swept })
}

/// Values that have expired. Their rows stay while their fences must be remembered.
pub(crate) fn expired(connection: &mut SqliteConnection, now: i64) -> QueryResult<Swept> {
    let rows: Vec<(i64, i64)> = Expired { now, limit: STEP_LEN }.load(connection)?;
    for (id, retain_until) in &rows {
        give_up(connection, *id, *retain_until, now)?;
    }
    Ok(Swept { entries: rows.len() as u64, more: rows.len() as i64 == STEP_LEN, pages: 0 })
}

/// Removals, and fences of values that have gone, that need not be remembered any more.
pub(crate) fn forgettable(connection: &mut SqliteConnection, now: i64) -> QueryResult<Swept> {
    let entries = DeleteForgettable { now, limit: STEP_LEN }.execute(connection)?;
    Ok(Swept { entries: entries as u64, more: entries as i64 == STEP_LEN, pages: 0 })
}

/// Rows below the floor of a cleared namespace. The floor remembers what their fences said.
pub(crate) fn dead(connection: &mut SqliteConnection, _now: i64) -> QueryResult<Swept> {
    let next: Option<(String, i64, Vec<u8>)> = NextToSweep {}.get_result(connection).optional()?;
    let Some((namespace, floor, after)) = next else { return Ok(Swept::default()) };
    // `;` follows `:`, so that this ends the range of the keys `namespace:…`.
    let end = format!("{namespace};").into_bytes();
    let ahead = KeyAhead { after: &after, end: &end, limit: STEP_LEN - 1 };
    let ahead: Option<Vec<u8>> = ahead.get_result(connection).optional()?;
    let to = ahead.as_deref().unwrap_or(&end);
    let entries = DeleteDead { after: &after, to, floor }.execute(connection)?;
    let from = SetSweepFrom { namespace: &namespace, sweep_from: ahead.as_deref() };
    from.execute(connection)?;
    // Another namespace may be next.
    Ok(Swept { entries: entries as u64, more: true, pages: 0 })
}

/// Takes a value out, and its row too unless its fence must be remembered.
pub(crate) fn give_up(
    connection: &mut SqliteConnection,
    id: i64,
    retain_until: i64,
    now: i64,
) -> QueryResult<()> {
    if retain_until <= now {
        Delete { id }.execute(connection).map(drop)
    } else {
        Hollow { id }.execute(connection).map(drop)
    }
}

/// Gives empty pages back to the file system.
fn give_back(connection: &mut SqliteConnection) -> QueryResult<Swept> {
    let (_, empty): (i64, i64) = Pages {}.get_result(connection)?;
    if empty > 0 {
        connection.batch_execute(&format!("PRAGMA incremental_vacuum({STEP_PAGES})"))?;
    }
    let pages = empty.min(STEP_PAGES);
    Ok(Swept { pages: pages.unsigned_abs(), more: empty > pages, entries: 0 })
}
