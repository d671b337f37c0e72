//! A complete process of the suite's service, on the real broker.

use std::sync::Arc;
use std::time::Duration;

use contracts::{Codec, Message};
use messaging::kafka::Settings;
use messaging::{
    Cause, Consumer, ConsumerError, Messaging, Metrics, Outgoing, Publisher, RelayError, Subscriptions, Unit,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::service::{Hooks, Service, Store, only_events, subscriptions};
use crate::eventually;
use crate::faulty::{Faults, FaultyLedger};

pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// A process: its relay and, unless it only publishes, its consumer. It ends immediately when it is dropped.
pub(super) struct Process<S: Store> {
    pub(super) faults: Faults,
    pub(super) hooks: Hooks,
    pub(super) publisher: Publisher<FaultyLedger<S::Ledger>>,
    pub(super) health: chassis::Health,
    ledger: FaultyLedger<S::Ledger>,
    metrics: prometheus::Registry,
    consumer: Option<Consumer<FaultyLedger<S::Ledger>>>,
    stop_inputs: CancellationToken,
    stop_outputs: CancellationToken,
    inputs: Option<JoinHandle<Result<(), ConsumerError>>>,
    relay: JoinHandle<Result<(), RelayError>>,
}

impl<S: Store> Process<S> {
    /// Starts a process that only publishes.
    pub(super) fn relay(store: &S, settings: Settings) -> Self {
        Self::start(store, settings, None, None)
    }

    /// Starts a process with all subscriptions of the suite's service.
    pub(super) fn whole(store: &S, settings: Settings) -> Self {
        Self::armed(store, settings, FaultyLedger::new(store.ledger()))
    }

    /// Like [`whole`](Self::whole), with a ledger whose faults are set already.
    pub(super) fn armed(store: &S, settings: Settings, ledger: FaultyLedger<S::Ledger>) -> Self {
        let hooks = Hooks::default();
        let subscriptions = subscriptions(store, &hooks);
        Self::start(store, settings, Some((subscriptions, hooks)), Some(ledger))
    }

    /// Like [`armed`](Self::armed), subscribed only to `events`.
    pub(super) fn on_events(store: &S, settings: Settings, ledger: FaultyLedger<S::Ledger>) -> Self {
        let hooks = Hooks::default();
        let subscriptions = only_events(store, &hooks);
        Self::start(store, settings, Some((subscriptions, hooks)), Some(ledger))
    }

    fn start(
        store: &S,
        settings: Settings,
        consume: Option<(Subscriptions<FaultyLedger<S::Ledger>>, Hooks)>,
        ledger: Option<FaultyLedger<S::Ledger>>,
    ) -> Self {
        let ledger = ledger.unwrap_or_else(|| FaultyLedger::new(store.ledger()));
        let registry = prometheus::Registry::new();
        let metrics = Metrics::register(&registry).expect("the registry is empty");
        let messaging = Messaging::with_codec("conformance", settings, ledger.clone(), metrics, Codec::local(), None);
        let publisher = messaging.publisher().clone();
        let health = chassis::Health::new();
        health.running();
        let (stop_inputs, stop_outputs) = (CancellationToken::new(), CancellationToken::new());
        let (relay, inputs, consumer, hooks) = match consume {
            None => {
                let relay = messaging.into_relay().expect("the Kafka producer can be created");
                (relay, None, None, Hooks::default())
            }
            Some((subscriptions, hooks)) => {
                let tasks = messaging.unchecked(subscriptions, health.clone());
                let (relay, inputs) = tasks.expect("the Kafka producer can be created");
                let consumer = inputs.consumer();
                let inputs = tokio::spawn(inputs.run(stop_inputs.clone()));
                (relay, Some(inputs), Some(consumer), hooks)
            }
        };
        Self {
            faults: ledger.faults().clone(),
            hooks,
            publisher,
            health,
            ledger,
            metrics: registry,
            consumer,
            relay: tokio::spawn(relay.run(stop_outputs.clone())),
            stop_inputs,
            stop_outputs,
            inputs,
        }
    }

    pub(super) fn ledger(&self) -> &FaultyLedger<S::Ledger> {
        &self.ledger
    }

    /// Publishes messages in a separate transaction.
    pub(super) async fn publish<M: Message>(&self, messages: impl IntoIterator<Item = Outgoing<M>>) {
        let cause = Cause::origin(Uuid::now_v7(), None, opentelemetry::Context::new());
        let mut unit = Unit::begin(&self.ledger, &self.publisher)
            .await
            .expect("a transaction begins");
        for message in messages {
            unit.publish(&cause, message).expect("the message can be appended");
        }
        unit.commit().await.expect("the transaction is committed");
    }

    /// Returns the sum of a metric over the series that have `label`; over all series if `label` is empty.
    pub(super) fn metric(&self, name: &str, label: &str) -> f64 {
        let families = self.metrics.gather();
        let series = families.iter().filter(|family| family.name() == name);
        let series = series.flat_map(|family| family.get_metric());
        let has_label = |metric: &&prometheus::proto::Metric| {
            label.is_empty() || metric.get_label().iter().any(|pair| pair.value() == label)
        };
        series
            .filter(has_label)
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum()
    }

    /// Waits until [`metric`](Self::metric) returns at least `value`.
    pub(super) async fn metric_reaches(&self, name: &str, label: &str, value: f64) {
        let condition = format!("{name} {label} reaches {value}");
        eventually(&condition, DEADLINE, || async {
            (self.metric(name, label) >= value).then_some(())
        })
        .await;
    }

    /// Waits until the process is ready.
    pub(super) async fn is_ready(&self) {
        eventually("the process is ready", DEADLINE, || async {
            self.health.is_ready().then_some(())
        })
        .await;
    }

    /// Waits until the process is not ready.
    pub(super) async fn is_not_ready(&self) {
        eventually("the process is not ready", DEADLINE, || async {
            (!self.health.is_ready()).then_some(())
        })
        .await;
    }

    /// Returns the stored positions of the partitions assigned to this process, sorted by topic and partition.
    pub(super) fn assigned(&self) -> Vec<(String, i32, i64)> {
        let lags = self.consumer.as_ref().expect("the process consumes").lags();
        let mut assigned: Vec<_> = lags
            .into_iter()
            .map(|lag| (lag.partition.topic, lag.partition.partition, lag.position))
            .collect();
        assigned.sort_unstable();
        assigned
    }

    /// Waits until the consumer ends by itself, and returns its result.
    pub(super) async fn listening_ends(&mut self) -> Result<(), ConsumerError> {
        let inputs = self.inputs.take().expect("the process consumes");
        let ended = tokio::time::timeout(DEADLINE, inputs).await;
        ended
            .expect("the consumer ends in time")
            .expect("the consumer does not panic")
    }

    /// Drains the process: first the inputs, then the relay.
    pub(super) async fn stop(mut self) {
        self.stop_inputs.cancel();
        if let Some(inputs) = self.inputs.take() {
            let ended = inputs.await.expect("the consumer does not panic");
            ended.expect("the consumer ends without an error");
        }
        self.stop_outputs.cancel();
        let ended = (&mut self.relay).await.expect("the relay does not panic");
        ended.expect("the relay ends without an error");
    }
}

impl<S: Store> Drop for Process<S> {
    fn drop(&mut self) {
        self.stop_inputs.cancel();
        if let Some(inputs) = &self.inputs {
            inputs.abort();
        }
        self.relay.abort();
    }
}

/// Waits until the outbox is empty.
pub(super) async fn wait_for_empty_outbox<S: Store>(store: &S) {
    use crate::inside::Inside as _;
    eventually("the outbox is empty", DEADLINE, || async {
        store.ledger().outbox().await.is_empty().then_some(())
    })
    .await;
}

/// Waits until `count` effects are recorded.
pub(super) async fn wait_for_effects<S: Store>(store: &S, count: usize) {
    eventually(&format!("{count} effects"), DEADLINE, || async {
        (store.effects().await.len() >= count).then_some(())
    })
    .await;
}

/// Returns a service that frames records as the suite's service does, for topics with the prefix of `settings`.
pub(super) fn framer<S: Store>(store: &S, settings: &Settings) -> Arc<Service<S>> {
    let prefix = settings.topic_prefix.clone();
    Arc::new(Service::over(store.clone(), |settings| settings.topic_prefix = prefix))
}
