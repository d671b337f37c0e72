//! A whole process of the suite's service, on the real broker.

use std::sync::Arc;
use std::time::Duration;

use contracts::{Codec, Message};
use messaging::kafka::Settings;
use messaging::{
    Cause, Connected, Consumer, ConsumerError, Identity, Metrics, Outgoing, Publisher, RelayError, Subscriptions, Unit,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::service::{Hooks, Service, Store, only_events, subscriptions};
use crate::eventually;
use crate::faulty::{Faults, FaultyLedger};

pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// A process: its relay, and perhaps its consumer. Dropped, it ends at once.
pub(super) struct Process<S: Store> {
    pub(super) faults: Faults,
    pub(super) hooks: Hooks,
    pub(super) publisher: Publisher<FaultyLedger<S::Ledger>>,
    pub(super) health: chassis::Health,
    ledger: FaultyLedger<S::Ledger>,
    metrics: prometheus::Registry,
    consumer: Option<Consumer<FaultyLedger<S::Ledger>>>,
    inputs: CancellationToken,
    outputs: CancellationToken,
    listening: Option<JoinHandle<Result<(), ConsumerError>>>,
    relay: JoinHandle<Result<(), RelayError>>,
}

impl<S: Store> Process<S> {
    /// A process that only publishes.
    pub(super) fn relay(store: &S, settings: Settings) -> Self {
        Self::start(store, settings, None, None)
    }

    /// A process that listens to all that the suite's service listens to.
    pub(super) fn whole(store: &S, settings: Settings) -> Self {
        Self::armed(store, settings, FaultyLedger::new(store.ledger()))
    }

    /// The same with a ledger that has orders already.
    pub(super) fn armed(store: &S, settings: Settings, ledger: FaultyLedger<S::Ledger>) -> Self {
        let hooks = Hooks::default();
        let subscriptions = subscriptions(store, &hooks);
        Self::start(store, settings, Some((subscriptions, hooks)), Some(ledger))
    }

    /// The same, listening to `events` alone.
    pub(super) fn on_events(store: &S, settings: Settings, ledger: FaultyLedger<S::Ledger>) -> Self {
        let hooks = Hooks::default();
        let subscriptions = only_events(store, &hooks);
        Self::start(store, settings, Some((subscriptions, hooks)), Some(ledger))
    }

    fn start(
        store: &S,
        settings: Settings,
        listen: Option<(Subscriptions<FaultyLedger<S::Ledger>>, Hooks)>,
        ledger: Option<FaultyLedger<S::Ledger>>,
    ) -> Self {
        let ledger = ledger.unwrap_or_else(|| FaultyLedger::new(store.ledger()));
        let registry = prometheus::Registry::new();
        let metrics = Metrics::register(&registry).expect("the registry is empty");
        let identity = Identity {
            service: "conformance",
            instance: Uuid::now_v7(),
            version: "test",
        };
        let connected = Connected::with_codec(identity, settings, ledger.clone(), metrics, Codec::local(), None);
        let publisher = connected.publisher().clone();
        let health = chassis::Health::new();
        health.running();
        let (inputs, outputs) = (CancellationToken::new(), CancellationToken::new());
        let (relay, listening, consumer, hooks) = match listen {
            None => (connected.into_relay().expect("a relay"), None, None, Hooks::default()),
            Some((subscriptions, hooks)) => {
                let parts = connected.unchecked(subscriptions, health.clone()).expect("the parts");
                let (relay, listening) = parts.relay();
                let consumer = listening.consumer();
                let listening = tokio::spawn(listening.run(inputs.clone()));
                (relay, Some(listening), Some(consumer), hooks)
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
            relay: tokio::spawn(relay.run(outputs.clone())),
            inputs,
            outputs,
            listening,
        }
    }

    pub(super) fn ledger(&self) -> &FaultyLedger<S::Ledger> {
        &self.ledger
    }

    /// Says messages in a transaction of its own.
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

    /// The sum of a metric over the series that have `label`.
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

    pub(super) async fn metric_reaches(&self, name: &str, label: &str, value: f64) {
        let what = format!("{name} {label} reaches {value}");
        eventually(&what, DEADLINE, || async {
            (self.metric(name, label) >= value).then_some(())
        })
        .await;
    }

    /// Until the process is ready.
    pub(super) async fn is_ready(&self) {
        eventually("the process is ready", DEADLINE, || async {
            self.health.is_ready().then_some(())
        })
        .await;
    }

    /// Until the process is not ready.
    pub(super) async fn is_not_ready(&self) {
        eventually("the process is not ready", DEADLINE, || async {
            (!self.health.is_ready()).then_some(())
        })
        .await;
    }

    /// The stored positions of the partitions it has, by topic and partition.
    pub(super) fn assigned(&self) -> Vec<(String, i32, i64)> {
        let lags = self.consumer.as_ref().expect("it listens").lags();
        let mut assigned: Vec<_> = lags
            .into_iter()
            .map(|lag| (lag.partition.topic, lag.partition.partition, lag.position))
            .collect();
        assigned.sort_unstable();
        assigned
    }

    /// What its consumer came to, if it ends by itself.
    pub(super) async fn listening_ends(&mut self) -> Result<(), ConsumerError> {
        let listening = self.listening.take().expect("it listens");
        let ended = tokio::time::timeout(DEADLINE, listening).await;
        ended.expect("its consumer ends").expect("its consumer does not panic")
    }

    /// Drains: first the inputs, then the relay.
    pub(super) async fn stop(mut self) {
        self.inputs.cancel();
        if let Some(listening) = self.listening.take() {
            listening.await.expect("no panic").expect("the consumer ends well");
        }
        self.outputs.cancel();
        let relay = &mut self.relay;
        relay.await.expect("no panic").expect("the relay ends well");
    }
}

impl<S: Store> Drop for Process<S> {
    fn drop(&mut self) {
        self.inputs.cancel();
        if let Some(listening) = &self.listening {
            listening.abort();
        }
        self.relay.abort();
    }
}

/// Until nothing waits in the outbox.
pub(super) async fn outbox_is_empty<S: Store>(store: &S) {
    use crate::inside::Inside as _;
    eventually("the outbox is empty", DEADLINE, || async {
        store.ledger().outbox().await.is_empty().then_some(())
    })
    .await;
}

/// Until so many effects are noted.
pub(super) async fn effects_are_there<S: Store>(store: &S, count: usize) {
    eventually(&format!("{count} effects"), DEADLINE, || async {
        (store.noted().await.len() >= count).then_some(())
    })
    .await;
}

/// Frames records like the service's own bench, for these topics.
pub(super) fn framer<S: Store>(store: &S, settings: &Settings) -> Arc<Service<S>> {
    let prefix = settings.topic_prefix.clone();
    Arc::new(Service::over(store.clone(), |settings| settings.topic_prefix = prefix))
}
