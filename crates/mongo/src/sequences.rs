//! How far each key has been applied, and what waits for its turn.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use futures::TryStreamExt;
use messaging::ledger::{HeldKey, HeldTopic, Parked, Sequence, StoreError, StoreErrorKind};
use mongodb::IndexModel;
use mongodb::bson::{self, Bson, Document, doc};
use mongodb::options::IndexOptions;
use serde::de::DeserializeOwned;
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
    /// By the clock of the process that parked it.
    #[serde(default = "bson::DateTime::now")]
    parked_at: bson::DateTime,
}

/// What names a parked record.
#[derive(Deserialize)]
struct ParkedName {
    #[serde(rename = "_id")]
    id: ParkedId<'static>,
    message_id: bson::Uuid,
}

#[derive(Deserialize)]
struct HeldDocument {
    #[serde(rename = "_id")]
    id: KeyId<'static>,
    last: i64,
    poisoned_at: Option<i64>,
    error: Option<String>,
    waiting: i64,
    age: i64,
}

#[derive(Deserialize)]
struct HeldTopicDocument {
    #[serde(rename = "_id")]
    topic: String,
    poisoned: i64,
    gaps: i64,
    oldest_gap: Option<i64>,
}

/// Another transaction took the row away.
#[derive(Debug, thiserror::Error)]
#[error("{0} of {1} sequences are there")]
struct Vanished(u64, usize);

/// Finds the keys whose messages wait, which are few.
pub(crate) fn held() -> IndexModel {
    let few = IndexOptions::builder()
        .partial_filter_expression(doc! { "has_parked": true })
        .build();
    let keys = doc! { "_id.topic": 1, "_id.key": 1 };
    IndexModel::builder().keys(keys).options(few).build()
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
        documents.into_iter().map(ParkedDocument::into_parked).collect()
    }

    /// Parked records that a filter finds, without their values.
    pub(crate) async fn find_parked(&self, filter: Document, limit: i64) -> Result<Vec<Parked>, StoreError> {
        let documents: Vec<ParkedDocument<'static>> = self
            .collection(PARKED)
            .find(filter)
            .projection(doc! { "record.value": 0 })
            .sort(doc! { "_id": 1 })
            .limit(limit)
            .await
            .map_err(store_error)?
            .try_collect()
            .await
            .map_err(store_error)?;
        documents.into_iter().map(ParkedDocument::into_parked).collect()
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

    /// A duplicate key would end the transaction, so what is there is read first.
    /// Answers what is there under another id.
    pub(crate) async fn add_parked(
        &self,
        tx: &mut Tx,
        topic: &str,
        rows: &[Parked],
    ) -> Result<Vec<(Uuid, i64)>, StoreError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<_> = rows.iter().map(|row| parked_id(topic, row.key, row.sequence)).collect();
        let mut known: HashMap<(Uuid, i64), Uuid> = tx
            .collection::<ParkedName>(PARKED)
            .find(doc! { "_id": { "$in": ids } })
            .projection(doc! { "message_id": 1 })
            .batch_size(batch_size(rows.len()))
            .session(tx.session())
            .await
            .map_err(store_error)?
            .stream(tx.session())
            .map_ok(|known| {
                (
                    (from_bson(known.id.key), known.id.sequence),
                    from_bson(known.message_id),
                )
            })
            .try_collect()
            .await
            .map_err(store_error)?;
        let mut documents = Vec::with_capacity(rows.len());
        let mut forks = Vec::new();
        for row in rows {
            match known.insert((row.key, row.sequence), row.id) {
                None => documents.push(ParkedDocument::of(topic, row)),
                Some(id) if id != row.id => forks.push((row.key, row.sequence)),
                Some(_) => {}
            }
        }
        if !documents.is_empty() {
            tx.collection(PARKED)
                .insert_many(documents)
                .session(tx.session())
                .await
                .map_err(store_error)?;
        }
        Ok(forks)
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

    pub(crate) async fn count_held(&self) -> Result<Vec<HeldTopic>, StoreError> {
        let mut pipeline = vec![doc! { "$match": { "has_parked": true } }];
        pipeline.extend(with_parked());
        let gap = doc! { "$eq": [{ "$ifNull": ["$poisoned_at", null] }, null] };
        pipeline.extend([
            doc! { "$group": {
                "_id": "$_id.topic",
                "poisoned": { "$sum": { "$cond": [gap.clone(), 0_i64, 1_i64] } },
                "gaps": { "$sum": { "$cond": [gap.clone(), 1_i64, 0_i64] } },
                "oldest_gap": { "$max": { "$cond": [gap, "$age", null] } },
            } },
            doc! { "$sort": { "_id": 1 } },
        ]);
        let topics: Vec<HeldTopicDocument> = self.aggregate_sequences(pipeline).await?;
        Ok(topics
            .into_iter()
            .map(|topic| HeldTopic {
                topic: topic.topic,
                poisoned: topic.poisoned,
                gaps: topic.gaps,
                oldest_gap: millis(topic.oldest_gap),
            })
            .collect())
    }

    pub(crate) async fn read_held(&self, after: Option<(&str, Uuid)>, limit: i64) -> Result<Vec<HeldKey>, StoreError> {
        let mut filter = doc! { "has_parked": true };
        if let Some((topic, key)) = after {
            filter.insert(
                "$or",
                [
                    doc! { "_id.topic": topic, "_id.key": { "$gt": to_bson(key) } },
                    doc! { "_id.topic": { "$gt": topic } },
                ],
            );
        }
        let mut pipeline = vec![
            doc! { "$match": filter },
            doc! { "$sort": { "_id.topic": 1, "_id.key": 1 } },
            doc! { "$limit": limit },
        ];
        pipeline.extend(with_parked());
        let held: Vec<HeldDocument> = self.aggregate_sequences(pipeline).await?;
        Ok(held
            .into_iter()
            .map(|held| HeldKey {
                topic: held.id.topic.into_owned(),
                key: from_bson(held.id.key),
                last: held.last,
                poisoned_at: held.poisoned_at,
                error: held.error.unwrap_or_default(),
                waiting: held.waiting,
                age: millis(Some(held.age)),
            })
            .collect())
    }

    async fn aggregate_sequences<T: DeserializeOwned + Send + Sync>(
        &self,
        pipeline: Vec<Document>,
    ) -> Result<Vec<T>, StoreError> {
        self.collection::<Document>(SEQUENCES)
            .aggregate(pipeline)
            .with_type()
            .await
            .map_err(store_error)?
            .try_collect()
            .await
            .map_err(store_error)
    }
}

impl<'a> ParkedDocument<'a> {
    fn of(topic: &'a str, row: &'a Parked) -> Self {
        Self {
            id: ParkedId {
                topic: Cow::Borrowed(topic),
                key: to_bson(row.key),
                sequence: row.sequence,
            },
            message_id: to_bson(row.id),
            record: RecordDocument::from(&row.record),
            error: Cow::Borrowed(&row.error),
            parked_at: bson::DateTime::now(),
        }
    }

    fn into_parked(self) -> Result<Parked, StoreError> {
        Ok(Parked {
            key: from_bson(self.id.key),
            sequence: self.id.sequence,
            id: from_bson(self.message_id),
            record: self.record.into_record()?,
            error: self.error.into_owned(),
        })
    }
}

/// Adds to each sequence how many records wait for it, for how many milliseconds, and what is wrong with the first.
fn with_parked() -> [Document; 2] {
    [
        doc! { "$lookup": {
            "from": PARKED,
            "let": { "topic": "$_id.topic", "key": "$_id.key", "poisoned_at": "$poisoned_at" },
            "pipeline": [
                { "$match": { "$expr": { "$and": [
                    { "$eq": ["$_id.topic", "$$topic"] },
                    { "$eq": ["$_id.key", "$$key"] },
                ] } } },
                { "$group": {
                    "_id": null,
                    "waiting": { "$sum": 1_i64 },
                    "since": { "$min": "$parked_at" },
                    "error": { "$max": { "$cond": [{ "$eq": ["$_id.sequence", "$$poisoned_at"] }, "$error", null] } },
                } },
            ],
            "as": "parked",
        } },
        doc! { "$set": {
            "waiting": { "$ifNull": [{ "$first": "$parked.waiting" }, 0_i64] },
            "error": { "$first": "$parked.error" },
            "age": { "$subtract": ["$$NOW", { "$ifNull": [{ "$first": "$parked.since" }, "$$NOW"] }] },
        } },
    ]
}

fn millis(age: Option<i64>) -> Duration {
    Duration::from_millis(u64::try_from(age.unwrap_or(0)).unwrap_or(0))
}

// The order of an `_id`'s fields is part of its value.

fn key_id(topic: &str, key: Uuid) -> Document {
    doc! { "topic": topic, "key": to_bson(key) }
}

fn parked_id(topic: &str, key: Uuid, sequence: i64) -> Bson {
    doc! { "topic": topic, "key": to_bson(key), "sequence": sequence }.into()
}
