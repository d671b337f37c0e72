//! What those would try who mean harm: OWASP API Security Top 10 (2023), API1 to API5.

use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contracts::{AuditQuery, EventCommand, NotificationCommand, OpsCommand, RegistrationCommand, UserCommand};
use gateway::roles::Role;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{PASSWORD, Person, TestApp, draft, sign_up};

impl TestApp {
    /// Nothing was said to anybody.
    async fn nothing_was_said(&self) {
        assert!(self.bench.said::<UserCommand>().await.is_empty());
        assert!(self.bench.said::<EventCommand>().await.is_empty());
        assert!(self.bench.said::<RegistrationCommand>().await.is_empty());
        assert!(self.bench.said::<OpsCommand>().await.is_empty());
        assert!(self.bench.said::<AuditQuery>().await.is_empty());
        assert!(self.bench.said::<NotificationCommand>().await.is_empty());
    }
}

// API1: broken object level authorization.

#[tokio::test]
async fn every_object_of_somebody_else_is_not_there_whatever_is_done_with_it() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.organizer("ada").await, app.person("bob").await);
    let eve = app.organizer("eve").await;
    let (draft, event) = (app.has_draft(&ada).await, app.has_event(&ada).await);
    let seat = app.has_seat(&bob, event, 2).await;
    let drafted = app
        .gateway
        .post("/v1/events")
        .by(&ada)
        .wait(0)
        .json(crate::app::draft());
    let operation = drafted.send().await.expect(202).id();
    app.command::<EventCommand>().await;
    let (get, post, patch, delete) = (Method::GET, Method::POST, Method::PATCH, Method::DELETE);
    for (method, path, body) in [
        (&get, format!("/v1/users/{}", ada.id), None),
        (
            &patch,
            format!("/v1/users/{}", ada.id),
            Some(json!({ "full_name": "Eve" })),
        ),
        (&delete, format!("/v1/users/{}", ada.id), None),
        (&get, format!("/v1/users/{}/export", ada.id), None),
        (&post, format!("/v1/users/{}/erasure", ada.id), None),
        (&post, format!("/v1/users/{}/verification", ada.id), None),
        (&get, format!("/v1/events/{draft}"), None),
        (&get, format!("/v1/events/{event}/registrations"), None),
        (&get, format!("/v1/events/{event}/history"), None),
        (&get, format!("/v1/registrations/{seat}"), None),
        (&delete, format!("/v1/registrations/{seat}"), None),
        (&get, format!("/v1/registrations/{seat}/ticket"), None),
        (&get, format!("/v1/operations/{operation}"), None),
    ] {
        let call = app.gateway.call(method.clone(), &path).by(&eve).wait(0);
        let call = match body {
            Some(body) => call.json(body),
            None => call,
        };
        let answer = call.send().await.expect(404);
        assert_eq!(answer.code(), "not-found", "{method} {path}");
    }
    app.nothing_was_said().await;
}

#[tokio::test]
async fn an_id_that_is_not_there_and_one_that_is_somebody_elses_are_answered_the_same() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.organizer("ada").await, app.organizer("eve").await);
    let draft = app.has_draft(&ada).await;
    for (theirs, kind) in [(ada.id, "users"), (draft, "events")] {
        let ask = async |id: Uuid| {
            let answer = app
                .gateway
                .get(format!("/v1/{kind}/{id}"))
                .by(&eve)
                .send()
                .await
                .expect(404);
            let mut body = answer.body;
            let problem = body.as_object_mut().expect("a problem");
            problem.retain(|member, _| member != "instance" && member != "traceId");
            body
        };
        assert_eq!(ask(theirs).await, ask(Uuid::now_v7()).await, "{kind}");
    }
}

#[tokio::test]
async fn nobody_acts_under_an_idempotency_key_of_somebody_else() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.organizer("ada").await, app.organizer("eve").await);
    let write = |by: &Person| {
        let call = app.gateway.post("/v1/events").by(by).wait(0);
        call.header("idempotency-key", "guessed").json(draft()).send()
    };
    let (first, second) = (write(&ada).await.expect(202), write(&eve).await.expect(202));
    assert_ne!(first.id(), second.id(), "eve is not shown what ada did");
    let mut commands = app.commands::<EventCommand>().await;
    while commands.len() < 2 {
        commands.extend(app.commands::<EventCommand>().await);
    }
}

// API2: broken authentication.

#[tokio::test]
async fn a_token_with_other_claims_is_none() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.admin("bob").await);
    let parts: Vec<&str> = ada.token.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        panic!("three parts");
    };
    let read = |part: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
    };
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut forged = Vec::new();
    for (claim, value) in [
        ("sub", json!(bob.id)),
        ("exp", json!(4_000_000_000_u64)),
        ("roles", json!(["admin"])),
        ("sid", json!(Uuid::now_v7())),
    ] {
        let mut claims = read(claims);
        claims[claim] = value;
        forged.push(format!("{header}.{}.{signature}", encode(&claims)));
    }
    for (name, value) in [("alg", "none"), ("alg", "HS256"), ("alg", "RS256"), ("kid", "x")] {
        let mut header = read(header);
        header[name] = json!(value);
        forged.push(format!("{}.{claims}.{signature}", encode(&header)));
        forged.push(format!("{}.{claims}.", encode(&header)));
    }
    // A key that the token itself brings along.
    let mut header_with_key = read(header);
    header_with_key["jwk"] =
        json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    header_with_key["kid"] = json!("other");
    forged.push(format!("{}.{claims}.{signature}", encode(&header_with_key)));
    for token in forged {
        let call = app
            .gateway
            .get("/v1/me")
            .header("authorization", format!("Bearer {token}"));
        assert_eq!(call.send().await.expect(401).code(), "token-invalid", "{token}");
    }
}

#[tokio::test]
async fn passwords_can_not_be_tried_in_bulk_from_many_addresses_or_at_many_accounts() {
    let app = TestApp::start_with(&[("RATE_LIMIT_ACCOUNT", "5"), ("RATE_LIMIT_SIGN_INS", "10")]).await;
    let attempt = |email: String, from: String| {
        let body = json!({ "email": email, "password": PASSWORD });
        app.gateway.post("/v1/sessions").from(&from).json(body).send()
    };
    let mut tried = 0;
    for number in 0..20 {
        let answer = attempt("ada@example.org".to_owned(), format!("192.0.2.{number}")).await;
        tried += u32::from(answer.status == 401);
    }
    assert_eq!(tried, 5, "one account, many addresses");
    let mut tried = 0;
    for number in 0..20 {
        let answer = attempt(format!("ada{number}@example.org"), "198.51.100.7".to_owned()).await;
        tried += u32::from(answer.status == 401);
    }
    assert_eq!(tried, 10, "one address, many accounts");
}

#[tokio::test]
async fn neither_credentials_nor_tokens_are_told_by_any_answer_or_topic() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let event = app.has_event(&ada).await;
    for path in [
        "/v1/me".to_owned(),
        "/v1/me/operations".to_owned(),
        format!("/v1/events/{event}"),
        "/.well-known/jwks.json".to_owned(),
    ] {
        let answer = app.gateway.get(&path).by(&ada).send().await.expect(200);
        let text = answer.body.to_string();
        for secret in [PASSWORD, "argon2", "password_hash", &ada.refresh, &ada.token, "private"] {
            assert!(!text.contains(secret), "{path}: {secret}");
        }
    }
    for secret in [PASSWORD, &ada.refresh, &ada.token] {
        assert_eq!(app.rows_with(secret).await, Vec::<String>::new());
    }
}

// API3: broken object property level authorization.

#[tokio::test]
async fn nobody_gives_oneself_what_is_not_ones_own_to_give() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    for (member, value) in [
        ("roles", json!(["admin"])),
        ("role", json!("admin")),
        ("email_verified", json!(true)),
        ("status", json!("active")),
        ("id", json!(Uuid::now_v7())),
        ("version", json!(1)),
        ("is_admin", json!(true)),
    ] {
        let mut body = sign_up("eve");
        body[member] = value.clone();
        let answer = app.gateway.post("/v1/users").json(body).send().await.expect(422);
        assert_eq!(answer.faults(), [(member, "unknown")], "at the sign-up");
        let call = app.gateway.patch(format!("/v1/users/{}", ada.id)).by(&ada);
        let answer = call
            .json(json!({ "full_name": "Ada", member: value }))
            .send()
            .await
            .expect(422);
        assert_eq!(answer.faults(), [(member, "unknown")], "later");
    }
    app.nothing_was_said().await;
}

#[tokio::test]
async fn an_event_is_nobody_elses_to_hand_over_and_has_no_state_to_set() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.organizer("ada").await, app.person("eve").await);
    for (member, value) in [
        ("organizer_id", json!(eve.id)),
        ("status", json!("published")),
        ("published_at", json!("2026-01-01T00:00:00Z")),
        ("id", json!(Uuid::now_v7())),
    ] {
        let mut body = draft();
        body[member] = value;
        let answer = app
            .gateway
            .post("/v1/events")
            .by(&ada)
            .json(body)
            .send()
            .await
            .expect(422);
        assert_eq!(answer.faults(), [(member, "unknown")]);
    }
    app.nothing_was_said().await;
}

#[tokio::test]
async fn who_organizes_sees_no_more_of_an_attendee_than_is_needed_at_the_door() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.organizer("ada").await, app.person("bob").await);
    let event = app.has_event(&ada).await;
    app.has_seat(&bob, event, 2).await;
    let list = app
        .gateway
        .get(format!("/v1/events/{event}/registrations"))
        .by(&ada)
        .send()
        .await
        .expect(200);
    let text = list.body.to_string();
    for private in ["1990-12-10", "date_of_birth", "reminders", "roles", "time_zone"] {
        assert!(!text.contains(private), "{private}: {text}");
    }
}

// API4: unrestricted resource consumption.

#[tokio::test]
async fn nothing_that_is_sent_may_be_large_and_nothing_that_is_asked_for() {
    let app = TestApp::start_with(&[("PASSWORD_HASHERS", "1"), ("PASSWORD_QUEUE", "1")]).await;
    let root = app.admin("root").await;
    let mut long = sign_up("eve");
    long["password"] = json!("a1".repeat(65));
    let answer = app.gateway.post("/v1/users").json(long).send().await.expect(422);
    assert_eq!(
        answer.faults(),
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
        let answer = call.send().await;
        assert!(answer.status == status || answer.status == 400, "{}", answer.body);
    }
}

#[tokio::test]
async fn who_asks_for_ever_is_slowed_down_and_others_are_not() {
    let app = TestApp::start_with(&[("RATE_LIMIT_WRITES", "20"), ("RATE_LIMIT_ANONYMOUS", "50")]).await;
    let (eve, bob) = (app.organizer("eve").await, app.organizer("bob").await);
    let mut done = 0;
    for _ in 0..40 {
        let answer = app
            .gateway
            .post("/v1/events")
            .by(&eve)
            .wait(0)
            .json(draft())
            .send()
            .await;
        assert!(answer.status == 202 || answer.status == 429);
        done += u32::from(answer.status == 202);
    }
    assert_eq!(done, 20);
    let other = app.gateway.post("/v1/events").by(&bob).wait(0).json(draft());
    other.send().await.expect(202);
    let flood = (0..80).map(|_| app.gateway.get("/v1/events").from("192.0.2.66").send());
    let answers = futures::future::join_all(flood).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 30);
    app.gateway
        .get("/v1/events")
        .from("192.0.2.67")
        .send()
        .await
        .expect(200);
    app.commands::<EventCommand>().await;
}

// API5: broken function level authorization.

#[tokio::test]
async fn what_is_for_a_role_is_for_nobody_without_it() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let id = Uuid::now_v7();
    let routes = [
        (Method::GET, "/v1/users".to_owned()),
        (Method::PUT, format!("/v1/users/{}/roles", ada.id)),
        (Method::POST, "/v1/events".to_owned()),
        (Method::PATCH, format!("/v1/events/{id}")),
        (Method::POST, format!("/v1/events/{id}/publish")),
        (Method::POST, format!("/v1/events/{id}/reschedule")),
        (Method::POST, format!("/v1/events/{id}/cancel")),
        (Method::POST, format!("/v1/events/{id}/announcements")),
        (Method::GET, format!("/v1/events/{id}/registrations")),
        (Method::GET, "/v1/audit/entries".to_owned()),
        (Method::GET, "/v1/audit/checkpoints".to_owned()),
        (Method::POST, "/v1/audit/verifications".to_owned()),
        (Method::GET, "/v1/ops/status".to_owned()),
        (Method::POST, "/v1/ops/parked/release".to_owned()),
        (Method::POST, format!("/v1/ops/dead-letters/{id}/discard")),
    ];
    for (method, path) in routes {
        let call = || app.gateway.call(method.clone(), &path);
        let answer = call().by(&ada).send().await.expect(403);
        assert_eq!(answer.code(), "role-needed", "{method} {path}");
        call().send().await.expect(401);
        // Words that some servers take for another method, or another person.
        let sly = call()
            .by(&ada)
            .header("x-http-method-override", "GET")
            .header("x-user-id", Uuid::now_v7());
        sly.header("x-original-url", "/v1/me").send().await.expect(403);
    }
    app.nothing_was_said().await;
}

#[tokio::test]
async fn a_role_is_worth_nothing_once_it_is_taken_away_and_no_other_role_stands_in() {
    let app = TestApp::start().await;
    let (root, eve) = (app.admin("root").await, app.person("eve").await);
    app.grant(&eve, Role::Auditor).await;
    app.gateway
        .post("/v1/events")
        .by(&eve)
        .json(draft())
        .send()
        .await
        .expect(403);
    app.gateway.get("/v1/ops/status").by(&eve).send().await.expect(403);
    app.gateway.get("/v1/users").by(&eve).send().await.expect(403);
    let roles = app.gateway.put(format!("/v1/users/{}/roles", eve.id));
    roles.by(&root).json(json!({ "roles": [] })).send().await.expect(200);
    app.gateway.get("/v1/audit/entries").by(&eve).send().await.expect(403);
    app.nothing_was_said().await;
}

#[tokio::test]
async fn who_organizes_no_more_sees_nobody_sends_nobody_away_and_lets_nobody_in() {
    let app = TestApp::start().await;
    let root = app.admin("root").await;
    let (ada, bob) = (app.organizer("ada").await, app.person("bob").await);
    let event = app.has_event(&ada).await;
    let registration = format!("/v1/registrations/{}", app.has_seat(&bob, event, 2).await);
    app.gateway.get(&registration).by(&ada).send().await.expect(200);
    let roles = app.gateway.put(format!("/v1/users/{}/roles", ada.id));
    roles.by(&root).json(json!({ "roles": [] })).send().await.expect(200);
    app.gateway.get(&registration).by(&ada).send().await.expect(404);
    app.gateway.delete(&registration).by(&ada).send().await.expect(404);
    let code = json!({ "code": "AAAAAAAAAAAAAAAA" });
    let check_in = app.gateway.post(format!("{registration}/check-in"));
    check_in.by(&ada).json(code).send().await.expect(404);
    app.gateway.get(&registration).by(&bob).send().await.expect(200);
    app.nothing_was_said().await;
}
