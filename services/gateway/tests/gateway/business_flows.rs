//! Attempts to abuse business flows (OWASP API Security Top 10, 2023: API6).

use std::collections::BTreeSet;

use contracts::RegistrationCommand;
use serde_json::json;

use crate::app::{TestApp, sign_up};

#[tokio::test]
async fn users_can_only_register_themselves() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.organizer("ada").await, app.person("bob").await);
    let event = app.has_event(&ada).await;
    let path = format!("/v1/events/{event}/registrations");
    for name in ["user_id", "registration_id", "seats", "count"] {
        let response = app
            .gateway
            .post(&path)
            .by(&bob)
            .json(json!({ name: ada.id }))
            .send()
            .await
            .expect(422);
        assert_eq!(response.field_errors(), [(name, "unknown")]);
    }
    app.gateway.post(&path).by(&bob).wait(0).send().await.expect(202);
    let command = app.command::<RegistrationCommand>().await;
    let RegistrationCommand::Register(register) = &command.body else {
        panic!("{command:?}");
    };
    assert_eq!(register.user_id, bob.id);
}

#[tokio::test]
async fn concurrent_registrations_with_one_key_send_one_command() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.organizer("ada").await, app.person("bob").await);
    let event = app.has_event(&ada).await;
    let register = || {
        let call = app
            .gateway
            .post(format!("/v1/events/{event}/registrations"))
            .by(&bob)
            .wait(0);
        call.header("idempotency-key", "mine").send()
    };
    let responses = futures::future::join_all((0..20).map(|_| register())).await;
    let ids: BTreeSet<String> = responses
        .iter()
        .filter(|response| response.status == 202)
        .map(|response| response.id().to_string())
        .collect();
    assert_eq!(ids.len(), 1, "all requests return the same operation");
    assert!(
        responses
            .iter()
            .all(|response| response.status == 202 || response.code() == "operation-in-progress")
    );
    assert_eq!(app.commands::<RegistrationCommand>().await.len(), 1);
}

#[tokio::test]
async fn sign_ups_from_one_address_are_limited() {
    let app = TestApp::start_with(&[("RATE_LIMIT_SIGN_INS", "10")]).await;
    let mut rejected = 0;
    for number in 0..100 {
        // The password is too short, so it is not hashed, but the request counts against the limit.
        let mut account = sign_up(&format!("account_{number}"));
        account["password"] = json!("short");
        let response = app.gateway.post("/v1/users").json(account).send().await;
        match response.status.as_u16() {
            422 => {}
            429 => rejected += 1,
            other => panic!("{other}"),
        }
    }
    assert!(rejected > 50, "only {rejected} of 100 sign-ups were rejected");
}
