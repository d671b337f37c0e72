//! `rollcall parked`: keys whose messages are parked until an operator releases them.

use contracts::{DiscardParked, FindParked, OpsCommand, ReleaseKey};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::ops::{OpsArguments, OpsSession, require_live_service, run_command, with_result};
use crate::output::{Output, counted};
use crate::pages::{self, Listing, Shape};
use crate::{Error, Outcome, topics};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List keys that are blocked by a poison message or a gap
    List(Listing),
    /// Let a service apply the parked messages of a key, in order
    Release(Release),
    /// Delete a parked record that can never be applied, so that the record published again in its place is applied
    Discard(Discard),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Release {
    /// Service that parked the messages, e.g. gateway
    service: String,
    /// Topic of the messages, without prefix, e.g. users
    topic: String,
    /// Id of the aggregate
    key: Uuid,
    #[command(flatten)]
    ops: OpsArguments,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Discard {
    /// Service that parked the record, e.g. gateway
    service: String,
    /// Topic of the record, without prefix, e.g. users
    topic: String,
    /// Id of the aggregate
    key: Uuid,
    /// Sequence of the record, e.g. the one that `rollcall parked list` shows as POISONED AT
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    sequence: i64,
    /// Delete the record only if it has this message id
    #[arg(long, value_name = "UUID")]
    message_id: Option<Uuid>,
    /// Reason for deleting the record, which is stored in the audit log
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
    #[command(flatten)]
    ops: OpsArguments,
}

/// Result of `ReleaseKey`.
#[derive(Debug, Deserialize)]
struct Released {
    applied: usize,
    /// Sequence of the message that could not be applied, if there is one.
    poisoned_at: Option<i64>,
}

const LIST: Shape = Shape {
    columns: &[
        "service",
        "topic",
        "key",
        "last",
        "poisoned_at",
        "waiting",
        "age_ms",
        "error",
    ],
    noun: "key",
};

pub(crate) async fn run(command: Command, output: Output) -> Result<Outcome, Error> {
    match command {
        Command::List(listing) => {
            let request = |service, cursor, limit| {
                let find = FindParked { service, cursor, limit };
                find.into()
            };
            pages::list(&listing, output, &LIST, request).await
        }
        Command::Release(release) => release_key(&release, output).await,
        Command::Discard(discard) => discard_record(discard, output).await,
    }
}

async fn discard_record(discard: Discard, output: Output) -> Result<Outcome, Error> {
    let Discard {
        service,
        topic,
        key,
        sequence,
        message_id,
        reason,
        ops,
    } = discard;
    let topic = topics::named(&topic)?;
    let sentence = format!(
        "{service} discarded record {sequence} of {} for {key}; `rollcall republish {} {key} --from {sequence}` publishes \
         the domain event of the journal in its place",
        topic.name, topic.owner
    );
    let discard = DiscardParked {
        service,
        topic: topic.name.to_owned(),
        parked_key: key,
        sequence,
        message_id,
        reason,
    };
    run_command(&ops, discard, output, |_| sentence.clone()).await
}

async fn release_key(release: &Release, output: Output) -> Result<Outcome, Error> {
    let topic = topics::named(&release.topic)?;
    let command = ReleaseKey {
        service: release.service.clone(),
        topic: topic.name.to_owned(),
        parked_key: release.key,
    };
    require_live_service(&release.ops, &release.service).await?;
    let mut session = OpsSession::open(&release.ops)?;
    let reply = session.request(&release.service, OpsCommand::from(command)).await?;
    session.print(output, &reply, |result| text(release, result));
    match Released::deserialize(&reply.result) {
        Ok(Released {
            poisoned_at: Some(_), ..
        }) => Ok(Outcome::Negative),
        Ok(_) | Err(_) => Ok(reply.exit_outcome()),
    }
}

fn text(release: &Release, result: &Value) -> String {
    let Release {
        service, topic, key, ..
    } = release;
    let Ok(released) = Released::deserialize(result) else {
        return with_result(&format!("{service} released {key} of {topic}"), result);
    };
    let applied = format!(
        "{service} applied {} of {topic} for {key}",
        counted(released.applied, "parked message")
    );
    match released.poisoned_at {
        None => applied,
        Some(sequence) => format!(
            "{applied}, then stopped at sequence {sequence}, which it cannot apply; the key remains parked from there"
        ),
    }
}
