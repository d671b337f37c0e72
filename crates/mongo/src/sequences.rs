//! How far each key has been applied.

use std::borrow::Cow;
use std::collections::HashMap;

use futures::TryStreamExt;
use messaging::ledger::{Sequence, StoreError, StoreErrorKind};
use mongodb::bson::{self, Document, doc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::documents::batch_size;
use crate::{Mongo, Tx, Update, from_bson, store_error, to_bson};

pub(crate) const SEQUENCES: &str = "sequences";

#[derive(Serialize, Deserialize)]
pub(crate) struct KeyId<'a> {
    pub(crate) topic: Cow<'a, str>,
    pub(crate) key: bson::Uuid,
}

#[derive(Serialize, Deserialize)]
struct SequenceDocument<'a> {
    #[serde(rename = "_id")]
    id: KeyId<'a>,
    last: i64,
    last_id: Option<bson::Uuid>,
    poisoned_at: Option<i64>,
    has_parked: bool,
    /// Counts the writes: one that changed nothing would conflict with none.
    revision: i64,
}

/// Another transaction took the row away.
#[derive(Debug, thiserror::Error)]
#[error("{0} of {1} sequences are there")]
struct Vanished(u64, usize);

impl Mongo {
    pub(crate) async fn read_sequences(
        &self,
        tx: &mut Tx,
        topic: &str,
        keys: &[Uuid],
    ) -> Result<HashMap<Uuid, Sequence>, StoreError> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<_> = keys.iter().map(|key| key_id(topic, *key)).collect();
        tx.collection::<SequenceDocument<'static>>(SEQUENCES)
            .find(doc! { "_id": { "$in": ids } })
            .batch_size(batch_size(keys.len()))
            .session(tx.session())
            .await
            .map_err(store_error)?
            .stream(tx.session())
            .map_ok(|document| {
                let sequence = Sequence {
                    last: document.last,
                    last_id: document.last_id.map(from_bson),
                    poisoned_at: document.poisoned_at,
                    has_parked: document.has_parked,
                };
                (from_bson(document.id.key), sequence)
            })
            .try_collect()
            .await
            .map_err(store_error)
    }

    pub(crate) async fn write_sequences(
        &self,
        tx: &mut Tx,
        topic: &str,
        new: &[(Uuid, Sequence)],
        changed: &[(Uuid, Sequence)],
    ) -> Result<(), StoreError> {
        if !new.is_empty() {
            let documents = new.iter().map(|(key, sequence)| SequenceDocument {
                id: KeyId {
                    topic: Cow::Borrowed(topic),
                    key: to_bson(*key),
                },
                last: sequence.last,
                last_id: sequence.last_id.map(to_bson),
                poisoned_at: sequence.poisoned_at,
                has_parked: sequence.has_parked,
                revision: 0,
            });
            tx.collection(SEQUENCES)
                .insert_many(documents)
                .session(tx.session())
                .await
                .map_err(store_error)?;
        }
        let updates = changed.iter().map(|(key, sequence)| Update {
            filter: doc! { "_id": key_id(topic, *key) },
            change: doc! {
                "$set": {
                    "last": sequence.last,
                    "last_id": sequence.last_id.map(to_bson),
                    "poisoned_at": sequence.poisoned_at,
                    "has_parked": sequence.has_parked,
                },
                "$inc": { "revision": 1_i64 },
            },
            upsert: false,
        });
        let matched = tx.update_each(SEQUENCES, updates).await?;
        match matched == changed.len() as u64 {
            true => Ok(()),
            false => Err(StoreError::new(
                StoreErrorKind::Conflict,
                Vanished(matched, changed.len()),
            )),
        }
    }

    /// Where a message is the last one applied: topic, key and number.
    pub(crate) async fn last_applied(&self, message: Uuid) -> Result<Vec<(String, Uuid, i64)>, StoreError> {
        let documents: Vec<SequenceDocument<'static>> = self
            .collection(SEQUENCES)
            .find(doc! { "last_id": to_bson(message) })
            .sort(doc! { "_id": 1 })
            .await
            .map_err(store_error)?
            .try_collect()
            .await
            .map_err(store_error)?;
        Ok(documents
            .into_iter()
            .map(|document| {
                (
                    document.id.topic.into_owned(),
                    from_bson(document.id.key),
                    document.last,
                )
            })
            .collect())
    }
}

// The order of an `_id`'s fields is part of its value.
fn key_id(topic: &str, key: Uuid) -> Document {
    doc! { "topic": topic, "key": to_bson(key) }
}
