//! Handlers apply messages. They never acknowledge, retry, commit or deduplicate.

use std::future::Future;

use contracts::Message;
use contracts::aggregate::Rejection;

use crate::ledger::{Ledger, StoreError, StoreErrorKind};
use crate::publishing::publisher::AppendError;
use crate::publishing::unit::Unit;
use crate::wire::message::Received;
use crate::wire::record::Record;

/// Handles the messages of one topic.
///
/// A value belongs to one lane, which owns several partitions of the topic. It is dropped whenever its cached state may be
/// wrong, and recreated: when the assignment of the lane changes, after every rollback, after a commit of unknown outcome,
/// and when a stored position is not the one that this lane last wrote. State in `self` therefore needs no other care,
/// except for parked keys: a release applies their messages with another value, and does not advance the position.
pub trait Handler<L: Ledger>: Send + 'static {
    type Message: Message;

    /// Applies `messages` in order, each exactly once. The messages of one partition are in the order of their offsets. All
    /// writes go through `unit`, whose transaction the lane commits. It also contains what other handlers of the lane
    /// write.
    ///
    /// # Errors
    /// After an error, the transaction is rolled back, and the messages are handed over again in smaller batches, down to
    /// single messages.
    fn handle(
        &mut self,
        unit: &mut Unit<L>,
        messages: &[&Received<Self::Message>],
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Handles raw records by topic, partition and offset, without an inbox and without an order check. For the audit log.
///
/// A value belongs to one lane, and is dropped and recreated like a [`Handler`].
///
/// A panic makes the partition wait and raises an alert. A handler returns [`Failure::Poison`] only for an error that
/// this record alone causes.
///
/// The codec of the unit's publisher knows every schema that the records name, unless the registry does not know it.
pub trait LogHandler<L: Ledger>: Send + 'static {
    /// Logs records. Returns the number of records that were logged only in part, because they are too large. They count
    /// as stubs.
    fn handle(&mut self, unit: &mut Unit<L>, records: &[&Record]) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// Logs a stub of a record: only what identifies it, because the store refuses the rest.
    ///
    /// It is called after [`handle`](Self::handle) failed for this record alone with [`Failure::Poison`]. `description`
    /// is a human-readable description of the record and the reason. A failure makes the partition wait for an operator.
    fn stub(
        &mut self,
        unit: &mut Unit<L>,
        record: &Record,
        description: &str,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// The reason why a handler failed. It determines what the pipeline does next.
///
/// A [`Rejection`] converts into [`Defer`](Self::Defer) or [`Reject`](Self::Reject), as its field `deferred` states.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An infrastructure failure: the batch is retried with back-off, and the partition waits.
    #[error("the infrastructure failed, and the messages are retried")]
    Retry(#[source] BoxError),
    /// A conflict with a concurrent transaction: the messages are retried one by one, with fresh state.
    #[error("conflict with a concurrent transaction")]
    Conflict(#[source] BoxError),
    /// The command came too early (commands only): it is executed again later, and rejected after its last attempt.
    #[error("too early, and rejected after the last attempt: {}", .0.code)]
    Defer(Rejection),
    /// A business rule rejects the command (commands only): the rejection is the reply.
    #[error("rejected: {}", .0.code)]
    Reject(Rejection),
    /// This message will never succeed.
    #[error("the message can never be applied")]
    Poison(#[source] BoxError),
}

/// An error of any type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Failure {
    /// Returns [`Poison`](Self::Poison) with this error as its source.
    pub fn poison(error: impl Into<BoxError>) -> Self {
        Self::Poison(error.into())
    }

    /// Returns [`Retry`](Self::Retry) with this error as its source.
    pub fn retry(error: impl Into<BoxError>) -> Self {
        Self::Retry(error.into())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error.kind {
            StoreErrorKind::Unavailable => Self::Retry(error.source),
            StoreErrorKind::Conflict => Self::Conflict(error.source),
            StoreErrorKind::Broken => Self::Poison(error.source),
            // The error keeps its kind, because the lane raises an alert.
            StoreErrorKind::Unexpected => Self::Retry(Box::new(error)),
        }
    }
}

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        Self::poison(error)
    }
}
