//! The keys with parked records: their index, and the aggregation that operators' queries share.

use futures::TryStreamExt;
use messaging::ledger::StoreError;
use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::parked::PARKED;
use crate::sequences::{KeyId, SEQUENCES};
use crate::{Mongo, store_error};

#[derive(Deserialize)]
pub(crate) struct PendingKeyDocument {
    #[serde(rename = "_id")]
    pub(crate) id: KeyId<'static>,
    pub(crate) last: i64,
    pub(crate) poisoned_at: Option<i64>,
    pub(crate) error: Option<String>,
    pub(crate) waiting: i64,
    /// In milliseconds.
    pub(crate) age: i64,
}

#[derive(Deserialize)]
pub(crate) struct PendingTopicDocument {
    #[serde(rename = "_id")]
    pub(crate) topic: String,
    pub(crate) poisoned: i64,
    pub(crate) gaps: i64,
    /// In milliseconds.
    pub(crate) oldest_gap: Option<i64>,
}

/// Returns the index of the keys with parked records. It is small, because such keys are few.
pub(crate) fn pending_index() -> IndexModel {
    let options = IndexOptions::builder()
        .partial_filter_expression(doc! { "has_parked": true })
        .build();
    let keys = doc! { "_id.topic": 1, "_id.key": 1 };
    IndexModel::builder().keys(keys).options(options).build()
}

impl Mongo {
    pub(crate) async fn aggregate_sequences<T: DeserializeOwned + Send + Sync>(
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

/// Returns the stages that add to each sequence the number of its parked records, the milliseconds since the first was
/// parked, and the error of its poison message.
pub(crate) fn with_parked() -> [Document; 2] {
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
