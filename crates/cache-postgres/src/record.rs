//! A record on its way into a statement.

use std::io::Write;

use bytes::Bytes;
use cache_core::{Entry, wire};
use diesel::{
    pg::Pg,
    serialize::{self, IsNull, Output, ToSql},
    sql_types::Binary,
};

/// A record in two parts, so that the payload is first copied by the statement itself.
#[derive(Debug)]
pub(crate) struct Record {
    head: Vec<u8>,
    payload: Bytes,
}

impl Record {
    /// The record of `entry`. Its fence is kept in a column.
    pub(crate) fn of(entry: &Entry) -> Self {
        Self { head: wire::encode_head(entry, 0), payload: entry.payload.clone() }
    }
}

impl ToSql<Binary, Pg> for Record {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(&self.head)?;
        out.write_all(&self.payload)?;
        Ok(IsNull::No)
    }
}
