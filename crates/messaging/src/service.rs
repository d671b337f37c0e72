//! Puts a service's messaging together: boot checks, publisher, relay, consumer, operations.

use std::sync::Arc;
use std::time::Duration;

use chassis::Health;
use chassis::error_chain;
use contracts::{Codec, Registry, Topic};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::boot;
use crate::consuming::consumer::Consumer;
use crate::consuming::pipeline::Released;
use crate::consuming::release;
use crate::consuming::subscriptions::Subscriptions;
use crate::consuming::worker::PartitionWorker;
use crate::kafka::Settings;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::ops::Ops;
use crate::ops::status::Reporter;
use crate::publishing::publisher::{Handed, Publisher};
use crate::publishing::relay;
use crate::publishing::relay::Relay;
use crate::runtime::Runtime;
use crate::watch::Watch;
use crate::wire::record::TopicPartition;

const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(60 * 60);

/// Which process this is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The service's name: consumer group and `ce_source`.
    pub service: &'static str,
    /// New at every start.
    pub instance: Uuid,
    pub version: &'static str,
}

/// A process that can say messages, and has not begun to listen.
pub struct Connected<L: Ledger> {
    identity: Identity,
    settings: Settings,
    runtime: Arc<Runtime<L>>,
    handed: Handed<L>,
}

/// The parts of a listening process, each to be run as a task.
pub struct Parts<L: Ledger> {
    relay: Relay<L>,
    listening: Listening<L>,
}

impl<L: Ledger> Connected<L> {
    /// Gets the schema ids: from the registry, or where it is down from the service's own store.
    pub async fn connect(
        identity: Identity,
        settings: Settings,
        registry_url: &str,
        ledger: L,
        metrics: Metrics,
    ) -> Result<Self, boot::Error> {
        let registry = Registry::new(registry_url);
        let codec = boot::codec(&registry, registry_url, &ledger).await?;
        Ok(Self::with_codec(
            identity,
            settings,
            ledger,
            metrics,
            codec,
            Some(registry),
        ))
    }

    /// Without a registry: for tests and benchmarks, which bring their codec.
    pub fn with_codec(
        identity: Identity,
        settings: Settings,
        ledger: L,
        metrics: Metrics,
        codec: Codec,
        registry: Option<Registry>,
    ) -> Self {
        let (publisher, handed) = Publisher::new(identity.service, &settings.topic_prefix, codec);
        let runtime = Arc::new(Runtime {
            service: identity.service,
            ledger,
            publisher,
            metrics,
            registry,
            settings: settings.clone(),
        });
        Self {
            identity,
            settings,
            runtime,
            handed,
        }
    }

    /// The door to the outbox.
    pub fn publisher(&self) -> &Publisher<L> {
        &self.runtime.publisher
    }

    /// Checks every rule that the promise needs, then puts the parts together. `ops.commands` is added to
    /// what the service listens to; the process's `health` learns whether the store and Kafka answer.
    pub async fn listen(self, subscriptions: Subscriptions<L>, health: Health) -> Result<Parts<L>, boot::Error> {
        let topics: Vec<&'static Topic> = subscriptions.topics().collect();
        boot::check(&self.settings, &self.runtime.ledger, &topics).await?;
        self.runtime
            .ledger
            .housekeeping(self.settings.inbox_retention)
            .await
            .map_err(boot::Error::Store)?;
        self.unchecked(subscriptions, health).map_err(boot::Error::Relay)
    }

    /// Without the boot checks: for tests, whose broker has fewer partitions than the table says.
    pub fn unchecked(self, subscriptions: Subscriptions<L>, health: Health) -> Result<Parts<L>, relay::Error> {
        let runtime = self.runtime;
        let metrics = runtime.metrics.clone();
        let ledger = runtime.ledger.clone();
        let subscriptions = Ops::subscribe(&subscriptions, &runtime);
        let consumer = Consumer::new(Arc::clone(&runtime), self.settings.clone(), Arc::new(subscriptions));
        let relay = Relay::new(ledger, self.settings.clone(), metrics, self.handed)?;
        let reporter = Reporter::new(
            Arc::clone(&runtime),
            consumer.clone(),
            &self.identity,
            health.clone(),
            self.settings.gap_alarm,
        );
        let watch = Watch {
            runtime,
            settings: self.settings,
            health,
            consumer: consumer.clone(),
            producer: relay.client(),
        };
        let listening = Listening {
            consumer,
            reporter,
            watch,
        };
        Ok(Parts { relay, listening })
    }

    /// The worker of one partition, without Kafka: what tests and benchmarks feed records to. It reads its
    /// stored position as on assignment. `ops.commands` is among what the service listens to.
    pub async fn worker(
        &self,
        subscriptions: &Subscriptions<L>,
        topic: &'static Topic,
        partition: i32,
    ) -> Result<Box<dyn PartitionWorker>, crate::ledger::StoreError> {
        let partition = TopicPartition::new(self.runtime.publisher.topic_name(topic), partition);
        let subscriptions = Ops::subscribe(subscriptions, &self.runtime);
        let subscription = subscriptions
            .find(topic.name)
            .expect("the service listens to this topic");
        let positions = self.runtime.ledger.positions(std::slice::from_ref(&partition)).await?;
        let position = positions.get(&partition).copied();
        Ok(subscription.worker(Arc::clone(&self.runtime), partition, position))
    }

    /// Releases a parked key, without Kafka: what `ReleaseKey` does.
    pub async fn release(
        &self,
        subscriptions: &Subscriptions<L>,
        topic: &'static Topic,
        partition: i32,
        key: Uuid,
    ) -> Result<Released, release::Error> {
        let partition = TopicPartition::new(self.runtime.publisher.topic_name(topic), partition);
        let subscription = subscriptions
            .find(topic.name)
            .expect("the service listens to this topic");
        let release = subscription.release.as_ref().expect("this topic parks");
        release(Arc::clone(&self.runtime), partition, key).await
    }

    /// The relay alone: for tests and benchmarks.
    pub fn into_relay(self) -> Result<Relay<L>, relay::Error> {
        Relay::new(
            self.runtime.ledger.clone(),
            self.settings,
            self.runtime.metrics.clone(),
            self.handed,
        )
    }
}

impl<L: Ledger> Parts<L> {
    /// An output: drained last.
    pub fn relay(self) -> (Relay<L>, Listening<L>) {
        (self.relay, self.listening)
    }
}

/// The inputs of a process: its consumer, its status reports, its housekeeping and a look at what it depends on.
pub struct Listening<L: Ledger> {
    consumer: Consumer<L>,
    reporter: Reporter<L>,
    watch: Watch<L>,
}

impl<L: Ledger> Listening<L> {
    /// Shows the partitions and their lag while [`run`](Self::run) works.
    pub fn consumer(&self) -> Consumer<L> {
        self.consumer.clone()
    }

    /// Consumes until `stop`.
    pub async fn run(self, stop: CancellationToken) -> Result<(), crate::consuming::consumer::Error> {
        // The rest ends with the consumer, also where that fails: else nobody would hear of it.
        let end = stop.child_token();
        let reports = self.reporter.run(end.clone());
        let ledger = self.watch.runtime.ledger.clone();
        let housekeeping = housekeeping(ledger, self.watch.settings.inbox_retention, end.clone());
        let watch = self.watch.run(end.clone());
        let consume = async {
            let consumed = self.consumer.run(stop).await;
            end.cancel();
            consumed
        };
        let (consumed, (), (), ()) = tokio::join!(consume, reports, housekeeping, watch);
        consumed
    }
}

async fn housekeeping<L: Ledger>(ledger: L, retention: Duration, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(HOUSEKEEPING_EVERY) => {}
        }
        let done = tokio::select! {
            () = stop.cancelled() => return,
            done = ledger.housekeeping(retention) => done,
        };
        if let Err(error) = done {
            tracing::warn!(
                error = error_chain(&error),
                "housekeeping failed; it is tried again in an hour"
            );
        }
    }
}
