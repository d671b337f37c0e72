//! Security facts about roles and denied access.

use contracts::{AccessDenied, Actor, SecurityFact};
use gateway::roles::Role;
use serde_json::json;
use uuid::Uuid;

use crate::app::{Person, TestApp};

fn denied(by: Option<&Person>, method: &str, route: &str, code: &str) -> SecurityFact {
    AccessDenied {
        user_id: by.map(|person| person.id),
        method: method.to_owned(),
        route: route.to_owned(),
        code: code.to_owned(),
    }
    .into()
}

#[tokio::test]
async fn denied_access_is_published_once_a_minute() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    for _ in 0..3 {
        app.gateway
            .get(format!("/v1/users/{}", ada.id))
            .by(&bob)
            .send()
            .await
            .expect(404);
        app.gateway.get("/v1/users").by(&bob).send().await.expect(403);
        let bad = app.gateway.get("/v1/me").header("authorization", "Bearer x");
        bad.send().await.expect(401);
    }
    // These requests do not count as denied access.
    app.gateway.get("/v1/me").send().await.expect(401);
    app.gateway
        .get(format!("/v1/events/{}", Uuid::now_v7()))
        .send()
        .await
        .expect(404);
    app.gateway.get("/nowhere").by(&bob).send().await.expect(404);
    app.gateway.get("/v1/users").by(&ada).send().await.expect(403);

    let mut security_facts = Vec::new();
    while security_facts.len() < 4 {
        security_facts.extend(app.commands::<SecurityFact>().await);
    }
    let facts: Vec<SecurityFact> = security_facts.iter().map(|fact| fact.body.clone()).collect();
    assert_eq!(
        facts,
        [
            denied(Some(&bob), "GET", "/v1/users/{id}", "not-found"),
            denied(Some(&bob), "GET", "/v1/users", "role-needed"),
            denied(None, "GET", "/v1/me", "token-invalid"),
            denied(Some(&ada), "GET", "/v1/users", "role-needed"),
        ]
    );
    assert_eq!(security_facts[0].envelope.key, bob.id);
    assert_eq!(security_facts[0].envelope.actor, Some(Actor::User(bob.id)));
    assert_eq!(security_facts[2].envelope.key, Uuid::nil());
}

#[tokio::test]
async fn changes_of_roles_are_published_with_their_actor() {
    let app = TestApp::start().await;
    let (root, ada) = (app.admin("root").await, app.person("ada").await);
    let put = async |key: &str, roles: &[&str]| {
        let call = app.gateway.put(format!("/v1/users/{}/roles", ada.id)).by(&root);
        let call = call.header("idempotency-key", key).json(json!({ "roles": roles }));
        call.send().await.expect(200);
    };
    put("one", &["organizer", "auditor"]).await;
    let granted = app.security_facts().await;
    assert_eq!(granted.len(), 2);
    assert!(granted.iter().all(|fact| matches!(
        fact,
        SecurityFact::RoleGranted(granted) if granted.user_id == ada.id && granted.granted_by == Some(root.id)
    )));
    put("one", &["organizer", "auditor"]).await;
    put("two", &["organizer", "auditor"]).await;
    put("three", &["organizer"]).await;
    let [SecurityFact::RoleRevoked(revoked)] = &app.security_facts().await[..] else {
        panic!("exactly one role must be revoked");
    };
    assert_eq!(
        (revoked.role, revoked.revoked_by),
        (Role::Auditor.into(), Some(root.id))
    );
}
