use std::time::Duration;

use messaging::ledger::{
    MAX_SEARCHED_ROWS, MAX_TRACED_ROWS, MessageTrace, OpsQueries, PendingKey, PendingTopic, StoreError,
    StoredDeadLetter,
};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::rows::{self, get};
use crate::{Postgres, Tx, in_time, store_error};

impl OpsQueries for Postgres {
    async fn pending_topics(&self) -> Result<Vec<PendingTopic>, StoreError> {
        in_time(async {
            let rows = sqlx::query(
                "SELECT topic, count(poisoned_at) AS poisoned, count(*) - count(poisoned_at) AS gaps,
                        EXTRACT(EPOCH FROM clock_timestamp() - min(
                            (SELECT min(parked_at) FROM parked p WHERE p.topic = s.topic AND p.key = s.key)
                        ) FILTER (WHERE poisoned_at IS NULL))::float8 AS oldest_gap
                 FROM sequences s WHERE has_parked GROUP BY topic ORDER BY topic",
            )
            .fetch_all(self.pool())
            .await
            .map_err(store_error)?;
            let pending = |row: &PgRow| {
                Ok(PendingTopic {
                    topic: get(row, "topic")?,
                    poisoned: get(row, "poisoned")?,
                    gaps: get(row, "gaps")?,
                    oldest_gap: age(get(row, "oldest_gap")?),
                })
            };
            rows.iter().map(pending).collect()
        })
        .await
    }

    async fn pending_keys(
        &self,
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
        let pending = |row: &PgRow| {
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
        rows.iter().map(pending).collect()
    }

    async fn count_dead_letters(&self) -> Result<i64, StoreError> {
        in_time(async {
            sqlx::query_scalar("SELECT count(*) FROM dead_letters WHERE redriven_as IS NULL")
                .fetch_one(self.pool())
                .await
                .map_err(store_error)
        })
        .await
    }

    async fn list_dead_letters(
        &self,
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
        rows.iter().map(rows::dead_letter).collect()
    }

    async fn dead_letter(&self, tx: &mut Tx, id: Uuid) -> Result<Option<StoredDeadLetter>, StoreError> {
        let row = sqlx::query(
            r#"SELECT id, reason, detail, topic, partition, "offset", said_at, key, value, headers, redriven_as
               FROM dead_letters WHERE id = $1 FOR UPDATE"#,
        )
        .bind(id)
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
        row.as_ref().map(rows::dead_letter).transpose()
    }

    async fn mark_redriven(&self, tx: &mut Tx, id: Uuid, command: Uuid) -> Result<(), StoreError> {
        sqlx::query("UPDATE dead_letters SET redriven_as = $2 WHERE id = $1")
            .bind(id)
            .bind(command)
            .execute(&mut **tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn discard_dead_letter(&self, tx: &mut Tx, id: Uuid) -> Result<bool, StoreError> {
        let result = sqlx::query("DELETE FROM dead_letters WHERE id = $1")
            .bind(id)
            .execute(&mut **tx)
            .await
            .map_err(store_error)?;
        Ok(result.rows_affected() == 1)
    }

    async fn find_message(&self, tx: &mut Tx, id: Uuid) -> Result<MessageTrace, StoreError> {
        // Headers are pairs; these are the two that name the message or its chain.
        let named = ["ce_id", "ce_correlationid"].map(|name| format!(r#"[["{name}", "{id}"]]"#));
        let outbox = sqlx::query(
            r#"SELECT NULL::timestamptz AS due_at, topic, key, headers
               FROM (SELECT topic, key, headers FROM outbox ORDER BY owner, id LIMIT $3) AS first
               WHERE replace(headers, '\u0000', '\ufffd')::jsonb @> ANY($1::text[]::jsonb[])
               UNION ALL
               SELECT due_at, topic, key, headers FROM delayed
               WHERE replace(headers, '\u0000', '\ufffd')::jsonb @> ANY($1::text[]::jsonb[])
               LIMIT $2"#,
        )
        .bind(&named)
        .bind(MAX_TRACED_ROWS)
        .bind(MAX_SEARCHED_ROWS)
        .fetch_all(&mut **tx)
        .await
        .map_err(store_error)?;
        // The day of the message is not known, so each partition is queried by its key.
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
        // A third-party header may contain NUL, which jsonb cannot.
        let parked = sqlx::query(
            r#"SELECT topic, key, sequence, message_id, partition, "offset", said_at, NULL::bytea AS value, headers, error
               FROM parked WHERE message_id = $1 OR replace(headers, '\u0000', '\ufffd')::jsonb @> ANY($2::text[]::jsonb[])
               ORDER BY topic, key, sequence LIMIT $3"#,
        )
        .bind(id)
        .bind(&named)
        .bind(MAX_TRACED_ROWS)
        .fetch_all(&mut **tx)
        .await
        .map_err(store_error)?;
        let dead_letters = sqlx::query(
            r#"SELECT id, reason, detail, topic, partition, "offset", said_at, key, NULL::bytea AS value, headers, redriven_as
               FROM dead_letters WHERE redriven_as = $1 OR replace(headers, '\u0000', '\ufffd')::jsonb @> ANY($2::text[]::jsonb[])
               ORDER BY id LIMIT $3"#,
        )
        .bind(id)
        .bind(&named)
        .bind(MAX_TRACED_ROWS)
        .fetch_all(&mut **tx)
        .await
        .map_err(store_error)?;
        Ok(MessageTrace {
            outbox: outbox.iter().map(rows::outbox_message).collect::<Result<_, _>>()?,
            inbox,
            applied,
            parked: parked.iter().map(rows::parked).collect::<Result<_, _>>()?,
            dead_letters: dead_letters.iter().map(rows::dead_letter).collect::<Result<_, _>>()?,
        })
    }
}

fn age(seconds: Option<f64>) -> Duration {
    Duration::from_secs_f64(seconds.unwrap_or(0.0).max(0.0))
}
