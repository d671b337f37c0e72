use std::collections::{HashMap, HashSet};
use std::future::Future;

use uuid::Uuid;

use super::{DeadLetter, InboxEntry, Parked, Sequence, Step, StoreError, StoredSchema, TopicKey, Transactions};
use crate::wire::record::TopicPartition;

/// The record of what was consumed: positions, the inbox, sequences, parked records and dead letters.
///
/// The methods with a `tx` write in the caller's transaction, so the log and the effects of the messages commit
/// together or not at all.
pub trait DeliveryLog: Transactions {
    /// Returns the next offset of each of these partitions. A partition without a stored position is missing.
    ///
    /// Reads outside of a transaction, and only positions that no fail-over can undo, because a position that went
    /// back would skip messages.
    fn positions(
        &self,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<HashMap<TopicPartition, i64>, StoreError>> + Send;

    /// Moves the positions of several partitions by compare-and-set, all or none. No partition occurs twice.
    ///
    /// Returns `false` if a stored position is not the expected one; then the caller rolls back. It must be the first
    /// statement of its transaction, because it locks the positions until the transaction ends: a second transaction waits
    /// (Postgres), or its call fails with the kind `Unavailable` (MongoDB). The locks are taken in the order of the
    /// partitions, so that two transactions do not deadlock.
    fn advance_all(&self, tx: &mut Self::Tx, steps: &[Step]) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Moves the position of one partition, as [`advance_all`](Self::advance_all) does.
    fn advance(
        &self,
        tx: &mut Self::Tx,
        partition: &TopicPartition,
        from: Option<i64>,
        to: i64,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send {
        let step = Step {
            partition: partition.clone(),
            from,
            to,
        };
        async move { self.advance_all(tx, &[step]).await }
    }

    /// Locks a partition's position without moving it so that the release of a key and the partition's worker exclude
    /// each other.
    ///
    /// The lock is the one of [`advance`](Self::advance). Without a stored position there is nothing to lock, and that is
    /// no error, because nothing of the partition was applied or parked.
    fn lock_position(
        &self,
        tx: &mut Self::Tx,
        partition: &TopicPartition,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Inserts messages into the inbox.
    ///
    /// Returns the `(ce_id, attempt)` pairs that were not present before; a pair that `messages` repeats counts once. Of
    /// two concurrent transactions with the same pair only one can commit it as new: the second waits for the first
    /// (Postgres), or its call fails with the kind `Unavailable` or `Conflict` (MongoDB).
    fn insert_inbox(
        &self,
        tx: &mut Self::Tx,
        messages: &[InboxEntry],
    ) -> impl Future<Output = Result<HashSet<(Uuid, i32)>, StoreError>> + Send;

    /// Returns the sequences of these keys. A key of which nothing was applied or parked is missing.
    ///
    /// Postgres locks the rows until the transaction ends, in the order of the keys, so two transactions do not
    /// block each other. In MongoDB, the write of a row that another transaction has changed fails.
    fn sequences(
        &self,
        tx: &mut Self::Tx,
        keys: &[TopicKey],
    ) -> impl Future<Output = Result<Vec<(TopicKey, Sequence)>, StoreError>> + Send;

    /// Inserts the `new` sequences and updates the `changed` ones, which [`sequences`](Self::sequences) has returned in
    /// this transaction.
    ///
    /// # Errors
    /// Returns an error of the kind `Conflict` if a `new` one exists because a concurrent transaction inserted it.
    fn set_sequences(
        &self,
        tx: &mut Self::Tx,
        new: &[(TopicKey, Sequence)],
        changed: &[(TopicKey, Sequence)],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns at most `limit` parked records of a key, from the number `from` on, in the order of their numbers.
    fn parked(
        &self,
        tx: &mut Self::Tx,
        key: &TopicKey,
        from: i64,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<Parked>, StoreError>> + Send;

    /// Parks records. A record that is already parked for the same key and sequence stays, unless it is a stub (it has no
    /// value) of the same message and the new record has a value: then it is replaced.
    ///
    /// Returns the keys and numbers that are parked under another message id: the producer used one number twice.
    fn park(
        &self,
        tx: &mut Self::Tx,
        rows: &[Parked],
    ) -> impl Future<Output = Result<Vec<(TopicKey, i64)>, StoreError>> + Send;

    /// Deletes parked records by key and number. Those that do not exist are ignored.
    fn unpark(
        &self,
        tx: &mut Self::Tx,
        rows: &[(TopicKey, i64)],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Inserts dead letters. Their bytes are stored unchanged; Postgres replaces a NUL in a header by U+FFFD, because its
    /// text type cannot contain one.
    fn insert_dead_letters(
        &self,
        tx: &mut Self::Tx,
        dead_letters: &[DeadLetter],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes the dead letters of these topics whose key or subject is one of `keys`, and the outbox rows of these
    /// topics and keys that are not due yet. Rows that are due stay, because the relay publishes them.
    fn erase(
        &self,
        tx: &mut Self::Tx,
        topics: &[String],
        keys: &[Uuid],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the record schemas that this service has read. They let a process that has run before start while the
    /// registry is down.
    fn schemas(&self) -> impl Future<Output = Result<Vec<StoredSchema>, StoreError>> + Send;

    /// Stores schemas by their registry id, in a separate transaction. An existing one is overwritten.
    fn save_schemas(&self, schemas: &[StoredSchema]) -> impl Future<Output = Result<(), StoreError>> + Send;
}
