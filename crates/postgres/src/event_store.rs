//! The journal: streams of domain events, their heads, and snapshots.

use std::collections::HashMap;

use contracts::{Aggregate, Codec, Message};
use messaging::BoxError;
use messaging::ledger::{StoreError, StoreErrorKind};
use uuid::Uuid;

use crate::rows::get;
use crate::{Tx, store_error};

/// A snapshot is taken when a stream passes a multiple of this version.
pub const SNAPSHOT_EVERY: i64 = 500;

/// An aggregate's state at a version.
#[derive(Debug, Clone)]
pub(crate) struct Loaded<A> {
    pub(crate) version: i64,
    pub(crate) state: A,
}

/// A row of the journal.
#[derive(Debug, Clone)]
pub struct Journaled {
    pub stream: Uuid,
    pub version: i64,
    pub type_name: &'static str,
    /// The framed Avro bytes, the same as on the topic.
    pub payload: bytes::Bytes,
    pub message_id: Uuid,
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
    pub actor: Option<String>,
    pub published_at: contracts::Timestamp,
}

/// The versions of a stream before and after one transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) stream: Uuid,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// Loads aggregates from their newest readable snapshot and the domain events after it. A stream that does not exist yet is
/// at version 0.
///
/// # Errors
/// Returns an error of the kind `Unexpected` if the journal cannot be decoded or has a gap.
pub(crate) async fn load<A: Aggregate>(
    tx: &mut Tx,
    codec: &Codec,
    streams: &[Uuid],
) -> Result<HashMap<Uuid, Loaded<A>>, StoreError> {
    let mut loaded: HashMap<Uuid, Loaded<A>> = streams
        .iter()
        .map(|stream| {
            (
                *stream,
                Loaded {
                    version: 0,
                    state: A::default(),
                },
            )
        })
        .collect();
    let existing: Vec<Uuid> = sqlx::query_scalar("SELECT stream_id FROM streams WHERE stream_id = ANY($1)")
        .bind(streams)
        .fetch_all(&mut **tx)
        .await
        .map_err(store_error)?;
    if existing.is_empty() {
        return Ok(loaded);
    }
    let snapshots =
        sqlx::query("SELECT stream_id, version, state FROM snapshots WHERE stream_id = ANY($1) AND aggregate = $2")
            .bind(&existing)
            .bind(A::NAME)
            .fetch_all(&mut **tx)
            .await
            .map_err(store_error)?;
    for row in snapshots {
        let stream: Uuid = get(&row, "stream_id")?;
        match serde_json::from_str(get(&row, "state")?) {
            Ok(state) => {
                loaded.insert(
                    stream,
                    Loaded {
                        version: get(&row, "version")?,
                        state,
                    },
                );
            }
            // The snapshot has the format of another version of the service.
            Err(error) => {
                tracing::info!(%stream, %error, aggregate = A::NAME, "cannot decode the snapshot; rebuilding from the journal");
            }
        }
    }
    let from: Vec<i64> = existing.iter().map(|stream| loaded[stream].version).collect();
    let rows = sqlx::query(
        "SELECT d.stream_id, d.version, d.type, d.payload
         FROM UNNEST($1::uuid[], $2::bigint[]) AS k (stream_id, version)
         JOIN domain_events d ON d.stream_id = k.stream_id AND d.version > k.version
         ORDER BY d.stream_id, d.version",
    )
    .bind(&existing)
    .bind(from)
    .fetch_all(&mut **tx)
    .await
    .map_err(store_error)?;
    // The changes of the context are discarded, because the service's rows already contain them.
    let mut scratch = A::Context::default();
    for row in rows {
        let stream: Uuid = get(&row, "stream_id")?;
        let version: i64 = get(&row, "version")?;
        let aggregate = loaded.get_mut(&stream).expect("the query returns only these streams");
        let event = decode::<A::DomainEvent>(codec, stream, version, get(&row, "type")?, get(&row, "payload")?)
            .map_err(unreadable)?;
        if version != aggregate.version + 1 {
            return Err(unreadable(format!(
                "the journal of {stream} jumps from version {} to {version}",
                aggregate.version
            )));
        }
        aggregate.state.evolve(&mut scratch, stream, &event);
        aggregate.version = version;
    }
    Ok(loaded)
}

pub(crate) fn decode<M: Message>(
    codec: &Codec,
    stream: Uuid,
    version: i64,
    type_name: &str,
    payload: &[u8],
) -> Result<M, BoxError> {
    match M::decode(codec, type_name, payload) {
        Ok(Some(event)) => Ok(event),
        Ok(None) => Err(format!(
            "version {version} of {stream} is of the type {type_name}, which this process does not know"
        )
        .into()),
        Err(error) => Err(error.into()),
    }
}

/// Inserts domain events and advances the heads by compare-and-set.
///
/// # Errors
/// Returns an error of the kind `Conflict` if a head is not at the version that the caller has read or cached.
pub(crate) async fn append(
    tx: &mut Tx,
    aggregate: &'static str,
    heads: &[Head],
    events: &[Journaled],
) -> Result<(), StoreError> {
    let (new, moved): (Vec<&Head>, Vec<&Head>) = heads.iter().partition(|head| head.from == 0);
    if !new.is_empty() {
        sqlx::query("INSERT INTO streams (stream_id, aggregate, version) SELECT s, $2, v FROM UNNEST($1::uuid[], $3::bigint[]) AS n (s, v)")
            .bind(new.iter().map(|head| head.stream).collect::<Vec<_>>())
            .bind(aggregate)
            .bind(new.iter().map(|head| head.to).collect::<Vec<_>>())
            .execute(&mut **tx)
            .await
            .map_err(store_error)?;
    }
    if !moved.is_empty() {
        let result = sqlx::query(
            "UPDATE streams s SET version = n.next
             FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[]) AS n (stream_id, known, next)
             WHERE s.stream_id = n.stream_id AND s.version = n.known",
        )
        .bind(moved.iter().map(|head| head.stream).collect::<Vec<_>>())
        .bind(moved.iter().map(|head| head.from).collect::<Vec<_>>())
        .bind(moved.iter().map(|head| head.to).collect::<Vec<_>>())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
        if result.rows_affected() != moved.len() as u64 {
            return Err(StoreError::new(
                StoreErrorKind::Conflict,
                "a stream has advanced since it was read",
            ));
        }
    }
    sqlx::query(
        "INSERT INTO domain_events
             (stream_id, version, type, payload, message_id, correlation_id, causation_id, actor, said_at)
         SELECT * FROM UNNEST($1::uuid[], $2::bigint[], $3::text[], $4::bytea[], $5::uuid[], $6::uuid[], $7::uuid[],
                              $8::text[], $9::timestamptz[])",
    )
    .bind(events.iter().map(|event| event.stream).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.version).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.type_name).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.payload.as_ref()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.message_id).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.correlation_id).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.causation_id).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.actor.as_deref()).collect::<Vec<_>>())
    .bind(
        events
            .iter()
            .map(|event| event.published_at.to_utc())
            .collect::<Vec<_>>(),
    )
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Stores a snapshot of each of these aggregates. The caller passes those that passed a multiple of [`SNAPSHOT_EVERY`].
pub(crate) async fn snapshot<A: Aggregate>(
    tx: &mut Tx,
    aggregates: impl Iterator<Item = (Uuid, &Loaded<A>)>,
) -> Result<(), StoreError> {
    for (stream, aggregate) in aggregates {
        let state =
            serde_json::to_string(&aggregate.state).map_err(|error| StoreError::new(StoreErrorKind::Broken, error))?;
        sqlx::query(
            "INSERT INTO snapshots (stream_id, aggregate, version, state) VALUES ($1, $2, $3, $4)
             ON CONFLICT (stream_id) DO UPDATE
             SET aggregate = EXCLUDED.aggregate, version = EXCLUDED.version, state = EXCLUDED.state",
        )
        .bind(stream)
        .bind(A::NAME)
        .bind(aggregate.version)
        .bind(state)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    }
    Ok(())
}

/// Returns the error for a journal that this process cannot read, because a newer version of the service may have written
/// it. The command that needs it is not the cause, so it waits.
fn unreadable(what: impl Into<BoxError>) -> StoreError {
    StoreError::new(StoreErrorKind::Unexpected, what)
}
