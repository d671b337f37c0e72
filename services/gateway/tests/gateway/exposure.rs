//! The gateway exposes nothing by accident: no outbound requests, no internals in problems, and no undocumented routes
//! (OWASP API Security Top 10, 2023: API7 to API9). The tests of security headers are in `edge.rs`.

use std::collections::BTreeSet;
use std::net::TcpListener;

use axum::http::Method;
use contracts::{Details, EventChanged, EventCommand, EventEvent};
use messaging::Outgoing;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{TestApp, draft, event_created};

#[tokio::test]
async fn addresses_in_requests_and_messages_are_never_called() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket option");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let event = app.has_event(&ada).await;
    let mut body = draft();
    for name in ["title", "description", "venue"] {
        body[name] = json!(format!("![x]({url})"));
    }
    let call = |method, path: String, body: Value| {
        let call = app.gateway.call(method, path).by(&ada).wait(0).json(body);
        let call = call
            .header("referer", &url)
            .header("x-forwarded-host", &url)
            .header("origin", &url);
        call.header("forwarded", format!("host=\"{url}\"")).send()
    };
    call(Method::POST, "/v1/events".to_owned(), body).await.expect(202);
    let announcement = json!({ "subject": url, "body": format!("<img src=\"{url}\">") });
    call(Method::POST, format!("/v1/events/{event}/announcements"), announcement)
        .await
        .expect(202);
    call(
        Method::POST,
        format!("/v1/events/{event}/cancel"),
        json!({ "reason": url }),
    )
    .await
    .expect(202);
    assert_eq!(app.commands::<EventCommand>().await.len(), 3);
    let details = Details {
        title: url.clone(),
        description: format!("![x]({url})"),
        venue: url.clone(),
        ..event_created(ada.id).details
    };
    let changed = EventChanged {
        details,
        published: true,
    };
    app.bench.deliver(Outgoing::<EventEvent>::new(event, changed)).await;
    for path in ["", "/calendar.ics", "/registrations", "/history"] {
        app.gateway
            .get(format!("/v1/events/{event}{path}"))
            .by(&ada)
            .send()
            .await
            .expect(200);
    }
    let error = listener.accept().expect_err("no connection was opened");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn problems_contain_no_internals() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    app.gateway.app.pool().close().await;
    for path in ["/v1/events", "/v1/me/registrations", "/v1/events?text=x"] {
        let response = app.gateway.get(path).by(&ada).send().await;
        assert!(response.status.is_server_error(), "{response:?}");
        let text = response.body.to_string().to_lowercase();
        for internal in ["sqlx", "pool", "postgres", "select", ".rs", "panicked", "kafka"] {
            assert!(!text.contains(internal), "{internal} in {text}");
        }
    }
}

fn documented() -> Vec<(String, BTreeSet<String>)> {
    let document = gateway::api::document();
    let paths = document["paths"].as_object().expect("paths");
    let of = |methods: &Value| {
        methods
            .as_object()
            .expect("methods")
            .keys()
            .map(|method| method.to_uppercase())
            .collect()
    };
    paths
        .iter()
        .map(|(path, methods)| (path.clone(), of(methods)))
        .collect()
}

#[tokio::test]
async fn every_documented_path_serves_exactly_the_documented_methods() {
    let app = TestApp::start().await;
    for (path, mut methods) in documented() {
        let path = path
            .replace("{id}", &Uuid::now_v7().to_string())
            .replace("{token}", "abc");
        let response = app
            .gateway
            .call(Method::from_bytes(b"PROPFIND").expect("a method"), &path)
            .send()
            .await;
        // An unknown path would be 404.
        assert_eq!(response.status, 405, "{path}");
        assert_eq!(response.code(), "method");
        let allowed: BTreeSet<String> = response
            .header("allow")
            .split(',')
            .map(|text| text.trim().to_owned())
            .collect();
        if methods.contains("GET") {
            methods.insert("HEAD".to_owned());
        }
        assert_eq!(allowed, methods, "{path}");
    }
}

#[tokio::test]
async fn undocumented_paths_are_not_found() {
    let app = TestApp::start().await;
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v2/events",
        "/v1/events/",
        "/metrics",
        "/health",
        "/ready",
        "/debug/pprof",
        "/actuator",
        "/.env",
        "/.git/config",
        "/admin",
        "/v1/admin",
        "/graphql",
        "/v1/events/..%2f..%2fetc%2fpasswd",
        "//v1/events",
        "/v1/events/%00",
        "/v1/%ff",
        "/openapi.yaml",
    ] {
        let response = app.gateway.get(path).send().await.expect(404);
        assert_eq!(response.code(), "not-found", "{path}");
    }
}
