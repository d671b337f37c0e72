//! The documents of parked records.

use std::borrow::Cow;

use futures::TryStreamExt;
use messaging::ledger::{Parked, StoreError};
use mongodb::bson::{self, Bson, Document, doc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::documents::{RecordDocument, names};
use crate::{Mongo, from_bson, store_error, to_bson};

pub(crate) const PARKED: &str = "parked";

#[derive(Serialize, Deserialize)]
pub(crate) struct ParkedId<'a> {
    pub(crate) topic: Cow<'a, str>,
    pub(crate) key: bson::Uuid,
    pub(crate) sequence: i64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct ParkedDocument<'a> {
    #[serde(rename = "_id")]
    id: ParkedId<'a>,
    message_id: bson::Uuid,
    record: RecordDocument<'a>,
    #[serde(default)]
    names: Vec<String>,
    error: Cow<'a, str>,
    /// The time by the clock of the process that parked the record.
    #[serde(default = "bson::DateTime::now")]
    parked_at: bson::DateTime,
}

/// A parked record without its content.
#[derive(Deserialize)]
pub(crate) struct ParkedKey {
    #[serde(rename = "_id")]
    pub(crate) id: ParkedId<'static>,
    pub(crate) message_id: bson::Uuid,
}

impl Mongo {
    /// Returns the parked records that match a filter, without their values.
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
}

impl<'a> ParkedDocument<'a> {
    pub(crate) fn new(row: &'a Parked) -> Self {
        Self {
            id: ParkedId {
                topic: Cow::Borrowed(&row.record.partition.topic),
                key: to_bson(row.key),
                sequence: row.sequence,
            },
            message_id: to_bson(row.id),
            record: RecordDocument::from(&row.record),
            names: names(&row.record.headers),
            error: Cow::Borrowed(&row.error),
            parked_at: bson::DateTime::now(),
        }
    }

    pub(crate) fn into_parked(self) -> Result<Parked, StoreError> {
        Ok(Parked {
            key: from_bson(self.id.key),
            sequence: self.id.sequence,
            id: from_bson(self.message_id),
            record: self.record.into_record()?,
            error: self.error.into_owned(),
        })
    }
}

/// Returns the `_id` of a parked record. The order of its fields is part of its value.
pub(crate) fn parked_id(topic: &str, key: Uuid, sequence: i64) -> Bson {
    doc! { "topic": topic, "key": to_bson(key), "sequence": sequence }.into()
}
