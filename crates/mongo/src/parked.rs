//! Records that wait for their turn.

use std::borrow::Cow;
use std::collections::HashMap;

use futures::TryStreamExt;
use messaging::ledger::{Parked, StoreError};
use mongodb::bson::{self, Bson, Document, doc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::documents::{RecordDocument, batch_size};
use crate::{Mongo, Tx, from_bson, store_error, to_bson};

pub(crate) const PARKED: &str = "parked";

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

impl Mongo {
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
        let mut repeated = Vec::new();
        for row in rows {
            match known.insert((row.key, row.sequence), row.id) {
                None => documents.push(ParkedDocument::of(topic, row)),
                Some(id) if id != row.id => forks.push((row.key, row.sequence)),
                Some(_) => repeated.push(row),
            }
        }
        if !documents.is_empty() {
            tx.collection(PARKED)
                .insert_many(documents)
                .session(tx.session())
                .await
                .map_err(store_error)?;
        }
        for row in repeated.into_iter().filter(|row| row.record.value.is_some()) {
            // A stub is parked under the same id, and the producer published the record again.
            let stub = doc! {
                "_id": parked_id(topic, row.key, row.sequence), "message_id": to_bson(row.id), "record.value": null,
            };
            tx.collection(PARKED)
                .replace_one(stub, ParkedDocument::of(topic, row))
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

// The order of an `_id`'s fields is part of its value.

fn parked_id(topic: &str, key: Uuid, sequence: i64) -> Bson {
    doc! { "topic": topic, "key": to_bson(key), "sequence": sequence }.into()
}
