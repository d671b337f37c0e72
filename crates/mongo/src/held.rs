//! The keys whose messages wait, as operators see them.

use std::time::Duration;

use futures::TryStreamExt;
use messaging::ledger::{PendingKey, PendingTopic, StoreError};
use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::parked::PARKED;
use crate::sequences::{KeyId, SEQUENCES};
use crate::{Mongo, from_bson, store_error, to_bson};

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

/// Finds the keys whose messages wait, which are few.
pub(crate) fn held() -> IndexModel {
    let few = IndexOptions::builder()
        .partial_filter_expression(doc! { "has_parked": true })
        .build();
    let keys = doc! { "_id.topic": 1, "_id.key": 1 };
    IndexModel::builder().keys(keys).options(few).build()
}

impl Mongo {
    pub(crate) async fn count_held(&self) -> Result<Vec<PendingTopic>, StoreError> {
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
            .map(|topic| PendingTopic {
                topic: topic.topic,
                poisoned: topic.poisoned,
                gaps: topic.gaps,
                oldest_gap: millis(topic.oldest_gap),
            })
            .collect())
    }

    pub(crate) async fn read_held(
        &self,
        after: Option<(&str, Uuid)>,
        limit: i64,
    ) -> Result<Vec<PendingKey>, StoreError> {
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
            .map(|held| PendingKey {
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
