//! The [`Ledger`] on MongoDB.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::TryStreamExt;
use messaging::TopicPartition;
use messaging::ledger::{
    CommitError, DeadLetter, InboxEntry, Ledger, MessageTrace, OutboxGauge, OutboxMessage, OutboxRow, Parked,
    PendingKey, PendingTopic, Sequence, StoreError, StoredDeadLetter, StoredSchema,
};
use mongodb::bson::doc;
use serde::Deserialize;
use uuid::Uuid;

use crate::setup::SCHEMAS;
use crate::{Mongo, Tx, Update, store_error};

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

    async fn insert_inbox(&self, tx: &mut Tx, messages: &[InboxEntry]) -> Result<HashSet<(Uuid, i32)>, StoreError> {
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

    async fn park(&self, tx: &mut Tx, topic: &str, rows: &[Parked]) -> Result<Vec<(Uuid, i64)>, StoreError> {
        self.add_parked(tx, topic, rows).await
    }

    async fn unpark(&self, tx: &mut Tx, topic: &str, rows: &[(Uuid, i64)]) -> Result<(), StoreError> {
        self.remove_parked(tx, topic, rows).await
    }

    async fn insert_dead_letters(&self, tx: &mut Tx, letters: &[DeadLetter]) -> Result<(), StoreError> {
        self.add_letters(tx, letters).await
    }

    async fn erase(&self, tx: &mut Tx, topics: &[String], keys: &[Uuid]) -> Result<(), StoreError> {
        self.forget_letters(tx, topics, keys).await?;
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

    async fn start_lease(&self, owner: Uuid, length: Duration) -> Result<(), StoreError> {
        self.start_lease(owner, length).await
    }

    async fn renew_lease(&self, owner: Uuid, length: Duration) -> Result<bool, StoreError> {
        self.prolong_lease(owner, length).await
    }

    async fn end_lease(&self, owner: Uuid) -> Result<(), StoreError> {
        self.end_lease(owner).await
    }

    async fn outbox_gauge(&self) -> Result<OutboxGauge, StoreError> {
        self.measure_outbox().await
    }

    async fn pending_topics(&self) -> Result<Vec<PendingTopic>, StoreError> {
        self.count_held().await
    }

    // These three read beside the transaction, because one of MongoDB holds no connection between its statements.

    async fn pending_keys(
        &self,
        _: &mut Tx,
        after: Option<(&str, Uuid)>,
        limit: i64,
    ) -> Result<Vec<PendingKey>, StoreError> {
        self.read_held(after, limit).await
    }

    async fn count_dead_letters(&self) -> Result<i64, StoreError> {
        self.count_dead_letters().await
    }

    async fn list_dead_letters(
        &self,
        _: &mut Tx,
        before: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<StoredDeadLetter>, StoreError> {
        self.read_letters(before, limit).await
    }

    async fn dead_letter(&self, tx: &mut Tx, id: Uuid) -> Result<Option<StoredDeadLetter>, StoreError> {
        self.read_letter(tx, id).await
    }

    async fn mark_redriven(&self, tx: &mut Tx, id: Uuid, command: Uuid) -> Result<(), StoreError> {
        self.note_redriven(tx, id, command).await
    }

    async fn discard_dead_letter(&self, tx: &mut Tx, id: Uuid) -> Result<bool, StoreError> {
        self.delete_letter(tx, id).await
    }

    async fn find_message(&self, _: &mut Tx, id: Uuid) -> Result<MessageTrace, StoreError> {
        self.look_for(id).await
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
