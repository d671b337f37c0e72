//! Handlers: what a service does with messages. They never ack, retry, commit or dedupe.

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
/// A value lives in one partition worker, and only as long as what it may have cached is known to be
/// true: it is made anew on assignment, after every rollback, after a commit of unknown outcome and when
/// the stored position is not the one this worker last wrote. State kept in `self` needs no other care, but where
/// keys are parked: a release applies their messages with another value, and moves no position.
pub trait Handler<L: Ledger>: Send + 'static {
    type Message: Message;

    /// Applies `messages`, in order, each once. All that is written goes through `unit`, whose transaction
    /// the pipeline commits. On an error nothing of it is left, and the messages come again one by one.
    fn handle(
        &mut self,
        unit: &mut Unit<L>,
        messages: &[&Received<Self::Message>],
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Handles raw records by topic, partition and offset: no inbox, no order check. For the audit log.
///
/// A panic makes the partition wait with an alarm. A handler returns [`Failure::Poison`] for what only this record causes.
///
/// The codec of the unit's publisher knows every schema that the records name, unless the registry does not.
pub trait LogHandler<L: Ledger>: Send + 'static {
    /// Logs records. Returns of how many it logged only a part, because the rest is too large: they count as stubs.
    fn handle(&mut self, unit: &mut Unit<L>, records: &[&Record]) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// Logs that a record was here, with as little of it as names it, because the store refuses the rest. Called after
    /// [`handle`](Self::handle) failed for this record alone with [`Failure::Poison`]; `what` describes the record and
    /// the reason, for people. A failure makes the partition wait for an operator.
    fn stub(
        &mut self,
        unit: &mut Unit<L>,
        record: &Record,
        what: &str,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// What a failed handler means.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The infrastructure is at fault: the batch is retried with back-off, the partition waits.
    #[error("it must be tried again")]
    Retry(#[source] BoxError),
    /// Another transaction was faster: one by one, with a fresh look.
    #[error("another transaction was faster")]
    Conflict(#[source] BoxError),
    /// Too early, commands only: the command comes back later; after the last time it is rejected so.
    #[error("too early; in the end: {}", .0.code)]
    Defer(Rejection),
    /// A business no, commands only: it is replied.
    #[error("rejected: {}", .0.code)]
    Reject(Rejection),
    /// This message will never work.
    #[error("the message can never be applied")]
    Poison(#[source] BoxError),
}

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Failure {
    pub fn poison(error: impl Into<BoxError>) -> Self {
        Self::Poison(error.into())
    }

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
            // With its kind, because the worker raises an alarm.
            StoreErrorKind::Unexpected => Self::Retry(Box::new(error)),
        }
    }
}

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        Self::poison(error)
    }
}
