use std::time::Duration;

use contracts::Timestamp;
use messaging::TopicPartition;
use messaging::ledger::{Outbox, OutboxGauge, OutboxMessage, OutboxRow, StoreError};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::rows::{columns, get, headers, value};
use crate::{Postgres, Tx, in_time, store_error};

/// Number of rows up to which they are counted.
const MAX_COUNTED: i64 = 10_000;

impl Outbox for Postgres {
    type RowId = i64;

    async fn append(&self, tx: &mut Tx, owner: Uuid, messages: &[OutboxMessage]) -> Result<Vec<i64>, StoreError> {
        const READY: &str = "INSERT INTO outbox (owner, topic, key, value, headers)
             SELECT $1, topic, key, value, headers
             FROM UNNEST($2::text[], $3::uuid[], $4::bytea[], $5::text[]) WITH ORDINALITY
                  AS n (topic, key, value, headers, place)
             ORDER BY place RETURNING id";
        const DELAYED: &str = "INSERT INTO delayed (due_at, topic, key, value, headers)
             SELECT due_at, topic, key, value, headers
             FROM UNNEST($1::timestamptz[], $2::text[], $3::uuid[], $4::bytea[], $5::text[]) WITH ORDINALITY
                  AS n (due_at, topic, key, value, headers, place)
             ORDER BY place RETURNING id";
        let (ready, delayed): (Vec<&OutboxMessage>, Vec<&OutboxMessage>) =
            messages.iter().partition(|message| message.due_at.is_none());
        let mut ids = Vec::new();
        if !ready.is_empty() {
            let query = sqlx::query_scalar(READY).bind(owner);
            ids = bind_messages(query, &ready)
                .fetch_all(&mut **tx)
                .await
                .map_err(store_error)?;
            tx.succeeded();
        }
        let mut delayed_ids = Vec::new();
        if !delayed.is_empty() {
            let due: Vec<_> = delayed
                .iter()
                .map(|message| message.due_at.map(Timestamp::to_utc))
                .collect();
            let query = sqlx::query_scalar(DELAYED).bind(due);
            delayed_ids = bind_messages(query, &delayed)
                .fetch_all(&mut **tx)
                .await
                .map_err(store_error)?;
            tx.succeeded();
        }
        let (mut ids, mut delayed_ids) = (ids.into_iter(), delayed_ids.into_iter());
        Ok(messages
            .iter()
            .filter_map(|message| {
                if message.due_at.is_none() {
                    ids.next()
                } else {
                    delayed_ids.next()
                }
            })
            .collect())
    }

    async fn acknowledge(&self, rows: &[(i64, Uuid)], offsets: &[(TopicPartition, i64)]) -> Result<(), StoreError> {
        // One statement is one transaction, so no row is deleted without its offset.
        const ACKNOWLEDGE: &str = r#"
            WITH deleted AS (
                DELETE FROM outbox WHERE (owner, id) IN (SELECT * FROM UNNEST($1::uuid[], $2::bigint[])))
            INSERT INTO relay_offsets (topic, partition, "offset")
            SELECT * FROM UNNEST($3::text[], $4::int[], $5::bigint[]) AS n (topic, partition, "offset")
            ORDER BY topic, partition
            ON CONFLICT (topic, partition)
            DO UPDATE SET "offset" = EXCLUDED."offset" WHERE relay_offsets."offset" < EXCLUDED."offset""#;
        let (ids, owners): (Vec<i64>, Vec<Uuid>) = rows.iter().copied().unzip();
        let (partitions, newest): (Vec<_>, Vec<i64>) = offsets
            .iter()
            .map(|(partition, offset)| (partition.clone(), *offset))
            .unzip();
        let (topics, numbers) = columns(&partitions);
        let statement = sqlx::query(ACKNOWLEDGE)
            .bind(owners)
            .bind(ids)
            .bind(topics)
            .bind(numbers)
            .bind(newest);
        in_time(self.acknowledging.execute(statement)).await?;
        Ok(())
    }

    async fn sweep(&self, owner: Uuid, min_age: Duration, limit: i64) -> Result<Vec<OutboxRow<i64>>, StoreError> {
        in_time(async {
            let rows = sqlx::query(
                "SELECT owner, id, topic, key, value, headers FROM outbox
                 WHERE owner = $1 AND appended_at <= clock_timestamp() - make_interval(secs => $2)
                 ORDER BY id LIMIT $3",
            )
            .bind(owner)
            .bind(min_age.as_secs_f64())
            .bind(limit)
            .fetch_all(self.pool())
            .await
            .map_err(store_error)?;
            outbox_rows(rows)
        })
        .await
    }

    async fn take_due(&self, owner: Uuid, limit: i64) -> Result<(Vec<OutboxRow<i64>>, Option<Duration>), StoreError> {
        in_time(async {
            let rows = sqlx::query(
                "WITH due AS (
                     DELETE FROM delayed WHERE id IN (
                         SELECT id FROM delayed WHERE due_at <= clock_timestamp()
                         ORDER BY due_at, id LIMIT $2 FOR UPDATE SKIP LOCKED)
                     RETURNING id, topic, key, value, headers, due_at)
                 INSERT INTO outbox (owner, topic, key, value, headers)
                 SELECT $1, topic, key, value, headers FROM due ORDER BY due_at, id
                 RETURNING owner, id, topic, key, value, headers",
            )
            .bind(owner)
            .bind(limit)
            .fetch_all(self.pool())
            .await
            .map_err(store_error)?;
            let next: Option<f64> =
                sqlx::query_scalar("SELECT EXTRACT(EPOCH FROM min(due_at) - clock_timestamp())::float8 FROM delayed")
                    .fetch_one(self.pool())
                    .await
                    .map_err(store_error)?;
            Ok((
                outbox_rows(rows)?,
                next.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 3600.0))),
            ))
        })
        .await
    }

    async fn adopt(&self, owner: Uuid, limit: i64) -> Result<Vec<OutboxRow<i64>>, StoreError> {
        in_time(async {
            // The owners are found by skipping through the index, so a long outbox costs nothing.
            let rows = sqlx::query(
                "WITH RECURSIVE owners AS (
                     (SELECT owner FROM outbox ORDER BY owner LIMIT 1)
                     UNION ALL
                     SELECT (SELECT o.owner FROM outbox o WHERE o.owner > owners.owner ORDER BY o.owner LIMIT 1)
                     FROM owners WHERE owners.owner IS NOT NULL),
                 dead AS (
                     SELECT owner FROM owners WHERE owner IS NOT NULL AND owner <> $1 AND NOT EXISTS (
                         SELECT 1 FROM relay_leases l
                         WHERE l.owner = owners.owner AND l.expires_at > clock_timestamp())),
                 taken AS (
                     SELECT o.owner, o.id FROM outbox o JOIN dead USING (owner)
                     ORDER BY o.id LIMIT $2 FOR UPDATE OF o SKIP LOCKED)
                 UPDATE outbox SET owner = $1 FROM taken
                 WHERE outbox.owner = taken.owner AND outbox.id = taken.id
                 RETURNING outbox.owner, outbox.id, outbox.topic, outbox.key, outbox.value, outbox.headers",
            )
            .bind(owner)
            .bind(limit)
            .fetch_all(self.pool())
            .await
            .map_err(store_error)?;
            outbox_rows(rows)
        })
        .await
    }

    async fn start_lease(&self, owner: Uuid, length: Duration) -> Result<(), StoreError> {
        let statement = sqlx::query(
            "INSERT INTO relay_leases (owner, expires_at)
             VALUES ($1, clock_timestamp() + make_interval(secs => $2))
             ON CONFLICT (owner) DO UPDATE SET expires_at = EXCLUDED.expires_at",
        );
        in_time(self.leasing.execute(statement.bind(owner).bind(length.as_secs_f64()))).await?;
        Ok(())
    }

    async fn renew_lease(&self, owner: Uuid, length: Duration) -> Result<bool, StoreError> {
        let statement = sqlx::query(
            "UPDATE relay_leases SET expires_at = clock_timestamp() + make_interval(secs => $2)
             WHERE owner = $1 AND expires_at > clock_timestamp()",
        );
        let renewed = in_time(self.leasing.execute(statement.bind(owner).bind(length.as_secs_f64()))).await?;
        Ok(renewed == 1)
    }

    async fn end_lease(&self, owner: Uuid) -> Result<(), StoreError> {
        let statement = sqlx::query("DELETE FROM relay_leases WHERE owner = $1");
        in_time(self.leasing.execute(statement.bind(owner))).await?;
        Ok(())
    }

    async fn outbox_gauge(&self) -> Result<OutboxGauge, StoreError> {
        // Rows are counted up to a limit. Above it, the number that the statistics collector keeps is good enough. The oldest
        // row of each owner is its first one in the index, and the owners are found by skipping through the index.
        const GAUGE: &str = "
            WITH RECURSIVE oldest AS (
                (SELECT owner, appended_at FROM outbox ORDER BY owner, id LIMIT 1)
                UNION ALL
                SELECT next.owner, next.appended_at
                FROM oldest CROSS JOIN LATERAL (
                    SELECT o.owner, o.appended_at FROM outbox o
                    WHERE o.owner > oldest.owner ORDER BY o.owner, o.id LIMIT 1) AS next),
            counted AS (SELECT count(*) AS rows FROM (SELECT 1 FROM outbox LIMIT $1) AS first)
            SELECT CASE WHEN rows < $1 THEN rows
                        ELSE GREATEST(rows, pg_stat_get_live_tuples('outbox'::regclass)) END,
                   coalesce((SELECT EXTRACT(EPOCH FROM clock_timestamp() - min(appended_at)) FROM oldest), 0)::float8
            FROM counted";
        in_time(async {
            let (rows, oldest_age): (i64, f64) = sqlx::query_as(GAUGE)
                .bind(MAX_COUNTED)
                .fetch_one(self.pool())
                .await
                .map_err(store_error)?;
            Ok(OutboxGauge {
                rows,
                oldest_age: Duration::from_secs_f64(oldest_age.max(0.0)),
            })
        })
        .await
    }
}

type Scalar<'q> = sqlx::query::QueryScalar<'q, sqlx::Postgres, i64, sqlx::postgres::PgArguments>;

fn bind_messages<'q>(query: Scalar<'q>, messages: &[&'q OutboxMessage]) -> Scalar<'q> {
    query
        .bind(
            messages
                .iter()
                .map(|message| message.topic.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(messages.iter().map(|message| message.key).collect::<Vec<_>>())
        .bind(
            messages
                .iter()
                .map(|message| message.value.as_deref())
                .collect::<Vec<_>>(),
        )
        .bind(
            messages
                .iter()
                .map(|message| message.headers.to_json())
                .collect::<Vec<_>>(),
        )
}

/// Converts rows and sorts them in the order of the append.
fn outbox_rows(rows: Vec<PgRow>) -> Result<Vec<OutboxRow<i64>>, StoreError> {
    let mut rows = rows
        .iter()
        .map(|row| {
            Ok(OutboxRow {
                id: get(row, "id")?,
                owner: get(row, "owner")?,
                message: OutboxMessage {
                    topic: get(row, "topic")?,
                    key: get(row, "key")?,
                    value: value(row)?,
                    headers: headers(row)?,
                    due_at: None,
                },
            })
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    rows.sort_unstable_by_key(|row| row.id);
    Ok(rows)
}
