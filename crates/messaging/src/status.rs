//! How a process is doing: its status on `ops.status`, every few seconds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chassis::Health;
use contracts::Timestamp;
use contracts::aggregate::Actor;
use contracts::ops::{Assignment, ProcessStatus, ProcessStatusState};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::consumer::Consumer;
use crate::handler::Failure;
use crate::ledger::Ledger;
use crate::message::{Cause, Outgoing};
use crate::runtime::Runtime;
use crate::unit::Unit;

const REPORT_EVERY: Duration = Duration::from_secs(3);

/// Says every few seconds how this process is doing.
pub(crate) struct Reporter<L: Ledger> {
    pub(crate) runtime: Arc<Runtime<L>>,
    pub(crate) consumer: Consumer<L>,
    pub(crate) instance: Uuid,
    pub(crate) version: &'static str,
    pub(crate) health: Health,
}

impl<L: Ledger> Reporter<L> {
    pub(crate) async fn run(self, stop: CancellationToken) {
        let started_at = Timestamp::now();
        let mut ticks = tokio::time::interval(REPORT_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.report(started_at).await {
                tracing::warn!(
                    error = crate::worker::chain(&error),
                    "the status was not published; the next one follows"
                );
            }
        }
    }

    async fn report(&self, started_at: Timestamp) -> Result<(), Failure> {
        let ledger = &self.runtime.ledger;
        let outbox = ledger.outbox_gauge().await?;
        self.count_parked_keys().await?;
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
            parked_keys: 0,
            oldest_gap_age_ms: 0,
            dead_letters: 0,
        };
        let cause = Cause::origin(
            Uuid::now_v7(),
            Some(Actor::service(self.runtime.service)),
            opentelemetry::Context::new(),
        );
        let mut unit = Unit::begin(ledger, &self.runtime.publisher).await?;
        // The newest wins, so the time is the version.
        let message = Outgoing::<ProcessStatusState>::new(self.instance, status).sequence(reported_at.as_micros());
        unit.say(&cause, message)?;
        unit.commit().await.map_err(Failure::retry)
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

    async fn count_parked_keys(&self) -> Result<(), Failure> {
        let mut counts: HashMap<String, i64> = HashMap::new();
        for key in self.runtime.ledger.parked_keys().await? {
            *counts.entry(key.topic).or_default() += 1;
        }
        self.runtime.metrics.parked_keys.reset();
        for (topic, count) in counts {
            self.runtime.metrics.parked_keys.with_label_values(&[&topic]).set(count);
        }
        Ok(())
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
