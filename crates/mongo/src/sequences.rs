//! How far each key has been applied, and what waits for its turn.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use futures::TryStreamExt;
use messaging::ledger::{Parked, ParkedKey, Sequence, StoreError, StoreErrorKind};
use mongodb::IndexModel;
use mongodb::bson::{self, Bson, Document, doc};
use mongodb::options::IndexOptions;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::documents::{RecordDocument, batch_size};
use crate::{Mongo, Tx, Update, from_bson, store_error, to_bson};

pub(crate) const SEQUENCES: &str = "sequences";
pub(crate) const PARKED: &str = "parked";

#[derive(Serialize, Deserialize)]
struct KeyId<'a> {
    topic: Cow<'a, str>,
    key: bson::Uuid,
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

#[derive(Serialize, Deserialize)]
struct ParkedId<'a> {
    topic: Cow<'a, str>,
    key: bson::Uuid,
    sequence: i64,
}

#[derive(Serialize, Deserialize)]
struct ParkedDocument<'a> {
    #[serde(rename = "_id")]
    id: ParkedId<'a>,
    message_id: bson::Uuid,
    record: RecordDocument<'a>,
    error: Cow<'a, str>,
}

#[derive(Deserialize)]
struct ParkedIdOnly {
    #[serde(rename = "_id")]
    id: ParkedId<'static>,
}

#[derive(Deserialize)]
struct HeldBack {
    #[serde(rename = "_id")]
    id: KeyId<'static>,
    poisoned_at: i64,
    waiting: i64,
}

/// Another transaction took the row away.
#[derive(Debug, thiserror::Error)]
#[error("{0} of {1} sequences are there")]
struct Vanished(u64, usize);

/// Finds the keys that are held back, which are few.
pub(crate) fn poisoned() -> IndexModel {
    let few = IndexOptions::builder()
        .partial_filter_expression(doc! { "poisoned_at": { "$gt": 0 } })
        .build();
    IndexModel::builder()
        .keys(doc! { "poisoned_at": 1 })
        .options(few)
        .build()
}

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

    pub(crate) async fn read_parked(&self, tx: &mut Tx, topic: &str, keys: &[Uuid]) -> Result<Vec<Parked>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<_> = keys.iter().copied().map(to_bson).collect();
        let documents: Vec<ParkedDocument<'static>> = tx
            .collection(PARKED)
            .find(doc! { "_id.topic": topic, "_id.key": { "$in": keys } })
            .sort(doc! { "_id.key": 1, "_id.sequence": 1 })
            // Up to 16 MiB in one answer.
            .batch_size(batch_size(u32::MAX))
            .session(tx.session())
            .await
            .map_err(store_error)?
            .stream(tx.session())
            .try_collect()
            .await
            .map_err(store_error)?;
        documents
            .into_iter()
            .map(|document| {
                Ok(Parked {
                    key: from_bson(document.id.key),
                    sequence: document.id.sequence,
                    id: from_bson(document.message_id),
                    record: document.record.into_record()?,
                    error: document.error.into_owned(),
                })
            })
            .collect()
    }

    /// A duplicate key would end the transaction, so what is there is read first.
    pub(crate) async fn add_parked(&self, tx: &mut Tx, topic: &str, rows: &[Parked]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = rows.iter().map(|row| parked_id(topic, row.key, row.sequence)).collect();
        let mut known: HashSet<(Uuid, i64)> = tx
            .collection::<ParkedIdOnly>(PARKED)
            .find(doc! { "_id": { "$in": ids } })
            .projection(doc! { "_id": 1 })
            .batch_size(batch_size(rows.len()))
            .session(tx.session())
            .await
            .map_err(store_error)?
            .stream(tx.session())
            .map_ok(|known| (from_bson(known.id.key), known.id.sequence))
            .try_collect()
            .await
            .map_err(store_error)?;
        let documents: Vec<_> = rows
            .iter()
            .filter(|row| known.insert((row.key, row.sequence)))
            .map(|row| ParkedDocument {
                id: ParkedId {
                    topic: Cow::Borrowed(topic),
                    key: to_bson(row.key),
                    sequence: row.sequence,
                },
                message_id: to_bson(row.id),
                record: RecordDocument::from(&row.record),
                error: Cow::Borrowed(&row.error),
            })
            .collect();
        if !documents.is_empty() {
            tx.collection(PARKED)
                .insert_many(documents)
                .session(tx.session())
                .await
                .map_err(store_error)?;
        }
        Ok(())
    }

    pub(crate) async fn remove_parked(&self, tx: &mut Tx, topic: &str, rows: &[(Uuid, i64)]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = rows
            .iter()
            .map(|(key, sequence)| parked_id(topic, *key, *sequence))
            .collect();
        tx.collection::<Document>(PARKED)
            .delete_many(doc! { "_id": { "$in": ids } })
            .session(tx.session())
            .await
            .map_err(store_error)?;
        Ok(())
    }

    pub(crate) async fn read_parked_keys(&self) -> Result<Vec<ParkedKey>, StoreError> {
        let held_back: Vec<HeldBack> = self
            .collection::<Document>(SEQUENCES)
            .aggregate([
                doc! { "$match": { "poisoned_at": { "$gt": 0 } } },
                doc! { "$lookup": {
                    "from": PARKED,
                    "let": { "topic": "$_id.topic", "key": "$_id.key" },
                    "pipeline": [
                        { "$match": { "$expr": { "$and": [
                            { "$eq": ["$_id.topic", "$$topic"] },
                            { "$eq": ["$_id.key", "$$key"] },
                        ] } } },
                        { "$count": "rows" },
                    ],
                    "as": "parked",
                } },
                doc! { "$project": {
                    "poisoned_at": 1,
                    "waiting": { "$toLong": { "$ifNull": [{ "$first": "$parked.rows" }, 0] } },
                } },
                doc! { "$sort": { "_id": 1 } },
            ])
            .with_type()
            .await
            .map_err(store_error)?
            .try_collect()
            .await
            .map_err(store_error)?;
        Ok(held_back
            .into_iter()
            .map(|row| ParkedKey {
                topic: row.id.topic.into_owned(),
                key: from_bson(row.id.key),
                poisoned_at: row.poisoned_at,
                waiting: row.waiting,
            })
            .collect())
    }
}

// The order of an `_id`'s fields is part of its value.

fn key_id(topic: &str, key: Uuid) -> Document {
    doc! { "topic": topic, "key": to_bson(key) }
}

fn parked_id(topic: &str, key: Uuid, sequence: i64) -> Bson {
    doc! { "topic": topic, "key": to_bson(key), "sequence": sequence }.into()
}
