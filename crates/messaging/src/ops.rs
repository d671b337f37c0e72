//! Operations over Kafka: commands to the processes of a service. README.md lists what goes in and out.

mod dead_letters;
mod parked;
mod skip;
mod where_is;

use std::sync::Arc;

use contracts::aggregate::Rejected;
use contracts::ops::OpsCommand;
use contracts::replies::CommandAccepted;
use serde_json::Value;

use crate::handler::{Failure, Handler};
use crate::ledger::Ledger;
use crate::message::Received;
use crate::operator::{AnyOperator, Operated};
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
                    let rejected = Rejected::new("unsupported", "this service does no such thing");
                    unit.reject(message, &rejected)?;
                }
            }
        }
        Ok(())
    }
}

impl<L: Ledger> Operations<L> {
    /// The service's own operators first, then what every service does.
    async fn operate(&self, unit: &mut Unit<L>, message: &Received<OpsCommand>) -> Result<Operated, Failure> {
        // To this one, each adds what it knows.
        if !matches!(message.body, OpsCommand::WhereIs(_)) {
            for operator in self.operators.iter() {
                match operator.operate(unit, message).await? {
                    Operated::Unhandled => {}
                    operated => return Ok(operated),
                }
            }
        }
        self.generic(unit, message).await
    }

    async fn generic(&self, unit: &mut Unit<L>, message: &Received<OpsCommand>) -> Result<Operated, Failure> {
        match &message.body {
            OpsCommand::ReleaseKey(command) => self.release(unit, command).await,
            OpsCommand::FindParked(command) => self.find_parked(unit, command).await,
            OpsCommand::FindDeadLetters(command) => self.find_dead_letters(unit, command).await,
            OpsCommand::ShowDeadLetter(command) => self.show_dead_letter(unit, command).await,
            OpsCommand::RedriveDeadLetter(command) => self.redrive(unit, message, command).await,
            OpsCommand::DiscardDeadLetter(command) => self.discard(unit, command).await,
            OpsCommand::SkipOffset(command) => self.skip(unit, command).await,
            OpsCommand::WhereIs(command) => self.where_is(unit, message, command).await,
            OpsCommand::Republish(_)
            | OpsCommand::ReadHistory(_)
            | OpsCommand::ReadAggregate(_)
            | OpsCommand::VerifySnapshots(_)
            | OpsCommand::Replay(_)
            | OpsCommand::CreateAdmin(_)
            | OpsCommand::GrantRole(_) => Ok(Operated::Unhandled),
        }
    }
}

fn no(code: &'static str, detail: impl Into<String>) -> Operated {
    Operated::Rejected(Rejected::new(code, detail))
}

fn done(message: &Received<OpsCommand>, result: &Value) -> CommandAccepted {
    CommandAccepted {
        command_id: message.envelope.id,
        version: 0,
        effects: Vec::new(),
        result: Some(result.to_string()),
    }
}

/// Rows of a page: what was asked for, within reason.
fn page(limit: i32) -> i64 {
    const MOST: i64 = 100;
    i64::from(limit).clamp(1, MOST)
}
