//! Tickets and check-in.

use contracts::{
    Actor, AttendeeCheckedIn, CancelReason, Details, EventEvent, RegistrationCancelled, RegistrationCommand,
    RegistrationEvent, SeatWaitlisted, StaffNamed, Timestamp, topics,
};
use gateway::roles::Role;
use messaging::Outgoing;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{Person, Response, TestApp, accepted, effect, event_created};

/// An event that ada organizes, with sam as staff and a seat for bob.
struct Entrance {
    app: TestApp,
    ada: Person,
    bob: Person,
    sam: Person,
    event: Uuid,
    registration: Uuid,
}

impl Entrance {
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
            ..event_created(ada.id).details
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

    async fn check_in(&self, by: &Person, body: Value) -> Response {
        self.app
            .gateway
            .post(self.path("/check-in"))
            .by(by)
            .wait(0)
            .json(body)
            .send()
            .await
    }

    async fn deliver(&self, fact: impl Into<RegistrationEvent>) {
        self.app
            .bench
            .deliver(Outgoing::<RegistrationEvent>::new(self.event, fact))
            .await;
        self.app.bench.deliver_again().await;
    }

    fn checked_in(&self) -> AttendeeCheckedIn {
        AttendeeCheckedIn {
            registration_id: self.registration,
            user_id: self.bob.id,
            checked_in_at: Timestamp::parse("2099-03-01T17:00:00Z").expect("a time"),
        }
    }
}

#[tokio::test]
async fn an_attendee_with_a_seat_has_a_ticket_as_json_or_qr_code() {
    let entrance = Entrance::open().await;
    let ticket = entrance
        .app
        .gateway
        .get(entrance.path("/ticket"))
        .by(&entrance.bob)
        .send()
        .await
        .expect(200);
    let code = ticket.body["code"].as_str().expect("a code");
    assert_eq!(code.len(), 16);
    assert_eq!(ticket.body["qr"], format!("rollcall:{}:{code}", entrance.registration));
    assert_eq!(
        (&ticket.body["status"], &ticket.body["event"]["title"]),
        (&json!("confirmed"), &json!("Analytical Engines"))
    );
    let qr_code = entrance
        .app
        .gateway
        .get(entrance.path("/ticket"))
        .by(&entrance.bob)
        .header("accept", "image/svg+xml");
    let qr_code = qr_code.send().await.expect(200);
    assert_eq!(qr_code.header("content-type"), "image/svg+xml");
    assert!(
        qr_code
            .body
            .as_str()
            .is_some_and(|text| text.contains("<svg") && text.ends_with("</svg>"))
    );
    assert!(ticket.header("vary").contains("accept") && qr_code.header("vary").contains("accept"));
}

#[tokio::test]
async fn a_ticket_is_shown_only_to_its_attendee() {
    let entrance = Entrance::open().await;
    entrance
        .app
        .gateway
        .get(entrance.path("/ticket"))
        .send()
        .await
        .expect(401);
    for other in [&entrance.ada, &entrance.sam] {
        entrance
            .app
            .gateway
            .get(entrance.path("/ticket"))
            .by(other)
            .send()
            .await
            .expect(404);
    }
    let unknown = format!("/v1/registrations/{}/ticket", Uuid::now_v7());
    entrance
        .app
        .gateway
        .get(unknown)
        .by(&entrance.bob)
        .send()
        .await
        .expect(404);
}

#[tokio::test]
async fn a_waiting_or_cancelled_registration_has_no_ticket() {
    let entrance = Entrance::open().await;
    let waiting = Uuid::now_v7();
    entrance
        .deliver(SeatWaitlisted {
            registration_id: waiting,
            user_id: entrance.bob.id,
        })
        .await;
    entrance
        .deliver(RegistrationCancelled {
            registration_id: entrance.registration,
            user_id: entrance.bob.id,
            reason: CancelReason::ByAttendee,
            had_seat: true,
        })
        .await;
    for registration in [waiting, entrance.registration] {
        let path = format!("/v1/registrations/{registration}/ticket");
        let response = entrance
            .app
            .gateway
            .get(path)
            .by(&entrance.bob)
            .send()
            .await
            .expect(409);
        assert_eq!(response.code(), "no-seat");
    }
}

#[tokio::test]
async fn organizer_staff_and_admin_check_in_an_attendee_by_the_code() {
    let entrance = Entrance::open().await;
    let root = entrance.app.person("root").await;
    entrance.app.grant(&root, Role::Admin).await;
    let code = entrance.code().await;
    for (by, actor) in [
        (&entrance.ada, Actor::User(entrance.ada.id)),
        (&entrance.sam, Actor::User(entrance.sam.id)),
        (&root, Actor::Admin(root.id)),
    ] {
        entrance
            .check_in(by, json!({ "code": code.to_lowercase() }))
            .await
            .expect(202);
        let command = entrance.app.command::<RegistrationCommand>().await;
        assert_eq!(
            (command.envelope.key, &command.envelope.actor),
            (entrance.event, &Some(actor))
        );
        let RegistrationCommand::CheckIn(check_in) = &command.body else {
            panic!("{command:?}");
        };
        assert_eq!(check_in.registration_id, entrance.registration);
    }
    let call = entrance
        .app
        .gateway
        .post(entrance.path("/check-in"))
        .by(&entrance.sam)
        .wait(10)
        .json(json!({ "code": code }));
    let (response, ()) = tokio::join!(call.send(), async {
        let command = entrance.app.command::<RegistrationCommand>().await;
        entrance.deliver(entrance.checked_in()).await;
        let effects = vec![effect(&topics::REGISTRATIONS, entrance.event, 3)];
        entrance
            .app
            .bench
            .deliver(accepted(command.envelope.id, 3, effects))
            .await;
    });
    let response = response.expect(200);
    assert_eq!(
        (&response.body["status"], &response.body["checked_in_at"]),
        (&json!("checked-in"), &json!("2099-03-01T17:00:00Z"))
    );
    // Staff see the name of the attendee, but not the e-mail address.
    assert_eq!(
        response.body["attendee"],
        json!({ "username": "bob", "full_name": "Ada Lovelace" })
    );
    let seats = entrance
        .app
        .gateway
        .get(format!("/v1/events/{}/availability", entrance.event))
        .send()
        .await
        .expect(200);
    assert_eq!(seats.body["taken"], 1, "a checked-in attendee keeps the seat");
    assert_eq!(entrance.code().await, code, "a checked-in attendee keeps the ticket");
}

#[tokio::test]
async fn other_users_and_other_codes_cannot_check_in_an_attendee() {
    let entrance = Entrance::open().await;
    let (eve, code) = (entrance.app.organizer("eve").await, entrance.code().await);
    entrance.check_in(&eve, json!({ "code": code })).await.expect(404);
    assert_eq!(
        entrance
            .check_in(&entrance.bob, json!({ "code": code }))
            .await
            .expect(403)
            .code(),
        "forbidden"
    );
    let other = entrance.app.has_seat(&eve, entrance.event, 3).await;
    let ticket = entrance
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
            entrance
                .check_in(&entrance.sam, json!({ "code": wrong }))
                .await
                .expect(422)
                .code(),
            "ticket-invalid"
        );
    }
    for (body, field_error) in [
        (json!({}), ("code", "required")),
        (json!({ "code": 7 }), ("code", "malformed")),
        (json!({ "code": code, "force": true }), ("force", "unknown")),
    ] {
        assert_eq!(
            entrance.check_in(&entrance.sam, body).await.expect(422).field_errors(),
            [field_error]
        );
    }
    entrance
        .app
        .gateway
        .post(entrance.path("/check-in"))
        .json(json!({ "code": code }))
        .send()
        .await
        .expect(401);
    assert!(
        entrance
            .app
            .bench
            .published_with_envelopes::<RegistrationCommand>()
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn rejections_of_the_registration_service_have_their_status() {
    let entrance = Entrance::open().await;
    let code = entrance.code().await;
    for (rejection, status) in [
        ("already-checked-in", 409),
        ("check-in-not-open", 409),
        ("check-in-over", 409),
        ("no-seat", 409),
        ("registration-cancelled", 409),
        ("registration-unknown", 404),
        ("forbidden", 403),
    ] {
        let call = entrance
            .app
            .gateway
            .post(entrance.path("/check-in"))
            .by(&entrance.sam)
            .wait(10);
        let call = call.json(json!({ "code": code }));
        let (response, _) = tokio::join!(call.send(), entrance.app.reject_next::<RegistrationCommand>(rejection));
        assert_eq!(response.expect(status).code(), rejection);
    }
    for (rejection, status) in [
        ("registration-not-open", 409),
        ("registration-closed", 409),
        ("event-unknown", 404),
    ] {
        let call = entrance
            .app
            .gateway
            .post(format!("/v1/events/{}/registrations", entrance.event))
            .by(&entrance.sam)
            .wait(10);
        let (response, _) = tokio::join!(call.send(), entrance.app.reject_next::<RegistrationCommand>(rejection));
        assert_eq!(response.expect(status).code(), rejection);
    }
    let call = entrance
        .app
        .gateway
        .delete(entrance.path(""))
        .by(&entrance.bob)
        .wait(10);
    let (response, _) = tokio::join!(
        call.send(),
        entrance.app.reject_next::<RegistrationCommand>("checked-in")
    );
    assert_eq!(response.expect(409).code(), "checked-in");
}

#[tokio::test]
async fn a_repeated_check_in_sends_one_command() {
    let entrance = Entrance::open().await;
    let code = entrance.code().await;
    let call = || {
        let call = entrance
            .app
            .gateway
            .post(entrance.path("/check-in"))
            .by(&entrance.sam)
            .wait(0);
        call.header("idempotency-key", "door")
            .json(json!({ "code": code }))
            .send()
    };
    let (first, again) = (call().await.expect(202), call().await.expect(202));
    assert_eq!(first.id(), again.id());
    assert_eq!(entrance.app.commands::<RegistrationCommand>().await.len(), 1);
}
