//! `rollcall dead-letters`: records that services have set aside.

use contracts::{DiscardDeadLetter, FindDeadLetters, RedriveDeadLetter, ShowDeadLetter};
use serde_json::Value;
use uuid::Uuid;

use crate::operation::{Asking, tell, with_result};
use crate::output::{Output, plain};
use crate::pages::{self, Listing, Shape};
use crate::{Error, Outcome};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// What was set aside and why, the newest first
    List(Listing),
    /// One of them with its headers and its content, but for personal fields
    Show(Letter),
    /// Do what a command asks for after all, as a new command
    Redrive(Letter),
    /// Drop one for good
    Discard(Letter),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Letter {
    /// The service that keeps it
    service: String,
    /// The dead letter's id
    id: Uuid,
    #[command(flatten)]
    asking: Asking,
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
            let question = |service, cursor, limit| {
                let find = FindDeadLetters { service, cursor, limit };
                find.into()
            };
            pages::list(&listing, output, &LIST, question).await
        }
        Command::Show(Letter { service, id, asking }) => {
            let show = ShowDeadLetter {
                service,
                dead_letter_id: id,
            };
            tell(&asking, show, output, plain).await
        }
        Command::Redrive(Letter { service, id, asking }) => {
            let redrive = RedriveDeadLetter {
                service,
                dead_letter_id: id,
            };
            let sentence = |result: &Value| match result["command_id"].as_str() {
                Some(command) => {
                    format!("it is said again as {command}; `rollcall where-is {command}` says how it fares")
                }
                None => with_result("it is said again", result),
            };
            tell(&asking, redrive, output, sentence).await
        }
        Command::Discard(Letter { service, id, asking }) => {
            let discard = DiscardDeadLetter {
                service,
                dead_letter_id: id,
            };
            tell(&asking, discard, output, |_| format!("{id} is gone")).await
        }
    }
}
