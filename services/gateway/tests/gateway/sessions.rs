//! Signing in, refreshing a session, and signing out.

use contracts::{RevocationReason, SecurityFact, SessionFamilyRevoked, SignInFailed, SignInFailure};
use gateway::store::accounts;
use gateway::store::sessions::begin;
use serde_json::json;
use std::time::{Duration, Instant};
use testing::eventually;
use uuid::Uuid;

use crate::app::{Gateway, PASSWORD, Person, Response, TestApp};

impl TestApp {
    async fn refresh(&self, token: &str) -> Response {
        let body = json!({ "refresh_token": token });
        self.gateway.post("/v1/sessions/refresh").json(body).send().await
    }

    async fn families(&self) -> i64 {
        self.count("SELECT count(*) FROM session_families").await
    }
}

fn text(response: &Response, member: &str) -> String {
    response.body[member].as_str().expect("a string").to_owned()
}

fn revoked(facts: &[SecurityFact]) -> Vec<(Uuid, RevocationReason)> {
    let revoked = facts.iter().map(|fact| match fact {
        SecurityFact::SessionFamilyRevoked(SessionFamilyRevoked { user_id, reason, .. }) => (*user_id, *reason),
        other => panic!("{other:?}"),
    });
    revoked.collect()
}

#[tokio::test]
async fn a_refresh_token_can_be_used_once() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let next = app.refresh(&ada.refresh).await.expect(201);
    assert_eq!(next.body["user_id"], json!(ada.id));
    assert_eq!(next.body["refresh_expires_in"], 30 * 24 * 60 * 60);
    let next = Person {
        id: ada.id,
        token: text(&next, "access_token"),
        refresh: text(&next, "refresh_token"),
    };
    app.gateway.get("/v1/me").by(&next).send().await.expect(200);
    let third = app.refresh(&next.refresh).await.expect(201);
    assert_ne!(text(&third, "refresh_token"), next.refresh);
    assert_eq!(app.families().await, 1);
}

#[tokio::test]
async fn a_reused_refresh_token_ends_its_session() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let other_session = app.sign_in("ada").await.expect(201);
    let next = app.refresh(&ada.refresh).await.expect(201);
    let response = app.refresh(&ada.refresh).await.expect(401);
    assert_eq!(response.code(), "refresh-token-invalid");
    assert_eq!(
        revoked(&app.security_facts().await),
        [(ada.id, RevocationReason::TokenReused)]
    );

    app.refresh(&text(&next, "refresh_token")).await.expect(401);
    for token in [&ada.token, &text(&next, "access_token")] {
        let call = app
            .gateway
            .get("/v1/me")
            .header("authorization", format!("Bearer {token}"));
        assert_eq!(call.send().await.expect(401).code(), "token-invalid");
    }
    app.refresh(&text(&other_session, "refresh_token")).await.expect(201);
}

#[tokio::test]
async fn two_concurrent_refreshes_with_one_token_end_the_session() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let (one, two) = tokio::join!(app.refresh(&ada.refresh), app.refresh(&ada.refresh));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 401]);
    assert_eq!(app.families().await, 0);
    assert_eq!(app.count("SELECT count(*) FROM refresh_tokens").await, 0);
    let winner = if one.status == 201 { one } else { two };
    app.refresh(&text(&winner, "refresh_token")).await.expect(401);
}

#[tokio::test]
async fn forty_refreshes_with_one_token_get_one_session_and_do_not_block_other_requests() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let started = Instant::now();
    let mut tx = app.database.pool().begin().await.expect("a transaction");
    sqlx::query("SELECT FROM session_families FOR UPDATE")
        .execute(&mut *tx)
        .await
        .expect("the session is locked");
    let refreshes = futures::future::join_all([(); 40].map(|()| app.refresh(&ada.refresh)));
    let (responses, ()) = tokio::join!(refreshes, async {
        let other = app.gateway.get("/v1/events").send();
        let other = tokio::time::timeout(Duration::from_secs(2), other).await;
        other.expect("the request is not blocked").expect(200);
        tx.commit().await.expect("the session is unlocked");
    });
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());

    let (won, lost): (Vec<_>, Vec<_>) = responses.into_iter().partition(|response| response.status == 201);
    assert_eq!(won.len(), 1);
    for response in lost {
        assert_eq!(response.expect(401).code(), "refresh-token-invalid");
    }
    assert_eq!(
        revoked(&app.security_facts().await),
        [(ada.id, RevocationReason::TokenReused)]
    );
    assert_eq!(app.families().await, 0);
    app.refresh(&text(&won[0], "refresh_token")).await.expect(401);
}

#[tokio::test]
async fn a_refresh_of_a_locked_session_is_rejected_and_leaves_the_token_valid() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let mut tx = app.database.pool().begin().await.expect("a transaction");
    sqlx::query("SELECT FROM session_families FOR UPDATE")
        .execute(&mut *tx)
        .await
        .expect("the session is locked");
    let response = app.refresh(&ada.refresh).await.expect(503);
    assert_eq!((response.code(), response.header("retry-after")), ("overloaded", "1"));
    tx.commit().await.expect("the session is unlocked");
    app.refresh(&ada.refresh).await.expect(201);
}

#[tokio::test]
async fn an_invalid_or_expired_refresh_token_is_rejected() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    for token in ["", "x", &ada.token, &ada.refresh[1..]] {
        assert_eq!(
            app.refresh(token).await.expect(401).code(),
            "refresh-token-invalid",
            "{token}"
        );
    }
    let body = json!({ "refresh_token": "x", "user_id": ada.id });
    let response = app
        .gateway
        .post("/v1/sessions/refresh")
        .json(body)
        .send()
        .await
        .expect(422);
    assert_eq!(response.field_errors(), [("user_id", "unknown")]);
    sqlx::query("UPDATE refresh_tokens SET expires_at = now() - interval '1 second'")
        .execute(app.database.pool())
        .await
        .expect("the tokens are expired");
    app.refresh(&ada.refresh).await.expect(401);
}

#[tokio::test]
async fn refresh_tokens_are_not_stored_in_plain_text() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let query = "SELECT count(*) FROM refresh_tokens WHERE hash = sha256($1::bytea)";
    let known: i64 = sqlx::query_scalar(query)
        .bind(ada.refresh.as_bytes())
        .fetch_one(app.database.pool())
        .await
        .expect("a number");
    assert_eq!(known, 1, "only the hash is stored");
    assert_eq!(app.tables_containing(&ada.refresh).await, Vec::<String>::new());
}

#[tokio::test]
async fn signing_out_ends_the_session_at_every_gateway() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let other = Gateway::start(&app.database, &[]).await;
    other.get("/v1/me").by(&ada).send().await.expect(200);
    let other_session = app.sign_in("ada").await.expect(201);

    app.gateway
        .delete("/v1/sessions/current")
        .by(&ada)
        .send()
        .await
        .expect(204);
    assert_eq!(
        revoked(&app.security_facts().await),
        [(ada.id, RevocationReason::SignedOut)]
    );
    app.gateway.get("/v1/me").by(&ada).send().await.expect(401);
    app.refresh(&ada.refresh).await.expect(401);
    eventually(
        "the other gateway rejects the token",
        Duration::from_secs(3),
        || async { (other.get("/v1/me").by(&ada).send().await.status == 401).then_some(()) },
    )
    .await;
    app.refresh(&text(&other_session, "refresh_token")).await.expect(201);
    app.gateway.delete("/v1/sessions/current").send().await.expect(401);
}

#[tokio::test]
async fn a_failed_sign_in_is_published_with_its_reason_once_a_minute() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let bob = app.person("bob").await;
    sqlx::query("DELETE FROM credentials WHERE user_id = $1")
        .bind(bob.id)
        .execute(app.database.pool())
        .await
        .expect("the credentials of bob are deleted");
    let mut security_facts = Vec::new();
    for (email, password) in [
        ("ada@example.org", "wrong horse battery"),
        ("ada@example.org", "wrong horse battery"),
        ("eve@example.org", PASSWORD),
        ("bob@example.org", PASSWORD),
    ] {
        let body = json!({ "email": email, "password": password });
        let response = app.gateway.post("/v1/sessions").json(body).send().await.expect(401);
        assert_eq!(response.code(), "wrong-credentials");
    }
    while security_facts.len() < 3 {
        security_facts.extend(app.security_facts().await);
    }
    let failed = |user_id, reason| SecurityFact::from(SignInFailed { user_id, reason });
    assert_eq!(
        security_facts,
        [
            failed(Some(ada.id), SignInFailure::WrongPassword),
            failed(None, SignInFailure::UnknownUser),
            failed(Some(bob.id), SignInFailure::ClosedAccount),
        ]
    );
}

#[tokio::test]
async fn a_flood_of_sign_ins_is_rejected_before_hashing() {
    let app = TestApp::start_with(&[("PASSWORD_HASHERS", "1"), ("PASSWORD_QUEUE", "1")]).await;
    let sign_ins = ["ada"; 8].map(|name| app.sign_in(name));
    let responses = futures::future::join_all(sign_ins).await;
    let rejected: Vec<_> = responses.iter().filter(|response| response.status == 503).collect();
    assert!(!rejected.is_empty(), "only one password is hashed and one waits");
    assert!(
        rejected
            .iter()
            .all(|response| response.code() == "overloaded" && response.header("retry-after") == "1")
    );
}

#[tokio::test]
async fn a_session_above_the_maximum_ends_the_oldest() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let pool = app.database.pool();
    let hash = accounts::password_hash(pool, ada.id)
        .await
        .expect("the database is reachable");
    let hash = hash.expect("ada has a password");
    for number in 0..50 {
        let (family, minute) = (Uuid::now_v7(), Duration::from_secs(60));
        let begun = begin(pool, ada.id, &hash, family, [number; 32], minute).await;
        assert!(begun.expect("the database is reachable"));
    }
    assert_eq!(app.families().await, 50);
    app.refresh(&ada.refresh).await.expect(401);
}
