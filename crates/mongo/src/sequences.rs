//! The documents of the sequences: the progress of each key.

use std::borrow::Cow;

use futures::TryStreamExt;
use messaging::ledger::{Sequence, StoreError, TopicKey};
use mongodb::bson::{self, Document, doc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Mongo, from_bson, store_error, to_bson};

pub(crate) const SEQUENCES: &str = "sequences";

#[derive(Serialize, Deserialize)]
pub(crate) struct KeyId<'a> {
    pub(crate) topic: Cow<'a, str>,
    pub(crate) key: bson::Uuid,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct SequenceDocument<'a> {
    #[serde(rename = "_id")]
    pub(crate) id: KeyId<'a>,
    last: i64,
    last_id: Option<bson::Uuid>,
    poisoned_at: Option<i64>,
    has_parked: bool,
    /// Number of writes. Each write increments it, because an update that changes nothing conflicts with no other write.
    revision: i64,
}

/// A concurrent transaction has deleted sequences.
#[derive(Debug, thiserror::Error)]
#[error("only {matched} of {changed} changed sequences exist")]
pub(crate) struct MissingSequences {
    pub(crate) matched: u64,
    pub(crate) changed: usize,
}

impl<'a> SequenceDocument<'a> {
    pub(crate) fn new(topic: &'a str, key: Uuid, sequence: &Sequence) -> Self {
        Self {
            id: KeyId {
                topic: Cow::Borrowed(topic),
                key: to_bson(key),
            },
            last: sequence.last,
            last_id: sequence.last_id.map(to_bson),
            poisoned_at: sequence.poisoned_at,
            has_parked: sequence.has_parked,
            revision: 0,
        }
    }

    pub(crate) fn sequence(&self) -> Sequence {
        Sequence {
            last: self.last,
            last_id: self.last_id.map(from_bson),
            poisoned_at: self.poisoned_at,
            has_parked: self.has_parked,
        }
    }
}

impl Mongo {
    /// Returns the keys whose last applied message this is: topic, key and number.
    pub(crate) async fn find_applied(&self, message: Uuid) -> Result<Vec<(String, Uuid, i64)>, StoreError> {
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

/// Returns the `_id` of a key. The order of its fields is part of its value.
pub(crate) fn key_id(key: &TopicKey) -> Document {
    doc! { "topic": &key.topic, "key": to_bson(key.key) }
}
