//! Seats and waiting lists, as the registration service says.

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
use crate::text::text;

pub use save::{Begun, RegistrationChange, RosterChange, save, save_rosters};

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
    /// Who it is: for the organizer and the staff.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attendee: Option<Attendee>,
}

/// What a person needs to know of the event.
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

/// What an organizer sees of a person.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Attendee {
    #[schema(examples("ada"))]
    pub username: String,
    #[schema(examples("Ada Lovelace"))]
    pub full_name: String,
    /// For the organizer alone, not for the staff.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Email, examples("ada@example.org"))]
    pub email: Option<String>,
}

/// Sees a registration who holds it, who organizes the event, and an admin; at the door, the staff does too.
const COLUMNS: &str = "
    SELECT r.id, r.event_id, r.user_id, r.status, r.position, r.registered_at, r.confirmed_at, r.checked_in_at,
           r.cancelled_at, r.cancel_reason, e.organizer_id, e.title, e.venue, e.starts_at, e.ends_at, e.time_zone,
           e.status AS event_status, p.username, p.full_name, p.email
    FROM registrations r
    LEFT JOIN events e ON e.id = r.event_id
    LEFT JOIN profiles p ON p.user_id = r.user_id";

/// The registration, if it is `viewer`'s, or at an event that `viewer` organizes.
pub async fn find(pool: &PgPool, id: Uuid, viewer: Viewer) -> sqlx::Result<Option<Registration>> {
    let row = one(pool, id, viewer, "r.user_id = $2 OR e.organizer_id = $2 AND $4 OR $3").await?;
    row.map(|row| Ok(Listed::of(&row, Shown::to(&row, viewer)?)?.registration))
        .transpose()
}

/// The registration, if `viewer` may let its holder in: as the organizer, as staff, as an admin.
pub async fn find_for_check_in(pool: &PgPool, id: Uuid, viewer: Viewer) -> sqlx::Result<Option<Registration>> {
    let row = one(
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

/// The one with this id. `who` is the condition on `viewer`: the user is `$2`, `$3` whether all is seen, and `$4` whether
/// what is organized is.
async fn one(pool: &PgPool, id: Uuid, viewer: Viewer, who: &str) -> sqlx::Result<Option<PgRow>> {
    sqlx::query(&format!("{COLUMNS} WHERE r.id = $1 AND ({who})"))
        .bind(id)
        .bind(viewer.user)
        .bind(viewer.sees_all)
        .bind(viewer.organizes)
        .fetch_optional(pool)
        .await
}

/// A person's own, the newest first.
pub async fn of_user(pool: &PgPool, user: Uuid, cut: PageRequest<Uuid>) -> sqlx::Result<Page<Registration>> {
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
        email: false,
    };
    page(&rows, cut, shown, |listed| listed.registration.id)
}

/// Those of an event, in the order in which people registered. The caller knows that its organizer asks.
pub async fn of_event(pool: &PgPool, event: Uuid, cut: PageRequest<i64>) -> sqlx::Result<Page<Registration>> {
    let rows = sqlx::query(&format!(
        "{COLUMNS} WHERE r.event_id = $1 AND r.position > $2 ORDER BY r.position LIMIT $3"
    ))
    .bind(event)
    .bind(cut.after.unwrap_or(i64::MIN))
    .bind(cut.rows())
    .fetch_all(pool)
    .await?;
    let shown = Shown {
        event: false,
        attendee: true,
        email: true,
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
    email: bool,
}

impl Shown {
    /// What a single one shows.
    fn to(row: &PgRow, viewer: Viewer) -> sqlx::Result<Self> {
        let organizer: Option<Uuid> = row.try_get("organizer_id")?;
        let own = viewer.organizes && organizer.is_some() && organizer == viewer.user;
        let organizes = viewer.sees_all || own;
        let holds = viewer.user == Some(row.try_get("user_id")?);
        Ok(Self {
            event: true,
            attendee: organizes && !holds,
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

fn page<P: super::page::PageCursor>(
    rows: &[PgRow],
    cut: PageRequest<P>,
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
