//! The newest report of every process.

use contracts::ProcessStatus;
use uuid::Uuid;

use super::users::column;

/// A report is forgotten when its process was silent for that long.
const FORGOTTEN_AFTER: &str = "1 day";

/// These processes have ended.
pub async fn delete(tx: &mut postgres::Tx, instances: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM processes WHERE instance = ANY ($1)")
        .bind(instances)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Each process at most once.
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
         SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::bool[],
                              $7::bigint[], $8::bigint[], $9::jsonb[], $10::bigint[], $11::bigint[], $12::bigint[])
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
        "DELETE FROM processes WHERE reported_at < clock_timestamp() - interval '{FORGOTTEN_AFTER}'"
    ))
    .execute(&mut **tx)
    .await?;
    Ok(())
}
