//! `rollcall where-is`: follows a message, or all messages of an operation, through topics and services.
//!
//! Combines three sources: the records on the topics, the positions that services report on `ops.status`, and each
//! service's reply to `WhereIs`.

mod records;
mod steps;

use std::time::Duration;

use contracts::{Timestamp, WhereIs};
use serde::Serialize;
use uuid::Uuid;

use self::records::{FoundRecord, TimeRange};
use self::steps::Step;
use crate::history::time;
use crate::ops::{OpsArguments, OpsReply, OpsSession};
use crate::output::Output;
use crate::processes::{Processes, is_live};
use crate::trace::{self, Trace};
use crate::{Error, Outcome};

/// Tolerance at both ends of the time range, because clocks differ and a producer stamps a batch only once.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Id of a message (`ce_id`) or of an operation
    id: Uuid,
    /// Search records from this time on, e.g. 2026-03-01T12:00:00Z [default: the time in the id]
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Length of the time range to search, in minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=525_600))]
    within: u64,
    /// URL of Jaeger's query API; without it, only the trace id is shown
    #[arg(long, env = "JAEGER_QUERY_URL", hide_env_values = true, value_name = "URL")]
    jaeger: Option<String>,
    /// Width of the output in columns
    #[arg(long, env = "COLUMNS", hide_env = true, default_value_t = 120)]
    width: usize,
    #[command(flatten)]
    ops: OpsArguments,
}

#[derive(Debug, Serialize)]
struct Whereabouts {
    id: Uuid,
    /// Start of the searched time range; `None` if no records were searched because the start is unknown.
    since: Option<String>,
    until: Option<String>,
    /// Records in causal order.
    records: Vec<Step>,
    /// Reply of each service.
    services: Vec<OpsReply>,
    traces: Vec<String>,
}

pub(crate) async fn run(arguments: Arguments, output: Output) -> Result<Outcome, Error> {
    let Arguments { id, ops, .. } = &arguments;
    let processes = Processes::read(&ops.sources).await?;
    let now = Timestamp::now();
    let live: Vec<_> = processes
        .all()
        .into_iter()
        .filter(|status| is_live(status, now))
        .collect();

    let mut services: Vec<_> = live.iter().map(|status| status.service.clone()).collect();
    services.dedup();
    let request = |service: String| {
        let where_is = WhereIs {
            service: service.clone(),
            message_id: *id,
        };
        (service, contracts::OpsCommand::from(where_is))
    };
    let mut replies = Vec::new();
    if !services.is_empty() {
        let mut session = OpsSession::open(ops)?;
        replies = session.request_all(services.into_iter().map(request).collect()).await?;
    }
    let range = arguments.range(now);
    let records = match range {
        Some(range) => records::find(&ops.sources.kafka, *id, range)?,
        None => Vec::new(),
    };
    let whereabouts = Whereabouts {
        id: *id,
        since: range.map(|range| range.since.to_string()),
        until: range.map(|range| range.until.to_string()),
        traces: traces(&records),
        records: steps::steps(records, &live, &replies),
        services: replies,
    };
    let shown = first_trace(&arguments, &whereabouts, output).await;
    output.print(&whereabouts, || {
        steps::text(&whereabouts, shown.as_ref(), arguments.width)
    });
    Ok(outcome(&whereabouts))
}

impl Arguments {
    /// Returns the time range to search, or `None` if the id contains no time, i.e. is not a UUIDv7.
    fn range(&self, now: Timestamp) -> Option<TimeRange> {
        let since = match self.since {
            Some(since) => since,
            None => created_at(self.id)? - CLOCK_TOLERANCE,
        };
        let until = since + Duration::from_secs(60 * self.within);
        Some(TimeRange {
            since,
            until: until.min(now + CLOCK_TOLERANCE),
        })
    }
}

fn created_at(id: Uuid) -> Option<Timestamp> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)? + i64::from(nanos / 1_000);
    Timestamp::from_micros(micros).ok()
}

fn traces(records: &[FoundRecord]) -> Vec<String> {
    let mut traces: Vec<String> = Vec::new();
    for trace in records.iter().filter_map(|record| record.trace.as_ref()) {
        if !traces.contains(trace) {
            traces.push(trace.clone());
        }
    }
    traces
}

/// Fetches the first trace for text output. Returns `None` on errors, because the rest of the output is still useful.
async fn first_trace(arguments: &Arguments, whereabouts: &Whereabouts, output: Output) -> Option<Trace> {
    let (url, id) = (arguments.jaeger.as_ref()?, whereabouts.traces.first()?);
    if output.json {
        return None;
    }
    trace::fetch(url, id).await.ok().flatten()
}

fn outcome(whereabouts: &Whereabouts) -> Outcome {
    let knows_it = |reply: &OpsReply| reply.is_accepted() && steps::has_content(&reply.result);
    Outcome::positive_if(!whereabouts.records.is_empty() || whereabouts.services.iter().any(knows_it))
}
