//! Verification of e-mail addresses.

use contracts::{Actor, NotificationCommand, UserCommand, UserProfile, UserProfileState, topics};
use messaging::Outgoing;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{Person, Response, TestApp, accepted, effect, profile, sign_up, token};

impl TestApp {
    async fn verify(&self, user: Uuid, body: Value) -> Response {
        self.gateway.post(path(user)).json(body).send().await
    }

    async fn request_link(&self, by: &Person) -> Response {
        self.gateway.post(path(by.id)).by(by).json(json!({})).send().await
    }
}

fn path(user: Uuid) -> String {
    format!("/v1/users/{user}/verification")
}

#[tokio::test]
async fn a_new_account_is_sent_a_link_that_verifies_its_address_once() {
    let app = TestApp::start().await;
    let sign_up = app.gateway.post("/v1/users").wait(0).json(sign_up("ada")).send();
    sign_up.await.expect(202);
    app.users_accept().await;
    app.bench.deliver_again().await;
    let mail = app.command::<NotificationCommand>().await;
    assert!(matches!(mail.body, NotificationCommand::SendVerificationMail(_)));
    let (user, token) = (mail.envelope.key, token(&mail.body, "ada@example.org"));

    app.verify(user, json!({ "token": token })).await.expect(204);
    let command = app.command::<UserCommand>().await;
    assert_eq!(command.envelope.actor, Some(Actor::service("gateway")));
    assert_eq!(command.envelope.key, user);
    let UserCommand::VerifyEmail(verify) = command.body else {
        panic!("another command");
    };
    assert_eq!(verify.email, "ada@example.org");
    let again = app.verify(user, json!({ "token": token })).await.expect(422);
    assert_eq!(again.code(), "link-invalid");
    app.assert_not_published::<UserCommand>().await;
}

#[tokio::test]
async fn links_are_sent_until_the_address_is_verified() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    app.request_link(&ada).await.expect(204);
    let token = app.mailed_token("ada@example.org").await;
    let verified = UserProfile {
        email_verified: true,
        ..profile("ada@example.org", "ada")
    };
    app.bench
        .deliver(Outgoing::<UserProfileState>::new(ada.id, verified))
        .await;
    app.bench.deliver_again().await;
    app.request_link(&ada).await.expect(204);
    app.assert_not_published::<NotificationCommand>().await;
    let me = app.gateway.get("/v1/me").by(&ada).send().await.expect(200);
    assert_eq!(me.body["email_verified"], true);
    app.verify(ada.id, json!({ "token": token })).await.expect(204);
}

#[tokio::test]
async fn users_can_only_request_links_for_themselves() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    app.verify(ada.id, json!({})).await.expect(401);
    let call = app.gateway.post(path(ada.id)).by(&bob).json(json!({}));
    call.send().await.expect(404);
    let response = app.verify(ada.id, json!({ "tokens": "x" })).await.expect(422);
    assert_eq!(response.field_errors(), [("tokens", "unknown")]);
    app.assert_not_published::<NotificationCommand>().await;
}

#[tokio::test]
async fn a_token_is_only_valid_for_its_user_and_address() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    app.request_link(&ada).await.expect(204);
    let mail = app.command::<NotificationCommand>().await.body;
    let right = token(&mail, "ada@example.org");
    for (user, token) in [
        (bob.id, right.clone()),
        (ada.id, token(&mail, "bob@example.org")),
        (ada.id, "nonsense".to_owned()),
        (Uuid::now_v7(), right.clone()),
    ] {
        let response = app.verify(user, json!({ "token": token })).await.expect(422);
        assert_eq!(response.code(), "link-invalid");
    }
    app.verify(ada.id, json!({ "token": right })).await.expect(204);
}

#[tokio::test]
async fn a_new_address_gets_a_link_and_old_links_become_invalid() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    app.request_link(&ada).await.expect(204);
    let old = app.mailed_token("ada@example.org").await;
    let change = json!({ "email": "ada@example.com" });
    let (response, ()) = tokio::join!(
        app.gateway
            .patch(format!("/v1/users/{}", ada.id))
            .by(&ada)
            .wait(10)
            .json(change)
            .send(),
        async {
            let command = app.command::<UserCommand>().await;
            let profile = profile("ada@example.com", "ada");
            app.bench
                .deliver(Outgoing::<UserProfileState>::new(ada.id, profile))
                .await;
            let effects = vec![effect(&topics::USERS_PROFILES, ada.id, 2)];
            app.bench.deliver(accepted(command.envelope.id, 2, effects)).await;
            app.bench.deliver_again().await;
        }
    );
    assert_eq!(response.expect(200).body["email"], "ada@example.com");
    let mail = app.command::<NotificationCommand>().await;
    // The notification service waits for this version, because its profile may be older.
    assert_eq!(mail.envelope.expected_version, Some(2));
    let new = token(&mail.body, "ada@example.com");
    app.verify(ada.id, json!({ "token": old })).await.expect(422);
    app.verify(ada.id, json!({ "token": new })).await.expect(204);
}

#[tokio::test]
async fn links_sent_by_e_mail_open_pages_that_send_the_token() {
    let app = TestApp::start().await;
    for (page, script) in [
        ("/verification", "/pages/verification.js"),
        ("/password-reset", "/pages/password-reset.js"),
    ] {
        let html = app.gateway.get(page).send().await.expect(200);
        assert_eq!(html.header("content-type"), "text/html; charset=utf-8");
        let policy = html.header("content-security-policy");
        assert!(
            policy.contains("script-src 'self'") && !policy.contains("unsafe"),
            "{policy}"
        );
        let html = html.body.as_str().expect("a page").to_owned();
        assert!(html.contains(&format!("<script src=\"{script}\"></script>")));
        assert!(
            !html.contains("onclick") && !html.contains("style="),
            "the page contains no inline scripts or styles"
        );
        let script = app.gateway.get(script).send().await.expect(200);
        assert_eq!(script.header("content-type"), "text/javascript; charset=utf-8");
    }
    app.gateway.get("/pages/page.css").send().await.expect(200);
}
