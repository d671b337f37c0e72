//! The inbox: which messages have taken effect.
//!
//! One collection, from which the housekeeping deletes by age (ADR 0017). On Postgres the inbox is cut into
//! partitions that are dropped whole, because deleting rows leaves holes there that must be vacuumed.
//! WiredTiger uses the room of deleted documents again by itself; and a collection a day could not be made
//! within a transaction that reads a snapshot, so every age that a message may have would need its
//! collection beforehand. A TTL index would delete too, by a retention that is kept in the index and not
//! where the boot check looks at it.

use std::collections::HashSet;
use std::time::Duration;

use futures::TryStreamExt;
use messaging::ledger::{InboxEntry, StoreError};
use mongodb::bson::{self, DateTime, Document, doc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::documents::batch_size;
use crate::{Mongo, Tx, from_bson, store_error, to_bson};

pub(crate) const INBOX: &str = "inbox";

/// Entries are kept this much longer: the process whose clock says "too old to execute" and the server
/// whose clock deletes may differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60 * 60);

#[derive(Serialize, Deserialize, Clone, Copy)]
struct EntryId {
    id: bson::Uuid,
    attempt: i32,
}

#[derive(Serialize)]
struct Entry {
    #[serde(rename = "_id")]
    id: EntryId,
    since: DateTime,
}

#[derive(Deserialize)]
struct Known {
    #[serde(rename = "_id")]
    id: EntryId,
}

impl Mongo {
    /// A duplicate key would end the transaction, so what is there is read first. What another transaction
    /// enters meanwhile is a conflict.
    pub(crate) async fn enter_inbox(
        &self,
        tx: &mut Tx,
        messages: &[InboxEntry],
    ) -> Result<HashSet<(Uuid, i32)>, StoreError> {
        if messages.is_empty() {
            return Ok(HashSet::new());
        }
        let ids: Vec<_> = messages
            .iter()
            .map(|message| doc! { "id": to_bson(message.id), "attempt": message.attempt })
            .collect();
        let known: HashSet<(Uuid, i32)> = tx
            .collection::<Known>(INBOX)
            .find(doc! { "_id": { "$in": ids } })
            // Read from the index alone, and in one answer.
            .projection(doc! { "_id": 1 })
            .batch_size(batch_size(messages.len()))
            .session(tx.session())
            .await
            .map_err(store_error)?
            .stream(tx.session())
            .map_ok(|known| (from_bson(known.id.id), known.id.attempt))
            .try_collect()
            .await
            .map_err(store_error)?;
        let mut fresh = HashSet::new();
        let entries: Vec<_> = messages
            .iter()
            .filter(|message| !known.contains(&(message.id, message.attempt)))
            .filter(|message| fresh.insert((message.id, message.attempt)))
            .map(|message| Entry {
                id: EntryId {
                    id: to_bson(message.id),
                    attempt: message.attempt,
                },
                since: DateTime::from_millis(message.since.as_micros().div_euclid(1_000)),
            })
            .collect();
        if !entries.is_empty() {
            tx.collection(INBOX)
                .insert_many(entries)
                .session(tx.session())
                .await
                .map_err(store_error)?;
        }
        Ok(fresh)
    }

    /// The attempts of a message that took effect, in order.
    pub(crate) async fn attempts(&self, message: Uuid) -> Result<Vec<i32>, StoreError> {
        let id = |attempt: i32| doc! { "id": to_bson(message), "attempt": attempt };
        let known: Vec<Known> = self
            .collection(INBOX)
            // As a range of the index: an `_id` is compared field by field.
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

    pub(crate) async fn forget_before(&self, retention: Duration) -> Result<(), StoreError> {
        let age = i64::try_from((retention + CLOCKS_DIFFER).as_millis()).unwrap_or(i64::MAX);
        self.collection::<Document>(INBOX)
            .delete_many(doc! { "$expr": { "$lt": ["$since", { "$subtract": ["$$NOW", age] }] } })
            .await
            .map_err(store_error)?;
        Ok(())
    }
}
