//! Setting a new password, with the old one or with a link sent by e-mail.

use contracts::links::{Link, LinkKey, Purpose};
use contracts::{NotificationCommand, RevocationReason, SecurityFact, Timestamp, UserProfileState};
use gateway::store::accounts;
use messaging::Outgoing;
use serde_json::json;
use std::time::Duration;
use testing::eventually;
use uuid::Uuid;

use crate::app::{Gateway, LINK_KEY, PASSWORD, Person, Response, TestApp};

const NEW: &str = "staple of another kind";

impl TestApp {
    async fn change_password(&self, by: &Person, old: &str, new: &str) -> Response {
        let body = json!({ "old_password": old, "new_password": new });
        self.gateway.put("/v1/me/password").by(by).json(body).send().await
    }

    async fn request_reset(&self, email: &str) -> Response {
        let body = json!({ "email": email });
        self.gateway.post("/v1/password-resets").json(body).send().await
    }

    async fn reset(&self, token: &str, password: &str) -> Response {
        let path = format!("/v1/password-resets/{token}");
        self.gateway
            .put(path)
            .json(json!({ "password": password }))
            .send()
            .await
    }

    async fn sign_in_with(&self, password: &str) -> Response {
        let body = json!({ "email": "ada@example.org", "password": password });
        self.gateway.post("/v1/sessions").json(body).send().await
    }
}

/// Returns a short description of each security fact, sorted.
fn descriptions(facts: &[SecurityFact]) -> Vec<String> {
    let mut descriptions: Vec<String> = facts
        .iter()
        .map(|fact| match fact {
            SecurityFact::PasswordChanged(changed) => format!("changed, by reset: {}", changed.by_reset),
            SecurityFact::SessionFamilyRevoked(revoked) if revoked.reason == RevocationReason::PasswordChanged => {
                "session ended".to_owned()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    descriptions.sort();
    descriptions
}

#[tokio::test]
async fn a_password_change_with_the_old_password_ends_other_sessions() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let other_session = app.sign_in("ada").await.expect(201).body;

    app.change_password(&ada, PASSWORD, NEW).await.expect(204);
    assert_eq!(
        descriptions(&app.security_facts().await),
        ["changed, by reset: false", "session ended"]
    );
    app.gateway.get("/v1/me").by(&ada).send().await.expect(200);
    let other_session = other_session["access_token"].as_str().expect("a token");
    let call = app
        .gateway
        .get("/v1/me")
        .header("authorization", format!("Bearer {other_session}"));
    call.send().await.expect(401);
    app.sign_in_with(PASSWORD).await.expect(401);
    app.sign_in_with(NEW).await.expect(201);
}

#[tokio::test]
async fn a_password_that_changes_during_its_verification_counts_as_wrong() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    // Both requests hold a connection while they wait, and each gateway in these tests has only one.
    let other = Gateway::start(&app.database, &[]).await;
    let sign_in = json!({ "email": "ada@example.org", "password": PASSWORD });
    let mut tx = app.database.pool().begin().await.expect("a transaction");
    sqlx::query("UPDATE credentials SET password_hash = 'another'")
        .execute(&mut *tx)
        .await
        .expect("the statement is valid");
    let (signed_in, changed, ()) = tokio::join!(
        other.post("/v1/sessions").json(sign_in).send(),
        app.change_password(&ada, PASSWORD, NEW),
        async {
            let waiting = "SELECT count(*) FROM pg_stat_activity
                           WHERE datname = current_database() AND wait_event_type = 'Lock'";
            eventually(
                "both requests have verified the password and wait",
                Duration::from_secs(10),
                || async { (app.count(waiting).await == 2).then_some(()) },
            )
            .await;
            tx.commit().await.expect("the database is reachable");
        }
    );
    assert_eq!(signed_in.expect(401).code(), "wrong-credentials");
    assert_eq!(changed.expect(422).field_errors(), [("old_password", "wrong")]);
    assert_eq!(app.count("SELECT count(*) FROM session_families").await, 1);
}

#[tokio::test]
async fn a_password_change_without_the_old_password_is_rejected() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let response = app.change_password(&ada, "wrong horse battery", NEW).await.expect(422);
    assert_eq!(response.field_errors(), [("old_password", "wrong")]);
    let response = app.change_password(&ada, PASSWORD, "password1234").await.expect(422);
    assert_eq!(response.field_errors(), [("new_password", "too-common")]);
    let body = json!({ "old_password": PASSWORD, "new_password": NEW, "user_id": ada.id });
    let call = app.gateway.put("/v1/me/password").json(body.clone());
    call.send().await.expect(401);
    let response = app
        .gateway
        .put("/v1/me/password")
        .by(&ada)
        .json(body)
        .send()
        .await
        .expect(422);
    assert_eq!(response.field_errors(), [("user_id", "unknown")]);
    app.sign_in_with(PASSWORD).await.expect(201);
}

#[tokio::test]
async fn a_link_sent_by_e_mail_sets_a_new_password_once_and_ends_every_session() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    app.request_reset("ADA@example.org").await.expect(204);
    let mail = app.command::<NotificationCommand>().await;
    let NotificationCommand::SendPasswordResetMail(reset) = &mail.body else {
        panic!("{mail:?}");
    };
    assert_eq!((reset.user_id, mail.envelope.key), (ada.id, ada.id));
    let lifetime = reset.expires_at.as_micros() - Timestamp::now().as_micros();
    assert!(
        (3_590_000_000..=3_600_000_000).contains(&lifetime),
        "expected one hour, got {lifetime} µs"
    );
    let token = crate::app::token(&mail.body, "ada@example.org");

    // An invalid password is rejected before the link is used up.
    assert_eq!(
        app.reset(&token, "short").await.expect(422).field_errors(),
        [("password", "too-short")]
    );
    app.reset(&token, NEW).await.expect(204);
    assert_eq!(
        descriptions(&app.security_facts().await),
        ["changed, by reset: true", "session ended"]
    );
    assert_eq!(app.reset(&token, PASSWORD).await.expect(422).code(), "link-invalid");
    app.gateway.get("/v1/me").by(&ada).send().await.expect(401);
    app.sign_in_with(PASSWORD).await.expect(401);
    app.sign_in_with(NEW).await.expect(201);
}

#[tokio::test]
async fn one_of_two_concurrent_resets_with_one_link_sets_the_password() {
    let app = TestApp::start().await;
    app.person("ada").await;
    app.request_reset("ada@example.org").await.expect(204);
    let token = app.mailed_token("ada@example.org").await;
    let (one, two) = tokio::join!(app.reset(&token, NEW), app.reset(&token, "another of that kind"));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 422]);
}

#[tokio::test]
async fn a_password_change_invalidates_pending_links() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    app.request_reset("ada@example.org").await.expect(204);
    let token = app.mailed_token("ada@example.org").await;
    app.change_password(&ada, PASSWORD, NEW).await.expect(204);
    assert_eq!(
        app.reset(&token, "another of that kind").await.expect(422).code(),
        "link-invalid"
    );
}

#[tokio::test]
async fn a_reset_request_gets_the_same_response_for_known_and_unknown_accounts() {
    let app = TestApp::start().await;
    app.person("ada").await;
    let known = app.request_reset("ada@example.org").await.expect(204);
    app.command::<NotificationCommand>().await;
    let unknown = app.request_reset("eve@example.org").await.expect(204);
    let names = |response: &Response| {
        let mut names: Vec<String> = response.headers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    };
    assert_eq!((&known.body, names(&known)), (&unknown.body, names(&unknown)));
    // Requests are processed in order, so Eve's request is done when Ada's second request is done.
    app.request_reset("ada@example.org").await.expect(204);
    app.command::<NotificationCommand>().await;
    let response = app.request_reset("eve").await.expect(422);
    assert_eq!(response.field_errors(), [("email", "malformed")]);
}

#[tokio::test]
async fn an_expired_forged_or_outdated_link_sets_no_password() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let link = |expires_at| Link {
        user_id: ada.id,
        nonce: Uuid::now_v7(),
        expires_at,
    };
    let key = LinkKey::new(LINK_KEY);
    let (live, past) = (Timestamp::now() + Duration::from_secs(60), Timestamp::EPOCH);
    let old = key.token(Purpose::ResetPassword, &link(past), "ada@example.org");
    assert_eq!(app.reset(&old, NEW).await.expect(410).code(), "link-expired");
    for token in [
        key.token(Purpose::ResetPassword, &link(live), "ada@example.org"), // The nonce was never stored.
        key.token(Purpose::VerifyEmail, &link(live), "ada@example.org"),
        LinkKey::new("another key of thirty-two letters").token(Purpose::ResetPassword, &link(live), "ada@example.org"),
        "nonsense".to_owned(),
    ] {
        assert_eq!(
            app.reset(&token, NEW).await.expect(422).code(),
            "link-invalid",
            "{token}"
        );
    }
    app.request_reset("ada@example.org").await.expect(204);
    let token = app.mailed_token("ada@example.org").await;
    let profile = crate::app::profile("ada@example.com", "ada");
    app.bench
        .deliver(Outgoing::<UserProfileState>::new(ada.id, profile))
        .await;
    app.bench.deliver_again().await;
    assert_eq!(
        app.reset(&token, NEW).await.expect(422).code(),
        "link-invalid",
        "the address has changed"
    );
}

#[tokio::test]
async fn no_link_is_sent_to_a_closed_account() {
    let app = TestApp::start().await;
    let (ada, _) = (app.person("ada").await, app.person("bob").await);
    let mut unit = app.gateway.app.unit().await.expect("the database is reachable");
    accounts::close(unit.tx(), &[ada.id])
        .await
        .expect("the database is reachable");
    unit.commit().await.expect("the database is reachable");
    app.request_reset("ada@example.org").await.expect(204);
    app.request_reset("bob@example.org").await.expect(204);
    let mail = app.command::<NotificationCommand>().await;
    assert_ne!(mail.envelope.key, ada.id);
}
