//! What becomes of accounts: changed, listed, exported, forgotten.

use std::time::Duration;

use axum::http::Method;
use contracts::{
    Actor, AuditQuery, Date, EraseUser, NotificationCommand, NotificationFact, NotificationFailed, NotificationKind,
    RevocationReason, SecurityFact, Timestamp, UserChanged, UserCommand, UserErased, UserEvent, UserProfile,
    UserProfileState, topics,
};
use gateway::roles::Role;
use messaging::Outgoing;
use serde_json::{Value, json};
use testing::eventually;
use uuid::Uuid;

use crate::app::{Answer, Person, TestApp, accepted, answered, effect, profile, rejected};

impl TestApp {
    fn user(&self, id: Uuid) -> String {
        format!("/v1/users/{id}")
    }

    async fn change(&self, by: &Person, id: Uuid, body: Value) -> Answer {
        self.gateway.patch(self.user(id)).by(by).wait(0).json(body).send().await
    }

    /// The audit service answers the next three questions with these entries.
    async fn audit_answers(&self, entries: [Value; 3]) {
        for entries in entries {
            let query = self.command::<AuditQuery>().await;
            assert!(matches!(query.body, AuditQuery::FindAuditEntries(_)));
            self.bench.deliver(answered(query.envelope.id, entries)).await;
        }
    }
}

#[tokio::test]
async fn a_profile_is_changed_by_its_person_and_shown_as_the_answer() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let body = json!({
        "full_name": "Ada King", "date_of_birth": "1990-12-11", "time_zone": "Europe/Paris", "reminders": false,
        "announcements": false,
    });
    let call = app.gateway.patch(app.user(ada.id)).by(&ada).header("if-match", "\"1\"");
    let (answer, ()) = tokio::join!(call.wait(10).json(body).send(), async {
        let command = app.command::<UserCommand>().await;
        assert_eq!(command.envelope.expected_version, Some(1));
        assert_eq!(command.envelope.actor, Some(Actor::User(ada.id)));
        let UserCommand::ChangeUser(change) = &command.body else {
            panic!("{command:?}");
        };
        assert_eq!(change.email, None);
        assert_eq!(change.date_of_birth, Date::from_ymd(1990, 12, 11));
        let changed = UserChanged {
            fields: vec!["full_name".to_owned()],
            changed_at: Timestamp::now(),
        };
        let newest = UserProfile {
            full_name: change.full_name.clone().expect("a name"),
            time_zone: change.time_zone.clone().expect("a time zone"),
            reminders: change.reminders.expect("a choice"),
            announcements: change.announcements.expect("a choice"),
            ..profile("ada@example.org", "ada")
        };
        app.bench.deliver(Outgoing::<UserEvent>::new(ada.id, changed)).await;
        app.bench.deliver_again().await;
        app.bench
            .deliver(Outgoing::<UserProfileState>::new(ada.id, newest))
            .await;
        app.bench.deliver_again().await;
        let effects = vec![
            effect(&topics::USERS, ada.id, 2),
            effect(&topics::USERS_PROFILES, ada.id, 2),
        ];
        app.bench.deliver(accepted(command.envelope.id, 2, effects)).await;
    });
    let answer = answer.expect(200);
    assert_eq!(answer.header("etag"), "\"2\"");
    for (member, value) in [
        ("full_name", json!("Ada King")),
        ("time_zone", json!("Europe/Paris")),
        ("reminders", json!(false)),
        ("announcements", json!(false)),
        ("version", json!(2)),
    ] {
        assert_eq!(answer.body[member], value, "{member}");
    }
    let mails = app.bench.said::<NotificationCommand>().await;
    assert!(mails.is_empty(), "the address is the same");
}

#[tokio::test]
async fn a_stale_version_is_412_and_a_taken_address_409() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    for (code, status) in [("version-conflict", 412), ("email-taken", 409)] {
        let call = app.gateway.patch(app.user(ada.id)).by(&ada).wait(10);
        let (answer, ()) = tokio::join!(call.json(json!({ "email": "bob@example.org" })).send(), async {
            let command = app.command::<UserCommand>().await;
            app.bench.deliver(rejected(command.envelope.id, code, &[])).await;
        });
        assert_eq!(answer.expect(status).code(), code);
    }
    let mails = app.bench.said::<NotificationCommand>().await;
    assert!(mails.is_empty(), "nothing changed");
}

#[tokio::test]
async fn changes_are_read_strictly() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    for (body, faults) in [
        (json!({ "username": "eve" }), [("username", "unknown")]),
        (json!({ "password": "x" }), [("password", "unknown")]),
        (json!({ "email": "ada" }), [("email", "malformed")]),
        (json!({ "time_zone": "Mars/Olympus" }), [("time_zone", "unknown")]),
        (
            json!({ "date_of_birth": "yesterday" }),
            [("date_of_birth", "malformed")],
        ),
        (json!({ "reminders": "no" }), [("reminders", "malformed")]),
        (json!({ "full_name": null }), [("full_name", "malformed")]),
    ] {
        assert_eq!(app.change(&ada, ada.id, body).await.expect(422).faults(), faults);
    }
    let large = json!({ "full_name": "a".repeat(70_000) });
    app.change(&ada, ada.id, large).await.expect(413);
    assert!(app.bench.said::<UserCommand>().await.is_empty());
}

#[tokio::test]
async fn writes_on_accounts_are_repeated_by_their_key() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    for (method, path, body) in [
        (Method::PATCH, app.user(ada.id), json!({ "full_name": "Ada King" })),
        (Method::DELETE, app.user(ada.id), json!({})),
        (Method::POST, format!("{}/erasure", app.user(ada.id)), json!({})),
    ] {
        let send = |body: Value| {
            let call = app.gateway.call(method.clone(), &path).by(&ada).wait(0);
            call.header("idempotency-key", format!("{method}:{path}"))
                .json(body)
                .send()
        };
        let first = send(body.clone()).await.expect(202);
        assert_eq!(send(body).await.expect(202).id(), first.id());
        app.command::<UserCommand>().await;
    }
    let call = app.gateway.patch(app.user(ada.id)).by(&ada).wait(0);
    let key = format!("PATCH:{}", app.user(ada.id));
    let other = call.header("idempotency-key", key).json(json!({ "full_name": "Eve" }));
    assert_eq!(other.send().await.expect(422).code(), "idempotency-key-reused");
}

#[tokio::test]
async fn an_admin_sees_changes_closes_and_erases_everybody_and_says_so() {
    let app = TestApp::start().await;
    let (root, ada) = (app.admin("root").await, app.person("ada").await);
    let shown = app.gateway.get(app.user(ada.id)).by(&root).send().await.expect(200);
    assert_eq!(shown.body["email"], "ada@example.org");
    app.change(&root, ada.id, json!({ "full_name": "Ada King" }))
        .await
        .expect(202);
    app.gateway
        .delete(app.user(ada.id))
        .by(&root)
        .wait(0)
        .send()
        .await
        .expect(202);
    let erase = app.gateway.post(format!("{}/erasure", app.user(ada.id))).by(&root);
    erase.send().await.expect(202);
    let mut commands = app.commands::<UserCommand>().await;
    while commands.len() < 3 {
        commands.extend(app.commands::<UserCommand>().await);
    }
    assert!(
        commands
            .iter()
            .all(|command| command.envelope.actor == Some(Actor::Admin(root.id)) && command.envelope.key == ada.id)
    );
    let UserCommand::DeactivateUser(close) = &commands[1].body else {
        panic!("{commands:?}");
    };
    assert_eq!(close.reason, "decided by an admin");
    assert_eq!(commands[2].body, UserCommand::EraseUser(EraseUser {}));
    for path in [app.user(Uuid::now_v7()), format!("{}/export", app.user(Uuid::now_v7()))] {
        app.gateway.get(path).by(&root).send().await.expect(404);
    }
}

#[tokio::test]
async fn an_admin_finds_people_by_how_they_begin_their_role_and_status() {
    let app = TestApp::start().await;
    let root = app.admin("root").await;
    let (ada, bob) = (app.organizer("ada").await, app.person("bob_100").await);
    let find = async |query: &str| -> Vec<Uuid> {
        let answer = app
            .gateway
            .get(format!("/v1/users{query}"))
            .by(&root)
            .send()
            .await
            .expect(200);
        let items = answer.body["items"].as_array().expect("items");
        items.iter().map(|user| crate::app::uuid(&user["id"])).collect()
    };
    assert_eq!(find("").await, [bob.id, ada.id, root.id], "the newest first");
    assert_eq!(find("?q=ADA%40ex").await, [ada.id], "by e-mail");
    assert_eq!(find("?q=bob_").await, [bob.id], "by username");
    assert!(find("?q=bob%25").await.is_empty(), "a sign is a sign");
    assert_eq!(find("?q=ada%20love").await, [bob.id, ada.id, root.id], "by name");
    assert_eq!(find("?q=ada&role=organizer&status=active").await, [ada.id]);
    assert_eq!(find("?role=member").await.len(), 3);
    assert!(find("?status=deactivated").await.is_empty());
    let first = app.gateway.get("/v1/users?limit=2").by(&root).send().await.expect(200);
    let next = first.body["next"].as_str().expect("there is more");
    assert_eq!(find(&format!("?limit=2&cursor={next}")).await, [root.id]);
    let other = app.gateway.get(format!("/v1/users?q=a&cursor={next}")).by(&root);
    assert_eq!(other.send().await.expect(422).faults(), [("cursor", "malformed")]);
    for (query, fault) in [("?role=emperor", "role"), ("?x=1", "x"), ("?limit=0", "limit")] {
        let call = app.gateway.get(format!("/v1/users{query}")).by(&root);
        let answer = call.send().await.expect(422);
        assert!(answer.faults().len() == 1, "{fault}");
    }
    assert_eq!(
        app.gateway.get("/v1/users").by(&ada).send().await.expect(403).code(),
        "role-needed"
    );
    app.gateway.get("/v1/users").send().await.expect(401);
}

#[tokio::test]
async fn an_export_holds_all_that_is_known_of_a_person() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.organizer("ada").await, app.organizer("bob").await);
    let (own, other) = (app.has_event(&ada).await, app.has_event(&bob).await);
    let seat = app.has_seat(&ada, other, 2).await;
    let failed = NotificationFailed {
        notification_id: Uuid::now_v7(),
        kind: NotificationKind::Welcome,
        cause_id: Uuid::now_v7(),
        reason: "the mailbox is full".to_owned(),
        failed_at: Timestamp::now(),
        event_id: None,
    };
    app.bench
        .deliver(Outgoing::<NotificationFact>::new(ada.id, failed))
        .await;
    let entry = |id: u8| json!({ "id": id });
    let (answer, ()) = tokio::join!(
        app.gateway.get(format!("{}/export", app.user(ada.id))).by(&ada).send(),
        app.audit_answers([
            json!({ "entries": [entry(1), entry(2)] }),
            json!({ "entries": [] }),
            json!({ "entries": [entry(2), entry(3)] }),
        ])
    );
    let answer = answer.expect(200);
    assert_eq!(
        answer.header("content-disposition"),
        "attachment; filename=\"rollcall.json\""
    );
    let body = &answer.body;
    assert_eq!(body["user"]["email"], "ada@example.org");
    assert_eq!(body["user"]["roles"], json!(["member", "organizer"]));
    assert_eq!(body["sessions"].as_array().map(Vec::len), Some(1));
    assert_eq!(body["events"][0]["id"], json!(own));
    assert_eq!(body["registrations"][0]["id"], json!(seat));
    assert_eq!(body["notifications"][0]["reason"], "the mailbox is full");
    let kinds: Vec<&str> = (body["operations"].as_array().expect("operations").iter())
        .map(|operation| operation["kind"].as_str().expect("a kind"))
        .collect();
    assert_eq!(kinds, ["register", "publish-event", "create-event"]);
    assert_eq!(body["audit"], json!([entry(1), entry(2), entry(3)]));
    assert_eq!(body["audit_is_cut"], false);
    assert!(!answer.body.to_string().contains("argon2"), "no credentials");
}

#[tokio::test]
async fn an_export_is_ones_own_and_whole_or_none() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let path = format!("{}/export", app.user(ada.id));
    app.gateway.get(&path).by(&bob).send().await.expect(404);
    app.gateway.get(&path).send().await.expect(401);
    let (answer, ()) = tokio::join!(app.gateway.get(&path).by(&ada).send(), async {
        let query = app.command::<AuditQuery>().await;
        app.bench.deliver(rejected(query.envelope.id, "too-slow", &[])).await;
    });
    assert_eq!(answer.expect(503).code(), "too-slow");
}

#[tokio::test]
async fn nothing_of_an_erased_person_is_left() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.organizer("canary").await, app.organizer("bob").await);
    let event = app.has_event(&bob).await;
    let seat = app.has_seat(&ada, event, 2).await;
    app.gateway
        .post(format!("/v1/users/{}/verification", ada.id))
        .by(&ada)
        .send()
        .await
        .expect(204);
    app.command::<NotificationCommand>().await;
    let failed = NotificationFailed {
        notification_id: Uuid::now_v7(),
        kind: NotificationKind::Welcome,
        cause_id: Uuid::now_v7(),
        reason: "canary@example.org is full".to_owned(),
        failed_at: Timestamp::now(),
        event_id: None,
    };
    app.bench
        .deliver(Outgoing::<NotificationFact>::new(ada.id, failed))
        .await;
    // A command that went nowhere lies aside.
    assert!(!app.rows_with("canary").await.is_empty(), "the test can find it");

    let erase = app.gateway.post(format!("{}/erasure", app.user(ada.id))).by(&ada);
    let answer = erase.header("idempotency-key", "canary").send().await.expect(202);
    let operation = answer.id();
    assert_eq!(answer.header("location"), format!("/v1/operations/{operation}"));
    let command = app.command::<UserCommand>().await;
    assert_eq!(command.body, UserCommand::EraseUser(EraseUser {}));
    let erased = UserErased {
        erased_at: Timestamp::now(),
    };
    app.bench.deliver(Outgoing::<UserEvent>::new(ada.id, erased)).await;
    app.bench.deliver_again().await;
    let tombstone = Outgoing::<UserProfileState>::new(ada.id, UserProfileState::Tombstone);
    app.bench.deliver(tombstone).await;
    app.bench.deliver_again().await;
    let effects = vec![
        effect(&topics::USERS, ada.id, 2),
        effect(&topics::USERS_PROFILES, ada.id, 2),
    ];
    app.bench.deliver(accepted(command.envelope.id, 2, effects)).await;

    assert_eq!(app.rows_with("canary").await, Vec::<String>::new());
    assert_eq!(app.rows_with("1990-12-10").await, ["profiles"], "bob's");
    for table in ["credentials", "session_families", "link_nonces", "roles"] {
        let query = format!("SELECT count(*) FROM {table} WHERE user_id = '{}'", ada.id);
        assert_eq!(app.count(&query).await, 0, "{table}");
    }
    app.gateway.get("/v1/me").by(&ada).send().await.expect(401);
    app.sign_in("canary").await.expect(401);
    // Who knows its id sees what became of it.
    let done = app
        .gateway
        .get(format!("/v1/operations/{operation}"))
        .send()
        .await
        .expect(200);
    assert_eq!(done.body["status"], "succeeded");
    // What else was asked for is nobody's any more.
    let register = "SELECT id FROM operations WHERE principal IS NULL AND kind = 'register'";
    let register: Uuid = sqlx::query_scalar(register)
        .fetch_one(app.database.pool())
        .await
        .expect("there is one");
    let call = app.gateway.get(format!("/v1/operations/{register}"));
    call.by(&bob).send().await.expect(404);
    // The history stays, without the person.
    let list = app
        .gateway
        .get(format!("/v1/events/{event}/registrations"))
        .by(&bob)
        .send()
        .await
        .expect(200);
    assert_eq!(list.body["items"][0]["id"], json!(seat));
    assert!(!list.body.to_string().contains("canary"));
}

#[tokio::test]
async fn a_tombstone_alone_forgets_the_person_too() {
    let app = TestApp::start().await;
    let ada = app.person("canary").await;
    let tombstone = Outgoing::<UserProfileState>::new(ada.id, UserProfileState::Tombstone);
    app.bench.deliver(tombstone).await;
    app.bench.deliver_again().await;
    assert_eq!(app.rows_with("canary").await, Vec::<String>::new());
    app.gateway.get("/v1/me").by(&ada).send().await.expect(404);
}

#[tokio::test]
async fn an_erasure_is_ones_own() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let path = format!("{}/erasure", app.user(ada.id));
    app.gateway.post(&path).by(&bob).send().await.expect(404);
    app.gateway.post(&path).send().await.expect(401);
    let sure = app.gateway.post(&path).by(&ada).json(json!({ "sure": true }));
    assert_eq!(sure.send().await.expect(422).faults(), [("sure", "unknown")]);
    assert!(app.bench.said::<UserCommand>().await.is_empty());
}

#[tokio::test]
async fn the_end_of_an_account_is_noted_once_with_its_roles_and_sessions() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let closed = contracts::UserDeactivated {
        reason: String::new(),
        deactivated_at: Timestamp::now(),
    };
    app.bench.deliver(Outgoing::<UserEvent>::new(ada.id, closed)).await;
    app.bench.deliver_again().await;
    let noted = app.noted().await;
    assert_eq!(noted.len(), 2, "{noted:?}");
    assert!(noted.iter().any(|fact| matches!(
        fact,
        SecurityFact::RoleRevoked(revoked) if revoked.user_id == ada.id
            && revoked.role == Role::Organizer.into() && revoked.revoked_by.is_none()
    )));
    assert!(noted.iter().any(|fact| matches!(
        fact,
        SecurityFact::SessionFamilyRevoked(revoked) if revoked.reason == RevocationReason::AccountClosed
    )));
    eventually("the token is worth nothing", Duration::from_secs(3), || async {
        (app.gateway.get("/v1/me").by(&ada).send().await.status == 401).then_some(())
    })
    .await;
}
