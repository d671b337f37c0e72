//! The read model of e-mails to users.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, QueryBuilder};
use utoipa::ToSchema;
use uuid::Uuid;

use super::column;
use super::page::{Page, PageRequest, TimeAndId};
use crate::text::text_enum;

text_enum! {
    pub enum NotificationKind {
        Welcome => "welcome",
        SeatConfirmed => "seat-confirmed",
        SeatWaitlisted => "seat-waitlisted",
        SeatPromoted => "seat-promoted",
        RegistrationCancelled => "registration-cancelled",
        EventCancelled => "event-cancelled",
        EventRescheduled => "event-rescheduled",
        Reminder => "reminder",
        Announcement => "announcement",
        EmailVerification => "email-verification",
        PasswordReset => "password-reset",
        Other => "other",
    }
}

text_enum! {
    pub enum NotificationStatus {
        /// The mail server accepted the e-mail.
        Sent => "sent",
        /// The e-mail could not be sent, and will not be retried.
        Failed => "failed",
    }
}

impl From<contracts::NotificationKind> for NotificationKind {
    fn from(kind: contracts::NotificationKind) -> Self {
        match kind {
            contracts::NotificationKind::Welcome => Self::Welcome,
            contracts::NotificationKind::SeatConfirmed => Self::SeatConfirmed,
            contracts::NotificationKind::SeatWaitlisted => Self::SeatWaitlisted,
            contracts::NotificationKind::SeatPromoted => Self::SeatPromoted,
            contracts::NotificationKind::RegistrationCancelled => Self::RegistrationCancelled,
            contracts::NotificationKind::EventCancelled => Self::EventCancelled,
            contracts::NotificationKind::EventRescheduled => Self::EventRescheduled,
            contracts::NotificationKind::Reminder => Self::Reminder,
            contracts::NotificationKind::Announcement => Self::Announcement,
            contracts::NotificationKind::EmailVerification => Self::EmailVerification,
            contracts::NotificationKind::PasswordReset => Self::PasswordReset,
            contracts::NotificationKind::Unknown => Self::Other,
        }
    }
}

/// An e-mail to a user.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema, sqlx::FromRow)]
pub struct Notification {
    pub id: Uuid,
    pub kind: NotificationKind,
    pub status: NotificationStatus,
    /// Time when it was sent, or when the last attempt failed.
    pub at: DateTime<Utc>,
    /// The event that the e-mail is about, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<Uuid>,
    /// Reason why the e-mail could not be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The notifications to list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Filter {
    pub event: Option<Uuid>,
    pub kind: Option<NotificationKind>,
}

pub struct NotificationRow {
    pub id: Uuid,
    pub user_id: Uuid,
    pub kind: NotificationKind,
    pub status: NotificationStatus,
    pub cause_id: Uuid,
    pub event_id: Option<Uuid>,
    pub reason: Option<String>,
    pub at: DateTime<Utc>,
}

/// Returns a page of the user's notifications, newest first.
pub async fn of_user(
    pool: &PgPool,
    user: Uuid,
    filter: Filter,
    page: PageRequest<TimeAndId>,
) -> sqlx::Result<Page<Notification>> {
    let mut query = QueryBuilder::new("SELECT id, kind, status, at, event_id, reason FROM notifications");
    query.push(" WHERE user_id = ").push_bind(user);
    if let Some(event) = filter.event {
        query.push(" AND event_id = ").push_bind(event);
    }
    if let Some(kind) = filter.kind {
        query.push(" AND kind = ").push_bind(kind.as_str());
    }
    if let Some(after) = page.after {
        query.push(" AND (at, id) < (").push_bind(after.time);
        query.push(", ").push_bind(after.id).push(")");
    }
    query.push(" ORDER BY at DESC, id DESC LIMIT ").push_bind(page.rows());
    let rows = query.build_query_as().fetch_all(pool).await?;
    Ok(page.page(rows, |row: &Notification| TimeAndId {
        time: row.at,
        id: row.id,
    }))
}

/// Inserts or updates notifications. Each may occur at most once. A notification that was sent never becomes a failed one.
pub async fn save(tx: &mut postgres::Tx, rows: &[NotificationRow]) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO notifications AS o (id, user_id, kind, status, cause_id, event_id, reason, at)
         SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::uuid[], $7::text[],
                              $8::timestamptz[])
         ON CONFLICT (id) DO UPDATE SET status = EXCLUDED.status, reason = EXCLUDED.reason, at = EXCLUDED.at
         WHERE o.status = 'failed'",
    )
    .bind(column(rows, |row| row.id))
    .bind(column(rows, |row| row.user_id))
    .bind(column(rows, |row| row.kind.as_str()))
    .bind(column(rows, |row| row.status.as_str()))
    .bind(column(rows, |row| row.cause_id))
    .bind(column(rows, |row| row.event_id))
    .bind(column(rows, |row| row.reason.clone()))
    .bind(column(rows, |row| row.at))
    .execute(&mut **tx)
    .await?;
    Ok(())
}
