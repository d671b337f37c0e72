use std::future::pending;
use std::sync::{Arc, Once};

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::routing::{get, post};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry::{Context, global};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::Registry;
use tokio::sync::Notify;
use tower::ServiceExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn request(method: Method, path: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    request.body(Body::empty()).expect("a valid request")
}

/// Collects traces in the whole process. Every test here calls it, because a call site that another thread reaches first
/// without a subscriber may stay disabled.
fn collect_traces() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        global::set_text_map_propagator(TraceContextPropagator::new());
        let provider = SdkTracerProvider::builder().build();
        let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing_subscriber::registry().with(spans).init();
    });
}

/// Returns `(method, route, status, count)` of each histogram.
fn measured(registry: &Registry) -> Vec<(String, String, String, u64)> {
    let families = registry.gather();
    let family = families
        .iter()
        .find(|family| family.name() == chassis::http::REQUEST_DURATION);
    let metrics = family.map(|family| family.get_metric()).unwrap_or_default();
    let mut all: Vec<_> = metrics
        .iter()
        .map(|metric| {
            let label = |name: &str| {
                let label = metric.get_label().iter().find(|label| label.name() == name);
                label.expect("a label").value().to_owned()
            };
            let count = metric.get_histogram().get_sample_count();
            (label("method"), label("route"), label("status"), count)
        })
        .collect();
    all.sort();
    all
}

fn row(method: &str, route: &str, status: &str, count: u64) -> (String, String, String, u64) {
    (method.to_owned(), route.to_owned(), status.to_owned(), count)
}

#[tokio::test]
async fn requests_are_measured_by_route_and_not_by_path() {
    collect_traces();
    let registry = Registry::new();
    let router = Router::new().route("/v1/users/{id}", get(async || "a user")).nest(
        "/v1/events",
        Router::new().route("/{id}/publish", post(async || StatusCode::ACCEPTED)),
    );
    let router = chassis::http::observe(router, &registry).expect("the first one");

    let purge = Method::from_bytes(b"PURGE").expect("a method");
    for (method, path) in [
        (Method::GET, "/v1/users/1"),
        (Method::GET, "/v1/users/2"),
        (Method::POST, "/v1/events/7/publish"),
        (Method::GET, "/wp-login.php"),
        (purge, "/v1/users/1"),
    ] {
        router.clone().oneshot(request(method, path)).await.expect("infallible");
    }

    let expected = [
        row("GET", "/v1/users/{id}", "200", 2),
        row("GET", "unmatched", "404", 1),
        row("POST", "/v1/events/{id}/publish", "202", 1),
        row("_OTHER", "/v1/users/{id}", "405", 1),
    ];
    assert_eq!(measured(&registry), expected);
}

#[tokio::test]
async fn a_request_of_a_disconnected_client_is_measured_as_cancelled() {
    collect_traces();
    let (registry, arrived) = (Registry::new(), Arc::new(Notify::new()));
    let signal = arrived.clone();
    let wait = async move || {
        signal.notify_one();
        pending::<()>().await;
    };
    let router = chassis::http::observe(Router::new().route("/slow", get(wait)), &registry).expect("the first one");

    tokio::select! {
        _ = router.oneshot(request(Method::GET, "/slow")) => unreachable!("the handler never returns"),
        () = arrived.notified() => {}
    }
    assert_eq!(measured(&registry), [row("GET", "/slow", "cancelled", 1)]);
}

#[tokio::test]
async fn a_request_continues_the_trace_of_its_client() {
    collect_traces();
    let trace = async || Context::current().span().span_context().trace_id().to_string();
    let router = Router::new().route("/trace", get(trace));
    let router = chassis::http::observe(router, &Registry::new()).expect("the first one");
    let mut request = request(Method::GET, "/trace");
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    request
        .headers_mut()
        .insert("traceparent", parent.parse().expect("a header"));

    let response = router.oneshot(request).await.expect("infallible");
    let body = axum::body::to_bytes(response.into_body(), 100)
        .await
        .expect("a short body");
    assert_eq!(body, "4bf92f3577b34da6a3ce929d0e0e4736");
}

#[tokio::test]
async fn observing_two_routers_with_one_registry_fails() {
    let registry = Registry::new();
    assert!(chassis::http::observe(Router::<()>::new(), &registry).is_ok());
    assert!(chassis::http::observe(Router::<()>::new(), &registry).is_err());
}
