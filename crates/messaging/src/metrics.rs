//! The metrics of this crate. Names and units follow Prometheus's conventions. The label `topic` includes the prefix.

use std::time::Duration;

use prometheus::{Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// The metrics of this crate, registered once per process.
#[derive(Clone)]
pub struct Metrics {
    pub(crate) messages: IntCounterVec,
    pub(crate) duplicates: IntCounterVec,
    pub(crate) gaps: IntCounterVec,
    pub(crate) forks: IntCounterVec,
    pub(crate) retries: IntCounterVec,
    pub(crate) unexpected_store_errors: IntCounterVec,
    pub(crate) stubs: IntCounterVec,
    pub(crate) parked_keys: IntGaugeVec,
    pub(crate) oldest_gap_age: GaugeVec,
    pub(crate) dead_letters: IntCounterVec,
    pub(crate) batch_size: HistogramVec,
    pub(crate) message_age: HistogramVec,
    pub(crate) outbox_rows: IntGauge,
    pub(crate) outbox_oldest_age: Gauge,
    pub(crate) relay_published: IntCounterVec,
    pub(crate) lag_messages: IntGaugeVec,
    pub(crate) lag_seconds: GaugeVec,
    pub(crate) stopped_partitions: IntGauge,
    pub(crate) stalled_partitions: IntGauge,
    pub(crate) client_replacements: IntCounterVec,
}

impl Metrics {
    /// Registers the metrics with the registry of the process.
    ///
    /// # Errors
    /// Returns an error if a name is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let int_gauge = |name: &str, help: &str, labels: &[&str]| -> Result<IntGaugeVec, prometheus::Error> {
            let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| -> Result<HistogramVec, prometheus::Error> {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let metric = HistogramVec::new(options, &["topic"])?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let outbox_rows = IntGauge::new("rollcall_outbox_rows", "Rows in the outbox")?;
        let outbox_oldest_age = Gauge::new(
            "rollcall_outbox_oldest_age_seconds",
            "Age of the oldest outbox row that is due",
        )?;
        let stopped_partitions = IntGauge::new(
            "rollcall_stopped_partitions",
            "Partitions whose stored position is outside the log; an operator must correct each",
        )?;
        let stalled_partitions = IntGauge::new(
            "rollcall_stalled_partitions",
            "Partitions that have a lag and have not advanced for STALL_ALARM_SECONDS",
        )?;
        registry.register(Box::new(stalled_partitions.clone()))?;
        registry.register(Box::new(outbox_rows.clone()))?;
        registry.register(Box::new(outbox_oldest_age.clone()))?;
        registry.register(Box::new(stopped_partitions.clone()))?;
        let lag_seconds = GaugeVec::new(
            Opts::new(
                "rollcall_consumer_lag_seconds",
                "Age of the oldest record not yet applied; 0 at the end of the partition",
            ),
            &["topic", "partition"],
        )?;
        registry.register(Box::new(lag_seconds.clone()))?;
        let oldest_gap_age = GaugeVec::new(
            Opts::new(
                "rollcall_oldest_gap_age_seconds",
                "Time that messages have waited for a missing one; absent if nothing is parked",
            ),
            &["topic"],
        )?;
        registry.register(Box::new(oldest_gap_age.clone()))?;
        Ok(Self {
            messages: counter(
                "rollcall_messages_total",
                "Messages consumed from Kafka, by outcome",
                &["topic", "outcome"],
            )?,
            duplicates: counter(
                "rollcall_duplicates_total",
                "Messages dropped as duplicates",
                &["topic"],
            )?,
            gaps: counter(
                "rollcall_gaps_total",
                "Domain events that arrived before an earlier one of their key",
                &["topic"],
            )?,
            forks: counter(
                "rollcall_forks_total",
                "Domain events whose sequence is taken by another id",
                &["topic"],
            )?,
            retries: counter(
                "rollcall_batch_retries_total",
                "Attempts that were rolled back and repeated",
                &["topic"],
            )?,
            unexpected_store_errors: counter(
                "rollcall_unexpected_store_errors_total",
                "Attempts that failed in the store for a reason that is neither the data nor the infrastructure",
                &["topic"],
            )?,
            stubs: counter(
                "rollcall_stubs_total",
                "Records that the store rejected, and of which only a stub is kept: hash, size and reason",
                &["topic"],
            )?,
            parked_keys: int_gauge(
                "rollcall_parked_keys",
                "Keys that are parked behind a poison message",
                &["topic"],
            )?,
            oldest_gap_age,
            dead_letters: counter(
                "rollcall_dead_letters_total",
                "Records that were dead-lettered",
                &["topic", "reason"],
            )?,
            batch_size: histogram(
                "rollcall_batch_size",
                "Records in one transaction",
                &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0],
            )?,
            message_age: histogram(
                "rollcall_message_age_seconds",
                "Time from publishing a message to the commit of its effect",
                &[
                    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0, 600.0,
                ],
            )?,
            outbox_rows,
            outbox_oldest_age,
            relay_published: counter(
                "rollcall_relay_published_total",
                "Deliveries to Kafka by the relay, by outcome",
                &["topic", "outcome"],
            )?,
            lag_messages: int_gauge(
                "rollcall_consumer_lag_messages",
                "Records between the position and the end of the partition",
                &["topic", "partition"],
            )?,
            lag_seconds,
            stopped_partitions,
            stalled_partitions,
            client_replacements: counter(
                "rollcall_kafka_client_replacements_total",
                "Kafka clients that were replaced because they could not reach any broker or fetched nothing",
                &["client"],
            )?,
        })
    }

    /// Counts messages with this outcome.
    pub(crate) fn count_messages(&self, topic: &str, outcome: &str, count: usize) {
        if count > 0 {
            self.messages.with_label_values(&[topic, outcome]).inc_by(count as u64);
        }
    }

    /// Sets the lag of a partition.
    pub(crate) fn lag(&self, topic: &str, partition: i32, messages: i64, age: Duration) {
        let labels = [topic, &partition.to_string()];
        self.lag_messages.with_label_values(&labels).set(messages);
        self.lag_seconds.with_label_values(&labels).set(age.as_secs_f64());
    }

    /// Removes the lag of a revoked partition so that no stale lag is shown.
    pub(crate) fn remove_lag(&self, topic: &str, partition: i32) {
        let labels = [topic, &partition.to_string()];
        // An error means that no lag was set, which is harmless.
        let _ = self.lag_messages.remove_label_values(&labels);
        let _ = self.lag_seconds.remove_label_values(&labels);
    }
}
