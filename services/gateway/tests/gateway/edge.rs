//! Properties of every response: ids, headers, problems, time limits and the documentation.

use std::collections::BTreeSet;
use std::future::pending;
use std::time::Duration;

use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chassis::serve::Limits;
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{interval, timeout};
use uuid::Uuid;

use crate::app::{Gateway, TestApp, sign_up};

#[tokio::test]
async fn every_response_has_a_request_id_and_security_headers() {
    let app = TestApp::start().await;
    for (path, status) in [
        ("/v1/events", 200),
        ("/v1/me", 401),
        ("/nowhere", 404),
        ("/openapi.json", 200),
    ] {
        let response = app.gateway.get(path).send().await.expect(status);
        assert!(response.header("x-request-id").parse::<Uuid>().is_ok(), "{path}");
        assert_eq!(response.header("x-content-type-options"), "nosniff");
        assert_eq!(response.header("x-frame-options"), "DENY");
        assert_eq!(response.header("referrer-policy"), "no-referrer");
        assert!(response.header("permissions-policy").contains("camera=()"));
        assert_eq!(
            response.header("strict-transport-security"),
            "max-age=31536000; includeSubDomains"
        );
        assert_eq!(
            response.header("content-security-policy"),
            "default-src 'none'; frame-ancestors 'none'"
        );
    }
    let request_id = Uuid::now_v7();
    let response = app
        .gateway
        .get("/v1/me")
        .header("x-request-id", request_id)
        .send()
        .await
        .expect(401);
    assert_eq!(response.header("x-request-id"), request_id.to_string());
    assert_eq!(response.body["instance"], format!("urn:uuid:{request_id}"));
    let response = app
        .gateway
        .get("/v1/me")
        .header("x-request-id", "a\" onload=\"")
        .send()
        .await
        .expect(401);
    assert!(response.header("x-request-id").parse::<Uuid>().is_ok());
}

#[tokio::test]
async fn hsts_can_be_disabled() {
    let app = TestApp::start_with(&[("HSTS_SECONDS", "0")]).await;
    let response = app.gateway.get("/v1/events").send().await.expect(200);
    assert!(response.headers.get("strict-transport-security").is_none());
}

#[tokio::test]
async fn every_problem_has_the_members_of_rfc_9457_and_our_own() {
    let app = TestApp::start().await;
    let me = "/v1/me";
    for (method, path, status, code) in [
        (Method::GET, me, 401, "not-signed-in"),
        (Method::GET, "/nowhere", 404, "not-found"),
        (Method::PATCH, me, 405, "method"),
        (Method::GET, "/v1/events?cursor=x", 422, "invalid"),
        (Method::GET, "/v1/events?limit=1000", 422, "invalid"),
        (Method::GET, "/v1/events?x=1", 422, "invalid"),
    ] {
        let response = app.gateway.call(method, path).send().await.expect(status);
        assert_eq!(response.header("content-type"), "application/problem+json");
        assert_eq!(response.code(), code);
        assert_eq!(response.body["status"], status);
        assert_eq!(response.body["type"], format!("urn:rollcall:problem:{code}"));
        assert_eq!(response.body["traceId"].as_str().map(str::len), Some(32));
        assert!(response.body["title"].is_string() && response.body["detail"].is_string());
    }
}

#[tokio::test]
async fn a_path_that_is_not_utf_8_is_not_found() {
    let app = TestApp::start().await;
    let admin = app.admin("ada").await;
    for (method, path) in [
        (Method::GET, "/v1/events/%FF"),
        (Method::PUT, "/v1/password-resets/%FF"),
        (Method::GET, "/v1/audit/entries/%FF/proof"),
    ] {
        let call = app.gateway.call(method, path).by(&admin);
        let body = json!({ "password": "correct horse battery" });
        assert_eq!(call.json(body).send().await.expect(404).code(), "not-found", "{path}");
    }
}

#[tokio::test]
async fn bodies_are_parsed_strictly() {
    let app = TestApp::start().await;
    let post = || app.gateway.post("/v1/users");
    let mut unknown = sign_up("ada");
    unknown["role"] = json!("admin");
    assert_eq!(
        post().json(unknown).send().await.expect(422).field_errors(),
        [("role", "unknown")]
    );
    let mut missing = sign_up("ada");
    missing.as_object_mut().expect("an object").remove("email");
    assert_eq!(
        post().json(missing).send().await.expect(422).field_errors(),
        [("email", "required")]
    );
    assert_eq!(
        post().raw("application/json", "{").send().await.expect(400).code(),
        "malformed"
    );
    assert_eq!(
        post().raw("text/plain", "{}").send().await.expect(415).code(),
        "media-type"
    );
    let body = format!(r#"{{"email":"{}"}}"#, "a".repeat(64 * 1024));
    assert_eq!(
        post()
            .raw("application/json", body.clone())
            .send()
            .await
            .expect(413)
            .code(),
        "too-large"
    );
    let declared = post()
        .header("content-length", body.len())
        .raw("application/json", body);
    assert_eq!(declared.send().await.expect(413).code(), "too-large");
}

#[tokio::test]
async fn an_invalid_token_is_rejected_even_if_none_is_required() {
    let app = TestApp::start().await;
    for authorization in ["Bearer", "Bearer x", "Basic YTpi", "Bearer a.b.c"] {
        for path in ["/v1/events", "/v1/me"] {
            let response = app
                .gateway
                .get(path)
                .header("authorization", authorization)
                .send()
                .await
                .expect(401);
            assert_eq!(response.code(), "token-invalid");
            assert_eq!(response.header("www-authenticate"), "Bearer");
        }
    }
}

#[tokio::test]
async fn a_token_is_valid_at_every_gateway_and_verifies_with_the_published_key() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let other = Gateway::start(&app.database, &[]).await;
    other.get("/v1/me").by(&ada).send().await.expect(200);

    let keys = app.gateway.get("/.well-known/jwks.json").send().await.expect(200);
    assert_eq!(
        other.get("/.well-known/jwks.json").send().await.expect(200).body,
        keys.body
    );
    let key = &keys.body["keys"][0];
    assert_eq!(
        (&key["kty"], &key["crv"], &key["alg"]),
        (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA"))
    );
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64url");
    let public: [u8; 32] = decode(key["x"].as_str().expect("x")).try_into().expect("32 bytes");
    let (signed, signature) = ada.token.rsplit_once('.').expect("three parts");
    let (header, claims) = signed.split_once('.').expect("three parts");
    let header: Value = serde_json::from_slice(&decode(header)).expect("JSON");
    assert_eq!((&header["alg"], &header["kid"]), (&json!("EdDSA"), &key["kid"]));
    let claims: Value = serde_json::from_slice(&decode(claims)).expect("JSON");
    assert_eq!(claims["sub"], json!(ada.id));
    assert_eq!(
        claims["exp"]
            .as_u64()
            .zip(claims["iat"].as_u64())
            .map(|(exp, iat)| exp - iat),
        Some(900)
    );
    let signature = Signature::from_slice(&decode(signature)).expect("64 bytes");
    let key = VerifyingKey::from_bytes(&public).expect("a key");
    key.verify_strict(signed.as_bytes(), &signature)
        .expect("the signature is valid");
}

#[tokio::test]
async fn only_configured_origins_may_send_cross_origin_requests() {
    let app = TestApp::start_with(&[("CORS_ALLOWED_ORIGINS", "https://rollcall.example")]).await;
    let preflight = |origin: &str| {
        let call = app.gateway.call(Method::OPTIONS, "/v1/users").header("origin", origin);
        let call = call.header("access-control-request-method", "POST");
        call.header("access-control-request-headers", "idempotency-key,content-type")
            .send()
    };
    let response = preflight("https://rollcall.example").await.expect(200);
    assert_eq!(
        response.header("access-control-allow-origin"),
        "https://rollcall.example"
    );
    assert!(
        response
            .header("access-control-allow-headers")
            .contains("idempotency-key")
    );
    let response = preflight("https://elsewhere.example").await;
    assert!(response.headers.get("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn a_request_times_out() {
    let app = TestApp::start_with(&[("REQUEST_TIMEOUT_SECONDS", "1")]).await;
    let response = app
        .gateway
        .post("/v1/users")
        .wait(20)
        .json(sign_up("ada"))
        .send()
        .await
        .expect(503);
    assert_eq!(response.code(), "timeout");
    app.command::<contracts::UserCommand>().await;
}

#[tokio::test]
async fn a_request_without_exactly_one_valid_host_is_malformed() {
    let app = TestApp::start().await;
    for hosts in [&[][..], &[""], &["a", "a"], &["a", "b"], &["a b"], &["user@a"]] {
        let call = hosts
            .iter()
            .fold(app.gateway.get("/v1/events").hostless(), |call, host| {
                call.header("host", host)
            });
        let response = call.send().await.expect(400);
        assert_eq!(response.code(), "malformed", "{hosts:?}");
        assert_eq!(response.header("content-type"), "application/problem+json");
        assert!(response.header("x-request-id").parse::<Uuid>().is_ok());
    }
    let call = app.gateway.get("/v1/events").hostless();
    call.header("host", "rollcall.example:8080").send().await.expect(200);
}

#[tokio::test]
async fn a_request_with_a_slow_body_times_out() {
    let app = TestApp::start_with(&[("REQUEST_TIMEOUT_SECONDS", "1")]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let serving = chassis::serve::serve(listener, app.gateway.router(), Limits::default(), Some, pending());
    let client = async {
        let mut stream = TcpStream::connect(address).await.expect("the port listens");
        let head =
            "POST /v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("the connection is open");
        let (mut reader, mut writer) = stream.into_split();
        let mut ticks = interval(Duration::from_millis(50));
        let trickle = async {
            while writer.write_all(b" ").await.is_ok() {
                ticks.tick().await;
            }
            pending().await
        };
        let mut read = Vec::new();
        let read_to_end = async {
            // A reset also ends the connection.
            let _ = reader.read_to_end(&mut read).await;
        };
        tokio::select! {
            () = trickle => {}
            () = read_to_end => {}
        }
        String::from_utf8(read).expect("a string")
    };
    let response = tokio::select! {
        () = serving => panic!("the server ended"),
        response = timeout(Duration::from_secs(10), client) => response.expect("the connection is closed"),
    };
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    assert!(response.contains(r#""code":"timeout""#), "{response}");
}

#[tokio::test]
async fn the_document_is_openapi_3_1_and_lists_every_route() {
    let app = TestApp::start().await;
    let document = app.gateway.get("/openapi.json").send().await.expect(200).body;
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1"))
    );
    let paths = document["paths"].as_object().expect("paths");
    let documented: BTreeSet<String> = paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().expect("methods").keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let expected = [
        "POST /v1/users",
        "GET /v1/users/{id}",
        "DELETE /v1/users/{id}",
        "PUT /v1/users/{id}/roles",
        "GET /v1/me",
        "GET /v1/users",
        "PATCH /v1/users/{id}",
        "GET /v1/users/{id}/export",
        "POST /v1/users/{id}/erasure",
        "POST /v1/users/{id}/verification",
        "PUT /v1/me/password",
        "POST /v1/password-resets",
        "PUT /v1/password-resets/{token}",
        "POST /v1/sessions/refresh",
        "DELETE /v1/sessions/current",
        "GET /v1/ops/status",
        "GET /v1/ops/lag",
        "GET /v1/ops/parked",
        "POST /v1/ops/parked/release",
        "GET /v1/ops/dead-letters",
        "POST /v1/ops/dead-letters/{id}/redrive",
        "POST /v1/ops/dead-letters/{id}/discard",
        "GET /v1/ops/where-is",
        "POST /v1/sessions",
        "GET /.well-known/jwks.json",
        "POST /v1/events",
        "GET /v1/events",
        "GET /v1/events/{id}",
        "PATCH /v1/events/{id}",
        "POST /v1/events/{id}/publish",
        "POST /v1/events/{id}/reschedule",
        "POST /v1/events/{id}/cancel",
        "GET /v1/events/{id}/staff",
        "PUT /v1/events/{id}/staff",
        "POST /v1/events/{id}/announcements",
        "GET /v1/events/{id}/history",
        "GET /v1/events/{id}/availability",
        "GET /v1/events/{id}/calendar.ics",
        "POST /v1/events/{id}/registrations",
        "GET /v1/events/{id}/registrations",
        "GET /v1/registrations/{id}",
        "DELETE /v1/registrations/{id}",
        "POST /v1/registrations/{id}/check-in",
        "GET /v1/registrations/{id}/ticket",
        "GET /v1/me/registrations",
        "GET /v1/me/notifications",
        "GET /v1/operations/{id}",
        "GET /v1/me/operations",
        "GET /v1/audit/entries",
        "GET /v1/audit/entries/{id}/proof",
        "GET /v1/audit/checkpoints",
        "GET /v1/audit/certificates",
        "POST /v1/audit/verifications",
    ];
    assert_eq!(documented, expected.into_iter().map(str::to_owned).collect());
    let ids: Vec<_> = paths
        .values()
        .flat_map(|item| item.as_object().expect("methods").values())
        .collect();
    assert!(ids.iter().all(|operation| operation["operationId"].is_string()));
    // Every referenced schema exists.
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().expect("a name");
        assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
    }
}

#[tokio::test]
async fn the_documentation_is_self_hosted() {
    let app = TestApp::start().await;
    let page = app.gateway.get("/docs/").send().await.expect(200);
    assert!(page.body.as_str().is_some_and(|page| page.contains("swagger-ui")));
    assert!(
        page.header("content-security-policy").contains("script-src 'self'")
            || page.header("content-security-policy").contains("default-src 'self'")
    );
    app.gateway.get("/docs/swagger-ui-bundle.js").send().await.expect(200);
}
