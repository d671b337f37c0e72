//! The list of attendees, for the organizer.

use contracts::{CancelReason, RegistrationCancelled, RegistrationEvent, SeatConfirmed, Timestamp, UserProfile};
use gateway::roles::Role;
use messaging::Outgoing;
use serde_json::json;
use uuid::Uuid;

use crate::app::TestApp;

#[tokio::test]
async fn a_page_shows_names_and_addresses_to_the_organizer_and_admins() {
    let app = TestApp::start().await;
    let (ada, bob, root) = (
        app.organizer("ada").await,
        app.person("bob").await,
        app.person("root").await,
    );
    app.grant(&root, Role::Admin).await;
    let event = app.has_event(&ada).await;
    app.has_seat(&bob, event, 2).await;
    let path = format!("/v1/events/{event}/registrations");
    for by in [&ada, &root] {
        let page = app.gateway.get(&path).by(by).send().await.expect(200);
        assert_eq!(page.header("content-type"), "application/json");
        assert_eq!(
            page.body["items"][0]["attendee"],
            json!({ "username": "bob", "full_name": "Ada Lovelace", "email": "bob@example.org" })
        );
    }
}

#[tokio::test]
async fn the_csv_list_contains_no_formulas() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let event = app.has_event(&ada).await;
    let (mallory, seat) = (Uuid::now_v7(), Uuid::now_v7());
    let profile = UserProfile {
        email: "mallory@example.org".to_owned(),
        username: "mallory".to_owned(),
        full_name: "=HYPERLINK(\"http://evil.example\",\"click\")".to_owned(),
        date_of_birth: contracts::Date::parse("1990-12-10").expect("a date"),
        time_zone: "Europe/London".to_owned(),
        email_verified: true,
        reminders: true,
        announcements: true,
    };
    app.user_is_created(mallory, profile).await;
    // More registrations than are read together, and one that is cancelled.
    let at = Timestamp::parse("2026-03-01T12:00:00Z").expect("a time");
    let seats = (0..600).map(|_| SeatConfirmed {
        registration_id: Uuid::now_v7(),
        user_id: Uuid::now_v7(),
    });
    let seats = std::iter::once(SeatConfirmed {
        registration_id: seat,
        user_id: mallory,
    })
    .chain(seats);
    let seats = seats.map(|seat| Outgoing::<RegistrationEvent>::new(event, seat).time(at));
    app.bench.deliver_all(seats.collect::<Vec<_>>()).await;
    let cancelled = RegistrationCancelled {
        registration_id: seat,
        user_id: mallory,
        reason: CancelReason::ByOrganizer,
        had_seat: true,
    };
    app.bench
        .deliver(Outgoing::<RegistrationEvent>::new(event, cancelled).time(at))
        .await;

    let path = format!("/v1/events/{event}/registrations?limit=1");
    let list = app
        .gateway
        .get(&path)
        .by(&ada)
        .header("accept", "text/csv")
        .send()
        .await
        .expect(200);
    assert_eq!(list.header("content-type"), "text/csv; charset=utf-8; header=present");
    assert_eq!(list.header("vary").to_lowercase().matches("accept").count(), 1);
    let text = list.body.as_str().expect("a string");
    let lines: Vec<&str> = text.strip_suffix("\r\n").expect("a line end").split("\r\n").collect();
    assert_eq!(lines.len(), 602);
    assert_eq!(
        lines[0],
        "\"registration_id\",\"status\",\"full_name\",\"email\",\"username\",\"registered_at\",\"confirmed_at\",\
         \"checked_in_at\",\"cancelled_at\",\"cancel_reason\""
    );
    assert_eq!(
        lines[1],
        format!(
            "\"{seat}\",\"cancelled\",\"'=HYPERLINK(\"\"http://evil.example\"\",\"\"click\"\")\",\"mallory@example.org\",\
             \"mallory\",\"2026-03-01T12:00:00Z\",\"2026-03-01T12:00:00Z\",\"\",\"2026-03-01T12:00:00Z\",\"by-organizer\""
        )
    );
    let ids: std::collections::BTreeSet<_> = lines[1..].iter().map(|line| &line[..38]).collect();
    assert_eq!(ids.len(), 601, "each registration is listed once");
}

#[tokio::test]
async fn the_csv_list_is_only_for_the_organizer() {
    let app = TestApp::start().await;
    let (ada, bob, eve) = (
        app.organizer("ada").await,
        app.person("bob").await,
        app.organizer("eve").await,
    );
    let event = app.has_event(&ada).await;
    let path = format!("/v1/events/{event}/registrations");
    let get = || app.gateway.get(&path).header("accept", "text/csv");
    get().send().await.expect(401);
    get().by(&bob).send().await.expect(403);
    let problem = get().by(&eve).send().await.expect(404);
    assert_eq!(problem.header("content-type"), "application/problem+json");
}
