//! What happens to the messages of a topic inside the position's transaction, top to bottom:
//! duplicates are dropped, domain events put in order, the handler called, the rest parked or buried.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use contracts::dead_letters::{DeadLetterFact, DeadLetterReason, MessageDeadLettered};
use contracts::{Kind, Timestamp};
use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backoff::Stopped;
use crate::consuming::arrival::{Arrival, Content, decode, decode_known, error_of, keys, numbered};
use crate::consuming::handler::{Failure, Handler};
use crate::consuming::known_failures::{KnownFailure, KnownFailures};
use crate::consuming::sequence::{self, Numbered, Plan};
use crate::consuming::stub;
use crate::consuming::worker::{Body, Setback, Taking, age};
use crate::ledger::{DeadLetter, InboxEntry, Ledger, Parked, Sequence};
use crate::publishing::publisher::AppendError;
use crate::publishing::unit::Unit;
use crate::runtime::Runtime;
use crate::wire::envelope::Envelope;
use crate::wire::message::{Cause, Outgoing, Received};
use crate::wire::record::Record;
use crate::wire::trace;

/// The messages of one topic, for one handler.
pub(crate) struct Messages<H> {
    kind: Kind,
    make: Arc<dyn Fn() -> H + Send + Sync>,
    /// Dropped whenever what it may have cached is in doubt.
    handler: Option<H>,
    seen: Seen,
}

/// Counted when the transaction is there.
#[derive(Default)]
struct Seen {
    applied: usize,
    duplicates: usize,
    gaps: usize,
    forks: usize,
    stubs: usize,
    dead: Vec<DeadLetterReason>,
}

impl<H> Messages<H> {
    pub(crate) fn new(kind: Kind, make: Arc<dyn Fn() -> H + Send + Sync>) -> Self {
        Self {
            kind,
            make,
            handler: None,
            seen: Seen::default(),
        }
    }
}

impl<L: Ledger, H: Handler<L>> Body<L> for Messages<H> {
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
        taking: Taking,
    ) -> Result<(), Setback> {
        self.seen = Seen::default();
        match self.kind {
            Kind::DomainEvents => self.write_sequenced(runtime, unit, items, known, taking).await,
            Kind::State => self.write_newest(runtime, unit, items, known, taking).await,
            Kind::Commands | Kind::Replies | Kind::Facts => self.write_once(runtime, unit, items, known, taking).await,
        }
    }

    fn committed(&mut self, runtime: &Runtime<L>, items: &[Self::Item]) {
        let Some(first) = items.first() else { return };
        let topic = first.record.partition.topic.as_str();
        let metrics = &runtime.metrics;
        let seen = std::mem::take(&mut self.seen);
        metrics
            .batch_size
            .with_label_values(&[topic])
            .observe(items.len() as f64);
        metrics.handled(topic, "applied", seen.applied);
        metrics.handled(topic, "duplicate", seen.duplicates);
        metrics.handled(topic, "fork", seen.forks);
        metrics.forks.with_label_values(&[topic]).inc_by(seen.forks as u64);
        metrics
            .duplicates
            .with_label_values(&[topic])
            .inc_by(seen.duplicates as u64);
        metrics.gaps.with_label_values(&[topic]).inc_by(seen.gaps as u64);
        metrics.stubs.with_label_values(&[topic]).inc_by(seen.stubs as u64);
        for reason in seen.dead {
            metrics
                .dead_letters
                .with_label_values(&[topic, &format!("{reason:?}").to_lowercase()])
                .inc();
        }
        let ages = metrics.message_age.with_label_values(&[topic]);
        for item in items {
            if let Some(message) = item.message() {
                ages.observe(age(message.envelope.time));
                trace::end_process(message);
            }
        }
    }

    fn forget(&mut self) {
        self.handler = None;
    }
}

impl<H> Messages<H> {
    /// Commands, replies and facts: each once, whatever the order.
    async fn write_once<L: Ledger>(
        &mut self,
        runtime: &Runtime<L>,
        unit: &mut Unit<L>,
        items: &[Arrival<H::Message>],
        known: &KnownFailures,
        taking: Taking,
    ) -> Result<(), Setback>
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
        // Taken out as it is met: a second copy in the same batch is a duplicate too.
        let mut first = |envelope: &Envelope| fresh.remove(&(envelope.id, envelope.attempt));

        let mut apply = Vec::with_capacity(items.len());
        for item in items {
            match &item.content {
                // Only domain events are `Unreadable`.
                Content::Unhandled(_) | Content::Unreadable(..) => {}
                Content::Dead {
                    reason,
                    detail,
                    envelope,
                } => {
                    if envelope.as_ref().is_none_or(&mut first) {
                        self.bury(runtime, unit, item, *reason, detail, known).await?;
                    }
                }
                Content::Message(message) if !first(&message.envelope) => self.seen.duplicates += 1,
                Content::Message(message) => {
                    let envelope = &message.envelope;
                    match known.get(&envelope.id) {
                        None if self.kind == Kind::Commands && runtime.has_expired(envelope) => {
                            let reason = DeadLetterReason::Expired;
                            let detail = "older than the inbox remembers: it may have been executed";
                            self.bury(runtime, unit, item, reason, detail, known).await?;
                        }
                        None => apply.push(message),
                        Some(KnownFailure::Poison(error)) => {
                            let reason = DeadLetterReason::Poison;
                            self.bury(runtime, unit, item, reason, error, known).await?;
                        }
                        Some(KnownFailure::Defer(then)) if self.kind == Kind::Commands => {
                            unit.defer(message, then).map_err(|error| blame(envelope, error))?;
                        }
                        Some(KnownFailure::Reject(rejected)) if self.kind == Kind::Commands => {
                            unit.reject(message, rejected).map_err(|error| blame(envelope, error))?;
                        }
                        Some(KnownFailure::Defer(_) | KnownFailure::Reject(_)) => {
                            let error = error_of(item, envelope.id, known);
                            self.bury(runtime, unit, item, DeadLetterReason::Poison, &error, known)
                                .await?;
                        }
                    }
                }
            }
        }
        self.handle(unit, &apply, taking).await
    }

    /// State messages: the newest version wins, an older one is dropped, gaps are normal.
    async fn write_newest<L: Ledger>(
        &mut self,
        runtime: &Runtime<L>,
        unit: &mut Unit<L>,
        items: &[Arrival<H::Message>],
        known: &KnownFailures,
        taking: Taking,
    ) -> Result<(), Setback>
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
                    self.bury(runtime, unit, item, *reason, detail, known).await?;
                    continue;
                }
            };
            let envelope = &message.envelope;
            let version = envelope.sequence.unwrap_or(0);
            let current = newest.get(&envelope.key).or_else(|| stored.get(&envelope.key));
            if current.is_some_and(|current| version <= current.last) {
                self.seen.duplicates += 1;
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
                    self.bury(runtime, unit, item, DeadLetterReason::Poison, &error, known)
                        .await?;
                }
            }
        }
        self.handle(unit, &apply, taking).await?;
        let mut rows: Vec<_> = newest.into_iter().collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        set_sequences(unit, &topic, &stored, rows).await
    }

    /// Domain events: complete and in order per key.
    async fn write_sequenced<L: Ledger>(
        &mut self,
        runtime: &Runtime<L>,
        unit: &mut Unit<L>,
        items: &[Arrival<H::Message>],
        known: &KnownFailures,
        taking: Taking,
    ) -> Result<(), Setback>
    where
        H: Handler<L>,
    {
        let Some(first) = items.first() else {
            return Ok(());
        };
        let topic = first.record.partition.topic.clone();
        for item in items {
            if let Content::Dead { reason, detail, .. } = &item.content {
                self.bury(runtime, unit, item, *reason, detail, known).await?;
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

        // A handle below `items.len()` is an arrival, above it one that waited.
        let item = |index: usize| items.get(index).unwrap_or_else(|| &waiting[index - items.len()]);
        let numbered = |index: usize| numbered(item(index), index, known);
        let plan = sequence::plan(
            &stored,
            (items.len()..items.len() + waiting.len())
                .filter_map(numbered)
                .collect(),
            (0..items.len()).filter_map(numbered),
        );
        self.seen.duplicates += plan.duplicates.len();
        self.seen.gaps += plan.gaps;
        for fork in &plan.forks {
            self.fork(runtime, unit, &topic, item(fork.item), fork, known).await?;
        }
        self.carry_out(runtime, unit, &topic, &stored, plan, item, known, taking)
            .await
    }

    /// Handles and writes what was planned.
    #[expect(clippy::too_many_arguments, reason = "the plan and all that its indices refer to")]
    async fn carry_out<'a, L: Ledger>(
        &mut self,
        runtime: &Runtime<L>,
        unit: &mut Unit<L>,
        topic: &str,
        stored: &HashMap<Uuid, Sequence>,
        plan: Plan<usize>,
        item: impl Fn(usize) -> &'a Arrival<H::Message>,
        known: &KnownFailures,
        taking: Taking,
    ) -> Result<(), Setback>
    where
        H: Handler<L>,
    {
        let apply: Vec<_> = plan
            .apply
            .iter()
            .filter_map(|message| item(message.item).message())
            .collect();
        self.handle(unit, &apply, taking).await?;
        let mut park = Vec::with_capacity(plan.park.len());
        for message in &plan.park {
            let item = item(message.item);
            let error = error_of(item, message.id, known);
            let (record, error) = stub::kept(&item.record, &error, known, &mut self.seen.stubs);
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
                "this key is parked until it is released");
        }
        let (ledger, tx) = unit.parts();
        if !plan.unpark.is_empty() {
            ledger.unpark(tx, topic, &plan.unpark).await?;
        }
        let forks = match park.is_empty() {
            true => Vec::new(),
            false => ledger.park(tx, topic, &park).await?,
        };
        // What waits behind a poison message is not loaded, so the plan did not see them.
        let is_fork = |message: &&Numbered<usize>| forks.contains(&(message.key, message.sequence));
        for message in plan.park.iter().filter(is_fork) {
            self.fork(runtime, unit, topic, item(message.item), message, known)
                .await?;
        }
        set_sequences(unit, topic, stored, plan.sequences).await
    }

    /// Sets a fork aside, and tells: consumers hold another domain event under this number than the producer's journal.
    async fn fork<L: Ledger, M>(
        &mut self,
        runtime: &Runtime<L>,
        unit: &mut Unit<L>,
        topic: &str,
        item: &Arrival<M>,
        fork: &Numbered<usize>,
        known: &KnownFailures,
    ) -> Result<(), Setback> {
        tracing::error!(topic, key = %fork.key, sequence = fork.sequence, message_id = %fork.id,
            "the same sequence under another id: was the producer restored from a backup?");
        self.seen.forks += 1;
        let detail = format!("sequence {} came before under another id", fork.sequence);
        self.bury(runtime, unit, item, DeadLetterReason::Fork, &detail, known)
            .await
    }

    async fn handle<L: Ledger>(
        &mut self,
        unit: &mut Unit<L>,
        messages: &[&Received<H::Message>],
        taking: Taking,
    ) -> Result<(), Setback>
    where
        H: Handler<L>,
    {
        if messages.is_empty() {
            return Ok(());
        }
        self.seen.applied += messages.len();
        let handler = self.handler.get_or_insert_with(|| (self.make)());
        match taking {
            Taking::Together => call(handler, unit, messages).await.map_err(|failure| Setback::Failed {
                message: (messages.len() == 1).then(|| messages[0].envelope.id),
                failure,
            }),
            Taking::OneByOne => {
                for message in messages {
                    call(handler, unit, std::slice::from_ref(message))
                        .await
                        .map_err(|failure| Setback::Failed {
                            message: Some(message.envelope.id),
                            failure,
                        })?;
                }
                Ok(())
            }
        }
    }

    /// Keeps a record with its bytes, announces it, and answers whoever waits for it.
    async fn bury<L: Ledger, M>(
        &mut self,
        runtime: &Runtime<L>,
        unit: &mut Unit<L>,
        item: &Arrival<M>,
        reason: DeadLetterReason,
        detail: &str,
        known: &KnownFailures,
    ) -> Result<(), Setback> {
        let record = &item.record;
        let envelope = item.envelope();
        let id = Uuid::now_v7();
        tracing::error!(partition = %record.partition, offset = record.offset, ?reason, detail, dead_letter = %id,
            "a record is a dead letter");
        let (kept, detail) = stub::kept(record, detail, known, &mut self.seen.stubs);
        let letter = DeadLetter {
            id,
            reason,
            detail: detail.clone(),
            record: kept,
        };
        let (ledger, tx) = unit.parts();
        ledger.insert_dead_letters(tx, std::slice::from_ref(&letter)).await?;
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
            let detail = format!("The command could not be executed; it is kept as dead letter {id}.");
            unit.fail(envelope, code, &detail)?;
        }
        self.seen.dead.push(reason);
        Ok(())
    }

    /// Continues a key whose poison message was mended, up to the next one. Answers how many were
    /// applied, and where it stopped again.
    pub(crate) async fn release<L: Ledger>(
        &mut self,
        runtime: &Runtime<L>,
        unit: &mut Unit<L>,
        topic: &str,
        key: Uuid,
        known: &KnownFailures,
    ) -> Result<Released, Setback>
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
            .filter_map(|(index, item)| numbered(item, index, known))
            .collect();
        let plan = sequence::release(key, *state, parked);
        let released = Released {
            applied: plan.apply.len(),
            poisoned_at: plan.sequences.first().and_then(|(_, state)| state.poisoned_at),
        };
        self.carry_out(
            runtime,
            unit,
            topic,
            &stored,
            plan,
            |index| &waiting[index],
            known,
            Taking::OneByOne,
        )
        .await?;
        Ok(released)
    }
}

/// What a release did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Released {
    pub applied: usize,
    /// The sequence that can't be applied either, if there is one.
    pub poisoned_at: Option<i64>,
}

/// What can't be said because of a message is that message's failure, not the partition's.
fn blame(envelope: &Envelope, error: AppendError) -> Setback {
    Setback::Failed {
        message: Some(envelope.id),
        failure: error.into(),
    }
}

/// Writes the rows that changed, telling the new ones from those that were `stored`.
async fn set_sequences<L: Ledger>(
    unit: &mut Unit<L>,
    topic: &str,
    stored: &HashMap<Uuid, Sequence>,
    rows: Vec<(Uuid, Sequence)>,
) -> Result<(), Setback> {
    let (changed, new): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(key, _)| stored.contains_key(key));
    let (ledger, tx) = unit.parts();
    ledger.set_sequences(tx, topic, &new, &changed).await?;
    Ok(())
}

/// What waits for these keys, decoded anew: what was unreadable may be readable now.
async fn load_parked<L: Ledger, H: Handler<L>>(
    kind: Kind,
    runtime: &Runtime<L>,
    unit: &mut Unit<L>,
    topic: &str,
    keys: &[Uuid],
) -> Result<Vec<Arrival<H::Message>>, Setback> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let (ledger, tx) = unit.parts();
    let rows = ledger.parked(tx, topic, keys).await?;
    let mut arrivals = Vec::with_capacity(rows.len());
    for row in rows {
        let arrival = match decode_known(kind, runtime, row.record) {
            Ok(arrival) => arrival,
            // Met when the message arrived, but perhaps by another process.
            Err((arrival, schema)) => match runtime.try_to_learn(schema).await {
                Ok(true) => decode_known(kind, runtime, arrival.record).unwrap_or_else(|(arrival, _)| arrival),
                Ok(false) => arrival,
                Err(error) => return Err(Failure::retry(error).into()),
            },
        };
        arrivals.push(arrival);
    }
    Ok(arrivals)
}

/// Calls a handler. One that panics has met a message that will never work: the message is to blame, not the process
/// or the message's neighbours.
async fn call<L: Ledger, H: Handler<L>>(
    handler: &mut H,
    unit: &mut Unit<L>,
    messages: &[&Received<H::Message>],
) -> Result<(), Failure> {
    // What it may have left half done, its own cache and the transaction, is thrown away.
    let handled = AssertUnwindSafe(handler.handle(unit, messages)).catch_unwind().await;
    handled.unwrap_or_else(|_| Err(Failure::poison("the handler panicked")))
}
