//! Operations over Kafka: commands to the processes of a service. README.md lists what goes in and out.

use std::sync::Arc;

use contracts::aggregate::Rejected;
use contracts::ops::{OpsCommand, ReleaseKey};
use contracts::replies::CommandAccepted;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::handler::{Failure, Handler};
use crate::ledger::{Ledger, Parked};
use crate::message::Received;
use crate::operator::{AnyOperator, Operated};
use crate::record::TopicPartition;
use crate::runtime::Runtime;
use crate::subscriptions::Entry;
use crate::unit::Unit;

/// Executes `ops.commands` for one service. The group is the service, so one of its processes does it.
pub(crate) struct Operations<L: Ledger> {
    pub(crate) runtime: Arc<Runtime<L>>,
    pub(crate) entries: Arc<Vec<Entry<L>>>,
    pub(crate) operators: Arc<Vec<Arc<dyn AnyOperator<L>>>>,
}

impl<L: Ledger> Handler<L> for Operations<L> {
    type Message = OpsCommand;

    async fn handle(&mut self, unit: &mut Unit<L>, messages: &[&Received<OpsCommand>]) -> Result<(), Failure> {
        for message in messages {
            if message.body.service() != self.runtime.service {
                continue;
            }
            match self.operate(unit, message).await? {
                Operated::Done(result) => unit.accept(message, done(message, &result))?,
                Operated::Rejected(rejected) => unit.reject(message, &rejected)?,
                Operated::Unhandled => {
                    unit.reject(
                        message,
                        &Rejected::new("unsupported", "this service does no such thing"),
                    )?;
                }
            }
        }
        Ok(())
    }
}

impl<L: Ledger> Operations<L> {
    /// The service's own operators first, then what every service does.
    async fn operate(&self, unit: &mut Unit<L>, message: &Received<OpsCommand>) -> Result<Operated, Failure> {
        for operator in self.operators.iter() {
            match operator.operate(unit, message).await? {
                Operated::Unhandled => {}
                operated => return Ok(operated),
            }
        }
        match &message.body {
            OpsCommand::ReleaseKey(command) => self.release(unit, command).await,
            _ => Ok(Operated::Unhandled),
        }
    }

    /// The release is a transaction of its own, which may be repeated; the reply is this one's.
    async fn release(&self, unit: &mut Unit<L>, command: &ReleaseKey) -> Result<Operated, Failure> {
        let no = |code, detail: String| Ok(Operated::Rejected(Rejected::new(code, detail)));
        let known = self.entries.iter().find(|entry| entry.topic.name == command.topic);
        let Some((entry, release)) = known.and_then(|entry| Some((entry, entry.release.as_ref()?))) else {
            let detail = format!("{} parks nothing of {}", command.service, command.topic);
            return no("topic-unknown", detail);
        };
        let topic = self.runtime.publisher.topic_name(entry.topic);
        let Some(partition) = self.partition_of(unit, &topic, command.parked_key).await? else {
            let detail = format!("nothing of {} is parked for this key", command.topic);
            return no("not-parked", detail);
        };
        match release(Arc::clone(&self.runtime), partition, command.parked_key).await {
            Ok(released) => Ok(Operated::Done(json!(released))),
            // Said, not tried for ever: other operations wait behind this one, and it may be repeated.
            Err(error) => no("not-released", error.to_string()),
        }
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

fn done(message: &Received<OpsCommand>, result: &Value) -> CommandAccepted {
    CommandAccepted {
        command_id: message.envelope.id,
        version: 0,
        effects: Vec::new(),
        result: Some(result.to_string()),
    }
}
