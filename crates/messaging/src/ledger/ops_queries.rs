use std::future::Future;

use uuid::Uuid;

use super::{MessageTrace, PendingKey, PendingTopic, StoreError, StoredDeadLetter, Transactions};

/// Maximum number of rows in each list of a message trace, because a chain of messages may be long.
pub const MAX_TRACED_ROWS: i64 = 100;

/// Number of rows of the outbox in which a message trace searches. The outbox has no index by message, because every message
/// passes through it, and it is short unless Kafka is down.
pub const MAX_SEARCHED_ROWS: i64 = 10_000;

/// The queries and changes that ops commands and the status report need.
///
/// [`pending_keys`](Self::pending_keys), [`list_dead_letters`](Self::list_dead_letters) and
/// [`find_message`](Self::find_message) may read outside of the given transaction and then do not see its own writes:
/// MongoDB does so, because a transaction there holds no connection between its statements.
pub trait OpsQueries: Transactions {
    /// Returns the topics with parked records, by name, and the number of pending keys of each.
    fn pending_topics(&self) -> impl Future<Output = Result<Vec<PendingTopic>, StoreError>> + Send;

    /// Returns at most `limit` keys with parked records, by topic and key, beginning after `after`.
    fn pending_keys(
        &self,
        tx: &mut Self::Tx,
        after: Option<(&str, Uuid)>,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<PendingKey>, StoreError>> + Send;

    /// Returns the number of dead letters that were not sent again.
    fn count_dead_letters(&self) -> impl Future<Output = Result<i64, StoreError>> + Send;

    /// Returns at most `limit` dead letters without their values, newest first, beginning after `before`.
    fn list_dead_letters(
        &self,
        tx: &mut Self::Tx,
        before: Option<Uuid>,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<StoredDeadLetter>, StoreError>> + Send;

    /// Returns one dead letter with its value; `None` if it does not exist.
    ///
    /// Postgres locks it until the transaction ends. In MongoDB, a change of it fails if another transaction has changed
    /// it.
    fn dead_letter(
        &self,
        tx: &mut Self::Tx,
        id: Uuid,
    ) -> impl Future<Output = Result<Option<StoredDeadLetter>, StoreError>> + Send;

    /// Stores the id of the new command with which a dead letter was redriven.
    fn mark_redriven(
        &self,
        tx: &mut Self::Tx,
        id: Uuid,
        command: Uuid,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes a dead letter. Returns `false` if it does not exist.
    fn discard_dead_letter(&self, tx: &mut Self::Tx, id: Uuid)
    -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Returns everything that the store knows of the message with this id, and of the messages with this correlation id.
    /// Each list has at most [`MAX_TRACED_ROWS`] rows, except `inbox` and `applied`. Rows of the outbox that are not delayed are
    /// searched among [`MAX_SEARCHED_ROWS`] of them.
    fn find_message(
        &self,
        tx: &mut Self::Tx,
        id: Uuid,
    ) -> impl Future<Output = Result<MessageTrace, StoreError>> + Send;
}
