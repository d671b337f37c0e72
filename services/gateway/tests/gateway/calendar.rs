//! Events as calendar entries.

use contracts::{Details, EventCancelled, EventChanged, EventEvent, Timestamp};
use messaging::Outgoing;
use uuid::Uuid;

use crate::app::{TestApp, event_created, event_published};

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a time")
}

#[tokio::test]
async fn a_calendar_entry_conforms_to_rfc_5545() {
    let app = TestApp::start().await;
    let event = Uuid::now_v7();
    let details = Details {
        title: "Engines; looms, and \\ more".to_owned(),
        description: "Bring:\r\n- a *card*\n- ".to_owned() + &"ü".repeat(60),
        venue: "Somerset House, London".to_owned(),
        ..event_created(Uuid::now_v7()).details
    };
    let facts: [EventEvent; 3] = [
        event_created(details.organizer_id).into(),
        event_published(details.organizer_id).into(),
        EventChanged {
            details,
            published: true,
        }
        .into(),
    ];
    for (day, fact) in (1..).zip(facts) {
        let fact = Outgoing::<EventEvent>::new(event, fact).time(at(&format!("2026-03-0{day}T12:00:00.5Z")));
        app.bench.deliver(fact).await;
    }
    let path = format!("/v1/events/{event}/calendar.ics");
    let response = app.gateway.get(&path).send().await.expect(200);
    assert!(
        response
            .header("content-type")
            .starts_with("text/calendar; charset=utf-8")
    );
    let expected = [
        "BEGIN:VCALENDAR".to_owned(),
        "VERSION:2.0".to_owned(),
        "PRODID:-//Rollcall//Rollcall//EN".to_owned(),
        "CALSCALE:GREGORIAN".to_owned(),
        "BEGIN:VEVENT".to_owned(),
        format!("UID:{event}"),
        "SEQUENCE:3".to_owned(),
        "DTSTAMP:20260303T120000Z".to_owned(),
        "CREATED:20260301T120000Z".to_owned(),
        "DTSTART:20990301T180000Z".to_owned(),
        "DTEND:20990301T210000Z".to_owned(),
        "SUMMARY:Engines\\; looms\\, and \\\\ more".to_owned(),
        // 75 bytes: 12 for the name, 24 for the text, 38 for 19 letters. The next letter would be split.
        format!("DESCRIPTION:Bring:\\n- a *card*\\n- {}", "ü".repeat(20)),
        format!(" {}", "ü".repeat(37)),
        format!(" {}", "ü".repeat(3)),
        "LOCATION:Somerset House\\, London".to_owned(),
        "STATUS:CONFIRMED".to_owned(),
        "TRANSP:OPAQUE".to_owned(),
        "END:VEVENT".to_owned(),
        "END:VCALENDAR".to_owned(),
        String::new(),
    ];
    assert_eq!(response.body.as_str().expect("a string"), expected.join("\r\n"));

    let cancelled = EventCancelled {
        reason: "rain".to_owned(),
        cancelled_at: at("2026-03-04T12:00:00Z"),
    };
    let cancelled = Outgoing::<EventEvent>::new(event, cancelled).time(at("2026-03-04T12:00:00Z"));
    app.bench.deliver(cancelled).await;
    let response = app.gateway.get(&path).send().await.expect(200);
    let text = response.body.as_str().expect("a string");
    for line in ["SEQUENCE:4", "DTSTAMP:20260304T120000Z", "STATUS:CANCELLED"] {
        assert!(text.split("\r\n").any(|other| other == line), "{line} in {text}");
    }
}

#[tokio::test]
async fn only_the_organizer_sees_the_calendar_entry_of_a_draft() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.organizer("ada").await, app.organizer("eve").await);
    let event = app.has_draft(&ada).await;
    let path = format!("/v1/events/{event}/calendar.ics");
    app.gateway.get(&path).send().await.expect(404);
    app.gateway.get(&path).by(&eve).send().await.expect(404);
    let entry = app.gateway.get(&path).by(&ada).send().await.expect(200);
    assert!(
        entry
            .body
            .as_str()
            .is_some_and(|text| text.contains("\r\nSTATUS:TENTATIVE\r\n"))
    );
}
