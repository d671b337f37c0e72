//! A service without Kafka: its real handlers, the real pipeline and a real store, fed record by record.

mod log;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use contracts::replies::Reply;
use contracts::{Codec, Kind, Message, Registry, Topic, topics};
use futures::future::join_all;
use messaging::kafka::Settings;
use messaging::ledger::{DeadLetter, Ledger, Parked};
use messaging::{
    Cause, Connected, Identity, Metrics, Outgoing, PartitionWorker, Publisher, Received, Record, Released,
    Subscriptions, TopicPartition, header,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::log::Log;
use crate::eventually::eventually;
use crate::inside::Inside;

/// What a worker may take for a batch. A partition that waits longer fails the test.
const DEADLINE: Duration = Duration::from_secs(20);

/// One process of a service, and the log it reads.
///
/// When it is dropped, the test fails if a record was parked or dead-lettered that the test did not ask about with
/// [`parked`](Self::parked) or [`dead_letters`](Self::dead_letters).
pub struct Bench<L: Ledger> {
    service: &'static str,
    settings: Settings,
    schemas: Schemas,
    ledger: L,
    inside: Arc<dyn Inside>,
    subscriptions: Arc<Subscriptions<L>>,
    connected: RwLock<Arc<Connected<L>>>,
    workers: Mutex<Workers>,
    log: Arc<Log>,
    left: Mutex<Left>,
    /// Of this process, whatever has been restarted in it.
    metrics: (prometheus::Registry, Metrics),
}

/// Where a process has its codec from: new ones know nothing that others have learned.
#[derive(Clone)]
struct Schemas {
    codec: fn() -> Codec,
    registry: Option<Registry>,
}

/// By topic and partition.
type Workers = HashMap<(&'static str, i32), Arc<tokio::sync::Mutex<Assigned>>>;

/// One partition's worker, as on an assignment.
struct Assigned {
    worker: Box<dyn PartitionWorker>,
    /// The offset that Kafka would hand out next.
    fetch: i64,
    /// Its last batch did not come to an end: the process "crashed" in it.
    interrupted: bool,
}

/// What lies aside in the store, and what of it the test knows of.
#[derive(Default)]
struct Left {
    parked: BTreeSet<(String, Uuid, i64)>,
    dead: BTreeSet<(Uuid, String)>,
    known_parked: BTreeSet<(String, Uuid, i64)>,
    known_dead: BTreeSet<Uuid>,
}

impl<L: Ledger> Bench<L> {
    /// A process of `service`, over a store of the test's own. `inside` looks into the same store.
    pub fn new(service: &'static str, ledger: L, inside: impl Inside, subscriptions: Subscriptions<L>) -> Self {
        let mut settings = Settings::new("nowhere.invalid:9092");
        settings.topic_prefix = "bench.".to_owned();
        Self::with_settings(service, settings, ledger, inside, subscriptions)
    }

    /// The same with settings of the test's own, e.g. an inbox that forgets early.
    pub fn with_settings(
        service: &'static str,
        settings: Settings,
        ledger: L,
        inside: impl Inside,
        subscriptions: Subscriptions<L>,
    ) -> Self {
        let schemas = Schemas {
            codec: Codec::local,
            registry: None,
        };
        let metrics = metrics();
        Self {
            service,
            connected: RwLock::new(Arc::new(connect(service, &settings, &schemas, &ledger, &metrics.1))),
            metrics,
            settings,
            schemas,
            ledger,
            inside: Arc::new(inside),
            subscriptions: Arc::new(subscriptions),
            workers: Mutex::default(),
            log: Arc::default(),
            left: Mutex::default(),
        }
    }

    /// Another process of the service, over the same log. It has read nothing yet.
    pub fn another(&self, ledger: L, subscriptions: Subscriptions<L>) -> Self {
        let metrics = metrics();
        let connected = connect(self.service, &self.settings, &self.schemas, &ledger, &metrics.1);
        Self {
            service: self.service,
            settings: self.settings.clone(),
            schemas: self.schemas.clone(),
            connected: RwLock::new(Arc::new(connected)),
            metrics,
            ledger,
            inside: Arc::clone(&self.inside),
            subscriptions: Arc::new(subscriptions),
            workers: Mutex::default(),
            log: Arc::clone(&self.log),
            left: Mutex::default(),
        }
    }

    /// Keys are spread over so many partitions; one, where nothing is said.
    pub fn partitions(self, count: i32) -> Self {
        self.log.set_partitions(count);
        self
    }

    /// Schemas that are met on the wire are fetched from a registry. `codec` has other ids than the registry.
    pub fn with_registry(mut self, codec: fn() -> Codec, registry: Registry) -> Self {
        self.schemas = Schemas {
            codec,
            registry: Some(registry),
        };
        self.restart();
        self
    }

    pub fn ledger(&self) -> &L {
        &self.ledger
    }

    pub fn inside(&self) -> &dyn Inside {
        self.inside.as_ref()
    }

    pub fn publisher(&self) -> Publisher<L> {
        self.connected().publisher().clone()
    }

    pub fn codec(&self) -> Codec {
        self.connected().publisher().codec().clone()
    }

    /// Returns the sum of this process's counters of that name, over all labels; 0 where nothing was counted.
    pub fn counted(&self, name: &str) -> f64 {
        let families = self.metrics.0.gather();
        let series = families.iter().filter(|family| family.name() == name);
        let counters = series.flat_map(|family| family.get_metric());
        counters.map(|metric| metric.get_counter().get_value()).sum()
    }

    /// A topic's name with the bench's prefix.
    pub fn topic_name(&self, topic: &Topic) -> String {
        topic.full_name(&self.settings.topic_prefix)
    }

    fn connected(&self) -> Arc<Connected<L>> {
        Arc::clone(&self.connected.read().unwrap_or_else(PoisonError::into_inner))
    }

    // Delivering.

    /// Appends a message to the log, and has its partition's worker apply what is there. Answers its `ce_id`.
    ///
    /// A command that names no topic for its reply gets the gateway's; a domain event or state message without a
    /// number gets the next one of its key.
    pub async fn deliver<M: Message>(&self, message: Outgoing<M>) -> Uuid {
        let id = message.id;
        self.deliver_all([message]).await;
        id
    }

    /// The same with several messages: one batch a partition.
    pub async fn deliver_all<M: Message>(&self, messages: impl IntoIterator<Item = Outgoing<M>>) {
        let records = messages.into_iter().map(|message| self.record(message)).collect();
        self.deliver_records(records).await;
    }

    /// The same with records that no producer of ours would write.
    pub async fn deliver_records(&self, records: Vec<Record>) {
        self.append_records(records);
        self.catch_up().await;
    }

    /// What was delivered last once more, at new offsets: as Kafka holds it after a producer's retry.
    pub async fn deliver_again(&self) {
        self.log.append_last_again();
        self.catch_up().await;
    }

    /// Delivers a command and answers its reply.
    pub async fn request<M: Message>(&self, command: Outgoing<M>) -> Reply {
        let id = self.deliver(command).await;
        self.reply(id).await
    }

    /// Appends to the log, and lets nobody read yet.
    pub fn append<M: Message>(&self, message: Outgoing<M>) -> Uuid {
        let id = message.id;
        self.append_records(vec![self.record(message)]);
        id
    }

    /// The same with raw records.
    pub fn append_records(&self, records: Vec<Record>) {
        self.log.append_new(records);
    }

    /// One partition's worker alone applies what it has not read yet.
    pub async fn catch_up_on(&self, topic: &'static Topic, partition: i32) {
        self.work(topic, partition).await;
        self.look_aside().await;
    }

    /// Has the workers apply what they have not read yet: one batch a partition.
    pub async fn catch_up(&self) {
        let assigned: Vec<_> = self
            .log
            .partitions_with_records(&self.settings.topic_prefix)
            .into_iter()
            .filter(|(topic, _)| self.listens_to(topic))
            .collect();
        join_all(
            assigned
                .into_iter()
                .map(|(topic, partition)| self.work(topic, partition)),
        )
        .await;
        self.look_aside().await;
    }

    /// Every service listens to `ops.commands`.
    fn listens_to(&self, topic: &Topic) -> bool {
        let mut topics = self.subscriptions.topics().chain([&topics::OPS_COMMANDS]);
        topics.any(|known| known.name == topic.name)
    }

    async fn work(&self, topic: &'static Topic, partition: i32) {
        let slot = self.slot(topic, partition).await;
        let mut assigned = slot.lock().await;
        if assigned.interrupted {
            *assigned = self.assign(topic, partition).await;
        }
        let name = TopicPartition::new(self.topic_name(topic), partition);
        loop {
            let records = self.log.read(&name, assigned.fetch);
            let Some(last) = records.last() else { return };
            let next = last.offset + 1;
            let stop = CancellationToken::new();
            assigned.interrupted = true;
            let processed = tokio::time::timeout(DEADLINE, assigned.worker.process(records, &stop)).await;
            if processed
                .unwrap_or_else(|_| panic!("{name} still waits after {DEADLINE:?}"))
                .is_ok()
            {
                assigned.interrupted = false;
                assigned.fetch = next;
                return;
            }
            // It gave up by itself, which ends a process; the next one has the partition assigned.
            *assigned = self.assign(topic, partition).await;
        }
    }

    async fn slot(&self, topic: &'static Topic, partition: i32) -> Arc<tokio::sync::Mutex<Assigned>> {
        let known = self.lock(&self.workers).get(&(topic.name, partition)).cloned();
        match known {
            Some(slot) => slot,
            None => {
                let assigned = Arc::new(tokio::sync::Mutex::new(self.assign(topic, partition).await));
                let mut workers = self.lock(&self.workers);
                Arc::clone(workers.entry((topic.name, partition)).or_insert(assigned))
            }
        }
    }

    /// Like a consumer, it waits while the store does not say the position.
    async fn assign(&self, topic: &'static Topic, partition: i32) -> Assigned {
        let worker = eventually("the store says the position", DEADLINE, || async {
            let worker = self.connected().worker(&self.subscriptions, topic, partition).await;
            worker.ok()
        });
        let worker = worker.await;
        Assigned {
            fetch: worker.position().unwrap_or(0),
            worker,
            interrupted: false,
        }
    }

    /// Assigns a topic's partitions to this process now: from here on it goes on from the positions stored by then.
    pub async fn assign_now(&self, topic: &'static Topic) {
        for partition in 0..self.log.partitions() {
            let slot = self.slot(topic, partition).await;
            *slot.lock().await = self.assign(topic, partition).await;
        }
    }

    /// Kafka hands out records of one partition from an old offset on, to the worker that is there.
    pub async fn rewind(&self, topic: &'static Topic, partition: i32, offset: i64) {
        self.slot(topic, partition).await.lock().await.fetch = offset;
    }

    /// A new process in place of the old one, which ended at once: nothing in memory is left.
    pub fn restart(&self) {
        let metrics = &self.metrics.1;
        let connected = connect(self.service, &self.settings, &self.schemas, &self.ledger, metrics);
        let connected = Arc::new(connected);
        *self.connected.write().unwrap_or_else(PoisonError::into_inner) = connected;
        self.lock(&self.workers).clear();
    }

    /// Delivers what the service has said to itself, until there is nothing left. Delayed messages stay.
    pub async fn settle(&self) {
        loop {
            self.collect().await;
            let records = self.own(self.log.take_unsettled());
            if records.is_empty() {
                return;
            }
            self.log.append(records);
            self.catch_up().await;
        }
    }

    /// Lets every delayed message fall due now, in order, and [settles](Self::settle).
    pub async fn deliver_delayed(&self) {
        let due = self.inside.take_delayed().await;
        let records = due.into_iter().map(|message| self.log.place(message)).collect();
        self.log.publish(records);
        self.settle().await;
    }

    fn own(&self, mut records: Vec<Record>) -> Vec<Record> {
        records.retain(|record| {
            let mut topics = self.subscriptions.topics();
            topics.any(|topic| self.topic_name(topic) == record.partition.topic)
        });
        records
    }

    /// Releases a key that a poison message holds back.
    pub async fn release(&self, topic: &'static Topic, key: Uuid) -> Released {
        let partition = self.log.partition_of(key);
        let released = self
            .connected()
            .release(&self.subscriptions, topic, partition, key)
            .await;
        self.look_aside().await;
        released.expect("the key is released")
    }

    // Framing.

    /// The record that a message becomes, not yet in the log.
    pub fn record<M: Message>(&self, mut message: Outgoing<M>) -> Record {
        let topic = M::TOPIC;
        if topic.kind == Kind::Commands && message.reply_to.is_none() {
            message.reply_to = Some(self.topic_name(&topics::GATEWAY_REPLIES));
        }
        if matches!(topic.kind, Kind::DomainEvents | Kind::State) {
            message.sequence = Some(self.log.number(topic, message.key, message.sequence));
        }
        let cause = Cause::origin(message.id, message.actor.clone(), opentelemetry::Context::new());
        let mut framed = self
            .publisher()
            .frame(&cause, message)
            .expect("the message can be appended");
        framed.headers.set(header::SOURCE, format!("/rollcall/{}", topic.owner));
        self.log.place(framed)
    }

    /// The record that deletes the state of `key`.
    pub fn tombstone<M: Message>(&self, newest: Outgoing<M>) -> Record {
        Record {
            value: None,
            ..self.record(newest)
        }
    }

    // What came of it.

    /// What was published of one kind since this was asked last, in order.
    pub async fn published<M: Message>(&self) -> Vec<M> {
        self.said::<M>().await.into_iter().map(|message| message.body).collect()
    }

    /// The same with envelopes.
    pub async fn said<M: Message>(&self) -> Vec<Received<M>> {
        self.collect().await;
        let records = self.log.take_unread(&self.topic_name(M::TOPIC));
        records.into_iter().map(|record| self.decode(&record)).collect()
    }

    /// Messages for later that are not due yet, in the order in which they will be.
    pub async fn delayed<M: Message>(&self) -> Vec<Received<M>> {
        let topic = self.topic_name(M::TOPIC);
        let delayed = self.inside.delayed().await.into_iter();
        delayed
            .filter(|message| message.topic == topic)
            .map(|message| self.decode(&self.log.place(message)))
            .collect()
    }

    /// The replies to one command so far.
    pub async fn replies(&self, command: Uuid) -> Vec<Reply> {
        self.collect().await;
        let records = self.log.published(&self.topic_name(&topics::GATEWAY_REPLIES));
        let replies = records.iter().map(|record| self.decode::<Reply>(record).body);
        replies.filter(|reply| command_of(reply) == command).collect()
    }

    /// The only reply to a command.
    pub async fn reply(&self, command: Uuid) -> Reply {
        let mut replies = self.replies(command).await;
        assert_eq!(replies.len(), 1, "one reply to {command}: {replies:?}");
        replies.remove(0)
    }

    /// Records that wait now. The test knows of them from here on.
    pub async fn parked(&self) -> Vec<Parked> {
        let parked = self.inside.parked_records().await;
        let mut left = self.lock(&self.left);
        left.parked = parked.iter().map(place_of).collect();
        left.known_parked = left.parked.clone();
        drop(left);
        parked
    }

    /// Records that were buried so far. The test knows of them from here on.
    pub async fn dead_letters(&self) -> Vec<DeadLetter> {
        let letters = self.inside.dead_letters().await;
        let known = letters.iter().map(|letter| letter.id);
        self.lock(&self.left).known_dead.extend(known);
        letters
    }

    /// Acts as relay and broker: takes the outbox rows, acknowledges them, and keeps them as published.
    async fn collect(&self) {
        const ALL: i64 = 1_000_000;
        let owner = self.publisher().owner();
        let said = "the outbox can be read";
        // Rows of a process before this one: nobody here has a lease.
        self.ledger.adopt(owner, ALL).await.expect(said);
        let rows = self.ledger.sweep(owner, Duration::ZERO, ALL).await.expect(said);
        let ids: Vec<_> = rows.iter().map(|row| (row.id, row.owner)).collect();
        if ids.is_empty() {
            return;
        }
        self.ledger.acknowledge(&ids, &[]).await.expect(said);
        let records = rows.into_iter().map(|row| self.log.place(row.message)).collect();
        self.log.publish(records);
    }

    fn decode<M: Message>(&self, record: &Record) -> Received<M> {
        decode(&self.codec(), record)
    }

    async fn look_aside(&self) {
        let parked = self.inside.parked_records().await.iter().map(place_of).collect();
        let dead = self.inside.dead_letters().await.into_iter();
        let dead = dead.map(|letter| (letter.id, format!("{:?}: {}", letter.reason, letter.detail)));
        let mut left = self.lock(&self.left);
        left.parked = parked;
        left.dead = dead.collect();
    }

    fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> std::sync::MutexGuard<'a, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Ledger> Drop for Bench<L> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let left = self.lock(&self.left);
        let parked: Vec<_> = left.parked.difference(&left.known_parked).collect();
        let dead: Vec<_> = left
            .dead
            .iter()
            .filter(|(id, _)| !left.known_dead.contains(id))
            .collect();
        assert!(
            parked.is_empty() && dead.is_empty(),
            "the test did not ask for these: parked {parked:?}, dead letters {dead:?}"
        );
    }
}

fn metrics() -> (prometheus::Registry, Metrics) {
    let registry = prometheus::Registry::new();
    let metrics = Metrics::register(&registry).expect("the registry is empty");
    (registry, metrics)
}

fn connect<L: Ledger>(
    service: &'static str,
    settings: &Settings,
    schemas: &Schemas,
    ledger: &L,
    metrics: &Metrics,
) -> Connected<L> {
    let identity = Identity {
        service,
        instance: Uuid::now_v7(),
        version: "test",
    };
    let (codec, registry) = ((schemas.codec)(), schemas.registry.clone());
    Connected::with_codec(
        identity,
        settings.clone(),
        ledger.clone(),
        metrics.clone(),
        codec,
        registry,
    )
}

/// A message of ours, as its reader sees it.
pub(crate) fn decode<M: Message>(codec: &Codec, record: &Record) -> Received<M> {
    let envelope = messaging::Envelope::of(record).expect("our messages have an envelope");
    let body = match &record.value {
        Some(value) => M::decode(codec, &envelope.type_name, value).expect("our messages can be decoded"),
        None => M::tombstone(),
    };
    let body = body.unwrap_or_else(|| panic!("{} belongs to this topic", envelope.type_name));
    Received::new(envelope, body, record.partition.clone(), record.offset)
}

fn place_of(parked: &Parked) -> (String, Uuid, i64) {
    (parked.record.partition.topic.clone(), parked.key, parked.sequence)
}

fn command_of(reply: &Reply) -> Uuid {
    match reply {
        Reply::CommandAccepted(reply) => reply.command_id,
        Reply::CommandRejected(reply) => reply.command_id,
        Reply::CommandFailed(reply) => reply.command_id,
    }
}
