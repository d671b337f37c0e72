//! The newest status of every process.

use chrono::{DateTime, Utc};
use contracts::ProcessStatus;
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::column;

/// Age after which the status of a silent process is deleted.
const DELETED_AFTER: &str = "1 day";

/// The sum of `a.lag`. A process may report any numbers, and a report that is wrong must not make the sum fail.
const LAG: &str = "coalesce(least(sum(greatest(a.lag, 0)), 9223372036854775807), 0)::bigint AS lag";

/// Age of the last status after which a process counts as silent. A process publishes its status every few seconds.
const SILENT_AFTER: &str = "15 seconds";

/// The last status of one process.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema, sqlx::FromRow)]
pub struct Process {
    pub instance: Uuid,
    pub service: String,
    pub version: String,
    pub started_at: DateTime<Utc>,
    pub reported_at: DateTime<Utc>,
    /// `true` if the process is ready.
    pub ready: bool,
    /// `true` if the process has not reported for 15 seconds.
    pub silent: bool,
    /// Number of its messages that the broker has not yet acknowledged.
    pub outbox_rows: i64,
    pub outbox_oldest_age_ms: i64,
    /// Number of keys that a poison message blocks.
    pub parked_keys: i64,
    /// Age of the oldest gap in milliseconds; 0 if there is none.
    pub oldest_gap_age_ms: i64,
    pub dead_letters: i64,
    /// Number of messages not yet applied, over all of its partitions.
    pub lag: i64,
}

/// The lag of one service on one topic.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema, sqlx::FromRow)]
pub struct Lag {
    pub service: String,
    /// Name without the topic prefix.
    pub topic: String,
    pub partitions: i64,
    /// Number of messages not yet applied.
    pub lag: i64,
    /// Age of the oldest message not yet applied, in milliseconds.
    pub lag_ms: i64,
}

/// Returns all processes, including silent ones.
pub async fn all(pool: &PgPool) -> sqlx::Result<Vec<Process>> {
    sqlx::query_as(&format!(
        "SELECT instance, service, version, started_at, reported_at, ready,
                reported_at < clock_timestamp() - interval '{SILENT_AFTER}' AS silent,
                outbox_rows, outbox_oldest_age_ms, parked_keys, oldest_gap_age_ms, dead_letters,
                (SELECT {LAG} FROM jsonb_to_recordset(assignments) AS a (lag bigint))
         FROM processes ORDER BY service, started_at, instance"
    ))
    .fetch_all(pool)
    .await
}

/// Returns the lags without those of silent processes, because other processes own their partitions.
pub async fn lags(pool: &PgPool) -> sqlx::Result<Vec<Lag>> {
    sqlx::query_as(&format!(
        "SELECT service, a.topic, count(*) AS partitions, {LAG}, coalesce(max(a.lag_ms), 0) AS lag_ms
         FROM processes
         CROSS JOIN LATERAL jsonb_to_recordset(assignments) AS a (topic text, lag bigint, lag_ms bigint)
         WHERE reported_at >= clock_timestamp() - interval '{SILENT_AFTER}'
         GROUP BY service, a.topic ORDER BY service, a.topic"
    ))
    .fetch_all(pool)
    .await
}

/// Deletes the status of processes that have ended.
pub async fn delete(tx: &mut postgres::Tx, instances: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM processes WHERE instance = ANY ($1)")
        .bind(instances)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Inserts or updates these statuses and deletes those of processes that have been silent for a day.
///
/// A report from the future counts as a report of now, because its process would never be silent. Each process may occur at most once.
pub async fn save(tx: &mut postgres::Tx, reports: &[(Uuid, &ProcessStatus)]) -> sqlx::Result<()> {
    let assignments = |status: &ProcessStatus| serde_json::to_value(&status.assignments);
    let assignments: Vec<_> = reports
        .iter()
        .map(|(_, status)| assignments(status).map_err(|error| sqlx::Error::Encode(error.into())))
        .collect::<sqlx::Result<_>>()?;
    sqlx::query(
        "INSERT INTO processes (
             instance, service, version, started_at, reported_at, ready, outbox_rows, outbox_oldest_age_ms, assignments,
             parked_keys, oldest_gap_age_ms, dead_letters)
         SELECT instance, service, version, started_at, least(reported_at, clock_timestamp()), ready, outbox_rows,
                outbox_oldest_age_ms, assignments, parked_keys, oldest_gap_age_ms, dead_letters
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::bool[],
                     $7::bigint[], $8::bigint[], $9::jsonb[], $10::bigint[], $11::bigint[], $12::bigint[])
              AS n (instance, service, version, started_at, reported_at, ready, outbox_rows, outbox_oldest_age_ms,
                    assignments, parked_keys, oldest_gap_age_ms, dead_letters)
         ON CONFLICT (instance) DO UPDATE SET
             reported_at = EXCLUDED.reported_at, ready = EXCLUDED.ready, outbox_rows = EXCLUDED.outbox_rows,
             outbox_oldest_age_ms = EXCLUDED.outbox_oldest_age_ms, assignments = EXCLUDED.assignments,
             parked_keys = EXCLUDED.parked_keys, oldest_gap_age_ms = EXCLUDED.oldest_gap_age_ms,
             dead_letters = EXCLUDED.dead_letters",
    )
    .bind(column(reports, |(instance, _)| *instance))
    .bind(column(reports, |(_, status)| status.service.as_str()))
    .bind(column(reports, |(_, status)| status.version.as_str()))
    .bind(column(reports, |(_, status)| status.started_at.to_utc()))
    .bind(column(reports, |(_, status)| status.reported_at.to_utc()))
    .bind(column(reports, |(_, status)| status.ready))
    .bind(column(reports, |(_, status)| status.outbox_rows))
    .bind(column(reports, |(_, status)| status.outbox_oldest_age_ms))
    .bind(assignments)
    .bind(column(reports, |(_, status)| status.parked_keys))
    .bind(column(reports, |(_, status)| status.oldest_gap_age_ms))
    .bind(column(reports, |(_, status)| status.dead_letters))
    .execute(&mut **tx)
    .await?;
    sqlx::query(&format!(
        "DELETE FROM processes WHERE reported_at < clock_timestamp() - interval '{DELETED_AFTER}'"
    ))
    .execute(&mut **tx)
    .await?;
    Ok(())
}
