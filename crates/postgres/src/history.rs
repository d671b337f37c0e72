//! Reads the journal for operators.

use chrono::{DateTime, Utc};
use contracts::{Aggregate, Codec, Timestamp};
use messaging::BoxError;
use messaging::ledger::{MAX_TRACED_ROWS, StoreError, StoreErrorKind};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::event_store::{Loaded, decode};
use crate::rows::{get, timestamp};
use crate::{Tx, store_error};

/// Number of domain events that are read together.
const PAGE: i64 = 1_000;
/// Number of snapshots that are read at once.
const SNAPSHOT_PAGE: i64 = 100;

/// A domain event with its envelope, as it was published.
pub(crate) struct Entry {
    pub(crate) stream: Uuid,
    pub(crate) version: i64,
    pub(crate) type_name: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) message_id: Uuid,
    pub(crate) correlation_id: Uuid,
    pub(crate) causation_id: Option<Uuid>,
    pub(crate) actor: Option<String>,
    pub(crate) published_at: Timestamp,
}

/// The end of a replay.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    Version(i64),
    Time(Timestamp),
    Newest,
}

/// Returns the version of a stream of this aggregate; `None` if the stream does not exist.
pub(crate) async fn version_of<A: Aggregate>(tx: &mut Tx, stream: Uuid) -> Result<Option<i64>, StoreError> {
    sqlx::query_scalar("SELECT version FROM streams WHERE stream_id = $1 AND aggregate = $2")
        .bind(stream)
        .bind(A::NAME)
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)
}

/// Returns at most `limit` domain events of one stream after the version `after`, in order.
pub(crate) async fn read(tx: &mut Tx, stream: Uuid, after: i64, limit: i64) -> Result<Vec<Entry>, StoreError> {
    let rows = sqlx::query(
        "SELECT stream_id, version, type, payload, message_id, correlation_id, causation_id, actor, said_at
         FROM domain_events WHERE stream_id = $1 AND version > $2 ORDER BY version LIMIT $3",
    )
    .bind(stream)
    .bind(after)
    .bind(limit)
    .fetch_all(&mut **tx)
    .await
    .map_err(store_error)?;
    rows.iter().map(entry).collect()
}

/// Returns the domain events that belong to a message: itself, those that it caused, and those with this correlation id.
///
/// At most [`MAX_TRACED_ROWS`] are returned. They were published after the id was created. The search ends one day later, and
/// it is empty if the id contains no time.
pub(crate) async fn find_by_message(tx: &mut Tx, id: Uuid) -> Result<Vec<Entry>, StoreError> {
    let Some(created) = id.get_timestamp() else {
        return Ok(Vec::new());
    };
    let (seconds, _) = created.to_unix();
    let created = DateTime::<Utc>::from_timestamp(i64::try_from(seconds).unwrap_or(0), 0).unwrap_or_default();
    let rows = sqlx::query(
        "SELECT stream_id, version, type, payload, message_id, correlation_id, causation_id, actor, said_at
         FROM domain_events
         WHERE said_at BETWEEN $2::timestamptz - interval '1 minute' AND $2::timestamptz + interval '1 day'
           AND (message_id = $1 OR causation_id = $1 OR correlation_id = $1)
         ORDER BY said_at, stream_id, version LIMIT $3",
    )
    .bind(id)
    .bind(created)
    .bind(MAX_TRACED_ROWS)
    .fetch_all(&mut **tx)
    .await
    .map_err(store_error)?;
    rows.iter().map(entry).collect()
}

/// Rebuilds an aggregate from its domain events, without a snapshot.
///
/// Returns it with the time of the last domain event that was applied; `None` if there was none.
///
/// # Errors
/// Returns an error of the kind `Broken` if the journal cannot be decoded or has a gap.
pub(crate) async fn replay<A: Aggregate>(
    tx: &mut Tx,
    codec: &Codec,
    stream: Uuid,
    until: Until,
) -> Result<(Loaded<A>, Option<Timestamp>), StoreError> {
    let mut aggregate = Loaded {
        version: 0,
        state: A::default(),
    };
    let mut scratch = A::Context::default();
    let mut published_at = None;
    loop {
        let page = read(tx, stream, aggregate.version, PAGE).await?;
        let is_last = (page.len() as i64) < PAGE;
        for entry in page {
            let is_beyond = match until {
                Until::Version(version) => entry.version > version,
                Until::Time(time) => entry.published_at > time,
                Until::Newest => false,
            };
            if is_beyond {
                return Ok((aggregate, published_at));
            }
            if entry.version != aggregate.version + 1 {
                let (known, found) = (aggregate.version, entry.version);
                return Err(unreadable(format!(
                    "the journal of {stream} jumps from version {known} to {found}"
                )));
            }
            let event = decode::<A::DomainEvent>(codec, stream, entry.version, &entry.type_name, &entry.payload)
                .map_err(unreadable)?;
            aggregate.state.evolve(&mut scratch, stream, &event);
            aggregate.version = entry.version;
            published_at = Some(entry.published_at);
        }
        if is_last {
            return Ok((aggregate, published_at));
        }
    }
}

/// The snapshots of an aggregate, in pages. They begin at a random one, so that a check that runs out of time covers others
/// the next time.
pub(crate) struct Snapshots {
    /// Number of snapshots at the beginning.
    pub(crate) total: i64,
    /// The last snapshot to read.
    first: Uuid,
    /// The last snapshot that was read.
    after: Uuid,
    /// `true` if the snapshots up to `first` are being read, after those behind it.
    has_wrapped: bool,
    has_ended: bool,
}

impl Snapshots {
    pub(crate) async fn begin<A: Aggregate>(tx: &mut Tx) -> Result<Self, StoreError> {
        let total: i64 = sqlx::query_scalar("SELECT count(*) FROM snapshots WHERE aggregate = $1")
            .bind(A::NAME)
            .fetch_one(&mut **tx)
            .await
            .map_err(store_error)?;
        let first: Option<Uuid> = sqlx::query_scalar(
            "SELECT stream_id FROM snapshots WHERE aggregate = $1
             ORDER BY stream_id OFFSET floor(random() * $2)::bigint LIMIT 1",
        )
        .bind(A::NAME)
        .bind(total as f64)
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
        Ok(Self {
            total,
            first: first.unwrap_or_default(),
            after: first.unwrap_or_default(),
            has_wrapped: false,
            has_ended: first.is_none(),
        })
    }

    /// Returns the next snapshots, as (stream, version, state). An empty page is the end.
    pub(crate) async fn next<A: Aggregate>(&mut self, tx: &mut Tx) -> Result<Vec<(Uuid, i64, String)>, StoreError> {
        while !self.has_ended {
            let to = if self.has_wrapped { self.first } else { Uuid::max() };
            let page: Vec<(Uuid, i64, String)> = sqlx::query_as(
                "SELECT stream_id, version, state FROM snapshots
                 WHERE aggregate = $1 AND stream_id > $2 AND stream_id <= $3 ORDER BY stream_id LIMIT $4",
            )
            .bind(A::NAME)
            .bind(self.after)
            .bind(to)
            .bind(SNAPSHOT_PAGE)
            .fetch_all(&mut **tx)
            .await
            .map_err(store_error)?;
            if let Some((last, ..)) = page.last() {
                self.after = *last;
                return Ok(page);
            }
            self.after = Uuid::nil();
            self.has_ended = self.has_wrapped;
            self.has_wrapped = true;
        }
        Ok(Vec::new())
    }
}

fn entry(row: &PgRow) -> Result<Entry, StoreError> {
    Ok(Entry {
        stream: get(row, "stream_id")?,
        version: get(row, "version")?,
        type_name: get(row, "type")?,
        payload: get(row, "payload")?,
        message_id: get(row, "message_id")?,
        correlation_id: get(row, "correlation_id")?,
        causation_id: get(row, "causation_id")?,
        actor: get(row, "actor")?,
        published_at: timestamp(get(row, "said_at")?),
    })
}

/// Returns the error for a journal that cannot be read. The ops command fails, so no other one waits behind it.
fn unreadable(what: impl Into<BoxError>) -> StoreError {
    StoreError::new(StoreErrorKind::Broken, what)
}
