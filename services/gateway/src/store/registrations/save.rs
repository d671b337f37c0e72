//! The writes of the projection.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{CancelReason, RegistrationStatus};
use crate::store::column;

/// The sum of several domain events of one roster.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RosterChange {
    /// `None` leaves the capacity as it is.
    pub capacity: Option<i32>,
    pub closed: bool,
    /// Number of seats that were taken, minus those that became free.
    pub taken: i64,
    /// Number of people who joined the waiting list, minus those who left it.
    pub waiting: i64,
    pub version: i64,
}

/// The sum of several domain events of one registration.
#[derive(Debug, Clone, PartialEq)]
pub struct RegistrationChange {
    /// Present if one of these domain events created the registration.
    pub new: Option<NewRegistration>,
    pub status: RegistrationStatus,
    pub confirmed_at: Option<DateTime<Utc>>,
    pub checked_in_at: Option<DateTime<Utc>>,
    pub cancelled_at: Option<DateTime<Utc>>,
    pub cancel_reason: Option<CancelReason>,
    pub version: i64,
}

/// The facts of a registration that never change.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRegistration {
    pub event_id: Uuid,
    pub user_id: Uuid,
    pub position: i64,
    pub registered_at: DateTime<Utc>,
}

/// Adds these changes to the rosters. Each event may occur at most once.
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

/// Inserts and updates registrations. Each registration may occur at most once.
pub async fn save(tx: &mut postgres::Tx, changes: &[(Uuid, RegistrationChange)]) -> sqlx::Result<()> {
    let new: Vec<(Uuid, &RegistrationChange, &NewRegistration)> = changes
        .iter()
        .filter_map(|(id, change)| Some((*id, change, change.new.as_ref()?)))
        .collect();
    if !new.is_empty() {
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
        .bind(column(&new, |(id, ..)| *id))
        .bind(column(&new, |(.., new)| new.event_id))
        .bind(column(&new, |(.., new)| new.user_id))
        .bind(column(&new, |(_, change, _)| change.status.as_str()))
        .bind(column(&new, |(.., new)| new.position))
        .bind(column(&new, |(.., new)| new.registered_at))
        .bind(column(&new, |(_, change, _)| change.confirmed_at))
        .bind(column(&new, |(_, change, _)| change.checked_in_at))
        .bind(column(&new, |(_, change, _)| change.cancelled_at))
        .bind(column(&new, |(_, change, _)| {
            change.cancel_reason.map(CancelReason::as_str)
        }))
        .bind(column(&new, |(_, change, _)| change.version))
        .execute(&mut **tx)
        .await?;
    }
    let existing: Vec<&(Uuid, RegistrationChange)> =
        changes.iter().filter(|(_, change)| change.new.is_none()).collect();
    if !existing.is_empty() {
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
        .bind(column(&existing, |(id, _)| *id))
        .bind(column(&existing, |(_, change)| change.status.as_str()))
        .bind(column(&existing, |(_, change)| change.confirmed_at))
        .bind(column(&existing, |(_, change)| change.checked_in_at))
        .bind(column(&existing, |(_, change)| change.cancelled_at))
        .bind(column(&existing, |(_, change)| {
            change.cancel_reason.map(CancelReason::as_str)
        }))
        .bind(column(&existing, |(_, change)| change.version))
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}
