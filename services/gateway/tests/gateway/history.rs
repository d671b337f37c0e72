//! The history of an event, and its state at an earlier version or time.

use contracts::{EventCancelled, EventEvent, Timestamp};
use messaging::Outgoing;
use serde_json::json;
use uuid::Uuid;

use crate::app::{Person, TestApp, event_created, event_published};

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a time")
}

impl TestApp {
    /// Creates an event that was drafted on 1 March 2026, published on 2 March, and cancelled on 3 March, each at noon.
    async fn has_history(&self, organizer: &Person) -> Uuid {
        let event = Uuid::now_v7();
        let facts: [EventEvent; 3] = [
            event_created(organizer.id).into(),
            event_published(organizer.id).into(),
            EventCancelled {
                reason: "rain".to_owned(),
                cancelled_at: time("2026-03-03T12:00:00Z"),
            }
            .into(),
        ];
        for (day, fact) in (1..).zip(facts) {
            let fact = Outgoing::<EventEvent>::new(event, fact).time(time(&format!("2026-03-0{day}T12:00:00Z")));
            self.bench.deliver(fact).await;
            self.bench.deliver_again().await;
        }
        event
    }
}

#[tokio::test]
async fn pages_contain_every_domain_event_once() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let event = app.has_history(&ada).await;
    let path = format!("/v1/events/{event}/history");
    let all = app.gateway.get(&path).by(&ada).send().await.expect(200);
    let items = all.body["items"].as_array().expect("items");
    let seen: Vec<_> = items
        .iter()
        .map(|item| (&item["version"], item["type"].as_str().expect("a type")))
        .collect();
    assert_eq!(
        seen,
        [
            (&json!(1), "rollcall.events.EventCreated"),
            (&json!(2), "rollcall.events.EventPublished"),
            (&json!(3), "rollcall.events.EventCancelled"),
        ]
    );
    assert_eq!(items[2]["at"], "2026-03-03T12:00:00Z");
    assert_eq!(
        items[2]["content"],
        json!({ "reason": "rain", "cancelled_at": "2026-03-03T12:00:00Z" })
    );
    assert_eq!(items[0]["content"]["details"]["organizer_id"], json!(ada.id));
    assert!(items.iter().all(|item| item["correlation_id"].is_string()));

    let first = app
        .gateway
        .get(format!("{path}?limit=2"))
        .by(&ada)
        .send()
        .await
        .expect(200);
    let next = first.body["next"].as_str().expect("a cursor");
    let second = app
        .gateway
        .get(format!("{path}?limit=2&cursor={next}"))
        .by(&ada)
        .send()
        .await
        .expect(200);
    assert_eq!(first.body["items"], json!(items[..2]));
    assert_eq!(second.body, json!({ "items": items[2..] }));
}

#[tokio::test]
async fn the_event_is_shown_as_it_was_at_a_version_or_a_time() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let event = app.has_history(&ada).await;
    let state = |query: &str| {
        app.gateway
            .get(format!("/v1/events/{event}/history?{query}"))
            .by(&ada)
            .send()
    };
    for (query, status) in [
        ("version=1", "draft"),
        ("version=2", "published"),
        ("version=3", "cancelled"),
        ("at=2026-03-01T12:00:00Z", "draft"),
        ("at=2026-03-02T11:59:59Z", "draft"),
        ("at=2026-03-02T12:00:00%2B00:00", "published"),
        ("at=2099-01-01T00:00:00Z", "cancelled"),
    ] {
        assert_eq!(state(query).await.expect(200).body["status"], status, "{query}");
    }
    let now = app
        .gateway
        .get(format!("/v1/events/{event}"))
        .by(&ada)
        .send()
        .await
        .expect(200);
    assert_eq!(state("version=3").await.expect(200).body, now.body);
    for query in ["version=4", "at=2026-03-01T11:59:59Z"] {
        state(query).await.expect(404);
    }
    for (query, field_error) in [
        ("version=0", ("version", "out-of-range")),
        ("version=x", ("version", "malformed")),
        ("at=x", ("at", "malformed")),
        ("version=1&at=2026-03-01T12:00:00Z", ("at", "excluded")),
        ("version=1&limit=3", ("cursor", "excluded")),
        ("cursor=x", ("cursor", "malformed")),
        ("colour=blue", ("colour", "unknown")),
    ] {
        assert_eq!(state(query).await.expect(422).field_errors(), [field_error], "{query}");
    }
}

#[tokio::test]
async fn only_the_organizer_sees_the_history() {
    let app = TestApp::start().await;
    let (ada, bob, eve) = (
        app.organizer("ada").await,
        app.person("bob").await,
        app.organizer("eve").await,
    );
    let event = app.has_history(&ada).await;
    let path = format!("/v1/events/{event}/history");
    app.gateway.get(&path).send().await.expect(401);
    app.gateway.get(&path).by(&bob).send().await.expect(403);
    app.gateway.get(&path).by(&eve).send().await.expect(404);
    let other = app.has_history(&eve).await;
    // A cursor is only valid for its own event.
    let page = app
        .gateway
        .get(format!("{path}?limit=1"))
        .by(&ada)
        .send()
        .await
        .expect(200);
    let next = page.body["next"].as_str().expect("a cursor");
    let others = app.gateway.get(format!("/v1/events/{other}/history?cursor={next}"));
    assert_eq!(
        others.by(&eve).send().await.expect(422).field_errors(),
        [("cursor", "malformed")]
    );
}
