//! The suite's service: a counter that commands increment, and a log of every other message.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contracts::aggregate::Rejection;
use contracts::replies::CommandAccepted;
use contracts::{
    Codec, DeactivateUser, EventCancelled, EventEvent, FieldError, Message, NotificationFact, OpsCommand, Registry,
    Timestamp, UserCommand, UserDeactivated, UserEvent, UserProfileState, topics,
};
use messaging::kafka::Settings;
use messaging::ledger::{Ledger, StoreError, Transactions};
use messaging::{Cause, Failure, Handler, OpsHandler, OpsOutcome, Outgoing, Received, Subscriptions, Unit};
use uuid::Uuid;

use crate::bench::Bench;
use crate::faulty::{Faults, FaultyLedger};
use crate::inside::Inside;

/// A store under test, with the tables of the suite's service.
pub trait Store: Clone + Send + Sync + 'static {
    type Ledger: Ledger + Inside;

    /// Creates a separate database.
    fn fresh() -> impl Future<Output = Self> + Send;

    fn ledger(&self) -> Self::Ledger;

    /// Returns the version of `key` in the journal; 0 if it has none.
    fn version(&self, tx: &mut Tx<Self>, key: Uuid) -> impl Future<Output = Result<i64, StoreError>> + Send;

    /// Appends to the journal. An existing (key, version) is a conflict.
    fn journal(&self, tx: &mut Tx<Self>, entry: Entry) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Claims a name. A name that is already claimed is a conflict.
    fn claim(&self, tx: &mut Tx<Self>, name: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    fn is_claimed(&self, tx: &mut Tx<Self>, name: &str) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Records an effect.
    fn record_effect(&self, tx: &mut Tx<Self>, entry: Entry) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the committed journal entries, ordered by key and version.
    fn journaled(&self) -> impl Future<Output = Vec<Entry>> + Send;

    /// Returns the committed effects, in the order in which they were recorded.
    fn effects(&self) -> impl Future<Output = Vec<Entry>> + Send;
}

/// The store's own transaction.
pub type Tx<S> = <<S as Store>::Ledger as Transactions>::Tx;

/// A message that took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub key: Uuid,
    /// The version or sequence; 0 if the message has none.
    pub number: i64,
    /// The message's `ce_id`.
    pub id: Uuid,
}

/// A process of the service.
pub struct Service<S: Store> {
    pub store: S,
    pub faults: Faults,
    pub hooks: Hooks,
    bench: Bench<FaultyLedger<S::Ledger>>,
}

impl<S: Store> Deref for Service<S> {
    type Target = Bench<FaultyLedger<S::Ledger>>;

    fn deref(&self) -> &Self::Target {
        &self.bench
    }
}

impl<S: Store> Service<S> {
    pub async fn start() -> Self {
        Self::over(S::fresh().await, |_| {})
    }

    pub async fn with_partitions(count: i32) -> Self {
        Self::start().await.partitions(count)
    }

    /// Sets the number of partitions.
    pub fn partitions(mut self, count: i32) -> Self {
        self.bench = self.bench.partitions(count);
        self
    }

    /// Starts a process that fetches unknown schemas from the real registry.
    pub async fn with_registry() -> Self {
        Self::with_registry_at(Registry::new(&crate::env().schema_registry_url)).await
    }

    /// Starts a process that fetches unknown schemas from `registry`.
    pub async fn with_registry_at(registry: Registry) -> Self {
        let mut service = Self::start().await;
        service.bench = service.bench.with_registry(codec_with_other_ids, registry);
        service
    }

    /// Starts a process with an existing store and an empty log.
    pub fn over(store: S, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new("nowhere.invalid:9092");
        settings.topic_prefix = "conformance.".to_owned();
        change(&mut settings);
        let (ledger, hooks) = (FaultyLedger::new(store.ledger()), Hooks::default());
        let subscriptions = subscriptions(&store, &hooks);
        Self {
            faults: ledger.faults().clone(),
            bench: Bench::with_settings("conformance", settings, ledger, store.ledger(), subscriptions),
            store,
            hooks,
        }
    }

    /// Starts a second process with the same store and log, and separate faults and hooks.
    pub fn another(&self) -> Self {
        let (ledger, hooks) = (FaultyLedger::new(self.store.ledger()), Hooks::default());
        let subscriptions = subscriptions(&self.store, &hooks);
        Self {
            store: self.store.clone(),
            faults: ledger.faults().clone(),
            bench: self.bench.another(ledger, subscriptions),
            hooks,
        }
    }

    /// Publishes a message in a separate transaction.
    pub async fn publish<M: Message>(&self, message: Outgoing<M>) {
        let cause = Cause::origin(Uuid::now_v7(), None, opentelemetry::Context::new());
        let unit = Unit::begin(self.ledger(), &self.publisher()).await;
        let mut unit = unit.expect("a transaction begins");
        unit.publish(&cause, message).expect("the message can be appended");
        unit.commit().await.expect("the transaction is committed");
    }

    /// Returns the domain events of users that were published since the last call, as (sequence, reason).
    pub async fn users(&self) -> Vec<(i64, String)> {
        let published = self.published_with_envelopes::<UserEvent>().await.into_iter();
        published
            .map(|message| match &message.body {
                UserEvent::UserDeactivated(event) => (message.envelope.sequence.unwrap_or(0), event.reason.clone()),
                other => panic!("unexpected domain event {other:?}"),
            })
            .collect()
    }

    /// Returns the numbers of the effects on one key, in order.
    pub async fn numbers(&self, key: Uuid) -> Vec<i64> {
        let effects = self.store.effects().await.into_iter();
        effects
            .filter(|entry| entry.key == key)
            .map(|entry| entry.number)
            .collect()
    }

    /// Returns the versions of one key in the journal.
    pub async fn versions(&self, key: Uuid) -> Vec<i64> {
        let journaled = self.store.journaled().await.into_iter();
        journaled
            .filter(|entry| entry.key == key)
            .map(|entry| entry.number)
            .collect()
    }
}

/// Returns a codec whose schema ids are far above those of the registry.
fn codec_with_other_ids() -> Codec {
    let records = topics::ALL.iter().flat_map(|topic| topic.records);
    Codec::with_ids(records.map(|record| record.name).zip(1_000_000_000..)).expect("every record has an id")
}

/// Returns all subscriptions of the service.
pub fn subscriptions<S: Store>(store: &S, hooks: &Hooks) -> Subscriptions<FaultyLedger<S::Ledger>> {
    let (counter, events, facts, states) = (store.clone(), store.clone(), store.clone(), store.clone());
    let [counter_hooks, event_hooks, fact_hooks, state_hooks] = [(); 4].map(|()| hooks.clone());
    Subscriptions::new()
        .handle(move || Counter {
            store: counter.clone(),
            hooks: counter_hooks.clone(),
            versions: HashMap::new(),
        })
        .handle(move || Events {
            store: events.clone(),
            hooks: event_hooks.clone(),
        })
        .handle(move || Facts {
            store: facts.clone(),
            hooks: fact_hooks.clone(),
        })
        .handle(move || States {
            store: states.clone(),
            hooks: state_hooks.clone(),
        })
        .handle_ops(OwnOps { store: store.clone() })
}

/// Returns the subscription to `events` alone so that few partitions move in a rebalance.
pub(super) fn only_events<S: Store>(store: &S, hooks: &Hooks) -> Subscriptions<FaultyLedger<S::Ledger>> {
    let (store, hooks) = (store.clone(), hooks.clone());
    Subscriptions::new().handle(move || Events {
        store: store.clone(),
        hooks: hooks.clone(),
    })
}

/// Observes and controls the handlers of one process.
#[derive(Clone, Default)]
pub struct Hooks(Arc<Mutex<HookState>>);

#[derive(Default)]
struct HookState {
    fixed: HashSet<String>,
    batches: Vec<Vec<Uuid>>,
    tombstones: Vec<Uuid>,
}

impl Hooks {
    /// Makes `poison:<name>` succeed from now on.
    pub fn fix(&self, name: &str) {
        self.state().fixed.insert(name.to_owned());
    }

    /// Returns the message ids of each handler call since the last call of this function.
    pub fn batches(&self) -> Vec<Vec<Uuid>> {
        std::mem::take(&mut self.state().batches)
    }

    /// Returns the keys whose state was deleted.
    pub fn tombstones(&self) -> Vec<Uuid> {
        self.state().tombstones.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, HookState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn called<M>(&self, messages: &[&Received<M>]) {
        let ids = messages.iter().map(|message| message.envelope.id).collect();
        self.state().batches.push(ids);
    }

    /// Executes an order that handlers of every kind support. Returns `true` if it was a fixed `poison` order.
    fn execute(&self, order: &str) -> Result<bool, Failure> {
        let (word, name) = order.split_once(':').unwrap_or((order, ""));
        match word {
            "poison" if self.state().fixed.contains(name) => Ok(true),
            "poison" => Err(Failure::poison(format!("{name} is not fixed"))),
            "reject" => Err(Failure::Reject(Rejection::new("refused", "a test ordered this"))),
            "too-early" => Err(Failure::Defer(Rejection::new("too-early", "a test ordered this"))),
            "retry" => Err(Failure::retry("a test ordered this")),
            "conflict" => Err(Failure::Conflict("a test ordered this".into())),
            "panic" => panic!("a test ordered this"),
            _ => Ok(false),
        }
    }
}

/// Returns a command to the counter of `key`. Orders:
///
/// - `add`: increments the counter.
/// - `at-least:n`: increments the counter if it is at least n, and is otherwise rejected.
/// - `from:n`: the same, but is deferred.
/// - `claim:name`: increments the counter if the name is free, and is otherwise rejected.
/// - `later`: also publishes a delayed `add` to the service itself.
/// - `big:n`: also publishes a message of n bytes.
/// - `poison:name`, `reject`, `too-early`, `conflict`, `panic`: fail in this way.
pub fn order(key: Uuid, order: &str) -> Outgoing<UserCommand> {
    Outgoing::new(
        key,
        DeactivateUser {
            reason: order.to_owned(),
        },
    )
}

/// Returns a domain event that is recorded, unless its order is `poison:name`, `reject`, `too-early`, `retry` or `panic`.
pub fn happened(key: Uuid, sequence: i64, order: &str) -> Outgoing<EventEvent> {
    let event = EventCancelled {
        reason: order.to_owned(),
        cancelled_at: Timestamp::now(),
    };
    Outgoing::new(key, event).sequence(sequence)
}

/// The aggregate of the suite. Its state is its version, which is cached in the handler.
struct Counter<S> {
    store: S,
    hooks: Hooks,
    versions: HashMap<Uuid, i64>,
}

impl<S: Store> Handler<FaultyLedger<S::Ledger>> for Counter<S> {
    type Message = UserCommand;

    async fn handle(
        &mut self,
        unit: &mut Unit<FaultyLedger<S::Ledger>>,
        messages: &[&Received<UserCommand>],
    ) -> Result<(), Failure> {
        self.hooks.called(messages);
        for command in messages {
            let UserCommand::DeactivateUser(body) = &command.body else {
                return Err(Failure::poison("the counter does not handle this command"));
            };
            self.execute(unit, command, &body.reason).await?;
        }
        Ok(())
    }
}

impl<S: Store> Counter<S> {
    async fn execute(
        &mut self,
        unit: &mut Unit<FaultyLedger<S::Ledger>>,
        command: &Received<UserCommand>,
        order: &str,
    ) -> Result<(), Failure> {
        let key = command.envelope.key;
        let version = match self.versions.get(&key) {
            Some(version) => *version,
            None => self.store.version(unit.tx().inner(), key).await?,
        };
        self.versions.insert(key, version);
        let (word, argument) = order.split_once(':').unwrap_or((order, ""));
        let number = || argument.parse().expect("the order has a number");
        match word {
            "at-least" if version < number() => {
                return Ok(unit.reject(command, &Rejection::new("too-few", format!("only {version}")))?);
            }
            "from" if version < number() => {
                return Ok(unit.defer(command, &Rejection::new("never-enough", format!("only {version}")))?);
            }
            "claim" => {
                if self.store.is_claimed(unit.tx().inner(), argument).await? {
                    let errors = vec![FieldError {
                        field: "name".to_owned(),
                        code: "taken".to_owned(),
                        message: "The name is taken.".to_owned(),
                    }];
                    let taken = Rejection::new("taken", "the name is taken").with_errors(errors);
                    return Ok(unit.reject(command, &taken)?);
                }
                self.store.claim(unit.tx().inner(), argument).await?;
            }
            "later" => {
                let later = self::order(key, "add").due_at(Timestamp::now() + Duration::from_secs(3_600));
                unit.publish(&command.cause(), later)?;
            }
            "big" => {
                let big = UserDeactivated {
                    reason: "x".repeat(number() as usize),
                    deactivated_at: Timestamp::now(),
                };
                unit.publish(&command.cause(), Outgoing::<UserEvent>::new(key, big))?;
            }
            _ => {
                self.hooks.execute(order)?;
            }
        }
        let event = UserDeactivated {
            reason: order.to_owned(),
            deactivated_at: Timestamp::now(),
        };
        let event = Outgoing::<UserEvent>::new(key, event).sequence(version + 1);
        let entry = Entry {
            key,
            number: version + 1,
            id: command.envelope.id,
        };
        self.store.journal(unit.tx().inner(), entry).await?;
        unit.publish(&command.cause(), event)?;
        self.versions.insert(key, version + 1);
        let accepted = CommandAccepted {
            command_id: command.envelope.id,
            version: version + 1,
            effects: vec![contracts::Effect {
                topic: topics::USERS.name.to_owned(),
                key,
                sequence: version + 1,
            }],
            result: None,
        };
        Ok(unit.accept(command, accepted)?)
    }
}

struct Events<S> {
    store: S,
    hooks: Hooks,
}

impl<S: Store> Handler<FaultyLedger<S::Ledger>> for Events<S> {
    type Message = EventEvent;

    async fn handle(
        &mut self,
        unit: &mut Unit<FaultyLedger<S::Ledger>>,
        messages: &[&Received<EventEvent>],
    ) -> Result<(), Failure> {
        self.hooks.called(messages);
        for message in messages {
            if let EventEvent::EventCancelled(event) = &message.body {
                self.hooks.execute(&event.reason)?;
            }
            self.store.record_effect(unit.tx().inner(), entry(message)).await?;
        }
        Ok(())
    }
}

struct Facts<S> {
    store: S,
    hooks: Hooks,
}

impl<S: Store> Handler<FaultyLedger<S::Ledger>> for Facts<S> {
    type Message = NotificationFact;

    async fn handle(
        &mut self,
        unit: &mut Unit<FaultyLedger<S::Ledger>>,
        messages: &[&Received<NotificationFact>],
    ) -> Result<(), Failure> {
        for message in messages {
            if let NotificationFact::NotificationFailed(fact) = &message.body {
                self.hooks.execute(&fact.reason)?;
            }
            self.store.record_effect(unit.tx().inner(), entry(message)).await?;
        }
        Ok(())
    }
}

struct States<S> {
    store: S,
    hooks: Hooks,
}

impl<S: Store> Handler<FaultyLedger<S::Ledger>> for States<S> {
    type Message = UserProfileState;

    async fn handle(
        &mut self,
        unit: &mut Unit<FaultyLedger<S::Ledger>>,
        messages: &[&Received<UserProfileState>],
    ) -> Result<(), Failure> {
        for message in messages {
            if message.body == UserProfileState::Tombstone {
                self.hooks.state().tombstones.push(message.envelope.key);
            }
            self.store.record_effect(unit.tx().inner(), entry(message)).await?;
        }
        Ok(())
    }
}

/// The service's own ops commands: `Replay` of the projection `notes` records itself as an effect, and `WhereIs` finds
/// journalled commands.
struct OwnOps<S> {
    store: S,
}

impl<S: Store> OpsHandler<FaultyLedger<S::Ledger>> for OwnOps<S> {
    async fn handle(
        &self,
        unit: &mut Unit<FaultyLedger<S::Ledger>>,
        command: &Received<OpsCommand>,
    ) -> Result<OpsOutcome, Failure> {
        let replay = match &command.body {
            OpsCommand::Replay(replay) => replay,
            OpsCommand::WhereIs(query) => {
                let journaled = self.store.journaled().await;
                let entry = journaled.iter().find(|entry| entry.id == query.message_id);
                let version = entry.map(|entry| entry.number);
                return Ok(OpsOutcome::Done(serde_json::json!({ "version": version })));
            }
            _ => return Ok(OpsOutcome::Unhandled),
        };
        if replay.projection != "notes" {
            return Ok(OpsOutcome::Rejected(Rejection::new(
                "projection-unknown",
                "the only projection is `notes`",
            )));
        }
        self.store.record_effect(unit.tx().inner(), entry(command)).await?;
        Ok(OpsOutcome::Done(serde_json::json!({ "noted": true })))
    }
}

fn entry<M>(message: &Received<M>) -> Entry {
    Entry {
        key: message.envelope.key,
        number: message.envelope.sequence.unwrap_or(0),
        id: message.envelope.id,
    }
}
