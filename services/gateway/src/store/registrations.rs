//! Seats and waiting lists, as the registration service says.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, Row};
use utoipa::ToSchema;
use uuid::Uuid;

use super::events::EventStatus;
use super::page::{Cut, Page};
use super::users::column;
use crate::text::text;

text! {
    pub enum RegistrationStatus {
        /// With a seat.
        Confirmed => "confirmed",
        Waitlisted => "waitlisted",
        /// With a seat, and there.
        CheckedIn => "checked-in",
        Cancelled => "cancelled",
    }
}

text! {
    pub enum CancelReason {
        ByAttendee => "by-attendee",
        ByOrganizer => "by-organizer",
        EventCancelled => "event-cancelled",
        UserDeactivated => "user-deactivated",
        Other => "other",
    }
}

impl From<contracts::CancelReason> for CancelReason {
    fn from(reason: contracts::CancelReason) -> Self {
        match reason {
            contracts::CancelReason::ByAttendee => Self::ByAttendee,
            contracts::CancelReason::ByOrganizer => Self::ByOrganizer,
            contracts::CancelReason::EventCancelled => Self::EventCancelled,
            contracts::CancelReason::UserDeactivated => Self::UserDeactivated,
            contracts::CancelReason::Unknown => Self::Other,
        }
    }
}

/// One person's seat, or place on the waiting list, at one event.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Registration {
    pub id: Uuid,
    pub event_id: Uuid,
    pub user_id: Uuid,
    pub status: RegistrationStatus,
    pub registered_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_in_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<CancelReason>,
    /// Not there for a moment, where the registration was heard of first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<EventSummary>,
    /// Who it is: in an organizer's list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attendee: Option<Attendee>,
}

/// What a person needs to know of the event.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct EventSummary {
    pub title: String,
    pub venue: String,
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
    pub time_zone: String,
    pub status: EventStatus,
}

/// What an organizer sees of a person.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Attendee {
    pub username: String,
    pub full_name: String,
}

/// Sees a registration who holds it, and who organizes the event.
const COLUMNS: &str = "
    SELECT r.id, r.event_id, r.user_id, r.status, r.position, r.registered_at, r.confirmed_at,
           r.checked_in_at, r.cancelled_at, r.cancel_reason, e.title, e.venue, e.starts_at, e.ends_at, e.time_zone, e.status AS event_status,
           p.username, p.full_name
    FROM registrations r
    LEFT JOIN events e ON e.id = r.event_id
    LEFT JOIN profiles p ON p.user_id = r.user_id";

/// The registration, if it is `viewer`'s, or at an event that `viewer` organizes.
pub async fn find(pool: &PgPool, id: Uuid, viewer: Uuid) -> sqlx::Result<Option<Registration>> {
    let row = sqlx::query(&format!(
        "{COLUMNS} WHERE r.id = $1 AND (r.user_id = $2 OR e.organizer_id = $2)"
    ))
    .bind(id)
    .bind(viewer)
    .fetch_optional(pool)
    .await?;
    row.map(|row| {
        let attendee = row.try_get::<Uuid, _>("user_id")? != viewer;
        let listed = Listed::of(&row, Shown { event: true, attendee })?;
        Ok(listed.registration)
    })
    .transpose()
}

/// A person's own, the newest first.
pub async fn of_user(pool: &PgPool, user: Uuid, cut: Cut<Uuid>) -> sqlx::Result<Page<Registration>> {
    let rows = sqlx::query(&format!(
        "{COLUMNS} WHERE r.user_id = $1 AND ($2::uuid IS NULL OR r.id < $2) ORDER BY r.id DESC LIMIT $3"
    ))
    .bind(user)
    .bind(cut.after)
    .bind(cut.rows())
    .fetch_all(pool)
    .await?;
    let shown = Shown {
        event: true,
        attendee: false,
    };
    page(&rows, cut, shown, |listed| listed.registration.id)
}

/// Those of an event, in the order in which people registered. The caller knows that its organizer asks.
pub async fn of_event(pool: &PgPool, event: Uuid, cut: Cut<i64>) -> sqlx::Result<Page<Registration>> {
    let rows = sqlx::query(&format!(
        "{COLUMNS} WHERE r.event_id = $1 AND ($2::bigint IS NULL OR r.position > $2) ORDER BY r.position LIMIT $3"
    ))
    .bind(event)
    .bind(cut.after)
    .bind(cut.rows())
    .fetch_all(pool)
    .await?;
    let shown = Shown {
        event: false,
        attendee: true,
    };
    page(&rows, cut, shown, |listed| listed.position)
}

struct Listed {
    registration: Registration,
    position: i64,
}

/// What of the joined rows is shown.
#[derive(Clone, Copy)]
struct Shown {
    event: bool,
    attendee: bool,
}

impl Listed {
    fn of(row: &sqlx::postgres::PgRow, shown: Shown) -> sqlx::Result<Self> {
        let event = match row.try_get::<Option<String>, _>("title")? {
            Some(title) if shown.event => Some(EventSummary {
                title,
                venue: row.try_get("venue")?,
                starts_at: row.try_get("starts_at")?,
                ends_at: row.try_get("ends_at")?,
                time_zone: row.try_get("time_zone")?,
                status: row.try_get("event_status")?,
            }),
            _ => None,
        };
        let attendee = match row.try_get::<Option<String>, _>("username")? {
            Some(username) if shown.attendee => Some(Attendee {
                username,
                full_name: row.try_get("full_name")?,
            }),
            _ => None,
        };
        Ok(Self {
            position: row.try_get("position")?,
            registration: Registration {
                id: row.try_get("id")?,
                event_id: row.try_get("event_id")?,
                user_id: row.try_get("user_id")?,
                status: row.try_get("status")?,
                registered_at: row.try_get("registered_at")?,
                confirmed_at: row.try_get("confirmed_at")?,
                checked_in_at: row.try_get("checked_in_at")?,
                cancelled_at: row.try_get("cancelled_at")?,
                cancel_reason: row.try_get("cancel_reason")?,
                event,
                attendee,
            },
        })
    }
}

fn page<P: super::page::Place>(
    rows: &[sqlx::postgres::PgRow],
    cut: Cut<P>,
    shown: Shown,
    place: impl Fn(&Listed) -> P,
) -> sqlx::Result<Page<Registration>> {
    let listed: Vec<Listed> = rows
        .iter()
        .map(|row| Listed::of(row, shown))
        .collect::<sqlx::Result<_>>()?;
    let page = cut.page(listed, place);
    Ok(Page {
        items: page.items.into_iter().map(|listed| listed.registration).collect(),
        next: page.next,
    })
}

/// What several domain events of one roster come to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RosterChange {
    /// `None`: as it is.
    pub capacity: Option<i32>,
    pub closed: bool,
    /// How many seats were given, less those that came free.
    pub taken: i64,
    /// The same of the waiting list.
    pub waiting: i64,
    pub version: i64,
}

/// What several domain events of one registration come to.
#[derive(Debug, Clone, PartialEq)]
pub struct RegistrationChange {
    /// Where it began among these.
    pub begun: Option<Begun>,
    pub status: RegistrationStatus,
    pub confirmed_at: Option<DateTime<Utc>>,
    pub checked_in_at: Option<DateTime<Utc>>,
    pub cancelled_at: Option<DateTime<Utc>>,
    pub cancel_reason: Option<CancelReason>,
    pub version: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Begun {
    pub event_id: Uuid,
    pub user_id: Uuid,
    pub position: i64,
    pub registered_at: DateTime<Utc>,
}

/// Each event at most once.
pub async fn save_rosters(tx: &mut postgres::Tx, changes: &[(Uuid, RosterChange)]) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO rosters AS r (event_id, capacity, closed, taken, waiting, version)
         SELECT id, coalesce(capacity, 0), closed, taken, waiting, version
         FROM UNNEST($1::uuid[], $2::int[], $3::bool[], $4::bigint[], $5::bigint[], $6::bigint[])
              AS n (id, capacity, closed, taken, waiting, version)
         ON CONFLICT (event_id) DO UPDATE SET
             capacity = CASE WHEN EXCLUDED.capacity > 0 THEN EXCLUDED.capacity ELSE r.capacity END,
             closed = r.closed OR EXCLUDED.closed, taken = r.taken + EXCLUDED.taken,
             waiting = r.waiting + EXCLUDED.waiting, version = EXCLUDED.version",
    )
    .bind(column(changes, |(id, _)| *id))
    .bind(column(changes, |(_, change)| change.capacity))
    .bind(column(changes, |(_, change)| change.closed))
    .bind(column(changes, |(_, change)| change.taken))
    .bind(column(changes, |(_, change)| change.waiting))
    .bind(column(changes, |(_, change)| change.version))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Each registration at most once.
pub async fn save(tx: &mut postgres::Tx, changes: &[(Uuid, RegistrationChange)]) -> sqlx::Result<()> {
    let begun: Vec<(Uuid, &RegistrationChange, &Begun)> = changes
        .iter()
        .filter_map(|(id, change)| Some((*id, change, change.begun.as_ref()?)))
        .collect();
    if !begun.is_empty() {
        sqlx::query(
            "INSERT INTO registrations (
                 id, event_id, user_id, status, position, registered_at, confirmed_at, checked_in_at, cancelled_at,
                 cancel_reason, version)
             SELECT * FROM UNNEST(
                 $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::timestamptz[], $7::timestamptz[],
                 $8::timestamptz[], $9::timestamptz[], $10::text[], $11::bigint[])
             ON CONFLICT (id) DO UPDATE SET
                 status = EXCLUDED.status, confirmed_at = EXCLUDED.confirmed_at,
                 checked_in_at = EXCLUDED.checked_in_at, cancelled_at = EXCLUDED.cancelled_at, cancel_reason = EXCLUDED.cancel_reason,
                 version = EXCLUDED.version",
        )
        .bind(column(&begun, |(id, ..)| *id))
        .bind(column(&begun, |(.., begun)| begun.event_id))
        .bind(column(&begun, |(.., begun)| begun.user_id))
        .bind(column(&begun, |(_, change, _)| change.status.as_str()))
        .bind(column(&begun, |(.., begun)| begun.position))
        .bind(column(&begun, |(.., begun)| begun.registered_at))
        .bind(column(&begun, |(_, change, _)| change.confirmed_at))
        .bind(column(&begun, |(_, change, _)| change.checked_in_at))
        .bind(column(&begun, |(_, change, _)| change.cancelled_at))
        .bind(column(&begun, |(_, change, _)| {
            change.cancel_reason.map(CancelReason::as_str)
        }))
        .bind(column(&begun, |(_, change, _)| change.version))
        .execute(&mut **tx)
        .await?;
    }
    let gone_on: Vec<&(Uuid, RegistrationChange)> =
        changes.iter().filter(|(_, change)| change.begun.is_none()).collect();
    if !gone_on.is_empty() {
        sqlx::query(
            "UPDATE registrations r SET
                 status = n.status, confirmed_at = coalesce(n.confirmed_at, r.confirmed_at),
                 checked_in_at = coalesce(n.checked_in_at, r.checked_in_at),
                 cancelled_at = coalesce(n.cancelled_at, r.cancelled_at),
                 cancel_reason = coalesce(n.cancel_reason, r.cancel_reason), version = n.version
             FROM UNNEST($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::text[],
                         $7::bigint[])
                  AS n (id, status, confirmed_at, checked_in_at, cancelled_at, cancel_reason, version)
             WHERE r.id = n.id",
        )
        .bind(column(&gone_on, |(id, _)| *id))
        .bind(column(&gone_on, |(_, change)| change.status.as_str()))
        .bind(column(&gone_on, |(_, change)| change.confirmed_at))
        .bind(column(&gone_on, |(_, change)| change.checked_in_at))
        .bind(column(&gone_on, |(_, change)| change.cancelled_at))
        .bind(column(&gone_on, |(_, change)| {
            change.cancel_reason.map(CancelReason::as_str)
        }))
        .bind(column(&gone_on, |(_, change)| change.version))
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}
