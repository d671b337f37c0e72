//! Limits of requests: rates, sizes, and the work that they cause (OWASP API Security Top 10, 2023: API4).

use contracts::EventCommand;
use serde_json::json;

use crate::app::{PASSWORD, TestApp, draft, sign_up};

#[tokio::test]
async fn anonymous_requests_are_limited_by_address() {
    let app = TestApp::start_with(&[("RATE_LIMIT_ANONYMOUS", "3")]).await;
    for left in ["2", "1", "0"] {
        let response = app.gateway.get("/v1/events").from("192.0.2.1").send().await.expect(200);
        assert_eq!(response.header("ratelimit-policy"), "\"anonymous\";q=3;w=60");
        assert!(
            response
                .header("ratelimit")
                .starts_with(&format!("\"anonymous\";r={left};t="))
        );
    }
    let response = app.gateway.get("/v1/events").from("192.0.2.1").send().await.expect(429);
    assert_eq!(response.code(), "too-many-requests");
    assert_eq!(response.header("content-type"), "application/problem+json");
    let wait: u16 = response.header("retry-after").parse().expect("seconds");
    assert!((1..=21).contains(&wait), "{wait}");
    assert_eq!(response.header("ratelimit"), format!("\"anonymous\";r=0;t={wait}"));
    assert_eq!(response.header("ratelimit-policy"), "\"anonymous\";q=3;w=60");
    let detail = response.body["detail"].as_str().expect("a string");
    assert!(detail.contains("`anonymous` allows 3 requests per minute"), "{detail}");
    app.gateway.get("/v1/events").from("192.0.2.2").send().await.expect(200);
}

#[tokio::test]
async fn requests_with_an_invalid_token_are_limited_as_anonymous() {
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
async fn forwarded_addresses_are_only_accepted_from_trusted_proxies() {
    let settings = [("RATE_LIMIT_ANONYMOUS", "1"), ("TRUSTED_PROXIES", "10.0.0.0/8")];
    let app = TestApp::start_with(&settings).await;
    let get = |peer: &str, forwarded: &str| {
        let call = app.gateway.get("/v1/events").from(peer);
        call.header("x-forwarded-for", forwarded).send()
    };
    get("10.1.2.3", "198.51.100.7").await.expect(200);
    get("10.1.2.3", "198.51.100.8").await.expect(200);
    get("10.1.2.3", "203.0.113.9, 198.51.100.7").await.expect(429);
    get("192.0.2.1", "198.51.100.9").await.expect(200);
    get("192.0.2.1", "198.51.100.10").await.expect(429);
}

#[tokio::test]
async fn writes_and_check_ins_are_limited_separately_by_user() {
    let app = TestApp::start_with(&[("RATE_LIMIT_WRITES", "2"), ("RATE_LIMIT_CHECK_INS", "3")]).await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let unknown = uuid::Uuid::now_v7();
    let write = |by| {
        let call = app.gateway.delete(format!("/v1/registrations/{unknown}"));
        call.by(by).send()
    };
    for _ in 0..2 {
        let response = write(&ada).await.expect(404);
        assert_eq!(response.header("ratelimit-policy"), "\"writes\";q=2;w=60");
    }
    write(&ada).await.expect(429);
    let export = app.gateway.get(format!("/v1/users/{}/export", ada.id)).by(&ada);
    export.send().await.expect(429);
    write(&bob).await.expect(404);
    let read = app.gateway.get("/v1/me").by(&ada).send().await.expect(200);
    assert!(read.headers.get("ratelimit").is_none());
    for status in [404, 404, 404, 429] {
        let call = app
            .gateway
            .post(format!("/v1/registrations/{unknown}/check-in"))
            .by(&ada);
        call.json(json!({ "code": "AAAAAAAAAAAAAAAA" }))
            .send()
            .await
            .expect(status);
    }
}

#[tokio::test]
async fn sign_ins_and_sign_ups_have_a_stricter_limit() {
    let app = TestApp::start_with(&[("RATE_LIMIT_SIGN_INS", "4")]).await;
    let ada = app.person("ada").await;
    // Two of the four are the sign-up and the sign-in of ada. Requests of a signed-in user count as well.
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
        let response = call.send().await.expect(429);
        assert_eq!(response.header("ratelimit-policy"), "\"sign-ins\";q=4;w=60");
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
async fn attempts_at_one_account_are_limited_across_addresses() {
    let app = TestApp::start_with(&[("RATE_LIMIT_ACCOUNT", "2")]).await;
    let attempt = |email: &str, from: &str| {
        let body = json!({ "email": email, "password": PASSWORD });
        app.gateway.post("/v1/sessions").from(from).json(body).send()
    };
    attempt("ada@example.org", "192.0.2.1").await.expect(401);
    attempt("ADA@example.org", "192.0.2.2").await.expect(401);
    let response = attempt("ada@example.org", "192.0.2.3").await.expect(429);
    assert_eq!(response.code(), "too-many-requests");
    assert_eq!(response.header("ratelimit-policy"), "\"account\";q=2;w=60");
    attempt("bob@example.org", "192.0.2.1").await.expect(401);
    let mail = app
        .gateway
        .post("/v1/password-resets")
        .json(json!({ "email": "ada@example.org" }));
    mail.send().await.expect(429);
}

#[tokio::test]
async fn requests_and_pages_have_a_maximum_size() {
    let app = TestApp::start_with(&[("PASSWORD_HASHERS", "1"), ("PASSWORD_QUEUE", "1")]).await;
    let root = app.admin("root").await;
    let mut long = sign_up("eve");
    long["password"] = json!("a1".repeat(65));
    let response = app.gateway.post("/v1/users").json(long).send().await.expect(422);
    assert_eq!(
        response.field_errors(),
        [("password", "too-long")],
        "a long password is not hashed"
    );
    for path in ["/v1/users", "/v1/events", "/v1/me/operations", "/v1/me/registrations"] {
        for limit in ["201", "0", "-1", "99999999999"] {
            app.gateway
                .get(format!("{path}?limit={limit}"))
                .by(&root)
                .send()
                .await
                .expect(422);
        }
    }
    let bodies = [
        format!(r#"{{"email":"{}","password":"x"}}"#, "a".repeat(70_000)),
        format!(r#"{{"email":{}1{}}}"#, "[".repeat(30_000), "]".repeat(30_000)),
    ];
    for (body, status) in bodies.into_iter().zip([413, 422]) {
        let call = app.gateway.post("/v1/sessions").raw("application/json", body);
        let response = call.send().await;
        assert!(response.status == status || response.status == 400, "{}", response.body);
    }
}

#[tokio::test]
async fn a_flood_of_requests_is_limited_without_effect_on_other_clients() {
    let app = TestApp::start_with(&[("RATE_LIMIT_WRITES", "20"), ("RATE_LIMIT_ANONYMOUS", "50")]).await;
    let (eve, bob) = (app.organizer("eve").await, app.organizer("bob").await);
    let mut accepted = 0;
    for _ in 0..40 {
        let response = app
            .gateway
            .post("/v1/events")
            .by(&eve)
            .wait(0)
            .json(draft())
            .send()
            .await;
        assert!(response.status == 202 || response.status == 429);
        accepted += u32::from(response.status == 202);
    }
    assert_eq!(accepted, 20);
    let other = app.gateway.post("/v1/events").by(&bob).wait(0).json(draft());
    other.send().await.expect(202);
    let flood = (0..80).map(|_| app.gateway.get("/v1/events").from("192.0.2.66").send());
    let responses = futures::future::join_all(flood).await;
    assert_eq!(responses.iter().filter(|response| response.status == 429).count(), 30);
    app.gateway
        .get("/v1/events")
        .from("192.0.2.67")
        .send()
        .await
        .expect(200);
    app.commands::<EventCommand>().await;
}
