//! What operators ask of the ledger.

use std::time::Duration;

use bytes::Bytes;
use contracts::DeadLetterReason;
use messaging::Record;
use messaging::ledger::{
    DeadLetter, MessageTrace, OutboxMessage, Parked, PendingKey, PendingTopic, StoreError, StoredDeadLetter,
};
use sqlx::PgPool;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::ledger::{get, headers, partition, timestamp, value};
use crate::{Tx, store_error};

pub(crate) async fn pending_topics(pool: &PgPool) -> Result<Vec<PendingTopic>, StoreError> {
    let rows = sqlx::query(
        "SELECT topic, count(poisoned_at) AS poisoned, count(*) - count(poisoned_at) AS gaps,
                EXTRACT(EPOCH FROM clock_timestamp() - min(
                    (SELECT min(parked_at) FROM parked p WHERE p.topic = s.topic AND p.key = s.key)
                ) FILTER (WHERE poisoned_at IS NULL))::float8 AS oldest_gap
         FROM sequences s WHERE has_parked GROUP BY topic ORDER BY topic",
    )
    .fetch_all(pool)
    .await
    .map_err(store_error)?;
    let held = |row: &PgRow| {
        Ok(PendingTopic {
            topic: get(row, "topic")?,
            poisoned: get(row, "poisoned")?,
            gaps: get(row, "gaps")?,
            oldest_gap: age(get(row, "oldest_gap")?),
        })
    };
    rows.iter().map(held).collect()
}

pub(crate) async fn pending_keys(
    tx: &mut Tx,
    after: Option<(&str, Uuid)>,
    limit: i64,
) -> Result<Vec<PendingKey>, StoreError> {
    let (topic, key) = after.unzip();
    let rows = sqlx::query(
        "SELECT s.topic, s.key, s.last, s.poisoned_at, p.waiting,
                EXTRACT(EPOCH FROM clock_timestamp() - p.since)::float8 AS age,
                coalesce((SELECT error FROM parked
                          WHERE topic = s.topic AND key = s.key AND sequence = s.poisoned_at), '') AS error
         FROM sequences s CROSS JOIN LATERAL (
             SELECT count(*) AS waiting, min(parked_at) AS since
             FROM parked WHERE topic = s.topic AND key = s.key) p
         WHERE s.has_parked AND ($1::text IS NULL OR (s.topic, s.key) > ($1, $2))
         ORDER BY s.topic, s.key LIMIT $3",
    )
    .bind(topic)
    .bind(key)
    .bind(limit)
    .fetch_all(&mut **tx)
    .await
    .map_err(store_error)?;
    let held = |row: &PgRow| {
        Ok(PendingKey {
            topic: get(row, "topic")?,
            key: get(row, "key")?,
            last: get(row, "last")?,
            poisoned_at: get(row, "poisoned_at")?,
            error: get(row, "error")?,
            waiting: get(row, "waiting")?,
            age: age(get(row, "age")?),
        })
    };
    rows.iter().map(held).collect()
}

pub(crate) async fn count_dead_letters(pool: &PgPool) -> Result<i64, StoreError> {
    sqlx::query_scalar("SELECT count(*) FROM dead_letters WHERE redriven_as IS NULL")
        .fetch_one(pool)
        .await
        .map_err(store_error)
}

pub(crate) async fn letters(
    tx: &mut Tx,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<StoredDeadLetter>, StoreError> {
    let rows = sqlx::query(
        r#"SELECT id, reason, detail, topic, partition, "offset", said_at, key, NULL::bytea AS value, headers, redriven_as
           FROM dead_letters WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2"#,
    )
    .bind(before)
    .bind(limit)
    .fetch_all(&mut **tx)
    .await
    .map_err(store_error)?;
    rows.iter().map(kept).collect()
}

pub(crate) async fn letter(tx: &mut Tx, id: Uuid) -> Result<Option<StoredDeadLetter>, StoreError> {
    let row = sqlx::query(
        r#"SELECT id, reason, detail, topic, partition, "offset", said_at, key, value, headers, redriven_as
           FROM dead_letters WHERE id = $1 FOR UPDATE"#,
    )
    .bind(id)
    .fetch_optional(&mut **tx)
    .await
    .map_err(store_error)?;
    row.as_ref().map(kept).transpose()
}

pub(crate) async fn mark_redriven(tx: &mut Tx, id: Uuid, command: Uuid) -> Result<(), StoreError> {
    sqlx::query("UPDATE dead_letters SET redriven_as = $2 WHERE id = $1")
        .bind(id)
        .bind(command)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

pub(crate) async fn discard(tx: &mut Tx, id: Uuid) -> Result<bool, StoreError> {
    let result = sqlx::query("DELETE FROM dead_letters WHERE id = $1")
        .bind(id)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(result.rows_affected() == 1)
}

pub(crate) async fn where_is(tx: &mut Tx, id: Uuid) -> Result<MessageTrace, StoreError> {
    // Headers are pairs; these are the two that name the message or its chain.
    let named = ["ce_id", "ce_correlationid"].map(|name| format!(r#"[["{name}", "{id}"]]"#));
    let outbox = sqlx::query(
        "SELECT NULL::timestamptz AS due_at, topic, key, headers FROM outbox
         WHERE headers::jsonb @> ANY($1::text[]::jsonb[])
         UNION ALL
         SELECT due_at, topic, key, headers FROM delayed WHERE headers::jsonb @> ANY($1::text[]::jsonb[])
         LIMIT 100",
    )
    .bind(&named)
    .fetch_all(&mut **tx)
    .await
    .map_err(store_error)?;
    // Its day is not known, so each partition is asked by its key.
    let inbox = sqlx::query_scalar(
        "SELECT i.attempt FROM (SELECT DISTINCT day FROM (
             SELECT generate_series(current_date - 60, current_date + 7, interval '1 day')::date AS day) AS d) AS d
         JOIN inbox i ON i.day = d.day AND i.message_id = $1 ORDER BY i.attempt",
    )
    .bind(id)
    .fetch_all(&mut **tx)
    .await
    .map_err(store_error)?;
    let applied = sqlx::query_as("SELECT topic, key, last FROM sequences WHERE last_id = $1 ORDER BY topic, key")
        .bind(id)
        .fetch_all(&mut **tx)
        .await
        .map_err(store_error)?;
    // jsonb holds no NUL; a foreign header may.
    let parked = sqlx::query(
        r#"SELECT topic, key, sequence, message_id, partition, "offset", said_at, NULL::bytea AS value, headers, error
           FROM parked WHERE message_id = $1 OR replace(headers, '\u0000', '\ufffd')::jsonb @> ANY($2::text[]::jsonb[])
           ORDER BY topic, key, sequence LIMIT 100"#,
    )
    .bind(id)
    .bind(&named)
    .fetch_all(&mut **tx)
    .await
    .map_err(store_error)?;
    let dead_letters = sqlx::query(
        r#"SELECT id, reason, detail, topic, partition, "offset", said_at, key, NULL::bytea AS value, headers, redriven_as
           FROM dead_letters WHERE redriven_as = $1 OR headers::jsonb @> ANY($2::text[]::jsonb[])
           ORDER BY id LIMIT 100"#,
    )
    .bind(id)
    .bind(&named)
    .fetch_all(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(MessageTrace {
        outbox: outbox.iter().map(said).collect::<Result<_, _>>()?,
        inbox,
        applied,
        parked: parked.iter().map(waiting).collect::<Result<_, _>>()?,
        dead_letters: dead_letters.iter().map(kept).collect::<Result<_, _>>()?,
    })
}

fn said(row: &PgRow) -> Result<OutboxMessage, StoreError> {
    Ok(OutboxMessage {
        topic: get(row, "topic")?,
        key: get(row, "key")?,
        value: None,
        headers: headers(row)?,
        due_at: get::<Option<_>>(row, "due_at")?.map(timestamp),
    })
}

pub(crate) fn waiting(row: &PgRow) -> Result<Parked, StoreError> {
    let key: Uuid = get(row, "key")?;
    Ok(Parked {
        key,
        sequence: get(row, "sequence")?,
        id: get(row, "message_id")?,
        record: record(row, Some(Bytes::from(key.to_string())))?,
        error: get(row, "error")?,
    })
}

fn kept(row: &PgRow) -> Result<StoredDeadLetter, StoreError> {
    let key = get::<Option<Vec<u8>>>(row, "key")?.map(Bytes::from);
    Ok(StoredDeadLetter {
        dead_letter: DeadLetter {
            id: get(row, "id")?,
            reason: reason(get(row, "reason")?),
            detail: get(row, "detail")?,
            record: record(row, key)?,
        },
        redriven_as: get(row, "redriven_as")?,
    })
}

fn record(row: &PgRow, key: Option<Bytes>) -> Result<Record, StoreError> {
    Ok(Record {
        partition: partition(row)?,
        offset: get(row, "offset")?,
        timestamp: timestamp(get(row, "said_at")?),
        key,
        value: value(row)?,
        headers: headers(row)?,
    })
}

/// As [`bury`](messaging::Ledger::bury) wrote it.
fn reason(text: &str) -> DeadLetterReason {
    match text {
        "Undecodable" => DeadLetterReason::Undecodable,
        "UnknownType" => DeadLetterReason::UnknownType,
        "WrongKey" => DeadLetterReason::WrongKey,
        "Poison" => DeadLetterReason::Poison,
        "Expired" => DeadLetterReason::Expired,
        "MalformedEnvelope" => DeadLetterReason::MalformedEnvelope,
        "Fork" => DeadLetterReason::Fork,
        _ => DeadLetterReason::Unknown,
    }
}

fn age(seconds: Option<f64>) -> Duration {
    Duration::from_secs_f64(seconds.unwrap_or(0.0).max(0.0))
}
