use std::collections::{HashMap, HashSet};

use futures::TryStreamExt;
use messaging::TopicPartition;
use messaging::ledger::{
    CommitError, DeadLetter, DeliveryLog, InboxEntry, Parked, Sequence, Step, StoreError, StoreErrorKind, StoredSchema,
    TopicKey, Transactions as _,
};
use mongodb::bson::{self, DateTime, Document, doc};
use serde::Deserialize;
use uuid::Uuid;

use crate::dead_letters::{DEAD_LETTERS, DeadLetterDocument};
use crate::documents::{batch_size, binary, partition_id};
use crate::error::is_duplicate_key;
use crate::inbox::{Entry, EntryId, INBOX, KnownEntry};
use crate::outbox::OUTBOX;
use crate::parked::{PARKED, ParkedDocument, ParkedKey, parked_id};
use crate::position::{CONSUMED, Consumed};
use crate::sequences::{MissingSequences, SEQUENCES, SequenceDocument, key_id};
use crate::setup::SCHEMAS;
use crate::transactions::matched;
use crate::{Mongo, Tx, Update, durable, from_bson, store_error, to_bson};

#[derive(Deserialize)]
struct SchemaDocument {
    #[serde(rename = "_id")]
    id: i32,
    schema: String,
}

impl DeliveryLog for Mongo {
    async fn positions(&self, partitions: &[TopicPartition]) -> Result<HashMap<TopicPartition, i64>, StoreError> {
        // A transaction, because its commit waits until everything that it has read is majority-committed. A majority read
        // without one may return a position from before this process's own commit, which would then be read
        // repeatedly.
        let ids: Vec<_> = partitions.iter().map(partition_id).collect();
        let mut tx = self.begin().await?;
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
        match self.commit(tx).await {
            Ok(()) => {}
            Err(CommitError::RolledBack(error) | CommitError::Unknown(error)) => return Err(error),
        }
        Ok(documents
            .into_iter()
            .map(|document| (document.id.into(), document.next_offset))
            .collect())
    }

    async fn advance_all(&self, tx: &mut Tx, steps: &[Step]) -> Result<bool, StoreError> {
        // In the order of the partitions, because `steps` are sorted by them in every transaction.
        let moves = steps.iter().filter_map(|step| {
            Some(Update {
                filter: doc! { "_id": partition_id(&step.partition), "next_offset": step.from? },
                change: doc! { "$set": { "next_offset": step.to } },
                upsert: false,
            })
        });
        let moved = tx.send_updates(CONSUMED, moves).await;
        let moved = matched(&self.or_end_abandoned_transactions(moved).await?)?;
        let first: Vec<_> = steps
            .iter()
            .filter(|step| step.from.is_none())
            .map(|step| doc! { "_id": partition_id(&step.partition), "next_offset": step.to, "locks": 0_i64 })
            .collect();
        if moved != (steps.len() - first.len()) as u64 {
            return Ok(false);
        }
        if first.is_empty() {
            return Ok(true);
        }
        // If another process has inserted a first position, this is a duplicate key. It ends the transaction, which the
        // caller rolls back anyway because of the mismatch.
        let inserted = match tx.collection(CONSUMED).insert_many(first).session(tx.session()).await {
            Ok(_) => Ok(true),
            Err(error) if is_duplicate_key(&error) => Ok(false),
            Err(error) => Err(error),
        };
        self.or_end_abandoned_transactions(inserted).await
    }

    async fn lock_position(&self, tx: &mut Tx, partition: &TopicPartition) -> Result<(), StoreError> {
        let collection = tx.collection::<Document>(CONSUMED);
        let locked = collection
            .update_one(
                doc! { "_id": partition_id(partition) },
                // A counter, because an update that changes nothing is not a write and conflicts with no other write.
                doc! { "$inc": { "locks": 1_i64 } },
            )
            .session(tx.session())
            .await
            .map(|_| ());
        self.or_end_abandoned_transactions(locked).await
    }

    async fn insert_inbox(&self, tx: &mut Tx, messages: &[InboxEntry]) -> Result<HashSet<(Uuid, i32)>, StoreError> {
        if messages.is_empty() {
            return Ok(HashSet::new());
        }
        // Known entries are read first, because a duplicate key would end the transaction.
        let ids: Vec<_> = messages
            .iter()
            .map(|message| doc! { "id": to_bson(message.id), "attempt": message.attempt })
            .collect();
        let known: HashSet<(Uuid, i32)> = tx
            .collection::<KnownEntry>(INBOX)
            .find(doc! { "_id": { "$in": ids } })
            // Read from the index alone, and in one response.
            .projection(doc! { "_id": 1 })
            .batch_size(batch_size(messages.len()))
            .session(tx.session())
            .await
            .map_err(store_error)?
            .stream(tx.session())
            .map_ok(|known| (from_bson(known.id.id), known.id.attempt))
            .try_collect()
            .await
            .map_err(store_error)?;
        let mut fresh = HashSet::new();
        let entries: Vec<_> = messages
            .iter()
            .filter(|message| !known.contains(&(message.id, message.attempt)))
            .filter(|message| fresh.insert((message.id, message.attempt)))
            .map(|message| Entry {
                id: EntryId {
                    id: to_bson(message.id),
                    attempt: message.attempt,
                },
                since: DateTime::from_millis(message.since.as_micros().div_euclid(1_000)),
            })
            .collect();
        if !entries.is_empty() {
            tx.collection(INBOX)
                .insert_many(entries)
                .session(tx.session())
                .await
                .map_err(store_error)?;
        }
        Ok(fresh)
    }

    async fn sequences(&self, tx: &mut Tx, keys: &[TopicKey]) -> Result<Vec<(TopicKey, Sequence)>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<_> = keys.iter().map(key_id).collect();
        tx.collection::<SequenceDocument<'static>>(SEQUENCES)
            .find(doc! { "_id": { "$in": ids } })
            .batch_size(batch_size(keys.len()))
            .session(tx.session())
            .await
            .map_err(store_error)?
            .stream(tx.session())
            .map_ok(|document| {
                let sequence = document.sequence();
                (TopicKey::new(document.id.topic, from_bson(document.id.key)), sequence)
            })
            .try_collect()
            .await
            .map_err(store_error)
    }

    async fn set_sequences(
        &self,
        tx: &mut Tx,
        new: &[(TopicKey, Sequence)],
        changed: &[(TopicKey, Sequence)],
    ) -> Result<(), StoreError> {
        if !new.is_empty() {
            let documents = new
                .iter()
                .map(|(key, sequence)| SequenceDocument::new(&key.topic, key.key, sequence));
            tx.collection(SEQUENCES)
                .insert_many(documents)
                .session(tx.session())
                .await
                .map_err(store_error)?;
        }
        let updates = changed.iter().map(|(key, sequence)| Update {
            filter: doc! { "_id": key_id(key) },
            change: doc! {
                "$set": {
                    "last": sequence.last,
                    "last_id": sequence.last_id.map(to_bson),
                    "poisoned_at": sequence.poisoned_at,
                    "has_parked": sequence.has_parked,
                },
                "$inc": { "revision": 1_i64 },
            },
            upsert: false,
        });
        let matched = tx.update_each(SEQUENCES, updates).await?;
        if matched != changed.len() as u64 {
            let missing = MissingSequences {
                matched,
                changed: changed.len(),
            };
            return Err(StoreError::new(StoreErrorKind::Conflict, missing));
        }
        Ok(())
    }

    async fn parked(&self, tx: &mut Tx, key: &TopicKey, from: i64, limit: i64) -> Result<Vec<Parked>, StoreError> {
        // A range of `_id`, so that its index returns the records in order.
        let range = doc! {
            "$gte": parked_id(&key.topic, key.key, from),
            "$lte": parked_id(&key.topic, key.key, i64::MAX),
        };
        let documents: Vec<ParkedDocument<'static>> = tx
            .collection(PARKED)
            .find(doc! { "_id": range })
            .sort(doc! { "_id": 1 })
            .limit(limit)
            // As much as fits into one response, 16 MiB.
            .batch_size(batch_size(u32::MAX))
            .session(tx.session())
            .await
            .map_err(store_error)?
            .stream(tx.session())
            .try_collect()
            .await
            .map_err(store_error)?;
        documents.into_iter().map(ParkedDocument::into_parked).collect()
    }

    async fn park(&self, tx: &mut Tx, rows: &[Parked]) -> Result<Vec<(TopicKey, i64)>, StoreError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        // Parked records are read first, because a duplicate key would end the transaction.
        let id = |row: &Parked| parked_id(&row.record.partition.topic, row.key, row.sequence);
        let ids: Vec<_> = rows.iter().map(id).collect();
        let mut known: HashMap<(TopicKey, i64), Uuid> = tx
            .collection::<ParkedKey>(PARKED)
            .find(doc! { "_id": { "$in": ids } })
            .projection(doc! { "message_id": 1 })
            .batch_size(batch_size(rows.len()))
            .session(tx.session())
            .await
            .map_err(store_error)?
            .stream(tx.session())
            .map_ok(|known| {
                let key = TopicKey::new(known.id.topic, from_bson(known.id.key));
                ((key, known.id.sequence), from_bson(known.message_id))
            })
            .try_collect()
            .await
            .map_err(store_error)?;
        let mut documents = Vec::with_capacity(rows.len());
        let mut forks = Vec::new();
        let mut repeated = Vec::new();
        for row in rows {
            match known.insert((row.topic_key(), row.sequence), row.id) {
                None => documents.push(ParkedDocument::new(row)),
                Some(id) if id != row.id => forks.push((row.topic_key(), row.sequence)),
                Some(_) => repeated.push(row),
            }
        }
        if !documents.is_empty() {
            tx.collection(PARKED)
                .insert_many(documents)
                .session(tx.session())
                .await
                .map_err(store_error)?;
        }
        for row in repeated.into_iter().filter(|row| row.record.value.is_some()) {
            // The producer has published a record again of which only a stub may be parked.
            let stub = doc! {
                "_id": id(row), "message_id": to_bson(row.id), "record.value": null,
            };
            tx.collection(PARKED)
                .replace_one(stub, ParkedDocument::new(row))
                .session(tx.session())
                .await
                .map_err(store_error)?;
        }
        Ok(forks)
    }

    async fn unpark(&self, tx: &mut Tx, rows: &[(TopicKey, i64)]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = rows
            .iter()
            .map(|(key, sequence)| parked_id(&key.topic, key.key, *sequence))
            .collect();
        tx.collection::<Document>(PARKED)
            .delete_many(doc! { "_id": { "$in": ids } })
            .session(tx.session())
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn insert_dead_letters(&self, tx: &mut Tx, dead_letters: &[DeadLetter]) -> Result<(), StoreError> {
        if dead_letters.is_empty() {
            return Ok(());
        }
        let documents = dead_letters.iter().map(DeadLetterDocument::from);
        tx.collection(DEAD_LETTERS)
            .insert_many(documents)
            .session(tx.session())
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn erase(&self, tx: &mut Tx, topics: &[String], keys: &[Uuid]) -> Result<(), StoreError> {
        let texts = keys.iter().map(ToString::to_string);
        let subjects: Vec<_> = texts.clone().map(|key| bson::bson!(["ce_subject", key])).collect();
        let keyed: Vec<_> = texts.map(|key| binary(&key.into())).collect();
        tx.collection::<Document>(DEAD_LETTERS)
            .delete_many(doc! { "record.topic": { "$in": topics }, "$or": [
                { "record.key": { "$in": keyed } },
                { "record.headers": { "$in": subjects } },
            ] })
            .session(tx.session())
            .await
            .map_err(store_error)?;
        let ids: Vec<_> = keys.iter().copied().map(to_bson).collect();
        tx.collection::<Document>(OUTBOX)
            .delete_many(doc! { "owner": null, "topic": { "$in": topics }, "key": { "$in": ids } })
            .session(tx.session())
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn schemas(&self) -> Result<Vec<StoredSchema>, StoreError> {
        self.collection::<SchemaDocument>(SCHEMAS)
            .find(doc! {})
            .await
            .map_err(store_error)?
            .map_ok(|document| StoredSchema {
                id: document.id,
                schema: document.schema,
            })
            .try_collect()
            .await
            .map_err(store_error)
    }

    async fn save_schemas(&self, schemas: &[StoredSchema]) -> Result<(), StoreError> {
        let updates = schemas.iter().map(|schema| Update {
            filter: doc! { "_id": schema.id },
            change: doc! { "$set": { "schema": &schema.schema } },
            upsert: true,
        });
        self.update_each(SCHEMAS, updates, &durable()).await?;
        Ok(())
    }
}
