//! Long-running work of services with a journal: `rollcall replay`, `republish` and `snapshots verify`.

use std::time::Duration;

use contracts::{OpsCommand, Replay, Republish, VerifySnapshots};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::ops::{OpsArguments, OpsSession, require_live_service, run_command, with_result};
use crate::output::{Output, plain};
use crate::{Error, Outcome};

/// Default timeout of long-running work.
const LONG_TIMEOUT: Duration = Duration::from_secs(30 * 60);

#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArguments {
    /// Service that owns the read model, e.g. gateway
    service: String,
    /// Name of the read model
    #[arg(long, value_name = "NAME")]
    projection: String,
    #[command(flatten)]
    ops: OpsArguments,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RepublishArguments {
    /// Service that owns the aggregate, e.g. user
    service: String,
    /// Id of the aggregate
    id: Uuid,
    /// First version to publish
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    from: i64,
    /// Last version to publish [default: the newest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    to: Option<i64>,
    #[command(flatten)]
    ops: OpsArguments,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Snapshots {
    /// Compare each snapshot with the state that its domain events lead to
    Verify {
        /// Service that stores the snapshots, e.g. user
        service: String,
        #[command(flatten)]
        ops: OpsArguments,
    },
}

pub(crate) async fn replay(arguments: ReplayArguments, output: Output) -> Result<Outcome, Error> {
    let ReplayArguments {
        service,
        projection,
        ops,
    } = arguments;
    let sentence = format!("{service} has rebuilt {projection}");
    let replay = Replay { service, projection };
    run_command(&ops.with_default_timeout(LONG_TIMEOUT), replay, output, |result| {
        with_result(&sentence, result)
    })
    .await
}

/// Repeats the request until all versions are published, because a service publishes a limited number per request.
pub(crate) async fn republish(arguments: RepublishArguments, output: Output) -> Result<Outcome, Error> {
    let RepublishArguments {
        service,
        id,
        from,
        to,
        ops,
    } = arguments;
    if to.is_some_and(|to| to < from) {
        return Err(Error::Usage(format!("--to must not be less than --from, {from}")));
    }
    require_live_service(&ops, &service).await?;
    let mut session = OpsSession::open(&ops)?;
    let (mut published, mut next) = (0, from);
    loop {
        let republish = Republish {
            service: service.clone(),
            aggregate_id: id,
            from_version: next,
            to_version: to,
        };
        let mut reply = session.request(&service, OpsCommand::from(republish)).await?;
        published += reply.result["published"].as_i64().unwrap_or(0);
        match reply.result["next_version"].as_i64() {
            Some(version) if reply.is_accepted() && version > next => next = version,
            Some(_) | None => {
                if reply.is_accepted() {
                    reply.result = json!({ "published": published });
                }
                let sentence = format!("{service} is publishing domain events of {id} again, with their original ids");
                session.print(output, &reply, |result| with_result(&sentence, result));
                return Ok(reply.exit_outcome());
            }
        }
    }
}

pub(crate) async fn snapshots(command: Snapshots, output: Output) -> Result<Outcome, Error> {
    let Snapshots::Verify { service, ops } = command;
    let verify = VerifySnapshots {
        service: service.clone(),
    };
    require_live_service(&ops, &service).await?;
    let mut session = OpsSession::open(&ops.with_default_timeout(LONG_TIMEOUT))?;
    let reply = session.request(&service, OpsCommand::from(verify)).await?;
    session.print(output, &reply, |result| verification_text(&service, result));
    let is_complete = Verification::deserialize(&reply.result).is_ok_and(|verification| verification.is_complete());
    Ok(Outcome::positive_if(reply.is_accepted() && is_complete))
}

/// Result of `VerifySnapshots`.
#[derive(Debug, Deserialize)]
struct Verification {
    snapshots: u64,
    /// Less than `snapshots` if the service ran out of time.
    checked: u64,
    /// Number of snapshots in an older format, which the service does not use.
    #[serde(default)]
    unreadable: u64,
    mismatches: Vec<Value>,
}

impl Verification {
    fn is_complete(&self) -> bool {
        self.mismatches.is_empty() && self.checked == self.snapshots
    }
}

fn verification_text(service: &str, result: &Value) -> String {
    let Ok(Verification {
        snapshots,
        checked,
        unreadable,
        mismatches,
    }) = Verification::deserialize(result)
    else {
        return with_result(&format!("{service} reported on its snapshots:"), result);
    };
    let mut text = format!("{service} compared {checked} of {snapshots} snapshots");
    if unreadable > 0 {
        text.push_str(&format!("; {unreadable} in an older format (not used)"));
    }
    if checked < snapshots {
        text.push_str("; it ran out of time for the others");
    }
    if !mismatches.is_empty() {
        text.push_str(&format!(
            "\n\nthese snapshots differ from their domain events:\n{}",
            plain(&Value::Array(mismatches))
        ));
    }
    text
}
