//! Publishes the status of a process on `ops.status`, every few seconds.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chassis::Health;
use contracts::Timestamp;
use contracts::aggregate::Actor;
use contracts::ops::{Assignment, ProcessStatus, ProcessStatusState};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::consuming::consumer::Consumer;
use crate::consuming::handler::Failure;
use crate::ledger::{Ledger, PendingTopic};
use crate::publishing::unit::Unit;
use crate::runtime::Runtime;
use crate::wire::message::{Cause, Outgoing};

const REPORT_EVERY: Duration = Duration::from_secs(3);
/// Maximum time for one report, because an unresponsive store must not stop the reports until TCP detects it.
const REPORT_LIMIT: Duration = Duration::from_secs(10);
/// Maximum time for the tombstone, and for a report that is in progress when the process stops.
const FINAL_LIMIT: Duration = Duration::from_secs(1);

/// Publishes the status of this process every few seconds.
pub(crate) struct Reporter<L: Ledger> {
    runtime: Arc<Runtime<L>>,
    consumer: Consumer<L>,
    instance: Uuid,
    version: &'static str,
    health: Health,
    gap_alarm: Duration,
    /// Topics whose open gap was logged.
    alarmed: HashSet<String>,
}

impl<L: Ledger> Reporter<L> {
    /// Creates a reporter that logs an error when a gap is older than `gap_alarm`.
    pub(crate) fn new(
        runtime: Arc<Runtime<L>>,
        consumer: Consumer<L>,
        instance: Uuid,
        version: &'static str,
        health: Health,
        gap_alarm: Duration,
    ) -> Self {
        Self {
            runtime,
            consumer,
            instance,
            version,
            health,
            gap_alarm,
            alarmed: HashSet::new(),
        }
    }

    /// Reports until `stop`, then publishes a tombstone, so a process that ended in an orderly way is not reported as
    /// missing.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let started_at = Timestamp::now();
        let mut ticks = tokio::time::interval(REPORT_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            let reported = tokio::select! {
                reported = tokio::time::timeout(REPORT_LIMIT, self.report(started_at)) => reported,
                () = final_limit_after(&stop) => break,
            };
            let error = match reported {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => chassis::error_chain(&error),
                Err(_) => format!("the report took longer than {REPORT_LIMIT:?}"),
            };
            tracing::warn!(error, "cannot publish the status; the next report will follow");
        }
        // An unreachable store must not delay the drain. Readers also drop a process that does not report any more.
        let last = tokio::time::timeout(
            FINAL_LIMIT,
            self.publish(ProcessStatusState::Tombstone, Timestamp::now()),
        );
        if !matches!(last.await, Ok(Ok(()))) {
            tracing::warn!("cannot publish the end of this process");
        }
    }

    async fn report(&mut self, started_at: Timestamp) -> Result<(), Failure> {
        let ledger = &self.runtime.ledger;
        let outbox = ledger.outbox_gauge().await?;
        let dead_letters = ledger.count_dead_letters().await?;
        let held = ledger.pending_topics().await?;
        self.show_held(&held);
        let reported_at = Timestamp::now();
        let status = ProcessStatus {
            service: self.runtime.service.to_owned(),
            instance: self.instance,
            version: self.version.to_owned(),
            started_at,
            reported_at,
            ready: self.health.is_ready(),
            outbox_rows: outbox.rows,
            outbox_oldest_age_ms: millis(outbox.oldest_age),
            assignments: self.assignments(),
            parked_keys: held.iter().map(|topic| topic.poisoned).sum(),
            oldest_gap_age_ms: held.iter().map(|topic| millis(topic.oldest_gap)).max().unwrap_or(0),
            dead_letters,
        };
        self.publish(status, reported_at).await
    }

    /// Publishes a state message. Its version is the time, because the newest version wins.
    async fn publish(&self, state: impl Into<ProcessStatusState>, at: Timestamp) -> Result<(), Failure> {
        let cause = Cause::origin(
            Uuid::now_v7(),
            Some(Actor::service(self.runtime.service)),
            opentelemetry::Context::new(),
        );
        let mut unit = Unit::begin(&self.runtime.ledger, &self.runtime.publisher).await?;
        let message = Outgoing::<ProcessStatusState>::new(self.instance, state).sequence(at.as_micros());
        unit.publish(&cause, message)?;
        unit.commit().await.map_err(Failure::retry)
    }

    /// Updates the metrics of parked keys, and logs an error if a gap stays open, because the missing message may be lost.
    fn show_held(&mut self, held: &[PendingTopic]) {
        let metrics = &self.runtime.metrics;
        metrics.parked_keys.reset();
        metrics.oldest_gap_age.reset();
        for PendingTopic {
            topic,
            poisoned,
            gaps,
            oldest_gap,
        } in held
        {
            metrics.parked_keys.with_label_values(&[topic]).set(*poisoned);
            let age = metrics.oldest_gap_age.with_label_values(&[topic]);
            age.set(oldest_gap.as_secs_f64());
            if must_alarm(&mut self.alarmed, topic, *oldest_gap, self.gap_alarm) {
                tracing::error!(topic, gaps, oldest_gap = ?oldest_gap,
                    "a gap remains open; `rollcall parked` lists the keys, and the producer can publish the missing domain events again");
            }
        }
        let is_held = |topic: &String| held.iter().any(|held| held.topic == *topic);
        self.alarmed.retain(is_held);
    }

    fn assignments(&self) -> Vec<Assignment> {
        let publisher = &self.runtime.publisher;
        self.consumer
            .lags()
            .into_iter()
            .map(|lag| Assignment {
                topic: publisher.without_prefix(&lag.partition.topic).to_owned(),
                partition: lag.partition.partition,
                position: lag.position,
                lag: lag.lag,
                lag_ms: (lag.lag > 0).then(|| millis(lag.age)),
            })
            .collect()
    }
}

/// Returns `true` if the oldest gap of a topic has just exceeded the limit. It is reported once, and again only after it
/// was closed.
fn must_alarm(alarmed: &mut HashSet<String>, topic: &str, oldest_gap: Duration, limit: Duration) -> bool {
    if oldest_gap > limit {
        return alarmed.insert(topic.to_owned());
    }
    alarmed.remove(topic);
    false
}

/// Waits until a report that was in progress at `stop` must be aborted.
async fn final_limit_after(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(FINAL_LIMIT).await;
}

/// Returns the duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gap_that_stays_open_raises_one_alarm() {
        let mut alarmed = HashSet::new();
        let ages = [119, 121, 124, 5, 120, 121];
        let alarms = ages.map(|age| {
            let (age, limit) = (Duration::from_secs(age), Duration::from_secs(120));
            must_alarm(&mut alarmed, "events", age, limit)
        });
        assert_eq!(alarms, [false, true, false, false, false, true]);
        assert!(must_alarm(
            &mut alarmed,
            "users",
            Duration::from_secs(9),
            Duration::from_secs(8)
        ));
    }
}
