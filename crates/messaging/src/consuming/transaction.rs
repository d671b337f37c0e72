//! One transaction of a lane: the positions of a batch move, and everything that its records lead to is written.

mod bookkeeping;
mod dead_letter;
mod newest;
mod once;
mod sequenced;

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;

use contracts::Kind;
use futures::FutureExt;
use uuid::Uuid;

use self::bookkeeping::Bookkeeping;
use crate::consuming::any_handler::{AnyHandler, AnyLogHandler, AnyMessage};
use crate::consuming::arrival::{Arrival, keys};
use crate::consuming::attempt_error::AttemptError;
use crate::consuming::batch_counts::BatchCounts;
use crate::consuming::handler::Failure;
use crate::consuming::known_failures::KnownFailures;
use crate::consuming::stub;
use crate::consuming::subscription::Subscription;
use crate::ledger::{CommitError, Ledger, Sequence, Step, StoreError, StoreErrorKind, TopicKey};
use crate::publishing::unit::Unit;
use crate::runtime::Runtime;
use crate::wire::record::{Record, TopicPartition};

/// Maximum number of messages that one transaction appends. A batch that appends more is split; a single record may
/// append more.
const MAX_APPENDED: usize = 20_000;
/// The same for their bytes.
const MAX_APPENDED_BYTES: usize = 16 << 20;

/// The records of one partition that a transaction applies: the first ones that wait there.
pub(crate) struct Part<'a, L: Ledger> {
    pub(crate) subscription: &'a Subscription<L>,
    pub(crate) partition: &'a TopicPartition,
    /// The stored position as the lane knows it.
    pub(crate) position: Option<i64>,
    /// Not empty, in offset order.
    pub(crate) arrivals: &'a [Arrival],
}

impl<L: Ledger> Part<'_, L> {
    /// Returns the position after the transaction.
    pub(crate) fn next(&self) -> i64 {
        self.arrivals.last().map_or(0, |arrival| arrival.record.offset + 1)
    }
}

/// The handlers of a lane, by topic with its prefix. They are dropped whenever what they cache may be wrong.
pub(crate) struct Handlers<L: Ledger> {
    handlers: HashMap<String, Box<dyn AnyHandler<L>>>,
    logs: HashMap<String, Box<dyn AnyLogHandler<L>>>,
}

impl<L: Ledger> Handlers<L> {
    pub(crate) fn new() -> Self {
        Self {
            handlers: HashMap::new(),
            logs: HashMap::new(),
        }
    }

    /// Drops all handlers with their caches.
    pub(crate) fn invalidate(&mut self) {
        *self = Self::new();
    }
}

/// How the messages of a batch are handed to their handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Granularity {
    /// All messages of a topic in one call.
    Batch,
    /// One call per message, so that the message that fails is known.
    Single,
}

/// What a committed transaction reports.
pub(crate) struct Committed {
    /// Counts by topic, with its prefix.
    pub(crate) counts: BTreeMap<String, BatchCounts>,
    /// `false` if the only record of the batch must be applied again, because more parked messages wait behind it than one
    /// transaction applies. The position has not moved then.
    pub(crate) complete: bool,
}

/// An open transaction, and what it will write at its end.
pub(crate) struct Transaction<'a, L: Ledger> {
    runtime: &'a Runtime<L>,
    handlers: &'a mut Handlers<L>,
    known: &'a KnownFailures,
    granularity: Granularity,
    unit: Unit<L>,
    bookkeeping: Bookkeeping,
    counts: BTreeMap<String, BatchCounts>,
    /// `true` if the transaction applies one record. Only such a transaction may leave parked messages to the next one.
    is_single: bool,
    complete: bool,
}

/// Applies a batch in one transaction. `parts` are sorted by partition.
///
/// # Errors
/// Returns an error if nothing was committed, or if the outcome of the commit is unknown. The handlers were dropped then.
pub(crate) async fn apply<L: Ledger>(
    runtime: &Runtime<L>,
    handlers: &mut Handlers<L>,
    parts: &[Part<'_, L>],
    known: &KnownFailures,
    granularity: Granularity,
) -> Result<Committed, AttemptError> {
    let mut transaction = Transaction::begin(runtime, handlers, known, granularity).await?;
    let written = transaction.write(parts).await;
    transaction.end(written).await
}

impl<'a, L: Ledger> Transaction<'a, L> {
    pub(crate) async fn begin(
        runtime: &'a Runtime<L>,
        handlers: &'a mut Handlers<L>,
        known: &'a KnownFailures,
        granularity: Granularity,
    ) -> Result<Self, AttemptError> {
        let unit = Unit::begin(&runtime.ledger, &runtime.publisher).await;
        Ok(Self {
            unit: unit.map_err(AttemptError::of_bookkeeping)?,
            runtime,
            handlers,
            known,
            granularity,
            bookkeeping: Bookkeeping::default(),
            counts: BTreeMap::new(),
            is_single: false,
            complete: true,
        })
    }

    /// Writes all effects of a batch. The order of what happens to it, from top to bottom.
    async fn write(&mut self, parts: &[Part<'_, L>]) -> Result<(), AttemptError> {
        self.is_single = matches!(parts, [part] if part.arrivals.len() == 1);
        // The positions come first, because their row locks make every later read current.
        self.advance(parts).await?;
        // A log contains a message when its handler runs.
        self.log(parts).await?;
        let mut fresh = self.insert_inbox(parts).await?;
        let sequences = self.read_sequences(parts).await?;
        for topic in by_topic(parts) {
            let subscription = topic[0].subscription;
            let name = &topic[0].partition.topic;
            let stored = sequences.get(name);
            self.counts(name).records = arrivals(topic).count();
            match subscription.kind() {
                Kind::DomainEvents => self.apply_in_order(topic, stored).await?,
                Kind::State => self.apply_newest(topic, stored).await?,
                Kind::Commands | Kind::Replies | Kind::Facts => self.apply_once(topic, &mut fresh).await?,
            }
            self.check_limits()?;
        }
        self.write_bookkeeping().await?;
        if !self.complete {
            self.move_back(parts).await?;
        }
        Ok(())
    }

    /// Commits if `written`, and rolls back otherwise.
    pub(crate) async fn end(self, written: Result<(), AttemptError>) -> Result<Committed, AttemptError> {
        let outcome = match written {
            Ok(()) => match self.unit.commit().await {
                Ok(()) => Ok(()),
                Err(CommitError::RolledBack(error)) => Err(AttemptError::Commit(error.into())),
                Err(CommitError::Unknown(error)) => {
                    tracing::warn!(
                        error = chassis::error_chain(&error),
                        "the outcome of a commit is unknown; the stored positions are read to determine it"
                    );
                    Err(AttemptError::PositionMismatch)
                }
            },
            Err(error) => {
                self.unit.rollback().await;
                Err(error)
            }
        };
        match outcome {
            Ok(()) => Ok(Committed {
                counts: self.counts,
                complete: self.complete,
            }),
            Err(error) => {
                self.handlers.invalidate();
                Err(error)
            }
        }
    }

    async fn advance(&mut self, parts: &[Part<'_, L>]) -> Result<(), AttemptError> {
        let steps: Vec<_> = parts
            .iter()
            .map(|part| Step {
                partition: part.partition.clone(),
                from: part.position,
                to: part.next(),
            })
            .collect();
        self.advance_by(&steps).await
    }

    async fn advance_by(&mut self, steps: &[Step]) -> Result<(), AttemptError> {
        let (ledger, tx) = self.unit.parts();
        match ledger.advance_all(tx, steps).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(AttemptError::PositionMismatch),
            Err(error) => Err(AttemptError::of_bookkeeping(error)),
        }
    }

    /// Moves the position of a single record back to that record, because it is applied again.
    async fn move_back(&mut self, parts: &[Part<'_, L>]) -> Result<(), AttemptError> {
        let [part] = parts else { return Ok(()) };
        let step = Step {
            partition: part.partition.clone(),
            from: Some(part.next()),
            to: part.arrivals[0].record.offset,
        };
        self.advance_by(&[step]).await
    }

    /// Passes the records to the log handlers of their topics. A log never skips a record: a single record that it refused
    /// is logged as a stub.
    async fn log(&mut self, parts: &[Part<'_, L>]) -> Result<(), AttemptError> {
        for topic in by_topic(parts) {
            let subscription = topic[0].subscription;
            let Some(make) = &subscription.log else { continue };
            let name = &topic[0].partition.topic;
            let records: Vec<&Record> = arrivals(topic).map(|arrival| &arrival.record).collect();
            let refused = self.known.log_stub_reason().or_else(|| {
                let is_log_only = subscription.handler.is_none();
                is_log_only.then(|| self.known.stub_reason(records[0].offset))?
            });
            let handler = self.handlers.logs.entry(name.clone()).or_insert_with(|| make());
            let unit = &mut self.unit;
            let logged = async {
                let Some(reason) = refused else {
                    return handler.handle(unit, &records).await;
                };
                for record in &records {
                    handler.stub(unit, record, &stub::describe(record, reason)).await?;
                }
                Ok(records.len() as u64)
            };
            // A panic is a defect of the log handler, perhaps of a new release. The partition waits with an alert, because
            // a stub would lose content that could be logged. The rollback discards what the handler left half done.
            let panicked = || Err(StoreError::new(StoreErrorKind::Unexpected, "the log handler panicked").into());
            let logged = AssertUnwindSafe(logged).catch_unwind().await;
            let stubs = logged.unwrap_or_else(|_| panicked()).map_err(AttemptError::Log)?;
            let counts = self.counts(name);
            counts.stubs += usize::try_from(stubs).unwrap_or(usize::MAX);
            if subscription.handler.is_none() {
                counts.applied += records.len();
            }
        }
        Ok(())
    }

    /// Reads the sequences of all keys, by topic.
    async fn read_sequences(
        &mut self,
        parts: &[Part<'_, L>],
    ) -> Result<HashMap<String, HashMap<Uuid, Sequence>>, AttemptError> {
        let mut requested = Vec::new();
        for topic in by_topic(parts) {
            if matches!(topic[0].subscription.kind(), Kind::DomainEvents | Kind::State) {
                let name = &topic[0].partition.topic;
                requested.extend(keys(arrivals(topic)).into_iter().map(|key| TopicKey::new(name, key)));
            }
        }
        let mut by_topic: HashMap<String, HashMap<Uuid, Sequence>> = HashMap::new();
        if requested.is_empty() {
            return Ok(by_topic);
        }
        let (ledger, tx) = self.unit.parts();
        for (TopicKey { topic, key }, sequence) in ledger.sequences(tx, &requested).await? {
            by_topic.entry(topic).or_default().insert(key, sequence);
        }
        Ok(by_topic)
    }

    /// Calls the handler of a topic with messages to apply.
    async fn handle(
        &mut self,
        subscription: &Subscription<L>,
        topic: &str,
        messages: &[&dyn AnyMessage],
    ) -> Result<(), AttemptError> {
        let (Some(handler_type), false) = (&subscription.handler, messages.is_empty()) else {
            return Ok(());
        };
        self.counts(topic).applied += messages.len();
        let handlers = &mut self.handlers.handlers;
        let handler = handlers
            .entry(topic.to_owned())
            .or_insert_with(|| handler_type.create());
        let calls = match self.granularity {
            Granularity::Batch => vec![messages],
            Granularity::Single => messages.chunks(1).collect(),
        };
        for messages in calls {
            // A panic counts as a poison message, because it must affect neither the process nor the other messages. The
            // rollback discards what the handler may have left half done: its cache and the transaction.
            let handled = AssertUnwindSafe(handler.handle(&mut self.unit, messages))
                .catch_unwind()
                .await;
            let handled = handled.unwrap_or_else(|_| Err(Failure::poison("the handler panicked")));
            handled.map_err(|failure| AttemptError::Handler {
                message: (messages.len() == 1).then(|| messages[0].envelope().id),
                failure,
            })?;
        }
        Ok(())
    }

    /// Fails if several records append too much for one transaction, so that the batch is split.
    fn check_limits(&self) -> Result<(), AttemptError> {
        let (messages, bytes) = self.unit.appended();
        if !self.is_single && (messages > MAX_APPENDED || bytes > MAX_APPENDED_BYTES) {
            return Err(AttemptError::TooLarge);
        }
        Ok(())
    }

    /// Returns the counts of a topic, to be added to.
    fn counts(&mut self, topic: &str) -> &mut BatchCounts {
        if !self.counts.contains_key(topic) {
            self.counts.insert(topic.to_owned(), BatchCounts::default());
        }
        self.counts.get_mut(topic).expect("inserted above")
    }
}

/// Groups parts by topic, because they are sorted by it.
fn by_topic<'p, 'a, L: Ledger>(parts: &'p [Part<'a, L>]) -> impl Iterator<Item = &'p [Part<'a, L>]> {
    parts.chunk_by(|one, other| one.partition.topic == other.partition.topic)
}

/// Returns the records of one topic, in offset order per partition.
fn arrivals<'p, L: Ledger>(topic: &'p [Part<'_, L>]) -> impl Iterator<Item = &'p Arrival> {
    topic.iter().flat_map(|part| part.arrivals)
}
