//! A lane: one task that owns many partitions, of any topics of its service, and applies what waits in them as one
//! transaction.
//!
//! A transaction per partition would contain one or two records at ordinary rates. Lanes change no guarantee, because a
//! lane's transaction is the atomic, serial composition of the transactions of its partitions.

mod partition;
mod piece;
pub(crate) mod queue;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chassis::error_chain;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::partition::Owned;
use self::piece::Piece;
use self::queue::Queue;
use crate::backoff::{Stopped, wait_or_stop};
use crate::consuming::attempt_error::{AttemptError, reason};
use crate::consuming::handler::{BoxError, Failure};
use crate::consuming::known_failures::{Fallback, KnownFailure};
use crate::consuming::subscriptions::Subscriptions;
use crate::consuming::transaction::{self, Committed, Handlers, Part};
use crate::ledger::{Ledger, StoreError, StoreErrorKind};
use crate::runtime::Runtime;
use crate::wire::record::{Record, TopicPartition};

const FIRST_BACK_OFF: Duration = Duration::from_millis(20);
/// Maximum size of the records of one transaction.
const BATCH_BYTES: usize = 8 << 20;
/// Number of attempts that fail in the same way before a batch is split, because perhaps one record causes the failure.
const ATTEMPTS_BEFORE_SPLIT: u32 = 3;
/// Number of conflicts of a single record before it counts as poison, because a conflict that fresh state does not resolve
/// never ends.
const MAX_CONFLICTS: u32 = 8;

/// Applies the records of its partitions.
pub struct Lane<L: Ledger> {
    runtime: Arc<Runtime<L>>,
    subscriptions: Arc<Subscriptions<L>>,
    queue: Arc<Queue>,
    /// The partitions as this lane knows them; the queue may have changed since.
    partitions: BTreeMap<TopicPartition, Owned<L>>,
    /// The changes of the assignment that this lane has seen.
    assignments: u64,
    handlers: Handlers<L>,
    /// Number of batches so far, so that each begins with another partition.
    batches: usize,
    /// Minimum time between two commits.
    pace: Duration,
    next_commit: Instant,
}

impl<L: Ledger> Lane<L> {
    pub(crate) fn new(
        runtime: Arc<Runtime<L>>,
        subscriptions: Arc<Subscriptions<L>>,
        queue: Arc<Queue>,
        pace: Duration,
    ) -> Self {
        Self {
            runtime,
            subscriptions,
            queue,
            partitions: BTreeMap::new(),
            assignments: 0,
            handlers: Handlers::new(),
            batches: 0,
            pace,
            next_commit: Instant::now(),
        }
    }

    /// Applies records without Kafka, for rebuilds of read models, tests and benchmarks. Returns after all of them are
    /// applied, parked or dead-lettered, however long the infrastructure is unavailable. Records of partitions that the
    /// lane does not own are ignored.
    ///
    /// # Errors
    /// Returns [`Stopped`] if `stop` is cancelled, or if a stored position went back.
    pub async fn process(&mut self, records: Vec<Record>, stop: &CancellationToken) -> Result<(), Stopped> {
        for record in records {
            self.queue.push(record);
        }
        self.run_while(stop, |lane| lane.holds_records()).await
    }

    /// Returns the next offset to apply, or `None` if no record of the partition was applied yet.
    pub fn position(&self, partition: &TopicPartition) -> Option<i64> {
        match self.partitions.get(partition) {
            Some(owned) => owned.position,
            None => self.queue.state().partitions.get(partition)?.start,
        }
    }

    /// Applies what arrives, until `stop`.
    ///
    /// # Errors
    /// Returns [`Stopped`] if a stored position went back, so that the process must start again.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), Stopped> {
        match self.run_while(&stop, |_| true).await {
            Err(Stopped) if stop.is_cancelled() => Ok(()),
            ended => ended,
        }
    }

    async fn run_while(&mut self, stop: &CancellationToken, goes_on: impl Fn(&Self) -> bool) -> Result<(), Stopped> {
        loop {
            self.take();
            if !goes_on(self) {
                return Ok(());
            }
            let now = Instant::now();
            let batch = self.select(now);
            if let Some(batch) = batch.filter(|_| self.next_commit <= now) {
                self.apply(batch, stop).await?;
                continue;
            }
            // At rest, the next record is applied immediately. Under load, records gather until the next commit.
            let is_at_rest = self.next_commit <= now;
            let wake = if is_at_rest {
                self.next_retry(now)
            } else {
                self.next_commit
            };
            tokio::select! {
                () = stop.cancelled() => return Err(Stopped),
                () = self.queue.changed(), if is_at_rest => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// Follows the assignment, and takes waiting records from the queue.
    fn take(&mut self) {
        let limit = self.runtime.settings.batch;
        self.follow_assignment();
        let queue = Arc::clone(&self.queue);
        let mut state = queue.state();
        for (partition, owned) in &mut self.partitions {
            if let Some(waiting) = state.partitions.get_mut(partition)
                && waiting.assignment == owned.assignment
                && owned.len() < limit
                && owned.bytes < BATCH_BYTES
            {
                owned.push(waiting.take(limit - owned.len(), BATCH_BYTES - owned.bytes));
                waiting.oldest_taken = owned.oldest();
            }
        }
        drop(state);
        for owned in self.partitions.values_mut() {
            owned.decode(&self.runtime, &self.queue);
        }
    }

    /// Drops the partitions that were revoked, and adds those that were assigned.
    fn follow_assignment(&mut self) {
        let queue = Arc::clone(&self.queue);
        let state = queue.state();
        if state.assignments == self.assignments {
            return;
        }
        self.assignments = state.assignments;
        let is_current = |partition: &TopicPartition, owned: &mut Owned<L>| {
            let waiting = state.partitions.get(partition);
            waiting.is_some_and(|waiting| waiting.assignment == owned.assignment)
        };
        self.partitions.retain(is_current);
        for (partition, waiting) in &state.partitions {
            if !self.partitions.contains_key(partition) {
                let topic = self.runtime.publisher.without_prefix(&partition.topic);
                let subscription = self
                    .subscriptions
                    .find(topic)
                    .expect("only subscribed topics are assigned");
                let owned = Owned::new(subscription.clone(), waiting.assignment, waiting.start);
                self.partitions.insert(partition.clone(), owned);
            }
        }
        // A cache belongs to one assignment.
        self.handlers.invalidate();
    }

    fn holds_records(&self) -> bool {
        let state = self.queue.state();
        let is_empty = |partition: &TopicPartition| {
            let waiting = state.partitions.get(partition);
            waiting.is_none_or(|waiting| waiting.records.is_empty())
        };
        let mut partitions = self.partitions.iter();
        partitions.any(|(partition, owned)| owned.len() > 0 || !is_empty(partition))
    }

    /// Returns the time of the next attempt at a partition that waits after a failure.
    fn next_retry(&self, now: Instant) -> Instant {
        const LONG: Duration = Duration::from_secs(60 * 60);
        let waiting = self.partitions.values().filter(|owned| !owned.arrivals.is_empty());
        let retries = waiting.filter_map(|owned| owned.retry_at);
        retries.min().unwrap_or(now + LONG)
    }

    /// Selects records for the next batch: a fair share of what waits in each partition. The first record of a partition
    /// that has failed before is a batch by itself.
    fn select(&mut self, now: Instant) -> Option<Piece> {
        let has_waited = |owned: &Owned<L>| owned.retry_at.is_none_or(|retry_at| retry_at <= now);
        let mut ready: Vec<_> = self
            .partitions
            .iter_mut()
            .filter(|(_, owned)| !owned.arrivals.is_empty() && has_waited(owned))
            .collect();
        if ready.is_empty() {
            return None;
        }
        let limit = self.runtime.settings.batch;
        // With more partitions than records, and for the limit in bytes, another partition comes first each time.
        let first = self.batches % ready.len();
        ready.rotate_left(first);
        if let Some((partition, owned)) = ready.iter_mut().find(|(_, owned)| owned.has_failed) {
            owned.retry_at = None;
            return Some(Piece::retry(partition.clone()));
        }
        ready.truncate(limit);
        let share = limit / ready.len();
        let mut bytes = 0;
        let mut selected = Vec::new();
        for (partition, owned) in ready {
            let mut count = 0;
            for arrival in owned.arrivals.iter().take(share) {
                bytes += arrival.record.bytes();
                if bytes > BATCH_BYTES && !(selected.is_empty() && count == 0) {
                    break;
                }
                count += 1;
            }
            if count > 0 {
                selected.push((partition.clone(), count));
            }
        }
        selected.sort_unstable();
        Some(Piece::new(selected))
    }

    /// Applies the first records of some partitions, in as few transactions as possible: a batch that fails is split until
    /// the record that causes the failure is alone, so that it does not affect the others.
    async fn apply(&mut self, batch: Piece, stop: &CancellationToken) -> Result<(), Stopped> {
        self.batches = self.batches.wrapping_add(1);
        // The last piece is next.
        let mut pieces = vec![batch];
        while let Some(mut piece) = pieces.pop() {
            if stop.is_cancelled() {
                return Err(Stopped);
            }
            self.follow_assignment();
            piece.restrict(&mut self.partitions);
            if piece.is_empty() {
                continue;
            }
            match self.attempt(&piece).await {
                Ok(committed) => self.committed(&piece, committed),
                Err(error) => match self.next_step(&mut piece, error, stop).await? {
                    Next::Again => pieces.push(piece),
                    Next::Split => pieces.extend(piece.split()),
                    Next::Later => self.retry_later(&piece),
                },
            }
        }
        self.next_commit = Instant::now() + self.pace;
        Ok(())
    }

    /// Runs one transaction, within its time limit.
    async fn attempt(&mut self, piece: &Piece) -> Result<Committed, AttemptError> {
        let parts: Vec<_> = piece
            .counts()
            .filter_map(|(partition, count)| {
                let owned = self.partitions.get(partition)?;
                Some(Part {
                    subscription: &owned.subscription,
                    partition,
                    position: owned.position,
                    arrivals: &owned.arrivals.as_slices().0[..count],
                })
            })
            .collect();
        let limits = parts
            .iter()
            .map(|part| self.runtime.transaction_limit(&part.partition.topic));
        let limit = limits.max().unwrap_or_default();
        let transaction = transaction::apply(
            &self.runtime,
            &mut self.handlers,
            &parts,
            &piece.known,
            piece.granularity(),
        );
        match tokio::time::timeout(limit, transaction).await {
            Ok(outcome) => outcome,
            // The commit may have been in flight: the relay sweeps for its rows, and the next attempt checks the positions.
            Err(_) => {
                self.handlers.invalidate();
                self.runtime.publisher.request_sweep();
                tracing::warn!(%piece, ?limit, "a transaction exceeded its time limit and was abandoned");
                Err(AttemptError::TimedOut)
            }
        }
    }

    /// Moves the positions, and updates the metrics.
    fn committed(&mut self, piece: &Piece, committed: Committed) {
        let metrics = &self.runtime.metrics;
        for (topic, counts) in committed.counts {
            counts.add_to(metrics, &topic);
        }
        let queue = Arc::clone(&self.queue);
        let mut state = queue.state();
        for (partition, count) in piece.counts() {
            let Some(owned) = self.partitions.get_mut(partition) else {
                continue;
            };
            if committed.complete {
                owned.applied(count, metrics);
            } else {
                owned.position = owned.arrivals.front().map(|arrival| arrival.record.offset);
            }
            if let Some(waiting) = state.partitions.get_mut(partition)
                && waiting.assignment == owned.assignment
            {
                waiting.position = owned.position.unwrap_or(waiting.position);
                waiting.oldest_taken = owned.oldest();
            }
        }
    }

    /// Decides how to continue after a failed attempt.
    async fn next_step(
        &mut self,
        piece: &mut Piece,
        error: AttemptError,
        stop: &CancellationToken,
    ) -> Result<Next, Stopped> {
        let is_single = piece.is_single();
        match error {
            AttemptError::PositionMismatch => {
                self.read_positions(piece, stop).await?;
                Ok(Next::Again)
            }
            AttemptError::Handler {
                failure: Failure::Retry(error),
                ..
            }
            | AttemptError::Log(Failure::Retry(error))
            | AttemptError::Commit(Failure::Retry(error)) => self.wait(piece, &error, stop).await,
            AttemptError::TimedOut if is_single => {
                self.wait(piece, &"the transaction took too long".into(), stop).await
            }
            // One bad message must not affect the other messages of the batch.
            error if !is_single => {
                tracing::debug!(%piece, ?error, "a batch failed and is split");
                Ok(Next::Split)
            }
            AttemptError::Handler {
                message,
                failure: Failure::Conflict(error),
            } => self.conflict(piece, message, error, stop).await,
            AttemptError::Log(Failure::Conflict(error)) | AttemptError::Commit(Failure::Conflict(error)) => {
                self.conflict(piece, None, error, stop).await
            }
            AttemptError::Handler {
                message: Some(id),
                failure,
            } => {
                let known = match failure {
                    Failure::Defer(rejection) => KnownFailure::Defer(rejection),
                    Failure::Reject(rejection) => KnownFailure::Reject(rejection),
                    failure => {
                        let error = reason(&failure);
                        tracing::error!(%piece, message_id = %id, error, "the message cannot be applied");
                        KnownFailure::Poison(error)
                    }
                };
                piece.known.insert(id, known);
                Ok(Next::Again)
            }
            // The store refused what the record leads to, and would refuse it every time.
            AttemptError::Handler { message: None, failure } => {
                let (message, offset) = self.only_record(piece);
                let fallback = piece.known.add_refusal(message, offset, &reason(&failure));
                self.refused(piece, fallback, failure, stop).await
            }
            // A refused commit does not show whether it refuses the data of the handler or of the log.
            AttemptError::Commit(failure) => {
                let (message, offset) = self.only_record(piece);
                let fallback = piece.known.add_refusal(message, offset, &reason(&failure));
                let fallback = fallback.or_else(|| piece.known.add_log_refusal(reason(&failure)));
                self.refused(piece, fallback, failure, stop).await
            }
            AttemptError::Log(failure) => {
                let fallback = piece.known.add_log_refusal(reason(&failure));
                self.refused(piece, fallback, failure, stop).await
            }
            AttemptError::TimedOut | AttemptError::TooLarge => Ok(Next::Later),
        }
    }

    /// Retries a single record after a conflict; the record that conflicts every time counts as poison.
    async fn conflict(
        &mut self,
        piece: &mut Piece,
        message: Option<uuid::Uuid>,
        error: BoxError,
        stop: &CancellationToken,
    ) -> Result<Next, Stopped> {
        piece.conflicts += 1;
        let (first, _) = self.only_record(piece);
        if let (Some(id), true) = (message.or(first), piece.conflicts >= MAX_CONFLICTS) {
            let error = format!(
                "it conflicted with other transactions {MAX_CONFLICTS} times in a row, with fresh state each time: {}",
                error_chain(error.as_ref())
            );
            tracing::error!(%piece, message_id = %id, error, "the message cannot be applied");
            piece.known.insert(id, KnownFailure::Poison(error));
            return Ok(Next::Again);
        }
        self.log_wait(piece, &error);
        wait_or_stop(&mut piece.back_off, stop).await?;
        Ok(Next::Again)
    }

    /// Logs that the store refused an attempt. Without a `fallback`, the partition waits for an operator.
    async fn refused(
        &mut self,
        piece: &mut Piece,
        fallback: Option<Fallback>,
        failure: Failure,
        stop: &CancellationToken,
    ) -> Result<Next, Stopped> {
        if let Some(fallback) = fallback {
            tracing::error!(%piece, ?fallback, error = reason(&failure),
                "the store refuses what this record leads to; the next attempt writes less");
            return Ok(Next::Again);
        }
        tracing::error!(%piece, "the store refuses even a stub of this record; the partition waits for an operator");
        let error = StoreError::new(StoreErrorKind::Unexpected, failure);
        self.wait(piece, &error.into(), stop).await
    }

    /// Waits after a failure that the infrastructure causes. If the store responds, perhaps some record causes it: then
    /// the batch is split, and a partition that keeps failing waits without holding up the others.
    async fn wait(&mut self, piece: &mut Piece, error: &BoxError, stop: &CancellationToken) -> Result<Next, Stopped> {
        self.log_wait(piece, error);
        piece.attempts += 1;
        if piece.attempts < ATTEMPTS_BEFORE_SPLIT || self.runtime.ledger.ping().await.is_err() {
            wait_or_stop(&mut piece.back_off, stop).await?;
            return Ok(Next::Again);
        }
        if piece.is_single() {
            Ok(Next::Later)
        } else {
            Ok(Next::Split)
        }
    }

    fn log_wait(&self, piece: &Piece, error: &BoxError) {
        let metrics = &self.runtime.metrics;
        let cause = error.downcast_ref::<StoreError>();
        let is_unexpected = cause.is_some_and(|cause| cause.kind == StoreErrorKind::Unexpected);
        if is_unexpected {
            tracing::error!(%piece, error = error_chain(error.as_ref()), wait = ?piece.back_off,
                "waiting, because the store fails for a reason that no message causes; nothing is lost");
        } else {
            tracing::warn!(%piece, error = error_chain(error.as_ref()), wait = ?piece.back_off,
                "waiting and retrying; nothing is lost");
        }
        for topic in piece.topics() {
            metrics.retries.with_label_values(&[topic]).inc();
            if is_unexpected {
                metrics.unexpected_store_errors.with_label_values(&[topic]).inc();
            }
        }
    }

    /// Lets the partition of a single record wait, while the lane continues with the others.
    fn retry_later(&mut self, piece: &Piece) {
        for (partition, _) in piece.counts() {
            if let Some(owned) = self.partitions.get_mut(partition) {
                owned.retry_later();
            }
        }
    }

    /// Returns the id of the message of a single record, if it has one, and the record's offset.
    fn only_record(&self, piece: &Piece) -> (Option<uuid::Uuid>, i64) {
        let first = piece
            .counts()
            .next()
            .and_then(|(partition, _)| self.partitions.get(partition));
        let arrival = first.and_then(|owned| owned.arrivals.front());
        let message = arrival.and_then(|arrival| arrival.message());
        (
            message.map(|message| message.envelope().id),
            arrival.map_or(0, |arrival| arrival.record.offset),
        )
    }

    /// Reads the stored positions after a mismatch, and continues from there.
    ///
    /// Either another process had a partition, or a commit of unknown outcome by this lane succeeded. A partition whose
    /// position matches is not affected.
    async fn read_positions(&mut self, piece: &Piece, stop: &CancellationToken) -> Result<(), Stopped> {
        let partitions: Vec<_> = piece.counts().map(|(partition, _)| partition.clone()).collect();
        let mut back_off = FIRST_BACK_OFF;
        let stored = loop {
            match self.runtime.ledger.positions(&partitions).await {
                Ok(stored) => break stored,
                Err(error) => {
                    self.log_wait(piece, &error.into());
                    wait_or_stop(&mut back_off, stop).await?;
                }
            }
        };
        for partition in partitions {
            let Some(owned) = self.partitions.get_mut(&partition) else {
                continue;
            };
            let stored = stored.get(&partition).copied();
            // A position only increases. Continuing would skip the records in between, which this lane does not have.
            if stored < owned.position {
                tracing::error!(%partition, known = ?owned.position, ?stored,
                    "the stored position went back: was the store restored? The process must start again");
                return Err(Stopped);
            }
            if stored != owned.position {
                tracing::info!(%partition, known = ?owned.position, ?stored, "resuming from the stored position");
                owned.position = stored;
                // If it was this process whose commit succeeded late, its messages were not handed to the relay.
                self.runtime.publisher.request_sweep();
            }
        }
        Ok(())
    }
}

/// How a lane continues with a piece that failed.
enum Next {
    /// With the same records.
    Again,
    /// With each half.
    Split,
    /// After a pause, in which the lane applies the records of other partitions.
    Later,
}
