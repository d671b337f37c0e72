//! The consumer's position (one document per partition), and the abandoned transactions that may block it.

use std::time::Duration;

use futures::TryStreamExt;
use messaging::ledger::StoreError;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReadConcern;
use serde::Deserialize;

use crate::documents::PartitionId;
use crate::error::is_write_conflict;
use crate::{Mongo, app_name, store_error};

pub(crate) const CONSUMED: &str = "consumed";

/// A transaction that blocks another one and has been idle for this long counts as left behind by a dead process.
const ABANDONED: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
pub(crate) struct Consumed {
    #[serde(rename = "_id")]
    pub(crate) id: PartitionId,
    pub(crate) next_offset: i64,
}

impl Mongo {
    /// Converts the result of a write to a position. After a write conflict, also ends the abandoned transactions of this
    /// service, one of which may hold the position.
    pub(crate) async fn or_end_abandoned_transactions<T>(
        &self,
        result: Result<T, mongodb::error::Error>,
    ) -> Result<T, StoreError> {
        if let Err(error) = &result
            && is_write_conflict(error)
            && let Err(error) = self.end_abandoned_transactions().await
        {
            tracing::debug!(%error, "cannot search for abandoned transactions");
        }
        result.map_err(store_error)
    }

    /// Ends the idle transactions of this service.
    ///
    /// The server keeps the transaction of a dead process for `transactionLifetimeLimitSeconds`, a minute by default, and
    /// with it the lock on the partition's position. Ending one that is only slow is safe, because it is run again.
    async fn end_abandoned_transactions(&self) -> Result<(), StoreError> {
        let admin = self.client().database("admin");
        let idle = i64::try_from(ABANDONED.as_micros()).expect("two seconds fit into an i64");
        let sessions: Vec<Document> = admin
            .aggregate([
                doc! { "$currentOp": { "idleSessions": true } },
                doc! { "$match": {
                    "type": "idleSession",
                    "appName": app_name(self.database().name()),
                    "transaction.timeInactiveMicros": { "$gt": idle },
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
                "ending the idle transactions that a dead process left open"
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
