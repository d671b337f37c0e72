//! A service without Kafka: its real handlers, the real pipeline and a real store, with records from memory.

mod lanes;
mod log;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use contracts::replies::Reply;
use contracts::{Codec, Kind, Message, Registry, Topic, topics};
use messaging::kafka::Settings;
use messaging::ledger::{DeadLetter, Ledger, Parked};
use messaging::{Cause, Messaging, Metrics, Outgoing, Publisher, Received, Record, Released, Subscriptions, header};
use uuid::Uuid;

use self::lanes::Lanes;
use self::log::Log;
use crate::inside::Inside;

/// Time limit of one batch. A partition that waits longer fails the test.
const DEADLINE: Duration = Duration::from_secs(20);

/// One process of a service, and the log that it reads.
///
/// Dropping it fails the test if a record was parked or dead-lettered and the test did not read it with
/// [`parked`](Self::parked) or [`dead_letters`](Self::dead_letters).
pub struct Bench<L: Ledger> {
    service: &'static str,
    settings: Settings,
    schemas: Schemas,
    ledger: L,
    inside: Arc<dyn Inside>,
    subscriptions: Arc<Subscriptions<L>>,
    connected: RwLock<Arc<Messaging<L>>>,
    lanes: Mutex<Lanes<L>>,
    log: Arc<Log>,
    left_over: Mutex<LeftOver>,
    /// Metrics of this process. They survive a [`restart`](Self::restart).
    metrics: (prometheus::Registry, Metrics),
}

/// Source of a process's codec. Each process has its own codec, because a new process has no schemas in memory.
#[derive(Clone)]
struct Schemas {
    codec: fn() -> Codec,
    registry: Option<Registry>,
}

/// Parked and dead-lettered records in the store, and those that the test has read.
#[derive(Default)]
struct LeftOver {
    parked: BTreeSet<(String, Uuid, i64)>,
    dead: BTreeSet<(Uuid, String)>,
    read_parked: BTreeSet<(String, Uuid, i64)>,
    read_dead: BTreeSet<Uuid>,
}

impl<L: Ledger> Bench<L> {
    /// Creates a process of `service` on the test's store. `inside` reads the same store.
    pub fn new(service: &'static str, ledger: L, inside: impl Inside, subscriptions: Subscriptions<L>) -> Self {
        let mut settings = Settings::new("nowhere.invalid:9092");
        settings.topic_prefix = "bench.".to_owned();
        Self::with_settings(service, settings, ledger, inside, subscriptions)
    }

    /// Creates a process with other settings, for example a short inbox retention.
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
            lanes: Mutex::default(),
            log: Arc::default(),
            left_over: Mutex::default(),
        }
    }

    /// Creates another process of the service on the same log. It has not read any record.
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
            lanes: Mutex::default(),
            log: Arc::clone(&self.log),
            left_over: Mutex::default(),
        }
    }

    /// Sets the number of partitions, which is one by default.
    pub fn partitions(self, count: i32) -> Self {
        self.log.set_partitions(count);
        self
    }

    /// Fetches unknown schemas from a registry. The ids of `codec` must differ from those of the registry.
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

    /// Returns the sum of this process's counters with that name, over all labels; 0 if nothing was counted.
    pub fn counted(&self, name: &str) -> f64 {
        let families = self.metrics.0.gather();
        let series = families.iter().filter(|family| family.name() == name);
        let counters = series.flat_map(|family| family.get_metric());
        counters.map(|metric| metric.get_counter().get_value()).sum()
    }

    /// Returns a topic's name with the bench's prefix.
    pub fn topic_name(&self, topic: &Topic) -> String {
        topic.full_name(&self.settings.topic_prefix)
    }

    fn connected(&self) -> Arc<Messaging<L>> {
        Arc::clone(&self.connected.read().unwrap_or_else(PoisonError::into_inner))
    }

    // Delivery.

    /// Appends a message to the log, and lets its partition's lane apply all new records. Returns the message's `ce_id`.
    ///
    /// A command without a reply topic gets the gateway's. A domain event or state message without a sequence gets the
    /// next one of its key.
    pub async fn deliver<M: Message>(&self, message: Outgoing<M>) -> Uuid {
        let id = message.id;
        self.deliver_all([message]).await;
        id
    }

    /// Delivers several messages, in one batch per partition.
    pub async fn deliver_all<M: Message>(&self, messages: impl IntoIterator<Item = Outgoing<M>>) {
        let records = messages.into_iter().map(|message| self.record(message)).collect();
        self.deliver_records(records).await;
    }

    /// Delivers raw records, for example those of third-party producers.
    pub async fn deliver_records(&self, records: Vec<Record>) {
        self.append_records(records);
        self.catch_up().await;
    }

    /// Delivers the last records again at new offsets, as after a producer's retry.
    pub async fn deliver_again(&self) {
        self.log.append_last_again();
        self.catch_up().await;
    }

    /// Delivers a command and returns its reply.
    pub async fn request<M: Message>(&self, command: Outgoing<M>) -> Reply {
        let id = self.deliver(command).await;
        self.reply(id).await
    }

    /// Appends a message to the log without delivering it.
    pub fn append<M: Message>(&self, message: Outgoing<M>) -> Uuid {
        let id = message.id;
        self.append_records(vec![self.record(message)]);
        id
    }

    /// Appends raw records to the log without delivering them.
    pub fn append_records(&self, records: Vec<Record>) {
        self.log.append_new(records);
    }

    /// Replaces the process by a new one, as after a crash: everything in memory is lost.
    pub fn restart(&self) {
        let metrics = &self.metrics.1;
        let connected = connect(self.service, &self.settings, &self.schemas, &self.ledger, metrics);
        let connected = Arc::new(connected);
        *self.connected.write().unwrap_or_else(PoisonError::into_inner) = connected;
        self.lock(&self.lanes).clear();
    }

    /// Delivers the messages that the service publishes to itself, until there are none. Delayed messages stay.
    pub async fn settle(&self) {
        loop {
            self.collect().await;
            let records = self.subscribed(self.log.take_unsettled());
            if records.is_empty() {
                return;
            }
            self.log.append(records);
            self.catch_up().await;
        }
    }

    /// Makes every delayed message due now, in order, and [settles](Self::settle).
    pub async fn deliver_delayed(&self) {
        let due = self.inside.take_delayed().await;
        let records = due.into_iter().map(|message| self.log.to_record(message)).collect();
        self.log.publish(records);
        self.settle().await;
    }

    fn subscribed(&self, mut records: Vec<Record>) -> Vec<Record> {
        records.retain(|record| {
            let mut topics = self.subscriptions.topics();
            topics.any(|topic| self.topic_name(topic) == record.partition.topic)
        });
        records
    }

    /// Releases a key that is parked behind a poison message.
    pub async fn release(&self, topic: &'static Topic, key: Uuid) -> Released {
        let partition = self.log.partition_of(key);
        let released = self
            .connected()
            .release(&self.subscriptions, topic, partition, key)
            .await;
        self.check_left_over().await;
        released.expect("the key is released")
    }

    // Framing.

    /// Returns the record of a message, without appending it to the log.
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
        self.log.to_record(framed)
    }

    /// Returns the record that deletes the state of the message's key.
    pub fn tombstone<M: Message>(&self, newest: Outgoing<M>) -> Record {
        Record {
            value: None,
            ..self.record(newest)
        }
    }

    // Results.

    /// Returns the messages of one type that were published since the last call, in order.
    pub async fn published<M: Message>(&self) -> Vec<M> {
        self.published_with_envelopes::<M>()
            .await
            .into_iter()
            .map(|message| message.body)
            .collect()
    }

    /// Returns the messages of one type that were published since the last call, with their envelopes.
    pub async fn published_with_envelopes<M: Message>(&self) -> Vec<Received<M>> {
        self.collect().await;
        let records = self.log.take_unread(&self.topic_name(M::TOPIC));
        records.into_iter().map(|record| self.decode(&record)).collect()
    }

    /// Returns the delayed messages that are not due yet, in the order of their due times.
    pub async fn delayed<M: Message>(&self) -> Vec<Received<M>> {
        let topic = self.topic_name(M::TOPIC);
        let delayed = self.inside.delayed().await.into_iter();
        delayed
            .filter(|message| message.topic == topic)
            .map(|message| self.decode(&self.log.to_record(message)))
            .collect()
    }

    /// Returns the replies to one command so far.
    pub async fn replies(&self, command: Uuid) -> Vec<Reply> {
        self.collect().await;
        let records = self.log.published(&self.topic_name(&topics::GATEWAY_REPLIES));
        let replies = records.iter().map(|record| self.decode::<Reply>(record).body);
        replies.filter(|reply| command_of(reply) == command).collect()
    }

    /// Returns the only reply to a command.
    pub async fn reply(&self, command: Uuid) -> Reply {
        let mut replies = self.replies(command).await;
        assert_eq!(replies.len(), 1, "expected one reply to {command}: {replies:?}");
        replies.remove(0)
    }

    /// Returns the parked records and marks them as read by the test.
    pub async fn parked(&self) -> Vec<Parked> {
        let parked = self.inside.parked_records().await;
        let mut left = self.lock(&self.left_over);
        left.parked = parked.iter().map(position_of).collect();
        left.read_parked = left.parked.clone();
        drop(left);
        parked
    }

    /// Returns the dead letters and marks them as read by the test.
    pub async fn dead_letters(&self) -> Vec<DeadLetter> {
        let dead_letters = self.inside.dead_letters().await;
        let read = dead_letters.iter().map(|dead_letter| dead_letter.id);
        self.lock(&self.left_over).read_dead.extend(read);
        dead_letters
    }

    /// Acts as relay and broker: takes the outbox rows, acknowledges them, and stores them as published records.
    async fn collect(&self) {
        const ALL: i64 = 1_000_000;
        let owner = self.publisher().owner();
        let readable = "the outbox can be read";
        // Adopts rows of earlier processes too, because no process of a bench has a lease.
        self.ledger.adopt(owner, ALL).await.expect(readable);
        let rows = self.ledger.sweep(owner, Duration::ZERO, ALL).await.expect(readable);
        let ids: Vec<_> = rows.iter().map(|row| (row.id, row.owner)).collect();
        if ids.is_empty() {
            return;
        }
        self.ledger.acknowledge(&ids, &[]).await.expect(readable);
        let records = rows.into_iter().map(|row| self.log.to_record(row.message)).collect();
        self.log.publish(records);
    }

    fn decode<M: Message>(&self, record: &Record) -> Received<M> {
        decode(&self.codec(), record)
    }

    async fn check_left_over(&self) {
        let parked = self.inside.parked_records().await.iter().map(position_of).collect();
        let dead = self.inside.dead_letters().await.into_iter();
        let dead = dead.map(|dead_letter| {
            (
                dead_letter.id,
                format!("{:?}: {}", dead_letter.reason, dead_letter.detail),
            )
        });
        let mut left = self.lock(&self.left_over);
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
        let left = self.lock(&self.left_over);
        let parked: Vec<_> = left.parked.difference(&left.read_parked).collect();
        let dead: Vec<_> = left
            .dead
            .iter()
            .filter(|(id, _)| !left.read_dead.contains(id))
            .collect();
        assert!(
            parked.is_empty() && dead.is_empty(),
            "the test has not read these: parked {parked:?}, dead letters {dead:?}"
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
) -> Messaging<L> {
    let (codec, registry) = ((schemas.codec)(), schemas.registry.clone());
    Messaging::with_codec(
        service,
        settings.clone(),
        ledger.clone(),
        metrics.clone(),
        codec,
        registry,
    )
}

/// Decodes a message as its consumer does.
pub(crate) fn decode<M: Message>(codec: &Codec, record: &Record) -> Received<M> {
    let envelope = messaging::Envelope::of(record).expect("the record has an envelope");
    let body = match &record.value {
        Some(value) => M::decode(codec, &envelope.type_name, value).expect("the message can be decoded"),
        None => M::tombstone(),
    };
    let body = body.unwrap_or_else(|| panic!("{} belongs to this topic", envelope.type_name));
    Received::new(envelope, body, record.partition.clone(), record.offset)
}

fn position_of(parked: &Parked) -> (String, Uuid, i64) {
    (parked.record.partition.topic.clone(), parked.key, parked.sequence)
}

fn command_of(reply: &Reply) -> Uuid {
    match reply {
        Reply::CommandAccepted(reply) => reply.command_id,
        Reply::CommandRejected(reply) => reply.command_id,
        Reply::CommandFailed(reply) => reply.command_id,
    }
}
