//! Operations over Kafka: commands to the processes of a service, and the status each process publishes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chassis::Health;
use contracts::Timestamp;
use contracts::aggregate::{Actor, Rejected};
use contracts::ops::{Assignment, OpsCommand, ProcessStatus, ProcessStatusState, ReleaseKey};
use contracts::replies::CommandAccepted;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::consumer::Consumer;
use crate::handler::{Failure, Handler};
use crate::ledger::{Ledger, Parked};
use crate::message::{Cause, Outgoing, Received};
use crate::record::TopicPartition;
use crate::runtime::Runtime;
use crate::subscriptions::Entry;
use crate::unit::Unit;

const REPORT_EVERY: Duration = Duration::from_secs(3);

/// Executes `ops.commands` for one service. The group is the service, so one of its processes does it.
pub(crate) struct Operations<L: Ledger> {
    pub(crate) runtime: Arc<Runtime<L>>,
    pub(crate) entries: Arc<Vec<Entry<L>>>,
}

impl<L: Ledger> Handler<L> for Operations<L> {
    type Message = OpsCommand;

    async fn handle(&mut self, unit: &mut Unit<L>, messages: &[&Received<OpsCommand>]) -> Result<(), Failure> {
        for message in messages {
            match &message.body {
                OpsCommand::ReleaseKey(command) if command.service == self.runtime.service => {
                    self.release(unit, message, command).await?;
                }
                OpsCommand::ReleaseKey(_) => {}
            }
        }
        Ok(())
    }
}

impl<L: Ledger> Operations<L> {
    /// The release is a transaction of its own, which may be repeated; the reply is this one's.
    async fn release(
        &self,
        unit: &mut Unit<L>,
        message: &Received<OpsCommand>,
        command: &ReleaseKey,
    ) -> Result<(), Failure> {
        let known = self.entries.iter().find(|entry| entry.topic.name == command.topic);
        let Some((entry, release)) = known.and_then(|entry| Some((entry, entry.release.as_ref()?))) else {
            let detail = format!("{} parks nothing of {}", command.service, command.topic);
            return Ok(unit.reject(message, &Rejected::new("topic-unknown", detail))?);
        };
        let topic = self.runtime.publisher.topic_name(entry.topic);
        let Some(partition) = self.partition_of(unit, &topic, command.parked_key).await? else {
            let detail = format!("nothing of {} is parked for this key", command.topic);
            return Ok(unit.reject(message, &Rejected::new("not-parked", detail))?);
        };
        let released = match release(Arc::clone(&self.runtime), partition, command.parked_key).await {
            Ok(released) => released,
            // Said, not tried for ever: other operations wait behind this one, and it may be repeated.
            Err(error) => return Ok(unit.reject(message, &Rejected::new("not-released", error.to_string()))?),
        };
        let accepted = CommandAccepted {
            command_id: message.envelope.id,
            version: 0,
            effects: Vec::new(),
            result: Some(serde_json::to_string(&released).expect("numbers are always JSON")),
        };
        Ok(unit.accept(message, accepted)?)
    }

    async fn partition_of(
        &self,
        unit: &mut Unit<L>,
        topic: &str,
        key: Uuid,
    ) -> Result<Option<TopicPartition>, Failure> {
        let (ledger, tx) = unit.parts();
        let parked: Vec<Parked> = ledger.parked(tx, topic, &[key]).await?;
        Ok(parked.into_iter().next().map(|row| row.record.partition))
    }
}

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
                () = stop.cancelled() => return,
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
