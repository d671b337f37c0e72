use futures::future::BoxFuture;
use messaging::ledger::{DeadLetter, OutboxMessage, Parked};
use uuid::Uuid;

/// What a store holds that its ledger has no reason to tell, for tests that look inside.
pub trait Inside: Send + Sync + 'static {
    /// Records that wait, by topic, key and sequence.
    fn parked_records(&self) -> BoxFuture<'_, Vec<Parked>>;

    /// In the order in which they were buried.
    fn dead_letters(&self) -> BoxFuture<'_, Vec<DeadLetter>>;

    /// Messages for later, in the order in which they fall due.
    fn delayed(&self) -> BoxFuture<'_, Vec<OutboxMessage>>;

    /// Takes them out, as if the clock had moved on.
    fn take_delayed(&self) -> BoxFuture<'_, Vec<OutboxMessage>>;

    /// The outbox rows that nobody has acknowledged, with their owners.
    fn outbox(&self) -> BoxFuture<'_, Vec<(Uuid, OutboxMessage)>>;

    /// How many messages the inbox remembers.
    fn remembered(&self) -> BoxFuture<'_, i64>;

    /// The newest acknowledged offset of each topic and partition.
    fn acknowledged(&self) -> BoxFuture<'_, Vec<(messaging::TopicPartition, i64)>>;
}
