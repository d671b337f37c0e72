//! The bookkeeping of delivery, which is written in the same transaction as an effect.
//!
//! A store keeps it next to the business data, so one transaction covers both. [`Ledger`] is the sum of five traits,
//! one for each user: [`Transactions`], [`DeliveryLog`] (the pipeline), [`Outbox`] (the relay), [`OpsQueries`] (ops
//! commands and the status report) and [`Maintenance`] (the boot checks and the housekeeping task). The crates
//! `postgres` and `mongo` implement them, each trait in a file with the same name; `testing::conformance` verifies that
//! both behave alike.

mod delivery_log;
mod maintenance;
mod ops_queries;
mod outbox;
mod rows;
mod transactions;

pub use self::delivery_log::DeliveryLog;
pub use self::maintenance::Maintenance;
pub use self::ops_queries::{MAX_SEARCHED_ROWS, MAX_TRACED_ROWS, OpsQueries};
pub use self::outbox::Outbox;
pub use self::rows::{
    DeadLetter, InboxEntry, MessageTrace, OutboxGauge, OutboxMessage, OutboxRow, Parked, PendingKey, PendingTopic,
    Sequence, Step, StoredDeadLetter, StoredSchema, TopicKey,
};
pub use self::transactions::Transactions;

/// A store that implements all five traits. Every such store implements this trait automatically.
pub trait Ledger: Transactions + DeliveryLog + Outbox + OpsQueries + Maintenance {}

impl<L: Transactions + DeliveryLog + Outbox + OpsQueries + Maintenance> Ledger for L {}

/// A failed call of a store. The kind decides what the pipeline does next; the source is logged once.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct StoreError {
    pub kind: StoreErrorKind,
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreErrorKind {
    /// An infrastructure failure. The caller waits and repeats the same work.
    #[error("the store is not available")]
    Unavailable,
    /// A conflict with a concurrent transaction (a unique row, a serialization failure). The caller rolls back, reads
    /// again and decides again.
    #[error("conflict with a concurrent transaction")]
    Conflict,
    /// The store cannot store this data, however often it is retried. Only an error that was clearly caused by the data
    /// is of this kind, because its message is then dead-lettered or parked.
    #[error("the store rejected the data")]
    Broken,
    /// Neither the data nor the infrastructure explains the error, for example a table that a migration has changed, a
    /// missing privilege or a wrong statement. It is retried like `Unavailable`, and raises an alert, because an
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

/// A failed commit.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing of the transaction took effect.
    #[error("the transaction was rolled back")]
    RolledBack(#[source] StoreError),
    /// The transaction may have taken effect. The stored position shows whether it has.
    #[error("the outcome of the commit is unknown")]
    Unknown(#[source] StoreError),
}
