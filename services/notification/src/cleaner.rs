//! Deletes finished mails and old mailings. Every process runs a cleaner, and deleting twice changes nothing.

use std::time::Duration;

use chassis::error_chain;
use contracts::Timestamp;
use futures::TryStreamExt;
use messaging::ledger::StoreError;
use mongo::{Mongo, store_error};
use mongodb::bson::{self, Document, doc};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::copies::time;
use crate::mail::{MAILS, State};
use crate::mailing::MAILINGS;

/// Maximum number of documents that are deleted together.
const CHUNK: i64 = 1_000;
const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Deletes mails whose outcome was recorded longer ago than the retention, and mailings that are older and have no pending
/// mail.
pub struct Cleaner {
    pub mongo: Mongo,
    pub retention: Duration,
}

/// What a cleaner has deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deleted {
    pub mails: u64,
    pub mailings: u64,
}

#[derive(Deserialize)]
struct Id {
    _id: bson::Uuid,
}

impl Cleaner {
    /// Deletes every hour, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            // A chunk that is being deleted when the process stops is deleted in any case.
            let cleaned = tokio::select! {
                () = stop.cancelled() => return,
                cleaned = self.clean(Timestamp::now()) => cleaned,
            };
            match cleaned {
                Ok(Deleted { mails: 0, mailings: 0 }) => {}
                Ok(Deleted { mails, mailings }) => {
                    tracing::info!(mails, mailings, "old mails and mailings were deleted")
                }
                Err(error) => tracing::warn!(
                    error = error_chain(&error),
                    "old mails were not deleted; this is repeated in an hour"
                ),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    /// Deletes everything that is older than the retention at `now`, in chunks.
    pub async fn clean(&self, now: Timestamp) -> Result<Deleted, StoreError> {
        let before = time(now - self.retention);
        Ok(Deleted {
            mails: self.delete_mails(before).await?,
            mailings: self.delete_mailings(before).await?,
        })
    }

    async fn delete_mails(&self, before: bson::DateTime) -> Result<u64, StoreError> {
        // Only a recorded outcome sets `finished_at`, and a finished mail never becomes pending again.
        let finished = doc! { "finished_at": { "$lt": before } };
        let mails = self.mongo.collection::<Id>(MAILS);
        let mut deleted = 0;
        loop {
            let chunk = mails
                .find(finished.clone())
                .sort(doc! { "finished_at": 1 })
                .limit(CHUNK)
                .projection(doc! { "_id": 1 })
                .await
                .map_err(store_error)?;
            let ids: Vec<bson::Uuid> = chunk.map_ok(|row| row._id).try_collect().await.map_err(store_error)?;
            if ids.is_empty() {
                return Ok(deleted);
            }
            let result = mails.delete_many(doc! { "_id": { "$in": ids } }).await;
            deleted += result.map_err(store_error)?.deleted_count;
        }
    }

    async fn delete_mailings(&self, before: bson::DateTime) -> Result<u64, StoreError> {
        let mailings = self.mongo.collection::<Id>(MAILINGS);
        let old = mailings
            .find(doc! { "cause.at": { "$lt": before } })
            .sort(doc! { "cause.at": 1 })
            .projection(doc! { "_id": 1 })
            .await
            .map_err(store_error)?;
        let mut old = old.try_chunks(CHUNK.unsigned_abs().try_into().unwrap_or(usize::MAX));
        let mut deleted = 0;
        while let Some(chunk) = old.try_next().await.map_err(|error| store_error(error.1))? {
            let mut unused = Vec::with_capacity(chunk.len());
            for Id { _id: id } in chunk {
                if !self.is_pending(id).await? {
                    unused.push(id);
                }
            }
            let result = mailings.delete_many(doc! { "_id": { "$in": unused } }).await;
            deleted += result.map_err(store_error)?.deleted_count;
        }
        Ok(deleted)
    }

    /// Returns `true` if a mail of the mailing is pending, because it still needs the mailing's content.
    async fn is_pending(&self, mailing: bson::Uuid) -> Result<bool, StoreError> {
        let mails = self.mongo.collection::<Document>(MAILS);
        let pending = mails
            .find_one(doc! { "cause.id": mailing, "state": State::Pending.name() })
            .projection(doc! { "_id": 1 });
        Ok(pending.await.map_err(store_error)?.is_some())
    }
}
