//! What those would try who mean harm: OWASP API Security Top 10 (2023), API6 to API10.

use std::collections::BTreeSet;
use std::net::TcpListener;

use axum::http::Method;
use contracts::{
    Details, EventCancelled, EventChanged, EventCommand, EventEvent, NotificationFact, NotificationFailed,
    NotificationKind, RegistrationCommand, RegistrationEvent, SeatConfirmed, Timestamp,
};
use messaging::Outgoing;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{TestApp, draft, event_created, event_published, roster_opened, sign_up};

// API6: business flows.

#[tokio::test]
async fn nobody_registers_anybody_else() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.organizer("ada").await, app.person("bob").await);
    let event = app.has_event(&ada).await;
    let path = format!("/v1/events/{event}/registrations");
    for name in ["user_id", "registration_id", "seats", "count"] {
        let answer = app
            .gateway
            .post(&path)
            .by(&bob)
            .json(json!({ name: ada.id }))
            .send()
            .await
            .expect(422);
        assert_eq!(answer.faults(), [(name, "unknown")]);
    }
    app.gateway.post(&path).by(&bob).wait(0).send().await.expect(202);
    let command = app.command::<RegistrationCommand>().await;
    let RegistrationCommand::Register(register) = &command.body else {
        panic!("{command:?}");
    };
    assert_eq!(register.user_id, bob.id);
}

#[tokio::test]
async fn a_registration_that_is_replayed_at_once_many_times_is_said_once() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.organizer("ada").await, app.person("bob").await);
    let event = app.has_event(&ada).await;
    let register = || {
        let call = app
            .gateway
            .post(format!("/v1/events/{event}/registrations"))
            .by(&bob)
            .wait(0);
        call.header("idempotency-key", "mine").send()
    };
    let answers = futures::future::join_all((0..20).map(|_| register())).await;
    let ids: BTreeSet<String> = answers
        .iter()
        .filter(|answer| answer.status == 202)
        .map(|answer| answer.id().to_string())
        .collect();
    assert_eq!(ids.len(), 1, "one operation");
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == 202 || answer.code() == "operation-in-progress")
    );
    assert_eq!(app.commands::<RegistrationCommand>().await.len(), 1);
}

#[tokio::test]
async fn seats_can_not_be_hoarded_with_many_accounts_from_one_address() {
    let app = TestApp::start_with(&[("RATE_LIMIT_SIGN_INS", "10")]).await;
    let mut refused = 0;
    for number in 0..100 {
        // Too short a password: nothing is hashed, and the limit counts all the same.
        let mut account = sign_up(&format!("account_{number}"));
        account["password"] = json!("short");
        let answer = app.gateway.post("/v1/users").json(account).send().await;
        match answer.status.as_u16() {
            422 => {}
            429 => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert!(refused > 50, "{refused} of 100 sign-ups were refused");
}

// API7: requests that the server makes for somebody.

#[tokio::test]
async fn no_address_that_somebody_sends_is_ever_called() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket option");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let event = app.has_event(&ada).await;
    let mut body = draft();
    for name in ["title", "description", "venue"] {
        body[name] = json!(format!("![x]({url})"));
    }
    let call = |method, path: String, body: Value| {
        let call = app.gateway.call(method, path).by(&ada).wait(0).json(body);
        let call = call
            .header("referer", &url)
            .header("x-forwarded-host", &url)
            .header("origin", &url);
        call.header("forwarded", format!("host=\"{url}\"")).send()
    };
    call(Method::POST, "/v1/events".to_owned(), body).await.expect(202);
    let announcement = json!({ "subject": url, "body": format!("<img src=\"{url}\">") });
    call(Method::POST, format!("/v1/events/{event}/announcements"), announcement)
        .await
        .expect(202);
    call(
        Method::POST,
        format!("/v1/events/{event}/cancel"),
        json!({ "reason": url }),
    )
    .await
    .expect(202);
    assert_eq!(app.commands::<EventCommand>().await.len(), 3);
    let details = Details {
        title: url.clone(),
        description: format!("![x]({url})"),
        venue: url.clone(),
        ..event_created(ada.id).details
    };
    let changed = EventChanged {
        details,
        published: true,
    };
    app.bench.deliver(Outgoing::<EventEvent>::new(event, changed)).await;
    for path in ["", "/calendar.ics", "/registrations", "/history"] {
        app.gateway
            .get(format!("/v1/events/{event}{path}"))
            .by(&ada)
            .send()
            .await
            .expect(200);
    }
    let nobody = listener.accept().expect_err("nobody called");
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

// API8: misconfiguration. Headers: edge.rs.

#[tokio::test]
async fn no_error_says_anything_of_the_inside() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    app.gateway.app.pool().close().await;
    for path in ["/v1/events", "/v1/me/registrations", "/v1/events?text=x"] {
        let answer = app.gateway.get(path).by(&ada).send().await;
        assert!(answer.status.is_server_error(), "{answer:?}");
        let text = answer.body.to_string().to_lowercase();
        for inside in ["sqlx", "pool", "postgres", "select", ".rs", "panicked", "kafka"] {
            assert!(!text.contains(inside), "{inside} in {text}");
        }
    }
}

// API9: inventory.

fn documented() -> Vec<(String, BTreeSet<String>)> {
    let document = gateway::api::document();
    let paths = document["paths"].as_object().expect("paths");
    let of = |methods: &Value| {
        methods
            .as_object()
            .expect("methods")
            .keys()
            .map(|method| method.to_uppercase())
            .collect()
    };
    paths
        .iter()
        .map(|(path, methods)| (path.clone(), of(methods)))
        .collect()
}

#[tokio::test]
async fn what_is_documented_is_what_is_served_method_by_method() {
    let app = TestApp::start().await;
    for (path, mut methods) in documented() {
        let path = path
            .replace("{id}", &Uuid::now_v7().to_string())
            .replace("{token}", "abc");
        let answer = app
            .gateway
            .call(Method::from_bytes(b"PROPFIND").expect("a method"), &path)
            .send()
            .await;
        // Had nobody been there, it would be 404.
        assert_eq!(answer.status, 405, "{path}");
        assert_eq!(answer.code(), "method");
        let allowed: BTreeSet<String> = answer
            .header("allow")
            .split(',')
            .map(|text| text.trim().to_owned())
            .collect();
        if methods.contains("GET") {
            methods.insert("HEAD".to_owned());
        }
        assert_eq!(allowed, methods, "{path}");
    }
}

#[tokio::test]
async fn nothing_else_is_served() {
    let app = TestApp::start().await;
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v2/events",
        "/v1/events/",
        "/metrics",
        "/health",
        "/ready",
        "/debug/pprof",
        "/actuator",
        "/.env",
        "/.git/config",
        "/admin",
        "/v1/admin",
        "/graphql",
        "/v1/events/..%2f..%2fetc%2fpasswd",
        "//v1/events",
        "/v1/events/%00",
        "/v1/%ff",
        "/openapi.yaml",
    ] {
        let answer = app.gateway.get(path).send().await.expect(404);
        assert_eq!(answer.code(), "not-found", "{path}");
    }
}

// API10: what comes from other services.

fn hostile(length: usize) -> String {
    let odd = "\0\u{1}\u{7f}\u{85}\u{202e}\u{feff}\u{fffe}\u{10ffff}<script>alert(1)</script>'; DROP TABLE events; -- \r\nX: y \\ \" {{7*7}} ${x} %00";
    odd.chars().cycle().take(length).collect()
}

#[tokio::test]
async fn hostile_domain_events_are_kept_and_shown_and_break_nothing() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let fine = app.has_event(&ada).await;
    // Many words that differ, so that an index of all of them would be too large.
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
            // Published before it was created, and changed after it was cancelled.
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
            let answer = app
                .gateway
                .get(format!("/v1/events/{event}{path}"))
                .by(&ada)
                .send()
                .await;
            assert_eq!(answer.status, 200, "{index} {path}");
            assert!(!answer.body.to_string().contains("\\u0000"), "{index} {path}");
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
    app.gateway.get(format!("/v1/events/{fine}")).send().await.expect(200);
}

#[tokio::test]
async fn a_stream_that_does_not_begin_at_its_beginning_is_nothing() {
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
