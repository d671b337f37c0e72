//! The ledger on Postgres.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use contracts::Timestamp;
use messaging::ledger::{
    CommitError, DeadLetter, InboxEntry, Ledger, MessageTrace, OutboxGauge, OutboxMessage, OutboxRow, Parked,
    PendingKey, PendingTopic, Sequence, StoreError, StoreErrorKind, StoredDeadLetter, StoredSchema,
};
use messaging::{Headers, TopicPartition};
use sqlx::postgres::{PgDatabaseError, PgRow, PgSeverity};
use sqlx::{Decode, Row as _, Type};
use uuid::Uuid;

use crate::{Postgres, Tx, in_time, ops, outbox, store_error};

/// Inbox partitions that are made ahead, in days: for clocks that are a little fast, and a night without housekeeping.
const DAYS_AHEAD: i64 = 3;

impl Ledger for Postgres {
    type Tx = Tx;
    type RowId = i64;

    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1")
            .execute(self.pool())
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn begin(&self) -> Result<Tx, StoreError> {
        in_time(async { self.pool().begin().await.map_err(store_error) }).await
    }

    async fn commit(&self, mut tx: Tx) -> Result<(), CommitError> {
        // COMMIT of a transaction in which a statement failed is a rollback, and no error. This statement is one
        // there: nobody may take that for a commit, and publish what never happened.
        if let Err(error) = sqlx::query("SELECT 1").execute(&mut *tx).await {
            self.rollback(tx).await;
            return Err(CommitError::RolledBack(store_error(error)));
        }
        match tx.commit().await {
            Ok(()) => Ok(()),
            // The server said no: it has rolled back.
            Err(error) if said_no(&error) => Err(CommitError::RolledBack(store_error(error))),
            Err(error) => Err(CommitError::Unknown(store_error(error))),
        }
    }

    async fn rollback(&self, tx: Tx) {
        if let Err(error) = tx.rollback().await {
            tracing::debug!(%error, "a rollback failed; the server rolls back when the connection ends");
        }
    }

    async fn positions(&self, partitions: &[TopicPartition]) -> Result<HashMap<TopicPartition, i64>, StoreError> {
        let (topics, numbers) = columns(partitions);
        let rows = sqlx::query(
            "SELECT topic, partition, next_offset FROM consumed
             WHERE (topic, partition) IN (SELECT * FROM UNNEST($1::text[], $2::int[]))",
        )
        .bind(topics)
        .bind(numbers)
        .fetch_all(self.pool());
        let rows = in_time(async { rows.await.map_err(store_error) }).await?;
        rows.iter()
            .map(|row| Ok((partition(row)?, get(row, "next_offset")?)))
            .collect()
    }

    async fn advance(
        &self,
        tx: &mut Tx,
        partition: &TopicPartition,
        from: Option<i64>,
        to: i64,
    ) -> Result<bool, StoreError> {
        let statement = match from {
            Some(_) => "UPDATE consumed SET next_offset = $3 WHERE topic = $1 AND partition = $2 AND next_offset = $4",
            None => {
                "INSERT INTO consumed (topic, partition, next_offset) SELECT $1, $2, $3 WHERE $4::bigint IS NULL
                 ON CONFLICT DO NOTHING"
            }
        };
        let result = sqlx::query(statement)
            .bind(&partition.topic)
            .bind(partition.partition)
            .bind(to)
            .bind(from)
            .execute(&mut **tx)
            .await
            .map_err(store_error)?;
        Ok(result.rows_affected() == 1)
    }

    async fn lock_position(&self, tx: &mut Tx, partition: &TopicPartition) -> Result<(), StoreError> {
        sqlx::query("SELECT 1 FROM consumed WHERE topic = $1 AND partition = $2 FOR UPDATE")
            .bind(&partition.topic)
            .bind(partition.partition)
            .execute(&mut **tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn insert_inbox(&self, tx: &mut Tx, messages: &[InboxEntry]) -> Result<HashSet<(Uuid, i32)>, StoreError> {
        if messages.is_empty() {
            return Ok(HashSet::new());
        }
        let days: Vec<NaiveDate> = messages
            .iter()
            .map(|message| message.since.to_utc().date_naive())
            .collect();
        let ids: Vec<Uuid> = messages.iter().map(|message| message.id).collect();
        let attempts: Vec<i32> = messages.iter().map(|message| message.attempt).collect();
        let rows: Vec<(Uuid, i32)> = sqlx::query_as(
            "INSERT INTO inbox (day, message_id, attempt)
             SELECT DISTINCT * FROM UNNEST($1::date[], $2::uuid[], $3::int[])
             ON CONFLICT DO NOTHING RETURNING message_id, attempt",
        )
        .bind(days)
        .bind(ids)
        .bind(attempts)
        .fetch_all(&mut **tx)
        .await
        .map_err(store_error)?;
        Ok(rows.into_iter().collect())
    }

    async fn sequences(&self, tx: &mut Tx, topic: &str, keys: &[Uuid]) -> Result<HashMap<Uuid, Sequence>, StoreError> {
        // Locked in the order of the keys, so that two who meet here do not block each other.
        let rows = sqlx::query(
            "SELECT key, last, last_id, poisoned_at, has_parked FROM sequences
             WHERE topic = $1 AND key = ANY($2) ORDER BY key FOR UPDATE",
        )
        .bind(topic)
        .bind(keys)
        .fetch_all(&mut **tx)
        .await
        .map_err(store_error)?;
        let sequence = |row: &PgRow| {
            let sequence = Sequence {
                last: get(row, "last")?,
                last_id: get(row, "last_id")?,
                poisoned_at: get(row, "poisoned_at")?,
                has_parked: get(row, "has_parked")?,
            };
            Ok((get(row, "key")?, sequence))
        };
        rows.iter().map(sequence).collect()
    }

    async fn set_sequences(
        &self,
        tx: &mut Tx,
        topic: &str,
        new: &[(Uuid, Sequence)],
        changed: &[(Uuid, Sequence)],
    ) -> Result<(), StoreError> {
        const INSERT: &str = "INSERT INTO sequences (topic, key, last, last_id, poisoned_at, has_parked)
             SELECT $1, * FROM UNNEST($2::uuid[], $3::bigint[], $4::uuid[], $5::bigint[], $6::bool[])";
        const UPDATE: &str = "UPDATE sequences s
             SET last = n.last, last_id = n.last_id, poisoned_at = n.poisoned_at, has_parked = n.has_parked
             FROM UNNEST($2::uuid[], $3::bigint[], $4::uuid[], $5::bigint[], $6::bool[])
                  AS n (key, last, last_id, poisoned_at, has_parked)
             WHERE s.topic = $1 AND s.key = n.key";
        for (statement, rows) in [(INSERT, new), (UPDATE, changed)] {
            if rows.is_empty() {
                continue;
            }
            sqlx::query(statement)
                .bind(topic)
                .bind(rows.iter().map(|(key, _)| *key).collect::<Vec<_>>())
                .bind(rows.iter().map(|(_, row)| row.last).collect::<Vec<_>>())
                .bind(rows.iter().map(|(_, row)| row.last_id).collect::<Vec<_>>())
                .bind(rows.iter().map(|(_, row)| row.poisoned_at).collect::<Vec<_>>())
                .bind(rows.iter().map(|(_, row)| row.has_parked).collect::<Vec<_>>())
                .execute(&mut **tx)
                .await
                .map_err(store_error)?;
        }
        Ok(())
    }

    async fn parked(&self, tx: &mut Tx, topic: &str, keys: &[Uuid]) -> Result<Vec<Parked>, StoreError> {
        let rows = sqlx::query(
            r#"SELECT topic, key, sequence, message_id, partition, "offset", said_at, value, headers, error
               FROM parked WHERE topic = $1 AND key = ANY($2) ORDER BY key, sequence"#,
        )
        .bind(topic)
        .bind(keys)
        .fetch_all(&mut **tx)
        .await
        .map_err(store_error)?;
        rows.iter().map(ops::waiting).collect()
    }

    async fn park(&self, tx: &mut Tx, topic: &str, rows: &[Parked]) -> Result<Vec<(Uuid, i64)>, StoreError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let (keys, numbers): (Vec<Uuid>, Vec<i64>) = rows.iter().map(|row| (row.key, row.sequence)).unzip();
        let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        let partitions: Vec<_> = rows.iter().map(|row| row.record.partition.partition).collect();
        let offsets: Vec<_> = rows.iter().map(|row| row.record.offset).collect();
        let times: Vec<_> = rows.iter().map(|row| row.record.timestamp.to_utc()).collect();
        let values: Vec<_> = rows.iter().map(|row| row.record.value.as_deref()).collect();
        let headers: Vec<_> = rows.iter().map(|row| row.record.headers.to_json()).collect();
        let errors: Vec<_> = rows.iter().map(|row| row.error.as_str()).collect();
        let parked = sqlx::query(
            r#"INSERT INTO parked (topic, key, sequence, message_id, partition, "offset", said_at, value, headers, error)
               SELECT $1, * FROM UNNEST($2::uuid[], $3::bigint[], $4::uuid[], $5::int[], $6::bigint[],
                                        $7::timestamptz[], $8::bytea[], $9::text[], $10::text[])
               ON CONFLICT DO NOTHING"#,
        )
        .bind(topic)
        .bind(&keys)
        .bind(&numbers)
        .bind(&ids)
        .bind(&partitions)
        .bind(&offsets)
        .bind(&times)
        .bind(&values)
        .bind(&headers)
        .bind(&errors)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
        if parked.rows_affected() == rows.len() as u64 {
            return Ok(Vec::new());
        }
        // A stub is parked under the same id, and the producer published the record again.
        sqlx::query(
            r#"UPDATE parked p SET partition = n.partition, "offset" = n."offset", said_at = n.said_at, value = n.value,
                                  headers = n.headers, error = n.error
               FROM UNNEST($2::uuid[], $3::bigint[], $4::uuid[], $5::int[], $6::bigint[], $7::timestamptz[], $8::bytea[],
                           $9::text[], $10::text[])
                    AS n (key, sequence, message_id, partition, "offset", said_at, value, headers, error)
               WHERE p.topic = $1 AND p.key = n.key AND p.sequence = n.sequence AND p.message_id = n.message_id
                     AND p.value IS NULL AND n.value IS NOT NULL"#,
        )
        .bind(topic)
        .bind(&keys)
        .bind(&numbers)
        .bind(&ids)
        .bind(&partitions)
        .bind(&offsets)
        .bind(&times)
        .bind(&values)
        .bind(&headers)
        .bind(&errors)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
        sqlx::query_as(
            "SELECT n.key, n.sequence FROM UNNEST($2::uuid[], $3::bigint[], $4::uuid[]) AS n (key, sequence, message_id)
             JOIN parked p ON p.topic = $1 AND p.key = n.key AND p.sequence = n.sequence
             WHERE p.message_id <> n.message_id",
        )
        .bind(topic)
        .bind(&keys)
        .bind(&numbers)
        .bind(&ids)
        .fetch_all(&mut **tx)
        .await
        .map_err(store_error)
    }

    async fn unpark(&self, tx: &mut Tx, topic: &str, rows: &[(Uuid, i64)]) -> Result<(), StoreError> {
        let (keys, numbers): (Vec<Uuid>, Vec<i64>) = rows.iter().copied().unzip();
        sqlx::query(
            "DELETE FROM parked WHERE topic = $1
             AND (key, sequence) IN (SELECT * FROM UNNEST($2::uuid[], $3::bigint[]))",
        )
        .bind(topic)
        .bind(keys)
        .bind(numbers)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn insert_dead_letters(&self, tx: &mut Tx, letters: &[DeadLetter]) -> Result<(), StoreError> {
        for letter in letters {
            let record = &letter.record;
            sqlx::query(
                r#"INSERT INTO dead_letters (id, reason, detail, topic, partition, "offset", said_at, key, value, headers)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"#,
            )
            .bind(letter.id)
            .bind(format!("{:?}", letter.reason))
            .bind(&letter.detail)
            .bind(&record.partition.topic)
            .bind(record.partition.partition)
            .bind(record.offset)
            .bind(record.timestamp.to_utc())
            .bind(record.key.as_deref())
            .bind(record.value.as_deref())
            // Postgres texts hold no NUL; a foreign header may.
            .bind(record.headers.to_json().replace("\\u0000", "\\ufffd"))
            .execute(&mut **tx)
            .await
            .map_err(store_error)?;
        }
        Ok(())
    }

    async fn erase(&self, tx: &mut Tx, topics: &[String], keys: &[Uuid]) -> Result<(), StoreError> {
        let subjects: Vec<String> = keys.iter().map(|key| format!(r#"[["ce_subject", "{key}"]]"#)).collect();
        sqlx::query(
            "DELETE FROM dead_letters WHERE topic = ANY($1)
             AND (key = ANY(SELECT convert_to(k::text, 'UTF8') FROM UNNEST($2::uuid[]) AS k)
                  OR headers::jsonb @> ANY($3::text[]::jsonb[]))",
        )
        .bind(topics)
        .bind(keys)
        .bind(subjects)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
        sqlx::query("DELETE FROM delayed WHERE topic = ANY($1) AND key = ANY($2)")
            .bind(topics)
            .bind(keys)
            .execute(&mut **tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn append(&self, tx: &mut Tx, owner: Uuid, messages: &[OutboxMessage]) -> Result<Vec<i64>, StoreError> {
        outbox::append(tx, owner, messages).await
    }

    async fn acknowledge(&self, rows: &[(i64, Uuid)], offsets: &[(TopicPartition, i64)]) -> Result<(), StoreError> {
        in_time(outbox::acknowledge(self.pool(), rows, offsets)).await
    }

    async fn sweep(&self, owner: Uuid, min_age: Duration, limit: i64) -> Result<Vec<OutboxRow<i64>>, StoreError> {
        in_time(outbox::sweep(self.pool(), owner, min_age, limit)).await
    }

    async fn take_due(&self, owner: Uuid, limit: i64) -> Result<(Vec<OutboxRow<i64>>, Option<Duration>), StoreError> {
        in_time(outbox::take_due(self.pool(), owner, limit)).await
    }

    async fn adopt(&self, owner: Uuid, limit: i64) -> Result<Vec<OutboxRow<i64>>, StoreError> {
        in_time(outbox::adopt(self.pool(), owner, limit)).await
    }

    async fn start_lease(&self, owner: Uuid, length: Duration) -> Result<(), StoreError> {
        in_time(outbox::start_lease(self.pool(), owner, length)).await
    }

    async fn renew_lease(&self, owner: Uuid, length: Duration) -> Result<bool, StoreError> {
        in_time(outbox::renew_lease(self.pool(), owner, length)).await
    }

    async fn end_lease(&self, owner: Uuid) -> Result<(), StoreError> {
        in_time(outbox::end_lease(self.pool(), owner)).await
    }

    async fn outbox_gauge(&self) -> Result<OutboxGauge, StoreError> {
        in_time(outbox::gauge(self.pool())).await
    }

    async fn pending_topics(&self) -> Result<Vec<PendingTopic>, StoreError> {
        in_time(ops::pending_topics(self.pool())).await
    }

    async fn pending_keys(
        &self,
        tx: &mut Tx,
        after: Option<(&str, Uuid)>,
        limit: i64,
    ) -> Result<Vec<PendingKey>, StoreError> {
        ops::pending_keys(tx, after, limit).await
    }

    async fn count_dead_letters(&self) -> Result<i64, StoreError> {
        in_time(ops::count_dead_letters(self.pool())).await
    }

    async fn list_dead_letters(
        &self,
        tx: &mut Tx,
        before: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<StoredDeadLetter>, StoreError> {
        ops::letters(tx, before, limit).await
    }

    async fn dead_letter(&self, tx: &mut Tx, id: Uuid) -> Result<Option<StoredDeadLetter>, StoreError> {
        ops::letter(tx, id).await
    }

    async fn mark_redriven(&self, tx: &mut Tx, id: Uuid, command: Uuid) -> Result<(), StoreError> {
        ops::mark_redriven(tx, id, command).await
    }

    async fn discard_dead_letter(&self, tx: &mut Tx, id: Uuid) -> Result<bool, StoreError> {
        ops::discard(tx, id).await
    }

    async fn find_message(&self, tx: &mut Tx, id: Uuid) -> Result<MessageTrace, StoreError> {
        ops::where_is(tx, id).await
    }

    async fn schemas(&self) -> Result<Vec<StoredSchema>, StoreError> {
        let rows: Vec<(i32, String)> = sqlx::query_as("SELECT id, schema FROM schemas")
            .fetch_all(self.pool())
            .await
            .map_err(store_error)?;
        Ok(rows
            .into_iter()
            .map(|(id, schema)| StoredSchema { id, schema })
            .collect())
    }

    async fn save_schemas(&self, schemas: &[StoredSchema]) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO schemas (id, schema) SELECT * FROM UNNEST($1::int[], $2::text[])
             ON CONFLICT (id) DO UPDATE SET schema = EXCLUDED.schema WHERE schemas.schema <> EXCLUDED.schema",
        )
        .bind(schemas.iter().map(|schema| schema.id).collect::<Vec<_>>())
        .bind(schemas.iter().map(|schema| schema.schema.as_str()).collect::<Vec<_>>())
        .execute(self.pool())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    /// Makes the inbox's next partitions and drops the old ones; forgets leases that ran out long ago.
    async fn housekeeping(&self, inbox_retention: Duration) -> Result<(), StoreError> {
        let today = Utc::now().date_naive();
        let keep = i64::try_from(inbox_retention.as_secs() / 86_400).unwrap_or(i64::MAX / 2) + 1;
        let oldest = today - chrono::Days::new(keep as u64);
        let mut tx = self.begin().await?;
        // One process of a service at a time.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtext('rollcall.inbox'))")
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
        let existing: Vec<String> = sqlx::query_scalar(
            "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = 'inbox'::regclass AND c.relname <> 'inbox_other'",
        )
        .fetch_all(&mut *tx)
        .await
        .map_err(store_error)?;
        for name in &existing {
            let day = name
                .strip_prefix("inbox_")
                .and_then(|day| NaiveDate::parse_from_str(day, "%Y%m%d").ok());
            if day.is_some_and(|day| day < oldest) {
                sqlx::query(&format!("DROP TABLE {name}"))
                    .execute(&mut *tx)
                    .await
                    .map_err(store_error)?;
            }
        }
        for ahead in -keep..=DAYS_AHEAD {
            let day = today + chrono::Duration::days(ahead);
            let name = format!("inbox_{}", day.format("%Y%m%d"));
            if existing.contains(&name) {
                continue;
            }
            // What the default partition took in meanwhile moves over.
            let next = day + chrono::Days::new(1);
            let statements = [
                format!("CREATE TABLE {name} (LIKE inbox INCLUDING ALL)"),
                format!(
                    "WITH moved AS (DELETE FROM inbox_other WHERE day = '{day}' RETURNING day, message_id, attempt)
                     INSERT INTO {name} (day, message_id, attempt) SELECT day, message_id, attempt FROM moved"
                ),
                format!("ALTER TABLE inbox ATTACH PARTITION {name} FOR VALUES FROM ('{day}') TO ('{next}')"),
            ];
            for statement in statements {
                sqlx::query(&statement).execute(&mut *tx).await.map_err(store_error)?;
            }
        }
        sqlx::query("DELETE FROM inbox_other WHERE day < $1")
            .bind(oldest)
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
        sqlx::query("DELETE FROM relay_leases WHERE expires_at < clock_timestamp() - interval '1 hour'")
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
        tx.commit().await.map_err(store_error)
    }

    async fn boot_problems(&self) -> Result<Vec<String>, StoreError> {
        let (synchronous_commit, fsync, standbys): (String, String, String) = sqlx::query_as(
            "SELECT current_setting('synchronous_commit'), current_setting('fsync'),
                    current_setting('synchronous_standby_names')",
        )
        .fetch_one(self.pool())
        .await
        .map_err(store_error)?;
        let mut problems = Vec::new();
        if synchronous_commit == "off" || (synchronous_commit == "local" && !standbys.is_empty()) {
            problems.push(format!(
                "synchronous_commit is {synchronous_commit}: a commit that a crash or fail-over takes back may have been published"
            ));
        }
        if fsync == "off" {
            problems.push("fsync is off: a commit that a crash takes back may have been published".to_owned());
        }
        Ok(problems)
    }
}

/// Whether the server refused a commit. What ends the connection may come after the commit itself.
fn said_no(error: &sqlx::Error) -> bool {
    let refusal = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    refusal.is_some_and(|error| error.severity() == PgSeverity::Error && error.code() != "40003")
}

pub(crate) fn columns(partitions: &[TopicPartition]) -> (Vec<String>, Vec<i32>) {
    partitions
        .iter()
        .map(|partition| (partition.topic.clone(), partition.partition))
        .unzip()
}

/// Reads a column. Unlike `Row::get`, it does not panic where the table is not as this process knows it.
pub(crate) fn get<'r, T>(row: &'r PgRow, column: &str) -> Result<T, StoreError>
where
    T: Decode<'r, sqlx::Postgres> + Type<sqlx::Postgres>,
{
    row.try_get(column).map_err(store_error)
}

pub(crate) fn partition(row: &PgRow) -> Result<TopicPartition, StoreError> {
    Ok(TopicPartition::new(
        get::<String>(row, "topic")?,
        get(row, "partition")?,
    ))
}

pub(crate) fn value(row: &PgRow) -> Result<Option<Bytes>, StoreError> {
    Ok(get::<Option<Vec<u8>>>(row, "value")?.map(Bytes::from))
}

pub(crate) fn headers(row: &PgRow) -> Result<Headers, StoreError> {
    Headers::from_json(get(row, "headers")?).map_err(|error| StoreError::new(StoreErrorKind::Unexpected, error))
}

/// Columns that were written from a [`Timestamp`] fit into one.
pub(crate) fn timestamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp::from_micros(time.timestamp_micros()).unwrap_or_else(|_| Timestamp::now())
}
