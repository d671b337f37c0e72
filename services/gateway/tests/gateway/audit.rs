//! Questions to the audit service.

use contracts::{AuditQuery, FindAuditEntries, Timestamp};
use gateway::roles::Role;
use serde_json::json;
use uuid::Uuid;

use crate::app::{TestApp, answered, rejected};

#[tokio::test]
async fn a_question_is_asked_over_kafka_and_its_answer_is_the_page() {
    let app = TestApp::start().await;
    let eve = app.person("eve").await;
    app.grant(&eve, Role::Auditor).await;
    let aggregate = Uuid::now_v7();
    let path = format!(
        "/v1/audit/entries?aggregate_id={aggregate}&actor=user:{}&message_type=rollcall.users.UserCreated\
         &from=2026-03-01T00:00:00Z&limit=2&cursor=abc",
        eve.id
    );
    let (answer, query) = tokio::join!(app.gateway.get(&path).by(&eve).send(), async {
        let query = app.command::<AuditQuery>().await;
        let answer = json!({ "entries": [{ "offset": 1 }, { "offset": 2 }], "next_cursor": "def" });
        app.bench.deliver(answered(query.envelope.id, answer)).await;
        app.bench.deliver_again().await;
        query
    });
    assert_eq!(
        answer.expect(200).body,
        json!({ "items": [{ "offset": 1 }, { "offset": 2 }], "next": "def" })
    );
    let AuditQuery::FindAuditEntries(asked) = query.body else {
        panic!("another question");
    };
    assert_eq!(
        asked,
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
    // A question is nothing that somebody has done.
    let operations = app.gateway.get("/v1/me/operations").by(&eve).send().await.expect(200);
    assert_eq!(operations.body, json!({ "items": [] }));
}

#[tokio::test]
async fn a_question_without_an_answer_is_503() {
    let app = TestApp::start().await;
    let eve = app.person("eve").await;
    app.grant(&eve, Role::Admin).await;
    let answer = app
        .gateway
        .get("/v1/audit/entries")
        .by(&eve)
        .wait(0)
        .send()
        .await
        .expect(503);
    assert_eq!(answer.code(), "no-answer");
    let (answer, ()) = tokio::join!(app.gateway.get("/v1/audit/entries").by(&eve).send(), async {
        for query in app.commands::<AuditQuery>().await {
            app.bench
                .deliver(rejected(query.envelope.id, "invalid", &[("cursor", "malformed")]))
                .await;
        }
    });
    // The commands of both may have come at once, or one after the other.
    if answer.status == 503 {
        return;
    }
    assert_eq!(answer.expect(422).faults(), [("cursor", "malformed")]);
}

#[tokio::test]
async fn a_question_that_can_not_be_read_is_told_why() {
    let app = TestApp::start().await;
    let eve = app.person("eve").await;
    app.grant(&eve, Role::Auditor).await;
    for (query, fault) in [
        ("aggregate_id=7", ("aggregate_id", "malformed")),
        ("from=yesterday", ("from", "malformed")),
        ("limit=0", ("limit", "out-of-range")),
        ("limit=many", ("limit", "malformed")),
        ("colour=blue", ("colour", "unknown")),
    ] {
        let answer = app
            .gateway
            .get(format!("/v1/audit/entries?{query}"))
            .by(&eve)
            .send()
            .await
            .expect(422);
        assert_eq!(answer.faults(), [fault], "{query}");
    }
}
