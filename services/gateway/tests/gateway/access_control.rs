//! Attacks on authentication and authorization (OWASP API Security Top 10, 2023: API1, API2, API3 and API5).

use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contracts::{AuditQuery, EventCommand, NotificationCommand, OpsCommand, RegistrationCommand, UserCommand};
use gateway::roles::Role;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{PASSWORD, Person, TestApp, draft, sign_up};

impl TestApp {
    /// Asserts that no command was published.
    async fn assert_nothing_published(&self) {
        self.assert_not_published::<UserCommand>().await;
        self.assert_not_published::<EventCommand>().await;
        self.assert_not_published::<RegistrationCommand>().await;
        self.assert_not_published::<OpsCommand>().await;
        self.assert_not_published::<AuditQuery>().await;
        self.assert_not_published::<NotificationCommand>().await;
    }
}

// API1: broken object level authorization.

#[tokio::test]
async fn objects_of_other_users_are_not_found_by_any_method() {
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
        let response = call.send().await.expect(404);
        assert_eq!(response.code(), "not-found", "{method} {path}");
    }
    app.assert_nothing_published().await;
}

#[tokio::test]
async fn an_unknown_id_and_the_id_of_another_user_get_the_same_response() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.organizer("ada").await, app.organizer("eve").await);
    let draft = app.has_draft(&ada).await;
    for (existing, kind) in [(ada.id, "users"), (draft, "events")] {
        let problem_of = async |id: Uuid| {
            let response = app
                .gateway
                .get(format!("/v1/{kind}/{id}"))
                .by(&eve)
                .send()
                .await
                .expect(404);
            let mut body = response.body;
            let problem = body.as_object_mut().expect("a problem");
            problem.retain(|member, _| member != "instance" && member != "traceId");
            body
        };
        assert_eq!(problem_of(existing).await, problem_of(Uuid::now_v7()).await, "{kind}");
    }
}

#[tokio::test]
async fn an_idempotency_key_has_no_effect_on_another_user() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.organizer("ada").await, app.organizer("eve").await);
    let write = |by: &Person| {
        let call = app.gateway.post("/v1/events").by(by).wait(0);
        call.header("idempotency-key", "guessed").json(draft()).send()
    };
    let (first, second) = (write(&ada).await.expect(202), write(&eve).await.expect(202));
    assert_ne!(first.id(), second.id(), "the second user gets a separate operation");
    let mut commands = app.commands::<EventCommand>().await;
    while commands.len() < 2 {
        commands.extend(app.commands::<EventCommand>().await);
    }
}

// API2: broken authentication.

#[tokio::test]
async fn a_token_with_changed_claims_is_rejected() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.admin("bob").await);
    let parts: Vec<&str> = ada.token.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        panic!("a token has three parts");
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
    // A key that the token itself contains.
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
async fn password_guessing_is_limited_per_account_and_per_address() {
    let app = TestApp::start_with(&[("RATE_LIMIT_ACCOUNT", "5"), ("RATE_LIMIT_SIGN_INS", "10")]).await;
    let attempt = |email: String, from: String| {
        let body = json!({ "email": email, "password": PASSWORD });
        app.gateway.post("/v1/sessions").from(&from).json(body).send()
    };
    let mut verified = 0;
    for number in 0..20 {
        let response = attempt("ada@example.org".to_owned(), format!("192.0.2.{number}")).await;
        verified += u32::from(response.status == 401);
    }
    assert_eq!(verified, 5, "one account, many addresses");
    let mut verified = 0;
    for number in 0..20 {
        let response = attempt(format!("ada{number}@example.org"), "198.51.100.7".to_owned()).await;
        verified += u32::from(response.status == 401);
    }
    assert_eq!(verified, 10, "one address, many accounts");
}

#[tokio::test]
async fn credentials_and_tokens_appear_in_no_response_and_in_no_table() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let event = app.has_event(&ada).await;
    for path in [
        "/v1/me".to_owned(),
        "/v1/me/operations".to_owned(),
        format!("/v1/events/{event}"),
        "/.well-known/jwks.json".to_owned(),
    ] {
        let response = app.gateway.get(&path).by(&ada).send().await.expect(200);
        let text = response.body.to_string();
        for secret in [PASSWORD, "argon2", "password_hash", &ada.refresh, &ada.token, "private"] {
            assert!(!text.contains(secret), "{path}: {secret}");
        }
    }
    for secret in [PASSWORD, &ada.refresh, &ada.token] {
        assert_eq!(app.tables_containing(secret).await, Vec::<String>::new());
    }
}

// API3: broken object property level authorization.

#[tokio::test]
async fn users_cannot_set_protected_fields_of_their_account() {
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
        let response = app.gateway.post("/v1/users").json(body).send().await.expect(422);
        assert_eq!(response.field_errors(), [(member, "unknown")], "sign-up");
        let call = app.gateway.patch(format!("/v1/users/{}", ada.id)).by(&ada);
        let response = call
            .json(json!({ "full_name": "Ada", member: value }))
            .send()
            .await
            .expect(422);
        assert_eq!(response.field_errors(), [(member, "unknown")], "change");
    }
    app.assert_nothing_published().await;
}

#[tokio::test]
async fn organizers_cannot_set_the_owner_or_the_status_of_an_event() {
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
        let response = app
            .gateway
            .post("/v1/events")
            .by(&ada)
            .json(body)
            .send()
            .await
            .expect(422);
        assert_eq!(response.field_errors(), [(member, "unknown")]);
    }
    app.assert_nothing_published().await;
}

#[tokio::test]
async fn organizers_see_only_the_contact_data_of_attendees() {
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

// API5: broken function level authorization.

#[tokio::test]
async fn routes_for_a_role_are_forbidden_without_the_role() {
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
        let response = call().by(&ada).send().await.expect(403);
        assert_eq!(response.code(), "role-needed", "{method} {path}");
        call().send().await.expect(401);
        // Headers that some servers accept as another method, user or path.
        let disguised = call()
            .by(&ada)
            .header("x-http-method-override", "GET")
            .header("x-user-id", Uuid::now_v7());
        disguised.header("x-original-url", "/v1/me").send().await.expect(403);
    }
    app.assert_nothing_published().await;
}

#[tokio::test]
async fn a_revoked_role_has_no_effect_and_no_other_role_replaces_it() {
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
    app.assert_nothing_published().await;
}

#[tokio::test]
async fn a_former_organizer_cannot_see_cancel_or_check_in_attendees() {
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
    app.assert_nothing_published().await;
}
