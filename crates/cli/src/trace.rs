//! `rollcall trace`: one trace, from Jaeger, as a tree.

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
    /// 32 hexadecimal digits: `traceId` of a problem, or of a log line
    #[arg(value_parser = trace_id)]
    id: String,
    /// Where Jaeger's query API is
    #[arg(
        long = "jaeger",
        env = "JAEGER_QUERY_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    url: String,
    /// Columns to use
    #[arg(long, env = "COLUMNS", hide_env = true, default_value_t = 120)]
    width: usize,
}

/// All that is known of one trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trace {
    pub id: String,
    /// In no order.
    pub spans: Vec<Span>,
}

/// Something that one service did for the trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Span {
    pub id: String,
    /// The span that led to it; it may not be in the trace.
    pub parent: Option<String>,
    pub service: String,
    pub operation: String,
    /// Since 1970.
    #[serde(rename = "start_ns", serialize_with = "nanos")]
    pub start: Duration,
    #[serde(rename = "duration_ns", serialize_with = "nanos")]
    pub duration: Duration,
    /// Why it failed, if it did. Empty: no reason given.
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
    match id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()) {
        true => Ok(id),
        false => Err("a trace id has 32 hexadecimal digits".to_owned()),
    }
}

pub(crate) async fn run(arguments: &Arguments, output: Output) -> Result<Outcome, Error> {
    let Some(trace) = fetch(&arguments.url, &arguments.id).await? else {
        let id = &arguments.id;
        output.answer(&serde_json::json!({ "id": id, "spans": [] }), || {
            format!("Jaeger has no trace {id}; spans arrive some seconds late, unsampled ones never")
        });
        return Ok(Outcome::No);
    };
    output.answer(&trace, || render(&trace, arguments.width));
    Ok(Outcome::Yes)
}
