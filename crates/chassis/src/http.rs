//! What is measured of every HTTP request that a service answers: its duration, and a span. And what each must have: a
//! host.

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

/// Seconds until the response's head, by method, matched route and status. OpenTelemetry's
/// `http.server.request.duration`, with shorter labels.
pub const REQUEST_DURATION: &str = "http_server_request_duration_seconds";

/// The boundaries that the semantic conventions advise, and 30 s, as a client may wait 25 s for an outcome.
const BUCKETS: [f64; 15] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0,
];

/// For requests that no route matches: their paths are the client's invention, and must not become labels.
const UNMATCHED: &str = "unmatched";
/// For requests whose client went away before the response.
const CANCELLED: &str = "cancelled";

/// Why a request's `Host` is refused. Its text is for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// Also where the only one is empty, because a URI of http has a host (RFC 9110, section 4.2.1).
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
    match authority.host().is_empty() {
        true => Err(InvalidHost::Malformed),
        false => Ok(()),
    }
}

/// Measures the routes that `router` has so far, and its fallback. Once a registry.
///
/// The span continues the client's trace, if there is one. It has no `url.path`: only the route is known to
/// be free of personal data.
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
        begun: Instant::now(),
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
        // Fails where no traces are collected, and then there is nothing to continue.
        let _ = span.set_parent(parent);
    }
    span
}

/// Methods are the client's to choose, and labels are not.
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

/// Observed on drop, so that a request whose client went away is counted too.
struct Measurement {
    durations: HistogramVec,
    method: &'static str,
    route: Option<MatchedPath>,
    status: Option<StatusCode>,
    begun: Instant,
}

impl Drop for Measurement {
    fn drop(&mut self) {
        let route = self.route.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
        let status = self.status.as_ref().map_or(CANCELLED, StatusCode::as_str);
        self.durations
            .with_label_values(&[self.method, route, status])
            .observe(self.begun.elapsed().as_secs_f64());
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
