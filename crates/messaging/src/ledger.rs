//! What must be written together with an effect, as one trait.
//!
//! A store keeps the bookkeeping of delivery beside the business data, so that one transaction
//! covers both. Postgres and MongoDB implement it; `testing::conformance` holds them equal.

mod rows;

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;

use uuid::Uuid;

use crate::record::TopicPartition;

pub use self::rows::{
    DeadLetter, InboxEntry, MessageTrace, OutboxGauge, OutboxMessage, OutboxRow, Parked, PendingKey, PendingTopic,
    Sequence, StoredDeadLetter, StoredSchema,
};

/// Why a store refused. The kind says what the pipeline does next, the source is logged once.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct StoreError {
    pub kind: StoreErrorKind,
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreErrorKind {
    /// The infrastructure is at fault: wait and do the same again.
    #[error("the store is not available")]
    Unavailable,
    /// Another transaction was faster (a unique row, a serialization failure): look again, then decide anew.
    #[error("another transaction was faster")]
    Conflict,
    /// The store cannot store this data, whenever it is tried again. Only an error that clearly blames the data is of
    /// this kind, because the message is then given up.
    #[error("the store refused the data")]
    Broken,
    /// Neither the data nor the infrastructure explains the error, for example a table that a migration has changed, a
    /// missing privilege or a wrong statement. It is retried like `Unavailable`, and raises an alarm, because an
    /// operator may have to act.
    #[error("the store failed unexpectedly")]
    Unexpected,
}

impl StoreError {
    pub fn new(kind: StoreErrorKind, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            kind,
            source: source.into(),
        }
    }
}

/// How a commit failed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing of the transaction is there.
    #[error("the transaction was rolled back")]
    RolledBack(#[source] StoreError),
    /// It may be there or not: the stored position tells.
    #[error("the outcome of the commit is unknown")]
    Unknown(#[source] StoreError),
}

/// The bookkeeping of delivery. All of it but the relay's part is written in the caller's transaction.
pub trait Ledger: Clone + Send + Sync + 'static {
    type Tx: Send + 'static;
    /// Names an outbox row; order does not matter.
    type RowId: Copy + Eq + Hash + Debug + Send + Sync + 'static;

    /// Whether the store answers.
    fn ping(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    fn begin(&self) -> impl Future<Output = Result<Self::Tx, StoreError>> + Send;
    fn commit(&self, tx: Self::Tx) -> impl Future<Output = Result<(), CommitError>> + Send;
    fn rollback(&self, tx: Self::Tx) -> impl Future<Output = ()> + Send;

    /// The next offset of each partition that has one stored.
    fn positions(
        &self,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<HashMap<TopicPartition, i64>, StoreError>> + Send;

    /// Compare-and-set of the position: the transaction's first statement. `false` where the stored
    /// position is not `from` (`None`: no row yet).
    fn advance(
        &self,
        tx: &mut Self::Tx,
        partition: &TopicPartition,
        from: Option<i64>,
        to: i64,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Locks (MongoDB: writes) the partition's position row, so that a release and the worker take turns.
    fn lock_position(
        &self,
        tx: &mut Self::Tx,
        partition: &TopicPartition,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Enters messages into the inbox; answers the `(ce_id, attempt)` that were not there.
    fn insert_inbox(
        &self,
        tx: &mut Self::Tx,
        messages: &[InboxEntry],
    ) -> impl Future<Output = Result<HashSet<(Uuid, i32)>, StoreError>> + Send;

    /// The rows of these keys, locked (MongoDB: conflict on write); a missing key has none.
    fn sequences(
        &self,
        tx: &mut Self::Tx,
        topic: &str,
        keys: &[Uuid],
    ) -> impl Future<Output = Result<HashMap<Uuid, Sequence>, StoreError>> + Send;

    /// Writes rows. Those that [`sequences`](Self::sequences) did not find are `new`: where another
    /// transaction made one meanwhile, that is a conflict.
    fn set_sequences(
        &self,
        tx: &mut Self::Tx,
        topic: &str,
        new: &[(Uuid, Sequence)],
        changed: &[(Uuid, Sequence)],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What waits for these keys, by key and sequence.
    fn parked(
        &self,
        tx: &mut Self::Tx,
        topic: &str,
        keys: &[Uuid],
    ) -> impl Future<Output = Result<Vec<Parked>, StoreError>> + Send;

    /// Parks; a (topic, key, sequence) that is parked already stays as it is. Answers those that are parked under
    /// another id.
    fn park(
        &self,
        tx: &mut Self::Tx,
        topic: &str,
        rows: &[Parked],
    ) -> impl Future<Output = Result<Vec<(Uuid, i64)>, StoreError>> + Send;

    fn unpark(
        &self,
        tx: &mut Self::Tx,
        topic: &str,
        rows: &[(Uuid, i64)],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    fn insert_dead_letters(
        &self,
        tx: &mut Self::Tx,
        letters: &[DeadLetter],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes dead letters of these topics whose key or subject is one of `keys`, and rows of the outbox for it that
    /// are not due yet.
    fn erase(
        &self,
        tx: &mut Self::Tx,
        topics: &[String],
        keys: &[Uuid],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Appends in order. Rows with `due_at` get no owner.
    fn append(
        &self,
        tx: &mut Self::Tx,
        owner: Uuid,
        messages: &[OutboxMessage],
    ) -> impl Future<Output = Result<Vec<Self::RowId>, StoreError>> + Send;

    // The relay's part: each a transaction of its own.

    /// Deletes published rows, guarded by owner, and keeps the newest acknowledged offset of each partition.
    fn acknowledge(
        &self,
        rows: &[(Self::RowId, Uuid)],
        offsets: &[(TopicPartition, i64)],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// This owner's rows that were appended at least `min_age` ago, oldest first.
    fn sweep(
        &self,
        owner: Uuid,
        min_age: Duration,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<OutboxRow<Self::RowId>>, StoreError>> + Send;

    /// Takes rows that have fallen due and belong to nobody. Also answers how long until the next one.
    #[expect(clippy::type_complexity, reason = "a pair said in the sentence above")]
    fn take_due(
        &self,
        owner: Uuid,
        limit: i64,
    ) -> impl Future<Output = Result<(Vec<OutboxRow<Self::RowId>>, Option<Duration>), StoreError>> + Send;

    /// Takes rows whose owner has no live lease, whether or not a lease row exists.
    fn adopt(
        &self,
        owner: Uuid,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<OutboxRow<Self::RowId>>, StoreError>> + Send;

    /// Starts a lease (database clock).
    fn start_lease(&self, owner: Uuid, length: Duration) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Prolongs a lease that has not run out; `false` where it has.
    fn renew_lease(&self, owner: Uuid, length: Duration) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Ends a lease, so that others adopt what is left at once.
    fn end_lease(&self, owner: Uuid) -> impl Future<Output = Result<(), StoreError>> + Send;

    fn outbox_gauge(&self) -> impl Future<Output = Result<OutboxGauge, StoreError>> + Send;

    // What operators ask.

    /// How much waits, by topic.
    fn pending_topics(&self) -> impl Future<Output = Result<Vec<PendingTopic>, StoreError>> + Send;

    /// Keys whose messages wait, by topic and key, from behind `after` on.
    fn pending_keys(
        &self,
        tx: &mut Self::Tx,
        after: Option<(&str, Uuid)>,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<PendingKey>, StoreError>> + Send;

    /// Dead letters that were not sent again.
    fn count_dead_letters(&self) -> impl Future<Output = Result<i64, StoreError>> + Send;

    /// Dead letters without their values, the newest first, older than `before`.
    fn list_dead_letters(
        &self,
        tx: &mut Self::Tx,
        before: Option<Uuid>,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<StoredDeadLetter>, StoreError>> + Send;

    /// One of them, whole, locked (MongoDB: conflict on write).
    fn dead_letter(
        &self,
        tx: &mut Self::Tx,
        id: Uuid,
    ) -> impl Future<Output = Result<Option<StoredDeadLetter>, StoreError>> + Send;

    fn mark_redriven(
        &self,
        tx: &mut Self::Tx,
        id: Uuid,
        command: Uuid,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes a dead letter; `false` where there is none.
    fn discard_dead_letter(&self, tx: &mut Self::Tx, id: Uuid)
    -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// What is known of the message with this id, and of those with this correlation id.
    fn find_message(
        &self,
        tx: &mut Self::Tx,
        id: Uuid,
    ) -> impl Future<Output = Result<MessageTrace, StoreError>> + Send;

    /// The record schemas met so far, by registry id: a registry that is down stops nobody who has run before.
    fn schemas(&self) -> impl Future<Output = Result<Vec<StoredSchema>, StoreError>> + Send;
    fn save_schemas(&self, schemas: &[StoredSchema]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Drops what the inbox need not remember any more, and makes room for what comes.
    fn housekeeping(&self, inbox_retention: Duration) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Why the promise can't hold on this store, one sentence each: asynchronous commits, no replica set, ….
    fn boot_problems(&self) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;
}
