//! `rollcall history`: what happened to an aggregate, and how it was at some point.

use contracts::{OpsCommand, ReadAggregate, ReadHistory, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::operation::{Asking, Operation, somebody_listens, tell};
use crate::output::{Output, counted, plain, table_of};
use crate::pages::rows_of;
use crate::progress::Progress;
use crate::{Error, Outcome};

/// Domain events on a page, at most.
const PAGE: usize = 100;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The service that owns the aggregate, e.g. user
    service: String,
    /// The aggregate's id
    id: Uuid,
    /// The aggregate as it is, instead of what happened
    #[arg(long, conflicts_with_all = ["version", "at"])]
    now: bool,
    /// The aggregate as it was at this version
    #[arg(long, value_name = "N", conflicts_with = "at", value_parser = clap::value_parser!(i64).range(1..))]
    version: Option<i64>,
    /// The aggregate as it was at this time, e.g. 2026-03-01T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Timestamp>,
    /// Only what happened after this version
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..), conflicts_with_all = ["now", "version", "at"])]
    after: i64,
    /// Domain events, at most
    #[arg(long, value_name = "ROWS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["now", "version", "at"])]
    limit: u32,
    #[command(flatten)]
    asking: Asking,
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
        asking,
        ..
    } = &arguments;
    if *now || version.is_some() || at.is_some() {
        let read = ReadAggregate {
            service: service.clone(),
            aggregate_id: *id,
            version: *version,
            at: *at,
        };
        return tell(asking, read, output, plain).await;
    }
    history(&arguments, output).await
}

async fn history(arguments: &Arguments, output: Output) -> Result<Outcome, Error> {
    let Arguments {
        service, id, asking, ..
    } = arguments;
    let limit = usize::try_from(arguments.limit).unwrap_or(usize::MAX);
    somebody_listens(asking, service).await?;
    let mut operation = Operation::begin(asking)?;
    let mut progress = Progress::of("reading the journal");
    let (mut events, mut after) = (Vec::new(), arguments.after);
    loop {
        progress.goes_on();
        let read = ReadHistory {
            service: service.clone(),
            aggregate_id: *id,
            after_version: after,
            limit: i32::try_from(PAGE.min(limit - events.len())).unwrap_or(i32::MAX),
        };
        let answer = operation.ask(service, OpsCommand::from(read)).await?;
        if !answer.is_accepted() {
            operation.show(output, &answer, plain);
            return Ok(Outcome::No);
        }
        let next = answer.result["after_version"].as_i64();
        events.extend(rows_of(answer.result));
        match next {
            Some(next) if next > after && events.len() < limit => after = next,
            Some(_) | None => break,
        }
    }
    drop(progress);
    let answer = json!({ "operation": operation.id, "service": service, "aggregate_id": id, "events": events });
    output.answer(&answer, || text(arguments, &events));
    Ok(match events.is_empty() {
        true => Outcome::No,
        false => Outcome::Yes,
    })
}

fn text(arguments: &Arguments, events: &[Value]) -> String {
    let Arguments { service, id, .. } = arguments;
    match (events, arguments.after) {
        ([], 0) => format!("nothing has happened to {id} at {service}"),
        ([], after) => format!("nothing has happened to {id} at {service} after version {after}"),
        (events, _) => format!(
            "{}\n\n{}",
            table_of(events, COLUMNS),
            counted(events.len(), "domain event")
        ),
    }
}
