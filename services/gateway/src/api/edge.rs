//! The outermost middleware: it adds a request id, the problem body, security headers and a timeout to every response.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use opentelemetry::trace::{SpanContext, TraceContextExt};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use uuid::Uuid;

use super::MAX_BODY_BYTES;
use crate::app::App;
use crate::error::Error;
use crate::problem::{self, Problem};

pub(super) const REQUEST_ID: &str = "x-request-id";
/// Header that identifies the trace of the request (W3C Trace Context, level 2, draft).
pub(super) const TRACE_RESPONSE: &str = "traceresponse";

/// Content security policy of API responses: a browser may only display them.
const API_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
/// Content security policy of Swagger UI: scripts of the same origin, and inline styles, because it creates these.
const DOCS_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                             frame-ancestors 'none'";

/// Security headers of every response.
const SECURITY_HEADERS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=()",
    ),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-site"),
];

/// Middleware around all other layers.
pub(super) async fn edge(State(app): State<App>, request: Request, next: Next) -> Response {
    let request_id = request_id(request.headers());
    let is_docs = request.uri().path().starts_with("/docs");
    let trace = tracing::Span::current().context().span().span_context().clone();
    let response = if let Err(error) = chassis::http::check_host(request.version(), request.headers()) {
        Error::Malformed(error.to_string()).into_response()
    } else if declares_too_much(request.headers()) {
        Error::BodyTooLarge.into_response()
    } else {
        let response = tokio::time::timeout(app.http().request_timeout, next.run(request)).await;
        response.unwrap_or_else(|_| Error::TimedOut.into_response())
    };
    let mut response = render(response, request_id, &trace);
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let hsts = app.http().hsts.as_secs();
    if hsts > 0 {
        set(
            headers,
            "strict-transport-security",
            &format!("max-age={hsts}; includeSubDomains"),
        );
    }
    let policy = if is_docs { DOCS_POLICY } else { API_POLICY };
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(policy));
    // Responses depend on the principal and change over time, so they must not be cached.
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    set(headers, REQUEST_ID, &request_id.to_string());
    if trace.is_valid() {
        let (trace_id, span_id, flags) = (trace.trace_id(), trace.span_id(), trace.trace_flags());
        set(headers, TRACE_RESPONSE, &format!("00-{trace_id}-{span_id}-{flags:02x}"));
    }
    response
}

/// Returns the id that the client sent if it is a UUID, or else a new id. Other values are ignored, because the id is
/// logged.
fn request_id(headers: &HeaderMap) -> Uuid {
    let given = headers
        .get(REQUEST_ID)
        .and_then(|value| Uuid::try_parse_ascii(value.as_bytes()).ok());
    given.unwrap_or_else(Uuid::now_v7)
}

/// Returns `true` if the declared length of the body exceeds the limit, so the request is rejected before the body
/// is sent. The extractor limits a body without a declared length.
fn declares_too_much(headers: &HeaderMap) -> bool {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    declared.is_some_and(|length: u64| length > MAX_BODY_BYTES as u64)
}

/// Writes the problem that an [`Error`] attached to its response.
fn render(mut response: Response, request_id: Uuid, trace: &SpanContext) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    let status = problem.status();
    if let Some(cause) = &problem.cause {
        tracing::error!(http.request.id = %request_id, code = problem.code, error = cause, "request {request_id} failed: {cause}");
    }
    // If traces are not collected, the request id finds the log messages.
    let trace_id = if trace.is_valid() {
        trace.trace_id().to_string()
    } else {
        request_id.simple().to_string()
    };
    let mut rendered = (status, Json(problem.body(Some(request_id), Some(trace_id)))).into_response();
    let headers = rendered.headers_mut();
    headers.extend(response.headers_mut().drain());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
    headers.remove(header::CONTENT_LENGTH);
    if status == axum::http::StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(seconds) = problem.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    rendered
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
