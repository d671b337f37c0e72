use std::collections::{HashMap, HashSet};

use chrono::NaiveDate;
use messaging::TopicPartition;
use messaging::ledger::{
    DeadLetter, DeliveryLog, InboxEntry, Parked, Sequence, Step, StoreError, StoredSchema, TopicKey,
};
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

    async fn advance_all(&self, tx: &mut Tx, steps: &[Step]) -> Result<bool, StoreError> {
        // The rows are locked in order first, because an UPDATE takes its locks in the order of its plan. After it has waited
        // for a lock, Postgres evaluates the condition again on the newest version of the row.
        const MOVE: &str = "
            WITH locked AS MATERIALIZED (
                SELECT 1 FROM consumed
                WHERE (topic, partition) IN (SELECT * FROM UNNEST($1::text[], $2::int[]))
                ORDER BY topic, partition FOR UPDATE)
            UPDATE consumed c SET next_offset = n.next_offset
            FROM UNNEST($1::text[], $2::int[], $3::bigint[], $4::bigint[]) AS n (topic, partition, known, next_offset)
            WHERE (SELECT count(*) FROM locked) > 0
                  AND c.topic = n.topic AND c.partition = n.partition AND c.next_offset = n.known";
        const INSERT: &str = "
            INSERT INTO consumed (topic, partition, next_offset)
            SELECT * FROM UNNEST($1::text[], $2::int[], $3::bigint[]) AS n (topic, partition, next_offset)
            ORDER BY topic, partition
            ON CONFLICT DO NOTHING";
        let (first, moved): (Vec<&Step>, Vec<&Step>) = steps.iter().partition(|step| step.from.is_none());
        let mut changed = 0;
        if !moved.is_empty() {
            let (topics, partitions) = topics_and_numbers(&moved);
            let result = sqlx::query(MOVE)
                .bind(topics)
                .bind(partitions)
                .bind(moved.iter().map(|step| step.from).collect::<Vec<_>>())
                .bind(moved.iter().map(|step| step.to).collect::<Vec<_>>())
                .execute(&mut **tx)
                .await
                .map_err(store_error)?;
            changed += result.rows_affected();
        }
        if !first.is_empty() {
            let (topics, partitions) = topics_and_numbers(&first);
            let result = sqlx::query(INSERT)
                .bind(topics)
                .bind(partitions)
                .bind(first.iter().map(|step| step.to).collect::<Vec<_>>())
                .execute(&mut **tx)
                .await
                .map_err(store_error)?;
            changed += result.rows_affected();
        }
        Ok(changed == steps.len() as u64)
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

    async fn sequences(&self, tx: &mut Tx, keys: &[TopicKey]) -> Result<Vec<(TopicKey, Sequence)>, StoreError> {
        let (topics, keys) = topics_and_keys(keys);
        // Locked in the order of the keys, so two transactions do not deadlock.
        let rows = sqlx::query(
            "SELECT topic, key, last, last_id, poisoned_at, has_parked FROM sequences
             WHERE (topic, key) IN (SELECT * FROM UNNEST($1::text[], $2::uuid[])) ORDER BY topic, key FOR UPDATE",
        )
        .bind(topics)
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
            Ok((TopicKey::new(get::<String>(row, "topic")?, get(row, "key")?), sequence))
        };
        rows.iter().map(sequence).collect()
    }

    async fn set_sequences(
        &self,
        tx: &mut Tx,
        new: &[(TopicKey, Sequence)],
        changed: &[(TopicKey, Sequence)],
    ) -> Result<(), StoreError> {
        const INSERT: &str = "INSERT INTO sequences (topic, key, last, last_id, poisoned_at, has_parked)
             SELECT * FROM UNNEST($1::text[], $2::uuid[], $3::bigint[], $4::uuid[], $5::bigint[], $6::bool[])";
        const UPDATE: &str = "UPDATE sequences s
             SET last = n.last, last_id = n.last_id, poisoned_at = n.poisoned_at, has_parked = n.has_parked
             FROM UNNEST($1::text[], $2::uuid[], $3::bigint[], $4::uuid[], $5::bigint[], $6::bool[])
                  AS n (topic, key, last, last_id, poisoned_at, has_parked)
             WHERE s.topic = n.topic AND s.key = n.key";
        for (statement, rows) in [(INSERT, new), (UPDATE, changed)] {
            if rows.is_empty() {
                continue;
            }
            sqlx::query(statement)
                .bind(rows.iter().map(|(key, _)| key.topic.as_str()).collect::<Vec<_>>())
                .bind(rows.iter().map(|(key, _)| key.key).collect::<Vec<_>>())
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

    async fn parked(&self, tx: &mut Tx, key: &TopicKey, from: i64, limit: i64) -> Result<Vec<Parked>, StoreError> {
        let rows = sqlx::query(
            r#"SELECT topic, key, sequence, message_id, partition, "offset", said_at, value, headers, error
               FROM parked WHERE topic = $1 AND key = $2 AND sequence >= $3 ORDER BY sequence LIMIT $4"#,
        )
        .bind(&key.topic)
        .bind(key.key)
        .bind(from)
        .bind(limit)
        .fetch_all(&mut **tx)
        .await
        .map_err(store_error)?;
        rows.iter().map(parked).collect()
    }

    async fn park(&self, tx: &mut Tx, rows: &[Parked]) -> Result<Vec<(TopicKey, i64)>, StoreError> {
        // Two statements, because ON CONFLICT DO UPDATE fails if `rows` contain a key and number twice.
        const INSERT: &str = r#"
            INSERT INTO parked (topic, key, sequence, message_id, partition, "offset", said_at, value, headers, error)
            SELECT * FROM UNNEST($1::text[], $2::uuid[], $3::bigint[], $4::uuid[], $5::int[], $6::bigint[],
                                 $7::timestamptz[], $8::bytea[], $9::text[], $10::text[])
            ON CONFLICT DO NOTHING"#;
        // The producer has published a record again of which only a stub was parked.
        const REPLACE_STUBS: &str = r#"
            UPDATE parked p SET partition = n.partition, "offset" = n."offset", said_at = n.said_at, value = n.value,
                                headers = n.headers, error = n.error
            FROM UNNEST($1::text[], $2::uuid[], $3::bigint[], $4::uuid[], $5::int[], $6::bigint[], $7::timestamptz[],
                        $8::bytea[], $9::text[], $10::text[])
                 AS n (topic, key, sequence, message_id, partition, "offset", said_at, value, headers, error)
            WHERE p.topic = n.topic AND p.key = n.key AND p.sequence = n.sequence AND p.message_id = n.message_id
                  AND p.value IS NULL AND n.value IS NOT NULL"#;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let topics: Vec<&str> = rows.iter().map(|row| row.record.partition.topic.as_str()).collect();
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
                .bind(&topics)
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
        let forks: Vec<(String, Uuid, i64)> = sqlx::query_as(
            "SELECT n.topic, n.key, n.sequence
             FROM UNNEST($1::text[], $2::uuid[], $3::bigint[], $4::uuid[]) AS n (topic, key, sequence, message_id)
             JOIN parked p ON p.topic = n.topic AND p.key = n.key AND p.sequence = n.sequence
             WHERE p.message_id <> n.message_id",
        )
        .bind(&topics)
        .bind(&keys)
        .bind(&numbers)
        .bind(&ids)
        .fetch_all(&mut **tx)
        .await
        .map_err(store_error)?;
        let fork = |(topic, key, sequence)| (TopicKey { topic, key }, sequence);
        Ok(forks.into_iter().map(fork).collect())
    }

    async fn unpark(&self, tx: &mut Tx, rows: &[(TopicKey, i64)]) -> Result<(), StoreError> {
        let topics: Vec<&str> = rows.iter().map(|(key, _)| key.topic.as_str()).collect();
        let (keys, numbers): (Vec<Uuid>, Vec<i64>) = rows.iter().map(|(key, number)| (key.key, *number)).unzip();
        sqlx::query(
            "DELETE FROM parked
             WHERE (topic, key, sequence) IN (SELECT * FROM UNNEST($1::text[], $2::uuid[], $3::bigint[]))",
        )
        .bind(topics)
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

fn topics_and_numbers<'a>(steps: &[&'a Step]) -> (Vec<&'a str>, Vec<i32>) {
    let partitions = steps.iter().map(|step| &step.partition);
    partitions
        .map(|partition| (partition.topic.as_str(), partition.partition))
        .unzip()
}

fn topics_and_keys(keys: &[TopicKey]) -> (Vec<&str>, Vec<Uuid>) {
    keys.iter().map(|key| (key.topic.as_str(), key.key)).unzip()
}
