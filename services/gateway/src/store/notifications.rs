//! E-mails that were sent to users, as the notification service says.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, QueryBuilder};
use utoipa::ToSchema;
use uuid::Uuid;

use super::page::{Page, PageRequest, TimeAndId};
use super::users::column;
use crate::text::text;

text! {
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

text! {
    pub enum NotificationStatus {
        /// The mail server took it.
        Sent => "sent",
        /// It was given up.
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
    /// When it was sent, or given up.
    pub at: DateTime<Utc>,
    /// The event that it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<Uuid>,
    /// Why it was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Which of them to list.
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

/// A person's own, the newest first.
pub async fn of_user(
    pool: &PgPool,
    user: Uuid,
    filter: Filter,
    cut: PageRequest<TimeAndId>,
) -> sqlx::Result<Page<Notification>> {
    let mut query = QueryBuilder::new("SELECT id, kind, status, at, event_id, reason FROM notifications");
    query.push(" WHERE user_id = ").push_bind(user);
    if let Some(event) = filter.event {
        query.push(" AND event_id = ").push_bind(event);
    }
    if let Some(kind) = filter.kind {
        query.push(" AND kind = ").push_bind(kind.as_str());
    }
    if let Some(after) = cut.after {
        query.push(" AND (at, id) < (").push_bind(after.time);
        query.push(", ").push_bind(after.id).push(")");
    }
    query.push(" ORDER BY at DESC, id DESC LIMIT ").push_bind(cut.rows());
    let rows = query.build_query_as().fetch_all(pool).await?;
    Ok(cut.page(rows, |row: &Notification| TimeAndId {
        time: row.at,
        id: row.id,
    }))
}

/// Each notification at most once. One that was sent after all stays sent.
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
