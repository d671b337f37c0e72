//! Operations over Kafka: commands to the processes of a service. README.md lists what goes in and out.

mod dead_letters;
mod handler;
mod parked;
mod skip;
pub(crate) mod status;
mod where_is;

use std::sync::Arc;

use contracts::aggregate::Rejection;
use contracts::ops::OpsCommand;
use contracts::replies::CommandAccepted;
use serde_json::Value;

pub(crate) use self::handler::AnyOpsHandler;
pub use self::handler::{OpsHandler, OpsOutcome};
use crate::consuming::handler::{Failure, Handler};
use crate::consuming::subscriptions::Entry;
use crate::ledger::Ledger;
use crate::publishing::unit::Unit;
use crate::runtime::Runtime;
use crate::wire::message::Received;

/// Executes `ops.commands` for one service. The group is the service, so one of its processes does it.
pub(crate) struct Ops<L: Ledger> {
    pub(crate) runtime: Arc<Runtime<L>>,
    pub(crate) entries: Arc<Vec<Entry<L>>>,
    pub(crate) handlers: Arc<Vec<Arc<dyn AnyOpsHandler<L>>>>,
}

impl<L: Ledger> Handler<L> for Ops<L> {
    type Message = OpsCommand;

    async fn handle(&mut self, unit: &mut Unit<L>, messages: &[&Received<OpsCommand>]) -> Result<(), Failure> {
        for message in messages {
            if message.body.service() != self.runtime.service {
                continue;
            }
            match self.dispatch(unit, message).await? {
                OpsOutcome::Done(result) => unit.accept(message, done(message, &result))?,
                OpsOutcome::Rejected(rejected) => unit.reject(message, &rejected)?,
                OpsOutcome::Unhandled => {
                    let rejected = Rejection::new("unsupported", "this service does no such thing");
                    unit.reject(message, &rejected)?;
                }
            }
        }
        Ok(())
    }
}

impl<L: Ledger> Ops<L> {
    /// The service's own operators first, then what every service does.
    async fn dispatch(&self, unit: &mut Unit<L>, message: &Received<OpsCommand>) -> Result<OpsOutcome, Failure> {
        // To this one, each adds what it knows.
        if !matches!(message.body, OpsCommand::WhereIs(_)) {
            for handler in self.handlers.iter() {
                match handler.handle(unit, message).await? {
                    OpsOutcome::Unhandled => {}
                    operated => return Ok(operated),
                }
            }
        }
        self.generic(unit, message).await
    }

    async fn generic(&self, unit: &mut Unit<L>, message: &Received<OpsCommand>) -> Result<OpsOutcome, Failure> {
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
            | OpsCommand::GrantRole(_) => Ok(OpsOutcome::Unhandled),
        }
    }
}

fn no(code: &'static str, detail: impl Into<String>) -> OpsOutcome {
    OpsOutcome::Rejected(Rejection::new(code, detail))
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
