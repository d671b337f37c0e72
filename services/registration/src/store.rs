//! The tables of this service besides the journal: registrations, and the members who hold them.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{Command, ContinueClosing, RegistrationCommand};
use messaging::ledger::{StoreError, StoreErrorKind};
use messaging::{Failure, Outgoing, Unit};
use postgres::{Decided, Postgres, Store, Tx, store_error};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::domain::{Registration, RegistrationStatus, RequiredRows, Roster, SELF, Seating, needs_continuation};

#[derive(Debug, Clone, Copy)]
pub struct RosterStore;

impl Store<Roster> for RosterStore {
    async fn context(&self, tx: &mut Tx, commands: &[Command<RegistrationCommand>]) -> Result<Seating, StoreError> {
        let required = RequiredRows::for_commands(commands.iter().map(|command| (command.key, &command.body)));
        let mut seating = Seating::default();
        // Members are locked first, so everything read afterwards stays valid until the commit.
        for user in lock_members(tx, &required.users).await.map_err(store_error)? {
            seating.add_deactivated(user);
        }
        for registration in find_registrations(tx, &required).await.map_err(store_error)? {
            seating.add(registration);
        }
        Ok(seating)
    }

    async fn write(
        &self,
        unit: &mut Unit<Postgres>,
        seating: &Seating,
        decisions: &mut [Decided<'_, Roster>],
    ) -> Result<(), Failure> {
        for decided in decisions.iter() {
            if needs_continuation(&decided.command.body, decided.domain_events.len()) {
                let next = Outgoing::<RegistrationCommand>::new(decided.command.key, ContinueClosing {}).actor(SELF);
                unit.publish(&decided.received.cause(), next)?;
            }
        }
        // Updates come first, because a user whose registration is cancelled may have registered again.
        update(unit.tx(), &seating.updated().collect::<Vec<_>>()).await?;
        insert(unit.tx(), &seating.created().collect::<Vec<_>>()).await?;
        Ok(())
    }
}

/// Writes the status of registrations that have a row.
///
/// # Errors
/// Returns a `Broken` error if a registration has no row, because then the rows do not match the journal.
async fn update(tx: &mut Tx, registrations: &[&Registration]) -> Result<(), StoreError> {
    if registrations.is_empty() {
        return Ok(());
    }
    let updated = sqlx::query(
        "UPDATE registrations r SET status = n.status FROM UNNEST($1::uuid[], $2::text[]) AS n (id, status)
         WHERE r.id = n.id",
    )
    .bind(registrations.iter().map(|row| row.id).collect::<Vec<_>>())
    .bind(registrations.iter().map(|row| stored(row.status)).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    if updated.rows_affected() != registrations.len() as u64 {
        return Err(StoreError::new(
            StoreErrorKind::Broken,
            "a registration that changes has no row",
        ));
    }
    Ok(())
}

/// Inserts the rows of new registrations.
async fn insert(tx: &mut Tx, registrations: &[&Registration]) -> Result<(), StoreError> {
    if registrations.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO registrations (id, event_id, user_id, status, position)
         SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bigint[])",
    )
    .bind(registrations.iter().map(|row| row.id).collect::<Vec<_>>())
    .bind(registrations.iter().map(|row| row.event_id).collect::<Vec<_>>())
    .bind(registrations.iter().map(|row| row.user_id).collect::<Vec<_>>())
    .bind(registrations.iter().map(|row| stored(row.status)).collect::<Vec<_>>())
    .bind(registrations.iter().map(|row| row.position).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Locks the members' rows until the commit, and returns the members whose account is closed.
///
/// Inserts a row for each new member, because only an existing row can be locked.
async fn lock_members(tx: &mut Tx, users: &BTreeSet<Uuid>) -> Result<Vec<Uuid>, sqlx::Error> {
    let mut missing = users.clone();
    let mut deactivated = Vec::new();
    while !missing.is_empty() {
        let rows: Vec<(Uuid, bool)> = sqlx::query_as(
            "SELECT user_id, deactivated FROM members WHERE user_id = ANY($1) ORDER BY user_id FOR SHARE",
        )
        .bind(missing.iter().copied().collect::<Vec<_>>())
        .fetch_all(&mut **tx)
        .await?;
        for (user, is_deactivated) in rows {
            missing.remove(&user);
            deactivated.extend(is_deactivated.then_some(user));
        }
        // A member whose row was neither found nor inserted got it from a concurrent transaction: query again.
        for user in add_members(tx, &missing).await? {
            missing.remove(&user);
        }
    }
    Ok(deactivated)
}

/// Inserts the missing rows of members, which also locks them, and returns the members whose row was inserted.
async fn add_members(tx: &mut Tx, users: &BTreeSet<Uuid>) -> Result<Vec<Uuid>, sqlx::Error> {
    if users.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_scalar(
        "INSERT INTO members (user_id) SELECT * FROM UNNEST($1::uuid[]) ON CONFLICT DO NOTHING RETURNING user_id",
    )
    .bind(users.iter().copied().collect::<Vec<_>>())
    .fetch_all(&mut **tx)
    .await
}

/// Marks members as deactivated. Waits for transactions that are registering one of them. `users` is sorted.
pub(crate) async fn deactivate_members(tx: &mut Tx, users: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO members (user_id, deactivated) SELECT u, true FROM UNNEST($1::uuid[]) AS n (u)
         ON CONFLICT (user_id) DO UPDATE SET deactivated = true",
    )
    .bind(users)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Returns the registrations of these users that are not cancelled, for all events.
pub(crate) async fn active_registrations(tx: &mut Tx, users: &[Uuid]) -> Result<Vec<Registration>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT id, event_id, user_id, status, position FROM registrations
         WHERE user_id = ANY($1) AND status <> 'cancelled' ORDER BY id",
    )
    .bind(users)
    .fetch_all(&mut **tx)
    .await?;
    rows.iter().map(registration).collect()
}

/// Returns the rows that a batch requires; a row may occur more than once.
///
/// Waiting and active registrations are queried per event, so each query is an index scan that stops at the limit.
async fn find_registrations(tx: &mut Tx, required: &RequiredRows) -> Result<Vec<Registration>, sqlx::Error> {
    let (events, users): (Vec<_>, Vec<_>) = required.attendances.iter().copied().unzip();
    let (waiting, waiting_limits) = limits(&required.waiting);
    let (active, active_limits) = limits(&required.active);
    let rows = sqlx::query(
        "SELECT id, event_id, user_id, status, position FROM registrations WHERE id = ANY($1)
         UNION ALL
         SELECT r.id, r.event_id, r.user_id, r.status, r.position FROM UNNEST($2::uuid[], $3::uuid[]) AS a (event_id, user_id)
         CROSS JOIN LATERAL (
             SELECT id, event_id, user_id, status, position FROM registrations
             WHERE user_id = a.user_id AND event_id = a.event_id AND status <> 'cancelled' LIMIT 1
         ) r
         UNION ALL
         SELECT r.id, r.event_id, r.user_id, r.status, r.position FROM UNNEST($4::uuid[], $5::bigint[]) AS w (event_id, most)
         CROSS JOIN LATERAL (
             SELECT id, event_id, user_id, status, position FROM registrations
             WHERE event_id = w.event_id AND status = 'waiting' ORDER BY position LIMIT w.most
         ) r
         UNION ALL
         SELECT r.id, r.event_id, r.user_id, r.status, r.position FROM UNNEST($6::uuid[], $7::bigint[]) AS w (event_id, most)
         CROSS JOIN LATERAL (
             SELECT id, event_id, user_id, status, position FROM registrations
             WHERE event_id = w.event_id AND status <> 'cancelled' ORDER BY position LIMIT w.most
         ) r",
    )
    .bind(required.registrations.iter().copied().collect::<Vec<_>>())
    .bind(events)
    .bind(users)
    .bind(waiting)
    .bind(waiting_limits)
    .bind(active)
    .bind(active_limits)
    .fetch_all(&mut **tx)
    .await?;
    rows.iter().map(registration).collect()
}

fn limits(of_events: &BTreeMap<Uuid, usize>) -> (Vec<Uuid>, Vec<i64>) {
    of_events
        .iter()
        .map(|(event, most)| (*event, i64::try_from(*most).unwrap_or(i64::MAX)))
        .unzip()
}

fn registration(row: &PgRow) -> Result<Registration, sqlx::Error> {
    Ok(Registration {
        id: row.try_get("id")?,
        event_id: row.try_get("event_id")?,
        user_id: row.try_get("user_id")?,
        status: match row.try_get("status")? {
            "waiting" => RegistrationStatus::Waitlisted,
            "seat" => RegistrationStatus::Confirmed,
            "checked-in" => RegistrationStatus::CheckedIn,
            _ => RegistrationStatus::Cancelled,
        },
        position: row.try_get("position")?,
    })
}

/// Returns the text that the column `status` stores for a status.
fn stored(status: RegistrationStatus) -> &'static str {
    match status {
        RegistrationStatus::Waitlisted => "waiting",
        RegistrationStatus::Confirmed => "seat",
        RegistrationStatus::CheckedIn => "checked-in",
        RegistrationStatus::Cancelled => "cancelled",
    }
}
