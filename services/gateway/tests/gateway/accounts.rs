//! Sign-up, sign-in, profiles, roles and deactivation.

use contracts::{Timestamp, UserCommand, UserDeactivated, UserEvent, topics};
use gateway::roles::Role;
use messaging::Outgoing;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{PASSWORD, Person, TestApp, accepted, effect, sign_up};

impl TestApp {
    async fn deactivate(&self, person: &Person) {
        let (response, ()) = tokio::join!(
            self.gateway
                .delete(format!("/v1/users/{}", person.id))
                .by(person)
                .wait(10)
                .send(),
            async {
                let command = self.command::<UserCommand>().await;
                let deactivated = UserDeactivated {
                    reason: "requested by the user".to_owned(),
                    deactivated_at: Timestamp::parse("2026-03-02T12:00:00Z").expect("a time"),
                };
                self.bench
                    .deliver(Outgoing::<UserEvent>::new(person.id, deactivated))
                    .await;
                self.bench.deliver_again().await;
                let effects = vec![effect(&topics::USERS, person.id, 2)];
                self.bench.deliver(accepted(command.envelope.id, 2, effects)).await;
                self.bench.deliver_again().await;
            }
        );
        let response = response.expect(200);
        assert_eq!(response.body["status"], "deactivated");
        assert_eq!(response.body["deactivated_at"], "2026-03-02T12:00:00Z");
    }
}

#[tokio::test]
async fn users_can_sign_in_after_sign_up_and_see_their_profile() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let session = app.sign_in("ada").await.expect(201);
    assert_eq!(session.header("cache-control"), "no-store");
    assert_eq!(session.body["token_type"], "Bearer");
    assert_eq!(session.body["expires_in"], 900);
    assert_eq!(
        (&session.body["user_id"], &session.body["roles"]),
        (&json!(ada.id), &json!(["member"]))
    );
    let me = app.gateway.get("/v1/me").by(&ada).send().await.expect(200);
    let profile = app
        .gateway
        .get(format!("/v1/users/{}", ada.id))
        .by(&ada)
        .send()
        .await
        .expect(200);
    assert_eq!(me.body, profile.body);
    assert_eq!(me.body["username"], "ada");
}

#[tokio::test]
async fn the_case_of_the_e_mail_address_does_not_matter_at_sign_in() {
    let app = TestApp::start().await;
    app.person("ada").await;
    let credentials = json!({ "email": "ADA@Example.ORG", "password": PASSWORD });
    app.gateway
        .post("/v1/sessions")
        .json(credentials)
        .send()
        .await
        .expect(201);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_get_the_same_response() {
    let app = TestApp::start().await;
    app.person("ada").await;
    let mut responses: Vec<Value> = Vec::new();
    for (email, password) in [
        ("ada@example.org", "wrong horse battery"),
        ("eve@example.org", PASSWORD),
    ] {
        let credentials = json!({ "email": email, "password": password });
        let response = app
            .gateway
            .post("/v1/sessions")
            .json(credentials)
            .send()
            .await
            .expect(401);
        assert_eq!(response.header("www-authenticate"), "Bearer");
        let mut body = response.body;
        body.as_object_mut()
            .expect("a problem")
            .retain(|member, _| member != "instance" && member != "traceId");
        responses.push(body);
    }
    assert_eq!(responses[0], responses[1]);
    assert_eq!(responses[0]["code"], "wrong-credentials");
}

#[tokio::test]
async fn users_cannot_sign_in_before_their_sign_up_is_accepted() {
    let app = TestApp::start().await;
    let response = app.sign_up_without_waiting("ada").await;
    app.sign_in("ada").await.expect(401);
    app.users_accept().await;
    app.sign_in("ada").await.expect(201);
    let _ = response;
}

#[tokio::test]
async fn an_invalid_sign_up_returns_all_field_errors_and_sends_no_command() {
    let app = TestApp::start().await;
    let mut body = sign_up("ada");
    body["password"] = json!("password1234");
    body["time_zone"] = json!("Europe/Atlantis");
    body["date_of_birth"] = json!("1990-02-30");
    let response = app.gateway.post("/v1/users").json(body).send().await.expect(422);
    let field_errors = [
        ("date_of_birth", "malformed"),
        ("time_zone", "unknown"),
        ("password", "too-common"),
    ];
    assert_eq!(response.field_errors(), field_errors);
    app.assert_not_published::<UserCommand>().await;
}

#[tokio::test]
async fn passwords_appear_on_no_topic_and_in_no_table() {
    let app = TestApp::start().await;
    let create = app.gateway.post("/v1/users").header("idempotency-key", "one").wait(0);
    create.json(sign_up("ada")).send().await.expect(202);
    for table in ["outbox", "operations", "credentials"] {
        let query = format!("SELECT count(*) FROM {table} t WHERE t::text ILIKE '%correct%horse%'");
        assert_eq!(app.count(&query).await, 0, "{table}");
        let hex = PASSWORD.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
        let query = format!("SELECT count(*) FROM {table} t WHERE t::text LIKE '%{hex}%'");
        assert_eq!(app.count(&query).await, 0, "{table}");
    }
    let query = "SELECT count(*) FROM outbox WHERE headers ILIKE '%ada%' OR headers ILIKE '%lovelace%'";
    assert_eq!(app.count(query).await, 0, "headers contain no personal data");
    app.command::<UserCommand>().await;
}

#[tokio::test]
async fn a_flood_of_sign_ups_is_rejected_before_hashing() {
    let app = TestApp::start_with(&[("PASSWORD_HASHERS", "1"), ("PASSWORD_QUEUE", "1")]).await;
    let names = ["ada", "bob", "eve", "mallory", "peggy", "victor"];
    let sign_ups = names.map(|name| app.gateway.post("/v1/users").wait(0).json(sign_up(name)).send());
    let responses = futures::future::join_all(sign_ups).await;
    let rejected: Vec<_> = responses.iter().filter(|response| response.status == 503).collect();
    assert_eq!(rejected.len(), 4);
    assert!(
        rejected
            .iter()
            .all(|response| response.code() == "overloaded" && response.header("retry-after") == "1")
    );
    assert_eq!(app.commands::<UserCommand>().await.len(), 2);
}

#[tokio::test]
async fn the_profile_of_another_user_is_not_found() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let path = format!("/v1/users/{}", ada.id);
    assert_eq!(
        app.gateway.get(&path).by(&bob).send().await.expect(404).code(),
        "not-found"
    );
    app.gateway.delete(&path).by(&bob).send().await.expect(404);
    app.gateway.get("/v1/users/ada").by(&ada).send().await.expect(404);
    app.assert_not_published::<UserCommand>().await;
}

#[tokio::test]
async fn the_token_and_password_of_a_deactivated_user_are_rejected() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    app.deactivate(&ada).await;
    assert_eq!(
        app.gateway.get("/v1/me").by(&ada).send().await.expect(401).code(),
        "token-invalid"
    );
    app.sign_in("ada").await.expect(401);
    assert_eq!(app.count("SELECT count(*) FROM roles").await, 0);
}

#[tokio::test]
async fn sign_in_uses_the_current_owner_of_an_e_mail_address() {
    let app = TestApp::start().await;
    let first = app.person("ada").await;
    app.deactivate(&first).await;
    let second = app.person("ada").await;
    assert_ne!(first.id, second.id);
    assert_eq!(app.sign_in("ada").await.expect(201).body["user_id"], json!(second.id));
}

#[tokio::test]
async fn a_deactivation_before_the_reply_to_a_sign_up_takes_precedence() {
    let app = TestApp::start().await;
    app.sign_up_without_waiting("ada").await;
    let command = app.command::<UserCommand>().await;
    let user = command.envelope.key;
    let at = Timestamp::EPOCH;
    let deactivated = UserDeactivated {
        reason: String::new(),
        deactivated_at: at,
    };
    app.bench
        .deliver_all([
            Outgoing::<UserEvent>::new(user, contracts::UserCreated { created_at: at }),
            Outgoing::<UserEvent>::new(user, deactivated),
        ])
        .await;
    app.bench
        .deliver(accepted(command.envelope.id, 1, vec![effect(&topics::USERS, user, 1)]))
        .await;
    app.sign_in("ada").await.expect(401);
    assert_eq!(app.count("SELECT count(*) FROM credentials").await, 0);
}

#[tokio::test]
async fn roles_take_effect_immediately_when_an_admin_grants_them() {
    let app = TestApp::start().await;
    let (root, ada) = (app.person("root").await, app.person("ada").await);
    app.grant(&root, Role::Admin).await;
    let path = format!("/v1/users/{}/roles", ada.id);
    let put = |roles: Value| app.gateway.put(&path).by(&root).json(json!({ "roles": roles }));

    assert_eq!(
        app.gateway
            .get("/v1/audit/entries")
            .by(&ada)
            .send()
            .await
            .expect(403)
            .code(),
        "role-needed"
    );
    let response = put(json!(["auditor", "organizer", "member"])).send().await.expect(200);
    assert_eq!(
        response.body,
        json!({ "user_id": ada.id, "roles": ["member", "organizer", "auditor"] })
    );
    let entries = app.gateway.get("/v1/audit/entries").by(&ada).wait(0).send().await;
    assert_eq!(
        entries.expect(503).code(),
        "no-answer",
        "the role takes effect without a new token"
    );
    let me = app.gateway.get("/v1/me").by(&ada).send().await.expect(200);
    assert_eq!(me.body["roles"], json!(["member", "auditor", "organizer"]));

    put(json!([])).send().await.expect(200);
    app.gateway.get("/v1/audit/entries").by(&ada).send().await.expect(403);
}

#[tokio::test]
async fn only_admins_can_grant_roles_and_they_keep_their_own_admin_role() {
    let app = TestApp::start().await;
    let (root, ada) = (app.person("root").await, app.person("ada").await);
    app.grant(&root, Role::Admin).await;
    let put = |by: &Person, of: Uuid, roles: Value| {
        let call = app.gateway.put(format!("/v1/users/{of}/roles")).by(by);
        call.json(json!({ "roles": roles })).send()
    };
    put(&ada, ada.id, json!(["admin"])).await.expect(403);
    assert_eq!(
        put(&root, root.id, json!([])).await.expect(409).code(),
        "own-admin-role"
    );
    put(&root, Uuid::now_v7(), json!(["organizer"])).await.expect(404);
    assert_eq!(
        put(&root, ada.id, json!(["emperor"])).await.expect(422).field_errors(),
        [("roles[0]", "malformed")]
    );
}

#[tokio::test]
async fn a_repeated_grant_does_not_undo_later_changes() {
    let app = TestApp::start().await;
    let (root, ada) = (app.person("root").await, app.person("ada").await);
    app.grant(&root, Role::Admin).await;
    let put = |key: &str, roles: Value| {
        let call = app.gateway.put(format!("/v1/users/{}/roles", ada.id)).by(&root);
        call.header("idempotency-key", key)
            .json(json!({ "roles": roles }))
            .send()
    };
    put("one", json!(["organizer"])).await.expect(200);
    put("two", json!([])).await.expect(200);
    let again = put("one", json!(["organizer"])).await.expect(200);
    assert_eq!(again.body["roles"], json!(["member"]), "the current roles");
    assert_eq!(
        app.count("SELECT count(*) FROM roles WHERE role = 'organizer'").await,
        0
    );
    assert_eq!(
        put("one", json!(["auditor"])).await.expect(422).code(),
        "idempotency-key-reused"
    );
}

#[tokio::test]
async fn the_first_admin_is_signed_up_once_and_again_after_a_rejection() {
    let app = TestApp::start().await;
    let admin = gateway::config::BootstrapAdmin {
        email: "root@example.org".to_owned(),
        username: "root".to_owned(),
        password: gateway::passwords::Password::new(PASSWORD.to_owned()).expect("allowed"),
    };
    let start = async || {
        let (ledger, publisher) = (app.database.ledger(), app.bench.publisher());
        let started = gateway::bootstrap::first_admin(&admin, &ledger, &publisher, app.gateway.app.hasher());
        started.await.expect("the database is reachable");
    };
    start().await;
    start().await;
    app.reject_next::<UserCommand>("email-taken").await;
    assert_eq!(app.count("SELECT count(*) FROM roles").await, 0);

    start().await;
    app.users_accept().await;
    start().await;
    app.assert_not_published::<UserCommand>().await;
    assert_eq!(
        app.sign_in("root").await.expect(201).body["roles"],
        json!(["member", "admin"])
    );
}
