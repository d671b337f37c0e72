//! The read model of events.

mod save;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgPool, QueryBuilder, Row};
use utoipa::ToSchema;
use uuid::Uuid;

use super::column;
use super::page::{Page, PageRequest, TimeAndId};
use super::viewer::Viewer;
use crate::text::text_enum;

pub use save::{current, save};

text_enum! {
    pub enum EventStatus {
        /// Visible only to its organizer and to admins.
        Draft => "draft",
        Published => "published",
        Cancelled => "cancelled",
        Ended => "ended",
    }
}

/// Something that people attend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema, sqlx::FromRow)]
pub struct Event {
    pub id: Uuid,
    pub organizer_id: Uuid,
    #[schema(examples("Analytical Engines"))]
    pub title: String,
    /// Markdown.
    #[schema(examples("An *evening* with punched cards."))]
    pub description: String,
    #[schema(examples("Somerset House"))]
    pub venue: String,
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
    /// IANA name of the venue's time zone.
    #[schema(examples("Europe/Berlin"))]
    pub time_zone: String,
    /// Number of seats.
    #[schema(examples(120))]
    pub capacity: i32,
    /// Time from which people can register. If it is missing, they can register from publication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_opens_at: Option<DateTime<Utc>>,
    /// Time from which people can no longer register.
    pub registration_closes_at: DateTime<Utc>,
    /// `true` if people can join a waiting list when all seats are taken.
    pub waiting_list: bool,
    pub status: EventStatus,
    pub created_at: DateTime<Utc>,
    /// Time of the last change.
    pub updated_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
    /// Users who may check people in besides the organizer. They are not part of the public representation.
    #[serde(skip)]
    pub staff: Vec<Uuid>,
    /// Number of changes to the event; also its `ETag`.
    #[schema(examples(3))]
    pub version: i64,
}

/// The seats of one event.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema, sqlx::FromRow)]
pub struct Availability {
    pub event_id: Uuid,
    #[schema(examples(120))]
    pub capacity: i32,
    #[schema(examples(119))]
    pub taken: i64,
    /// People on the waiting list.
    #[schema(examples(0))]
    pub waiting: i64,
    /// Number of seats that are available.
    #[schema(examples(1))]
    pub free: i64,
    /// `true` if people can register now, for a seat or for the waiting list.
    pub open: bool,
}

impl Event {
    /// Returns the size of the strings in bytes.
    fn size(&self) -> usize {
        self.title.len() + self.description.len() + self.venue.len()
    }
}

/// The events to list.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    pub status: EventStatus,
    /// Words in title, venue or description, in the syntax of a search engine (`websearch_to_tsquery`).
    pub text: Option<String>,
    /// Earliest start, inclusive.
    pub from: Option<DateTime<Utc>>,
    /// Latest start, exclusive.
    pub until: Option<DateTime<Utc>>,
    pub organizer: Option<Uuid>,
    /// `Some(true)` selects events with an available seat, `Some(false)` those without.
    pub has_seats: Option<bool>,
}

const COLUMNS: &str = "
    e.id, e.organizer_id, e.title, e.description, e.venue, e.starts_at, e.ends_at, e.time_zone, e.capacity,
    e.registration_opens_at, e.registration_closes_at, e.waiting_list, e.status, e.created_at, e.updated_at,
    e.published_at, e.cancelled_at, e.cancel_reason, e.ended_at, e.staff, e.version";

/// The condition for the events that the viewer may see: events that were published, and the viewer's own. An admin sees all.
const VISIBLE: &str = "(e.published_at IS NOT NULL OR e.organizer_id = $2 OR $3)";

/// The seats of an event. A roster that is not yet known counts as empty.
const SEATS: &str = "
    LEFT JOIN rosters r ON r.event_id = e.id
    CROSS JOIN LATERAL (
        SELECT coalesce(r.capacity, e.capacity) AS capacity, coalesce(r.taken, 0) AS taken,
               coalesce(r.waiting, 0) AS waiting) AS seats";

/// Returns a page of the events that a user organizes, newest first.
pub async fn of_organizer(pool: &PgPool, organizer: Uuid, page: PageRequest<Uuid>) -> sqlx::Result<Page<Event>> {
    let query = format!(
        "SELECT {COLUMNS} FROM events e
         WHERE e.organizer_id = $1 AND ($2::uuid IS NULL OR e.id < $2) ORDER BY e.id DESC LIMIT $3"
    );
    let rows = sqlx::query_as(&query)
        .bind(organizer)
        .bind(page.after)
        .bind(page.rows())
        .fetch(pool);
    page.read(rows, Event::size, |event| event.id).await
}

/// Returns the event, or `None` if it does not exist or `viewer` is not allowed to see it.
pub async fn find(pool: &PgPool, id: Uuid, viewer: Viewer) -> sqlx::Result<Option<Event>> {
    sqlx::query_as(&format!("SELECT {COLUMNS} FROM events e WHERE e.id = $1 AND {VISIBLE}"))
        .bind(id)
        .bind(viewer.user)
        .bind(viewer.sees_all)
        .fetch_optional(pool)
        .await
}

/// Returns an event for each request, or `None` if it does not exist or its viewer may not see it.
pub async fn find_all(pool: &PgPool, requests: &[(Uuid, Viewer)]) -> sqlx::Result<Vec<Option<Event>>> {
    let rows = sqlx::query(&format!(
        "SELECT n.ordinal, {COLUMNS}
         FROM UNNEST($1::uuid[], $2::uuid[], $3::bool[]) WITH ORDINALITY AS n (id, viewer, sees_all, ordinal)
         JOIN events e ON e.id = n.id
         WHERE e.published_at IS NOT NULL OR e.organizer_id = n.viewer OR n.sees_all"
    ))
    .bind(column(requests, |(id, _)| *id))
    .bind(column(requests, |(_, viewer)| viewer.user))
    .bind(column(requests, |(_, viewer)| viewer.sees_all))
    .fetch_all(pool)
    .await?;
    let mut events = vec![None; requests.len()];
    for row in rows {
        let ordinal: i64 = row.try_get("ordinal")?;
        let place = usize::try_from(ordinal - 1)
            .ok()
            .and_then(|index| events.get_mut(index));
        if let Some(place) = place {
            *place = Some(Event::from_row(&row)?);
        }
    }
    Ok(events)
}

/// Returns a page of the events that `viewer` may see, ordered by start.
///
/// The statement contains only the conditions of the filter, so each combination gets its own query plan.
pub async fn list(
    pool: &PgPool,
    viewer: Viewer,
    filter: &Filter,
    page: PageRequest<TimeAndId>,
) -> sqlx::Result<Page<Event>> {
    let mut query = QueryBuilder::new(format!("SELECT {COLUMNS} FROM events e"));
    if filter.has_seats.is_some() {
        query.push(SEATS);
    }
    query.push(" WHERE e.status = ").push_bind(filter.status.as_str());
    if !viewer.sees_all {
        match filter.status {
            EventStatus::Published | EventStatus::Ended => {}
            EventStatus::Draft => {
                query.push(" AND e.organizer_id = ").push_bind(viewer.user);
            }
            // A cancelled event may never have been published.
            EventStatus::Cancelled => {
                query.push(" AND (e.published_at IS NOT NULL OR e.organizer_id = ");
                query.push_bind(viewer.user).push(")");
            }
        }
    }
    if let Some(organizer) = filter.organizer {
        query.push(" AND e.organizer_id = ").push_bind(organizer);
    }
    if let Some(text) = &filter.text {
        query.push(" AND e.search @@ websearch_to_tsquery('simple', ");
        query.push_bind(text).push(")");
    }
    if let Some(from) = filter.from {
        query.push(" AND e.starts_at >= ").push_bind(from);
    }
    if let Some(until) = filter.until {
        query.push(" AND e.starts_at < ").push_bind(until);
    }
    if let Some(has_seats) = filter.has_seats {
        query.push(" AND (seats.capacity - seats.taken - seats.waiting > 0) = ");
        query.push_bind(has_seats);
    }
    if let Some(after) = page.after {
        query.push(" AND (e.starts_at, e.id) > (").push_bind(after.time);
        query.push(", ").push_bind(after.id).push(")");
    }
    query.push(" ORDER BY e.starts_at, e.id LIMIT ").push_bind(page.rows());
    let rows = query.build_query_as().fetch(pool);
    let cursor = |event: &Event| TimeAndId {
        time: event.starts_at,
        id: event.id,
    };
    page.read(rows, Event::size, cursor).await
}

/// Returns the seats of an event, or `None` if it does not exist or `viewer` is not allowed to see it.
pub async fn availability(pool: &PgPool, id: Uuid, viewer: Viewer) -> sqlx::Result<Option<Availability>> {
    sqlx::query_as(&format!(
        "SELECT e.id AS event_id, seats.capacity, seats.taken, seats.waiting,
                GREATEST(seats.capacity - seats.taken - seats.waiting, 0) AS free,
                e.status = 'published' AND NOT coalesce(r.closed, false)
                    AND coalesce(e.registration_opens_at <= clock_timestamp(), true)
                    AND e.registration_closes_at > clock_timestamp() AND e.starts_at > clock_timestamp()
                    AND (e.waiting_list OR seats.taken + seats.waiting < seats.capacity) AS open
         FROM events e {SEATS}
         WHERE e.id = $1 AND {VISIBLE}",
    ))
    .bind(id)
    .bind(viewer.user)
    .bind(viewer.sees_all)
    .fetch_optional(pool)
    .await
}
