use std::collections::HashMap;

use uuid::Uuid;

use super::{COLUMNS, Event};
use crate::store::column;

/// Returns the current state of these events, for the projection.
///
/// The rows are not locked, because this transaction holds the position of the partition and no other one changes them.
pub async fn current(tx: &mut postgres::Tx, ids: &[Uuid]) -> sqlx::Result<HashMap<Uuid, Event>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let events: Vec<Event> = sqlx::query_as(&format!("SELECT {COLUMNS} FROM events e WHERE e.id = ANY ($1)"))
        .bind(ids)
        .fetch_all(&mut **tx)
        .await?;
    Ok(events.into_iter().map(|event| (event.id, event)).collect())
}

/// Inserts or replaces whole events. Each event may occur at most once.
pub async fn save(tx: &mut postgres::Tx, events: &[Event]) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO events (
             id, organizer_id, title, description, venue, starts_at, ends_at, time_zone, capacity,
             registration_opens_at, registration_closes_at, waiting_list, status, created_at, updated_at,
             published_at, cancelled_at, cancel_reason, ended_at, version, staff)
         SELECT id, organizer_id, title, description, venue, starts_at, ends_at, time_zone, capacity,
                registration_opens_at, registration_closes_at, waiting_list, status, created_at, updated_at,
                published_at, cancelled_at, cancel_reason, ended_at, version, staff::uuid[]
         FROM UNNEST(
             $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[],
             $8::text[], $9::int[], $10::timestamptz[], $11::timestamptz[], $12::bool[], $13::text[],
             $14::timestamptz[], $15::timestamptz[], $16::timestamptz[], $17::timestamptz[], $18::text[],
             $19::timestamptz[], $20::bigint[], $21::text[])
             AS n (id, organizer_id, title, description, venue, starts_at, ends_at, time_zone, capacity,
                   registration_opens_at, registration_closes_at, waiting_list, status, created_at, updated_at,
                   published_at, cancelled_at, cancel_reason, ended_at, version, staff)
         ON CONFLICT (id) DO UPDATE SET
             organizer_id = EXCLUDED.organizer_id, title = EXCLUDED.title, description = EXCLUDED.description,
             venue = EXCLUDED.venue, starts_at = EXCLUDED.starts_at, ends_at = EXCLUDED.ends_at,
             time_zone = EXCLUDED.time_zone, capacity = EXCLUDED.capacity,
             registration_opens_at = EXCLUDED.registration_opens_at,
             registration_closes_at = EXCLUDED.registration_closes_at, waiting_list = EXCLUDED.waiting_list,
             status = EXCLUDED.status, created_at = EXCLUDED.created_at, updated_at = EXCLUDED.updated_at,
             published_at = EXCLUDED.published_at, cancelled_at = EXCLUDED.cancelled_at,
             cancel_reason = EXCLUDED.cancel_reason, ended_at = EXCLUDED.ended_at, version = EXCLUDED.version,
             staff = EXCLUDED.staff",
    )
    .bind(column(events, |event| event.id))
    .bind(column(events, |event| event.organizer_id))
    .bind(column(events, |event| event.title.clone()))
    .bind(column(events, |event| event.description.clone()))
    .bind(column(events, |event| event.venue.clone()))
    .bind(column(events, |event| event.starts_at))
    .bind(column(events, |event| event.ends_at))
    .bind(column(events, |event| event.time_zone.clone()))
    .bind(column(events, |event| event.capacity))
    .bind(column(events, |event| event.registration_opens_at))
    .bind(column(events, |event| event.registration_closes_at))
    .bind(column(events, |event| event.waiting_list))
    .bind(column(events, |event| event.status.as_str()))
    .bind(column(events, |event| event.created_at))
    .bind(column(events, |event| event.updated_at))
    .bind(column(events, |event| event.published_at))
    .bind(column(events, |event| event.cancelled_at))
    .bind(column(events, |event| event.cancel_reason.clone()))
    .bind(column(events, |event| event.ended_at))
    .bind(column(events, |event| event.version))
    .bind(column(events, |event| array(&event.staff)))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Returns an array as text, because `UNNEST` flattens nested arrays completely.
fn array(ids: &[Uuid]) -> String {
    let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
    format!("{{{}}}", ids.join(","))
}
