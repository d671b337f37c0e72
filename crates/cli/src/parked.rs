//! `rollcall parked`: keys whose messages wait for an operator.

use contracts::{FindParked, OpsCommand, ReleaseKey};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::operation::{Asking, Operation, somebody_listens, with_result};
use crate::output::{Output, counted};
use crate::pages::{self, Listing, Shape};
use crate::{Error, Outcome, topics};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Keys that a poison message holds back, and keys with a gap
    List(Listing),
    /// Let one service apply what it has parked for a key, in order
    Release(Release),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Release {
    /// The service that parked the messages, e.g. gateway
    service: String,
    /// Their topic, without prefix, e.g. users
    topic: String,
    /// The aggregate's id
    key: Uuid,
    #[command(flatten)]
    asking: Asking,
}

/// The service's account of a release.
#[derive(Debug, Deserialize)]
struct Released {
    applied: usize,
    /// Where it stopped again, if it did.
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
            let question = |service, cursor, limit| {
                let find = FindParked { service, cursor, limit };
                find.into()
            };
            pages::list(&listing, output, &LIST, question).await
        }
        Command::Release(release) => release_key(&release, output).await,
    }
}

async fn release_key(release: &Release, output: Output) -> Result<Outcome, Error> {
    let topic = topics::named(&release.topic)?;
    let command = ReleaseKey {
        service: release.service.clone(),
        topic: topic.name.to_owned(),
        parked_key: release.key,
    };
    somebody_listens(&release.asking, &release.service).await?;
    let mut operation = Operation::begin(&release.asking)?;
    let answer = operation.ask(&release.service, OpsCommand::from(command)).await?;
    operation.show(output, &answer, |result| text(release, result));
    match Released::deserialize(&answer.result) {
        Ok(Released {
            poisoned_at: Some(_), ..
        }) => Ok(Outcome::No),
        Ok(_) | Err(_) => Ok(answer.said_yes()),
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
            "{applied}, and stopped at sequence {sequence}, which can't be applied either: the key stays parked from there"
        ),
    }
}
