//! The read model of seats and waiting lists.

mod save;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use utoipa::ToSchema;
use uuid::Uuid;

use super::events::EventStatus;
use super::page::{Page, PageRequest};
use super::viewer::Viewer;
use crate::text::text_enum;

pub use save::{NewRegistration, RegistrationChange, RosterChange, save, save_rosters};

text_enum! {
    pub enum RegistrationStatus {
        /// The attendee has a seat.
        Confirmed => "confirmed",
        Waitlisted => "waitlisted",
        /// The attendee has a seat and was checked in.
        CheckedIn => "checked-in",
        Cancelled => "cancelled",
    }
}

text_enum! {
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
    /// Missing for a moment if the registration was received before the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<EventSummary>,
    /// The attendee. Only the organizer and the staff see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attendee: Option<Attendee>,
}

/// The details of an event that an attendee needs.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct EventSummary {
    #[schema(examples("Analytical Engines"))]
    pub title: String,
    #[schema(examples("Somerset House"))]
    pub venue: String,
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
    /// IANA name of the venue's time zone.
    #[schema(examples("Europe/London"))]
    pub time_zone: String,
    pub status: EventStatus,
}

/// The data of an attendee that an organizer sees.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Attendee {
    #[schema(examples("ada"))]
    pub username: String,
    #[schema(examples("Ada Lovelace"))]
    pub full_name: String,
    /// Only the organizer sees the e-mail address, not the staff.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Email, examples("ada@example.org"))]
    pub email: Option<String>,
}

const COLUMNS: &str = "
    SELECT r.id, r.event_id, r.user_id, r.status, r.position, r.registered_at, r.confirmed_at, r.checked_in_at,
           r.cancelled_at, r.cancel_reason, e.organizer_id, e.title, e.venue, e.starts_at, e.ends_at, e.time_zone,
           e.status AS event_status, p.username, p.full_name, p.email
    FROM registrations r
    LEFT JOIN events e ON e.id = r.event_id
    LEFT JOIN profiles p ON p.user_id = r.user_id";

/// Returns the registration, or `None` if it does not exist or `viewer` is not allowed to see it.
///
/// The attendee, the organizer of the event, and admins see a registration.
pub async fn find(pool: &PgPool, id: Uuid, viewer: Viewer) -> sqlx::Result<Option<Registration>> {
    let row = fetch(pool, id, viewer, "r.user_id = $2 OR e.organizer_id = $2 AND $4 OR $3").await?;
    row.map(|row| Ok(Listed::of(&row, Shown::to(&row, viewer)?)?.registration))
        .transpose()
}

/// Returns the registration, or `None` if it does not exist or `viewer` is not allowed to check in the attendee.
///
/// The organizer and the staff of the event, and admins may check people in.
pub async fn find_for_check_in(pool: &PgPool, id: Uuid, viewer: Viewer) -> sqlx::Result<Option<Registration>> {
    let row = fetch(
        pool,
        id,
        viewer,
        "e.organizer_id = $2 AND $4 OR $2 = ANY (e.staff) OR $3",
    )
    .await?;
    row.map(|row| {
        let shown = Shown {
            attendee: true,
            ..Shown::to(&row, viewer)?
        };
        Ok(Listed::of(&row, shown)?.registration)
    })
    .transpose()
}

/// Returns the row with this id if `condition` is true. In the condition, `$2` is the viewer's user id, `$3` is
/// [`Viewer::sees_all`] and `$4` is [`Viewer::organizes`].
async fn fetch(pool: &PgPool, id: Uuid, viewer: Viewer, condition: &str) -> sqlx::Result<Option<PgRow>> {
    sqlx::query(&format!("{COLUMNS} WHERE r.id = $1 AND ({condition})"))
        .bind(id)
        .bind(viewer.user)
        .bind(viewer.sees_all)
        .bind(viewer.organizes)
        .fetch_optional(pool)
        .await
}

/// Returns a page of the user's registrations, newest first.
pub async fn of_user(pool: &PgPool, user: Uuid, page: PageRequest<Uuid>) -> sqlx::Result<Page<Registration>> {
    let rows = sqlx::query(&format!(
        "{COLUMNS} WHERE r.user_id = $1 AND ($2::uuid IS NULL OR r.id < $2) ORDER BY r.id DESC LIMIT $3"
    ))
    .bind(user)
    .bind(page.after)
    .bind(page.rows())
    .fetch_all(pool)
    .await?;
    let shown = Shown {
        event: true,
        attendee: false,
        email: false,
    };
    listed_page(&rows, page, shown, |listed| listed.registration.id)
}

/// Returns a page of the registrations at an event, in the order in which people registered.
///
/// The caller must have checked that the viewer organizes the event, because the rows hold e-mail addresses.
pub async fn of_event(pool: &PgPool, event: Uuid, page: PageRequest<i64>) -> sqlx::Result<Page<Registration>> {
    let rows = sqlx::query(&format!(
        "{COLUMNS} WHERE r.event_id = $1 AND r.position > $2 ORDER BY r.position LIMIT $3"
    ))
    .bind(event)
    .bind(page.after.unwrap_or(i64::MIN))
    .bind(page.rows())
    .fetch_all(pool)
    .await?;
    let shown = Shown {
        event: false,
        attendee: true,
        email: true,
    };
    listed_page(&rows, page, shown, |listed| listed.position)
}

/// A registration, and its position in the list of an event.
struct Listed {
    registration: Registration,
    position: i64,
}

/// The parts of a joined row that the viewer sees.
#[derive(Clone, Copy)]
struct Shown {
    event: bool,
    attendee: bool,
    email: bool,
}

impl Shown {
    /// Returns the parts of a single registration that `viewer` sees.
    fn to(row: &PgRow, viewer: Viewer) -> sqlx::Result<Self> {
        let organizer: Option<Uuid> = row.try_get("organizer_id")?;
        let is_organizer = viewer.organizes && organizer.is_some() && organizer == viewer.user;
        let organizes = viewer.sees_all || is_organizer;
        let is_attendee = viewer.user == Some(row.try_get("user_id")?);
        Ok(Self {
            event: true,
            attendee: organizes && !is_attendee,
            email: organizes,
        })
    }
}

impl Listed {
    fn of(row: &PgRow, shown: Shown) -> sqlx::Result<Self> {
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
                email: row.try_get::<Option<_>, _>("email")?.filter(|_| shown.email),
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

fn listed_page<P: super::page::PageCursor>(
    rows: &[PgRow],
    page: PageRequest<P>,
    shown: Shown,
    cursor: impl Fn(&Listed) -> P,
) -> sqlx::Result<Page<Registration>> {
    let listed: Vec<Listed> = rows
        .iter()
        .map(|row| Listed::of(row, shown))
        .collect::<sqlx::Result<_>>()?;
    let page = page.page(listed, cursor);
    Ok(Page {
        items: page.items.into_iter().map(|listed| listed.registration).collect(),
        next: page.next,
    })
}
