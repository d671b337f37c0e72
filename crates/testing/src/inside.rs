use futures::future::BoxFuture;
use messaging::ledger::{DeadLetter, OutboxMessage, Parked};
use uuid::Uuid;

/// Reads the tables of a store that its ledger does not expose, for tests.
pub trait Inside: Send + Sync + 'static {
    /// Returns the parked records by topic, key and sequence.
    fn parked_records(&self) -> BoxFuture<'_, Vec<Parked>>;

    /// Returns the dead letters in the order in which they were inserted.
    fn dead_letters(&self) -> BoxFuture<'_, Vec<DeadLetter>>;

    /// Returns the delayed messages in the order in which they fall due.
    fn delayed(&self) -> BoxFuture<'_, Vec<OutboxMessage>>;

    /// Removes and returns the delayed messages, as if they had fallen due.
    fn take_delayed(&self) -> BoxFuture<'_, Vec<OutboxMessage>>;

    /// Returns the outbox rows that are not acknowledged, with their owners.
    fn outbox(&self) -> BoxFuture<'_, Vec<(Uuid, OutboxMessage)>>;

    /// Returns the number of inbox entries.
    fn inbox_entries(&self) -> BoxFuture<'_, i64>;

    /// Returns the newest acknowledged offset of each topic and partition.
    fn acknowledged_offsets(&self) -> BoxFuture<'_, Vec<(messaging::TopicPartition, i64)>>;
}
