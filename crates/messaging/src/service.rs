//! The messaging of one process: connects it, checks its boot rules, and spawns its tasks.

use std::sync::Arc;
use std::time::Duration;

use chassis::{Health, Process, error_chain};
use contracts::{Codec, Registry, Timestamp, Topic, topics};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::boot;
use crate::consuming::consumer::{self, Consumer};
use crate::consuming::lane::Lane;
use crate::consuming::lane::queue::Queue;
#[cfg(feature = "testing")]
use crate::consuming::release;
use crate::consuming::subscriptions::Subscriptions;
use crate::kafka;
#[cfg(feature = "testing")]
use crate::ledger::TopicKey;
use crate::ledger::{Ledger, StoreError};
use crate::metrics::Metrics;
use crate::ops::Ops;
use crate::ops::status::Reporter;
use crate::publishing::publisher::{Publisher, RelayInput};
use crate::publishing::relay::{self, Relay};
use crate::runtime::Runtime;
use crate::settings::Settings;
use crate::watch::Watch;
use crate::wire::record::TopicPartition;

const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(60 * 60);
/// Maximum time of the housekeeping at boot. After a long downtime it has much to delete, and continues an hour later.
const HOUSEKEEPING_AT_BOOT: Duration = Duration::from_secs(10);
/// Age after which the progress of a process on `ops.status` is deleted. A running process reports every few seconds.
const STATUS_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The messaging of one process. It can append messages to the outbox immediately; it consumes and publishes after
/// [`spawn`](Self::spawn).
///
/// ```no_run
/// # use messaging::{Ledger, Messaging, Subscriptions};
/// # async fn run<L: Ledger>(process: chassis::Process, settings: messaging::Settings, ledger: L) -> Result<(), messaging::BootError> {
/// let messaging = Messaging::connect(&process, settings, ledger).await?;
/// messaging.spawn(&process, Subscriptions::new()).await
/// # }
/// ```
pub struct Messaging<L: Ledger> {
    settings: kafka::Settings,
    runtime: Arc<Runtime<L>>,
    handed: RelayInput<L>,
}

impl<L: Ledger> Messaging<L> {
    /// Registers the metrics, and gets the schema ids from the registry. If the registry is not available, the ids that an
    /// earlier run stored in the service's own store are used.
    ///
    /// # Errors
    /// Returns an error if the metrics are registered already, if the store is unreachable, or if the schemas are
    /// unknown or differ from those of the registry.
    pub async fn connect(process: &Process, settings: Settings, ledger: L) -> Result<Self, boot::Error> {
        let metrics = Metrics::register(process.metrics()).map_err(boot::Error::Metrics)?;
        let registry_url = settings.registry.as_str();
        let registry = Registry::new(registry_url);
        let codec = boot::codec(&registry, registry_url, &ledger).await?;
        Ok(Self::with_codec(
            process.name(),
            settings.kafka,
            ledger,
            metrics,
            codec,
            Some(registry),
        ))
    }

    /// Uses a codec that already knows its schema ids, and contacts neither Kafka nor the store. For rebuilds of read
    /// models, tests and benchmarks.
    ///
    /// Without a `registry`, a record whose schema the codec does not know cannot be decoded.
    pub fn with_codec(
        service: &'static str,
        settings: kafka::Settings,
        ledger: L,
        metrics: Metrics,
        codec: Codec,
        registry: Option<Registry>,
    ) -> Self {
        let (publisher, handed) = Publisher::new(service, &settings.topic_prefix, codec);
        let runtime = Arc::new(Runtime {
            service,
            ledger,
            publisher,
            metrics,
            registry,
            settings: settings.clone(),
        });
        Self {
            settings,
            runtime,
            handed,
        }
    }

    /// Returns the API of the outbox.
    pub fn publisher(&self) -> &Publisher<L> {
        &self.runtime.publisher
    }

    /// Checks every boot rule, then spawns the tasks of the process: the consumer as an input, the relay as an output.
    ///
    /// The relay drains after all inputs, so it publishes what they committed last. `ops.commands` is added to the
    /// subscriptions. `/ready` shows from now on whether the store and Kafka respond.
    ///
    /// # Errors
    /// Returns an error if a boot rule is violated, if Kafka or the store is unreachable, or if the Kafka producer
    /// cannot be created. Nothing is spawned then.
    pub async fn spawn(self, process: &Process, subscriptions: Subscriptions<L>) -> Result<(), boot::Error> {
        let topics: Vec<&'static Topic> = subscriptions.topics().collect();
        boot::check(&self.settings, &self.runtime.ledger, &topics).await?;
        let cleaned = tokio::time::timeout(HOUSEKEEPING_AT_BOOT, clean(&self.runtime.ledger, &self.settings)).await;
        match cleaned {
            Ok(result) => result.map_err(boot::Error::Store)?,
            Err(_) => tracing::warn!("the housekeeping of the store takes long; it continues in an hour"),
        }
        let (relay, inputs) = self
            .tasks(subscriptions, process.health(), process.instance(), process.version())
            .map_err(boot::Error::Relay)?;
        let (stop_inputs, stop_outputs) = (process.inputs_token(), process.outputs_token());
        process.spawn_output("relay", async move { Ok(relay.run(stop_outputs).await?) });
        process.spawn_input("consumer", async move { Ok(inputs.run(stop_inputs).await?) });
        Ok(())
    }

    fn tasks(
        self,
        subscriptions: Subscriptions<L>,
        health: Health,
        instance: Uuid,
        version: &'static str,
    ) -> Result<(Relay<L>, Inputs<L>), relay::Error> {
        let runtime = self.runtime;
        let metrics = runtime.metrics.clone();
        let ledger = runtime.ledger.clone();
        let subscriptions = Ops::subscribe(&subscriptions, &runtime);
        let consumer = Consumer::new(Arc::clone(&runtime), self.settings.clone(), Arc::new(subscriptions));
        let relay = Relay::new(ledger, self.settings.clone(), metrics, self.handed)?;
        let reporter = Reporter::new(
            Arc::clone(&runtime),
            consumer.clone(),
            instance,
            version,
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
        let inputs = Inputs {
            consumer,
            reporter,
            watch,
        };
        Ok((relay, inputs))
    }

    /// Creates a lane that owns these partitions, without Kafka: the caller passes the records to it. It reads the stored
    /// positions as on assignment. For rebuilds of read models, tests and benchmarks.
    ///
    /// # Errors
    /// Returns an error if the stored positions cannot be read.
    ///
    /// # Panics
    /// The lane panics at its first record if the service does not consume a topic. `ops.commands` is among the topics
    /// that it consumes.
    pub async fn lane(
        &self,
        subscriptions: &Subscriptions<L>,
        partitions: &[(&'static Topic, i32)],
    ) -> Result<Lane<L>, StoreError> {
        let subscriptions = Arc::new(Ops::subscribe(subscriptions, &self.runtime));
        let partitions: Vec<_> = partitions
            .iter()
            .map(|(topic, partition)| TopicPartition::new(self.runtime.publisher.topic_name(topic), *partition))
            .collect();
        let positions = self.runtime.ledger.positions(&partitions).await?;
        let queue = Arc::new(Queue::new(self.settings.partition_queue));
        for partition in partitions {
            let position = positions.get(&partition).copied();
            queue.assign(partition, position, position.unwrap_or(0), 0);
        }
        Ok(Lane::new(
            Arc::clone(&self.runtime),
            subscriptions,
            queue,
            Duration::ZERO,
        ))
    }
}

/// Parts of a process that only tests and benchmarks run separately.
#[cfg(feature = "testing")]
impl<L: Ledger> Messaging<L> {
    /// Returns the tasks without checking the boot rules, because a test's broker has fewer partitions than the topic
    /// table declares.
    ///
    /// # Errors
    /// Returns an error if the Kafka producer cannot be created.
    pub fn unchecked(
        self,
        subscriptions: Subscriptions<L>,
        health: Health,
    ) -> Result<(Relay<L>, Inputs<L>), relay::Error> {
        self.tasks(subscriptions, health, Uuid::now_v7(), "test")
    }

    /// Returns the codec with which [`connect`](Self::connect) starts a process.
    ///
    /// # Errors
    /// Returns the errors of [`connect`](Self::connect) that concern the store and the schemas.
    pub async fn codec_at_boot(registry_url: &str, ledger: &L) -> Result<Codec, boot::Error> {
        boot::codec(&Registry::new(registry_url), registry_url, ledger).await
    }

    /// Returns the relay alone.
    ///
    /// # Errors
    /// Returns an error if the Kafka producer cannot be created.
    pub fn into_relay(self) -> Result<Relay<L>, relay::Error> {
        Relay::new(
            self.runtime.ledger.clone(),
            self.settings,
            self.runtime.metrics.clone(),
            self.handed,
        )
    }

    /// Releases a parked key, as `ReleaseKey` does, but without Kafka.
    ///
    /// # Errors
    /// Returns an error if the key could not be released. Nothing has changed then.
    ///
    /// # Panics
    /// Panics if the service does not handle the messages of the topic.
    pub async fn release(
        &self,
        subscriptions: &Subscriptions<L>,
        topic: &'static Topic,
        partition: i32,
        key: Uuid,
    ) -> Result<crate::Released, release::Error> {
        let partition = TopicPartition::new(self.runtime.publisher.topic_name(topic), partition);
        let subscription = subscriptions.find(topic.name).expect("the service consumes this topic");
        let key = TopicKey::new(partition.topic.as_str(), key);
        release::run(&self.runtime, subscription, &partition, &key).await
    }
}

/// The inputs of a process: its consumer, its status reports, its housekeeping, and the watch over its dependencies.
pub struct Inputs<L: Ledger> {
    consumer: Consumer<L>,
    reporter: Reporter<L>,
    watch: Watch<L>,
}

impl<L: Ledger> Inputs<L> {
    /// Returns a handle that shows the partitions and their lag while [`run`](Self::run) works.
    #[cfg(feature = "testing")]
    pub fn consumer(&self) -> Consumer<L> {
        self.consumer.clone()
    }

    /// Consumes until `stop`.
    ///
    /// # Errors
    /// Returns an error if the consumer failed.
    pub async fn run(self, stop: CancellationToken) -> Result<(), consumer::Error> {
        // The other tasks end with the consumer even if it fails, because otherwise its error would not be returned.
        let end = stop.child_token();
        let reports = self.reporter.run(end.clone());
        let ledger = self.watch.runtime.ledger.clone();
        let housekeeping = housekeeping(ledger, self.watch.settings.clone(), end.clone());
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

/// Deletes what the store no longer needs.
async fn clean<L: Ledger>(ledger: &L, settings: &kafka::Settings) -> Result<(), StoreError> {
    ledger.housekeeping(settings.inbox_retention).await?;
    // The version of a status is its time.
    let oldest = Timestamp::now() - STATUS_RETENTION;
    let topic = topics::OPS_STATUS.full_name(&settings.topic_prefix);
    ledger.forget_states(&topic, oldest.as_micros()).await
}

async fn housekeeping<L: Ledger>(ledger: L, settings: kafka::Settings, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(HOUSEKEEPING_EVERY) => {}
        }
        let done = tokio::select! {
            () = stop.cancelled() => return,
            done = clean(&ledger, &settings) => done,
        };
        if let Err(error) = done {
            tracing::warn!(
                error = error_chain(&error),
                "housekeeping of the store failed; retrying in an hour"
            );
        }
    }
}
