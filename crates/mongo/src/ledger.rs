//! The [`Ledger`] on MongoDB.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::TryStreamExt;
use messaging::TopicPartition;
use messaging::ledger::{
    CommitError, DeadLetter, InboxEntry, Ledger, OutboxGauge, OutboxMessage, OutboxRow, Parked, ParkedKey, Sequence,
    StoreError, StoredSchema,
};
use mongodb::bson::{self, Document, doc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::documents::{RecordDocument, binary};
use crate::setup::{DEAD_LETTERS, SCHEMAS};
use crate::{Mongo, Tx, Update, store_error, to_bson};

#[derive(Serialize)]
struct DeadLetterDocument<'a> {
    #[serde(rename = "_id")]
    id: bson::Uuid,
    reason: contracts::dead_letters::DeadLetterReason,
    detail: &'a str,
    record: RecordDocument<'a>,
}

#[derive(Deserialize)]
struct SchemaDocument {
    #[serde(rename = "_id")]
    id: i32,
    schema: String,
}

impl Ledger for Mongo {
    type Tx = Tx;
    type RowId = Uuid;

    async fn begin(&self) -> Result<Tx, StoreError> {
        self.begin_transaction().await
    }

    async fn commit(&self, tx: Tx) -> Result<(), CommitError> {
        self.commit_transaction(tx).await
    }

    async fn rollback(&self, tx: Tx) {
        self.abort_transaction(tx).await;
    }

    async fn positions(&self, partitions: &[TopicPartition]) -> Result<HashMap<TopicPartition, i64>, StoreError> {
        self.read_positions(partitions).await
    }

    async fn advance(
        &self,
        tx: &mut Tx,
        partition: &TopicPartition,
        from: Option<i64>,
        to: i64,
    ) -> Result<bool, StoreError> {
        self.advance_position(tx, partition, from, to).await
    }

    async fn lock_position(&self, tx: &mut Tx, partition: &TopicPartition) -> Result<(), StoreError> {
        self.touch_position(tx, partition).await
    }

    async fn remember(&self, tx: &mut Tx, messages: &[InboxEntry]) -> Result<HashSet<(Uuid, i32)>, StoreError> {
        self.enter_inbox(tx, messages).await
    }

    async fn sequences(&self, tx: &mut Tx, topic: &str, keys: &[Uuid]) -> Result<HashMap<Uuid, Sequence>, StoreError> {
        self.read_sequences(tx, topic, keys).await
    }

    async fn set_sequences(
        &self,
        tx: &mut Tx,
        topic: &str,
        new: &[(Uuid, Sequence)],
        changed: &[(Uuid, Sequence)],
    ) -> Result<(), StoreError> {
        self.write_sequences(tx, topic, new, changed).await
    }

    async fn parked(&self, tx: &mut Tx, topic: &str, keys: &[Uuid]) -> Result<Vec<Parked>, StoreError> {
        self.read_parked(tx, topic, keys).await
    }

    async fn park(&self, tx: &mut Tx, topic: &str, rows: &[Parked]) -> Result<(), StoreError> {
        self.add_parked(tx, topic, rows).await
    }

    async fn unpark(&self, tx: &mut Tx, topic: &str, rows: &[(Uuid, i64)]) -> Result<(), StoreError> {
        self.remove_parked(tx, topic, rows).await
    }

    async fn bury(&self, tx: &mut Tx, letters: &[DeadLetter]) -> Result<(), StoreError> {
        if letters.is_empty() {
            return Ok(());
        }
        let documents = letters.iter().map(|letter| DeadLetterDocument {
            id: to_bson(letter.id),
            reason: letter.reason,
            detail: &letter.detail,
            record: RecordDocument::from(&letter.record),
        });
        tx.collection(DEAD_LETTERS)
            .insert_many(documents)
            .session(tx.session())
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn forget(&self, tx: &mut Tx, topics: &[String], keys: &[Uuid]) -> Result<(), StoreError> {
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
        self.forget_delayed(tx, topics, keys).await
    }

    async fn append(&self, tx: &mut Tx, owner: Uuid, messages: &[OutboxMessage]) -> Result<Vec<Uuid>, StoreError> {
        self.append_rows(tx, owner, messages).await
    }

    async fn acknowledge(&self, rows: &[(Uuid, Uuid)], offsets: &[(TopicPartition, i64)]) -> Result<(), StoreError> {
        self.acknowledge_rows(rows, offsets).await
    }

    async fn sweep(&self, owner: Uuid, min_age: Duration, limit: i64) -> Result<Vec<OutboxRow<Uuid>>, StoreError> {
        self.own_rows(owner, min_age, limit).await
    }

    async fn take_due(&self, owner: Uuid, limit: i64) -> Result<(Vec<OutboxRow<Uuid>>, Option<Duration>), StoreError> {
        self.due_rows(owner, limit).await
    }

    async fn adopt(&self, owner: Uuid, limit: i64) -> Result<Vec<OutboxRow<Uuid>>, StoreError> {
        self.orphaned_rows(owner, limit).await
    }

    async fn take_lease(&self, owner: Uuid, length: Duration) -> Result<(), StoreError> {
        self.start_lease(owner, length).await
    }

    async fn renew_lease(&self, owner: Uuid, length: Duration) -> Result<bool, StoreError> {
        self.prolong_lease(owner, length).await
    }

    async fn drop_lease(&self, owner: Uuid) -> Result<(), StoreError> {
        self.end_lease(owner).await
    }

    async fn outbox_gauge(&self) -> Result<OutboxGauge, StoreError> {
        self.measure_outbox().await
    }

    async fn parked_keys(&self) -> Result<Vec<ParkedKey>, StoreError> {
        self.read_parked_keys().await
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
        self.update_each(SCHEMAS, updates).await?;
        Ok(())
    }

    async fn housekeeping(&self, inbox_retention: Duration) -> Result<(), StoreError> {
        self.forget_before(inbox_retention).await?;
        self.forget_leases().await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Mongo::ping(self).await
    }

    async fn boot_problems(&self) -> Result<Vec<String>, StoreError> {
        self.problems().await
    }
}
