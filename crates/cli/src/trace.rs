//! `rollcall trace`: shows a trace from Jaeger as a tree.

mod jaeger;
mod render;

use std::time::Duration;

use serde::Serialize;

pub use jaeger::fetch;
pub use render::render;

use crate::output::Output;
use crate::{Error, Outcome};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Trace id (32 hexadecimal digits): `traceId` of a problem or a log line
    #[arg(value_parser = trace_id)]
    id: String,
    /// URL of Jaeger's query API
    #[arg(
        long = "jaeger",
        env = "JAEGER_QUERY_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    url: String,
    /// Width of the output in columns
    #[arg(long, env = "COLUMNS", hide_env = true, default_value_t = 120)]
    width: usize,
}

/// A trace with its spans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trace {
    pub id: String,
    /// The spans, in no particular order.
    pub spans: Vec<Span>,
}

/// A unit of work of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Span {
    pub id: String,
    /// Id of the parent span, which the trace may lack.
    pub parent: Option<String>,
    pub service: String,
    pub operation: String,
    /// Start as the time since 1970-01-01T00:00:00Z.
    #[serde(rename = "start_ns", serialize_with = "nanos")]
    pub start: Duration,
    #[serde(rename = "duration_ns", serialize_with = "nanos")]
    pub duration: Duration,
    /// Error message if the span failed; empty if it failed without one.
    pub error: Option<String>,
}

fn nanos<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

fn trace_id(text: &str) -> Result<String, String> {
    let id: String = text
        .chars()
        .filter(|c| *c != '-')
        .collect::<String>()
        .to_ascii_lowercase();
    if id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()) {
        Ok(id)
    } else {
        Err("a trace id has 32 hexadecimal digits".to_owned())
    }
}

pub(crate) async fn run(arguments: &Arguments, output: Output) -> Result<Outcome, Error> {
    let Some(trace) = fetch(&arguments.url, &arguments.id).await? else {
        let id = &arguments.id;
        output.print(&serde_json::json!({ "id": id, "spans": [] }), || {
            format!("Jaeger has no trace {id}; spans arrive after a few seconds, and only those of sampled traces")
        });
        return Ok(Outcome::Negative);
    };
    output.print(&trace, || render(&trace, arguments.width));
    Ok(Outcome::Positive)
}
