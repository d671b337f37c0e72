//! Events, as the event service says.

use chrono::{DateTime, Utc};
use contracts::Details;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::page::{Cut, Page, TimeAndId};
use super::users::column;
use crate::text::text;

text! {
    pub enum EventStatus {
        /// Seen by its organizer alone.
        Draft => "draft",
        Published => "published",
        Cancelled => "cancelled",
        Ended => "ended",
    }
}

/// Something that people attend.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema, sqlx::FromRow)]
pub struct Event {
    pub id: Uuid,
    pub organizer_id: Uuid,
    pub title: String,
    /// Markdown.
    pub description: String,
    pub venue: String,
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
    /// IANA name of the venue's time zone.
    #[schema(examples("Europe/Berlin"))]
    pub time_zone: String,
    /// Number of seats.
    pub capacity: i32,
    /// From then on nobody can register.
    pub registration_closes_at: DateTime<Utc>,
    /// Whether people may wait for a seat when all are taken.
    pub waiting_list: bool,
    pub status: EventStatus,
    pub created_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
    /// Counts the event's changes; also its `ETag`.
    pub version: i64,
}

/// Seats of one event.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema, sqlx::FromRow)]
pub struct Availability {
    pub event_id: Uuid,
    pub capacity: i32,
    pub taken: i64,
    /// People on the waiting list.
    pub waiting: i64,
    /// Seats that can be had.
    pub free: i64,
    /// Whether one can register now, for a seat or for the waiting list.
    pub open: bool,
}

/// What several domain events of one event come to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventChange {
    /// `None`: as they are.
    pub details: Option<Details>,
    pub status: Option<EventStatus>,
    pub created_at: Option<DateTime<Utc>>,
    pub published_at: Option<DateTime<Utc>>,
    pub cancelled_at: Option<DateTime<Utc>>,
    pub cancel_reason: Option<String>,
    pub ended_at: Option<DateTime<Utc>>,
    pub version: i64,
}

/// What `viewer` may see: what was published, and one's own drafts.
const VISIBLE: &str = "(e.published_at IS NOT NULL OR e.organizer_id = $2)";

/// The event, if `viewer` may see it.
pub async fn find(pool: &PgPool, id: Uuid, viewer: Option<Uuid>) -> sqlx::Result<Option<Event>> {
    sqlx::query_as(&format!("SELECT e.* FROM events e WHERE e.id = $1 AND {VISIBLE}"))
        .bind(id)
        .bind(viewer)
        .fetch_optional(pool)
        .await
}

/// Published events, by their start.
pub async fn published(pool: &PgPool, cut: Cut<TimeAndId>) -> sqlx::Result<Page<Event>> {
    let rows = sqlx::query_as(
        "SELECT * FROM events
         WHERE status = 'published' AND ($1::timestamptz IS NULL OR (starts_at, id) > ($1, $2))
         ORDER BY starts_at, id LIMIT $3",
    )
    .bind(cut.after.map(|place| place.time))
    .bind(cut.after.map(|place| place.id))
    .bind(cut.rows())
    .fetch_all(pool)
    .await?;
    Ok(cut.page(rows, |event: &Event| TimeAndId {
        time: event.starts_at,
        id: event.id,
    }))
}

/// The seats of an event that `viewer` may see. A roster that was not heard of yet counts as empty.
pub async fn availability(pool: &PgPool, id: Uuid, viewer: Option<Uuid>) -> sqlx::Result<Option<Availability>> {
    sqlx::query_as(&format!(
        "SELECT e.id AS event_id, seats.capacity, seats.taken, seats.waiting,
                GREATEST(seats.capacity - seats.taken - seats.waiting, 0) AS free,
                e.status = 'published' AND NOT coalesce(r.closed, false)
                    AND e.registration_closes_at > clock_timestamp() AND e.starts_at > clock_timestamp()
                    AND (e.waiting_list OR seats.taken + seats.waiting < seats.capacity) AS open
         FROM events e
         LEFT JOIN rosters r ON r.event_id = e.id
         CROSS JOIN LATERAL (
             SELECT coalesce(r.capacity, e.capacity) AS capacity, coalesce(r.taken, 0) AS taken,
                    coalesce(r.waiting, 0) AS waiting) AS seats
         WHERE e.id = $1 AND {VISIBLE}",
    ))
    .bind(id)
    .bind(viewer)
    .fetch_optional(pool)
    .await
}

/// Each event at most once. Those with details are written whole.
pub async fn save(tx: &mut postgres::Tx, changes: &[(Uuid, EventChange)]) -> sqlx::Result<()> {
    let whole: Vec<(Uuid, &EventChange, &Details)> = changes
        .iter()
        .filter_map(|(id, change)| Some((*id, change, change.details.as_ref()?)))
        .collect();
    if !whole.is_empty() {
        sqlx::query(
            "INSERT INTO events AS e (
                 id, organizer_id, title, description, venue, starts_at, ends_at, time_zone, capacity,
                 registration_closes_at, waiting_list, status, created_at, published_at, cancelled_at, cancel_reason,
                 ended_at, version)
             SELECT * FROM UNNEST(
                 $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[],
                 $8::text[], $9::int[], $10::timestamptz[], $11::bool[], $12::text[], $13::timestamptz[],
                 $14::timestamptz[], $15::timestamptz[], $16::text[], $17::timestamptz[], $18::bigint[])
             ON CONFLICT (id) DO UPDATE SET
                 organizer_id = EXCLUDED.organizer_id, title = EXCLUDED.title, description = EXCLUDED.description,
                 venue = EXCLUDED.venue, starts_at = EXCLUDED.starts_at, ends_at = EXCLUDED.ends_at,
                 time_zone = EXCLUDED.time_zone, capacity = EXCLUDED.capacity,
                 registration_closes_at = EXCLUDED.registration_closes_at, waiting_list = EXCLUDED.waiting_list,
                 status = EXCLUDED.status, created_at = LEAST(e.created_at, EXCLUDED.created_at),
                 published_at = coalesce(EXCLUDED.published_at, e.published_at),
                 cancelled_at = coalesce(EXCLUDED.cancelled_at, e.cancelled_at),
                 cancel_reason = coalesce(EXCLUDED.cancel_reason, e.cancel_reason),
                 ended_at = coalesce(EXCLUDED.ended_at, e.ended_at), version = EXCLUDED.version",
        )
        .bind(column(&whole, |(id, ..)| *id))
        .bind(column(&whole, |(.., details)| details.organizer_id))
        .bind(column(&whole, |(.., details)| details.title.as_str()))
        .bind(column(&whole, |(.., details)| details.description.as_str()))
        .bind(column(&whole, |(.., details)| details.venue.as_str()))
        .bind(column(&whole, |(.., details)| details.starts_at.to_utc()))
        .bind(column(&whole, |(.., details)| details.ends_at.to_utc()))
        .bind(column(&whole, |(.., details)| details.time_zone.as_str()))
        .bind(column(&whole, |(.., details)| details.capacity))
        .bind(column(&whole, |(.., details)| details.registration_closes_at.to_utc()))
        .bind(column(&whole, |(.., details)| details.waiting_list))
        .bind(column(&whole, |(_, change, _)| {
            change.status.unwrap_or(EventStatus::Draft).as_str()
        }))
        .bind(column(&whole, |(_, change, _)| {
            change.created_at.or(change.published_at)
        }))
        .bind(column(&whole, |(_, change, _)| change.published_at))
        .bind(column(&whole, |(_, change, _)| change.cancelled_at))
        .bind(column(&whole, |(_, change, _)| change.cancel_reason.as_deref()))
        .bind(column(&whole, |(_, change, _)| change.ended_at))
        .bind(column(&whole, |(_, change, _)| change.version))
        .execute(&mut **tx)
        .await?;
    }
    let part: Vec<&(Uuid, EventChange)> = changes.iter().filter(|(_, change)| change.details.is_none()).collect();
    if !part.is_empty() {
        sqlx::query(
            "UPDATE events e SET
                 status = coalesce(n.status, e.status), cancelled_at = coalesce(n.cancelled_at, e.cancelled_at),
                 cancel_reason = coalesce(n.cancel_reason, e.cancel_reason),
                 ended_at = coalesce(n.ended_at, e.ended_at), version = n.version
             FROM UNNEST($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::timestamptz[], $6::bigint[])
                  AS n (id, status, cancelled_at, cancel_reason, ended_at, version)
             WHERE e.id = n.id",
        )
        .bind(column(&part, |(id, _)| *id))
        .bind(column(&part, |(_, change)| change.status.map(EventStatus::as_str)))
        .bind(column(&part, |(_, change)| change.cancelled_at))
        .bind(column(&part, |(_, change)| change.cancel_reason.as_deref()))
        .bind(column(&part, |(_, change)| change.ended_at))
        .bind(column(&part, |(_, change)| change.version))
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}
