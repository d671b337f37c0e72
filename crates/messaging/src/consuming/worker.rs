//! One worker per assigned partition: takes the waiting records, and retries until they are applied.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chassis::error_chain;
use contracts::Timestamp;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backoff::{Stopped, wait_or_stop};
use crate::consuming::handler::{BoxError, Failure};
use crate::consuming::known_failures::{Fallback, KnownFailure, KnownFailures};
use crate::ledger::{CommitError, Ledger, StoreError, StoreErrorKind};
use crate::publishing::unit::Unit;
use crate::runtime::Runtime;
use crate::wire::record::{Record, TopicPartition};

const FIRST_BACK_OFF: Duration = Duration::from_millis(20);

/// The reason why an attempt was rolled back.
#[derive(Debug)]
pub(crate) enum AttemptError {
    /// The stored position is not the one that this worker knows.
    PositionMismatch,
    /// A handler or a statement of the pipeline failed. `message` is the id of the message that caused the failure, if it
    /// is known.
    Handler { message: Option<Uuid>, failure: Failure },
    /// The log handler of the topic failed.
    Log(Failure),
    /// The store refused the commit.
    Commit(Failure),
}

impl AttemptError {
    /// Converts the error of a statement that contains no data of a message, so that no message can have caused it.
    fn of_bookkeeping(mut error: StoreError) -> Self {
        if error.kind == StoreErrorKind::Broken {
            error.kind = StoreErrorKind::Unexpected;
        }
        error.into()
    }
}

impl From<StoreError> for AttemptError {
    fn from(error: StoreError) -> Self {
        Self::Handler {
            message: None,
            failure: error.into(),
        }
    }
}

impl From<Failure> for AttemptError {
    fn from(failure: Failure) -> Self {
        Self::Handler { message: None, failure }
    }
}

impl From<crate::publishing::publisher::AppendError> for AttemptError {
    fn from(error: crate::publishing::publisher::AppendError) -> Self {
        Self::Handler {
            message: None,
            failure: error.into(),
        }
    }
}

/// Number of messages that one call passes to the handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Granularity {
    /// All messages in one call.
    Batch,
    /// One call per message.
    Single,
}

/// Processes records inside the transaction that advances the position.
pub(crate) trait Processor<L: Ledger>: Send + 'static {
    /// A record that was prepared outside of any transaction.
    type Item: Send + Sync;

    /// Prepares records for [`write`](Self::write). Waits while the schema registry is unreachable.
    fn prepare(
        &mut self,
        runtime: &Runtime<L>,
        records: Vec<Record>,
        stop: &CancellationToken,
    ) -> impl Future<Output = Result<Vec<Self::Item>, Stopped>> + Send;

    /// Returns the record of an item.
    fn record(item: &Self::Item) -> &Record;

    /// Returns the id of the message that a handler is called with, or `None` if the record contains no such message.
    fn message(item: &Self::Item) -> Option<Uuid>;

    /// Writes all effects of `items`, after the position was advanced.
    fn write(
        &mut self,
        runtime: &Runtime<L>,
        unit: &mut Unit<L>,
        items: &[Self::Item],
        known: &KnownFailures,
        granularity: Granularity,
    ) -> impl Future<Output = Result<(), AttemptError>> + Send;

    /// Updates the metrics after the commit.
    fn committed(&mut self, runtime: &Runtime<L>, items: &[Self::Item]);

    /// Drops all cached state, because it may be wrong.
    fn invalidate(&mut self);
}

/// A partition's worker, for any processor.
pub trait PartitionWorker: Send {
    /// Applies records of the partition, in offset order. Returns after all of them are applied, parked or dead-lettered,
    /// however long the infrastructure is unavailable.
    ///
    /// # Errors
    /// Returns [`Stopped`] if `stop` is cancelled, or if the stored position went back.
    fn process<'a>(
        &'a mut self,
        records: Vec<Record>,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), Stopped>>;

    /// Returns the next offset to apply, or `None` if no record was applied yet.
    fn position(&self) -> Option<i64>;
}

pub(crate) struct Worker<L: Ledger, B> {
    runtime: Arc<Runtime<L>>,
    partition: TopicPartition,
    position: Option<i64>,
    processor: B,
}

impl<L: Ledger, B: Processor<L>> Worker<L, B> {
    /// `position` is the stored position, as it was read on assignment.
    pub(crate) fn new(
        runtime: Arc<Runtime<L>>,
        partition: TopicPartition,
        position: Option<i64>,
        processor: B,
    ) -> Self {
        Self {
            runtime,
            partition,
            position,
            processor,
        }
    }

    async fn apply(&mut self, records: Vec<Record>, stop: &CancellationToken) -> Result<(), Stopped> {
        let runtime = Arc::clone(&self.runtime);
        let mut items = self.processor.prepare(&runtime, records, stop).await?;
        let mut back_off = FIRST_BACK_OFF;
        loop {
            let position = self.position.unwrap_or(0);
            // Drops records that were redelivered, or applied by a transaction of unknown outcome.
            items.retain(|item| B::record(item).offset >= position);
            if items.is_empty() {
                return Ok(());
            }
            match self.attempt(&items, &KnownFailures::new(), Granularity::Batch).await {
                Ok(()) => return Ok(()),
                Err(AttemptError::PositionMismatch) => self.read_position(stop).await?,
                Err(
                    AttemptError::Handler {
                        failure: Failure::Retry(error),
                        ..
                    }
                    | AttemptError::Log(Failure::Retry(error))
                    | AttemptError::Commit(Failure::Retry(error)),
                ) => self.wait(&mut back_off, &error, stop).await?,
                // One bad message must not affect the other messages of the batch.
                Err(
                    AttemptError::Handler { failure, .. } | AttemptError::Log(failure) | AttemptError::Commit(failure),
                ) => {
                    tracing::debug!(partition = %self.partition, %failure, "the batch failed and is applied one by one");
                    break;
                }
            }
        }
        for item in items {
            if stop.is_cancelled() {
                return Err(Stopped);
            }
            self.apply_one(std::slice::from_ref(&item), stop).await?;
        }
        Ok(())
    }

    /// Applies a single record. A failed attempt is rolled back and repeated, with the failure known.
    async fn apply_one(&mut self, item: &[B::Item], stop: &CancellationToken) -> Result<(), Stopped> {
        let mut known = KnownFailures::new();
        let mut back_off = FIRST_BACK_OFF;
        while B::record(&item[0]).offset >= self.position.unwrap_or(0) {
            match self.attempt(item, &known, Granularity::Single).await {
                Ok(()) => return Ok(()),
                Err(AttemptError::PositionMismatch) => self.read_position(stop).await?,
                Err(AttemptError::Handler { message, failure }) => match (message, failure) {
                    (_, Failure::Retry(error) | Failure::Conflict(error)) => {
                        self.wait(&mut back_off, &error, stop).await?;
                    }
                    (Some(id), Failure::Defer(then)) => {
                        known.insert(id, KnownFailure::Defer(then));
                    }
                    (Some(id), Failure::Reject(rejected)) => {
                        known.insert(id, KnownFailure::Reject(rejected));
                    }
                    (Some(id), Failure::Poison(error)) => {
                        tracing::error!(
                            partition = %self.partition, offset = B::record(&item[0]).offset, message_id = %id,
                            error = error_chain(error.as_ref()), "the message cannot be applied"
                        );
                        known.insert(id, KnownFailure::Poison(error_chain(error.as_ref())));
                    }
                    // The store refused what the record leads to, and would refuse it every time.
                    (None, failure) => {
                        let reason = reason(&failure);
                        let offset = B::record(&item[0]).offset;
                        let fallback = known.add_refusal(B::message(&item[0]), offset, &reason);
                        self.refused(&item[0], fallback, failure, &mut back_off, stop).await?;
                    }
                },
                Err(
                    AttemptError::Log(Failure::Retry(error) | Failure::Conflict(error))
                    | AttemptError::Commit(Failure::Retry(error) | Failure::Conflict(error)),
                ) => {
                    self.wait(&mut back_off, &error, stop).await?;
                }
                // A refused commit does not show whether it refuses the data of the handler or of the log.
                Err(AttemptError::Commit(failure)) => {
                    let reason = reason(&failure);
                    let offset = B::record(&item[0]).offset;
                    let fallback = known.add_refusal(B::message(&item[0]), offset, &reason);
                    let fallback = fallback.or_else(|| known.add_log_refusal(reason));
                    self.refused(&item[0], fallback, failure, &mut back_off, stop).await?;
                }
                Err(AttemptError::Log(failure)) => {
                    let fallback = known.add_log_refusal(reason(&failure));
                    self.refused(&item[0], fallback, failure, &mut back_off, stop).await?;
                }
            }
        }
        Ok(())
    }

    /// Logs that the store refused an attempt. Without a `fallback`, the partition waits for an operator.
    async fn refused(
        &mut self,
        item: &B::Item,
        fallback: Option<Fallback>,
        failure: Failure,
        back_off: &mut Duration,
        stop: &CancellationToken,
    ) -> Result<(), Stopped> {
        let offset = B::record(item).offset;
        if let Some(fallback) = fallback {
            tracing::error!(partition = %self.partition, offset, ?fallback, error = reason(&failure),
                "the store refuses what this record leads to; the next attempt writes less");
            return Ok(());
        }
        tracing::error!(partition = %self.partition, offset,
            "the store refuses even a stub of this record; the partition waits for an operator");
        let error = StoreError::new(StoreErrorKind::Unexpected, failure);
        self.wait(back_off, &error.into(), stop).await
    }

    /// Runs one transaction, within its time limit.
    async fn attempt(
        &mut self,
        items: &[B::Item],
        known: &KnownFailures,
        granularity: Granularity,
    ) -> Result<(), AttemptError> {
        let limit = self.runtime.transaction_limit(&self.partition.topic);
        match tokio::time::timeout(limit, self.transact(items, known, granularity)).await {
            Ok(outcome) => outcome,
            // The commit may have been in flight: the relay sweeps for its rows, and the next attempt checks the position.
            Err(_) => {
                self.processor.invalidate();
                self.runtime.publisher.request_sweep();
                Err(Failure::Conflict(format!("the transaction took longer than {limit:?}").into()).into())
            }
        }
    }

    /// Advances the position, writes all effects of the items, and commits.
    async fn transact(
        &mut self,
        items: &[B::Item],
        known: &KnownFailures,
        granularity: Granularity,
    ) -> Result<(), AttemptError> {
        let runtime = Arc::clone(&self.runtime);
        let next = B::record(items.last().expect("an attempt has items")).offset + 1;
        let mut unit = Unit::begin(&runtime.ledger, &runtime.publisher)
            .await
            .map_err(AttemptError::of_bookkeeping)?;
        // The position comes first, because its row lock makes every later read current.
        let written = {
            let (ledger, tx) = unit.parts();
            match ledger.advance(tx, &self.partition, self.position, next).await {
                Ok(true) => {
                    self.processor
                        .write(&runtime, &mut unit, items, known, granularity)
                        .await
                }
                Ok(false) => Err(AttemptError::PositionMismatch),
                Err(error) => Err(AttemptError::of_bookkeeping(error)),
            }
        };
        if let Err(error) = written {
            unit.rollback().await;
            self.processor.invalidate();
            return Err(error);
        }
        match unit.commit().await {
            Ok(()) => {
                self.position = Some(next);
                self.processor.committed(&runtime, items);
                Ok(())
            }
            Err(CommitError::RolledBack(error)) => {
                self.processor.invalidate();
                Err(AttemptError::Commit(error.into()))
            }
            Err(CommitError::Unknown(error)) => {
                tracing::warn!(partition = %self.partition, error = error_chain(&error),
                    "the outcome of a commit is unknown; the stored position is read to determine it");
                self.processor.invalidate();
                Err(AttemptError::PositionMismatch)
            }
        }
    }

    /// Reads the stored position after a mismatch, and continues from there.
    ///
    /// Either another process had the partition, or a commit of unknown outcome by this worker succeeded.
    async fn read_position(&mut self, stop: &CancellationToken) -> Result<(), Stopped> {
        let mut back_off = FIRST_BACK_OFF;
        loop {
            match self
                .runtime
                .ledger
                .positions(std::slice::from_ref(&self.partition))
                .await
            {
                Ok(positions) => {
                    let stored = positions.get(&self.partition).copied();
                    // A position only increases. Continuing would skip the records in between, which this worker does not
                    // have.
                    if stored < self.position {
                        tracing::error!(partition = %self.partition, known = ?self.position, ?stored,
                            "the stored position went back: was the store restored? The worker of the partition stops");
                        return Err(Stopped);
                    }
                    tracing::info!(partition = %self.partition, known = ?self.position, ?stored,
                        "resuming from the stored position");
                    self.position = stored;
                    return Ok(());
                }
                Err(error) => self.wait(&mut back_off, &error.into(), stop).await?,
            }
        }
    }

    async fn wait(
        &mut self,
        back_off: &mut Duration,
        error: &BoxError,
        stop: &CancellationToken,
    ) -> Result<(), Stopped> {
        let topic = &self.partition.topic;
        let metrics = &self.runtime.metrics;
        let cause = error.downcast_ref::<StoreError>();
        if cause.is_some_and(|cause| cause.kind == StoreErrorKind::Unexpected) {
            tracing::error!(partition = %self.partition, error = error_chain(error.as_ref()), wait = ?back_off,
                "the partition waits, because the store fails for a reason that no message causes; nothing is lost");
            metrics.unexpected_store_errors.with_label_values(&[topic]).inc();
        } else {
            tracing::warn!(partition = %self.partition, error = error_chain(error.as_ref()), wait = ?back_off,
                "the partition waits and retries; nothing is lost");
        }
        metrics.retries.with_label_values(&[topic]).inc();
        wait_or_stop(back_off, stop).await
    }
}

impl<L: Ledger, B: Processor<L>> PartitionWorker for Worker<L, B> {
    fn process<'a>(
        &'a mut self,
        records: Vec<Record>,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), Stopped>> {
        Box::pin(self.apply(records, stop))
    }

    fn position(&self) -> Option<i64> {
        self.position
    }
}

/// Returns the cause of a failure as text, without the introduction of [`Failure::Poison`].
fn reason(failure: &Failure) -> String {
    match failure {
        Failure::Poison(error) => error_chain(error.as_ref()),
        other => error_chain(other),
    }
}

/// Returns the age of a message in seconds; 0 if `time` is in the future.
pub(crate) fn age(time: Timestamp) -> f64 {
    let micros = Timestamp::now().as_micros() - time.as_micros();
    micros.max(0) as f64 / 1e6
}
