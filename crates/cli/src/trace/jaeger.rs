//! Client of Jaeger's query API, version 3, which returns OTLP as JSON.
//! <https://www.jaegertracing.io/docs/latest/architecture/apis/>

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

use super::{Span, Trace};
use crate::Error;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// `STATUS_CODE_ERROR` of OTLP.
const FAILED: u8 = 2;

/// Returns the trace with this id, or `None` if Jaeger does not have it.
///
/// `url` is the base URL of Jaeger's query API, e.g. `http://127.0.0.1:16686`.
///
/// # Errors
/// Returns [`Error::Unavailable`] if the server is unreachable or is not Jaeger.
pub async fn fetch(url: &str, id: &str) -> Result<Option<Trace>, Error> {
    let unreachable = |source: reqwest::Error| {
        let advice = "cannot query Jaeger; check --jaeger (JAEGER_QUERY_URL), and that Jaeger is running";
        // The URL may contain a password.
        Error::unavailable(advice, source.without_url())
    };
    let client = reqwest::Client::builder()
        .timeout(REQUEST_TIMEOUT)
        .build()
        .expect("a client without custom TLS and proxy settings can be built");
    let request = client.get(format!("{}/api/v3/traces/{id}", url.trim_end_matches('/')));
    let response = request.send().await.map_err(unreachable)?;
    if response.status() == StatusCode::NOT_FOUND {
        // Another server returns 404 too. Only Jaeger adds this body.
        let body: Option<NotFound> = response.json().await.ok();
        return if body.is_some() {
            Ok(None)
        } else {
            Err(Error::without_source(
                "the server is not Jaeger; check --jaeger (JAEGER_QUERY_URL)",
            ))
        };
    }
    let traces: TraceResponse = response
        .error_for_status()
        .map_err(unreachable)?
        .json()
        .await
        .map_err(unreachable)?;
    Ok(Some(traces.into_trace(id)))
}

#[derive(Deserialize)]
struct NotFound {
    #[serde(rename = "error")]
    _error: serde_json::Value,
}

#[derive(Deserialize)]
struct TraceResponse {
    result: TracesData,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TracesData {
    #[serde(default)]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans {
    #[serde(default)]
    resource: Resource,
    #[serde(default)]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Deserialize, Default)]
struct Resource {
    #[serde(default)]
    attributes: Vec<Attribute>,
}

#[derive(Deserialize)]
struct Attribute {
    key: String,
    #[serde(default)]
    value: Value,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Value {
    string_value: Option<String>,
}

#[derive(Deserialize)]
struct ScopeSpans {
    #[serde(default)]
    spans: Vec<OtlpSpan>,
}

/// A span. The JSON mapping of protobuf encodes 64-bit numbers as strings.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OtlpSpan {
    span_id: String,
    #[serde(default)]
    parent_span_id: String,
    #[serde(default)]
    name: String,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize, Default)]
struct Status {
    #[serde(default)]
    code: u8,
    #[serde(default)]
    message: String,
}

impl TraceResponse {
    fn into_trace(self, id: &str) -> Trace {
        let mut spans = Vec::new();
        for resource in self.result.resource_spans {
            let service = resource
                .resource
                .attributes
                .into_iter()
                .find(|attribute| attribute.key == "service.name");
            let service = service
                .and_then(|attribute| attribute.value.string_value)
                .unwrap_or_default();
            let of_this_service = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(of_this_service.map(|span| span.into_span(&service)));
        }
        Trace {
            id: id.to_owned(),
            spans,
        }
    }
}

impl OtlpSpan {
    fn into_span(self, service: &str) -> Span {
        let nanos = |text: &str| Duration::from_nanos(text.parse().unwrap_or(0));
        let start = nanos(&self.start_time_unix_nano);
        Span {
            id: self.span_id,
            parent: Some(self.parent_span_id).filter(|parent| !parent.is_empty()),
            service: service.to_owned(),
            operation: self.name,
            start,
            duration: nanos(&self.end_time_unix_nano).saturating_sub(start),
            error: (self.status.code == FAILED).then_some(self.status.message),
        }
    }
}
