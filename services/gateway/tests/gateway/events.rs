//! Creating, showing, listing and cancelling events.

use contracts::{Actor, EventCancelled, EventCommand, EventEnded, EventEvent, RegistrationEvent, Timestamp};
use messaging::Outgoing;
use serde_json::json;
use uuid::Uuid;

use crate::app::{TestApp, draft, event_created, event_published, roster_opened, uuid};

#[tokio::test]
async fn only_the_organizer_sees_a_draft() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.organizer("ada").await, app.organizer("bob").await);
    let event = app.has_draft(&ada).await;
    let path = format!("/v1/events/{event}");
    let own = app.gateway.get(&path).by(&ada).send().await.expect(200);
    assert_eq!((&own.body["status"], own.header("etag")), (&json!("draft"), "\"1\""));
    app.gateway.get(&path).by(&bob).send().await.expect(404);
    app.gateway.get(&path).send().await.expect(404);
    app.gateway.get(format!("{path}/availability")).send().await.expect(404);
    assert_eq!(
        app.gateway.get("/v1/events").send().await.expect(200).body,
        json!({ "items": [] })
    );
}

#[tokio::test]
async fn a_draft_sends_the_fields_of_the_request() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let mut body = draft();
    body.as_object_mut()
        .expect("an object")
        .remove("registration_closes_at");
    app.gateway
        .post("/v1/events")
        .by(&ada)
        .wait(0)
        .json(body)
        .send()
        .await
        .expect(202);
    let command = app.command::<EventCommand>().await;
    assert_eq!(command.envelope.actor, Some(Actor::User(ada.id)));
    let EventCommand::CreateEvent(create) = &command.body else {
        panic!("{command:?}");
    };
    assert_eq!(
        create.registration_closes_at, create.starts_at,
        "the default is the start"
    );
    assert_eq!((create.title.as_str(), create.capacity), ("Analytical Engines", 2));
}

#[tokio::test]
async fn everyone_sees_a_published_event() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let event = app.has_event(&ada).await;
    let shown = app.gateway.get(format!("/v1/events/{event}")).send().await.expect(200);
    assert_eq!(
        (&shown.body["status"], shown.header("etag")),
        (&json!("published"), "\"2\"")
    );
    let list = app.gateway.get("/v1/events").send().await.expect(200);
    assert_eq!(list.body["items"], json!([shown.body]));
    let seats = app
        .gateway
        .get(format!("/v1/events/{event}/availability"))
        .send()
        .await
        .expect(200);
    let expected = json!({ "event_id": event, "capacity": 2, "taken": 0, "waiting": 0, "free": 2, "open": true });
    assert_eq!(seats.body, expected);
}

#[tokio::test]
async fn a_cancelled_event_shows_its_reason_and_is_not_listed() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let event = app.has_event(&ada).await;
    let (response, ()) = tokio::join!(
        app.gateway
            .post(format!("/v1/events/{event}/cancel"))
            .by(&ada)
            .wait(10)
            .json(json!({ "reason": "The engine broke." }))
            .send(),
        app.events_accept(3)
    );
    let response = response.expect(200);
    assert_eq!(
        (&response.body["status"], &response.body["cancel_reason"]),
        (&json!("cancelled"), &json!("The engine broke."))
    );
    app.gateway.get(format!("/v1/events/{event}")).send().await.expect(200);
    assert_eq!(
        app.gateway.get("/v1/events").send().await.expect(200).body,
        json!({ "items": [] })
    );
    let seats = app
        .gateway
        .get(format!("/v1/events/{event}/availability"))
        .send()
        .await
        .expect(200);
    assert_eq!(seats.body["open"], false);
}

#[tokio::test]
async fn only_organizers_create_events() {
    let app = TestApp::start().await;
    let bob = app.person("bob").await;
    assert_eq!(
        app.gateway
            .post("/v1/events")
            .json(draft())
            .send()
            .await
            .expect(401)
            .code(),
        "not-signed-in"
    );
    assert_eq!(
        app.gateway
            .post("/v1/events")
            .by(&bob)
            .json(draft())
            .send()
            .await
            .expect(403)
            .code(),
        "role-needed"
    );
    let publish = app.gateway.post(format!("/v1/events/{}/publish", Uuid::now_v7()));
    publish.by(&bob).send().await.expect(403);
    app.assert_not_published::<EventCommand>().await;
}

#[tokio::test]
async fn the_event_of_another_organizer_is_not_found_by_a_write() {
    let app = TestApp::start().await;
    let bob = app.organizer("bob").await;
    let event = Uuid::now_v7();
    let (response, _) = tokio::join!(
        app.gateway
            .post(format!("/v1/events/{event}/publish"))
            .by(&bob)
            .wait(10)
            .send(),
        app.reject_next::<EventCommand>("event-unknown")
    );
    assert_eq!(response.expect(404).code(), "event-unknown");
}

#[tokio::test]
async fn an_outdated_version_is_412() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let event = app.has_draft(&ada).await;
    let publish = app
        .gateway
        .post(format!("/v1/events/{event}/publish"))
        .by(&ada)
        .wait(10);
    let (response, command) = tokio::join!(
        publish.header("if-match", "\"7\"").send(),
        app.reject_next::<EventCommand>("version-conflict")
    );
    assert_eq!(command.envelope.expected_version, Some(7));
    assert_eq!(response.expect(412).code(), "version-conflict");
}

#[tokio::test]
async fn invalid_times_are_rejected_immediately() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let mut body = draft();
    body["starts_at"] = json!("tomorrow");
    body["time_zone"] = json!("Middle/Earth");
    body["registration_closes_at"] = json!("2099-03-01");
    let response = app
        .gateway
        .post("/v1/events")
        .by(&ada)
        .json(body)
        .send()
        .await
        .expect(422);
    let field_errors = [
        ("starts_at", "malformed"),
        ("time_zone", "unknown"),
        ("registration_closes_at", "malformed"),
    ];
    assert_eq!(response.field_errors(), field_errors);
}

#[tokio::test]
async fn pages_list_events_in_the_order_of_their_start() {
    let app = TestApp::start().await;
    let organizer = Uuid::now_v7();
    let mut expected = Vec::new();
    for day in [3, 1, 5, 2, 4, 4] {
        let event = Uuid::now_v7();
        let mut published = event_published(organizer);
        published.details.starts_at = Timestamp::parse(&format!("2098-03-0{day}T18:00:00Z")).expect("a time");
        expected.push((published.details.starts_at, event));
        let history = [
            Outgoing::<EventEvent>::new(event, event_created(organizer)),
            Outgoing::<EventEvent>::new(event, published),
        ];
        app.bench.deliver_all(history).await;
        app.bench.deliver_again().await;
    }
    expected.sort();
    let mut seen = Vec::new();
    let mut path = "/v1/events?limit=2".to_owned();
    for _ in 0..3 {
        let page = app.gateway.get(&path).send().await.expect(200);
        seen.extend(
            page.body["items"]
                .as_array()
                .expect("items")
                .iter()
                .map(|event| uuid(&event["id"])),
        );
        path = format!(
            "/v1/events?limit=2&cursor={}",
            page.body["next"].as_str().unwrap_or_default()
        );
    }
    assert!(path.ends_with("cursor="), "the third page is the last one");
    assert_eq!(seen, expected.into_iter().map(|(_, event)| event).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_history_has_the_same_result_in_one_batch_and_one_by_one() {
    let app = TestApp::start().await;
    let organizer = Uuid::now_v7();
    let at = Timestamp::parse("2026-03-01T12:00:00Z").expect("a time");
    let history = |event: Uuid| -> Vec<Outgoing<EventEvent>> {
        let cancelled = EventCancelled {
            reason: "rain".to_owned(),
            cancelled_at: at,
        };
        [
            event_created(organizer).into(),
            event_published(organizer).into(),
            EventEvent::from(cancelled),
            EventEnded { ended_at: at }.into(),
        ]
        .map(|fact: EventEvent| Outgoing::<EventEvent>::new(event, fact).time(at))
        .into()
    };
    let (together, one_by_one) = (Uuid::now_v7(), Uuid::now_v7());
    app.bench.deliver_all(history(together)).await;
    app.bench.deliver_again().await;
    for fact in history(one_by_one) {
        app.bench.deliver(fact).await;
        app.bench.deliver_again().await;
    }
    let mut shown = Vec::new();
    for event in [together, one_by_one] {
        let mut response = app.gateway.get(format!("/v1/events/{event}")).send().await.expect(200);
        response.body.as_object_mut().expect("an event").remove("id");
        shown.push(response.body);
    }
    assert_eq!(shown[0], shown[1]);
    assert_eq!(
        (&shown[0]["status"], &shown[0]["version"]),
        (&json!("ended"), &json!(4))
    );
}

#[tokio::test]
async fn a_roster_is_not_shown_before_its_event_is_received() {
    let app = TestApp::start().await;
    let (organizer, event) = (Uuid::now_v7(), Uuid::now_v7());
    app.bench
        .deliver(Outgoing::<RegistrationEvent>::new(event, roster_opened(organizer)))
        .await;
    let path = format!("/v1/events/{event}/availability");
    app.gateway.get(&path).send().await.expect(404);
    let history = [
        Outgoing::<EventEvent>::new(event, event_created(organizer)),
        Outgoing::<EventEvent>::new(event, event_published(organizer)),
    ];
    app.bench.deliver_all(history).await;
    assert_eq!(app.gateway.get(&path).send().await.expect(200).body["capacity"], 2);
}
