//! What is noted of rights, and of who was denied something.

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
async fn who_is_denied_something_is_noted_once_a_minute() {
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
    // Nobody is denied anything by these.
    app.gateway.get("/v1/me").send().await.expect(401);
    app.gateway
        .get(format!("/v1/events/{}", Uuid::now_v7()))
        .send()
        .await
        .expect(404);
    app.gateway.get("/nowhere").by(&bob).send().await.expect(404);
    app.gateway.get("/v1/users").by(&ada).send().await.expect(403);

    let mut noted = Vec::new();
    while noted.len() < 4 {
        noted.extend(app.commands::<SecurityFact>().await);
    }
    let facts: Vec<SecurityFact> = noted.iter().map(|fact| fact.body.clone()).collect();
    assert_eq!(
        facts,
        [
            denied(Some(&bob), "GET", "/v1/users/{id}", "not-found"),
            denied(Some(&bob), "GET", "/v1/users", "role-needed"),
            denied(None, "GET", "/v1/me", "token-invalid"),
            denied(Some(&ada), "GET", "/v1/users", "role-needed"),
        ]
    );
    assert_eq!(noted[0].envelope.key, bob.id);
    assert_eq!(noted[0].envelope.actor, Some(Actor::User(bob.id)));
    assert_eq!(noted[2].envelope.key, Uuid::nil());
}

#[tokio::test]
async fn roles_are_noted_when_they_change_with_who_changed_them() {
    let app = TestApp::start().await;
    let (root, ada) = (app.admin("root").await, app.person("ada").await);
    let put = async |key: &str, roles: &[&str]| {
        let call = app.gateway.put(format!("/v1/users/{}/roles", ada.id)).by(&root);
        let call = call.header("idempotency-key", key).json(json!({ "roles": roles }));
        call.send().await.expect(200);
    };
    put("one", &["organizer", "auditor"]).await;
    let granted = app.noted().await;
    assert_eq!(granted.len(), 2);
    assert!(granted.iter().all(|fact| matches!(
        fact,
        SecurityFact::RoleGranted(granted) if granted.user_id == ada.id && granted.granted_by == Some(root.id)
    )));
    put("one", &["organizer", "auditor"]).await;
    put("two", &["organizer", "auditor"]).await;
    put("three", &["organizer"]).await;
    let [SecurityFact::RoleRevoked(revoked)] = &app.noted().await[..] else {
        panic!("one role was taken away, and nothing else changed");
    };
    assert_eq!(
        (revoked.role, revoked.revoked_by),
        (Role::Auditor.into(), Some(root.id))
    );
}
