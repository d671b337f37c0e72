//! Middleware for HTTP requests: a duration metric and a span for each, and the check of its `Host` header.

use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, Version, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use opentelemetry::global;
use opentelemetry::propagation::Extractor;
use prometheus::{HistogramOpts, HistogramVec, Registry};
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Name of the metric: seconds until the response's head, by method, matched route and status. This is OpenTelemetry's
/// `http.server.request.duration` with shorter labels.
pub const REQUEST_DURATION: &str = "http_server_request_duration_seconds";

/// Bucket boundaries that the semantic conventions recommend, and 30 s, because a client may wait 25 s for an outcome.
const BUCKETS: [f64; 15] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0,
];

/// Route label of requests that match no route. Clients choose their paths, so these must not become labels.
const UNMATCHED: &str = "unmatched";
/// Status label of requests whose client disconnected before the response.
const CANCELLED: &str = "cancelled";

/// Reason why a request's `Host` header is invalid. The text is shown to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// The header is missing or empty. An http URI has a host (RFC 9110, section 4.2.1).
    #[error("The request has no Host header. Send exactly one.")]
    Missing,
    #[error("The request has more than one Host header. Send exactly one.")]
    Repeated,
    #[error("The request's Host header is not a host with an optional port.")]
    Malformed,
}

/// Checks that a request has exactly one valid `Host` header (RFC 9112, section 3.2), because proxies and caches in front
/// of a server that accepts two of them may have acted on the other one. In HTTP/1.0 it may be missing.
///
/// # Errors
/// Returns [`InvalidHost`], which the client must receive as a status 400.
pub fn check_host(version: Version, headers: &HeaderMap) -> Result<(), InvalidHost> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) if version < Version::HTTP_11 => return Ok(()),
        (None, _) => return Err(InvalidHost::Missing),
        (Some(_), Some(_)) => return Err(InvalidHost::Repeated),
        (Some(host), None) if host.is_empty() => return Err(InvalidHost::Missing),
        (Some(host), None) => host,
    };
    let authority = Authority::try_from(host.as_bytes()).map_err(|_| InvalidHost::Malformed)?;
    let port = authority.as_str().strip_prefix(authority.host());
    match port.map(|port| port.strip_prefix(':').unwrap_or(port)) {
        Some("") => {}
        Some(port) if port.parse::<u16>().is_ok() => {}
        _ => return Err(InvalidHost::Malformed),
    }
    if authority.host().is_empty() {
        return Err(InvalidHost::Malformed);
    }
    Ok(())
}

/// Adds a duration metric and a span to the routes that `router` has so far, and to its fallback.
///
/// The span continues the client's trace if the request has one. It has no `url.path`, because a path may contain
/// personal data, while a route does not.
///
/// # Errors
/// Returns an error if the registry already has the metric: call this once per registry.
pub fn observe<S>(router: Router<S>, metrics: &Registry) -> prometheus::Result<Router<S>>
where
    S: Clone + Send + Sync + 'static,
{
    let options = HistogramOpts::new(
        REQUEST_DURATION,
        "Seconds until the response's head, by method, matched route and status",
    );
    let durations = HistogramVec::new(options.buckets(BUCKETS.to_vec()), &["method", "route", "status"])?;
    metrics.register(Box::new(durations.clone()))?;
    Ok(router.layer(from_fn_with_state(durations, observed)))
}

async fn observed(State(durations): State<HistogramVec>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = known(request.method());
    let span = span(method, route.as_ref().map(MatchedPath::as_str), request.headers());
    let mut measurement = Measurement {
        durations,
        method,
        route,
        status: None,
        started: Instant::now(),
    };
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    measurement.status = Some(status);
    response
}

fn span(method: &'static str, route: Option<&str>, headers: &HeaderMap) -> Span {
    let span = info_span!(
        "http",
        otel.name = Empty,
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
    );
    if !span.is_disabled() {
        match route {
            Some(route) => span.record("otel.name", format_args!("{method} {route}").to_string()),
            None => span.record("otel.name", method),
        };
        let parent = global::get_text_map_propagator(|propagator| propagator.extract(&Headers(headers)));
        // Fails if no traces are collected, and then there is no trace to continue.
        let _ = span.set_parent(parent);
    }
    span
}

/// Returns the label of a method. Unknown methods share one label, because clients can invent any number.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "_OTHER",
    }
}

/// Records the metric on drop, so requests of disconnected clients are counted too.
struct Measurement {
    durations: HistogramVec,
    method: &'static str,
    route: Option<MatchedPath>,
    status: Option<StatusCode>,
    started: Instant,
}

impl Drop for Measurement {
    fn drop(&mut self) {
        let route = self.route.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
        let status = self.status.as_ref().map_or(CANCELLED, StatusCode::as_str);
        self.durations
            .with_label_values(&[self.method, route, status])
            .observe(self.started.elapsed().as_secs_f64());
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }
}
