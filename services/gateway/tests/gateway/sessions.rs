//! Signing in, going on, and signing out.

use contracts::{RevocationReason, SecurityFact, SessionFamilyRevoked, SignInFailed, SignInFailure};
use gateway::store::accounts;
use gateway::store::sessions::begin;
use serde_json::json;
use std::time::{Duration, Instant};
use testing::eventually;
use uuid::Uuid;

use crate::app::{Answer, Gateway, PASSWORD, Person, TestApp};

impl TestApp {
    async fn refresh(&self, token: &str) -> Answer {
        let body = json!({ "refresh_token": token });
        self.gateway.post("/v1/sessions/refresh").json(body).send().await
    }

    async fn families(&self) -> i64 {
        self.count("SELECT count(*) FROM session_families").await
    }
}

fn text(answer: &Answer, member: &str) -> String {
    answer.body[member].as_str().expect("a text").to_owned()
}

fn revoked(facts: &[SecurityFact]) -> Vec<(Uuid, RevocationReason)> {
    let revoked = facts.iter().map(|fact| match fact {
        SecurityFact::SessionFamilyRevoked(SessionFamilyRevoked { user_id, reason, .. }) => (*user_id, *reason),
        other => panic!("{other:?}"),
    });
    revoked.collect()
}

#[tokio::test]
async fn a_refresh_token_gets_the_next_session_once() {
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
async fn an_old_refresh_token_ends_all_that_came_of_its_sign_in() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let elsewhere = app.sign_in("ada").await.expect(201);
    let next = app.refresh(&ada.refresh).await.expect(201);
    let answer = app.refresh(&ada.refresh).await.expect(401);
    assert_eq!(answer.code(), "refresh-token-invalid");
    assert_eq!(revoked(&app.noted().await), [(ada.id, RevocationReason::TokenReused)]);

    app.refresh(&text(&next, "refresh_token")).await.expect(401);
    for token in [&ada.token, &text(&next, "access_token")] {
        let call = app
            .gateway
            .get("/v1/me")
            .header("authorization", format!("Bearer {token}"));
        assert_eq!(call.send().await.expect(401).code(), "token-invalid");
    }
    app.refresh(&text(&elsewhere, "refresh_token")).await.expect(201);
}

#[tokio::test]
async fn of_two_who_come_with_one_refresh_token_at_once_nobody_stays() {
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
async fn forty_refreshes_with_one_token_get_one_session_and_hold_up_no_other_request() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let begun = Instant::now();
    let mut tx = app.database.pool().begin().await.expect("a transaction");
    sqlx::query("SELECT FROM session_families FOR UPDATE")
        .execute(&mut *tx)
        .await
        .expect("the session is locked");
    let refreshes = futures::future::join_all([(); 40].map(|()| app.refresh(&ada.refresh)));
    let (answers, ()) = tokio::join!(refreshes, async {
        let other = app.gateway.get("/v1/events").send();
        let other = tokio::time::timeout(Duration::from_secs(2), other).await;
        other.expect("it is not held up").expect(200);
        tx.commit().await.expect("the session is unlocked");
    });
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    assert_eq!(won.len(), 1);
    for answer in lost {
        assert_eq!(answer.expect(401).code(), "refresh-token-invalid");
    }
    assert_eq!(revoked(&app.noted().await), [(ada.id, RevocationReason::TokenReused)]);
    assert_eq!(app.families().await, 0);
    app.refresh(&text(&won[0], "refresh_token")).await.expect(401);
}

#[tokio::test]
async fn a_refresh_of_a_session_that_stays_locked_is_refused_and_leaves_the_token_valid() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let mut tx = app.database.pool().begin().await.expect("a transaction");
    sqlx::query("SELECT FROM session_families FOR UPDATE")
        .execute(&mut *tx)
        .await
        .expect("the session is locked");
    let answer = app.refresh(&ada.refresh).await.expect(503);
    assert_eq!((answer.code(), answer.header("retry-after")), ("overloaded", "1"));
    tx.commit().await.expect("the session is unlocked");
    app.refresh(&ada.refresh).await.expect(201);
}

#[tokio::test]
async fn what_is_no_refresh_token_and_one_that_is_too_old_get_nothing() {
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
    let answer = app
        .gateway
        .post("/v1/sessions/refresh")
        .json(body)
        .send()
        .await
        .expect(422);
    assert_eq!(answer.faults(), [("user_id", "unknown")]);
    sqlx::query("UPDATE refresh_tokens SET expires_at = now() - interval '1 second'")
        .execute(app.database.pool())
        .await
        .expect("the tokens are old");
    app.refresh(&ada.refresh).await.expect(401);
}

#[tokio::test]
async fn refresh_tokens_are_in_no_table() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let query = "SELECT count(*) FROM refresh_tokens WHERE hash = sha256($1::bytea)";
    let known: i64 = sqlx::query_scalar(query)
        .bind(ada.refresh.as_bytes())
        .fetch_one(app.database.pool())
        .await
        .expect("a number");
    assert_eq!(known, 1, "what is kept is its hash");
    assert_eq!(app.rows_with(&ada.refresh).await, Vec::<String>::new());
}

#[tokio::test]
async fn signing_out_ends_this_session_at_every_gateway() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let other = Gateway::start(&app.database, &[]).await;
    other.get("/v1/me").by(&ada).send().await.expect(200);
    let elsewhere = app.sign_in("ada").await.expect(201);

    app.gateway
        .delete("/v1/sessions/current")
        .by(&ada)
        .send()
        .await
        .expect(204);
    assert_eq!(revoked(&app.noted().await), [(ada.id, RevocationReason::SignedOut)]);
    app.gateway.get("/v1/me").by(&ada).send().await.expect(401);
    app.refresh(&ada.refresh).await.expect(401);
    eventually(
        "the other gateway believes it no more",
        Duration::from_secs(3),
        || async { (other.get("/v1/me").by(&ada).send().await.status == 401).then_some(()) },
    )
    .await;
    app.refresh(&text(&elsewhere, "refresh_token")).await.expect(201);
    app.gateway.delete("/v1/sessions/current").send().await.expect(401);
}

#[tokio::test]
async fn a_sign_in_that_fails_is_noted_with_its_reason_once_a_minute() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let bob = app.person("bob").await;
    sqlx::query("DELETE FROM credentials WHERE user_id = $1")
        .bind(bob.id)
        .execute(app.database.pool())
        .await
        .expect("bob is gone");
    let mut noted = Vec::new();
    for (email, password) in [
        ("ada@example.org", "wrong horse battery"),
        ("ada@example.org", "wrong horse battery"),
        ("eve@example.org", PASSWORD),
        ("bob@example.org", PASSWORD),
    ] {
        let body = json!({ "email": email, "password": password });
        let answer = app.gateway.post("/v1/sessions").json(body).send().await.expect(401);
        assert_eq!(answer.code(), "wrong-credentials");
    }
    while noted.len() < 3 {
        noted.extend(app.noted().await);
    }
    let failed = |user_id, reason| SecurityFact::from(SignInFailed { user_id, reason });
    assert_eq!(
        noted,
        [
            failed(Some(ada.id), SignInFailure::WrongPassword),
            failed(None, SignInFailure::UnknownUser),
            failed(Some(bob.id), SignInFailure::ClosedAccount),
        ]
    );
}

#[tokio::test]
async fn a_storm_of_sign_ins_is_refused_before_it_costs_anything() {
    let app = TestApp::start_with(&[("PASSWORD_HASHERS", "1"), ("PASSWORD_QUEUE", "1")]).await;
    let sign_ins = ["ada"; 8].map(|name| app.sign_in(name));
    let answers = futures::future::join_all(sign_ins).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(!refused.is_empty(), "one is hashed, one waits");
    assert!(
        refused
            .iter()
            .all(|answer| answer.code() == "overloaded" && answer.header("retry-after") == "1")
    );
}

#[tokio::test]
async fn one_more_session_than_there_may_be_ends_the_oldest() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let pool = app.database.pool();
    let hash = accounts::password_hash(pool, ada.id)
        .await
        .expect("the database answers");
    let hash = hash.expect("she has a password");
    for number in 0..50 {
        let (family, minute) = (Uuid::now_v7(), Duration::from_secs(60));
        let begun = begin(pool, ada.id, &hash, family, [number; 32], minute).await;
        assert!(begun.expect("the database answers"));
    }
    assert_eq!(app.families().await, 50);
    app.refresh(&ada.refresh).await.expect(401);
}
