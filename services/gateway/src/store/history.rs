//! The history of events: their domain events, and the state after each of them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::column;
use super::page::{Page, PageRequest};

/// A domain event in the history of an event.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema, sqlx::FromRow)]
#[schema(as = EventHistoryEntry)]
pub struct Entry {
    /// The version of the event after this domain event.
    pub version: i64,
    /// Full name of the record.
    #[serde(rename = "type")]
    #[sqlx(rename = "type")]
    #[schema(examples("rollcall.events.EventPublished"))]
    pub type_name: String,
    pub at: DateTime<Utc>,
    /// The actor, as `user:<uuid>`, `admin:<uuid>` or `service:<name>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The operation that it belongs to.
    pub correlation_id: Uuid,
    /// The content of the domain event.
    #[schema(value_type = Object)]
    pub content: Value,
}

/// A domain event as it is stored in the read model.
pub struct HistoryRow {
    pub event_id: Uuid,
    pub entry: Entry,
    /// The event after this domain event, as the API returns it.
    pub state: Value,
}

/// Selects one of the states of an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Moment {
    /// The state after the domain event with this version.
    Version(i64),
    /// The state at this time.
    At(DateTime<Utc>),
}

/// Returns a page of the history of an event, oldest first.
pub async fn of_event(pool: &PgPool, event: Uuid, page: PageRequest<i64>) -> sqlx::Result<Page<Entry>> {
    let rows = sqlx::query_as(
        "SELECT version, type, at, actor, correlation_id, content FROM event_history
         WHERE event_id = $1 AND version > $2 ORDER BY version LIMIT $3",
    )
    .bind(event)
    .bind(page.after.unwrap_or(0))
    .bind(page.rows())
    .fetch(pool);
    let size = |entry: &Entry| entry.content.to_string().len();
    page.read(rows, size, |entry| entry.version).await
}

/// Returns the state of the event at this moment, or `None` if it did not exist.
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

/// Inserts history rows. Each version of an event may occur at most once.
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
