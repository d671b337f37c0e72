//! Changing, listing, exporting and erasing accounts.

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

use crate::app::{Person, Response, TestApp, accepted, effect, profile, replied};

impl TestApp {
    fn user(&self, id: Uuid) -> String {
        format!("/v1/users/{id}")
    }

    async fn change(&self, by: &Person, id: Uuid, body: Value) -> Response {
        self.gateway.patch(self.user(id)).by(by).wait(0).json(body).send().await
    }

    /// Replies to the next three audit queries with these entries.
    async fn audit_replies(&self, entries: [Value; 3]) {
        for entries in entries {
            let query = self.command::<AuditQuery>().await;
            assert!(matches!(query.body, AuditQuery::FindAuditEntries(_)));
            self.bench.deliver(replied(query.envelope.id, entries)).await;
        }
    }
}

#[tokio::test]
async fn a_change_of_a_profile_returns_the_new_profile() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let body = json!({
        "full_name": "Ada King", "date_of_birth": "1990-12-11", "time_zone": "Europe/Paris", "reminders": false,
        "announcements": false,
    });
    let call = app.gateway.patch(app.user(ada.id)).by(&ada).header("if-match", "\"1\"");
    let (response, ()) = tokio::join!(call.wait(10).json(body).send(), async {
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
    let response = response.expect(200);
    assert_eq!(response.header("etag"), "\"2\"");
    for (member, value) in [
        ("full_name", json!("Ada King")),
        ("time_zone", json!("Europe/Paris")),
        ("reminders", json!(false)),
        ("announcements", json!(false)),
        ("version", json!(2)),
    ] {
        assert_eq!(response.body[member], value, "{member}");
    }
    let mails = app.bench.published_with_envelopes::<NotificationCommand>().await;
    assert!(mails.is_empty(), "the address has not changed");
}

#[tokio::test]
async fn a_stale_version_is_412_and_a_taken_address_409() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    for (code, status) in [("version-conflict", 412), ("email-taken", 409)] {
        let call = app.gateway.patch(app.user(ada.id)).by(&ada).wait(10);
        let (response, _) = tokio::join!(
            call.json(json!({ "email": "bob@example.org" })).send(),
            app.reject_next::<UserCommand>(code)
        );
        assert_eq!(response.expect(status).code(), code);
    }
    let mails = app.bench.published_with_envelopes::<NotificationCommand>().await;
    assert!(mails.is_empty(), "nothing changed");
}

#[tokio::test]
async fn changes_are_parsed_strictly() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    for (body, field_errors) in [
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
        assert_eq!(
            app.change(&ada, ada.id, body).await.expect(422).field_errors(),
            field_errors
        );
    }
    let large = json!({ "full_name": "a".repeat(70_000) });
    app.change(&ada, ada.id, large).await.expect(413);
    app.assert_not_published::<UserCommand>().await;
}

#[tokio::test]
async fn account_writes_are_idempotent_by_their_key() {
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
async fn an_admin_sees_changes_deactivates_and_erases_any_user_as_admin() {
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
async fn an_admin_finds_users_by_prefix_role_and_status() {
    let app = TestApp::start().await;
    let root = app.admin("root").await;
    let (ada, bob) = (app.organizer("ada").await, app.person("bob_100").await);
    let find = async |query: &str| -> Vec<Uuid> {
        let response = app
            .gateway
            .get(format!("/v1/users{query}"))
            .by(&root)
            .send()
            .await
            .expect(200);
        let items = response.body["items"].as_array().expect("items");
        items.iter().map(|user| crate::app::uuid(&user["id"])).collect()
    };
    assert_eq!(find("").await, [bob.id, ada.id, root.id], "newest first");
    assert_eq!(find("?q=ADA%40ex").await, [ada.id], "by e-mail address");
    assert_eq!(find("?q=bob_").await, [bob.id], "by username");
    assert!(find("?q=bob%25").await.is_empty(), "a percent sign is not a wildcard");
    assert_eq!(find("?q=ada%20love").await, [bob.id, ada.id, root.id], "by name");
    assert_eq!(find("?q=ada&role=organizer&status=active").await, [ada.id]);
    assert_eq!(find("?role=member").await.len(), 3);
    assert!(find("?status=deactivated").await.is_empty());
    let first = app.gateway.get("/v1/users?limit=2").by(&root).send().await.expect(200);
    let next = first.body["next"].as_str().expect("there is a next page");
    assert_eq!(find(&format!("?limit=2&cursor={next}")).await, [root.id]);
    let other = app.gateway.get(format!("/v1/users?q=a&cursor={next}")).by(&root);
    assert_eq!(other.send().await.expect(422).field_errors(), [("cursor", "malformed")]);
    for (query, field_error) in [("?role=emperor", "role"), ("?x=1", "x"), ("?limit=0", "limit")] {
        let call = app.gateway.get(format!("/v1/users{query}")).by(&root);
        let response = call.send().await.expect(422);
        assert!(response.field_errors().len() == 1, "{field_error}");
    }
    assert_eq!(
        app.gateway.get("/v1/users").by(&ada).send().await.expect(403).code(),
        "role-needed"
    );
    app.gateway.get("/v1/users").send().await.expect(401);
}

#[tokio::test]
async fn an_export_contains_all_data_of_a_user() {
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
    let (response, ()) = tokio::join!(
        app.gateway.get(format!("{}/export", app.user(ada.id))).by(&ada).send(),
        app.audit_replies([
            json!({ "entries": [entry(1), entry(2)] }),
            json!({ "entries": [] }),
            json!({ "entries": [entry(2), entry(3)] }),
        ])
    );
    let response = response.expect(200);
    assert_eq!(
        response.header("content-disposition"),
        "attachment; filename=\"rollcall.json\""
    );
    let body = &response.body;
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
    assert!(
        !response.body.to_string().contains("argon2"),
        "the export contains no credentials"
    );
}

#[tokio::test]
async fn only_the_user_gets_the_export_and_only_a_complete_one() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let path = format!("{}/export", app.user(ada.id));
    app.gateway.get(&path).by(&bob).send().await.expect(404);
    app.gateway.get(&path).send().await.expect(401);
    let (response, _) = tokio::join!(
        app.gateway.get(&path).by(&ada).send(),
        app.reject_next::<AuditQuery>("too-slow")
    );
    assert_eq!(response.expect(503).code(), "too-slow");
}

#[tokio::test]
async fn an_erasure_removes_all_personal_data() {
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
    // The failed notification contains the address.
    assert!(
        !app.tables_containing("canary").await.is_empty(),
        "the search finds personal data"
    );

    let erase = app.gateway.post(format!("{}/erasure", app.user(ada.id))).by(&ada);
    let response = erase.header("idempotency-key", "canary").send().await.expect(202);
    let operation = response.id();
    assert_eq!(response.header("location"), format!("/v1/operations/{operation}"));
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

    assert_eq!(app.tables_containing("canary").await, Vec::<String>::new());
    assert_eq!(
        app.tables_containing("1990-12-10").await,
        ["profiles"],
        "only the profile of bob"
    );
    for table in ["credentials", "session_families", "link_nonces", "roles"] {
        let query = format!("SELECT count(*) FROM {table} WHERE user_id = '{}'", ada.id);
        assert_eq!(app.count(&query).await, 0, "{table}");
    }
    app.gateway.get("/v1/me").by(&ada).send().await.expect(401);
    app.sign_in("canary").await.expect(401);
    // Everyone who knows the id of the erasure sees its outcome.
    let done = app
        .gateway
        .get(format!("/v1/operations/{operation}"))
        .send()
        .await
        .expect(200);
    assert_eq!(done.body["status"], "succeeded");
    // Other operations of the user are hidden from other users.
    let register = "SELECT id FROM operations WHERE principal IS NULL AND kind = 'register'";
    let register: Uuid = sqlx::query_scalar(register)
        .fetch_one(app.database.pool())
        .await
        .expect("the operation exists");
    let call = app.gateway.get(format!("/v1/operations/{register}"));
    call.by(&bob).send().await.expect(404);
    // The registration remains without personal data.
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
async fn a_tombstone_alone_erases_the_personal_data() {
    let app = TestApp::start().await;
    let ada = app.person("canary").await;
    let tombstone = Outgoing::<UserProfileState>::new(ada.id, UserProfileState::Tombstone);
    app.bench.deliver(tombstone).await;
    app.bench.deliver_again().await;
    assert_eq!(app.tables_containing("canary").await, Vec::<String>::new());
    app.gateway.get("/v1/me").by(&ada).send().await.expect(404);
}

#[tokio::test]
async fn only_the_user_can_request_the_erasure() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let path = format!("{}/erasure", app.user(ada.id));
    app.gateway.post(&path).by(&bob).send().await.expect(404);
    app.gateway.post(&path).send().await.expect(401);
    let sure = app.gateway.post(&path).by(&ada).json(json!({ "sure": true }));
    assert_eq!(sure.send().await.expect(422).field_errors(), [("sure", "unknown")]);
    app.assert_not_published::<UserCommand>().await;
}

#[tokio::test]
async fn a_deactivation_publishes_revoked_roles_and_sessions_once() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let closed = contracts::UserDeactivated {
        reason: String::new(),
        deactivated_at: Timestamp::now(),
    };
    app.bench.deliver(Outgoing::<UserEvent>::new(ada.id, closed)).await;
    app.bench.deliver_again().await;
    let security_facts = app.security_facts().await;
    assert_eq!(security_facts.len(), 2, "{security_facts:?}");
    assert!(security_facts.iter().any(|fact| matches!(
        fact,
        SecurityFact::RoleRevoked(revoked) if revoked.user_id == ada.id
            && revoked.role == Role::Organizer.into() && revoked.revoked_by.is_none()
    )));
    assert!(security_facts.iter().any(|fact| matches!(
        fact,
        SecurityFact::SessionFamilyRevoked(revoked) if revoked.reason == RevocationReason::AccountClosed
    )));
    eventually("the token is rejected", Duration::from_secs(3), || async {
        (app.gateway.get("/v1/me").by(&ada).send().await.status == 401).then_some(())
    })
    .await;
}
