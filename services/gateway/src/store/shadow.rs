//! Read models beside the live ones: made empty in a schema of their own, filled by the same handlers, compared, and
//! put in the live ones' place.

use std::collections::HashMap;

use messaging::TopicPartition;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

/// How a table's rows differed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub table: String,
    /// Rows there are now.
    pub rows: i64,
    /// They were not there, and are now.
    pub missing: i64,
    /// They were others.
    pub changed: i64,
    /// They were there, and are gone.
    pub surplus: i64,
}

/// Which rows of a table are compared, and what becomes of those that only the live one has.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    pub name: &'static str,
    /// Only rows of the topic; else all.
    pub by_topic: bool,
    /// The log may be shorter than the memory of what was in it.
    pub keep_surplus: bool,
}

/// Makes the schema anew, with every table of the live one, all empty: so a handler finds all it knows, and nothing
/// that is live. What an earlier try left behind is gone.
pub async fn make(pool: &PgPool, schema: &str) -> sqlx::Result<()> {
    let mut tx = pool.begin().await?;
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
        // It is thrown away after a crash anyway.
        sqlx::query(&format!(
            "CREATE UNLOGGED TABLE {schema}.{table} (LIKE {table} INCLUDING ALL)"
        ))
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await
}

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

/// How far the live read model is, by partition.
pub async fn positions(pool: &PgPool, topic: &str) -> sqlx::Result<HashMap<i32, i64>> {
    let rows: Vec<(i32, i64)> = sqlx::query_as("SELECT partition, next_offset FROM consumed WHERE topic = $1")
        .bind(topic)
        .fetch_all(pool)
        .await?;
    Ok(rows.into_iter().collect())
}

/// The same, held until the transaction ends: every worker's first statement moves its position, and waits. A partition
/// of which nothing was applied gets a position, so that there is something to hold.
pub async fn hold(
    tx: &mut postgres::Tx,
    topic: &str,
    beginnings: &[(TopicPartition, i64)],
) -> sqlx::Result<HashMap<i32, i64>> {
    // As many rows as differ are written: that takes as long as it takes.
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

/// Makes the live table equal to the shadow's, row by row, and says in what they differed. Readers see the old rows
/// until the transaction commits, and then the new ones.
pub async fn swap(tx: &mut postgres::Tx, schema: &str, topic: &str, table: Table) -> sqlx::Result<Difference> {
    let name = table.name;
    // `$1` is the topic.
    let of = match table.by_topic {
        true => "l.topic = $1",
        false => "$1::text IS NOT NULL",
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
    let kept = match table.keep_surplus {
        true => format!("EXISTS (SELECT FROM {schema}.{name} s WHERE {same_key})"),
        false => "true".to_owned(),
    };
    let (gone, changed): (i64, i64) = sqlx::query_as(&format!(
        "WITH gone AS (
             DELETE FROM {name} l
             WHERE {of} AND {kept} AND NOT EXISTS (SELECT FROM {schema}.{name} s WHERE {same_key} AND {same_row})
             RETURNING {key})
         SELECT count(*), count(*) FILTER (WHERE EXISTS (SELECT FROM {schema}.{name} s WHERE {same_key})) FROM gone l",
        key = listed("l", &key),
    ))
    .bind(topic)
    .fetch_one(&mut **tx)
    .await?;
    let put = sqlx::query(&format!(
        "INSERT INTO {name} ({plain})
         SELECT {plain} FROM {schema}.{name} l
         WHERE {of} AND NOT EXISTS (SELECT FROM {name} s WHERE {same_key})",
        plain = columns.join(", "),
    ))
    .bind(topic)
    .execute(&mut **tx)
    .await?;
    let rows = sqlx::query_scalar(&format!("SELECT count(*) FROM {name} l WHERE {of}"))
        .bind(topic)
        .fetch_one(&mut **tx)
        .await?;
    let put = i64::try_from(put.rows_affected()).unwrap_or(i64::MAX);
    Ok(Difference {
        table: name.to_owned(),
        rows,
        missing: put - changed,
        changed,
        surplus: gone - changed,
    })
}

/// Those that are written: not those that follow from others.
async fn columns(tx: &mut postgres::Tx, table: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT quote_ident(attname) FROM pg_attribute
         WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
    )
    .bind(table)
    .fetch_all(&mut **tx)
    .await
}

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
