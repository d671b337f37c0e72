//! The inbox: the messages that have taken effect.
//!
//! It is one collection, from which the housekeeping deletes by age (ADR 0017). On Postgres the inbox is partitioned by
//! day and partitions are dropped as a whole, because deleted rows leave holes there that must be vacuumed. WiredTiger
//! reuses the space of deleted documents. A collection per day would not work, because it cannot be created within a
//! transaction that reads a snapshot, so one would have to exist beforehand for every age that a message may have. A TTL
//! index would also delete, but by a retention that is stored in the index, where the boot check does not see it.

use std::time::Duration;

use futures::TryStreamExt;
use messaging::ledger::StoreError;
use mongodb::bson::{self, DateTime, Document, doc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Mongo, store_error, to_bson};

pub(crate) const INBOX: &str = "inbox";

/// Time that entries are kept beyond the retention, because the clock of the process that rejects old commands and the
/// clock of the server that deletes entries may differ.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(60 * 60);

/// Number of entries that one statement deletes.
const CHUNK: u64 = 5_000;

#[derive(Serialize, Deserialize, Clone, Copy)]
pub(crate) struct EntryId {
    pub(crate) id: bson::Uuid,
    pub(crate) attempt: i32,
}

#[derive(Serialize)]
pub(crate) struct Entry {
    #[serde(rename = "_id")]
    pub(crate) id: EntryId,
    pub(crate) since: DateTime,
}

/// An entry without its time, as the index on `_id` has it.
#[derive(Deserialize)]
pub(crate) struct KnownEntry {
    #[serde(rename = "_id")]
    pub(crate) id: EntryId,
}

#[derive(Deserialize)]
struct EntryTime {
    since: DateTime,
}

impl Mongo {
    /// Returns the attempts of a message that took effect, in order.
    pub(crate) async fn find_attempts(&self, message: Uuid) -> Result<Vec<i32>, StoreError> {
        let id = |attempt: i32| doc! { "id": to_bson(message), "attempt": attempt };
        let known: Vec<KnownEntry> = self
            .collection(INBOX)
            // A range of the index, because an `_id` is compared field by field.
            .find(doc! { "_id": { "$gte": id(0), "$lte": id(i32::MAX) } })
            .projection(doc! { "_id": 1 })
            .sort(doc! { "_id": 1 })
            .await
            .map_err(store_error)?
            .try_collect()
            .await
            .map_err(store_error)?;
        Ok(known.into_iter().map(|known| known.id.attempt).collect())
    }

    pub(crate) async fn delete_inbox_entries(&self, retention: Duration) -> Result<(), StoreError> {
        let age = i64::try_from((retention + CLOCK_DIFFERENCE).as_millis()).unwrap_or(i64::MAX);
        let expired = doc! { "$expr": { "$lt": ["$since", { "$subtract": ["$$NOW", age] }] } };
        // In chunks, because after a long downtime one statement would run for minutes.
        while let Some(last) = self.last_of_chunk(&expired).await? {
            self.delete_entries(doc! { "since": { "$lte": last } }).await?;
        }
        self.delete_entries(expired).await
    }

    /// Returns the time of the last entry of a full chunk, the oldest first; `None` if fewer entries are left.
    async fn last_of_chunk(&self, expired: &Document) -> Result<Option<DateTime>, StoreError> {
        let last: Option<EntryTime> = self
            .collection(INBOX)
            .find_one(expired.clone())
            .sort(doc! { "since": 1 })
            .skip(CHUNK - 1)
            .projection(doc! { "since": 1 })
            .await
            .map_err(store_error)?;
        Ok(last.map(|last| last.since))
    }

    async fn delete_entries(&self, filter: Document) -> Result<(), StoreError> {
        self.collection::<Document>(INBOX)
            .delete_many(filter)
            .await
            .map_err(store_error)?;
        Ok(())
    }
}
