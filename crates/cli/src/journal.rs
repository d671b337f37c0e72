//! What may take long at a service that keeps a journal: `rollcall replay`, `republish` and `snapshots verify`.

use std::time::Duration;

use contracts::{OpsCommand, Replay, Republish, VerifySnapshots};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::operation::{Asking, Operation, somebody_listens, tell, with_result};
use crate::output::{Output, plain};
use crate::{Error, Outcome};

/// How long such work is waited for, if nobody says otherwise.
const LONG: Duration = Duration::from_secs(30 * 60);

#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArguments {
    /// The service that keeps the read model, e.g. gateway
    service: String,
    /// The read model's name
    #[arg(long, value_name = "NAME")]
    projection: String,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RepublishArguments {
    /// The service that owns the aggregate, e.g. user
    service: String,
    /// The aggregate's id
    id: Uuid,
    /// The first version
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    from: i64,
    /// The last version; else the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    to: Option<i64>,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Snapshots {
    /// Compare each snapshot with what all its domain events make of it
    Verify {
        /// The service that keeps them, e.g. user
        service: String,
        #[command(flatten)]
        asking: Asking,
    },
}

pub(crate) async fn replay(arguments: ReplayArguments, output: Output) -> Result<Outcome, Error> {
    let ReplayArguments {
        service,
        projection,
        asking,
    } = arguments;
    let sentence = format!("{service} has built {projection} anew");
    let replay = Replay { service, projection };
    tell(&asking.patient(LONG), replay, output, |result| {
        with_result(&sentence, result)
    })
    .await
}

/// A service publishes so many at once, and says where to go on.
pub(crate) async fn republish(arguments: RepublishArguments, output: Output) -> Result<Outcome, Error> {
    let RepublishArguments {
        service,
        id,
        from,
        to,
        asking,
    } = arguments;
    if to.is_some_and(|to| to < from) {
        return Err(Error::Usage(format!("--to is before --from, {from}")));
    }
    somebody_listens(&asking, &service).await?;
    let mut operation = Operation::begin(&asking)?;
    let (mut published, mut next) = (0, from);
    loop {
        let republish = Republish {
            service: service.clone(),
            aggregate_id: id,
            from_version: next,
            to_version: to,
        };
        let mut answer = operation.ask(&service, OpsCommand::from(republish)).await?;
        published += answer.result["published"].as_i64().unwrap_or(0);
        match answer.result["next_version"].as_i64() {
            Some(version) if answer.is_accepted() && version > next => next = version,
            Some(_) | None => {
                if answer.is_accepted() {
                    answer.result = json!({ "published": published });
                }
                let sentence = format!("{service} publishes domain events of {id} again, under the ids that they have");
                operation.show(output, &answer, |result| with_result(&sentence, result));
                return Ok(answer.said_yes());
            }
        }
    }
}

pub(crate) async fn snapshots(command: Snapshots, output: Output) -> Result<Outcome, Error> {
    let Snapshots::Verify { service, asking } = command;
    let verify = VerifySnapshots {
        service: service.clone(),
    };
    somebody_listens(&asking, &service).await?;
    let mut operation = Operation::begin(&asking.patient(LONG))?;
    let answer = operation.ask(&service, OpsCommand::from(verify)).await?;
    operation.show(output, &answer, |result| verified(&service, result));
    let is_whole = Verified::deserialize(&answer.result).is_ok_and(|verified| verified.is_whole());
    Ok(match answer.is_accepted() && is_whole {
        true => Outcome::Yes,
        false => Outcome::No,
    })
}

/// The service's account of its snapshots.
#[derive(Debug, Deserialize)]
struct Verified {
    snapshots: u64,
    /// Fewer, where the time was over.
    checked: u64,
    /// Those of an older shape, which nobody uses.
    #[serde(default)]
    unreadable: u64,
    mismatches: Vec<Value>,
}

impl Verified {
    fn is_whole(&self) -> bool {
        self.mismatches.is_empty() && self.checked == self.snapshots
    }
}

fn verified(service: &str, result: &Value) -> String {
    let Ok(Verified {
        snapshots,
        checked,
        unreadable,
        mismatches,
    }) = Verified::deserialize(result)
    else {
        return with_result(&format!("{service} says of its snapshots"), result);
    };
    let mut text = format!("{service} compared {checked} of {snapshots} snapshots");
    if unreadable > 0 {
        text.push_str(&format!("; {unreadable} are of an older shape, and not used"));
    }
    if checked < snapshots {
        text.push_str("; there was no time for more");
    }
    match mismatches.is_empty() {
        true => text,
        false => format!(
            "{text}\n\nthese differ from their journal:\n{}",
            plain(&Value::Array(mismatches))
        ),
    }
}
