//! Processes the messages of a topic inside the transaction that advances the position, from top to bottom: drops
//! duplicates, orders domain events, calls the handler, and parks or dead-letters the rest.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use contracts::dead_letters::{DeadLetterFact, DeadLetterReason, MessageDeadLettered};
use contracts::{Kind, Timestamp};
use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backoff::Stopped;
use crate::consuming::arrival::{Arrival, Content, decode, decode_known, error_of, keys, sequenced};
use crate::consuming::batch_counts::BatchCounts;
use crate::consuming::handler::{Failure, Handler};
use crate::consuming::known_failures::{KnownFailure, KnownFailures};
use crate::consuming::sequence::{self, Plan, Sequenced};
use crate::consuming::stub;
use crate::consuming::worker::{AttemptError, Granularity, Processor, age};
use crate::ledger::{DeadLetter, InboxEntry, Ledger, Parked, Sequence};
use crate::publishing::publisher::AppendError;
use crate::publishing::unit::Unit;
use crate::runtime::Runtime;
use crate::wire::envelope::Envelope;
use crate::wire::message::{Cause, Outgoing, Received};
use crate::wire::record::Record;
use crate::wire::trace;

/// Processes the messages of one topic with one handler.
pub(crate) struct MessageProcessor<H> {
    kind: Kind,
    make: Arc<dyn Fn() -> H + Send + Sync>,
    /// Dropped whenever its cached state may be wrong.
    handler: Option<H>,
    counts: BatchCounts,
}

impl<H> MessageProcessor<H> {
    pub(crate) fn new(kind: Kind, make: Arc<dyn Fn() -> H + Send + Sync>) -> Self {
        Self {
            kind,
            make,
            handler: None,
            counts: BatchCounts::default(),
        }
    }
}

impl<L: Ledger, H: Handler<L>> Processor<L> for MessageProcessor<H> {
    type Item = Arrival<H::Message>;

    async fn prepare(
        &mut self,
        runtime: &Runtime<L>,
        records: Vec<Record>,
        stop: &CancellationToken,
    ) -> Result<Vec<Self::Item>, Stopped> {
        let mut items = Vec::with_capacity(records.len());
        for record in records {
            let item = decode(self.kind, runtime, record, stop).await?;
            if let Some(message) = item.message() {
                trace::start_process(runtime.service, message);
            }
            items.push(item);
        }
        Ok(items)
    }

    fn record(item: &Self::Item) -> &Record {
        &item.record
    }

    fn message(item: &Self::Item) -> Option<Uuid> {
        item.message().map(|message| message.envelope.id)
    }

    async fn write(
        &mut self,
        runtime: &Runtime<L>,
        unit: &mut Unit<L>,
        items: &[Self::Item],
        known: &KnownFailures,
        granularity: Granularity,
    ) -> Result<(), AttemptError> {
        self.counts = BatchCounts::default();
        match self.kind {
            Kind::DomainEvents => self.write_sequenced(runtime, unit, items, known, granularity).await,
            Kind::State => self.write_newest(runtime, unit, items, known, granularity).await,
            Kind::Commands | Kind::Replies | Kind::Facts => {
                self.write_once(runtime, unit, items, known, granularity).await
            }
        }
    }

    fn committed(&mut self, runtime: &Runtime<L>, items: &[Self::Item]) {
        let Some(first) = items.first() else { return };
        let topic = first.record.partition.topic.as_str();
        let metrics = &runtime.metrics;
        metrics
            .batch_size
            .with_label_values(&[topic])
            .observe(items.len() as f64);
        std::mem::take(&mut self.counts).add_to(metrics, topic);
        let ages = metrics.message_age.with_label_values(&[topic]);
        for item in items {
            if let Some(message) = item.message() {
                ages.observe(age(message.envelope.time));
                trace::end_process(message);
            }
        }
    }

    fn invalidate(&mut self) {
        self.handler = None;
    }
}

impl<H> MessageProcessor<H> {
    /// Writes commands, replies and facts: each takes effect once, in any order.
    async fn write_once<L: Ledger>(
        &mut self,
        runtime: &Runtime<L>,
        unit: &mut Unit<L>,
        items: &[Arrival<H::Message>],
        known: &KnownFailures,
        granularity: Granularity,
    ) -> Result<(), AttemptError>
    where
        H: Handler<L>,
    {
        let ids: Vec<_> = items
            .iter()
            .filter(|item| !matches!(item.content, Content::Unhandled(_)))
            .filter_map(Arrival::envelope)
            .map(|envelope| InboxEntry {
                id: envelope.id,
                attempt: envelope.attempt,
                since: envelope.since(),
            })
            .collect();
        let (ledger, tx) = unit.parts();
        let mut fresh = ledger.insert_inbox(tx, &ids).await?;
        // Each id is removed when it is met, because a second copy in the same batch is a duplicate too.
        let mut first = |envelope: &Envelope| fresh.remove(&(envelope.id, envelope.attempt));

        let mut apply = Vec::with_capacity(items.len());
        for item in items {
            match &item.content {
                // Only domain events can be `Unreadable`.
                Content::Unhandled(_) | Content::Unreadable(..) => {}
                Content::Dead {
                    reason,
                    detail,
                    envelope,
                } => {
                    if envelope.as_ref().is_none_or(&mut first) {
                        self.dead_letter(runtime, unit, item, *reason, detail, known).await?;
                    }
                }
                Content::Message(message) if !first(&message.envelope) => self.counts.duplicates += 1,
                Content::Message(message) => {
                    let envelope = &message.envelope;
                    match known.get(&envelope.id) {
                        None if self.kind == Kind::Commands && runtime.has_expired(envelope) => {
                            let reason = DeadLetterReason::Expired;
                            let detail =
                                "the command is older than the inbox retention, so it may have been executed already";
                            self.dead_letter(runtime, unit, item, reason, detail, known).await?;
                        }
                        None => apply.push(message),
                        Some(KnownFailure::Poison(error)) => {
                            let reason = DeadLetterReason::Poison;
                            self.dead_letter(runtime, unit, item, reason, error, known).await?;
                        }
                        Some(KnownFailure::Defer(then)) if self.kind == Kind::Commands => {
                            unit.defer(message, then)
                                .map_err(|error| attributed_to(envelope, error))?;
                        }
                        Some(KnownFailure::Reject(rejected)) if self.kind == Kind::Commands => {
                            unit.reject(message, rejected)
                                .map_err(|error| attributed_to(envelope, error))?;
                        }
                        Some(KnownFailure::Defer(_) | KnownFailure::Reject(_)) => {
                            let error = error_of(item, envelope.id, known);
                            self.dead_letter(runtime, unit, item, DeadLetterReason::Poison, &error, known)
                                .await?;
                        }
                    }
                }
            }
        }
        self.handle(unit, &apply, granularity).await
    }

    /// Writes state messages: the newest version wins, an older one is dropped, and gaps are normal.
    async fn write_newest<L: Ledger>(
        &mut self,
        runtime: &Runtime<L>,
        unit: &mut Unit<L>,
        items: &[Arrival<H::Message>],
        known: &KnownFailures,
        granularity: Granularity,
    ) -> Result<(), AttemptError>
    where
        H: Handler<L>,
    {
        let Some(first) = items.first() else {
            return Ok(());
        };
        let topic = first.record.partition.topic.clone();
        let (ledger, tx) = unit.parts();
        let stored = ledger.sequences(tx, &topic, &keys(items)).await?;
        let mut newest: HashMap<Uuid, Sequence> = HashMap::new();
        let mut apply = Vec::new();
        for item in items {
            let message = match &item.content {
                Content::Message(message) => message,
                Content::Unhandled(_) | Content::Unreadable(..) => continue,
                Content::Dead { reason, detail, .. } => {
                    self.dead_letter(runtime, unit, item, *reason, detail, known).await?;
                    continue;
                }
            };
            let envelope = &message.envelope;
            let version = envelope.sequence.unwrap_or(0);
            let current = newest.get(&envelope.key).or_else(|| stored.get(&envelope.key));
            if current.is_some_and(|current| version <= current.last) {
                self.counts.duplicates += 1;
                continue;
            }
            let state = Sequence {
                last: version,
                last_id: Some(envelope.id),
                ..Sequence::default()
            };
            newest.insert(envelope.key, state);
            match known.get(&envelope.id) {
                None => apply.push(message),
                Some(_) => {
                    let error = error_of(item, envelope.id, known);
                    self.dead_letter(runtime, unit, item, DeadLetterReason::Poison, &error, known)
                        .await?;
                }
            }
        }
        self.handle(unit, &apply, granularity).await?;
        let mut rows: Vec<_> = newest.into_iter().collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        set_sequences(unit, &topic, &stored, rows).await
    }

    /// Writes domain events: completely and in order per key.
    async fn write_sequenced<L: Ledger>(
        &mut self,
        runtime: &Runtime<L>,
        unit: &mut Unit<L>,
        items: &[Arrival<H::Message>],
        known: &KnownFailures,
        granularity: Granularity,
    ) -> Result<(), AttemptError>
    where
        H: Handler<L>,
    {
        let Some(first) = items.first() else {
            return Ok(());
        };
        let topic = first.record.partition.topic.clone();
        for item in items {
            if let Content::Dead { reason, detail, .. } = &item.content {
                self.dead_letter(runtime, unit, item, *reason, detail, known).await?;
            }
        }
        let (ledger, tx) = unit.parts();
        let stored = ledger.sequences(tx, &topic, &keys(items)).await?;
        let open: Vec<_> = stored
            .iter()
            .filter(|(_, state)| state.has_parked && state.poisoned_at.is_none())
            .map(|(key, _)| *key)
            .collect();
        let waiting = load_parked::<L, H>(self.kind, runtime, unit, &topic, &open).await?;

        // An index below `items.len()` is a record of this batch; a higher one is a parked record.
        let item = |index: usize| items.get(index).unwrap_or_else(|| &waiting[index - items.len()]);
        let sequenced = |index: usize| sequenced(item(index), index, known);
        let plan = sequence::plan(
            &stored,
            (items.len()..items.len() + waiting.len())
                .filter_map(sequenced)
                .collect(),
            (0..items.len()).filter_map(sequenced),
        );
        self.counts.duplicates += plan.duplicates.len();
        self.counts.gaps += plan.gaps;
        for fork in &plan.forks {
            self.fork(runtime, unit, &topic, item(fork.item), fork, known).await?;
        }
        self.execute(runtime, unit, &topic, &stored, plan, item, known, granularity)
            .await
    }

    /// Executes a plan: applies, parks and unparks its messages, and writes the sequences.
    #[expect(
        clippy::too_many_arguments,
        reason = "the plan and everything that its indices refer to"
    )]
    async fn execute<'a, L: Ledger>(
        &mut self,
        runtime: &Runtime<L>,
        unit: &mut Unit<L>,
        topic: &str,
        stored: &HashMap<Uuid, Sequence>,
        plan: Plan<usize>,
        item: impl Fn(usize) -> &'a Arrival<H::Message>,
        known: &KnownFailures,
        granularity: Granularity,
    ) -> Result<(), AttemptError>
    where
        H: Handler<L>,
    {
        let apply: Vec<_> = plan
            .apply
            .iter()
            .filter_map(|message| item(message.item).message())
            .collect();
        self.handle(unit, &apply, granularity).await?;
        let mut park = Vec::with_capacity(plan.park.len());
        for message in &plan.park {
            let item = item(message.item);
            let error = error_of(item, message.id, known);
            let (record, error) = stub::storable(&item.record, &error, known, &mut self.counts.stubs);
            park.push(Parked {
                key: message.key,
                sequence: message.sequence,
                id: message.id,
                record,
                error,
            });
        }
        for parked in park.iter().filter(|parked| !parked.error.is_empty()) {
            tracing::error!(topic, key = %parked.key, sequence = parked.sequence, error = parked.error,
                "a key is parked until an operator releases it");
        }
        let (ledger, tx) = unit.parts();
        if !plan.unpark.is_empty() {
            ledger.unpark(tx, topic, &plan.unpark).await?;
        }
        let forks = if park.is_empty() {
            Vec::new()
        } else {
            ledger.park(tx, topic, &park).await?
        };
        // The messages behind a poison message are not loaded, so the plan could not detect these forks.
        let is_fork = |message: &&Sequenced<usize>| forks.contains(&(message.key, message.sequence));
        for message in plan.park.iter().filter(is_fork) {
            self.fork(runtime, unit, topic, item(message.item), message, known)
                .await?;
        }
        set_sequences(unit, topic, stored, plan.sequences).await
    }

    /// Dead-letters a fork and raises an alarm: consumers have applied or parked another domain event under this sequence
    /// than the producer's journal contains.
    async fn fork<L: Ledger, M>(
        &mut self,
        runtime: &Runtime<L>,
        unit: &mut Unit<L>,
        topic: &str,
        item: &Arrival<M>,
        fork: &Sequenced<usize>,
        known: &KnownFailures,
    ) -> Result<(), AttemptError> {
        tracing::error!(topic, key = %fork.key, sequence = fork.sequence, message_id = %fork.id,
            "a domain event has the sequence of an earlier one but another id: was the producer restored from a backup?");
        self.counts.forks += 1;
        let detail = format!("sequence {} arrived before under another id", fork.sequence);
        self.dead_letter(runtime, unit, item, DeadLetterReason::Fork, &detail, known)
            .await
    }

    async fn handle<L: Ledger>(
        &mut self,
        unit: &mut Unit<L>,
        messages: &[&Received<H::Message>],
        granularity: Granularity,
    ) -> Result<(), AttemptError>
    where
        H: Handler<L>,
    {
        if messages.is_empty() {
            return Ok(());
        }
        self.counts.applied += messages.len();
        let handler = self.handler.get_or_insert_with(|| (self.make)());
        match granularity {
            Granularity::Batch => {
                call_handler(handler, unit, messages)
                    .await
                    .map_err(|failure| AttemptError::Handler {
                        message: (messages.len() == 1).then(|| messages[0].envelope.id),
                        failure,
                    })
            }
            Granularity::Single => {
                for message in messages {
                    call_handler(handler, unit, std::slice::from_ref(message))
                        .await
                        .map_err(|failure| AttemptError::Handler {
                            message: Some(message.envelope.id),
                            failure,
                        })?;
                }
                Ok(())
            }
        }
    }

    /// Dead-letters a record: stores it with its raw bytes and publishes `MessageDeadLettered`.
    ///
    /// For a command whose envelope names a reply topic, also publishes a `CommandFailed` reply.
    async fn dead_letter<L: Ledger, M>(
        &mut self,
        runtime: &Runtime<L>,
        unit: &mut Unit<L>,
        item: &Arrival<M>,
        reason: DeadLetterReason,
        detail: &str,
        known: &KnownFailures,
    ) -> Result<(), AttemptError> {
        let record = &item.record;
        let envelope = item.envelope();
        let id = Uuid::now_v7();
        tracing::error!(partition = %record.partition, offset = record.offset, ?reason, detail, dead_letter = %id,
            "a record was dead-lettered");
        let (stored, detail) = stub::storable(record, detail, known, &mut self.counts.stubs);
        let dead_letter = DeadLetter {
            id,
            reason,
            detail: detail.clone(),
            record: stored,
        };
        let (ledger, tx) = unit.parts();
        ledger
            .insert_dead_letters(tx, std::slice::from_ref(&dead_letter))
            .await?;
        let cause = match envelope {
            Some(envelope) => Cause::of(envelope),
            None => Cause::origin(id, None, opentelemetry::Context::new()),
        };
        let announcement = MessageDeadLettered {
            service: runtime.service.to_owned(),
            topic: runtime.publisher.without_prefix(&record.partition.topic).to_owned(),
            partition: record.partition.partition,
            offset: record.offset,
            message_id: envelope.map(|envelope| envelope.id),
            message_type: envelope.map(|envelope| envelope.type_name.clone()),
            reason,
            detail,
            dead_lettered_at: Timestamp::now(),
        };
        unit.publish(&cause, Outgoing::<DeadLetterFact>::new(id, announcement))?;
        if let (Kind::Commands, Some(envelope)) = (self.kind, envelope) {
            let code = match reason {
                DeadLetterReason::Expired => "expired",
                _ => "not-executable",
            };
            let detail = format!("The command could not be executed. It is stored as dead letter {id}.");
            unit.fail(envelope, code, &detail)?;
        }
        self.counts.dead.push(reason);
        Ok(())
    }

    /// Continues a key after its poison message was fixed, up to the next poison message.
    pub(crate) async fn release<L: Ledger>(
        &mut self,
        runtime: &Runtime<L>,
        unit: &mut Unit<L>,
        topic: &str,
        key: Uuid,
        known: &KnownFailures,
    ) -> Result<Released, AttemptError>
    where
        H: Handler<L>,
    {
        let (ledger, tx) = unit.parts();
        let stored = ledger.sequences(tx, topic, &[key]).await?;
        let Some(state) = stored.get(&key).filter(|state| state.poisoned_at.is_some()) else {
            return Ok(Released::default());
        };
        let waiting = load_parked::<L, H>(self.kind, runtime, unit, topic, &[key]).await?;
        let parked = waiting
            .iter()
            .enumerate()
            .filter_map(|(index, item)| sequenced(item, index, known))
            .collect();
        let plan = sequence::release(key, *state, parked);
        let released = Released {
            applied: plan.apply.len(),
            poisoned_at: plan.sequences.first().and_then(|(_, state)| state.poisoned_at),
        };
        self.execute(
            runtime,
            unit,
            topic,
            &stored,
            plan,
            |index| &waiting[index],
            known,
            Granularity::Single,
        )
        .await?;
        Ok(released)
    }
}

/// The result of a release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Released {
    /// Number of messages that were applied.
    pub applied: usize,
    /// The sequence of the next message that cannot be applied, if there is one.
    pub poisoned_at: Option<i64>,
}

/// Attributes an error in publishing to the message that led to it, because it is not a failure of the partition.
fn attributed_to(envelope: &Envelope, error: AppendError) -> AttemptError {
    AttemptError::Handler {
        message: Some(envelope.id),
        failure: error.into(),
    }
}

/// Writes the rows that changed. Those that are not in `stored` are new.
async fn set_sequences<L: Ledger>(
    unit: &mut Unit<L>,
    topic: &str,
    stored: &HashMap<Uuid, Sequence>,
    rows: Vec<(Uuid, Sequence)>,
) -> Result<(), AttemptError> {
    let (changed, new): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(key, _)| stored.contains_key(key));
    let (ledger, tx) = unit.parts();
    ledger.set_sequences(tx, topic, &new, &changed).await?;
    Ok(())
}

/// Loads the parked messages of these keys and decodes them again, because an unreadable one may be readable now.
async fn load_parked<L: Ledger, H: Handler<L>>(
    kind: Kind,
    runtime: &Runtime<L>,
    unit: &mut Unit<L>,
    topic: &str,
    keys: &[Uuid],
) -> Result<Vec<Arrival<H::Message>>, AttemptError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let (ledger, tx) = unit.parts();
    let rows = ledger.parked(tx, topic, keys).await?;
    let mut arrivals = Vec::with_capacity(rows.len());
    for row in rows {
        let arrival = match decode_known(kind, runtime, row.record) {
            Ok(arrival) => arrival,
            // The schema was fetched when the message arrived, but perhaps by another process.
            Err((arrival, schema)) => match runtime.try_fetch_schema(schema).await {
                Ok(true) => decode_known(kind, runtime, arrival.record).unwrap_or_else(|(arrival, _)| arrival),
                Ok(false) => arrival,
                Err(error) => return Err(Failure::retry(error).into()),
            },
        };
        arrivals.push(arrival);
    }
    Ok(arrivals)
}

/// Calls a handler. A panic counts as a poison message, because it must affect neither the process nor the other
/// messages.
async fn call_handler<L: Ledger, H: Handler<L>>(
    handler: &mut H,
    unit: &mut Unit<L>,
    messages: &[&Received<H::Message>],
) -> Result<(), Failure> {
    // The rollback discards what the handler may have left half done: its cache and the transaction.
    let handled = AssertUnwindSafe(handler.handle(unit, messages)).catch_unwind().await;
    handled.unwrap_or_else(|_| Err(Failure::poison("the handler panicked")))
}
