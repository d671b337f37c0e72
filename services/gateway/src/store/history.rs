//! What happened to events, and how they were then.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::page::{Page, PageRequest};
use super::users::column;

/// A domain event of an event.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema, sqlx::FromRow)]
#[schema(as = EventHistoryEntry)]
pub struct Entry {
    /// Of the event, after it.
    pub version: i64,
    /// Full name of the record.
    #[serde(rename = "type")]
    #[sqlx(rename = "type")]
    #[schema(examples("rollcall.events.EventPublished"))]
    pub type_name: String,
    pub at: DateTime<Utc>,
    /// On whose behalf: `user:`, `admin:` or `service:`, and who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The operation that it belongs to.
    pub correlation_id: Uuid,
    /// What the domain event says.
    #[schema(value_type = Object)]
    pub content: Value,
}

/// A domain event, for the read model.
pub struct HistoryRow {
    pub event_id: Uuid,
    pub entry: Entry,
    /// The event after it, as it is shown.
    pub state: Value,
}

/// Which of an event's states.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Moment {
    Version(i64),
    At(DateTime<Utc>),
}

/// From the first on.
pub async fn of_event(pool: &PgPool, event: Uuid, cut: PageRequest<i64>) -> sqlx::Result<Page<Entry>> {
    let rows = sqlx::query_as(
        "SELECT version, type, at, actor, correlation_id, content FROM event_history
         WHERE event_id = $1 AND version > $2 ORDER BY version LIMIT $3",
    )
    .bind(event)
    .bind(cut.after.unwrap_or(0))
    .bind(cut.rows())
    .fetch(pool);
    let size = |entry: &Entry| entry.content.to_string().len();
    cut.read(rows, size, |entry| entry.version).await
}

/// The event as it was then. `None`: there was none.
pub async fn state(pool: &PgPool, event: Uuid, moment: Moment) -> sqlx::Result<Option<Value>> {
    let (version, at) = match moment {
        Moment::Version(version) => (Some(version), None),
        Moment::At(at) => (None, Some(at)),
    };
    sqlx::query_scalar(
        "SELECT state FROM event_history
         WHERE event_id = $1 AND ($2::bigint IS NULL OR version = $2) AND ($3::timestamptz IS NULL OR at <= $3)
         ORDER BY version DESC LIMIT 1",
    )
    .bind(event)
    .bind(version)
    .bind(at)
    .fetch_optional(pool)
    .await
}

/// Each version at most once.
pub async fn save(tx: &mut postgres::Tx, rows: &[HistoryRow]) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO event_history (event_id, version, type, at, actor, correlation_id, content, state)
         SELECT * FROM UNNEST($1::uuid[], $2::bigint[], $3::text[], $4::timestamptz[], $5::text[], $6::uuid[],
                              $7::jsonb[], $8::jsonb[])",
    )
    .bind(column(rows, |row| row.event_id))
    .bind(column(rows, |row| row.entry.version))
    .bind(column(rows, |row| row.entry.type_name.clone()))
    .bind(column(rows, |row| row.entry.at))
    .bind(column(rows, |row| row.entry.actor.clone()))
    .bind(column(rows, |row| row.entry.correlation_id))
    .bind(column(rows, |row| row.entry.content.clone()))
    .bind(column(rows, |row| row.state.clone()))
    .execute(&mut **tx)
    .await?;
    Ok(())
}
