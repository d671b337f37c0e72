//! `rollcall where-is`: the way of a message, or of all that an operation led to.
//!
//! Three sources: the records on the topics, how far each service has come by `ops.status`, and what each service answers
//! to `WhereIs`.

mod records;
mod way;

use std::time::Duration;

use contracts::{Timestamp, WhereIs};
use serde::Serialize;
use uuid::Uuid;

use self::records::{Found, Span};
use self::way::Step;
use crate::history::time;
use crate::operation::{Answer, Asking, Operation, Said};
use crate::output::Output;
use crate::processes::{Processes, is_live};
use crate::trace::{self, Trace};
use crate::{Error, Outcome};

/// Clocks differ, and a batch of the producer's is stamped once.
const BEFORE: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// `ce_id` of a message, or the id of an operation
    id: Uuid,
    /// Look at records from this time on, e.g. 2026-03-01T12:00:00Z; else from the time that the id holds
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Minutes of records to look at
    #[arg(long, value_name = "MINUTES", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=525_600))]
    within: u64,
    /// Where Jaeger's query API is; without it, the trace is named and not shown
    #[arg(long, env = "JAEGER_QUERY_URL", hide_env_values = true, value_name = "URL")]
    jaeger: Option<String>,
    /// Columns to use
    #[arg(long, env = "COLUMNS", hide_env = true, default_value_t = 120)]
    width: usize,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Serialize)]
struct Whereabouts {
    id: Uuid,
    /// Of the records that were looked at; `None`: of none, as nobody knows since when.
    since: Option<String>,
    until: Option<String>,
    /// In the order in which one led to the other.
    records: Vec<Step>,
    /// What each service says of it.
    services: Vec<Answer>,
    traces: Vec<String>,
}

pub(crate) async fn run(arguments: Arguments, output: Output) -> Result<Outcome, Error> {
    let Arguments { id, asking, .. } = &arguments;
    let processes = Processes::read(&asking.sources).await?;
    let now = Timestamp::now();
    let live: Vec<_> = processes
        .all()
        .into_iter()
        .filter(|status| is_live(status, now))
        .collect();

    let mut services: Vec<_> = live.iter().map(|status| status.service.clone()).collect();
    services.dedup();
    let question = |service: String| {
        let where_is = WhereIs {
            service: service.clone(),
            message_id: *id,
        };
        (service, contracts::OpsCommand::from(where_is))
    };
    let mut answers = Vec::new();
    if !services.is_empty() {
        let mut operation = Operation::begin(asking)?;
        answers = operation.ask_all(services.into_iter().map(question).collect()).await?;
    }
    let span = arguments.span(now);
    let records = match span {
        Some(span) => records::find(&asking.sources.kafka, *id, span)?,
        None => Vec::new(),
    };
    let whereabouts = Whereabouts {
        id: *id,
        since: span.map(|span| span.since.to_string()),
        until: span.map(|span| span.until.to_string()),
        traces: traces(&records),
        records: way::steps(records, &live, &answers),
        services: answers,
    };
    let shown = trace_of(&arguments, &whereabouts, output).await;
    output.answer(&whereabouts, || {
        way::text(&whereabouts, shown.as_ref(), arguments.width)
    });
    Ok(outcome(&whereabouts))
}

impl Arguments {
    /// The records to look at. Ids are UUIDv7 and hold the time at which they were made.
    fn span(&self, now: Timestamp) -> Option<Span> {
        let since = match self.since {
            Some(since) => since,
            None => made_at(self.id)? - BEFORE,
        };
        let until = since + Duration::from_secs(60 * self.within);
        Some(Span {
            since,
            until: until.min(now + BEFORE),
        })
    }
}

fn made_at(id: Uuid) -> Option<Timestamp> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)? + i64::from(nanos / 1_000);
    Timestamp::from_micros(micros).ok()
}

fn traces(records: &[Found]) -> Vec<String> {
    let mut traces: Vec<String> = Vec::new();
    for trace in records.iter().filter_map(|record| record.trace.as_ref()) {
        if !traces.contains(trace) {
            traces.push(trace.clone());
        }
    }
    traces
}

/// The first trace, for people. That it can't be had is no reason to keep the rest from them.
async fn trace_of(arguments: &Arguments, whereabouts: &Whereabouts, output: Output) -> Option<Trace> {
    let (url, id) = (arguments.jaeger.as_ref()?, whereabouts.traces.first()?);
    match output.json {
        true => None,
        false => trace::fetch(url, id).await.ok().flatten(),
    }
}

fn outcome(whereabouts: &Whereabouts) -> Outcome {
    let knows = |answer: &Answer| answer.outcome == Said::Accepted && way::says_something(&answer.result);
    match whereabouts.records.is_empty() && !whereabouts.services.iter().any(knows) {
        true => Outcome::No,
        false => Outcome::Yes,
    }
}
