//! Ops commands: requests of operators on `ops.commands`. README.md lists the commands and their results.

mod attempts;
mod dead_letters;
mod parked;
mod skip;
pub(crate) mod status;
mod where_is;

use std::sync::Arc;

use contracts::aggregate::Rejection;
use contracts::ops::OpsCommand;
use contracts::replies::CommandAccepted;
use serde_json::Value;

use self::attempts::Attempts;
use crate::consuming::handler::{Failure, Handler};
use crate::consuming::ops_handler::OpsOutcome;
use crate::consuming::subscriptions::Subscriptions;
use crate::ledger::Ledger;
use crate::publishing::unit::Unit;
use crate::runtime::Runtime;
use crate::wire::message::Received;

/// Handles `ops.commands` for one service.
///
/// The consumer group is the service, so exactly one of its processes handles each command.
pub(crate) struct Ops<L: Ledger> {
    runtime: Arc<Runtime<L>>,
    subscriptions: Arc<Subscriptions<L>>,
    /// Shared by all handlers of the process, because a rollback drops the handler.
    attempts: Arc<Attempts>,
}

impl<L: Ledger> Ops<L> {
    /// Returns the subscriptions of a service with `ops.commands`, which every service consumes, added.
    pub(crate) fn subscribe(subscriptions: &Subscriptions<L>, runtime: &Arc<Runtime<L>>) -> Subscriptions<L> {
        let of_the_service = Arc::new(subscriptions.clone());
        let runtime = Arc::clone(runtime);
        let attempts = Arc::new(Attempts::default());
        subscriptions.clone().handle(move || Self {
            runtime: Arc::clone(&runtime),
            subscriptions: Arc::clone(&of_the_service),
            attempts: Arc::clone(&attempts),
        })
    }

    /// Executes a command. It is rejected if the infrastructure has failed in several attempts, because later commands wait
    /// for it, and an operator can send it again.
    async fn execute(&self, unit: &mut Unit<L>, message: &Received<OpsCommand>) -> Result<OpsOutcome, Failure> {
        match self.attempts.begin(message.envelope.id) {
            Ok(attempt) => {
                let outcome = self.dispatch(unit, message).await;
                attempt.end(&outcome);
                outcome
            }
            Err(error) => {
                let service = self.runtime.service;
                tracing::error!(command_id = %message.envelope.id, command = message.envelope.type_name, error,
                    "an ops command is rejected, because every attempt at it failed");
                let detail = format!("{service} failed to execute the command: {error}. Send it again later");
                Ok(rejected("unavailable", detail))
            }
        }
    }

    /// Calls the service's own ops handlers first, then the handler that every service has.
    async fn dispatch(&self, unit: &mut Unit<L>, message: &Received<OpsCommand>) -> Result<OpsOutcome, Failure> {
        // `WhereIs` is not handed to the first handler alone, because each handler adds what it knows.
        if !matches!(message.body, OpsCommand::WhereIs(_)) {
            for handler in &self.subscriptions.ops_handlers {
                match handler.handle(unit, message).await? {
                    OpsOutcome::Unhandled => {}
                    outcome => return Ok(outcome),
                }
            }
        }
        self.handle_generic(unit, message).await
    }

    async fn handle_generic(&self, unit: &mut Unit<L>, message: &Received<OpsCommand>) -> Result<OpsOutcome, Failure> {
        match &message.body {
            OpsCommand::ReleaseKey(command) => self.release(unit, command).await,
            OpsCommand::DiscardParked(command) => self.discard_parked(unit, command).await,
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

impl<L: Ledger> Handler<L> for Ops<L> {
    type Message = OpsCommand;

    async fn handle(&mut self, unit: &mut Unit<L>, messages: &[&Received<OpsCommand>]) -> Result<(), Failure> {
        for message in messages {
            if message.body.service() != self.runtime.service {
                continue;
            }
            match self.execute(unit, message).await? {
                OpsOutcome::Done(result) => unit.accept(message, accepted(message, &result))?,
                OpsOutcome::Rejected(rejection) => unit.reject(message, &rejection)?,
                OpsOutcome::Unhandled => {
                    let rejection = Rejection::new("unsupported", "this service does not support this command");
                    unit.reject(message, &rejection)?;
                }
            }
        }
        Ok(())
    }
}

fn rejected(code: &'static str, detail: impl Into<String>) -> OpsOutcome {
    OpsOutcome::Rejected(Rejection::new(code, detail))
}

fn accepted(message: &Received<OpsCommand>, result: &Value) -> CommandAccepted {
    CommandAccepted {
        command_id: message.envelope.id,
        version: 0,
        effects: Vec::new(),
        result: Some(result.to_string()),
    }
}

/// Returns the number of rows in a page: the requested number, but at least 1 and at most 100.
fn page_size(limit: i32) -> i64 {
    const MAX_ROWS: i64 = 100;
    i64::from(limit).clamp(1, MAX_ROWS)
}
