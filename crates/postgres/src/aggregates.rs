//! The runtime of aggregates: decides a batch of commands and writes their effects with set-based statements.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;

use contracts::aggregate::{Command, MAX_DOMAIN_EVENTS, Rejection};
use contracts::replies::{CommandAccepted, Effect};
use contracts::{Aggregate, Message, Timestamp};
use messaging::ledger::StoreError;
use messaging::{Failure, Handler, Outgoing, Received, Unit};
use uuid::Uuid;

use crate::event_store::{self, Head, Journaled, Loaded, SNAPSHOT_EVERY};
use crate::{Postgres, Tx};

/// Number of aggregates above which the cache of a partition is cleared.
const MAX_CACHED: usize = 10_000;

/// The rows that an aggregate's decisions read and write in addition to its journal.
pub trait Store<A: Aggregate>: Clone + Send + Sync + 'static {
    /// Reads the context that `decide` needs for this batch of commands, in one or two queries.
    fn context(
        &self,
        tx: &mut Tx,
        commands: &[Command<A::Command>],
    ) -> impl Future<Output = Result<A::Context, StoreError>> + Send;

    /// Writes the consequences of the decisions: rows, commands to itself, state messages. `context` is the one that the
    /// domain events of the whole batch have evolved.
    ///
    /// The statements are set-based, and rows are inserted in sorted order. If a unique value that a row claims is taken,
    /// that is a conflict: the batch is processed again one command at a time, with a fresh context. Add to the `effects`
    /// of a decision the messages that a reader must have applied to see its outcome.
    fn write(
        &self,
        unit: &mut Unit<Postgres>,
        context: &A::Context,
        decisions: &mut [Decided<'_, A>],
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// An accepted command and its consequences.
pub struct Decided<'a, A: Aggregate> {
    pub received: &'a Received<A::Command>,
    pub command: &'a Command<A::Command>,
    /// The aggregate's version after the command.
    pub version: i64,
    /// The domain events with their versions.
    pub domain_events: Vec<(i64, A::DomainEvent)>,
    /// The messages that a reader must have applied to see the outcome. The runtime adds the domain events.
    pub effects: Vec<Effect>,
    /// The `result` of the reply, if the command asks for one.
    pub result: Option<String>,
}

/// Executes the commands of one aggregate type on one partition.
///
/// The worker of the partition is the only writer of its streams, so the state stays cached between batches. The
/// pipeline drops the whole value whenever the cache may be wrong.
pub struct Aggregates<A: Aggregate, S> {
    store: S,
    cache: HashMap<Uuid, Loaded<A>>,
}

impl<A: Aggregate, S: Store<A>> Aggregates<A, S> {
    pub fn new(store: S) -> Self {
        Self {
            store,
            cache: HashMap::new(),
        }
    }

    async fn load(&mut self, unit: &mut Unit<Postgres>, commands: &[Command<A::Command>]) -> Result<(), Failure> {
        if self.cache.len() > MAX_CACHED {
            self.cache.clear();
        }
        let mut missing: Vec<Uuid> = commands
            .iter()
            .map(|command| command.key)
            .filter(|key| !self.cache.contains_key(key))
            .collect();
        missing.sort_unstable();
        missing.dedup();
        if !missing.is_empty() {
            let codec = unit.publisher().codec().clone();
            self.cache.extend(event_store::load(unit.tx(), &codec, &missing).await?);
        }
        Ok(())
    }

    /// Decides the commands in offset order. Each accepted domain event evolves the state and the context, so the next
    /// command of the batch sees it.
    fn decide<'a>(
        &mut self,
        context: &mut A::Context,
        messages: &[&'a Received<A::Command>],
        commands: &'a [Command<A::Command>],
    ) -> Result<Vec<Decision<'a, A>>, Failure> {
        let mut decisions = Vec::with_capacity(commands.len());
        for (received, command) in messages.iter().copied().zip(commands) {
            let aggregate = self
                .cache
                .get_mut(&command.key)
                .expect("every stream of the batch was loaded");
            if let Some(expected) = command.expected_version.filter(|version| *version != aggregate.version) {
                let detail = format!(
                    "the command expects version {expected}, but the current version is {}",
                    aggregate.version
                );
                decisions.push(Decision::Rejected(received, Rejection::new("version-conflict", detail)));
                continue;
            }
            let domain_events = match aggregate.state.decide(context, command) {
                Ok(domain_events) => domain_events,
                Err(rejection) => {
                    decisions.push(Decision::Rejected(received, rejection.into()));
                    continue;
                }
            };
            if domain_events.len() > MAX_DOMAIN_EVENTS {
                return Err(Failure::poison(format!(
                    "the command led to {} domain events; the maximum is {MAX_DOMAIN_EVENTS}",
                    domain_events.len()
                )));
            }
            let mut versioned = Vec::with_capacity(domain_events.len());
            for event in domain_events {
                aggregate.state.evolve(context, command.key, &event);
                aggregate.version += 1;
                versioned.push((aggregate.version, event));
            }
            decisions.push(Decision::Accepted(Decided {
                received,
                command,
                version: aggregate.version,
                domain_events: versioned,
                effects: Vec::new(),
                result: None,
            }));
        }
        Ok(decisions)
    }

    /// Writes the domain events to the journal and publishes them: the same bytes, encoded once.
    async fn record(&self, unit: &mut Unit<Postgres>, decisions: &mut [Decided<'_, A>]) -> Result<(), Failure> {
        let topic = A::DomainEvent::TOPIC;
        let mut heads: BTreeMap<Uuid, Head> = BTreeMap::new();
        let mut journaled = Vec::new();
        for decided in decisions.iter_mut() {
            let stream = decided.command.key;
            let cause = decided.received.cause();
            for (version, event) in &decided.domain_events {
                let published_at = Timestamp::now();
                let message_id = Uuid::now_v7();
                let outgoing = Outgoing::<A::DomainEvent>::new(stream, event.clone())
                    .id(message_id)
                    .time(published_at)
                    .sequence(*version);
                let message = unit.publisher().frame(&cause, outgoing)?;
                journaled.push(Journaled {
                    stream,
                    version: *version,
                    type_name: event.type_name(),
                    payload: message.value.clone().expect("a domain event is never a tombstone"),
                    message_id,
                    correlation_id: cause.correlation_id,
                    causation_id: cause.id,
                    actor: cause.actor.as_ref().map(ToString::to_string),
                    published_at,
                });
                unit.append(message);
                heads
                    .entry(stream)
                    .or_insert(Head {
                        stream,
                        from: version - 1,
                        to: *version,
                    })
                    .to = *version;
            }
            if !decided.domain_events.is_empty() {
                decided.effects.push(Effect {
                    topic: topic.name.to_owned(),
                    key: stream,
                    sequence: decided.version,
                });
            }
        }
        if journaled.is_empty() {
            return Ok(());
        }
        let heads: Vec<Head> = heads.into_values().collect();
        event_store::append(unit.tx(), A::NAME, &heads, &journaled).await?;
        let due = heads
            .iter()
            .filter(|head| head.from / SNAPSHOT_EVERY < head.to / SNAPSHOT_EVERY)
            .map(|head| (head.stream, &self.cache[&head.stream]));
        event_store::snapshot(unit.tx(), due).await?;
        Ok(())
    }
}

/// The outcome of one command.
enum Decision<'a, A: Aggregate> {
    Accepted(Decided<'a, A>),
    Rejected(&'a Received<A::Command>, Rejection),
}

impl<A: Aggregate, S: Store<A>> Handler<Postgres> for Aggregates<A, S> {
    type Message = A::Command;

    async fn handle(&mut self, unit: &mut Unit<Postgres>, messages: &[&Received<A::Command>]) -> Result<(), Failure> {
        let commands: Vec<_> = messages.iter().map(|message| message.to_command()).collect();
        self.load(unit, &commands).await?;
        let mut context = self.store.context(unit.tx(), &commands).await?;
        let decisions = self.decide(&mut context, messages, &commands)?;

        let mut accepted = Vec::with_capacity(decisions.len());
        for decision in decisions {
            match decision {
                Decision::Accepted(decided) => accepted.push(decided),
                Decision::Rejected(received, rejection) if rejection.deferred => unit.defer(received, &rejection)?,
                Decision::Rejected(received, rejection) => unit.reject(received, &rejection)?,
            }
        }
        self.record(unit, &mut accepted).await?;
        self.store.write(unit, &context, &mut accepted).await?;
        for decided in accepted {
            let accepted = CommandAccepted {
                command_id: decided.command.id,
                version: decided.version,
                effects: decided.effects,
                result: decided.result,
            };
            unit.accept(decided.received, accepted)?;
        }
        Ok(())
    }
}
