//! Registrations, waiting lists, and the list of notifications.

use contracts::{
    CancelReason, NotificationFact, NotificationFailed, NotificationKind, NotificationSent, ProcessStatus,
    ProcessStatusState, RegistrationCancelled, RegistrationCommand, RegistrationEvent, RosterCloseReason, RosterClosed,
    SeatConfirmed, SeatPromoted, SeatWaitlisted, Timestamp,
};
use messaging::Outgoing;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{TestApp, roster_opened};

fn fact(event: Uuid, fact: impl Into<RegistrationEvent>) -> Outgoing<RegistrationEvent> {
    Outgoing::new(event, fact)
}

fn confirmed(registration_id: Uuid, user_id: Uuid) -> RegistrationEvent {
    SeatConfirmed {
        registration_id,
        user_id,
    }
    .into()
}

fn waitlisted(registration_id: Uuid, user_id: Uuid) -> RegistrationEvent {
    SeatWaitlisted {
        registration_id,
        user_id,
    }
    .into()
}

fn promoted(registration_id: Uuid, user_id: Uuid) -> RegistrationEvent {
    SeatPromoted {
        registration_id,
        user_id,
    }
    .into()
}

fn cancelled(registration_id: Uuid, user_id: Uuid, reason: CancelReason, had_seat: bool) -> RegistrationEvent {
    RegistrationCancelled {
        registration_id,
        user_id,
        reason,
        had_seat,
    }
    .into()
}

impl TestApp {
    async fn seats(&self, event: Uuid) -> (i64, i64) {
        let seats = self
            .gateway
            .get(format!("/v1/events/{event}/availability"))
            .send()
            .await
            .expect(200);
        (
            seats.body["taken"].as_i64().expect("a number"),
            seats.body["waiting"].as_i64().expect("a number"),
        )
    }
}

#[tokio::test]
async fn a_registration_returns_the_seat() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.organizer("ada").await, app.person("bob").await);
    let event = app.has_event(&ada).await;
    let (response, ()) = tokio::join!(
        app.gateway
            .post(format!("/v1/events/{event}/registrations"))
            .by(&bob)
            .wait(10)
            .json(json!({}))
            .send(),
        app.registrations_confirm(2)
    );
    let response = response.expect(201);
    assert_eq!(
        response.header("location"),
        format!("/v1/registrations/{}", response.id())
    );
    assert_eq!(
        (&response.body["status"], &response.body["event_id"]),
        (&json!("confirmed"), &json!(event))
    );
    assert_eq!(response.body["event"]["title"], "Analytical Engines");
    assert!(response.body.get("attendee").is_none());
    assert_eq!(app.seats(event).await, (1, 0));
    let mine = app
        .gateway
        .get("/v1/me/registrations")
        .by(&bob)
        .send()
        .await
        .expect(200);
    assert_eq!(mine.body, json!({ "items": [response.body] }));
}

#[tokio::test]
async fn a_full_event_is_a_conflict() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.organizer("ada").await, app.person("bob").await);
    let event = app.has_event(&ada).await;
    let (response, command) = tokio::join!(
        app.gateway
            .post(format!("/v1/events/{event}/registrations"))
            .by(&bob)
            .wait(10)
            .send(),
        app.reject_next::<RegistrationCommand>("event-full")
    );
    assert_eq!(command.envelope.key, event);
    assert_eq!(response.expect(409).code(), "event-full");
}

#[tokio::test]
async fn only_the_attendee_and_the_organizer_see_a_registration() {
    let app = TestApp::start().await;
    let (ada, bob, eve) = (
        app.organizer("ada").await,
        app.person("bob").await,
        app.organizer("eve").await,
    );
    let event = app.has_event(&ada).await;
    let registration = app.has_seat(&bob, event, 2).await;
    let path = format!("/v1/registrations/{registration}");
    app.gateway.get(&path).by(&bob).send().await.expect(200);
    let seen = app.gateway.get(&path).by(&ada).send().await.expect(200);
    assert_eq!(
        seen.body["attendee"],
        json!({ "username": "bob", "full_name": "Ada Lovelace", "email": "bob@example.org" })
    );
    app.gateway.get(&path).by(&eve).send().await.expect(404);
    app.gateway.delete(&path).by(&eve).send().await.expect(404);
    app.gateway.get(&path).send().await.expect(401);

    let list = format!("/v1/events/{event}/registrations");
    let listed = app.gateway.get(&list).by(&ada).send().await.expect(200);
    assert_eq!(listed.body["items"][0]["attendee"]["username"], "bob");
    app.gateway.get(&list).by(&eve).send().await.expect(404);
    app.gateway.get(&list).by(&bob).send().await.expect(403);
    app.assert_not_published::<RegistrationCommand>().await;
}

#[tokio::test]
async fn the_attendee_or_the_organizer_cancels_a_registration() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.organizer("ada").await, app.person("bob").await);
    let event = app.has_event(&ada).await;
    let registration = app.has_seat(&bob, event, 2).await;
    for (by, reason) in [(&bob, CancelReason::ByAttendee), (&ada, CancelReason::ByOrganizer)] {
        app.gateway
            .delete(format!("/v1/registrations/{registration}"))
            .by(by)
            .wait(0)
            .send()
            .await
            .expect(202);
        let command = app.command::<RegistrationCommand>().await;
        let RegistrationCommand::CancelRegistration(cancel) = &command.body else {
            panic!("{command:?}");
        };
        assert_eq!((cancel.registration_id, cancel.reason), (registration, reason));
        assert_eq!(
            (
                command.envelope.key,
                command.envelope.actor.as_ref().and_then(|a| a.user())
            ),
            (event, Some(by.id))
        );
    }
}

#[tokio::test]
async fn a_freed_seat_goes_to_the_waiting_registration() {
    let app = TestApp::start().await;
    let (ada, bob, eve) = (
        app.organizer("ada").await,
        app.person("bob").await,
        app.person("eve").await,
    );
    let event = app.has_event(&ada).await;
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    app.bench
        .deliver_all([
            fact(event, confirmed(first, bob.id)),
            fact(event, waitlisted(second, eve.id)),
        ])
        .await;
    app.bench.deliver_again().await;
    assert_eq!(app.seats(event).await, (1, 1));
    app.bench
        .deliver_all([
            fact(event, cancelled(first, bob.id, CancelReason::ByAttendee, true)),
            fact(event, promoted(second, eve.id)),
        ])
        .await;
    app.bench.deliver_again().await;
    assert_eq!(app.seats(event).await, (1, 0));
    let bobs = app
        .gateway
        .get(format!("/v1/registrations/{first}"))
        .by(&bob)
        .send()
        .await
        .expect(200);
    assert_eq!(
        (&bobs.body["status"], &bobs.body["cancel_reason"]),
        (&json!("cancelled"), &json!("by-attendee"))
    );
    let eves = app
        .gateway
        .get(format!("/v1/registrations/{second}"))
        .by(&eve)
        .send()
        .await
        .expect(200);
    assert_eq!(eves.body["status"], "confirmed");
}

#[tokio::test]
async fn domain_events_have_the_same_result_in_one_batch_and_one_by_one() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let (bob, eve) = (Uuid::now_v7(), Uuid::now_v7());
    let mut shown: Vec<Value> = Vec::new();
    for together in [true, false] {
        let event = app.has_event(&ada).await;
        let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
        let closed = RosterClosed {
            event_sequence: 3,
            reason: RosterCloseReason::Ended,
        };
        let at = Timestamp::parse("2026-03-01T12:00:00Z").expect("a time");
        let facts = [
            confirmed(first, bob),
            waitlisted(second, eve),
            cancelled(first, bob, CancelReason::ByOrganizer, true),
            promoted(second, eve),
            closed.into(),
        ]
        .map(|body| fact(event, body).time(at));
        if together {
            app.bench.deliver_all(facts).await;
            app.bench.deliver_again().await;
        } else {
            for fact in facts {
                app.bench.deliver(fact).await;
                app.bench.deliver_again().await;
            }
        }
        assert_eq!(app.seats(event).await, (1, 0));
        let list = app
            .gateway
            .get(format!("/v1/events/{event}/registrations"))
            .by(&ada)
            .send()
            .await
            .expect(200);
        let mut items = list.body["items"].as_array().expect("items").clone();
        for item in &mut items {
            item.as_object_mut()
                .expect("a registration")
                .retain(|member, _| member != "id" && member != "event_id");
        }
        shown.push(items.into());
    }
    assert_eq!(shown[0], shown[1]);
    assert_eq!(shown[0][0]["status"], "cancelled");
    assert_eq!(shown[0][1]["status"], "confirmed");
}

#[tokio::test]
async fn a_registration_can_be_received_before_its_event_and_its_user() {
    let app = TestApp::start().await;
    let bob = app.person("bob").await;
    let (organizer, event, registration) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    app.bench
        .deliver_all([
            fact(event, roster_opened(organizer)),
            fact(event, confirmed(registration, bob.id)),
        ])
        .await;
    app.bench.deliver_again().await;
    let path = format!("/v1/registrations/{registration}");
    let early = app.gateway.get(&path).by(&bob).send().await.expect(200);
    assert!(early.body.get("event").is_none());
    app.bench
        .deliver(Outgoing::<contracts::EventEvent>::new(
            event,
            crate::app::event_created(organizer),
        ))
        .await;
    let later = app.gateway.get(&path).by(&bob).send().await.expect(200);
    assert_eq!(later.body["event"]["venue"], "Somerset House");
}

#[tokio::test]
async fn pages_list_registrations_in_their_order() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let event = app.has_event(&ada).await;
    let people: Vec<(Uuid, Uuid)> = (0..5).map(|_| (Uuid::now_v7(), Uuid::now_v7())).collect();
    // The order of the ids is the reverse.
    let facts = people
        .iter()
        .rev()
        .map(|(registration, user)| fact(event, confirmed(*registration, *user)));
    app.bench.deliver_all(facts.collect::<Vec<_>>()).await;
    let list = format!("/v1/events/{event}/registrations?limit=3");
    let first = app.gateway.get(&list).by(&ada).send().await.expect(200);
    let next = first.body["next"].as_str().expect("a cursor");
    let second = app
        .gateway
        .get(format!("{list}&cursor={next}"))
        .by(&ada)
        .send()
        .await
        .expect(200);
    assert!(second.body.get("next").is_none());
    let pages = [first.body, second.body];
    let seen: Vec<_> = pages
        .iter()
        .flat_map(|page| page["items"].as_array().expect("items"))
        .map(|registration| registration["id"].clone())
        .collect();
    assert_eq!(
        seen,
        people
            .iter()
            .rev()
            .map(|(registration, _)| json!(registration))
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_sent_notification_stays_sent_in_the_list() {
    let app = TestApp::start().await;
    let bob = app.person("bob").await;
    let at = |second: i64| Timestamp::from_micros(1_772_388_000_000_000 + second * 1_000_000).expect("a time");
    let sent = |id: Uuid, second| NotificationSent {
        notification_id: id,
        kind: NotificationKind::SeatConfirmed,
        cause_id: Uuid::now_v7(),
        sent_at: at(second),
        event_id: None,
    };
    let failed = |id: Uuid, second| NotificationFailed {
        notification_id: id,
        kind: NotificationKind::Welcome,
        cause_id: Uuid::now_v7(),
        reason: "no such mailbox".to_owned(),
        failed_at: at(second),
        event_id: None,
    };
    let (one, two, three) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let message = |body: NotificationFact| Outgoing::<NotificationFact>::new(bob.id, body);
    app.bench
        .deliver_all([
            message(sent(one, 1).into()),
            message(failed(one, 2).into()),
            message(failed(two, 3).into()),
        ])
        .await;
    app.bench.deliver_again().await;
    app.bench
        .deliver_all([message(failed(three, 4).into()), message(sent(three, 5).into())])
        .await;
    app.bench.deliver(message(failed(one, 6).into())).await;

    let mails = app
        .gateway
        .get("/v1/me/notifications")
        .by(&bob)
        .send()
        .await
        .expect(200);
    let seen: Vec<_> = mails.body["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|mail| (mail["id"].clone(), mail["status"].clone()))
        .collect();
    let expected = [(three, "sent"), (two, "failed"), (one, "sent")];
    assert_eq!(seen, expected.map(|(id, status)| (json!(id), json!(status))));
    assert_eq!(mails.body["items"][1]["reason"], "no such mailbox");
}

#[tokio::test]
async fn the_newest_report_of_each_process_is_stored() {
    let app = TestApp::start().await;
    let instance = Uuid::now_v7();
    let report = |rows: i64| {
        let status = ProcessStatus {
            service: "user".to_owned(),
            instance,
            version: "0.1.0".to_owned(),
            started_at: Timestamp::EPOCH,
            reported_at: Timestamp::now(),
            ready: true,
            outbox_rows: rows,
            outbox_oldest_age_ms: 0,
            assignments: vec![contracts::Assignment {
                topic: "users.commands".to_owned(),
                partition: 3,
                position: 7,
                lag: 0,
                lag_ms: None,
            }],
            parked_keys: 0,
            oldest_gap_age_ms: 0,
            dead_letters: 0,
        };
        Outgoing::<ProcessStatusState>::new(instance, status)
    };
    app.bench
        .deliver_all([report(1).sequence(10), report(2).sequence(30)])
        .await;
    app.bench.deliver_again().await;
    app.bench.deliver(report(3).sequence(20)).await;
    assert_eq!(app.count("SELECT outbox_rows FROM processes").await, 2);
    let query = "SELECT count(*) FROM processes WHERE assignments -> 0 ->> 'position' = '7'";
    assert_eq!(app.count(query).await, 1);
}

#[tokio::test]
async fn notifications_are_filtered_by_event_and_kind() {
    let app = TestApp::start().await;
    let bob = app.person("bob").await;
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    let kinds = [
        (NotificationKind::Welcome, None),
        (NotificationKind::SeatConfirmed, Some(one)),
        (NotificationKind::Reminder, Some(one)),
        (NotificationKind::EventRescheduled, Some(two)),
    ];
    let sent = kinds.map(|(kind, event_id)| NotificationSent {
        notification_id: Uuid::now_v7(),
        kind,
        cause_id: Uuid::now_v7(),
        sent_at: Timestamp::EPOCH,
        event_id,
    });
    app.bench
        .deliver_all(sent.map(|sent| Outgoing::<NotificationFact>::new(bob.id, sent)))
        .await;
    let kinds = async |query: &str| -> Vec<String> {
        let path = format!("/v1/me/notifications?{query}");
        let page = app.gateway.get(path).by(&bob).send().await.expect(200);
        let items = page.body["items"].as_array().expect("items");
        let mut kinds: Vec<_> = items
            .iter()
            .map(|mail| mail["kind"].as_str().expect("a kind").to_owned())
            .collect();
        kinds.sort();
        kinds
    };
    assert_eq!(kinds("").await.len(), 4);
    assert_eq!(kinds(&format!("event_id={one}")).await, ["reminder", "seat-confirmed"]);
    assert_eq!(kinds(&format!("event_id={one}&kind=reminder")).await, ["reminder"]);
    assert_eq!(kinds("kind=event-rescheduled").await, ["event-rescheduled"]);
    for (query, field_error) in [
        ("event_id=7", ("event_id", "malformed")),
        ("kind=postcard", ("kind", "malformed")),
        ("colour=blue", ("colour", "unknown")),
    ] {
        let path = format!("/v1/me/notifications?{query}");
        let response = app.gateway.get(path).by(&bob).send().await.expect(422);
        assert_eq!(response.field_errors(), [field_error], "{query}");
    }
    let page = app
        .gateway
        .get("/v1/me/notifications?limit=1")
        .by(&bob)
        .send()
        .await
        .expect(200);
    let next = page.body["next"].as_str().expect("a cursor");
    let other = app
        .gateway
        .get(format!("/v1/me/notifications?kind=welcome&cursor={next}"));
    assert_eq!(
        other.by(&bob).send().await.expect(422).field_errors(),
        [("cursor", "malformed")]
    );
}
