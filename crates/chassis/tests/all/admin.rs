use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use chassis::{Admin, Health, Supervisor, healthcheck, metrics};
use prometheus::{IntCounter, Registry};
use uuid::Uuid;

use crate::client::{send, send_raw, unreachable_address};

async fn serve(health: Health, metrics: Registry) -> SocketAddr {
    let admin = Admin::bind("127.0.0.1:0".parse().expect("an address"))
        .await
        .expect("a free port");
    let address = admin.address();
    tokio::spawn(admin.serve(health, metrics, pending()));
    address
}

#[tokio::test]
async fn ready_names_the_check_that_is_down() {
    let health = Health::new();
    health.check("kafka").up();
    let postgres = health.check("postgres");
    let address = serve(health, Registry::new()).await;

    let response = send(address, "GET /ready").await;
    assert_eq!(response.status, 503);
    assert_eq!(response.json()["checks"]["postgres"]["reason"], "not up yet");

    postgres.down("connection refused");
    let checks = send(address, "GET /ready").await.json()["checks"].clone();
    assert_eq!(
        checks["postgres"],
        serde_json::json!({"up": false, "reason": "connection refused"})
    );
    assert_eq!(checks["kafka"], serde_json::json!({"up": true}));
}

#[tokio::test]
async fn metrics_are_in_the_text_format() {
    let registry = metrics::registry("user", "1.2.3", Uuid::now_v7());
    let counter = IntCounter::new("rollcall_test_total", "counts").expect("a valid name");
    registry.register(Box::new(counter.clone())).expect("it is new");
    counter.inc_by(3);
    let address = serve(Health::new(), registry).await;

    let response = send(address, "GET /metrics").await;
    assert_eq!(response.status, 200);
    assert!(
        response.head.contains("content-type: text/plain; version=0.0.4"),
        "{}",
        response.head
    );
    for line in response.body.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').expect("name and value");
        value.parse::<f64>().expect("a number");
    }
    assert!(response.body.contains("\nrollcall_test_total 3\n"));
    assert!(response.body.contains(r#"service="user",version="1.2.3"} 1"#));
    #[cfg(target_os = "linux")]
    assert!(response.body.contains("\nprocess_resident_memory_bytes "));
}

#[tokio::test]
async fn the_admin_port_is_read_only() {
    let address = serve(Health::new(), Registry::new()).await;
    for request in ["POST /health", "POST /ready", "PUT /metrics", "DELETE /ready"] {
        assert_eq!(send(address, request).await.status, 405, "{request}");
    }
    assert_eq!(send(address, "GET /").await.status, 404);
    assert_eq!(send(address, "GET /health").await.status, 200);
}

#[tokio::test]
async fn the_admin_port_refuses_a_request_without_exactly_one_valid_host() {
    let address = serve(Health::new(), Registry::new()).await;
    for (headers, status) in [
        ("Host: x\r\n", 200),
        ("Host: [::1]:9464\r\n", 200),
        ("", 400),
        ("Host:\r\n", 400),
        ("Host: :80\r\n", 400),
        ("Host: a b\r\n", 400),
        ("Host: x@y\r\n", 400),
        ("Host: x:\r\n", 200),
        ("Host: x:65535\r\n", 200),
        ("Host: x:65536\r\n", 400),
        ("Host: x:abc\r\n", 400),
        ("Host: x:1:2\r\n", 400),
        ("Host: [::1]x\r\n", 400),
        ("Host: x\r\nHost: x\r\n", 400),
        ("Host: x\r\nhost: y\r\n", 400),
    ] {
        let request = format!("GET /health HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        assert_eq!(send_raw(address, request).await.status, status, "{headers:?}");
    }
    let old = "GET /health HTTP/1.0\r\n\r\n";
    assert_eq!(send_raw(address, old.to_owned()).await.status, 200);
}

#[tokio::test]
async fn healthcheck_names_the_check_that_is_down() {
    let supervisor = Supervisor::new("test", "0", Duration::ZERO);
    let health = supervisor.process().health();
    health.check("postgres").down("connection refused");
    let address = serve(health, Registry::new()).await;
    let error = tokio::task::spawn_blocking(move || healthcheck(address))
        .await
        .expect("no panic");
    let error = error.expect_err("it is not ready").to_string();
    assert!(
        error.contains("postgres") && error.contains("connection refused"),
        "{error}"
    );
}

#[tokio::test]
async fn healthcheck_fails_if_no_process_listens() {
    let (_reserved, address) = unreachable_address();
    let error = tokio::task::spawn_blocking(move || healthcheck(address))
        .await
        .expect("no panic");
    assert!(
        error
            .expect_err("no process listens")
            .to_string()
            .contains("is unreachable")
    );
}
