//! Watches the dependencies of a process: whether its store and Kafka respond, and whether its partitions advance.
//!
//! Kafka is probed through the clients that do the work, because a separate client may be connected while they are not.
//! The schema registry is not a part of readiness, because a process that has run before does not need it.

mod stalls;

use std::sync::Arc;
use std::time::Duration;

use chassis::Health;
use chassis::error_chain;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::stalls::{Stall, Stalls};
use crate::consuming::consumer::Consumer;
use crate::consuming::lane::queue::PartitionLag;
use crate::kafka::Settings;
use crate::kafka::client::{Probe as _, Watched};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::runtime::Runtime;

/// Names of the clients in `/ready`, logs and metrics.
const CONSUMER: &str = "kafka consumer";
const PRODUCER: &str = "kafka producer";

const EVERY: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(2);
/// A client that has had no broker for this long is replaced if Kafka responds to a new client. Longer than a leader
/// election and than one timeout of a probe.
const REPLACE_AFTER: Duration = Duration::from_secs(4);
/// Each replacement that does not help doubles the wait for the next one, up to this.
const MAX_REPLACE_AFTER: Duration = Duration::from_secs(60);

/// Watches one process.
pub(crate) struct Watch<L: Ledger> {
    pub(crate) runtime: Arc<Runtime<L>>,
    pub(crate) settings: Settings,
    pub(crate) health: Health,
    pub(crate) consumer: Consumer<L>,
    /// The client of the relay.
    pub(crate) producer: Arc<dyn Watched>,
}

impl<L: Ledger> Watch<L> {
    /// Watches until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let watched = async {
            tokio::join!(
                self.watch_store(),
                self.watch_client(CONSUMER, self.consumer.client()),
                self.watch_client(PRODUCER, Arc::clone(&self.producer)),
                self.watch_progress(),
            )
        };
        tokio::select! {
            () = stop.cancelled() => {}
            _ = watched => {}
        }
    }

    fn metrics(&self) -> &Metrics {
        &self.runtime.metrics
    }

    async fn watch_store(&self) {
        let store = self.health.check("store");
        loop {
            match tokio::time::timeout(TIMEOUT, self.runtime.ledger.ping()).await {
                Ok(Ok(())) => store.up(),
                Ok(Err(error)) => store.down(error_chain(&error)),
                Err(_) => store.down(format!("the store did not respond within {TIMEOUT:?}")),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Probes a client, and requests its replacement when it has had no broker for too long although Kafka responds.
    async fn watch_client(&self, name: &'static str, client: Arc<dyn Watched>) {
        let check = self.health.check(name);
        let mut up_at = Instant::now();
        let mut replace_after = REPLACE_AFTER;
        loop {
            let generation = client.generation();
            match self.probe(Arc::clone(&client)).await {
                Ok(()) => {
                    check.up();
                    up_at = Instant::now();
                    replace_after = REPLACE_AFTER;
                }
                Err(error) => {
                    check.down(error);
                    if up_at.elapsed() >= replace_after && self.kafka_responds().await {
                        tracing::error!(client = name, without_broker = ?up_at.elapsed(),
                            "the client cannot reach any broker although Kafka responds to a new client; replacing it");
                        self.replace(name, &*client, generation);
                        up_at = Instant::now();
                        replace_after = (replace_after * 2).min(MAX_REPLACE_AFTER);
                    }
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    fn replace(&self, name: &str, client: &dyn Watched, generation: u64) {
        self.metrics().client_replacements.with_label_values(&[name]).inc();
        client.request_replacement(generation);
    }

    async fn probe(&self, client: Arc<dyn Watched>) -> Result<(), String> {
        let topic = self.settings.probed_topic();
        blocking(move || client.probe(&topic, TIMEOUT)).await
    }

    async fn kafka_responds(&self) -> bool {
        let (settings, topic) = (self.settings.clone(), self.settings.probed_topic());
        let probed = blocking(move || {
            let client: BaseConsumer = settings.client().create()?;
            client.probe(&topic, TIMEOUT)
        });
        probed.await.is_ok()
    }

    /// Raises an alert when a partition has a lag and does not advance. If its worker holds nothing, nothing is
    /// fetched, and the consumer's client is replaced, which assigns every partition again.
    async fn watch_progress(&self) {
        let client = self.consumer.client();
        let mut stalls = Stalls::new(self.settings.stall_alarm);
        let mut ends_are_known = true;
        loop {
            let generation = client.generation();
            let consumer = self.consumer.clone();
            let ends = blocking(move || consumer.query_ends(TIMEOUT)).await;
            if let (Err(error), true) = (&ends, ends_are_known) {
                tracing::warn!(
                    error,
                    "Kafka does not report the ends of the partitions; their lag is out of date"
                );
            }
            ends_are_known = ends.is_ok();
            let busy_limit = |lag: &PartitionLag| self.runtime.transaction_limit(&lag.partition.topic);
            let mut nothing_is_fetched = false;
            for Stall { lag, since } in stalls.observe(Instant::now(), &self.consumer.lags(), busy_limit) {
                let settings = self.settings.clone();
                let stalled = lag.clone();
                let fetched = if lag.is_idle {
                    blocking(move || has_record(&settings, &stalled)).await
                } else {
                    Ok(false)
                };
                if lag.is_idle && fetched == Ok(false) {
                    stalls.dismiss(&lag);
                    continue;
                }
                tracing::error!(partition = %lag.partition, position = lag.position, lag = lag.lag, idle = lag.is_idle,
                    stalled_for = ?since.elapsed(), "the partition has a lag and does not advance");
                nothing_is_fetched |= fetched == Ok(true);
            }
            if nothing_is_fetched {
                tracing::error!("the consumer fetches nothing although a new client does; replacing its client");
                self.replace(CONSUMER, &*client, generation);
            }
            self.metrics().stalled_partitions.set(stalls.alarmed());
            tokio::time::sleep(EVERY).await;
        }
    }
}

/// Reads with a new client. Returns `false` if there is no record between the position and the end of the partition:
/// compaction may have deleted it.
fn has_record(settings: &Settings, lag: &PartitionLag) -> Result<bool, KafkaError> {
    let consumer: BaseConsumer = settings.reader().create()?;
    let mut list = TopicPartitionList::new();
    let from = Offset::Offset(lag.position);
    list.add_partition_offset(&lag.partition.topic, lag.partition.partition, from)?;
    consumer.assign(&list)?;
    match consumer.poll(TIMEOUT * 2) {
        Some(Ok(_)) => Ok(true),
        Some(Err(KafkaError::PartitionEOF(_))) => Ok(false),
        Some(Err(error)) => Err(error),
        None => Err(KafkaError::Canceled),
    }
}

/// Runs a call that blocks. Its error is returned as text.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
