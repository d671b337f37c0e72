//! Changes of events: fields, times, staff and announcements.

use axum::http::Method;
use contracts::{Actor, EventCommand, EventEvent};
use gateway::roles::Role;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{Person, TestApp, uuid};

/// Returns every write to an existing event, with a valid body.
fn writes(event: Uuid) -> Vec<(Method, String, Value)> {
    let path = |rest: &str| format!("/v1/events/{event}{rest}");
    let times = json!({ "starts_at": "2099-04-01T18:00:00Z", "ends_at": "2099-04-01T21:00:00Z" });
    vec![
        (Method::PATCH, path(""), json!({ "title": "Difference Engines" })),
        (Method::POST, path("/publish"), json!({})),
        (Method::POST, path("/reschedule"), times),
        (Method::POST, path("/cancel"), json!({ "reason": "rain" })),
        (Method::PUT, path("/staff"), json!({ "staff": [Uuid::now_v7()] })),
        (
            Method::POST,
            path("/announcements"),
            json!({ "subject": "Coats", "body": "The hall is cold." }),
        ),
    ]
}

impl TestApp {
    /// Sends a write that the event service accepts, and returns the response.
    async fn accepted(&self, by: &Person, write: (Method, String, Value), version: i64) -> crate::app::Response {
        let (method, path, body) = write;
        let call = self.gateway.call(method, path).by(by).wait(10).json(body);
        tokio::join!(call.send(), self.events_accept(version)).0
    }
}

#[tokio::test]
async fn a_change_sends_the_changed_fields_and_returns_the_event() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let event = app.has_draft(&ada).await;
    let body = json!({ "title": "Difference Engines", "capacity": 7, "registration_opens_at": "2099-02-01T00:00:00Z" });
    let call = app.gateway.patch(format!("/v1/events/{event}")).by(&ada).wait(0);
    call.header("if-match", "\"1\"")
        .json(body.clone())
        .send()
        .await
        .expect(202);
    let command = app.command::<EventCommand>().await;
    let EventCommand::ChangeEvent(change) = &command.body else {
        panic!("{command:?}");
    };
    assert_eq!(command.envelope.expected_version, Some(1));
    assert_eq!(
        (change.title.as_deref(), change.capacity),
        (Some("Difference Engines"), Some(7))
    );
    assert_eq!((&change.venue, change.starts_at), (&None, None));

    let response = app
        .accepted(&ada, (Method::PATCH, format!("/v1/events/{event}"), body), 2)
        .await
        .expect(200);
    assert_eq!(response.header("etag"), "\"2\"");
    assert_eq!(
        (&response.body["title"], &response.body["capacity"]),
        (&json!("Difference Engines"), &json!(7))
    );
    assert_eq!(response.body["registration_opens_at"], "2099-02-01T00:00:00Z");
    assert_eq!(response.body["status"], "draft");
    let shown = app.gateway.get(format!("/v1/events/{event}")).by(&ada).send().await;
    assert_eq!(shown.expect(200).body, response.body);
}

#[tokio::test]
async fn rescheduling_returns_the_event_with_its_new_times() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let event = app.has_event(&ada).await;
    let [_, _, reschedule, ..] = &writes(event)[..] else {
        panic!("there must be at least three writes");
    };
    let response = app.accepted(&ada, reschedule.clone(), 3).await.expect(200);
    assert_eq!(response.body["starts_at"], "2099-04-01T18:00:00Z");
    assert_eq!(
        (&response.body["status"], response.header("etag")),
        (&json!("published"), "\"3\"")
    );
}

#[tokio::test]
async fn only_the_organizer_sets_and_sees_the_staff() {
    let app = TestApp::start().await;
    let (ada, bob, eve) = (
        app.organizer("ada").await,
        app.person("bob").await,
        app.organizer("eve").await,
    );
    let event = app.has_event(&ada).await;
    let path = format!("/v1/events/{event}/staff");
    let empty = app.gateway.get(&path).by(&ada).send().await.expect(200);
    assert_eq!(
        (empty.body.clone(), empty.header("etag")),
        (json!({ "staff": [] }), "\"2\"")
    );
    let staff = json!({ "staff": [bob.id] });
    let response = app.accepted(&ada, (Method::PUT, path.clone(), staff.clone()), 3).await;
    let response = response.expect(200);
    assert_eq!(
        (response.body.clone(), response.header("etag")),
        (staff.clone(), "\"3\"")
    );
    assert_eq!(app.gateway.get(&path).by(&ada).send().await.expect(200).body, staff);

    app.gateway.get(&path).by(&eve).send().await.expect(404);
    app.gateway.get(&path).by(&bob).send().await.expect(403);
    app.gateway.get(&path).send().await.expect(401);
    let shown = app.gateway.get(format!("/v1/events/{event}")).by(&ada).send().await;
    assert!(shown.expect(200).body.get("staff").is_none());
}

#[tokio::test]
async fn an_announcement_returns_its_operation() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let event = app.has_event(&ada).await;
    let announce = writes(event).remove(5);
    let response = app.accepted(&ada, announce, 3).await.expect(202);
    assert_eq!(
        (&response.body["kind"], &response.body["status"]),
        (&json!("announce"), &json!("succeeded"))
    );
    assert_eq!(response.header("location"), format!("/v1/operations/{}", response.id()));
    // The event is unchanged except for its version.
    let shown = app.gateway.get(format!("/v1/events/{event}")).send().await.expect(200);
    assert_eq!(
        (&shown.body["status"], &shown.body["version"]),
        (&json!("published"), &json!(3))
    );
}

#[tokio::test]
async fn rejections_of_the_event_service_have_their_status() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    for (code, status) in [
        ("event-unknown", 404),
        ("version-conflict", 412),
        ("use-reschedule", 422),
        ("event-not-published", 409),
        ("event-started", 409),
        ("event-cancelled", 409),
        ("event-ended", 409),
        ("invalid", 422),
    ] {
        for (method, path, body) in writes(Uuid::now_v7()) {
            let call = app.gateway.call(method.clone(), &path).by(&ada).wait(10);
            let call = call.header("if-match", "\"7\"").json(body);
            let (response, command) = tokio::join!(call.send(), app.reject_next::<EventCommand>(code));
            assert_eq!(command.envelope.expected_version, Some(7), "{method} {path}");
            assert_eq!(response.expect(status).code(), code);
        }
    }
}

#[tokio::test]
async fn only_organizers_and_admins_may_write() {
    let app = TestApp::start().await;
    let (bob, root) = (app.person("bob").await, app.person("root").await);
    app.grant(&root, Role::Admin).await;
    let event = Uuid::now_v7();
    for (method, path, body) in writes(event) {
        let call = |by: Option<&Person>| {
            let call = app.gateway.call(method.clone(), &path).json(body.clone()).wait(0);
            match by {
                Some(by) => call.by(by).send(),
                None => call.send(),
            }
        };
        assert_eq!(call(None).await.expect(401).code(), "not-signed-in");
        assert_eq!(call(Some(&bob)).await.expect(403).code(), "role-needed");
        call(Some(&root)).await.expect(202);
        let command = app.command::<EventCommand>().await;
        assert_eq!(command.envelope.actor, Some(Actor::Admin(root.id)));
    }
}

#[tokio::test]
async fn an_admin_sees_drafts_staff_and_history() {
    let app = TestApp::start().await;
    let (ada, root) = (app.organizer("ada").await, app.person("root").await);
    app.grant(&root, Role::Admin).await;
    let event = app.has_draft(&ada).await;
    for path in [
        "",
        "/staff",
        "/history",
        "/availability",
        "/registrations",
        "/calendar.ics",
    ] {
        let path = format!("/v1/events/{event}{path}");
        app.gateway.get(path).by(&root).send().await.expect(200);
    }
}

#[tokio::test]
async fn every_write_parses_its_body_strictly() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    for (method, path, body) in writes(Uuid::now_v7()) {
        let call = || app.gateway.call(method.clone(), &path).by(&ada);
        let with = |name: &str, value: Value| {
            let mut body = body.clone();
            body[name] = value;
            call().json(body).send()
        };
        let unknown = with("colour", json!("blue")).await.expect(422);
        assert_eq!(unknown.field_errors(), [("colour", "unknown")]);
        assert_eq!(
            call().raw("application/json", "{").send().await.expect(400).code(),
            "malformed"
        );
        assert_eq!(
            call().raw("text/plain", "{}").send().await.expect(415).code(),
            "media-type"
        );
        let large = with("x", json!("x".repeat(64 * 1024))).await.expect(413);
        assert_eq!(large.code(), "too-large");
        for (name, value) in body.as_object().expect("an object") {
            assert_eq!(
                with(name, Value::Null).await.expect(422).field_errors(),
                [(name.as_str(), "malformed")]
            );
            if value.is_string() {
                let nul = with(name, json!("a\0b")).await.expect(422);
                assert_eq!(nul.field_errors(), [(name.as_str(), "malformed")]);
            }
        }
    }
    let times = json!({ "starts_at": "soon", "ends_at": "2099-13-01T00:00:00Z", "time_zone": "Middle/Earth" });
    let reschedule = app.gateway.post(format!("/v1/events/{}/reschedule", Uuid::now_v7()));
    let response = reschedule.by(&ada).json(times).send().await.expect(422);
    assert_eq!(
        response.field_errors(),
        [
            ("starts_at", "malformed"),
            ("ends_at", "malformed"),
            ("time_zone", "unknown")
        ]
    );
    app.assert_not_published::<EventCommand>().await;
}

#[tokio::test]
async fn a_repeated_write_sends_one_command() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let event = app.has_event(&ada).await;
    for (index, (method, path, body)) in writes(event).into_iter().enumerate() {
        if index == 1 {
            continue; // The event is already published.
        }
        let call = |body: &Value| {
            let call = app.gateway.call(method.clone(), &path).by(&ada).wait(10);
            call.header("idempotency-key", format!("key-{index}"))
                .json(body.clone())
                .send()
        };
        let version = 3 + i64::try_from(index).expect("a few") - i64::from(index > 1);
        let (first, ()) = tokio::join!(call(&body), app.events_accept(version));
        let again = call(&body).await;
        assert_eq!(
            (again.status, &again.body["version"]),
            (first.status, &first.body["version"])
        );
        assert!(
            app.bench.published_with_envelopes::<EventCommand>().await.is_empty(),
            "{method} {path}"
        );
        let another = call(&json!({ "reason": "another" })).await;
        if index == 3 {
            assert_eq!(another.expect(422).code(), "idempotency-key-reused");
        }
    }
}

#[tokio::test]
async fn all_domain_events_have_the_same_result_in_one_batch_and_one_by_one() {
    use contracts::{
        AnnouncementMade, Details, EventCancelled, EventChanged, EventEnded, EventRescheduled, StaffNamed, Timestamp,
    };
    use messaging::Outgoing;

    use crate::app::{event_created, event_published};

    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let (staff, announcement) = (Uuid::now_v7(), Uuid::now_v7());
    let at = Timestamp::parse("2026-03-01T12:00:00Z").expect("a time");
    let details = |title: &str| Details {
        title: title.to_owned(),
        staff: vec![staff],
        ..event_created(ada.id).details
    };
    let history: Vec<EventEvent> = vec![
        event_created(ada.id).into(),
        EventChanged {
            details: details("a"),
            published: false,
        }
        .into(),
        event_published(ada.id).into(),
        EventChanged {
            details: details("b"),
            published: true,
        }
        .into(),
        StaffNamed {
            details: details("b"),
            published: true,
        }
        .into(),
        EventRescheduled {
            details: details("c"),
            previous_starts_at: at,
            previous_ends_at: at,
        }
        .into(),
        AnnouncementMade {
            announcement_id: announcement,
            organizer_id: ada.id,
            subject: "s".to_owned(),
            body: "b".to_owned(),
        }
        .into(),
        EventEnded { ended_at: at }.into(),
        EventCancelled {
            reason: "too late".to_owned(),
            cancelled_at: at,
        }
        .into(),
    ];
    let (together, one_by_one) = (Uuid::now_v7(), Uuid::now_v7());
    let messages = |event: Uuid| {
        let message = move |fact: &EventEvent| Outgoing::<EventEvent>::new(event, fact.clone()).time(at);
        history.iter().map(message).collect::<Vec<_>>()
    };
    app.bench.deliver_all(messages(together)).await;
    app.bench.deliver_again().await;
    for fact in messages(one_by_one) {
        app.bench.deliver(fact).await;
        app.bench.deliver_again().await;
    }
    let mut shown = Vec::new();
    for event in [together, one_by_one] {
        let mut states = Vec::new();
        for version in 1..=history.len() {
            let path = format!("/v1/events/{event}/history?version={version}");
            let mut state = app.gateway.get(path).by(&ada).send().await.expect(200).body;
            assert_eq!(uuid(&state["id"]), event);
            state.as_object_mut().expect("an event").remove("id");
            states.push(state);
        }
        let now = app
            .gateway
            .get(format!("/v1/events/{event}"))
            .send()
            .await
            .expect(200)
            .body;
        assert_eq!(states[history.len() - 1]["cancel_reason"], now["cancel_reason"]);
        shown.push(states);
    }
    assert_eq!(shown[0], shown[1]);
    let statuses: Vec<_> = shown[0]
        .iter()
        .map(|state| state["status"].as_str().expect("a status"))
        .collect();
    assert_eq!(
        statuses,
        [
            "draft",
            "draft",
            "published",
            "published",
            "published",
            "published",
            "published",
            "ended",
            "cancelled"
        ]
    );
}
