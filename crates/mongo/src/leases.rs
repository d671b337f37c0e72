//! The leases of relays.

use std::time::Duration;

use futures::TryStreamExt;
use messaging::ledger::StoreError;
use mongodb::bson::{self, Document, doc};
use serde::Deserialize;

use crate::{Mongo, store_error};

pub(crate) const LEASES: &str = "relay_leases";

/// Time since its expiry after which a lease is deleted. Nothing depends on it, because an expired lease and a missing one
/// mean the same.
const KEPT_AFTER_EXPIRY: Duration = Duration::from_secs(60 * 60);

#[derive(Deserialize)]
struct Lease {
    #[serde(rename = "_id")]
    owner: bson::Uuid,
}

impl Mongo {
    /// Returns the owners that have a live lease.
    pub(crate) async fn find_live_owners(&self) -> Result<Vec<bson::Uuid>, StoreError> {
        self.collection::<Lease>(LEASES)
            .find(doc! { "$expr": { "$gt": ["$until", "$$NOW"] } })
            .await
            .map_err(store_error)?
            .map_ok(|lease| lease.owner)
            .try_collect()
            .await
            .map_err(store_error)
    }

    pub(crate) async fn delete_expired_leases(&self) -> Result<(), StoreError> {
        let kept = millis(KEPT_AFTER_EXPIRY);
        self.collection::<Document>(LEASES)
            .delete_many(doc! { "$expr": { "$lt": ["$until", { "$subtract": ["$$NOW", kept] }] } })
            .await
            .map_err(store_error)?;
        Ok(())
    }
}

/// Returns the update that makes a lease expire after `length`, by the server's clock.
pub(crate) fn expire_after(length: Duration) -> Vec<Document> {
    vec![doc! { "$set": { "until": { "$add": ["$$NOW", millis(length)] } } }]
}

fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}
