//! New passwords: by the old one, or by a mailed link.

use contracts::links::{Link, LinkKey, Purpose};
use contracts::{NotificationCommand, RevocationReason, SecurityFact, Timestamp, UserProfileState};
use gateway::store::accounts;
use messaging::Outgoing;
use serde_json::json;
use std::time::Duration;
use testing::eventually;
use uuid::Uuid;

use crate::app::{Answer, Gateway, LINK_KEY, PASSWORD, Person, TestApp};

const NEW: &str = "staple of another kind";

impl TestApp {
    async fn change_password(&self, by: &Person, old: &str, new: &str) -> Answer {
        let body = json!({ "old_password": old, "new_password": new });
        self.gateway.put("/v1/me/password").by(by).json(body).send().await
    }

    async fn forgot(&self, email: &str) -> Answer {
        let body = json!({ "email": email });
        self.gateway.post("/v1/password-resets").json(body).send().await
    }

    async fn reset(&self, token: &str, password: &str) -> Answer {
        let path = format!("/v1/password-resets/{token}");
        self.gateway
            .put(path)
            .json(json!({ "password": password }))
            .send()
            .await
    }

    async fn sign_in_with(&self, password: &str) -> Answer {
        let body = json!({ "email": "ada@example.org", "password": password });
        self.gateway.post("/v1/sessions").json(body).send().await
    }
}

/// What was noted, one word each.
fn words(facts: &[SecurityFact]) -> Vec<String> {
    let mut words: Vec<String> = facts
        .iter()
        .map(|fact| match fact {
            SecurityFact::PasswordChanged(changed) => format!("changed, by reset: {}", changed.by_reset),
            SecurityFact::SessionFamilyRevoked(revoked) if revoked.reason == RevocationReason::PasswordChanged => {
                "session ended".to_owned()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    words.sort();
    words
}

#[tokio::test]
async fn a_password_is_changed_by_the_old_one_and_other_sessions_end() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let elsewhere = app.sign_in("ada").await.expect(201).body;

    app.change_password(&ada, PASSWORD, NEW).await.expect(204);
    assert_eq!(words(&app.noted().await), ["changed, by reset: false", "session ended"]);
    app.gateway.get("/v1/me").by(&ada).send().await.expect(200);
    let elsewhere = elsewhere["access_token"].as_str().expect("a token");
    let call = app
        .gateway
        .get("/v1/me")
        .header("authorization", format!("Bearer {elsewhere}"));
    call.send().await.expect(401);
    app.sign_in_with(PASSWORD).await.expect(401);
    app.sign_in_with(NEW).await.expect(201);
}

#[tokio::test]
async fn a_password_that_changes_while_it_is_checked_is_the_old_one() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    // Both wait with a connection, and a process of these tests has one.
    let other = Gateway::start(&app.database, &[]).await;
    let sign_in = json!({ "email": "ada@example.org", "password": PASSWORD });
    let mut tx = app.database.pool().begin().await.expect("a transaction");
    sqlx::query("UPDATE credentials SET password_hash = 'another'")
        .execute(&mut *tx)
        .await
        .expect("the statement is right");
    let (signed_in, changed, ()) = tokio::join!(
        other.post("/v1/sessions").json(sign_in).send(),
        app.change_password(&ada, PASSWORD, NEW),
        async {
            let waiting = "SELECT count(*) FROM pg_stat_activity
                           WHERE datname = current_database() AND wait_event_type = 'Lock'";
            eventually("both have checked it, and wait", Duration::from_secs(10), || async {
                (app.count(waiting).await == 2).then_some(())
            })
            .await;
            tx.commit().await.expect("the database answers");
        }
    );
    assert_eq!(signed_in.expect(401).code(), "wrong-credentials");
    assert_eq!(changed.expect(422).faults(), [("old_password", "wrong")]);
    assert_eq!(app.count("SELECT count(*) FROM session_families").await, 1);
}

#[tokio::test]
async fn without_the_old_password_nothing_is_changed() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let answer = app.change_password(&ada, "wrong horse battery", NEW).await.expect(422);
    assert_eq!(answer.faults(), [("old_password", "wrong")]);
    let answer = app.change_password(&ada, PASSWORD, "password1234").await.expect(422);
    assert_eq!(answer.faults(), [("new_password", "too-common")]);
    let body = json!({ "old_password": PASSWORD, "new_password": NEW, "user_id": ada.id });
    let call = app.gateway.put("/v1/me/password").json(body.clone());
    call.send().await.expect(401);
    let answer = app
        .gateway
        .put("/v1/me/password")
        .by(&ada)
        .json(body)
        .send()
        .await
        .expect(422);
    assert_eq!(answer.faults(), [("user_id", "unknown")]);
    app.sign_in_with(PASSWORD).await.expect(201);
}

#[tokio::test]
async fn a_mailed_link_sets_a_new_password_once_and_ends_every_session() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    app.forgot("ADA@example.org").await.expect(204);
    let mail = app.command::<NotificationCommand>().await;
    let NotificationCommand::SendPasswordResetMail(asked) = &mail.body else {
        panic!("{mail:?}");
    };
    assert_eq!((asked.user_id, mail.envelope.key), (ada.id, ada.id));
    let good_for = asked.expires_at.as_micros() - Timestamp::now().as_micros();
    assert!(
        (3_590_000_000..=3_600_000_000).contains(&good_for),
        "an hour: {good_for}"
    );
    let token = crate::app::token(&mail.body, "ada@example.org");

    // What is wrong with the password is told before the link is used up.
    assert_eq!(
        app.reset(&token, "short").await.expect(422).faults(),
        [("password", "too-short")]
    );
    app.reset(&token, NEW).await.expect(204);
    assert_eq!(words(&app.noted().await), ["changed, by reset: true", "session ended"]);
    assert_eq!(app.reset(&token, PASSWORD).await.expect(422).code(), "link-invalid");
    app.gateway.get("/v1/me").by(&ada).send().await.expect(401);
    app.sign_in_with(PASSWORD).await.expect(401);
    app.sign_in_with(NEW).await.expect(201);
}

#[tokio::test]
async fn of_two_who_use_one_link_at_once_one_sets_the_password() {
    let app = TestApp::start().await;
    app.person("ada").await;
    app.forgot("ada@example.org").await.expect(204);
    let token = app.mailed("ada@example.org").await;
    let (one, two) = tokio::join!(app.reset(&token, NEW), app.reset(&token, "another of that kind"));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 422]);
}

#[tokio::test]
async fn a_new_password_withdraws_the_other_links() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    app.forgot("ada@example.org").await.expect(204);
    let token = app.mailed("ada@example.org").await;
    app.change_password(&ada, PASSWORD, NEW).await.expect(204);
    assert_eq!(
        app.reset(&token, "another of that kind").await.expect(422).code(),
        "link-invalid"
    );
}

#[tokio::test]
async fn whoever_asks_is_answered_the_same_whether_or_not_there_is_such_an_account() {
    let app = TestApp::start().await;
    app.person("ada").await;
    let known = app.forgot("ada@example.org").await.expect(204);
    app.command::<NotificationCommand>().await;
    let unknown = app.forgot("eve@example.org").await.expect(204);
    let names = |answer: &Answer| {
        let mut names: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    };
    assert_eq!((&known.body, names(&known)), (&unknown.body, names(&unknown)));
    // What was asked before is done before: eve's is done when ada's second one is.
    app.forgot("ada@example.org").await.expect(204);
    app.command::<NotificationCommand>().await;
    let answer = app.forgot("eve").await.expect(422);
    assert_eq!(answer.faults(), [("email", "malformed")]);
}

#[tokio::test]
async fn a_link_that_is_old_forged_or_for_another_address_sets_nothing() {
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
        key.token(Purpose::ResetPassword, &link(live), "ada@example.org"), // a nonce that was never stored
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
    app.forgot("ada@example.org").await.expect(204);
    let token = app.mailed("ada@example.org").await;
    let profile = crate::app::profile("ada@example.com", "ada");
    app.bench
        .deliver(Outgoing::<UserProfileState>::new(ada.id, profile))
        .await;
    app.bench.deliver_again().await;
    assert_eq!(
        app.reset(&token, NEW).await.expect(422).code(),
        "link-invalid",
        "it has moved"
    );
}

#[tokio::test]
async fn who_has_no_account_any_more_is_mailed_nothing() {
    let app = TestApp::start().await;
    let (ada, _) = (app.person("ada").await, app.person("bob").await);
    let mut unit = app.gateway.app.unit().await.expect("the database answers");
    accounts::close(unit.tx(), &[ada.id])
        .await
        .expect("the database answers");
    unit.commit().await.expect("the database answers");
    app.forgot("ada@example.org").await.expect(204);
    app.forgot("bob@example.org").await.expect(204);
    let mail = app.command::<NotificationCommand>().await;
    assert_ne!(mail.envelope.key, ada.id);
}
