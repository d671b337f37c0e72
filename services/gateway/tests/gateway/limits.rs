//! How often somebody may ask.

use serde_json::json;

use crate::app::{PASSWORD, TestApp, sign_up};

#[tokio::test]
async fn who_is_not_signed_in_is_counted_by_address() {
    let app = TestApp::start_with(&[("RATE_LIMIT_ANONYMOUS", "3")]).await;
    for left in ["2", "1", "0"] {
        let answer = app.gateway.get("/v1/events").from("192.0.2.1").send().await.expect(200);
        assert_eq!(answer.header("ratelimit-policy"), "\"anonymous\";q=3;w=60");
        assert!(
            answer
                .header("ratelimit")
                .starts_with(&format!("\"anonymous\";r={left};t="))
        );
    }
    let answer = app.gateway.get("/v1/events").from("192.0.2.1").send().await.expect(429);
    assert_eq!(answer.code(), "too-many-requests");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let wait: u16 = answer.header("retry-after").parse().expect("seconds");
    assert!((1..=21).contains(&wait), "{wait}");
    assert_eq!(answer.header("ratelimit"), format!("\"anonymous\";r=0;t={wait}"));
    assert_eq!(answer.header("ratelimit-policy"), "\"anonymous\";q=3;w=60");
    app.gateway.get("/v1/events").from("192.0.2.2").send().await.expect(200);
}

#[tokio::test]
async fn a_token_that_is_none_does_not_make_one_somebody() {
    let app = TestApp::start_with(&[("RATE_LIMIT_ANONYMOUS", "1")]).await;
    for (token, status) in [("a", 401), ("b", 429)] {
        let call = app
            .gateway
            .get("/v1/events")
            .header("authorization", format!("Bearer {token}"));
        call.send().await.expect(status);
    }
}

#[tokio::test]
async fn only_trusted_proxies_say_for_whom_they_ask() {
    let settings = [("RATE_LIMIT_ANONYMOUS", "1"), ("TRUSTED_PROXIES", "10.0.0.0/8")];
    let app = TestApp::start_with(&settings).await;
    let ask = |peer: &str, forwarded: &str| {
        let call = app.gateway.get("/v1/events").from(peer);
        call.header("x-forwarded-for", forwarded).send()
    };
    ask("10.1.2.3", "198.51.100.7").await.expect(200);
    ask("10.1.2.3", "198.51.100.8").await.expect(200);
    ask("10.1.2.3", "203.0.113.9, 198.51.100.7").await.expect(429);
    ask("192.0.2.1", "198.51.100.9").await.expect(200);
    ask("192.0.2.1", "198.51.100.10").await.expect(429);
}

#[tokio::test]
async fn writes_are_counted_by_user_and_check_ins_by_themselves() {
    let app = TestApp::start_with(&[("RATE_LIMIT_WRITES", "2"), ("RATE_LIMIT_CHECK_INS", "3")]).await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let nowhere = uuid::Uuid::now_v7();
    let write = |by| {
        let call = app.gateway.delete(format!("/v1/registrations/{nowhere}"));
        call.by(by).send()
    };
    for _ in 0..2 {
        let answer = write(&ada).await.expect(404);
        assert_eq!(answer.header("ratelimit-policy"), "\"writes\";q=2;w=60");
    }
    write(&ada).await.expect(429);
    let export = app.gateway.get(format!("/v1/users/{}/export", ada.id)).by(&ada);
    export.send().await.expect(429);
    write(&bob).await.expect(404);
    let reading = app.gateway.get("/v1/me").by(&ada).send().await.expect(200);
    assert!(reading.headers.get("ratelimit").is_none());
    for status in [404, 404, 404, 429] {
        let call = app
            .gateway
            .post(format!("/v1/registrations/{nowhere}/check-in"))
            .by(&ada);
        call.json(json!({ "code": "AAAAAAAAAAAAAAAA" }))
            .send()
            .await
            .expect(status);
    }
}

#[tokio::test]
async fn signing_in_and_up_is_counted_more_strictly_whoever_asks() {
    let app = TestApp::start_with(&[("RATE_LIMIT_SIGN_INS", "4")]).await;
    let ada = app.person("ada").await;
    // Two of them are ada's own sign-up and sign-in; that she is signed in changes nothing.
    let wrong = json!({ "email": "bob@example.org", "password": PASSWORD });
    app.gateway
        .post("/v1/sessions")
        .by(&ada)
        .json(wrong.clone())
        .send()
        .await
        .expect(401);
    app.gateway
        .post("/v1/password-resets")
        .json(json!({ "email": "a@b" }))
        .send()
        .await
        .expect(204);
    for call in [
        app.gateway.post("/v1/sessions").by(&ada).json(wrong.clone()),
        app.gateway.post("/v1/users").json(sign_up("eve")),
        app.gateway.post("/v1/password-resets").json(json!({ "email": "a@b" })),
        app.gateway
            .put("/v1/password-resets/x")
            .json(json!({ "password": PASSWORD })),
    ] {
        let answer = call.send().await.expect(429);
        assert_eq!(answer.header("ratelimit-policy"), "\"sign-ins\";q=4;w=60");
    }
    app.gateway
        .post("/v1/sessions")
        .from("192.0.2.2")
        .json(wrong)
        .send()
        .await
        .expect(401);
}

#[tokio::test]
async fn an_account_is_tried_so_often_a_minute_from_wherever() {
    let app = TestApp::start_with(&[("RATE_LIMIT_ACCOUNT", "2")]).await;
    let attempt = |email: &str, from: &str| {
        let body = json!({ "email": email, "password": PASSWORD });
        app.gateway.post("/v1/sessions").from(from).json(body).send()
    };
    attempt("ada@example.org", "192.0.2.1").await.expect(401);
    attempt("ADA@example.org", "192.0.2.2").await.expect(401);
    let answer = attempt("ada@example.org", "192.0.2.3").await.expect(429);
    assert_eq!(answer.code(), "too-many-requests");
    assert_eq!(answer.header("ratelimit-policy"), "\"account\";q=2;w=60");
    attempt("bob@example.org", "192.0.2.1").await.expect(401);
    let mail = app
        .gateway
        .post("/v1/password-resets")
        .json(json!({ "email": "ada@example.org" }));
    mail.send().await.expect(429);
}
