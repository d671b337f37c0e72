//! Tests that a process replaces its Kafka clients when they no longer work.

use std::time::{Duration, Instant};

use contracts::topics;
use messaging::kafka::Settings;
use uuid::Uuid;

use super::process::{DEADLINE, Process, framer, wait_for_effects, wait_for_empty_outbox};
use super::service::{Service, Store, happened};
use crate::eventually;
use crate::faulty::FaultyLedger;
use crate::kafka::KafkaTopics;
use crate::kafka_proxy::KafkaProxy;

/// Maximum time for a process to recover from a broker stall.
const RECOVERY: Duration = Duration::from_secs(10);

const REPLACEMENTS: &str = "rollcall_kafka_client_replacements_total";

const PARTITIONS: i32 = 3;

/// The Kafka topics of one test, behind a proxy.
struct Proxied {
    kafka: KafkaTopics,
    proxy: KafkaProxy,
}

impl Proxied {
    async fn start() -> Self {
        Self {
            kafka: KafkaTopics::create(PARTITIONS).await,
            proxy: KafkaProxy::start().await,
        }
    }

    fn settings(&self) -> Settings {
        let mut settings = self.kafka.settings();
        settings.brokers = self.proxy.brokers();
        settings
    }

    /// Produces the first message of a new key to each partition, without the proxy.
    async fn produce<S: Store>(&self, framer: &Service<S>) {
        let first = |partition| {
            let mut record = framer.record(happened(Uuid::now_v7(), 1, ""));
            record.partition.partition = partition;
            record
        };
        self.kafka
            .produce(&(0..PARTITIONS).map(first).collect::<Vec<_>>())
            .await;
    }

    /// A broker stall: the clients of this id see a cluster without brokers once, and the real one from then on.
    async fn stall(&self, client_id: &str) {
        self.proxy.hide_brokers(client_id, 1);
        eventually("the client receives a response without brokers", DEADLINE, || async {
            self.proxy.brokers_were_hidden(client_id).then_some(())
        })
        .await;
    }
}

pub async fn a_consumer_that_lost_every_broker_consumes_again<S: Store>() {
    let proxied = Proxied::start().await;
    let store = S::fresh().await;
    let framer = framer(&store, &proxied.settings());
    let process = Process::whole(&store, proxied.settings());
    proxied.produce(&framer).await;
    wait_for_effects(&store, 3).await;

    proxied.stall("rollcall-consumer").await;
    let stalled = Instant::now();
    proxied.produce(&framer).await;
    wait_for_effects(&store, 6).await;
    process.is_ready().await;
    assert!(stalled.elapsed() < RECOVERY, "it took {:?}", stalled.elapsed());
    process.stop().await;
}

pub async fn a_producer_that_lost_every_broker_publishes_again<S: Store>() {
    let proxied = Proxied::start().await;
    let store = S::fresh().await;
    let process = Process::whole(&store, proxied.settings());
    process.publish([happened(Uuid::now_v7(), 1, "")]).await;
    wait_for_empty_outbox(&store).await;

    proxied.stall("rollcall-producer").await;
    let stalled = Instant::now();
    process.publish([happened(Uuid::now_v7(), 1, "")]).await;
    wait_for_empty_outbox(&store).await;
    process.is_ready().await;
    assert!(stalled.elapsed() < RECOVERY, "it took {:?}", stalled.elapsed());
    assert_eq!(proxied.kafka.records(&topics::EVENTS).await.len(), 2);
    process.stop().await;
}

/// Readiness depends on the clients that do the work, because other clients can still reach the broker.
pub async fn a_process_whose_client_has_no_broker_is_not_ready<S: Store>() {
    let proxied = Proxied::start().await;
    let store = S::fresh().await;
    let process = Process::whole(&store, proxied.settings());
    for client_id in ["rollcall-consumer", "rollcall-producer"] {
        process.is_ready().await;
        proxied.proxy.hide_brokers(client_id, usize::MAX);
        process.is_not_ready().await;
        proxied.proxy.hide_brokers(client_id, 0);
    }
    process.is_ready().await;
    process.stop().await;
}

/// The client seems connected but fetches nothing: the watchdog notices that the partition does not advance.
pub async fn a_partition_that_is_not_fetched_is_assigned_again<S: Store>() {
    let proxied = Proxied::start().await;
    let store = S::fresh().await;
    let mut settings = proxied.settings();
    settings.stall_alarm = Duration::from_secs(2);
    let framer = framer(&store, &settings);
    let process = Process::whole(&store, settings);
    proxied.produce(&framer).await;
    wait_for_effects(&store, 3).await;

    proxied.proxy.swallow_fetches().await;
    proxied.produce(&framer).await;
    process.metric_reaches("rollcall_stalled_partitions", "", 1.0).await;
    wait_for_effects(&store, 6).await;
    assert_eq!(
        process.metric(REPLACEMENTS, ""),
        1.0,
        "one replacement for all partitions"
    );
    eventually("the alert ends", DEADLINE, || async {
        (process.metric("rollcall_stalled_partitions", "") == 0.0).then_some(())
    })
    .await;
    process.stop().await;
}

/// A store that does not respond raises the alert too. The client works, so it is not replaced.
pub async fn a_partition_whose_lane_waits_raises_an_alert<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let mut settings = kafka.settings();
    settings.stall_alarm = Duration::from_secs(2);
    settings.transaction_limit = Duration::from_secs(1);
    let framer = framer(&store, &settings);
    let ledger = FaultyLedger::new(store.ledger());
    let pause = ledger.faults().pause_before("advance");
    let process = Process::armed(&store, settings, ledger);
    kafka.produce(&[framer.record(happened(Uuid::now_v7(), 1, ""))]).await;
    pause.reached().await;
    process.faults.set_down(true);
    process.metric_reaches("rollcall_stalled_partitions", "", 1.0).await;
    assert!(process.metric(REPLACEMENTS, "") == 0.0);

    process.faults.set_down(false);
    pause.resume();
    wait_for_effects(&store, 1).await;
    process.stop().await;
}

/// Offsets without a record, as transactions and compaction leave at the end of a log, are no lag.
pub async fn offsets_without_a_record_are_no_lag<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let mut settings = kafka.settings();
    settings.stall_alarm = Duration::from_secs(2);
    // An aborted transaction leaves records that no consumer receives, and a control record.
    kafka.abort_transaction(&topics::EVENTS).await;
    let framer = framer(&store, &settings);
    let process = Process::whole(&store, settings);
    let (lag, events) = ("rollcall_consumer_lag_messages", kafka.name(&topics::EVENTS));
    let no_lag = || async { (process.metric(lag, &events) == 0.0).then_some(()) };
    process.metric_reaches(lag, &events, 1.0).await;
    eventually("the lag is zero", DEADLINE, no_lag).await;
    assert!(process.metric("rollcall_stalled_partitions", "") == 0.0);
    assert!(process.metric(REPLACEMENTS, "") == 0.0);

    // A record behind them counts until it is applied.
    let pause = process.faults.pause_before("advance");
    kafka.produce(&[framer.record(happened(Uuid::now_v7(), 1, ""))]).await;
    pause.reached().await;
    process.metric_reaches(lag, &events, 1.0).await;
    pause.resume();
    eventually("the lag is zero again", DEADLINE, no_lag).await;
    process.stop().await;
}
