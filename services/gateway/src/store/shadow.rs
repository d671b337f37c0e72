//! Shadow read models: empty copies of the live tables in a separate schema. The same handlers fill them, and their rows
//! then replace those of the live tables.

use std::collections::HashMap;

use messaging::TopicPartition;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

/// The difference between a live table and its shadow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub table: String,
    /// Number of rows of the live table now.
    pub rows: i64,
    /// Number of rows that the live table lacked.
    pub missing: i64,
    /// Number of rows that were different.
    pub changed: i64,
    /// Number of rows that only the live table had, and that were deleted.
    pub surplus: i64,
}

/// The rows of a table that are compared, and the treatment of rows that only the live table has.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    pub name: &'static str,
    /// `true` to compare only the rows of the topic.
    pub by_topic: bool,
    /// `true` to keep rows that only the live table has, because the topic may no longer hold their messages.
    pub keep_surplus: bool,
}

/// Creates the schema with an empty copy of every live table so that a handler finds all tables that it uses and no
/// live data. Replaces a schema that an earlier attempt left behind.
pub async fn create(pool: &PgPool, schema: &str) -> sqlx::Result<()> {
    let mut tx = postgres::Tx::begin(pool).await?;
    drop_in(&mut tx, schema).await?;
    sqlx::query(&format!("CREATE SCHEMA {schema}"))
        .execute(&mut *tx)
        .await?;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT quote_ident(relname) FROM pg_class
         WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition",
    )
    .fetch_all(&mut *tx)
    .await?;
    for table in tables {
        // Unlogged, because the shadow is dropped after a crash anyway.
        sqlx::query(&format!(
            "CREATE UNLOGGED TABLE {schema}.{table} (LIKE {table} INCLUDING ALL)"
        ))
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await
}

/// Drops the schema, if it exists.
pub async fn drop(pool: &PgPool, schema: &str) -> sqlx::Result<()> {
    let mut connection = pool.acquire().await?;
    drop_in(&mut connection, schema).await
}

async fn drop_in(connection: &mut PgConnection, schema: &str) -> sqlx::Result<()> {
    sqlx::query(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE"))
        .execute(connection)
        .await?;
    Ok(())
}

/// Returns the next offset of the live read model, by partition.
pub async fn positions(pool: &PgPool, topic: &str) -> sqlx::Result<HashMap<i32, i64>> {
    let rows: Vec<(i32, i64)> = sqlx::query_as("SELECT partition, next_offset FROM consumed WHERE topic = $1")
        .bind(topic)
        .fetch_all(pool)
        .await?;
    Ok(rows.into_iter().collect())
}

/// Locks the positions of the topic until the transaction ends, and returns the next offset by partition.
///
/// Workers then wait, because the first statement of every worker updates its position. A partition without a position
/// gets one, so there is a row to lock.
pub async fn lock_positions(
    tx: &mut postgres::Tx,
    topic: &str,
    beginnings: &[(TopicPartition, i64)],
) -> sqlx::Result<HashMap<i32, i64>> {
    // The transaction writes all rows that differ, which may take longer than the statement timeout.
    sqlx::query("SET LOCAL statement_timeout = 0")
        .execute(&mut **tx)
        .await?;
    let (partitions, offsets): (Vec<i32>, Vec<i64>) = beginnings
        .iter()
        .map(|(name, offset)| (name.partition, *offset))
        .unzip();
    sqlx::query(
        "INSERT INTO consumed (topic, partition, next_offset)
         SELECT $1, * FROM UNNEST($2::int[], $3::bigint[]) ORDER BY 2 ON CONFLICT DO NOTHING",
    )
    .bind(topic)
    .bind(partitions)
    .bind(offsets)
    .execute(&mut **tx)
    .await?;
    let rows: Vec<(i32, i64)> =
        sqlx::query_as("SELECT partition, next_offset FROM consumed WHERE topic = $1 ORDER BY partition FOR UPDATE")
            .bind(topic)
            .fetch_all(&mut **tx)
            .await?;
    Ok(rows.into_iter().collect())
}

/// Makes the live table equal to its shadow, row by row, and returns the difference.
///
/// Readers see the old rows until the transaction commits.
pub async fn replace_rows(tx: &mut postgres::Tx, schema: &str, topic: &str, table: Table) -> sqlx::Result<Difference> {
    let name = table.name;
    // `$1` is the topic.
    let of_topic = if table.by_topic {
        "l.topic = $1"
    } else {
        "$1::text IS NOT NULL"
    };
    let columns = columns(tx, name).await?;
    let key = key(tx, name).await?;
    let listed = |alias: &str, names: &[String]| {
        let names: Vec<String> = names.iter().map(|name| format!("{alias}.{name}")).collect();
        names.join(", ")
    };
    let same_key = format!("({}) = ({})", listed("s", &key), listed("l", &key));
    let same_row = format!(
        "({}) IS NOT DISTINCT FROM ({})",
        listed("s", &columns),
        listed("l", &columns)
    );
    let is_deletable = if table.keep_surplus {
        format!("EXISTS (SELECT FROM {schema}.{name} s WHERE {same_key})")
    } else {
        "true".to_owned()
    };
    let (deleted, changed): (i64, i64) = sqlx::query_as(&format!(
        "WITH deleted AS (
             DELETE FROM {name} l
             WHERE {of_topic} AND {is_deletable} AND NOT EXISTS (SELECT FROM {schema}.{name} s WHERE {same_key} AND {same_row})
             RETURNING {key})
         SELECT count(*), count(*) FILTER (WHERE EXISTS (SELECT FROM {schema}.{name} s WHERE {same_key})) FROM deleted l",
        key = listed("l", &key),
    ))
    .bind(topic)
    .fetch_one(&mut **tx)
    .await?;
    let inserted = sqlx::query(&format!(
        "INSERT INTO {name} ({plain})
         SELECT {plain} FROM {schema}.{name} l
         WHERE {of_topic} AND NOT EXISTS (SELECT FROM {name} s WHERE {same_key})",
        plain = columns.join(", "),
    ))
    .bind(topic)
    .execute(&mut **tx)
    .await?;
    let rows = sqlx::query_scalar(&format!("SELECT count(*) FROM {name} l WHERE {of_topic}"))
        .bind(topic)
        .fetch_one(&mut **tx)
        .await?;
    let inserted = i64::try_from(inserted.rows_affected()).unwrap_or(i64::MAX);
    Ok(Difference {
        table: name.to_owned(),
        rows,
        missing: inserted - changed,
        changed,
        surplus: deleted - changed,
    })
}

/// Returns the columns of a table without the generated ones.
async fn columns(tx: &mut postgres::Tx, table: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT quote_ident(attname) FROM pg_attribute
         WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
    )
    .bind(table)
    .fetch_all(&mut **tx)
    .await
}

/// Returns the columns of the primary key of a table.
async fn key(tx: &mut postgres::Tx, table: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT quote_ident(a.attname)
         FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
         WHERE i.indrelid = $1::regclass AND i.indisprimary ORDER BY a.attnum",
    )
    .bind(table)
    .fetch_all(&mut **tx)
    .await
}
