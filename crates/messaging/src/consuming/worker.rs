//! One worker per assigned partition: takes what is waiting, and gets it applied whatever happens.

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

/// Why an attempt wrote nothing.
#[derive(Debug)]
pub(crate) enum Setback {
    /// The stored position is not the one this worker knows.
    OutOfDate,
    /// A handler failed; where it had a single message, its id is known.
    Failed { message: Option<Uuid>, failure: Failure },
    /// The log of the topic failed.
    Unlogged(Failure),
    /// The store refused the commit.
    Uncommitted(Failure),
}

impl Setback {
    /// What a statement failed with that carries nothing of a message: none can be to blame.
    fn blameless(mut error: StoreError) -> Self {
        if error.kind == StoreErrorKind::Broken {
            error.kind = StoreErrorKind::Unexpected;
        }
        error.into()
    }
}

impl From<StoreError> for Setback {
    fn from(error: StoreError) -> Self {
        Self::Failed {
            message: None,
            failure: error.into(),
        }
    }
}

impl From<Failure> for Setback {
    fn from(failure: Failure) -> Self {
        Self::Failed { message: None, failure }
    }
}

impl From<crate::publishing::publisher::AppendError> for Setback {
    fn from(error: crate::publishing::publisher::AppendError) -> Self {
        Self::Failed {
            message: None,
            failure: error.into(),
        }
    }
}

/// How the records of a batch are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taking {
    Together,
    OneByOne,
}

/// What a worker does inside the position's transaction.
pub(crate) trait Body<L: Ledger>: Send + 'static {
    /// A record made ready, outside of any transaction.
    type Item: Send + Sync;

    fn prepare(
        &mut self,
        runtime: &Runtime<L>,
        records: Vec<Record>,
        stop: &CancellationToken,
    ) -> impl Future<Output = Result<Vec<Self::Item>, Stopped>> + Send;

    /// The record it was made of.
    fn record(item: &Self::Item) -> &Record;

    /// The id of the message that a handler is called with; `None` for a record that is none.
    fn message(item: &Self::Item) -> Option<Uuid>;

    /// Writes everything that `items` mean, after the position was moved.
    fn write(
        &mut self,
        runtime: &Runtime<L>,
        unit: &mut Unit<L>,
        items: &[Self::Item],
        known: &KnownFailures,
        taking: Taking,
    ) -> impl Future<Output = Result<(), Setback>> + Send;

    /// What is counted once the transaction is there.
    fn committed(&mut self, runtime: &Runtime<L>, items: &[Self::Item]);

    /// Whatever is cached may be wrong now.
    fn forget(&mut self);
}

/// A worker of any kind.
pub trait PartitionWorker: Send {
    /// Applies records of the partition, in offset order. Returns when they are applied or parked or
    /// buried: not before, however long the infrastructure is down, unless `stop` says so.
    fn process<'a>(
        &'a mut self,
        records: Vec<Record>,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), Stopped>>;

    /// The next offset to apply; `None` before anything was.
    fn position(&self) -> Option<i64>;
}

pub(crate) struct Worker<L: Ledger, B> {
    runtime: Arc<Runtime<L>>,
    partition: TopicPartition,
    position: Option<i64>,
    body: B,
}

impl<L: Ledger, B: Body<L>> Worker<L, B> {
    /// `position` is the stored one, as it was read on assignment.
    pub(crate) fn new(runtime: Arc<Runtime<L>>, partition: TopicPartition, position: Option<i64>, body: B) -> Self {
        Self {
            runtime,
            partition,
            position,
            body,
        }
    }

    async fn apply(&mut self, records: Vec<Record>, stop: &CancellationToken) -> Result<(), Stopped> {
        let runtime = Arc::clone(&self.runtime);
        let mut items = self.body.prepare(&runtime, records, stop).await?;
        let mut back_off = FIRST_BACK_OFF;
        loop {
            let known = self.position.unwrap_or(0);
            // Redelivered, or applied by a transaction whose outcome was unknown.
            items.retain(|item| B::record(item).offset >= known);
            if items.is_empty() {
                return Ok(());
            }
            match self.attempt(&items, &KnownFailures::new(), Taking::Together).await {
                Ok(()) => return Ok(()),
                Err(Setback::OutOfDate) => self.read_position(stop).await?,
                Err(
                    Setback::Failed {
                        failure: Failure::Retry(error),
                        ..
                    }
                    | Setback::Unlogged(Failure::Retry(error))
                    | Setback::Uncommitted(Failure::Retry(error)),
                ) => self.wait(&mut back_off, &error, stop).await?,
                // One bad message must not take its neighbours with it.
                Err(Setback::Failed { failure, .. } | Setback::Unlogged(failure) | Setback::Uncommitted(failure)) => {
                    tracing::debug!(partition = %self.partition, %failure, "taking the batch one by one");
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

    /// Applies a single record. A failed attempt is rolled back and made again, knowing what failed.
    async fn apply_one(&mut self, item: &[B::Item], stop: &CancellationToken) -> Result<(), Stopped> {
        let mut known = KnownFailures::new();
        let mut back_off = FIRST_BACK_OFF;
        while B::record(&item[0]).offset >= self.position.unwrap_or(0) {
            match self.attempt(item, &known, Taking::OneByOne).await {
                Ok(()) => return Ok(()),
                Err(Setback::OutOfDate) => self.read_position(stop).await?,
                Err(Setback::Failed { message, failure }) => match (message, failure) {
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
                            error = error_chain(error.as_ref()), "this message can't be applied"
                        );
                        known.insert(id, KnownFailure::Poison(error_chain(error.as_ref())));
                    }
                    // The store refused what the record leads to, and will refuse it every time.
                    (None, failure) => {
                        let reason = reason(&failure);
                        let offset = B::record(&item[0]).offset;
                        let fallback = known.note_refusal(B::message(&item[0]), offset, &reason);
                        self.refused(&item[0], fallback, failure, &mut back_off, stop).await?;
                    }
                },
                Err(
                    Setback::Unlogged(Failure::Retry(error) | Failure::Conflict(error))
                    | Setback::Uncommitted(Failure::Retry(error) | Failure::Conflict(error)),
                ) => {
                    self.wait(&mut back_off, &error, stop).await?;
                }
                // The commit does not tell whose data it refuses, the handler's or the log's.
                Err(Setback::Uncommitted(failure)) => {
                    let reason = reason(&failure);
                    let offset = B::record(&item[0]).offset;
                    let fallback = known.note_refusal(B::message(&item[0]), offset, &reason);
                    let fallback = fallback.or_else(|| known.note_log_refusal(reason));
                    self.refused(&item[0], fallback, failure, &mut back_off, stop).await?;
                }
                Err(Setback::Unlogged(failure)) => {
                    let fallback = known.note_log_refusal(reason(&failure));
                    self.refused(&item[0], fallback, failure, &mut back_off, stop).await?;
                }
            }
        }
        Ok(())
    }

    /// Reports that the store refused an attempt. Where the next attempt can ask nothing less of it, the partition waits
    /// for an operator.
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
                "the store refuses what this record leads to; the next attempt asks less of it");
            return Ok(());
        }
        tracing::error!(partition = %self.partition, offset,
            "the store refuses even a stub of this record; the partition waits for an operator");
        let error = StoreError::new(StoreErrorKind::Unexpected, failure);
        self.wait(back_off, &error.into(), stop).await
    }

    /// One transaction, within its limit.
    async fn attempt(&mut self, items: &[B::Item], known: &KnownFailures, taking: Taking) -> Result<(), Setback> {
        let limit = self.runtime.transaction_limit(&self.partition.topic);
        match tokio::time::timeout(limit, self.transact(items, known, taking)).await {
            Ok(outcome) => outcome,
            // Perhaps the commit was under way: the relay looks for its rows, and the next attempt meets the position.
            Err(_) => {
                self.body.forget();
                self.runtime.publisher.request_sweep();
                Err(Failure::Conflict(format!("the transaction took longer than {limit:?}").into()).into())
            }
        }
    }

    /// The position, then everything that the items mean, then the commit.
    async fn transact(&mut self, items: &[B::Item], known: &KnownFailures, taking: Taking) -> Result<(), Setback> {
        let runtime = Arc::clone(&self.runtime);
        let next = B::record(items.last().expect("an attempt has items")).offset + 1;
        let mut unit = Unit::begin(&runtime.ledger, &runtime.publisher)
            .await
            .map_err(Setback::blameless)?;
        // The position is the first statement: its row lock makes every later read current.
        let written = {
            let (ledger, tx) = unit.parts();
            match ledger.advance(tx, &self.partition, self.position, next).await {
                Ok(true) => self.body.write(&runtime, &mut unit, items, known, taking).await,
                Ok(false) => Err(Setback::OutOfDate),
                Err(error) => Err(Setback::blameless(error)),
            }
        };
        if let Err(setback) = written {
            unit.rollback().await;
            self.body.forget();
            return Err(setback);
        }
        match unit.commit().await {
            Ok(()) => {
                self.position = Some(next);
                self.body.committed(&runtime, items);
                Ok(())
            }
            Err(CommitError::RolledBack(error)) => {
                self.body.forget();
                Err(Setback::Uncommitted(error.into()))
            }
            Err(CommitError::Unknown(error)) => {
                tracing::warn!(partition = %self.partition, error = error_chain(&error),
                    "the outcome of a commit is unknown; the stored position will tell");
                self.body.forget();
                Err(Setback::OutOfDate)
            }
        }
    }

    /// The position was not what this worker thought: somebody else had the partition, or an own commit
    /// of unknown outcome is there. Its stored value says where to go on.
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
                    // A position only grows. Going on would pass over the records between, which are not in hand.
                    if stored < self.position {
                        tracing::error!(partition = %self.partition, known = ?self.position, ?stored,
                            "the stored position went back: was the store restored? The partition is given up");
                        return Err(Stopped);
                    }
                    tracing::info!(partition = %self.partition, known = ?self.position, ?stored,
                        "going on from the stored position");
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
                "the partition waits, because the store fails in a way that no message causes; nothing is lost");
            metrics.unexpected_store_errors.with_label_values(&[topic]).inc();
        } else {
            tracing::warn!(partition = %self.partition, error = error_chain(error.as_ref()), wait = ?back_off,
                "the partition waits; nothing is lost");
        }
        metrics.retries.with_label_values(&[topic]).inc();
        wait_or_stop(back_off, stop).await
    }
}

impl<L: Ledger, B: Body<L>> PartitionWorker for Worker<L, B> {
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

/// The cause for which a message is given up, without the introduction.
fn reason(failure: &Failure) -> String {
    match failure {
        Failure::Poison(error) => error_chain(error.as_ref()),
        other => error_chain(other),
    }
}

/// How old a message is when it is applied, in seconds.
pub(crate) fn age(time: Timestamp) -> f64 {
    let micros = Timestamp::now().as_micros() - time.as_micros();
    micros.max(0) as f64 / 1e6
}
