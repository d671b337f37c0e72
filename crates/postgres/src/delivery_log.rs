use std::collections::{HashMap, HashSet};

use chrono::NaiveDate;
use messaging::TopicPartition;
use messaging::ledger::{DeadLetter, DeliveryLog, InboxEntry, Parked, Sequence, StoreError, StoredSchema};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::rows::{columns, get, parked, partition};
use crate::{Postgres, Tx, in_time, store_error};

impl DeliveryLog for Postgres {
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
        // Locked in the order of the keys, so two transactions do not deadlock.
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
        rows.iter().map(parked).collect()
    }

    async fn park(&self, tx: &mut Tx, topic: &str, rows: &[Parked]) -> Result<Vec<(Uuid, i64)>, StoreError> {
        // Two statements, because ON CONFLICT DO UPDATE fails if `rows` contain a key and number twice.
        const INSERT: &str = r#"
            INSERT INTO parked (topic, key, sequence, message_id, partition, "offset", said_at, value, headers, error)
            SELECT $1, * FROM UNNEST($2::uuid[], $3::bigint[], $4::uuid[], $5::int[], $6::bigint[], $7::timestamptz[],
                                     $8::bytea[], $9::text[], $10::text[])
            ON CONFLICT DO NOTHING"#;
        // The producer has published a record again of which only a stub was parked.
        const REPLACE_STUBS: &str = r#"
            UPDATE parked p SET partition = n.partition, "offset" = n."offset", said_at = n.said_at, value = n.value,
                                headers = n.headers, error = n.error
            FROM UNNEST($2::uuid[], $3::bigint[], $4::uuid[], $5::int[], $6::bigint[], $7::timestamptz[], $8::bytea[],
                        $9::text[], $10::text[])
                 AS n (key, sequence, message_id, partition, "offset", said_at, value, headers, error)
            WHERE p.topic = $1 AND p.key = n.key AND p.sequence = n.sequence AND p.message_id = n.message_id
                  AND p.value IS NULL AND n.value IS NOT NULL"#;
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
        let bind = |statement| {
            sqlx::query(statement)
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
        };
        let inserted = bind(INSERT).execute(&mut **tx).await.map_err(store_error)?;
        if inserted.rows_affected() == rows.len() as u64 {
            return Ok(Vec::new());
        }
        bind(REPLACE_STUBS).execute(&mut **tx).await.map_err(store_error)?;
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

    async fn insert_dead_letters(&self, tx: &mut Tx, dead_letters: &[DeadLetter]) -> Result<(), StoreError> {
        for dead_letter in dead_letters {
            let record = &dead_letter.record;
            sqlx::query(
                r#"INSERT INTO dead_letters (id, reason, detail, topic, partition, "offset", said_at, key, value, headers)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"#,
            )
            .bind(dead_letter.id)
            .bind(format!("{:?}", dead_letter.reason))
            .bind(&dead_letter.detail)
            .bind(&record.partition.topic)
            .bind(record.partition.partition)
            .bind(record.offset)
            .bind(record.timestamp.to_utc())
            .bind(record.key.as_deref())
            .bind(record.value.as_deref())
            // A third-party header may contain NUL, which a Postgres text cannot.
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
}
