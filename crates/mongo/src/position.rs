//! The consumer's position: a document a partition, whose write is the first of every transaction.

use std::collections::HashMap;
use std::time::Duration;

use futures::TryStreamExt;
use messaging::TopicPartition;
use messaging::ledger::{CommitError, StoreError};
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReadConcern;
use serde::Deserialize;

use crate::documents::{PartitionId, partition_id};
use crate::error::{is_duplicate_key, is_write_conflict};
use crate::{Mongo, Tx, app_name, store_error};

pub(crate) const CONSUMED: &str = "consumed";

/// A transaction that has rested this long, and is in another's way, is given up as left by a dead process.
const ABANDONED: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
struct Consumed {
    #[serde(rename = "_id")]
    id: PartitionId,
    next_offset: i64,
}

impl Mongo {
    /// Reads in a transaction: its commit waits until what it read is majority-committed. A position that
    /// a fail-over takes back would skip messages, and one that is behind an own commit would be asked for
    /// again and again.
    pub(crate) async fn read_positions(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, i64>, StoreError> {
        let ids: Vec<_> = partitions.iter().map(partition_id).collect();
        let mut tx = self.begin_transaction().await?;
        let documents: Vec<Consumed> = tx
            .collection(CONSUMED)
            .find(doc! { "_id": { "$in": ids } })
            .session(tx.session())
            .await
            .map_err(store_error)?
            .stream(tx.session())
            .try_collect()
            .await
            .map_err(store_error)?;
        match self.commit_transaction(tx).await {
            Ok(()) => {}
            Err(CommitError::RolledBack(error) | CommitError::Unknown(error)) => return Err(error),
        }
        Ok(documents
            .into_iter()
            .map(|document| (document.id.into(), document.next_offset))
            .collect())
    }

    pub(crate) async fn advance_position(
        &self,
        tx: &mut Tx,
        partition: &TopicPartition,
        from: Option<i64>,
        to: i64,
    ) -> Result<bool, StoreError> {
        let collection = tx.collection::<Document>(CONSUMED);
        let id = partition_id(partition);
        let written = match from {
            // Somebody else's first position is a duplicate key. It ends the transaction, which the caller
            // rolls back for the mismatch anyway.
            None => {
                let first = doc! { "_id": id, "next_offset": to, "locks": 0_i64 };
                match collection.insert_one(first).session(tx.session()).await {
                    Ok(_) => Ok(true),
                    Err(error) if is_duplicate_key(&error) => Ok(false),
                    Err(error) => Err(error),
                }
            }
            Some(from) => collection
                .update_one(
                    doc! { "_id": id, "next_offset": from },
                    doc! { "$set": { "next_offset": to } },
                )
                .session(tx.session())
                .await
                .map(|result| result.matched_count == 1),
        };
        self.or_end_abandoned(written).await
    }

    /// Writes the position without moving it. Where there is none, nothing was applied, so nothing can be
    /// parked, and nobody has to wait for anybody.
    pub(crate) async fn touch_position(&self, tx: &mut Tx, partition: &TopicPartition) -> Result<(), StoreError> {
        let collection = tx.collection::<Document>(CONSUMED);
        let touched = collection
            .update_one(
                doc! { "_id": partition_id(partition) },
                // An update that changes nothing is no write, and would conflict with none.
                doc! { "$inc": { "locks": 1_i64 } },
            )
            .session(tx.session())
            .await
            .map(|_| ());
        self.or_end_abandoned(touched).await
    }

    async fn or_end_abandoned<T>(&self, result: Result<T, mongodb::error::Error>) -> Result<T, StoreError> {
        if let Err(error) = &result
            && is_write_conflict(error)
            && let Err(error) = self.end_abandoned_transactions().await
        {
            tracing::debug!(%error, "abandoned transactions were not looked for");
        }
        result.map_err(store_error)
    }

    /// Ends this service's transactions that nobody goes on with.
    ///
    /// The server keeps the transaction of a process that died for `transactionLifetimeLimitSeconds`, a
    /// minute by default, and with it the partition's position. Ending one that is merely slow is safe: it
    /// is run again.
    async fn end_abandoned_transactions(&self) -> Result<(), StoreError> {
        let admin = self.client().database("admin");
        let rested = i64::try_from(ABANDONED.as_micros()).expect("two seconds are few microseconds");
        let sessions: Vec<Document> = admin
            .aggregate([
                doc! { "$currentOp": { "idleSessions": true } },
                doc! { "$match": {
                    "type": "idleSession",
                    "appName": app_name(self.database().name()),
                    "transaction.timeInactiveMicros": { "$gt": rested },
                } },
                doc! { "$project": { "id": "$lsid.id" } },
            ])
            .read_concern(ReadConcern::local())
            .await
            .map_err(store_error)?
            .try_collect()
            .await
            .map_err(store_error)?;
        let ids: Vec<_> = sessions
            .iter()
            .filter_map(|session| session.get("id"))
            .map(|id| doc! { "id": id })
            .collect();
        if !ids.is_empty() {
            tracing::warn!(
                transactions = ids.len(),
                "ending transactions that a process left open when it died"
            );
            let ids: Vec<Bson> = ids.into_iter().map(Bson::from).collect();
            admin
                .run_command(doc! { "killSessions": ids })
                .await
                .map_err(store_error)?;
        }
        Ok(())
    }
}
