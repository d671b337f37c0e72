//! Hostile content in messages of other services (OWASP API Security Top 10, 2023: API10).

use contracts::{
    Details, EventCancelled, EventChanged, EventEvent, NotificationFact, NotificationFailed, NotificationKind,
    RegistrationEvent, SeatConfirmed, Timestamp,
};
use messaging::Outgoing;
use uuid::Uuid;

use crate::app::{TestApp, event_created, event_published, roster_opened};

fn hostile(length: usize) -> String {
    let pattern = "\0\u{1}\u{7f}\u{85}\u{202e}\u{feff}\u{fffe}\u{10ffff}<script>alert(1)</script>'; DROP TABLE events; -- \r\nX: y \\ \" {{7*7}} ${x} %00";
    pattern.chars().cycle().take(length).collect()
}

#[tokio::test]
async fn hostile_domain_events_are_stored_and_shown() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let unaffected = app.has_event(&ada).await;
    // Many distinct words, so a full-text index of all of them would be too large.
    let words: String = (0..60_000).map(|number| format!("{number:x} ")).collect();
    for (index, text) in [hostile(200), hostile(100_000), words, String::new()]
        .into_iter()
        .enumerate()
    {
        let event = Uuid::now_v7();
        let details = Details {
            title: text.clone(),
            description: text.clone(),
            venue: hostile(50),
            time_zone: "Middle/Earth\0".to_owned(),
            capacity: i32::MIN,
            starts_at: Timestamp::parse("0000-01-01T00:00:00Z").expect("a time"),
            ends_at: Timestamp::parse("9999-12-31T23:59:59Z").expect("a time"),
            staff: vec![ada.id; 3],
            ..event_created(ada.id).details
        };
        let facts: Vec<EventEvent> = vec![
            // Published before the creation, and changed after the cancellation.
            event_published(ada.id).into(),
            EventChanged {
                details: details.clone(),
                published: true,
            }
            .into(),
            EventCancelled {
                reason: text,
                cancelled_at: Timestamp::EPOCH,
            }
            .into(),
            EventChanged {
                details,
                published: true,
            }
            .into(),
        ];
        for fact in facts {
            app.bench.deliver(Outgoing::<EventEvent>::new(event, fact)).await;
            app.bench.deliver_again().await;
        }
        let mut roster = roster_opened(ada.id);
        roster.terms.capacity = i32::MIN;
        let seats: Vec<RegistrationEvent> = vec![
            roster.into(),
            SeatConfirmed {
                registration_id: Uuid::now_v7(),
                user_id: ada.id,
            }
            .into(),
        ];
        let seats = seats
            .into_iter()
            .map(|fact| Outgoing::<RegistrationEvent>::new(event, fact));
        app.bench.deliver_all(seats).await;
        for path in [
            "",
            "/calendar.ics",
            "/history",
            "/history?version=2",
            "/registrations",
            "/staff",
            "/availability",
        ] {
            let response = app
                .gateway
                .get(format!("/v1/events/{event}{path}"))
                .by(&ada)
                .send()
                .await;
            assert_eq!(response.status, 200, "{index} {path}");
            assert!(!response.body.to_string().contains("\\u0000"), "{index} {path}");
        }
    }
    let failed = NotificationFailed {
        notification_id: Uuid::now_v7(),
        kind: NotificationKind::Unknown,
        cause_id: Uuid::now_v7(),
        reason: hostile(1_000),
        failed_at: Timestamp::EPOCH,
        event_id: None,
    };
    app.bench
        .deliver(Outgoing::<NotificationFact>::new(ada.id, failed))
        .await;
    for path in [
        "/v1/events",
        "/v1/events?text=script",
        "/v1/me/registrations",
        "/v1/me/notifications",
    ] {
        app.gateway.get(path).by(&ada).send().await.expect(200);
    }
    app.gateway
        .get(format!("/v1/events/{unaffected}"))
        .send()
        .await
        .expect(200);
}

#[tokio::test]
async fn an_event_is_not_found_before_its_first_domain_event() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let event = Uuid::now_v7();
    let cancelled = EventCancelled {
        reason: "rain".to_owned(),
        cancelled_at: Timestamp::EPOCH,
    };
    app.bench.deliver(Outgoing::<EventEvent>::new(event, cancelled)).await;
    app.gateway
        .get(format!("/v1/events/{event}"))
        .by(&ada)
        .send()
        .await
        .expect(404);
    app.bench
        .deliver(Outgoing::<EventEvent>::new(event, event_created(ada.id)))
        .await;
    app.gateway
        .get(format!("/v1/events/{event}"))
        .by(&ada)
        .send()
        .await
        .expect(200);
}
