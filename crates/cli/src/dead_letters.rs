//! `rollcall dead-letters`: records that services have dead-lettered.

use contracts::{DiscardDeadLetter, FindDeadLetters, RedriveDeadLetter, ShowDeadLetter};
use serde_json::Value;
use uuid::Uuid;

use crate::ops::{OpsArguments, run_command, with_result};
use crate::output::{Output, plain};
use crate::pages::{self, Listing, Shape};
use crate::{Error, Outcome};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List dead letters with their reasons, newest first
    List(Listing),
    /// Show a dead letter with its headers and content, without personal fields
    Show(DeadLetter),
    /// Publish a dead-lettered command again, as a new command
    Redrive(DeadLetter),
    /// Delete a dead letter
    Discard(DeadLetter),
}

#[derive(Debug, clap::Args)]
pub(crate) struct DeadLetter {
    /// Service that stores the dead letter
    service: String,
    /// Id of the dead letter
    id: Uuid,
    #[command(flatten)]
    ops: OpsArguments,
}

const LIST: Shape = Shape {
    columns: &[
        "service",
        "id",
        "topic",
        "partition",
        "offset",
        "message_type",
        "reason",
        "detail",
        "redriven_as",
    ],
    noun: "dead letter",
};

pub(crate) async fn run(command: Command, output: Output) -> Result<Outcome, Error> {
    match command {
        Command::List(listing) => {
            let request = |service, cursor, limit| {
                let find = FindDeadLetters { service, cursor, limit };
                find.into()
            };
            pages::list(&listing, output, &LIST, request).await
        }
        Command::Show(DeadLetter { service, id, ops }) => {
            let show = ShowDeadLetter {
                service,
                dead_letter_id: id,
            };
            run_command(&ops, show, output, plain).await
        }
        Command::Redrive(DeadLetter { service, id, ops }) => {
            let redrive = RedriveDeadLetter {
                service,
                dead_letter_id: id,
            };
            let sentence = |result: &Value| match result["command_id"].as_str() {
                Some(command) => {
                    format!("published again as command {command}; `rollcall where-is {command}` shows its progress")
                }
                None => with_result("published again", result),
            };
            run_command(&ops, redrive, output, sentence).await
        }
        Command::Discard(DeadLetter { service, id, ops }) => {
            let discard = DiscardDeadLetter {
                service,
                dead_letter_id: id,
            };
            run_command(&ops, discard, output, |_| format!("dead letter {id} discarded")).await
        }
    }
}
