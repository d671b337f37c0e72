//! `rollcall history`: the domain events of an aggregate, or its state at a version or time.

use contracts::{OpsCommand, ReadAggregate, ReadHistory, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::ops::{OpsArguments, OpsSession, require_live_service, run_command};
use crate::output::{Output, counted, plain, table_of};
use crate::pages::rows_of;
use crate::progress::Progress;
use crate::{Error, Outcome};

/// Maximum number of domain events on a page.
const PAGE: usize = 100;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Service that owns the aggregate, e.g. user
    service: String,
    /// Id of the aggregate
    id: Uuid,
    /// Show the current state instead of the domain events
    #[arg(long, conflicts_with_all = ["version", "at"])]
    now: bool,
    /// Show the state at this version
    #[arg(long, value_name = "N", conflicts_with = "at", value_parser = clap::value_parser!(i64).range(1..))]
    version: Option<i64>,
    /// Show the state at this time, e.g. 2026-03-01T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Timestamp>,
    /// Show only domain events after this version
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..), conflicts_with_all = ["now", "version", "at"])]
    after: i64,
    /// Maximum number of domain events
    #[arg(long, value_name = "ROWS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["now", "version", "at"])]
    limit: u32,
    #[command(flatten)]
    ops: OpsArguments,
}

pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|error| error.to_string())
}

const COLUMNS: &[&str] = &["version", "said_at", "type", "actor", "message_id", "content"];

pub(crate) async fn run(arguments: Arguments, output: Output) -> Result<Outcome, Error> {
    let Arguments {
        service,
        id,
        now,
        version,
        at,
        ops,
        ..
    } = &arguments;
    if *now || version.is_some() || at.is_some() {
        let read = ReadAggregate {
            service: service.clone(),
            aggregate_id: *id,
            version: *version,
            at: *at,
        };
        return run_command(ops, read, output, plain).await;
    }
    history(&arguments, output).await
}

async fn history(arguments: &Arguments, output: Output) -> Result<Outcome, Error> {
    let Arguments { service, id, ops, .. } = arguments;
    let limit = usize::try_from(arguments.limit).unwrap_or(usize::MAX);
    require_live_service(ops, service).await?;
    let mut session = OpsSession::open(ops)?;
    let mut progress = Progress::new("reading the journal");
    let (mut events, mut after) = (Vec::new(), arguments.after);
    loop {
        progress.tick();
        let read = ReadHistory {
            service: service.clone(),
            aggregate_id: *id,
            after_version: after,
            limit: i32::try_from(PAGE.min(limit - events.len())).unwrap_or(i32::MAX),
        };
        let reply = session.request(service, OpsCommand::from(read)).await?;
        if !reply.is_accepted() {
            session.print(output, &reply, plain);
            return Ok(Outcome::Negative);
        }
        let next = reply.result["after_version"].as_i64();
        events.extend(rows_of(reply.result));
        match next {
            Some(next) if next > after && events.len() < limit => after = next,
            Some(_) | None => break,
        }
    }
    drop(progress);
    let history = json!({
        "operation": session.correlation_id, "service": service, "aggregate_id": id, "events": events,
    });
    output.print(&history, || text(arguments, &events));
    Ok(Outcome::positive_if(!events.is_empty()))
}

fn text(arguments: &Arguments, events: &[Value]) -> String {
    let Arguments { service, id, .. } = arguments;
    match (events, arguments.after) {
        ([], 0) => format!("{service} has no domain events of {id}"),
        ([], after) => format!("{service} has no domain events of {id} after version {after}"),
        (events, _) => format!(
            "{}\n\n{}",
            table_of(events, COLUMNS),
            counted(events.len(), "domain event")
        ),
    }
}
