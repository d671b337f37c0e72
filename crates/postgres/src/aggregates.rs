//! The runtime of aggregates: decides a batch of commands and writes what they lead to, set-based.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;

use contracts::aggregate::{Command, Rejection};
use contracts::replies::{CommandAccepted, Effect};
use contracts::{Aggregate, Message, Timestamp};
use messaging::ledger::StoreError;
use messaging::{Failure, Handler, Outgoing, Received, Unit};
use uuid::Uuid;

use crate::event_store::{self, Head, Journaled, Loaded, SNAPSHOT_EVERY};
use crate::{Postgres, Tx};

/// No command leads to more domain events: what takes longer goes on by commands to itself.
const MOST_DOMAIN_EVENTS: usize = 1_000;
/// Aggregates that one partition keeps at hand; above it, it starts anew.
const CACHED: usize = 10_000;

/// What an aggregate's decisions need and write beside its journal.
pub trait Store<A: Aggregate>: Clone + Send + Sync + 'static {
    /// What `decide` needs for this batch of commands, in a query or two.
    fn context(
        &self,
        tx: &mut Tx,
        commands: &[Command<A::Command>],
    ) -> impl Future<Output = Result<A::Context, StoreError>> + Send;

    /// Writes what follows from the decisions: rows, commands to itself, state messages; set-based, rows in
    /// sorted order. `context` is the one that the domain events of the whole batch have evolved. A row that claims something unique and finds it taken is a conflict: the batch comes
    /// again one by one, with a fresh context. Messages that a reader must have seen are added to a
    /// decision's `effects`.
    fn write(
        &self,
        unit: &mut Unit<Postgres>,
        context: &A::Context,
        decisions: &mut [Decided<'_, A>],
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// An accepted command, and what it led to.
pub struct Decided<'a, A: Aggregate> {
    pub received: &'a Received<A::Command>,
    pub command: &'a Command<A::Command>,
    /// The aggregate's version after it.
    pub version: i64,
    /// With their versions.
    pub domain_events: Vec<(i64, A::DomainEvent)>,
    /// What a reader must have seen to see the outcome. The domain events are added by the runtime.
    pub effects: Vec<Effect>,
    /// The answer's `result`, if the command asks for something.
    pub result: Option<String>,
}

/// Executes the commands of one aggregate type on one partition.
///
/// Its partition's worker is the only writer of its streams, so state stays cached between batches; the
/// pipeline drops the whole value whenever that may be wrong.
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
        if self.cache.len() > CACHED {
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

    /// Decides in offset order. Each accepted domain event evolves state and context, so that the next
    /// command of the batch sees it.
    fn decide<'a>(
        &mut self,
        context: &mut A::Context,
        messages: &[&'a Received<A::Command>],
        commands: &'a [Command<A::Command>],
    ) -> Result<Vec<Verdict<'a, A>>, Failure> {
        let mut verdicts = Vec::with_capacity(commands.len());
        for (received, command) in messages.iter().copied().zip(commands) {
            let aggregate = self
                .cache
                .get_mut(&command.key)
                .expect("every stream of the batch was loaded");
            if let Some(expected) = command.expected_version.filter(|version| *version != aggregate.version) {
                let detail = format!("version {expected} was expected, it is {}", aggregate.version);
                verdicts.push(Verdict::No(received, Rejection::new("version-conflict", detail)));
                continue;
            }
            let domain_events = match aggregate.state.decide(context, command) {
                Ok(domain_events) => domain_events,
                Err(rejection) => {
                    verdicts.push(Verdict::No(received, rejection.into()));
                    continue;
                }
            };
            if domain_events.len() > MOST_DOMAIN_EVENTS {
                return Err(Failure::poison(format!(
                    "the command led to {} domain events; {MOST_DOMAIN_EVENTS} are the most",
                    domain_events.len()
                )));
            }
            let mut versioned = Vec::with_capacity(domain_events.len());
            for event in domain_events {
                aggregate.state.evolve(context, command.key, &event);
                aggregate.version += 1;
                versioned.push((aggregate.version, event));
            }
            verdicts.push(Verdict::Yes(Decided {
                received,
                command,
                version: aggregate.version,
                domain_events: versioned,
                effects: Vec::new(),
                result: None,
            }));
        }
        Ok(verdicts)
    }

    /// Journals and says the domain events: the same bytes, encoded once.
    async fn record(&self, unit: &mut Unit<Postgres>, decisions: &mut [Decided<'_, A>]) -> Result<(), Failure> {
        let topic = A::DomainEvent::TOPIC;
        let mut heads: BTreeMap<Uuid, Head> = BTreeMap::new();
        let mut journaled = Vec::new();
        for decided in decisions.iter_mut() {
            let stream = decided.command.key;
            let cause = decided.received.cause();
            for (version, event) in &decided.domain_events {
                let said_at = Timestamp::now();
                let message_id = Uuid::now_v7();
                let outgoing = Outgoing::<A::DomainEvent>::new(stream, event.clone())
                    .id(message_id)
                    .time(said_at)
                    .sequence(*version);
                let message = unit.publisher().frame(&cause, outgoing)?;
                journaled.push(Journaled {
                    stream,
                    version: *version,
                    type_name: event.type_name(),
                    payload: message.value.clone().expect("a domain event has a value"),
                    message_id,
                    correlation_id: cause.correlation_id,
                    causation_id: cause.id,
                    actor: cause.actor.as_ref().map(ToString::to_string),
                    said_at,
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
        let passed = heads
            .iter()
            .filter(|head| head.from / SNAPSHOT_EVERY < head.to / SNAPSHOT_EVERY)
            .map(|head| (head.stream, &self.cache[&head.stream]));
        event_store::snapshot(unit.tx(), passed).await?;
        Ok(())
    }
}

enum Verdict<'a, A: Aggregate> {
    Yes(Decided<'a, A>),
    No(&'a Received<A::Command>, Rejection),
}

impl<A: Aggregate, S: Store<A>> Handler<Postgres> for Aggregates<A, S> {
    type Message = A::Command;

    async fn handle(&mut self, unit: &mut Unit<Postgres>, messages: &[&Received<A::Command>]) -> Result<(), Failure> {
        let commands: Vec<_> = messages.iter().map(|message| message.to_command()).collect();
        self.load(unit, &commands).await?;
        let mut context = self.store.context(unit.tx(), &commands).await?;
        let verdicts = self.decide(&mut context, messages, &commands)?;

        let mut decisions = Vec::with_capacity(verdicts.len());
        for verdict in verdicts {
            match verdict {
                Verdict::Yes(decided) => decisions.push(decided),
                Verdict::No(received, rejection) if rejection.deferred => unit.defer(received, &rejection)?,
                Verdict::No(received, rejection) => unit.reject(received, &rejection)?,
            }
        }
        self.record(unit, &mut decisions).await?;
        self.store.write(unit, &context, &mut decisions).await?;
        for decided in decisions {
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
