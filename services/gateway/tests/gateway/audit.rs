//! Queries to the audit service.

use axum::http::Method;
use contracts::{
    AuditQuery, FindAuditEntries, FindCertificates, FindCheckpoints, ProveAuditEntry, Timestamp, VerifyAuditLog,
};
use gateway::roles::Role;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{TestApp, rejected, replied};

#[tokio::test]
async fn a_query_is_sent_over_kafka_and_its_result_is_the_page() {
    let app = TestApp::start().await;
    let eve = app.person("eve").await;
    app.grant(&eve, Role::Auditor).await;
    let aggregate = Uuid::now_v7();
    let path = format!(
        "/v1/audit/entries?aggregate_id={aggregate}&actor=user:{}&message_type=rollcall.users.UserCreated\
         &from=2026-03-01T00:00:00Z&limit=2&cursor=abc",
        eve.id
    );
    let (response, query) = tokio::join!(app.gateway.get(&path).by(&eve).send(), async {
        let query = app.command::<AuditQuery>().await;
        let response = json!({ "entries": [{ "offset": 1 }, { "offset": 2 }], "next_cursor": "def" });
        app.bench.deliver(replied(query.envelope.id, response)).await;
        app.bench.deliver_again().await;
        query
    });
    assert_eq!(
        response.expect(200).body,
        json!({ "items": [{ "offset": 1 }, { "offset": 2 }], "next": "def" })
    );
    let AuditQuery::FindAuditEntries(find) = query.body else {
        panic!("another query");
    };
    assert_eq!(
        find,
        FindAuditEntries {
            aggregate_id: Some(aggregate),
            correlation_id: None,
            actor: Some(format!("user:{}", eve.id)),
            message_type: Some("rollcall.users.UserCreated".to_owned()),
            from: Some(Timestamp::parse("2026-03-01T00:00:00Z").expect("a time")),
            until: None,
            cursor: Some("abc".to_owned()),
            limit: 2,
        }
    );
    assert_eq!(query.envelope.key, query.envelope.id);
    // Queries are not listed among the operations.
    let operations = app.gateway.get("/v1/me/operations").by(&eve).send().await.expect(200);
    assert_eq!(operations.body, json!({ "items": [] }));
}

#[tokio::test]
async fn a_query_without_a_reply_is_503() {
    let app = TestApp::start().await;
    let eve = app.person("eve").await;
    app.grant(&eve, Role::Admin).await;
    let response = app
        .gateway
        .get("/v1/audit/entries")
        .by(&eve)
        .wait(0)
        .send()
        .await
        .expect(503);
    assert_eq!(response.code(), "no-answer");
    let (response, ()) = tokio::join!(app.gateway.get("/v1/audit/entries").by(&eve).send(), async {
        for query in app.commands::<AuditQuery>().await {
            app.bench
                .deliver(rejected(query.envelope.id, "invalid", &[("cursor", "malformed")]))
                .await;
        }
    });
    // The rejection may have reached the first query, the second one or both.
    if response.status == 503 {
        return;
    }
    assert_eq!(response.expect(422).field_errors(), [("cursor", "malformed")]);
}

#[tokio::test]
async fn an_invalid_query_returns_field_errors() {
    let app = TestApp::start().await;
    let eve = app.person("eve").await;
    app.grant(&eve, Role::Auditor).await;
    for (query, field_error) in [
        ("aggregate_id=7", ("aggregate_id", "malformed")),
        ("from=yesterday", ("from", "malformed")),
        ("limit=0", ("limit", "out-of-range")),
        ("limit=many", ("limit", "malformed")),
        ("colour=blue", ("colour", "unknown")),
    ] {
        let response = app
            .gateway
            .get(format!("/v1/audit/entries?{query}"))
            .by(&eve)
            .send()
            .await
            .expect(422);
        assert_eq!(response.field_errors(), [field_error], "{query}");
    }
}

#[tokio::test]
async fn proofs_checkpoints_certificates_and_verifications_are_queries() {
    let app = TestApp::start().await;
    let eve = app.person("eve").await;
    app.grant(&eve, Role::Auditor).await;
    let checkpoint = Uuid::now_v7();
    let cases: [(Method, String, AuditQuery, Value, Value); 4] = [
        (
            Method::GET,
            format!("/v1/audit/entries/users.commands-3-17/proof?checkpoint={checkpoint}"),
            ProveAuditEntry {
                entry_id: "users.commands-3-17".to_owned(),
                checkpoint_id: Some(checkpoint),
            }
            .into(),
            json!({ "leaf": "00", "consistency": null }),
            json!({ "leaf": "00", "consistency": null }),
        ),
        (
            Method::GET,
            "/v1/audit/checkpoints?limit=1".to_owned(),
            FindCheckpoints { cursor: None, limit: 1 }.into(),
            json!({ "checkpoints": [{ "number": 2 }], "next_cursor": "1" }),
            json!({ "items": [{ "number": 2 }], "next": "1" }),
        ),
        (
            Method::GET,
            "/v1/audit/certificates?cursor=1".to_owned(),
            FindCertificates {
                cursor: Some("1".to_owned()),
                limit: 50,
            }
            .into(),
            json!({ "certificates": [], "next_cursor": null }),
            json!({ "items": [] }),
        ),
        (
            Method::POST,
            "/v1/audit/verifications".to_owned(),
            VerifyAuditLog {
                topic: Some("users".to_owned()),
                cursor: None,
            }
            .into(),
            json!({ "valid": true, "next_cursor": "x" }),
            json!({ "valid": true, "next_cursor": "x" }),
        ),
    ];
    for (method, path, expected, result, shown) in cases {
        let call = app.gateway.call(method.clone(), &path).by(&eve);
        let call = match method {
            Method::POST => call.json(json!({ "topic": "users" })),
            _ => call,
        };
        let (response, query) = tokio::join!(call.send(), async {
            let query = app.command::<AuditQuery>().await;
            app.bench.deliver(replied(query.envelope.id, result)).await;
            query
        });
        assert_eq!(query.body, expected);
        assert_eq!(response.expect(200).body, shown, "{path}");
    }
    let operations = app.gateway.get("/v1/me/operations").by(&eve).send().await.expect(200);
    assert_eq!(operations.body, json!({ "items": [] }));
}

#[tokio::test]
async fn rejections_of_the_audit_service_have_their_status() {
    let app = TestApp::start().await;
    let eve = app.person("eve").await;
    app.grant(&eve, Role::Auditor).await;
    for (code, status) in [
        ("entry-unknown", 404),
        ("checkpoint-unknown", 404),
        ("not-checkpointed", 409),
        ("too-slow", 503),
        ("invalid", 422),
    ] {
        let call = app.gateway.get("/v1/audit/entries/users-0-1/proof").by(&eve);
        let (response, _) = tokio::join!(call.send(), app.reject_next::<AuditQuery>(code));
        assert_eq!(response.expect(status).code(), code);
    }
}

#[tokio::test]
async fn queries_are_only_for_auditors_and_parsed_strictly() {
    let app = TestApp::start().await;
    let (bob, eve) = (app.organizer("bob").await, app.person("eve").await);
    app.grant(&eve, Role::Auditor).await;
    for path in ["entries", "entries/users-0-1/proof", "checkpoints", "certificates"] {
        let path = format!("/v1/audit/{path}");
        app.gateway.get(&path).send().await.expect(401);
        app.gateway.get(&path).by(&bob).send().await.expect(403);
        let unknown = app
            .gateway
            .get(format!("{path}?colour=blue"))
            .by(&eve)
            .send()
            .await
            .expect(422);
        assert_eq!(unknown.field_errors(), [("colour", "unknown")]);
    }
    let verify = || app.gateway.post("/v1/audit/verifications");
    verify().by(&bob).send().await.expect(403);
    for (body, field_error) in [
        (json!({ "topic": "weather" }), ("topic", "unknown")),
        (json!({ "topic": 7 }), ("topic", "malformed")),
        (json!({ "depth": 7 }), ("depth", "unknown")),
    ] {
        assert_eq!(
            verify().by(&eve).json(body).send().await.expect(422).field_errors(),
            [field_error]
        );
    }
    for (query, field) in [
        ("actor=ada", "actor"),
        ("actor=user:7", "actor"),
        ("message_type=a%20b", "message_type"),
    ] {
        let response = app
            .gateway
            .get(format!("/v1/audit/entries?{query}"))
            .by(&eve)
            .send()
            .await
            .expect(422);
        assert_eq!(response.field_errors(), [(field, "malformed")]);
    }
    for id in ["users", "users-x-1", "users-0-1%00", "..%2f..-0-1"] {
        app.gateway
            .get(format!("/v1/audit/entries/{id}/proof"))
            .by(&eve)
            .send()
            .await
            .expect(404);
    }
    app.assert_not_published::<AuditQuery>().await;
}
