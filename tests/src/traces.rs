//! Traces in Jaeger.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Returns the names of the services that have a span in a trace.
pub fn services(trace: &Value) -> Vec<String> {
    let processes = trace["processes"].as_object();
    let mut services: Vec<_> = processes
        .into_iter()
        .flat_map(|processes| processes.values())
        .filter_map(|process| process["serviceName"].as_str().map(str::to_owned))
        .collect();
    services.sort();
    services.dedup();
    services
}

/// Waits until a trace has spans of all these services, because exporters send spans in batches.
pub async fn complete(jaeger: &str, trace_id: &str, expected: &[&str], within: Duration) -> Result<Value> {
    let deadline = Instant::now() + within;
    loop {
        let response: Value = reqwest::get(format!("{jaeger}/api/traces/{trace_id}"))
            .await
            .context("Jaeger is unreachable")?
            .json()
            .await
            .unwrap_or_default();
        let trace = response["data"][0].clone();
        let found = services(&trace);
        if expected.iter().all(|service| found.iter().any(|name| name == service)) {
            return Ok(trace);
        }
        if Instant::now() > deadline {
            bail!("trace {trace_id} has spans of {found:?}, but must have spans of {expected:?}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
