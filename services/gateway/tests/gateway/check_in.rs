//! Tickets, and who is let in with them.

use contracts::{
    Actor, AttendeeCheckedIn, CancelReason, Details, EventEvent, RegistrationCancelled, RegistrationCommand,
    RegistrationEvent, SeatWaitlisted, StaffNamed, Timestamp, topics,
};
use gateway::roles::Role;
use messaging::Outgoing;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{Answer, Person, TestApp, accepted, effect, event_created};

/// An event of ada's with a seat of bob's, and sam as staff.
struct Door {
    app: TestApp,
    ada: Person,
    bob: Person,
    sam: Person,
    event: Uuid,
    registration: Uuid,
}

impl Door {
    async fn open() -> Self {
        let app = TestApp::start().await;
        let (ada, bob, sam) = (
            app.organizer("ada").await,
            app.person("bob").await,
            app.person("sam").await,
        );
        let event = app.has_event(&ada).await;
        let details = Details {
            staff: vec![sam.id],
            ..event_created(ada.id).into()
        };
        let named = StaffNamed {
            details,
            published: true,
        };
        app.bench.deliver(Outgoing::<EventEvent>::new(event, named)).await;
        let registration = app.has_seat(&bob, event, 2).await;
        Self {
            app,
            ada,
            bob,
            sam,
            event,
            registration,
        }
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/registrations/{}{rest}", self.registration)
    }

    async fn code(&self) -> String {
        let ticket = self
            .app
            .gateway
            .get(self.path("/ticket"))
            .by(&self.bob)
            .send()
            .await
            .expect(200);
        ticket.body["code"].as_str().expect("a code").to_owned()
    }

    async fn show(&self, by: &Person, body: Value) -> Answer {
        self.app
            .gateway
            .post(self.path("/check-in"))
            .by(by)
            .wait(0)
            .json(body)
            .send()
            .await
    }

    async fn happens(&self, fact: impl Into<RegistrationEvent>) {
        self.app
            .bench
            .deliver(Outgoing::<RegistrationEvent>::new(self.event, fact))
            .await;
        self.app.bench.deliver_again().await;
    }

    fn is_there(&self) -> AttendeeCheckedIn {
        AttendeeCheckedIn {
            registration_id: self.registration,
            user_id: self.bob.id,
            checked_in_at: Timestamp::parse("2099-03-01T17:00:00Z").expect("a time"),
        }
    }
}

#[tokio::test]
async fn who_has_a_seat_has_a_ticket_as_json_or_drawn() {
    let door = Door::open().await;
    let ticket = door
        .app
        .gateway
        .get(door.path("/ticket"))
        .by(&door.bob)
        .send()
        .await
        .expect(200);
    let code = ticket.body["code"].as_str().expect("a code");
    assert_eq!(code.len(), 16);
    assert_eq!(ticket.body["qr"], format!("rollcall:{}:{code}", door.registration));
    assert_eq!(
        (&ticket.body["status"], &ticket.body["event"]["title"]),
        (&json!("confirmed"), &json!("Analytical Engines"))
    );
    let drawn = door
        .app
        .gateway
        .get(door.path("/ticket"))
        .by(&door.bob)
        .header("accept", "image/svg+xml");
    let drawn = drawn.send().await.expect(200);
    assert_eq!(drawn.header("content-type"), "image/svg+xml");
    assert!(
        drawn
            .body
            .as_str()
            .is_some_and(|text| text.contains("<svg") && text.ends_with("</svg>"))
    );
    assert!(ticket.header("vary").contains("accept") && drawn.header("vary").contains("accept"));
}

#[tokio::test]
async fn a_ticket_is_shown_to_its_holder_alone() {
    let door = Door::open().await;
    door.app.gateway.get(door.path("/ticket")).send().await.expect(401);
    for other in [&door.ada, &door.sam] {
        door.app
            .gateway
            .get(door.path("/ticket"))
            .by(other)
            .send()
            .await
            .expect(404);
    }
    let none = format!("/v1/registrations/{}/ticket", Uuid::now_v7());
    door.app.gateway.get(none).by(&door.bob).send().await.expect(404);
}

#[tokio::test]
async fn who_waits_or_gave_up_has_no_ticket() {
    let door = Door::open().await;
    let waiting = Uuid::now_v7();
    door.happens(SeatWaitlisted {
        registration_id: waiting,
        user_id: door.bob.id,
    })
    .await;
    door.happens(RegistrationCancelled {
        registration_id: door.registration,
        user_id: door.bob.id,
        reason: CancelReason::ByAttendee,
        had_seat: true,
    })
    .await;
    for registration in [waiting, door.registration] {
        let path = format!("/v1/registrations/{registration}/ticket");
        let answer = door.app.gateway.get(path).by(&door.bob).send().await.expect(409);
        assert_eq!(answer.code(), "no-seat");
    }
}

#[tokio::test]
async fn organizer_staff_and_admin_let_in_who_shows_the_code() {
    let door = Door::open().await;
    let root = door.app.person("root").await;
    door.app.grant(&root, Role::Admin).await;
    let code = door.code().await;
    for (by, actor) in [
        (&door.ada, Actor::User(door.ada.id)),
        (&door.sam, Actor::User(door.sam.id)),
        (&root, Actor::Admin(root.id)),
    ] {
        door.show(by, json!({ "code": code.to_lowercase() })).await.expect(202);
        let command = door.app.command::<RegistrationCommand>().await;
        assert_eq!(
            (command.envelope.key, &command.envelope.actor),
            (door.event, &Some(actor))
        );
        let RegistrationCommand::CheckIn(check_in) = &command.body else {
            panic!("{command:?}");
        };
        assert_eq!(check_in.registration_id, door.registration);
    }
    let call = door
        .app
        .gateway
        .post(door.path("/check-in"))
        .by(&door.sam)
        .wait(10)
        .json(json!({ "code": code }));
    let (answer, ()) = tokio::join!(call.send(), async {
        let command = door.app.command::<RegistrationCommand>().await;
        door.happens(door.is_there()).await;
        let effects = vec![effect(&topics::REGISTRATIONS, door.event, 3)];
        door.app.bench.deliver(accepted(command.envelope.id, 3, effects)).await;
    });
    let answer = answer.expect(200);
    assert_eq!(
        (&answer.body["status"], &answer.body["checked_in_at"]),
        (&json!("checked-in"), &json!("2099-03-01T17:00:00Z"))
    );
    // The staff sees who comes, and no address.
    assert_eq!(
        answer.body["attendee"],
        json!({ "username": "bob", "full_name": "Ada Lovelace" })
    );
    let seats = door
        .app
        .gateway
        .get(format!("/v1/events/{}/availability", door.event))
        .send()
        .await
        .expect(200);
    assert_eq!(seats.body["taken"], 1, "who is there still has the seat");
    assert_eq!(door.code().await, code, "who is there still has the ticket");
}

#[tokio::test]
async fn nobody_else_lets_in_and_no_other_code_does() {
    let door = Door::open().await;
    let (eve, code) = (door.app.organizer("eve").await, door.code().await);
    door.show(&eve, json!({ "code": code })).await.expect(404);
    assert_eq!(
        door.show(&door.bob, json!({ "code": code })).await.expect(403).code(),
        "forbidden"
    );
    let other = door.app.has_seat(&eve, door.event, 3).await;
    let ticket = door
        .app
        .gateway
        .get(format!("/v1/registrations/{other}/ticket"))
        .by(&eve)
        .send()
        .await
        .expect(200);
    for wrong in [
        ticket.body["code"].as_str().expect("a code"),
        "AAAAAAAAAAAAAAAA",
        "",
        &code[1..],
        "ÄÄÄÄÄÄÄÄ",
    ] {
        assert_eq!(
            door.show(&door.sam, json!({ "code": wrong })).await.expect(422).code(),
            "ticket-invalid"
        );
    }
    for (body, fault) in [
        (json!({}), ("code", "required")),
        (json!({ "code": 7 }), ("code", "malformed")),
        (json!({ "code": code, "force": true }), ("force", "unknown")),
    ] {
        assert_eq!(door.show(&door.sam, body).await.expect(422).faults(), [fault]);
    }
    door.app
        .gateway
        .post(door.path("/check-in"))
        .json(json!({ "code": code }))
        .send()
        .await
        .expect(401);
    assert!(door.app.bench.said::<RegistrationCommand>().await.is_empty());
}

#[tokio::test]
async fn what_the_registration_service_refuses_is_told_with_its_status() {
    let door = Door::open().await;
    let code = door.code().await;
    for (refused, status) in [
        ("already-checked-in", 409),
        ("check-in-not-open", 409),
        ("check-in-over", 409),
        ("no-seat", 409),
        ("registration-cancelled", 409),
        ("registration-unknown", 404),
        ("forbidden", 403),
    ] {
        let call = door.app.gateway.post(door.path("/check-in")).by(&door.sam).wait(10);
        let call = call.json(json!({ "code": code }));
        let (answer, _) = tokio::join!(call.send(), door.app.refuse::<RegistrationCommand>(refused));
        assert_eq!(answer.expect(status).code(), refused);
    }
    for (refused, status) in [
        ("registration-not-open", 409),
        ("registration-closed", 409),
        ("event-unknown", 404),
    ] {
        let call = door
            .app
            .gateway
            .post(format!("/v1/events/{}/registrations", door.event))
            .by(&door.sam)
            .wait(10);
        let (answer, _) = tokio::join!(call.send(), door.app.refuse::<RegistrationCommand>(refused));
        assert_eq!(answer.expect(status).code(), refused);
    }
    let call = door.app.gateway.delete(door.path("")).by(&door.bob).wait(10);
    let (answer, _) = tokio::join!(call.send(), door.app.refuse::<RegistrationCommand>("checked-in"));
    assert_eq!(answer.expect(409).code(), "checked-in");
}

#[tokio::test]
async fn a_repeated_check_in_is_said_once() {
    let door = Door::open().await;
    let code = door.code().await;
    let call = || {
        let call = door.app.gateway.post(door.path("/check-in")).by(&door.sam).wait(0);
        call.header("idempotency-key", "door")
            .json(json!({ "code": code }))
            .send()
    };
    let (first, again) = (call().await.expect(202), call().await.expect(202));
    assert_eq!(first.id(), again.id());
    assert_eq!(door.app.commands::<RegistrationCommand>().await.len(), 1);
}
