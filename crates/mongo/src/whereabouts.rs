//! What the bookkeeping knows of one message.

use messaging::ledger::{MessageTrace, StoreError};
use mongodb::bson::{Bson, bson, doc};
use uuid::Uuid;

use crate::{Mongo, to_bson};

/// Rows of one kind, at most: a chain of messages may be long.
const MOST: i64 = 100;

impl Mongo {
    pub(crate) async fn look_for(&self, id: Uuid) -> Result<MessageTrace, StoreError> {
        // Headers are pairs; these are the two that name the message or its chain.
        let named: Vec<Bson> = ["ce_id", "ce_correlationid"]
            .iter()
            .map(|name| bson!([*name, id.to_string()]))
            .collect();
        let parked = doc! { "$or": [
            { "message_id": to_bson(id) },
            { "record.headers": { "$in": named.clone() } },
        ] };
        let letters = doc! { "$or": [
            { "redriven_as": to_bson(id) },
            { "record.headers": { "$in": named.clone() } },
        ] };
        let mut dead_letters = self.find_letters(letters, MOST).await?;
        dead_letters.reverse();
        Ok(MessageTrace {
            outbox: self.find_said(doc! { "headers": { "$in": named } }, MOST).await?,
            inbox: self.attempts(id).await?,
            applied: self.last_applied(id).await?,
            parked: self.find_parked(parked, MOST).await?,
            dead_letters,
        })
    }
}
