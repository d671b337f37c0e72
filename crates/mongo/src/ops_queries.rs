use std::time::Duration;

use messaging::ledger::{
    MAX_TRACED_ROWS, MessageTrace, OpsQueries, PendingKey, PendingTopic, StoreError, StoredDeadLetter,
};
use mongodb::bson::{Document, doc};
use uuid::Uuid;

use crate::dead_letters::{DEAD_LETTERS, DeadLetterDocument};
use crate::pending::{PendingKeyDocument, PendingTopicDocument, with_parked};
use crate::{Mongo, Tx, from_bson, store_error, to_bson};

impl OpsQueries for Mongo {
    async fn pending_topics(&self) -> Result<Vec<PendingTopic>, StoreError> {
        // The index is used only if the query names its fields.
        let mut pipeline = vec![
            doc! { "$match": { "has_parked": true } },
            doc! { "$sort": { "_id.topic": 1, "_id.key": 1 } },
        ];
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
        let topics: Vec<PendingTopicDocument> = self.aggregate_sequences(pipeline).await?;
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

    async fn pending_keys(
        &self,
        _: &mut Tx,
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
        let keys: Vec<PendingKeyDocument> = self.aggregate_sequences(pipeline).await?;
        Ok(keys
            .into_iter()
            .map(|pending| PendingKey {
                topic: pending.id.topic.into_owned(),
                key: from_bson(pending.id.key),
                last: pending.last,
                poisoned_at: pending.poisoned_at,
                error: pending.error.unwrap_or_default(),
                waiting: pending.waiting,
                age: millis(Some(pending.age)),
            })
            .collect())
    }

    async fn count_dead_letters(&self) -> Result<i64, StoreError> {
        let count = self
            .collection::<Document>(DEAD_LETTERS)
            .count_documents(doc! { "redriven_as": null })
            .await
            .map_err(store_error)?;
        Ok(i64::try_from(count).unwrap_or(i64::MAX))
    }

    async fn list_dead_letters(
        &self,
        _: &mut Tx,
        before: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<StoredDeadLetter>, StoreError> {
        let filter = before.map_or_else(Document::new, |id| doc! { "_id": { "$lt": to_bson(id) } });
        self.find_dead_letters(filter, limit).await
    }

    async fn dead_letter(&self, tx: &mut Tx, id: Uuid) -> Result<Option<StoredDeadLetter>, StoreError> {
        let found = tx
            .collection::<DeadLetterDocument<'static>>(DEAD_LETTERS)
            .find_one(doc! { "_id": to_bson(id) })
            .session(tx.session())
            .await;
        found
            .map_err(store_error)?
            .map(DeadLetterDocument::into_stored)
            .transpose()
    }

    async fn mark_redriven(&self, tx: &mut Tx, id: Uuid, command: Uuid) -> Result<(), StoreError> {
        tx.collection::<Document>(DEAD_LETTERS)
            .update_one(
                doc! { "_id": to_bson(id) },
                doc! { "$set": { "redriven_as": to_bson(command) } },
            )
            .session(tx.session())
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn discard_dead_letter(&self, tx: &mut Tx, id: Uuid) -> Result<bool, StoreError> {
        let deleted = tx
            .collection::<Document>(DEAD_LETTERS)
            .delete_one(doc! { "_id": to_bson(id) })
            .session(tx.session())
            .await
            .map_err(store_error)?;
        Ok(deleted.deleted_count == 1)
    }

    async fn find_message(&self, _: &mut Tx, id: Uuid) -> Result<MessageTrace, StoreError> {
        let (uuid, name) = (to_bson(id), id.to_string());
        let parked = doc! { "$or": [{ "message_id": uuid }, { "names": &name }] };
        let redriven_or_named = doc! { "$or": [{ "redriven_as": uuid }, { "names": &name }] };
        let mut dead_letters = self.find_dead_letters(redriven_or_named, MAX_TRACED_ROWS).await?;
        dead_letters.reverse();
        Ok(MessageTrace {
            outbox: self.find_outbox_messages(&name, MAX_TRACED_ROWS).await?,
            inbox: self.find_attempts(id).await?,
            applied: self.find_applied(id).await?,
            parked: self.find_parked(parked, MAX_TRACED_ROWS).await?,
            dead_letters,
        })
    }
}

fn millis(age: Option<i64>) -> Duration {
    Duration::from_millis(u64::try_from(age.unwrap_or(0)).unwrap_or(0))
}
