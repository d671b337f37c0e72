//! Signing up and in, profiles, roles, and the end of an account.

use contracts::{Timestamp, UserCommand, UserDeactivated, UserEvent, topics};
use gateway::roles::Role;
use messaging::Outgoing;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{PASSWORD, Person, TestApp, accepted, effect, sign_up};

impl TestApp {
    async fn deactivate(&self, person: &Person) {
        let (answer, ()) = tokio::join!(
            self.gateway
                .delete(format!("/v1/users/{}", person.id))
                .by(person)
                .wait(10)
                .send(),
            async {
                let command = self.command::<UserCommand>().await;
                let deactivated = UserDeactivated {
                    reason: "asked for".to_owned(),
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
        let answer = answer.expect(200);
        assert_eq!(answer.body["status"], "deactivated");
        assert_eq!(answer.body["deactivated_at"], "2026-03-02T12:00:00Z");
    }
}

#[tokio::test]
async fn who_has_signed_up_can_sign_in_and_see_the_own_profile() {
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
async fn the_e_mail_is_found_whatever_its_case() {
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
async fn a_wrong_password_and_an_unknown_e_mail_are_answered_the_same() {
    let app = TestApp::start().await;
    app.person("ada").await;
    let mut answers: Vec<Value> = Vec::new();
    for (email, password) in [
        ("ada@example.org", "wrong horse battery"),
        ("eve@example.org", PASSWORD),
    ] {
        let credentials = json!({ "email": email, "password": password });
        let answer = app
            .gateway
            .post("/v1/sessions")
            .json(credentials)
            .send()
            .await
            .expect(401);
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        let mut body = answer.body;
        body.as_object_mut()
            .expect("a problem")
            .retain(|member, _| member != "instance" && member != "traceId");
        answers.push(body);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0]["code"], "wrong-credentials");
}

#[tokio::test]
async fn who_was_not_accepted_yet_can_not_sign_in() {
    let app = TestApp::start().await;
    let answer = app
        .gateway
        .post("/v1/users")
        .wait(0)
        .json(sign_up("ada"))
        .send()
        .await
        .expect(202);
    app.sign_in("ada").await.expect(401);
    app.users_accept().await;
    app.sign_in("ada").await.expect(201);
    let _ = answer;
}

#[tokio::test]
async fn a_sign_up_that_is_wrong_is_told_every_fault_and_asks_nobody() {
    let app = TestApp::start().await;
    let mut body = sign_up("ada");
    body["password"] = json!("password1234");
    body["time_zone"] = json!("Europe/Atlantis");
    body["date_of_birth"] = json!("1990-02-30");
    let answer = app.gateway.post("/v1/users").json(body).send().await.expect(422);
    let faults = [
        ("date_of_birth", "malformed"),
        ("time_zone", "unknown"),
        ("password", "too-common"),
    ];
    assert_eq!(answer.faults(), faults);
    assert!(app.bench.published_with_envelopes::<UserCommand>().await.is_empty());
}

#[tokio::test]
async fn a_password_is_on_no_topic_and_in_no_table() {
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
    assert_eq!(app.count(query).await, 0, "personal data is in no header");
    app.command::<UserCommand>().await;
}

#[tokio::test]
async fn a_storm_of_sign_ups_is_refused_before_it_costs_anything() {
    let app = TestApp::start_with(&[("PASSWORD_HASHERS", "1"), ("PASSWORD_QUEUE", "1")]).await;
    let names = ["ada", "bob", "eve", "mallory", "peggy", "victor"];
    let sign_ups = names.map(|name| app.gateway.post("/v1/users").wait(0).json(sign_up(name)).send());
    let answers = futures::future::join_all(sign_ups).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert_eq!(refused.len(), 4);
    assert!(
        refused
            .iter()
            .all(|answer| answer.code() == "overloaded" && answer.header("retry-after") == "1")
    );
    assert_eq!(app.commands::<UserCommand>().await.len(), 2);
}

#[tokio::test]
async fn somebody_elses_profile_is_not_there() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let path = format!("/v1/users/{}", ada.id);
    assert_eq!(
        app.gateway.get(&path).by(&bob).send().await.expect(404).code(),
        "not-found"
    );
    app.gateway.delete(&path).by(&bob).send().await.expect(404);
    app.gateway.get("/v1/users/ada").by(&ada).send().await.expect(404);
    assert!(app.bench.published_with_envelopes::<UserCommand>().await.is_empty());
}

#[tokio::test]
async fn a_deactivated_users_token_and_password_work_no_more() {
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
async fn an_e_mail_signs_in_whoever_has_it_now() {
    let app = TestApp::start().await;
    let first = app.person("ada").await;
    app.deactivate(&first).await;
    let second = app.person("ada").await;
    assert_ne!(first.id, second.id);
    assert_eq!(app.sign_in("ada").await.expect(201).body["user_id"], json!(second.id));
}

#[tokio::test]
async fn a_deactivation_that_overtakes_the_sign_ups_reply_wins() {
    let app = TestApp::start().await;
    app.gateway
        .post("/v1/users")
        .wait(0)
        .json(sign_up("ada"))
        .send()
        .await
        .expect(202);
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
async fn an_admin_grants_roles_and_they_work_at_once() {
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
    let answer = put(json!(["auditor", "organizer", "member"])).send().await.expect(200);
    assert_eq!(
        answer.body,
        json!({ "user_id": ada.id, "roles": ["member", "organizer", "auditor"] })
    );
    let entries = app.gateway.get("/v1/audit/entries").by(&ada).wait(0).send().await;
    assert_eq!(entries.expect(503).code(), "no-answer", "the same token as before");
    let me = app.gateway.get("/v1/me").by(&ada).send().await.expect(200);
    assert_eq!(me.body["roles"], json!(["member", "auditor", "organizer"]));

    put(json!([])).send().await.expect(200);
    app.gateway.get("/v1/audit/entries").by(&ada).send().await.expect(403);
}

#[tokio::test]
async fn roles_are_an_admins_to_grant_and_an_admin_stays_one() {
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
        put(&root, ada.id, json!(["emperor"])).await.expect(422).faults(),
        [("roles[0]", "malformed")]
    );
}

#[tokio::test]
async fn granting_with_a_key_again_does_not_undo_what_came_between() {
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
    assert_eq!(again.body["roles"], json!(["member"]), "as they are");
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
async fn the_first_admin_is_signed_up_once_and_again_after_a_refusal() {
    let app = TestApp::start().await;
    let admin = gateway::config::BootstrapAdmin {
        email: "root@example.org".to_owned(),
        username: "root".to_owned(),
        password: gateway::passwords::Password::new(PASSWORD.to_owned()).expect("allowed"),
    };
    let start = async || {
        let (ledger, publisher) = (app.database.ledger(), app.bench.publisher());
        let made = gateway::bootstrap::first_admin(&admin, &ledger, &publisher, app.gateway.app.hasher());
        made.await.expect("the database answers");
    };
    start().await;
    start().await;
    let command = app.command::<UserCommand>().await;
    app.bench
        .deliver(crate::app::rejected(command.envelope.id, "email-taken", &[]))
        .await;
    assert_eq!(app.count("SELECT count(*) FROM roles").await, 0);

    start().await;
    app.users_accept().await;
    start().await;
    assert!(app.bench.published_with_envelopes::<UserCommand>().await.is_empty());
    assert_eq!(
        app.sign_in("root").await.expect(201).body["roles"],
        json!(["member", "admin"])
    );
}
