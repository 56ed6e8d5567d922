//! Removals within a transaction of one's own, by diesel.

use cache_core::{BATCH_LEN_MAX, Error, ErrorKind, Key, Namespace, generation_key, horizon_key};
use diesel::{
    pg::Pg,
    result::{Error as DieselError, QueryResult},
    sql_types::{Array, Text},
};
use diesel_async::{AsyncConnection, RunQueryDsl};

use crate::config::is_schema;

/// Removes `keys` from the tier in `schema`, and from every cache that follows its log, with the
/// commit of the transaction that `connection` is in: a rollback removes nothing, a commit is never
/// missed. Outside of a transaction it takes effect at once.
///
/// The role needs `USAGE` on the schema, and nothing else.
///
/// # Errors
///
/// [`DieselError::QueryBuilderError`] for a name that is none of a schema; else what the server
/// says, as for any statement.
///
/// # Cancel safety
///
/// As for any statement of diesel-async: the transaction may or may not remove the keys when it
/// goes on.
///
/// # Examples
///
/// ```no_run
/// use cache_core::Namespace;
/// use diesel::result::Error;
/// use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
///
/// # async fn example(connection: &mut AsyncPgConnection) -> Result<(), Box<dyn std::error::Error>> {
/// let key = Namespace::new("price")?.key("AAPL")?;
/// connection
///     .transaction::<_, Error, _>(async move |connection| {
///         diesel::sql_query("UPDATE price SET close = 187.5 WHERE symbol = 'AAPL'")
///             .execute(connection)
///             .await?;
///         cache_postgres::invalidate(connection, "cache", &[key]).await
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
pub async fn invalidate<C>(connection: &mut C, schema: &str, keys: &[Key]) -> QueryResult<()>
where
    C: AsyncConnection<Backend = Pg>,
{
    if !is_schema(schema) {
        let message = format!("`{}` is not the name of a cache's schema", schema.escape_debug());
        let error = Error::new(ErrorKind::Config, message)
            .hint("name it as the setting `schema` of the tier does");
        return Err(DieselError::QueryBuilderError(error.into()));
    }
    for keys in keys.chunks(BATCH_LEN_MAX) {
        let encoded: Vec<&str> = keys.iter().map(Key::encoded).collect();
        diesel::sql_query(format!("SELECT \"{schema}\".invalidate_many($1)"))
            .bind::<Array<Text>, _>(encoded)
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Gives `tags` of `namespace` new generations with the commit of the transaction that `connection`
/// is in: every entry that carries one of them is invalid from then on. As [`invalidate`] otherwise.
///
/// # Errors
///
/// As [`invalidate`], and [`DieselError::QueryBuilderError`] for a tag that is empty, too long or
/// unprintable.
///
/// # Cancel safety
///
/// That of [`invalidate`].
pub async fn invalidate_tags<C>(
    connection: &mut C,
    schema: &str,
    namespace: &Namespace,
    tags: &[&str],
) -> QueryResult<()>
where
    C: AsyncConnection<Backend = Pg>,
{
    if tags.is_empty() {
        return Ok(());
    }
    let keys: Result<Vec<Key>, Error> = tags
        .iter()
        .map(|tag| generation_key(namespace, tag))
        .chain([Ok(horizon_key(namespace))])
        .collect();
    let keys = keys.map_err(|error| DieselError::QueryBuilderError(error.into()))?;
    invalidate(connection, schema, &keys).await
}
