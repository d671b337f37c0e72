//! Relays' leases, and the offsets they have reached.

use std::time::Duration;

use futures::TryStreamExt;
use messaging::TopicPartition;
use messaging::ledger::StoreError;
use mongodb::bson::{self, Document, doc};
use serde::Deserialize;
use uuid::Uuid;

use crate::documents::partition_id;
use crate::{Mongo, Update, store_error, to_bson};

pub(crate) const LEASES: &str = "relay_leases";
pub(crate) const OFFSETS: &str = "relay_offsets";

/// Leases that ran out so long ago are deleted. Nothing depends on it: no lease is no live lease.
const LONG_OVER: Duration = Duration::from_secs(60 * 60);

#[derive(Deserialize)]
struct Lease {
    #[serde(rename = "_id")]
    owner: bson::Uuid,
}

impl Mongo {
    pub(crate) async fn start_lease(&self, owner: Uuid, length: Duration) -> Result<(), StoreError> {
        self.collection::<Document>(LEASES)
            .update_one(doc! { "_id": to_bson(owner) }, until(length))
            .upsert(true)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    pub(crate) async fn prolong_lease(&self, owner: Uuid, length: Duration) -> Result<bool, StoreError> {
        let live = doc! { "_id": to_bson(owner), "$expr": { "$gt": ["$until", "$$NOW"] } };
        let result = self
            .collection::<Document>(LEASES)
            .update_one(live, until(length))
            .await
            .map_err(store_error)?;
        Ok(result.matched_count == 1)
    }

    pub(crate) async fn end_lease(&self, owner: Uuid) -> Result<(), StoreError> {
        self.collection::<Document>(LEASES)
            .delete_one(doc! { "_id": to_bson(owner) })
            .await
            .map_err(store_error)?;
        Ok(())
    }

    pub(crate) async fn live_owners(&self) -> Result<Vec<bson::Uuid>, StoreError> {
        self.collection::<Lease>(LEASES)
            .find(doc! { "$expr": { "$gt": ["$until", "$$NOW"] } })
            .await
            .map_err(store_error)?
            .map_ok(|lease| lease.owner)
            .try_collect()
            .await
            .map_err(store_error)
    }

    pub(crate) async fn forget_leases(&self) -> Result<(), StoreError> {
        self.collection::<Document>(LEASES)
            .delete_many(doc! { "$expr": { "$lt": ["$until", { "$subtract": ["$$NOW", millis(LONG_OVER)] }] } })
            .await
            .map_err(store_error)?;
        Ok(())
    }

    pub(crate) async fn keep_offsets(&self, offsets: &[(TopicPartition, i64)]) -> Result<(), StoreError> {
        let updates = offsets.iter().map(|(partition, offset)| Update {
            filter: doc! { "_id": partition_id(partition) },
            change: doc! { "$max": { "offset": *offset } },
            upsert: true,
        });
        self.update_each(OFFSETS, updates).await?;
        Ok(())
    }
}

/// By the server's clock.
fn until(length: Duration) -> Vec<Document> {
    vec![doc! { "$set": { "until": { "$add": ["$$NOW", millis(length)] } } }]
}

fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}
